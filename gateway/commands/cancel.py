"""`sluice cancel`: a run is ended, and when this says so nothing more of it is begun on any node."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gateway import app
from gateway.commands._control import run, whoever
from gateway.commands._options import config_option, dsn_option, plain
from gateway.config import Settings
from gateway.dispatch.cancelling import Acknowledged, Cancelling, Count
from gateway.errors import GatewayError, StoreError
from gateway.store import control, migrate, postgres, runs, unsends

# Answers of the carrier to what has left are waited for so long, unless somebody asks for more.
WAIT_S = 5.0
LOOK_S = 0.2
# Whoever enqueues people of the run is waited for.
ENQUEUE_S = 60.0


@click.command()
@config_option
@dsn_option
@click.argument("name", metavar="RUN")
@click.option("--all", "every", is_flag=True, help="Of a campaign's name: every run of it that is not cancelled.")
@click.option("--by", default="", help="Who wants it; by default the user and the machine.")
@click.option("--reason", default="", help="Kept with the order.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0, 3600), default=WAIT_S, show_default=True,
    help="Seconds to wait for answers to what has left.",
)  # fmt: skip
@click.option(
    "--from-carrier",
    "takes_back",
    is_flag=True,
    help="Have carriers with cancel_sm = true take back what has left and is not delivered; best effort.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cancel(
    config: Path | None, dsn: str, name: str, every: bool, by: str, reason: str, wait_s: float, takes_back: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """End RUN for good: the number of a run, or the name of a campaign that has one.

    What has not left does not leave: what is queued, claimed, held, or waits for another try or day. What has left
    is too late. Nobody can be enqueued into the run any more.
    """
    told = run(
        config, dsn, lambda settings: _cancel(settings, name, every, by or whoever(), reason, wait_s, takes_back)
    )
    if as_json:
        click.echo(json.dumps(told))
        return
    for one in told["runs"]:
        click.echo(
            f"run {one['run']} ({plain(one['name'])}): cancelled at {one['at']} by {plain(one['by'])}: "
            f"{one['before']:,} before they left, {one['too_late']:,} too late"
            + (f", {one['otherwise']:,} had ended before" if one["otherwise"] else "")
            + (f", {one['undecided']:,} not decided yet: {one['why']}" if one["undecided"] else "")
            + (
                f"; of what had left {one['taken_back']:,} taken back, {one['not_taken_back']:,} not, "
                f"{one['no_word_yet']:,} without a word of the carrier yet"
                if takes_back
                else ""
            )
        )
    click.echo(_said(told), err=True)


async def _cancel(
    settings: Settings, name: str, every: bool, by: str, reason: str, wait_s: float, takes_back: bool
) -> dict[str, Any]:
    """Cancel, wait until that is so, and count."""
    asked = sorted(one for one, carrier in settings.carriers.items() if carrier.cancel_sm)
    if takes_back and not asked:
        raise GatewayError("--from-carrier: expected a carrier with cancel_sm = true, found none")
    if not app.has_database(settings):
        raise StoreError(f"no database in {settings.data_root} yet: nothing was sent from here")
    began, deadline_s = time.monotonic(), max(ENQUEUE_S, settings.database.deadline_s)
    async with app.open_database(settings, migrates=False) as database:
        await migrate.require(database.dsn)

        async def connect() -> postgres.Connection:
            return await postgres.connect(
                database.dsn, statement_timeout_s=deadline_s, allow_fsync_off=settings.database.allow_data_loss
            )

        made = Cancelling(app.CLOCK, connect, deadline_s, settings.worker.lease_s, app.identity())
        try:
            async with database.connection() as connection:
                found = await _runs_of(connection, name, every)
            done = await made.cancel([one.id for one in found], by, reason)
            acknowledged_s = time.monotonic() - began
            ids = [one.id for one in found]
            await made.settled(ids, wait_s)
            told = []
            for run_id in ids:
                async with database.connection() as connection:
                    known = await runs.run_by_id(connection, run_id)
                assert known is not None
                told.append(_told(known, await made.count(known), done))
            if takes_back:
                async with database.connection() as connection:
                    lanes = {lane for lane, carrier in (await runs.lanes(connection)).items() if carrier in asked}
                    for one in told:
                        one |= await _taken_back(connection, sorted(lanes), one["run"], wait_s)
        finally:
            await made.stop()
    return {
        "runs": told, "obeyed_by": list(done.obeyed_by), "fenced": list(done.fenced), "gone": list(done.gone),
        "acknowledged_s": round(acknowledged_s, 3),
    }  # fmt: skip


async def _taken_back(
    connection: postgres.Connection, lanes: Sequence[int], run_id: int, wait_s: float
) -> dict[str, int]:
    """Ask for what has left to be taken back, and count what came of it as long as we wait."""
    now = app.CLOCK.wall()
    for lane in lanes:
        async with postgres.deadline(connection, ENQUEUE_S, f"take back on lane {lane}"):
            await unsends.add_run(connection, lane, run_id, now, now - unsends.LIVES)
    began = time.monotonic()
    while True:
        states: Counter[int] = Counter()
        for lane in lanes:
            async with postgres.deadline(connection, ENQUEUE_S, f"answers on lane {lane}"):
                states.update(await unsends.counts(connection, lane, run_id))
        if not states[unsends.OPEN] or time.monotonic() - began >= wait_s:
            return {
                "taken_back": states[unsends.TAKEN_BACK], "not_taken_back": states[unsends.NOT_TAKEN_BACK],
                "no_word_yet": states[unsends.OPEN],
            }  # fmt: skip
        await asyncio.sleep(LOOK_S)


async def _runs_of(connection: postgres.Connection, name: str, every: bool) -> list[runs.Run]:
    """Find what is meant; GatewayError when that is nothing, or more than was asked for."""
    found = [await runs.run_by_id(connection, run_id) for run_id in await control.runs_of(connection, [name])]
    known = [one for one in found if one is not None]
    if len(known) == 1 or (known and every):
        left = [one for one in known if one.cancelled_at is None]
        return left or known
    if known:
        newest = ", ".join(f"{one.id} of {one.created_at:%Y-%m-%d %H:%M}" for one in sorted(known, key=_id)[:-6:-1])
        raise GatewayError(
            f"run {name!r}: expected the number of a run, or --all: {len(known)} runs have that name, the newest are "
            f"{newest}"
        )
    newest = ", ".join(f"{one.name!r} ({one.id})" for one in await runs.recent_runs(connection, 5))
    raise GatewayError(
        f"run {name!r}: expected the number of a run or the name of a campaign, the newest are "
        f"{newest or '(there is none)'}"
    )


def _id(one: runs.Run) -> int:
    return one.id


def _told(known: runs.Run, count: Count, done: Acknowledged) -> dict[str, Any]:
    assert known.cancelled_at is not None
    return {
        "run": known.id, "name": known.name, "at": f"{known.cancelled_at:%Y-%m-%d %H:%M:%S} UTC",
        "by": known.cancelled_by or "", "before": count.before, "too_late": count.too_late,
        "otherwise": count.otherwise, "undecided": count.undecided,
        "why": "a worker waits for answers to what has left" if done.obeyed_by
        else "what a worker had claimed is closed by the next one that starts",
    }  # fmt: skip


def _said(told: dict[str, Any]) -> str:
    count = len(told["obeyed_by"])
    text = f"obeyed by {count} worker{'s' if count > 1 else ''}" if count else "no worker sends: those that start obey"
    text += f", in {told['acknowledged_s'] * 1000:,.0f} ms"
    text += f"; gone without a word: {', '.join(told['gone'])}" if told["gone"] else ""
    return text + (f"; fenced, since they did not obey: {', '.join(told['fenced'])}" if told["fenced"] else "")
