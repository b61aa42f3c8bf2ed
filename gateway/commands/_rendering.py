"""Rendering ahead of the claim: the processes that do it, and a list that becomes texts.

--text | --template FILE ─► Template ─┬─ plain, and its values are data ─► chunks of the list as it is
                                      └─ else ─► pages ─► processes ─► another list, of texts ─► chunks
"""

import asyncio
import hashlib
import json
import multiprocessing
import os
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from _fastpath.template import Template as Compiled
from gateway.commands._options import Refused, plain
from gateway.dispatch import rendering
from gateway.dispatch.rendering import TEXT, Context, Entries, Pages, dressed, sha_of, status_of
from gateway.routing import Problem
from gateway.store import considered, people, postgres, runs, selection, templates
from gateway.template import Template, fields_of, is_name, outline, plain_of, read_template, required_of, root_of
from gateway.templatetext import ALIASES, TemplateFault

# From here on processes are worth their start, half a second.
WORTH_PROCESSES = 20_000
MOST_PROCESSES = 8


def read_file(path: str) -> Template:
    """Read a template of a file, TOML or JSON: its table `template`, or all of it. Refused: all that is wrong."""
    try:
        octets = Path(path).read_bytes()
        value = json.loads(octets) if path.endswith(".json") else tomllib.loads(octets.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{path}: expected a template as TOML, or as JSON in a file named .json: {error}") from error
    if isinstance(value, dict) and "template" in value:
        value = value["template"]
    return checked(value, path)


def checked(value: Any, key: str) -> Template:
    """Read a template; Refused with all that is wrong."""
    problems: list[Problem] = []
    template = read_template(value, key, problems)
    if template is None:
        said = "; ".join(f"{where}: expected {expected}, found {found}" for where, expected, found in problems)
        raise Refused(said.replace("--text.text", "--text"))
    return template


def columns_of(template: Template) -> tuple[str, ...]:
    """Name what a list has to hold of a person for a template."""
    try:
        names = Context(template=template).renderer().fields
    except TemplateFault as error:
        raise Refused(f"--text: {error}") from error
    return tuple(name for name in names if root_of(name) == "")


def compiled_of(context: Context) -> str | None:
    """Write a template as the claim composes it; None where it has to be rendered."""
    template = context.template
    if not template.is_plain or context.minted:
        return None
    constants = {f"link.{name}": url for name, url in template.links.items()}
    constants["brand.name"] = context.brand
    if template.coupon is not None:
        constants["coupon.code"], constants["coupon.url"] = template.coupon.code, template.coupon.url
    known = {name: value for name, value in constants.items() if value}
    # What else is no attribute stands in no list.
    if any(root_of(field.name) and field.name not in known for field in fields_of(template.text)):
        return None
    return plain_of(template.text, template, known)


def has_aliases(text: str) -> bool:
    """Whether old words in single braces are in a text, which the compiled path takes for text."""
    return any(f"{{{alias}}}" in text.lower() for alias in ALIASES)


def is_compiled(text: str) -> bool:
    """Whether the claim can compose a text just as it is written."""
    try:
        Compiled(text)
    except ValueError:
        return False
    return True


class Wording(Struct, frozen=True, kw_only=True):
    """What a run says, and what it needs of people for that.

    context   None: the text is composed by the claim just as it is written
    text      of the run; of what has to be rendered that of what comes of it
    outline   what all messages have in common, as plain text
    fields    columns; required: those that must have a value
    links     fields that a link of each person has to stand in
    """

    context: Context | None
    text: str
    outline: str
    fields: tuple[str, ...]
    required: tuple[str, ...]
    max_parts: int = 0
    links: tuple[str, ...] = ()

    @property
    def texts(self) -> frozenset[str]:
        """What runs of it say: as it is written, or of what was rendered."""
        return frozenset((self.text, *(() if self.context is None else (dressed(self.context.template),))))


def wording_of(template: Template, brand: str, zone: str, now: datetime, minted: Sequence[str] = ()) -> Wording:
    """Judge a template, and say what a run of it says. minted: as of Context."""
    context = Context(template=template, brand=brand, zone=zone, now=now, minted=tuple(minted))
    fields = columns_of(template)
    wanted = tuple(name for name in required_of(template) if name in fields) if template.missing == "skip" else ()
    compiled = compiled_of(context)
    return Wording(
        context=context,
        text=dressed(template) if compiled is None else compiled,
        outline=outline(template.text),
        fields=fields,
        required=wanted,
        max_parts=template.parts_allowed,
        links=tuple(
            name for name in minted if any(name == f.name for t in template.texts().values() for f in fields_of(t))
        ),
    )


@asynccontextmanager
async def pages(context: Context, people_count: int) -> AsyncIterator[tuple[Callable[..., Awaitable[Any]], int]]:
    """Open what renders: call it with `work_texts` or `work_entries` and a page; -> it, and how many pages at once.

    A few people are rendered here; more by processes of their own, so that both cores are used.
    """
    processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
    if people_count < WORTH_PROCESSES:
        here = Pages(context)

        async def alone(work: Callable[..., Any], *page: Any) -> Any:
            return here.texts(*page) if work is rendering.work_texts else here.entries(*page)

        yield alone, 1
        return
    loop = asyncio.get_running_loop()
    # Forked, they would have our connections; spawned, they have what they are given.
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=rendering.begin,
        initargs=(msgspec.json.encode(context),),
    )

    def apart(work: Callable[..., Any], *page: Any) -> Awaitable[Any]:
        # Begun by the call, not by whoever waits for it: so that pages are rendered side by side.
        return loop.run_in_executor(pool, work, *page)

    try:
        yield apart, processes * 2
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


