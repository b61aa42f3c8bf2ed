"""Named statements out of sql/*.sql.

    -- name: claim
    -- Take the next chunk of a lane, past those that others hold.
    -- index: chunk_claim (lane, class, priority, id) WHERE state < 2
    UPDATE chunk SET … ;

A block runs from its name to the next one. It holds at least one sentence, the index it relies on ("index: none" and
why, if it needs none), and one statement: asyncpg prepares it, and a distributed table takes no more.

What several statements must say alike is a piece of its own, in a file of pieces, and stands in them as @{answer}:

    -- piece: answer
    -- What the outcomes of a segment say.
    min(CASE WHEN o.status = 0 THEN 0 … END)

Not here: parameters and results; a statement is handed to asyncpg as it stands, its comments left out.
"""

import dataclasses
import difflib
import functools
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from importlib.resources.abc import Traversable

from gateway.store.statements import bare, split

_NAME = re.compile(r"^--[ \t]*name:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_PIECE = re.compile(r"^--[ \t]*piece:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_USE = re.compile(r"@\{(\w+)\}")
_INDEX = re.compile(r"^--[ \t]*index:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """One statement and what its author says about it."""

    name: str
    sentence: str
    index: str
    sql: str
    file: str


def query(name: str) -> str:
    """Return the statement of that name in the package's sql folder.

    raises  KeyError with the names that come close; ValueError as parse() does
    cost    the folder is read once a process
    """
    found = all_queries()
    if name not in found:
        near = difflib.get_close_matches(name, found)
        raise KeyError(f"no query {name!r} in store/sql" + (f"; near: {', '.join(near)}" if near else ""))
    return found[name].sql


@functools.cache
def all_queries() -> dict[str, Query]:
    """Every query of the package's sql folder by name."""
    return load(importlib.resources.files("gateway.store").joinpath("sql"))


def load(folder: Traversable) -> dict[str, Query]:
    """Read every .sql file of a folder; a folder that is not there holds none.

    raises  ValueError as parse() and pieces() do, and when two blocks share a name
    """
    found: dict[str, Query] = {}
    if not folder.is_dir():
        return found
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    texts = {file.name: file.read_text(encoding="utf-8") for file in files}
    shared: dict[str, str] = {}
    for name, text in texts.items():
        if _PIECE.search(text):
            shared |= pieces(text, name)
    for name, text in texts.items():
        if _PIECE.search(text):
            continue
        for one in parse(text, name, shared):
            if one.name in found:
                raise ValueError(f"{name}: {one.name} is also a query of {found[one.name].file}")
            found[one.name] = one
    return found


def pieces(text: str, file: str) -> dict[str, str]:
    """Cut one file of pieces; -> each by its name.

    raises  ValueError with file and line: a query among them, a name that is no identifier or stands twice, a piece
            without a sentence or without anything to say
    """
    if _NAME.search(text):
        raise ValueError(f"{file}: expected pieces alone, found a query: put it into a file of its own")
    found: dict[str, str] = {}
    names = list(_PIECE.finditer(text))
    for match, end in zip(names, [one.start() for one in names[1:]] + [len(text)], strict=True):
        where, name = f"{file}:{text.count(chr(10), 0, match.start()) + 1}", match[1]
        if not name.isidentifier() or name in found:
            raise ValueError(f"{where}: expected a name like answer, and each once, found {name!r}")
        block = text[match.end() : end].strip()
        sql = bare(block)
        if not sql or sql == block:
            raise ValueError(f"{where}: {name}: expected a sentence on what it says, and SQL")
        found[name] = sql
    return found


def parse(text: str, file: str, shared: Mapping[str, str] | None = None) -> Iterable[Query]:
    """Cut one file into its queries.

    shared  pieces by name
    raises  ValueError with file and line: SQL before the first name, a name that is no identifier, a block without a
            sentence, without its index, or with more or less than one statement; a piece that is not known
    """
    names = list(_NAME.finditer(text))
    if split(text[: names[0].start()] if names else text):
        raise ValueError(f"{file}:1: expected '-- name: …' before the first statement")
    for match, end in zip(names, [one.start() for one in names[1:]] + [len(text)], strict=True):
        where = f"{file}:{text.count(chr(10), 0, match.start()) + 1}"
        name = match[1]
        if not name.isidentifier():
            raise ValueError(f"{where}: expected a name like claim_chunk, found {name!r}")
        block = text[match.end() : end]
        statements = split(block)
        if len(statements) != 1:
            raise ValueError(f"{where}: {name}: expected one statement, found {len(statements)}")
        sql = bare(statements[0])
        head = statements[0][: len(statements[0]) - len(sql)]
        index = _INDEX.search(head)
        if index is None:
            raise ValueError(f"{where}: {name}: expected '-- index: …', the index it relies on, or none and why")
        lines = [line.removeprefix("--").strip() for line in head.splitlines() if not _INDEX.match(line)]
        sentence = " ".join(filter(None, lines))
        if not sentence:
            raise ValueError(f"{where}: {name}: expected a sentence on what it does")
        for used in _USE.findall(sql):
            if used not in (shared or {}):
                raise ValueError(
                    f"{where}: {name}: expected a piece of {', '.join(shared or {}) or 'none'}, found {used}"
                )
        yield Query(name, sentence, index[1], _USE.sub(lambda used: (shared or {})[used[1]], sql), file)
