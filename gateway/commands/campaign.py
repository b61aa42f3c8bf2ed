"""`sluice campaign`: keep a campaign or a workflow from a file, launch it, and see how it goes."""

import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from gateway import app, document
from gateway.automation import launching
from gateway.automation.composing import written
from gateway.automation.turning import Under, Way
from gateway.campaign import workflow
from gateway.commands._control import obeyed, whoever
from gateway.commands._options import (
    EXIT_NOT_NOW,
    Refused,
    config_option,
    dsn_option,
    plain,
    said_plainly,
    say,
    settings_of,
)
from gateway.commands._stops import numbers_of
from gateway.commands.template import send_tests
from gateway.config import Settings
from gateway.document import Document
from gateway.reasons import word_of
from gateway.store import campaigns, conversions, enrolments, postgres
from gateway.template import Template

Result = TypeVar("Result")
STATES = {enrolments.UNDER_WAY: "under way", enrolments.ENDED: "ended", enrolments.REFUSED: "not entered"}


@click.group()
def campaign() -> None:
    """Campaigns and workflows: see docs/campaigns.md for what their files say."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    return config_option(dsn_option(command))


def _with(settings: Settings, act: Callable[[postgres.Connection], Awaitable[Result]]) -> Result:
    async def main() -> Result:
        async with app.open_database(settings) as database, database.connection() as connection:
            return await act(connection)

    return app.run(main())


def read_document(path: str) -> Document:
    """Read a document; Refused with everything that is wrong with its form."""
    try:
        octets = Path(path).read_bytes()
    except OSError as error:
        raise Refused(f"{path}: expected a file, found {error.strerror or error}") from error
    found, problems = document.read(octets, is_json=path.endswith(".json"))
    if found is None:
        raise Refused(f"{path}: not a campaign\n{problem_lines(problems)}")
    return found


def problem_lines(problems: list[tuple[str, str, str]]) -> str:
    """Lay problems out, one a line."""
    return "\n".join(f"  {key or 'file'}: expected {expected}, found {found}" for key, expected, found in problems)


def _now() -> datetime:
    return datetime.now(UTC)


@campaign.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--check", "only_checks", is_flag=True, help="Say what is wrong and keep nothing.")
@_options
def apply(config: Path | None, dsn: str, files: tuple[str, ...], only_checks: bool) -> None:
    """Keep campaigns as their files say, each as a new version where it is new."""
    with said_plainly():
        settings = settings_of(config, dsn)
        wanted = [(path, read_document(path)) for path in files]

        async def act(connection: postgres.Connection) -> None:
            for path, one in wanted:
                try:
                    if only_checks:
                        _, problems, slips = await launching.check(connection, settings, one)
                        if problems:
                            raise launching.Unfit(one.name, problems)
                        click.echo(f"{one.name}: can be applied")
                    else:
                        found, is_new, slips = await launching.apply(connection, settings, one, whoever(), _now())
                        click.echo(
                            f"{one.name}: version {found.version}{'' if is_new else ', as before'}, {found.state}"
                        )
                except launching.Unfit as unfit:
                    raise Refused(f"{path}: cannot be applied\n{problem_lines(unfit.problems)}") from unfit
                for slip in slips:
                    say(f"? {path}: {plain(slip)}")

        _with(settings, act)


@campaign.command("list")
@_options
def list_(config: Path | None, dsn: str) -> None:
    """Say how every campaign stands."""
    with said_plainly():
        settings = settings_of(config, dsn)
        for one in _with(settings, campaigns.every):
            entered = f"people enter version {one.live_version}" if one.live_version else "never launched"
            click.echo(f"{one.name:<32} {one.state:<7} version {one.version}, {entered}")


@campaign.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@_options
def show(config: Path | None, dsn: str, name: str, as_json: bool) -> None:
    """Print a campaign's document, and who is where in it."""
    with said_plainly():
        settings = settings_of(config, dsn)

        async def act(connection: postgres.Connection) -> dict[str, Any]:
            found = await _named(connection, name)
            version = await campaigns.version_of(connection, found.id, found.version)
            counts = await enrolments.counts(connection, found.id)
            declared = [one for one in await conversions.goals(connection) if one.campaign == name]
            return {
                "goals": [
                    {
                        "place": one.place, "goal": one.goal.title, "within": one.goal.within,
                        "starts": one.goal.starts, "since": one.since.isoformat(),
                    }
                    for one in declared if one.until is None
                ],
                "aim": version.document.aim,
                "name": found.name, "state": found.state, "version": found.version, "live_version": found.live_version,
                "applied_by": version.applied_by, "applied_at": version.applied_at.isoformat(),
                "document": msgspec.to_builtins(version.document),
                "people": [
                    {
                        "version": one.version, "step": one.step, "state": STATES[one.state],
                        "reason": word_of(one.reason), "people": one.people,
                        "next_at": None if one.next_at is None else one.next_at.isoformat(),
                    }
                    for one in counts
                ],
            }  # fmt: skip

        told = _with(settings, act)
        if as_json:
            click.echo(json.dumps(told, ensure_ascii=False))
            return
        click.echo(f"{told['name']}: {told['state']}, version {told['version']}, by {plain(told['applied_by'])}")
        # What it is for comes first (S4.68).
        for one in told["goals"]:
            since = f"{one['since'][:16].replace('T', ' ')} UTC"
            click.echo(
                f"goal {one['place']}: {plain(one['goal'])} within {one['within']} of {one['starts']}, since {since}"
            )
        if not told["goals"]:
            click.echo(f"no goal: {plain(told['aim']) or 'none was declared'}")
        click.echo(json.dumps(told["document"], ensure_ascii=False, indent=2))
        for one in told["people"]:
            reason = f" {one['reason']}" if one["reason"] else ""
            at = f", the next at {one['next_at'][:16].replace('T', ' ')} UTC" if one["next_at"] else ""
            click.echo(f"{one['people']:>9,}  version {one['version']}, step {one['step']}: {one['state']}{reason}{at}")