async def render_list(
    connection: postgres.Connection,
    context: Context,
    *,
    run: int,
    source: int,
    target: int,
    people_count: int,
    keep: Sequence[str] = (),
) -> int:
    """Render everybody of a list into another; -> how many got a text. Everybody else is in run_skipped."""
    made = 0
    async with pages(context, people_count) as (render, ahead):
        waiting: list[tuple[int, asyncio.Task[Entries]]] = []

        async def write(connection: postgres.Connection) -> int:
            bucket, task = waiting.pop(0)
            page = await task
            skipped: dict[int, dict[str, list[int]]] = {}
            for reason, numbers in page.skipped.items():
                skipped.setdefault(status_of(reason), {})[reason] = numbers
            await templates.write_page(connection, bucket, run, page.octets, skipped)
            return page.people

        try:
            for bucket in range(people.BUCKETS):
                octets = await templates.page(connection, bucket, source)
                task = asyncio.ensure_future(render(rendering.work_entries, octets, bucket, target, tuple(keep)))
                waiting.append((bucket, task))
                if len(waiting) > ahead:
                    made += await write(connection)
            while waiting:
                made += await write(connection)
        finally:
            for _, task in waiting:
                task.cancel()
    return made


async def dress_run(
    connection: postgres.Connection,
    run: runs.Run,
    context: Context,
    *,
    fields: Sequence[str],
    keep: Sequence[str],
    now: datetime,
    owns_list: bool,
) -> runs.Run:
    """Make texts of a run's people, where the claim cannot compose its template; -> the run as it is enqueued.

    fields     the template's own, columns of its list
    keep       columns that carriers ask for beside the text
    owns_list  its list is of this run alone, and goes when it was rendered
    raises     Refused: nobody gets a text, and why
    """
    template = context.template
    assert run.list is not None
    sha = sha_of(template)
    await templates.note(connection, sha, msgspec.json.encode(template), now)
    named = [field for field in fields if is_name(field, template.names)]
    if compiled_of(context) is not None and await templates.is_clean(connection, run.list, fields, named):
        return run
    name = people.name_of_file(run.source or run.name, hashlib.sha256(f"{run.id}\0".encode() + sha).digest())
    made = await people.open_list(
        connection, name, source_name=run.source or run.name, source_sha256=sha, fields=[TEXT, *keep], now=now
    )
    count = await render_list(
        connection, context, run=run.id, source=run.list, target=made.id, people_count=run.recipients, keep=keep
    )
    await people.finish_list(connection, made.id, now)
    if not count:
        words = await considered.words_of_skipped(connection, run.id)
        said = ", ".join(f"{number:,} {word}" for by_word in words.values() for word, number in by_word.items())
        raise Refused(f"nobody to send to: {plain(said)}")
    if owns_list:
        await selection.empty(connection, run.list)
    await templates.redress(connection, run.id, dressed(template), [TEXT, *keep], made.id)
    return msgspec.structs.replace(
        run, template=dressed(template), fields=[TEXT, *keep], list=made.id, recipients=count
    )
