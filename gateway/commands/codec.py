"""sluice codec: JSON lines in, JSON lines out; or vectors judged.

One line out for each line in, flushed, in order, whatever came in. A line that is no question gets {"error": …} and
the next one is read.
Not here: what an object asks and what is found (gateway.codec).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gateway import codec as door


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _read(text: str) -> Any:
    # Python's own reader takes NaN and Infinity, which JSON has not.
    return json.loads(text, parse_constant=_no_number)


def _answer(vector: Any) -> dict[str, Any]:
    """Answer one object; a fault of any kind becomes `error`, with the id where there is one."""
    try:
        if not isinstance(vector, dict):
            raise ValueError(f"{type(vector).__name__}, expected an object")
        return door.answer(vector)
    except Exception as fault:  # a door: one line must never take the others with it
        named = {"id": vector["id"]} if isinstance(vector, dict) and "id" in vector else {}
        return {**named, "error": str(fault) or type(fault).__name__}


def _answer_line(line: bytes) -> dict[str, Any]:
    try:
        vector = _read(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as fault:
        return {"error": f"not a line of JSON: {fault}"}
    return _answer(vector)


def _vectors(path: Path) -> Iterator[Any]:
    """Take the vectors of a file: a JSON list, one object, or JSON lines."""
    text = path.read_text("utf-8-sig")
    try:
        whole = _read(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines or not lines[0].lstrip().startswith("{"):
            raise
        yield from map(_read, lines)
        return
    yield from whole if isinstance(whole, list) else [whole]


def _judge(vector: Any) -> dict[str, Any]:
    found = _answer(vector)
    try:
        passed = door.passes(vector, found)
    except (KeyError, TypeError, AttributeError, ValueError) as fault:
        found["error"] = f"vector without what is expected: {fault!r}"
        passed = False
    named = {name: vector[name] for name in ("id", "kind") if isinstance(vector, dict) and name in vector}
    verdict = {**named, "pass": passed}
    return verdict if passed else {**verdict, "found": {k: v for k, v in found.items() if k not in named}}


def _say(line: dict[str, Any]) -> None:
    # ASCII, so that a lone surrogate or the terminal's encoding cannot stop it.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@click.command()
@click.option("--vectors", "first", multiple=True, metavar="FILE…", help="Judge the vectors of these files instead.")
@click.argument("more", nargs=-1, metavar="")
def codec(first: tuple[str, ...], more: tuple[str, ...]) -> None:
    """Decode, encode, cut and read what travels: JSON lines in, JSON lines out.

    With --vectors one line a vector says whether it passes; the exit code is 1 if any does not.
    """
    if more and not first:
        raise click.UsageError(f"unexpected argument {more[0]!r}: files go behind --vectors")
    if not first:
        for line in sys.stdin.buffer:
            _say(_answer_line(line))
        return
    is_sound = True
    for name in (*first, *more):
        try:
            for vector in _vectors(Path(name)):
                verdict = _judge(vector)
                is_sound = is_sound and verdict["pass"]
                _say(verdict)
        except (OSError, ValueError, RecursionError) as fault:
            is_sound = False
            _say({"file": name, "pass": False, "error": str(fault)})
    if not is_sound:
        raise SystemExit(1)