async def _named(connection: postgres.Connection, name: str) -> campaigns.Campaign:
    found = await campaigns.named(connection, name)
    if found is None:
        raise Refused(f"campaign {name!r} is not known: `sluice campaign list` names all of them")
    return found


@campaign.command()
@click.argument("name")
@click.option(
    "--people", type=click.Choice(("keep", "move", "restart", "exit")),
    help="What becomes of who is under way in earlier versions: goes on there, at the same step, anew, or leaves.",
)  # fmt: skip
@click.option("--recompute", is_flag=True, help="With --people move: what they wait for is reckoned anew.")
@click.option("--untested", is_flag=True, help="Though no test was sent of it, and the brand wants one; it is noted.")
@_options
def launch(config: Path | None, dsn: str, name: str, people: Way | None, recompute: bool, untested: bool) -> None:
    """Have people enter the newest version from now on."""
    if recompute and people != "move":
        raise click.UsageError("--recompute is of --people move: nobody else's waits are touched")
    with said_plainly():
        settings = settings_of(config, dsn)

        def told(some: list[Under]) -> None:
            for one in some:
                say(f"under way in version {one.version}, at {plain(one.name)}: {one.people:,}")

        def nag(lacks: list[tuple[str, str, str]]) -> None:
            for key, expected, _ in lacks:
                say(f"? {key}: expected {expected}, found none")

        async def act(connection: postgres.Connection) -> campaigns.Campaign:
            try:
                return await launching.launch(
                    connection, settings, name, _now(), whoever(), people, recomputes=recompute, say=told,
                    untested=untested, nag=nag,
                )  # fmt: skip
            except launching.Unfit as unfit:
                raise Refused(f"campaign {name!r} cannot be launched\n{problem_lines(unfit.problems)}") from unfit

        found = _with(settings, act)
        click.echo(f"{name}: live, version {found.live_version}")


