"""`sluice rehearse`: what a campaign would send to whom, when and at what cost, before anybody gets anything."""

import json
import re
import secrets
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway import app
from gateway.automation import launching, rehearsing
from gateway.automation.rehearsing import Rehearsal
from gateway.commands._options import Refused, config_option, dsn_option, plain, said_plainly, settings_of
from gateway.commands.audience import kept_audience
from gateway.commands.campaign import problem_lines, read_document
from gateway.config import Settings
from gateway.dispatch.preview import Foresight
from gateway.document import Document
from gateway.gate import Gate
from gateway.message import MessageClass
from gateway.store import campaigns, postgres, selection

SHOWN = 10


class Assumed(click.ParamType[tuple[str, float]]):
    """EVENT=SHARE, such as clicked=0.1."""

    name = "event=share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """Refuse what is no share of 1."""
        if isinstance(value, tuple):
            return value
        event, _, share = str(value).partition("=")
        if not event or not re.fullmatch(r"(0(\.\d+)?|1(\.0+)?)", share):
            self.fail(f"expected an event and a share from 0 to 1 such as clicked=0.1, found {value!r}", param, ctx)
        return event, float(share)


@click.command()
@config_option
@dsn_option
@click.argument("which", metavar="FILE|NAME")
@click.option("--audience", default="", help="A kept audience; by default whom the campaign's filter names.")
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="Of virtual time.")
@click.option("--at", type=click.DateTime(("%Y-%m-%dT%H:%M",)), help="When everybody enters, UTC; by default now.")
@click.option("--assume", type=Assumed(), multiple=True, help="Who does what within a day of a text: clicked=0.1.")
@click.option("--people", type=click.IntRange(1, 1_000_000), default=100_000, show_default=True, help="At most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with every text.")
def rehearse(
    config: Path | None, dsn: str, which: str, audience: str, days: int, at: datetime | None,
    assume: tuple[tuple[str, float], ...], people: int, as_json: bool,
) -> None:  # fmt: skip
    """Carry a campaign out over real people in virtual time; nothing is sent, and nothing is written."""
    begin = (at.replace(tzinfo=UTC) if at is not None else datetime.now(UTC)).replace(microsecond=0)
    with said_plainly():
        settings = settings_of(config, dsn)

        async def main() -> Rehearsal:
            async with app.open_database(settings) as database, database.connection() as connection:
                return await _rehearse(connection, settings, which, audience, begin, days, dict(assume), people)

        found = app.run(main())
    told = _document(found, settings, begin, days, dict(assume))
    if as_json:
        told["texts"] = msgspec.to_builtins(found.texts)
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    for line in _lines(found, told):
        click.echo(line)


async def _rehearse(
    connection: postgres.Connection, settings: Settings, which: str, audience: str, begin: datetime, days: int,
    assumed: dict[str, float], people: int,
) -> Rehearsal:  # fmt: skip
    turn = connection.transaction()
    await turn.start()
    try:
        document = await _found(connection, which)
        plan, problems, _ = await launching.check(connection, settings, document)
        if problems:
            raise Refused(f"{which}: cannot be carried out\n{problem_lines(problems)}")
        tree = (await kept_audience(connection, audience))[0] if audience else None
        salt = await selection.salt(connection, secrets.token_hex(16))

        def foresee(gate: Gate, class_: MessageClass, priority: int, sender: str) -> Foresight:
            return Foresight(
                connection, gate, class_=class_, priority=priority, sender=sender, inboxes=settings.inboxes
            )

        return await rehearsing.rehearse(connection, settings, plan, tree, begin, days, assumed, salt, people, foresee)
    finally:
        await turn.rollback()


async def _found(connection: postgres.Connection, which: str) -> Document:
    if which.endswith((".toml", ".json")) or Path(which).is_file():
        return read_document(which)
    found = await campaigns.named(connection, which)
    if found is None:
        raise Refused(f"{which}: expected a file, or a campaign that `sluice campaign list` names")
    return (await campaigns.version_of(connection, found.id, found.version)).document


def _document(
    found: Rehearsal, settings: Settings, begin: datetime, days: int, assumed: dict[str, float]
) -> dict[str, Any]:  # fmt: skip
    steps: dict[str, dict[str, Any]] = {}
    for one in found.texts:
        step = steps.setdefault(one.step, {"texts": 0, "parts": 0, "cost": 0.0, "held": 0, "first": one.at.isoformat()})
        step["texts"] += 1
        step["parts"] += one.parts
        step["cost"] = round(step["cost"] + one.cost, 6)
        step["held"] += bool(one.held)
        if one.variant:
            variants = step.setdefault("variants", {})
            variants[one.variant] = variants.get(one.variant, 0) + 1
        step["last"] = one.at.isoformat()
    return {
        "begins": begin.isoformat(), "days": days, "assumed": assumed, "people": found.people,
        "not_entered": dict(found.refused), "ends": dict(found.ends), "skipped": dict(found.skipped),
        "steps": steps, "parts": dict(sorted(Counter(str(one.parts) for one in found.texts).items())),
        "cost": round(sum(one.cost for one in found.texts), 6), "currency": settings.costs.currency,
    }  # fmt: skip


def _lines(found: Rehearsal, told: dict[str, Any]) -> list[str]:
    out = [f"{found.people:,} people enter at {told['begins']}, {told['days']} days are rehearsed"]
    assumed = ", ".join(f"{event} {share:g}" for event, share in told["assumed"].items())
    out.append(f"assumed: {assumed or 'nobody clicks, answers or buys'}")
    for title, counts in (("not entered", told["not_entered"]), ("not sent", told["skipped"]), ("ends", told["ends"])):
        out += [f"{people:>9,}  {title}: {reason}" for reason, people in sorted(counts.items())]
    for name, step in told["steps"].items():
        held = f", {step['held']:,} wait for a window or a cap" if step["held"] else ""
        held += "".join(f", {texts:,} {plain(name)}" for name, texts in step.get("variants", {}).items())
        out.append(
            f"{step['texts']:>9,}  texts of {plain(name)}: {step['parts']:,} parts, {step['cost']:g} {told['currency']}"
            f", {step['first']} to {step['last']}{held}".replace(" ,", ",")
        )
    out += [f"  +{one.number} {one.local}  {one.parts}  {plain(one.text)}" for one in found.texts[:SHOWN]]
    if len(found.texts) > SHOWN:
        out.append(f"  and {len(found.texts) - SHOWN:,} more: --json")
    return out
