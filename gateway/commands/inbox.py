"""`sluice inbox`: the conversations with handsets, for the people who answer them."""

import json
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from gateway.automation.staffing import Desk, paused
from gateway.campaign.conversation import Refused as NotSent
from gateway.commands._control import Span, open_orders, run, whoever
from gateway.commands._options import Refused, config_option, dsn_option, plain
from gateway.commands._stops import numbers_of
from gateway.config import Settings
from gateway.erasure import shown as number_shown
from gateway.store import conversations, postgres
from gateway.store.conversations import CLOSED, NOTE, OPEN, PERSON, SNOOZED, Conversation, Said

WORK_S = 60.0
STATES = {OPEN: "open", SNOOZED: "snoozed", CLOSED: "closed"}
_by_option = click.option("--as", "by", default="", help="Which agent you are; who is logged in where nothing is said.")


@click.group()
def inbox() -> None:
    """Read and answer what handsets write."""


@inbox.command("list")
@click.option("--inbox", "name", default="", help="Of this inbox alone.")
@click.option("--agent", default="", help="Of this agent alone.")
@click.option("--closed", is_flag=True, help="Those that were closed, too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@config_option
@dsn_option
def list_(name: str, agent: str, closed: bool, limit: int, as_json: bool, config: Path | None, dsn: str) -> None:
    """List conversations, those that wait the longest first."""
    states = (OPEN, SNOOZED, CLOSED) if closed else (OPEN, SNOOZED)

    async def work(settings: Settings, connection: postgres.Connection, now: datetime) -> Any:
        return await conversations.listed(connection, states, inbox=name, agent=agent, limit=limit), now

    found, now = _do(config, dsn, work)
    _show_all(found, now, as_json)


@inbox.command()
@click.option("--inbox", "name", default="", help="Of this inbox alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@config_option
@dsn_option
def unanswered(name: str, as_json: bool, config: Path | None, dsn: str) -> None:
    """Report whom nobody has answered, and how late that is; the exit code is 1 where an answer is late."""

    async def work(settings: Settings, connection: postgres.Connection, now: datetime) -> Any:
        return await conversations.listed(connection, (OPEN, SNOOZED), inbox=name, waiting=True), now

    found, now = _do(config, dsn, work)
    _show_all(found, now, as_json)
    late = [one for one in found if one.answer_due is not None and one.answer_due <= now]
    if not as_json:
        click.echo(f"{len(found):,} wait for an answer, {len(late):,} of them longer than they should")
    if late:
        raise SystemExit(1)


@inbox.command()
@click.argument("which")
@click.option("--region", metavar="CC", help="Country of a number without its +, such as GB.")
@click.option("--json", "as_json", is_flag=True, help="Print it as one JSON object.")
@config_option
@dsn_option
def show(which: str, region: str | None, as_json: bool, config: Path | None, dsn: str) -> None:
    """Show a conversation, by its id or the number (+44…): what was said, campaigns among it, and what may be sent."""

    async def work(settings: Settings, connection: postgres.Connection, now: datetime) -> Any:
        one = await _found(connection, which, region)
        said = await conversations.said(connection, one)
        stopped = (await conversations.stopped(connection, [one.number], one.sender)).get(one.number, {})
        until = (await paused(connection, settings, [one.number], now))[0]
        return one, said, stopped, until, now

    one, said, stopped, until, now = _do(config, dsn, work)
    if as_json:
        document = _document(one, now) | {
            "said": [{"at": each.at.isoformat(), "who": _who(each), "text": each.text, "campaign": each.campaign}
                     for each in said],
            "stopped": {source: at.isoformat() for source, at in stopped.items()},
            "paused_until": None if until is None or until.year == 9999 else until.isoformat(),
            "is_paused": until is not None,
        }  # fmt: skip
        click.echo(json.dumps(document))
        return
    click.echo(_line(one, now))
    for each in said:
        campaign = f"  ({plain(each.campaign)})" if each.campaign else ""
        click.echo(f"  {each.at:%Y-%m-%d %H:%M}  {_who(each):>10}  {plain(each.text)}{campaign}")
    for source, at in sorted(stopped.items(), key=lambda item: item[1]):
        click.echo(f"  not to be written to: {plain(source)}, since {at:%Y-%m-%d %H:%M} UTC")
    if until is not None:
        end = (
            "until this is closed, and a while behind it" if until.year == 9999 else f"until {until:%Y-%m-%d %H:%M} UTC"
        )
        click.echo(f"  what is promotional waits {end}; what is transactional goes on")


@inbox.command()
@click.argument("id_", metavar="ID", type=int)
@click.argument("text")
@_by_option
@config_option
@dsn_option
def reply(id_: int, text: str, by: str, config: Path | None, dsn: str) -> None:
    """Answer conversation ID with TEXT. Who has said STOP is not written to, whoever asks (IN-8)."""
    one = _act(config, dsn, by, lambda desk: desk.reply(id_, text))
    click.echo(f"queued for {number_shown(one.number)} from {plain(one.sender)}")


@inbox.command()
@click.argument("id_", metavar="ID", type=int)
@click.argument("agent", default="")
@_by_option
@config_option
@dsn_option
def assign(id_: int, agent: str, by: str, config: Path | None, dsn: str) -> None:
    """Give conversation ID to AGENT; to nobody where none is named."""
    one = _act(config, dsn, by, lambda desk: desk.assign(id_, agent))
    click.echo(f"{one.id} is {plain(one.assigned_to) + chr(39) + 's' if one.assigned_to else 'nobody' + chr(39) + 's'}")


@inbox.command()
@click.argument("id_", metavar="ID", type=int)
@_by_option
@config_option
@dsn_option
def close(id_: int, by: str, config: Path | None, dsn: str) -> None:
    """End conversation ID; it opens again when they write within a week."""
    one = _act(config, dsn, by, lambda desk: desk.close(id_))
    click.echo(f"{one.id} is closed")


@inbox.command()
@click.argument("id_", metavar="ID", type=int)
@click.option("--for", "span", type=Span(), default="1d", show_default=True, help="For how long, such as 2h or 1d.")
@_by_option
@config_option
@dsn_option
def snooze(id_: int, span: timedelta, by: str, config: Path | None, dsn: str) -> None:
    """Let conversation ID sleep, or until they write."""
    one = _act(config, dsn, by, lambda desk: desk.snooze(id_, datetime.now(UTC) + span))
    click.echo(f"{one.id} sleeps until {one.snoozed_until:%Y-%m-%d %H:%M} UTC")


@inbox.command()
@click.argument("id_", metavar="ID", type=int)
@click.argument("text")
@_by_option
@config_option
@dsn_option
def note(id_: int, text: str, by: str, config: Path | None, dsn: str) -> None:
    """Write TEXT down in conversation ID; nobody is sent it."""
    one = _act(config, dsn, by, lambda desk: desk.note(id_, text))
    click.echo(f"noted in {one.id}")


@inbox.command("return")
@click.argument("id_", metavar="ID", type=int)
@_by_option
@config_option
@dsn_option
def return_(id_: int, by: str, config: Path | None, dsn: str) -> None:
    """Give conversation ID back to what answers by itself."""
    one = _act(config, dsn, by, lambda desk: desk.give_back(id_))
    click.echo(f"{one.id} is answered by itself where it may be")


def _do(
    config: Path | None, dsn: str, work: Callable[[Settings, postgres.Connection, datetime], Awaitable[Any]]
) -> Any:
    async def inner(settings: Settings) -> Any:
        async with open_orders(settings) as (connection, _), postgres.deadline(connection, WORK_S, "inbox"):
            return await work(settings, connection, datetime.now(UTC))

    return run(config, dsn, inner)


def _act(
    config: Path | None, dsn: str, by: str, act: Callable[[Desk], Awaitable[Conversation | NotSent]]
) -> Conversation:
    async def work(settings: Settings, connection: postgres.Connection, now: datetime) -> Conversation:
        found = await act(Desk(connection, settings, by or whoever(), now, random.Random()))
        if isinstance(found, NotSent):
            raise Refused(f"inbox: {found.why}")
        return found

    done: Conversation = _do(config, dsn, work)
    return done


async def _found(connection: postgres.Connection, which: str, region: str | None) -> Conversation:
    """Find a conversation by its id, or the newest one of a number; what begins with + or has a country is a number."""
    if which.isdecimal() and region is None:
        place = await conversations.place_of(connection, int(which))
        if place is not None:
            return next(one for one in await conversations.of_number(connection, place[1]) if one.id == int(which))
        raise Refused(f"inbox: expected the id of a conversation or a number with its +, found {which!r}")
    found = await conversations.of_number(connection, numbers_of([which], region)[0])
    if not found:
        raise Refused(f"inbox: expected a number that has written, found {plain(which)}")
    return found[0]


def _who(each: Said) -> str:
    if each.direction == PERSON or each.direction == NOTE:
        return plain(each.by) + (" (note)" if each.direction == NOTE else "")
    return "they" if each.direction == 0 else plain(each.by or "sluice")


def _show_all(found: list[Conversation], now: datetime, as_json: bool) -> None:
    for one in found:
        click.echo(json.dumps(_document(one, now)) if as_json else _line(one, now))


def _document(one: Conversation, now: datetime) -> dict[str, Any]:
    return {
        "id": one.id, "number": number_shown(one.number), "inbox": one.inbox, "sender": one.sender,
        "state": STATES[one.state], "assigned_to": one.assigned_to, "campaign": one.campaign,
        "opened_at": one.opened_at.isoformat(),
        "waits_since": one.waits_since.isoformat() if one.waits_since else None,
        "answer_due": one.answer_due.isoformat() if one.answer_due else None,
        "is_late": one.answer_due is not None and one.answer_due <= now,
        "is_handed_over": one.is_handed_over, "before": one.before,
    }  # fmt: skip


def _line(one: Conversation, now: datetime) -> str:
    parts = [str(one.id), number_shown(one.number), plain(one.inbox) or "-", STATES[one.state]]
    parts.append(plain(one.assigned_to) or "nobody's")
    if one.waits_since is not None:
        parts.append(f"waits {_span(now - one.waits_since)}")
    if one.answer_due is not None and one.answer_due <= now:
        parts.append(f"late by {_span(now - one.answer_due)}")
    if one.campaign:
        parts.append(f"to {plain(one.campaign)}")
    return "  ".join(parts)


def _span(span: timedelta) -> str:
    minutes = max(0, int(span.total_seconds() // 60))
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