@campaign.command()
@click.argument("name")
@click.option("--to", "numbers", multiple=True, required=True, metavar="NUMBER", help="A test number; several.")
@click.option(
    "--as-profile", default="", metavar="WHO", help="Whose texts they are: a number with +, or an external id."
)
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A field as it would be.")
@click.option("--mark", is_flag=True, help="Begin each with [TEST].")
@click.option("--carrier", "carriers", multiple=True, metavar="NAME", help="Without it the settings' routes decide.")
@click.option("--detach", is_flag=True, help="Enqueue and leave; a `sluice run` sends it.")
@click.option("--json", "as_json", is_flag=True, help="Print each report as one JSON object.")
@_options
def test(config: Path | None, dsn: str, name: str, **options: Any) -> None:
    """Send each text of a campaign's newest version to test numbers, and remember that it was (TP-13, S1.28)."""
    with said_plainly():
        settings = settings_of(config, dsn)
        if not options["carriers"] and not settings.routes:
            raise click.UsageError("Missing option '--carrier': the settings have no [[routes]].")
        for one in options["carriers"]:
            settings.carrier(one)

        async def act(connection: postgres.Connection) -> Document:
            found = await _named(connection, name)
            return (await campaigns.version_of(connection, found.id, found.version)).document

        kept = _with(settings, act)
        texts = [one for _, one in written(workflow.plan_of(kept)[0], settings.brand(kept.brand))]

        async def find(_: postgres.Connection) -> list[Template]:
            return texts

        if not app.run(send_tests(settings, kept.brand, find, {**options, "sender": kept.sender})):
            sys.exit(EXIT_NOT_NOW)


@campaign.command()
@click.argument("name")
@click.argument("number")
@click.option("--set", "sets", multiple=True, metavar="PROPERTY=VALUE", help="What its texts have; may be repeated.")
@click.option("--id", "id_", default="", help="Names this call: told again it is the same one.")
@_options
def enter(config: Path | None, dsn: str, name: str, number: str, sets: tuple[str, ...], id_: str) -> None:
    """Call a campaign that begins by a call for whoever has NUMBER."""
    with said_plainly():
        settings = settings_of(config, dsn)
        [found] = numbers_of([number], None)
        properties = {}
        for one in sets:
            key, mark, value = one.partition("=")
            if not mark or not key:
                raise Refused(f"--set: expected PROPERTY=VALUE, found {one!r}")
            properties[key] = value

        async def act(connection: postgres.Connection) -> bool:
            return await launching.enter(connection, name, found, properties, _now(), id_ or uuid.uuid4().hex)

        if not _with(settings, act):
            raise Refused(f"number {number}: expected that of a person, found nobody who has it")
        click.echo(f"{name}: called")


def _turn(state: str, does: str) -> click.Command:
    @click.argument("name")
    @_options
    def command(config: Path | None, dsn: str, name: str) -> None:
        with said_plainly():
            settings = settings_of(config, dsn)

            async def act(connection: postgres.Connection) -> str:
                ids = await launching.set_state(connection, name, state, _now(), whoever())
                return await obeyed(connection, ids) if ids else ""

            how_far = _with(settings, act)
            click.echo(f"{name}: {state}")
            if how_far:
                say(how_far)

    command.__doc__ = does
    return click.command()(command)


campaign.add_command(_turn("paused", "Let nobody enter and nobody go on; times run on (WF-9)."), "pause")
campaign.add_command(_turn("live", "Let a paused campaign go on."), "resume")
campaign.add_command(_turn("ended", "End a campaign: nobody enters, whoever waits leaves (TR-9)."), "stop")


@campaign.command()
@click.argument("name")
@click.argument("as_name")
@_options
def clone(config: Path | None, dsn: str, name: str, as_name: str) -> None:
    """Keep a campaign's newest version under another name, not launched."""
    with said_plainly():
        settings = settings_of(config, dsn)

        async def act(connection: postgres.Connection) -> None:
            found = await _named(connection, name)
            if await campaigns.named(connection, as_name) is not None:
                raise Refused(f"campaign {as_name!r}: expected a name that no campaign has, found one that has it")
            made = (await campaigns.version_of(connection, found.id, found.version)).document
            copied, problems = document.of({**msgspec.to_builtins(made), "name": as_name})
            if copied is None:
                raise Refused(f"campaign {as_name!r}\n{problem_lines(problems)}")
            await launching.apply(connection, settings, copied, whoever(), _now())

        _with(settings, act)
        click.echo(f"{as_name}: version 1, draft")
