"""`sluice report`: what campaigns brought, how shop and list do, what it costs, how fast it is. docs/numbers.md."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from msgspec import Struct

from gateway import app, reasons
from gateway.campaign import formulas
from gateway.campaign.formulas import Life
from gateway.campaign.inactivity import Silence
from gateway.commands import _experiment, _plots
from gateway.commands._figures import Column, Table, csv_of, document_of, lines_of, money, with_formulas
from gateway.commands._options import Refused, config_option, dsn_option, plain, said_plainly, say, settings_of
from gateway.config import Settings
from gateway.countries import letters_of
from gateway.person import major_units, minor_units
from gateway.rate import CostSettings
from gateway.store import campaigns as stored
from gateway.store import conversions, experiments, inactivity, migrate, postgres, reports
from gateway.store.ledger import SETTLES

PATIENCE_S = 600.0
EVER = date(1970, 1, 1)
LAPSE = 2.0  # silent for more than so many times the own gap, and a customer is gone
REACTIVATES = timedelta(days=90)
INACTIVE_DAYS = 90
HOURS_BACK = timedelta(days=28)
SILENT_H = 24
PLACES = {"not entered": "did not enter", "left": "left before its end", "step": "a step sent no text"}
# Reasons for which nobody would have read it: what was saved (S0.37).
DEAD = frozenset(range(int(reasons.Reason.ERASED), int(reasons.Reason.STOP) + 1))
RATES = (
    "delivery_rate",
    "no_receipt_share",
    "click_rate",
    "page_open_rate",
    "response_rate",
    "conversion_rate",
    "redemption_rate",
    "unsubscribe_rate",
)


class Ask(Struct, frozen=True, kw_only=True):
    """What is asked for, and as what: of days, both included."""

    settings: Settings
    now: datetime
    since: date
    until: date
    csv: Path | None
    plot: Path | None
    as_json: bool
    is_current: bool
    is_rebuilt: bool


def _asking(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of all reports, and hand them over as an Ask and a place in the database."""

    def asked(
        config: Path | None,
        dsn: str,
        since: datetime | None,
        until: datetime | None,
        at: datetime | None,
        csv: Path | None,
        plot: Path | None,
        as_json: bool,
        as_it_is: bool,
        rebuild: bool,
        **more: Any,
    ) -> None:
        with said_plainly():
            settings = settings_of(config, dsn)
        now = at.replace(tzinfo=UTC) if at else datetime.now(UTC)
        today = now.astimezone(ZoneInfo(settings.reports.zone)).date()
        ask = Ask(
            settings=settings,
            now=now,
            since=since.date() if since else EVER,
            until=until.date() if until else today,
            csv=csv,
            plot=plot,
            as_json=as_json,
            is_current=as_it_is,
            is_rebuilt=rebuild,
        )
        if ask.since > ask.until:
            raise click.UsageError(f"--from: expected a day before --to, found {ask.since} and {ask.until}")
        command(ask, **more)

    asked.__name__, asked.__doc__ = command.__name__, command.__doc__
    made: Any = asked
    for option in reversed(
        [
            click.option("--from", "since", type=click.DateTime(["%Y-%m-%d"]), help="The first day."),
            click.option("--to", "until", type=click.DateTime(["%Y-%m-%d"]), help="The last day; by default today."),
            click.option("--at", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), hidden=True),
            click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write the table there."),
            click.option(
                "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a chart there, as SVG."
            ),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
            click.option("--as-it-is", is_flag=True, help="Count nothing new first: as of the last count."),
            click.option("--rebuild", is_flag=True, help="Count all of it anew first."),
        ]
    ):
        made = option(made)
    for name in getattr(command, "__click_params__", []):
        made.__click_params__.append(name)
    return config_option(dsn_option(made))


@click.group()
def report() -> None:
    """Show numbers. Each share names what it is a share of; of a few it is shown as an interval."""


# -- campaigns ---------------------------------------------------------------------------------------------------------


@report.command(name="campaigns")
@_asking
def campaigns(ask: Ask) -> None:
    """All campaigns, one a line: what was sent, clicked, redeemed and earned."""

    async def work(connection: postgres.Connection, refreshed: str) -> list[Table]:
        # Of all days a person counts once; of some of them on each, since views know no spans.
        is_all = ask.since == EVER and ask.until >= ask.now.date()
        view = "report_campaign" if is_all else "report_campaign_day"
        rows = await reports.rows(connection, view, since=ask.since, until=ask.until)
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            summed = found.setdefault(row["campaign"], {"campaign": row["campaign"]})
            for name, value in row.items():
                if isinstance(value, int) and not isinstance(value, bool):
                    summed[name] = summed.get(name, 0) + value
        kept = [summed for _, summed in sorted(found.items())]
        bills = await _bills(connection, ask)
        for row in kept:
            for formula in formulas.of("campaign").values():
                row[formula.name] = formulas.share(row.get(formula.numerator, 0), row.get(formula.denominator, 0))
            row["cost"] = bills.of(row["campaign"])
            row["roi"] = _roi(row, ask.settings.costs, bills)
        columns = [
            Column(name="campaign", title="campaign", kind="text"),
            Column(name="attempted", title="sent"),
            Column(name="delivered", title="delivered"),
            *with_formulas(("delivery_rate", "no_receipt_share", "click_rate", "conversion_rate", "unsubscribe_rate")),
            Column(name="codes_redeemed", title="redeemed"),
            Column(name="orders", title="orders"),
            Column(name="revenue_net", title="revenue", kind="money"),
            Column(name="parts", title="parts"),
            Column(name="cost", title="cost", kind="money"),
            Column(name="roi", title="ROI", kind="share"),
        ]
        notes = [refreshed, *_roi_note(ask.settings.costs)]
        if not is_all:
            notes.append("people of several days of a campaign are counted on each of them")
        currency = await _currency(connection, ask)
        return [Table(name="campaigns", title="Campaigns", columns=columns, rows=kept, notes=notes, currency=currency)]

    _show(
        ask,
        work,
        lambda tables: _plots.bars(
            "Net revenue owed to campaigns",
            [str(row["campaign"])[:12] for row in tables[0].rows[:20]],
            [float(major_units(row.get("revenue_net") or 0, tables[0].currency)) for row in tables[0].rows[:20]],
            tables[0].currency,
            "campaign",
        ),
    )


@report.command()
@_asking
@click.argument("name")
@click.option("--by", type=click.Choice(["day", "run", "variant", "audience", "exception"]), help="A line each.")
def campaign(ask: Ask, name: str, by: str | None) -> None:
    """One campaign: its goal first, then how it came there, and what it cost."""

    async def work(connection: postgres.Connection, refreshed: str) -> list[Table]:
        facts = await reports.ask(connection, "report_run_facts", name)
        lines = await reports.rows(connection, "report_campaign", campaign=name)
        if not facts and not lines and await stored.named(connection, name) is None:
            raise Refused(f"campaign: expected the name of one that was sent, found {plain(name)!r}")
        currency = await _currency(connection, ask)
        if by == "exception":
            return [await _exceptions(connection, ask, name, refreshed)]
        if by is not None:
            return [await _by(connection, ask, name, by, currency, refreshed)]
        row: dict[str, Any] = dict(lines[0]) if lines else {"campaign": name}
        aims = [one for one in await conversions.goals(connection) if one.campaign == name and one.until is None]
        bills = await _bills(connection, ask)
        row["cost"], row["roi"] = bills.of(name), _roi(row, ask.settings.costs, bills)
        return [
            _goal_table(row, aims, refreshed),
            _way_table(row),
            _rate_table(row),
            await _unsent(connection, ask, name, facts, currency, row, bills),
            await _exceptions(connection, ask, name, ""),
            await _opt_outs(connection, ask, name),
            await _rules(connection, ask, name, currency),
            *await _lifts(connection, ask, name, row),
            await _earned(connection, ask, name, row, bills, currency),
        ]

    def drawn(tables: Sequence[Table]) -> str:
        if by is None:
            way = next(table for table in tables if table.name == "way")
            return _plots.funnel(f"Campaign {name}", [(str(row["step"]), float(row["count"])) for row in way.rows])
        [table] = tables
        if by == "exception":
            prevented = [float(row["prevented"]) for row in table.rows]
            return _plots.bars(f"Campaign {name}", [str(row[by]) for row in table.rows], prevented, "prevented", by)
        places = [str(row[by]) for row in table.rows]
        lines = [
            _plots.Line(name=title, values=[float(row.get(column) or 0) for row in table.rows])
            for column, title in (
                ("delivered", "delivered"),
                ("clicked_endpoints", "clicked"),
                ("converted", "converted"),
            )
        ]
        settling = next((at for at, row in enumerate(table.rows) if row.get("is_settling")), None)
        return _plots.series(f"Campaign {name}, by {by}", places, lines, "messages, people", settling)

    _show(ask, work, drawn)


def _goal_table(row: Mapping[str, Any], aims: Sequence[conversions.Aimed], refreshed: str) -> Table:
    counts = ("converted", "goal_2", "goal_3", "goal_4")
    rows = [
        {
            "goal": aim.goal.title,
            "within": aim.goal.within,
            "starts": aim.goal.starts,
            "converted": row.get(counts[aim.place - 1]) or 0,
            "delivered_cases": row.get("delivered_cases") or 0,
            "conversion_rate": formulas.share(row.get(counts[aim.place - 1]) or 0, row.get("delivered_cases") or 0),
        }
        for aim in aims
    ]
    notes = [refreshed] if aims else [refreshed, "no goal was declared: sluice goal set NAME FILE"]
    columns = [
        Column(name="goal", title="goal", kind="text"),
        Column(name="within", title="within", kind="text"),
        Column(name="starts", title="starts when", kind="text"),
        Column(name="converted", title="reached"),
        Column(name="delivered_cases", title="of"),
        *with_formulas(("conversion_rate",)),
    ]
    return Table(name="goals", title=f"Campaign {row['campaign']}", columns=columns, rows=rows, notes=notes)


def _way_table(row: Mapping[str, Any]) -> Table:
    names = (
        ("attempted", "sent"),
        ("accepted", "accepted"),
        ("delivered", "delivered"),
        ("delivered_endpoints", "people reached"),
        ("clicked_endpoints", "clicked"),
        ("replied_endpoints", "replied"),
        ("converted", "reached the goal"),
        ("orders", "orders owed to it"),
    )
    rows = [{"step": title, "count": row.get(column) or 0} for column, title in names]
    notes = []
    if (row.get("delivered") or 0) > (row.get("delivered_cases") or 0):
        unknown = (row.get("delivered") or 0) - (row.get("delivered_cases") or 0)
        notes.append(
            f"{unknown:,} delivered messages were to numbers of which no person is known, or to the same again"
        )
    columns = [Column(name="step", title="step", kind="text"), Column(name="count", title="count")]
    return Table(name="way", title="How it came there", columns=columns, rows=rows, notes=notes)


def _rate_table(row: Mapping[str, Any]) -> Table:
    known = formulas.of("campaign")
    rows = []
    for name in RATES:
        formula = known[name]
        if not row.get(formula.denominator):
            continue
        rows.append(
            {
                **row,
                "what": formula.title,
                "is": row.get(name),
                "name": name,
                "numerator": formula.numerator,
                "denominator": formula.denominator,
                "count": row.get(formula.numerator) or 0,
                "of": row.get(formula.denominator) or 0,
                "shown": _share_text(formula, row),
            }
        )
    columns = [
        Column(name="name", title="number", kind="text"),
        Column(name="shown", title="", kind="text"),
        Column(name="count", title="count"),
        Column(name="of", title="of"),
        Column(name="numerator", title="which", kind="text"),
        Column(name="denominator", title="of which", kind="text"),
    ]
    return Table(
        name="rates",
        title="Shares",
        columns=columns,
        rows=rows,
        notes=["~ is an estimate: SMS tells nobody that it was opened"] if rows else [],
    )


def _share_text(formula: formulas.Formula, row: Mapping[str, Any]) -> str:
    [column] = with_formulas((formula.name,))
    return lines_of(Table(name="", title="", columns=[column], rows=[row]))[2].strip()


async def _unsent(
    connection: postgres.Connection,
    ask: Ask,
    name: str,
    facts: Sequence[Mapping[str, Any]],
    currency: str,
    row: Mapping[str, Any],
    bills: "Bills",
) -> Table:
    counts = await reports.skipped(connection, [fact["id"] for fact in facts])
    for one in await reports.rows(connection, "report_refusal_day", campaign=name, since=ask.since, until=ask.until):
        counts[one["status"]] = counts.get(one["status"], 0) + one["messages"]
    parts = formulas.share(row.get("parts") or 0, row.get("accepted") or 0) or 1.0
    each = formulas.share(bills.of_parts(name), row.get("parts") or 0) or bills.usual
    rows = [
        {
            "reason": reasons.word_of(status),
            "rule": reasons.rule_of(status),
            "messages": count,
            "place": "in no chunk, or at the gate",
            "saved": count * parts * each if status in DEAD else None,
        }
        for status, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    ]
    applied = await stored.named(connection, name)
    if applied is not None:
        zone = ask.settings.reports.zone
        rows += [
            {
                "reason": reasons.word_of(one["reason"]),
                "rule": reasons.rule_of(one["reason"]),
                "messages": one["people"],
                "place": PLACES[one["place"]],
            }
            for one in await reports.ask(connection, "report_prevented", applied.id, ask.since, ask.until, zone)
        ]
    columns = [
        Column(name="reason", title="reason", kind="text"),
        Column(name="rule", title="rule", kind="text"),
        Column(name="messages", title="messages"),
        Column(name="place", title="where", kind="text"),
        Column(name="saved", title="money not burnt", kind="money"),
    ]
    notes = [f"saved: on numbers nobody reads or may write to, at {parts:.2f} parts a message"] if rows else []
    return Table(
        name="unsent",
        title="Not sent, and why",
        columns=columns,
        rows=rows,
        notes=notes,
        currency=ask.settings.costs.currency or currency,
    )


async def _exceptions(connection: postgres.Connection, ask: Ask, name: str, refreshed: str) -> Table:
    """What was prevented, and what came too late for that (EX-3, EX-5)."""
    return Table(
        name="exceptions",
        title="What happened before a text left, or soon after",
        columns=[
            Column(name="exception", title="exception", kind="text"),
            Column(name="prevented", title="prevented"),
            Column(name="lead_s", title="so long before, in the middle", kind="seconds"),
            Column(name="late", title="too late"),
            Column(name="cancelled", title="taken back"),
            Column(name="refused", title="not taken back"),
        ],
        rows=await reports.ask(connection, "report_exceptions", name, ask.since, ask.until, ask.settings.reports.zone),
        notes=[refreshed] if refreshed else [],
    )


async def _opt_outs(connection: postgres.Connection, ask: Ask, name: str) -> Table:
    return Table(
        name="opt_outs",
        title="Opt-outs within 72 hours behind its messages, by the way they took",
        columns=[Column(name="source", title="by", kind="text"), Column(name="people", title="messages")],
        rows=await reports.ask(connection, "report_opt_outs", name, ask.since, ask.until),
    )


async def _lifts(connection: postgres.Connection, ask: Ask, name: str, row: Mapping[str, Any]) -> list[Table]:
    """What a campaign added, by its experiments with a control: beside what is owed to it (AB-9)."""
    tables = []
    for kept in await experiments.all_of(connection):
        if kept.campaign != name:
            continue
        counted = await experiments.arms(connection, kept, ask.now)
        found = _experiment.shown(kept, counted, ask.now, row.get("revenue_net") or 0)
        told = _experiment.told(found)
        if not told["lift"]:
            continue
        notes = [
            f"experiment {plain(kept.name)}: by assignment, whether a text was sent or not; 95 % intervals",
            *(f"! {one}" for one in told["labels"]),
        ]
        columns = [
            Column(name="arm", title="arm", kind="text"),
            Column(name="people", title="people"),
            Column(name="conversions", title="conversions more"),
            Column(name="conversions_low", title="from"),
            Column(name="conversions_high", title="to"),
        ]
        if kept.body.currency:
            columns += [
                Column(name="revenue", title="revenue more", kind="money"),
                Column(name="revenue_low", title="from", kind="money"),
                Column(name="revenue_high", title="to", kind="money"),
            ]
        columns.append(Column(name="attributed", title="owed to it", kind="money"))
        rows = [{**one, "attributed": found.attributed if not at else None} for at, one in enumerate(told["lift"])]
        tables.append(
            Table(
                name=f"lift_{kept.name}",
                title="What it added: the arms against the control",
                columns=columns,
                rows=rows,
                notes=notes,
                currency=kept.body.currency or await _currency(connection, ask),
            )
        )
    return tables


async def _rules(connection: postgres.Connection, ask: Ask, name: str, currency: str) -> Table:
    rows = [
        {
            "why": ("coupon", "click", "reply", "delivery")[one["rule"] - 1],
            "orders": one["orders"],
            "revenue_net": one["net"],
        }
        for one in await reports.ask(connection, "report_rules", name, ask.since, ask.until)
    ]
    [part] = await reports.ask(connection, "report_influenced", name, ask.since, ask.until)
    rows.append({"why": "had a part in (influenced)", "orders": part["orders"], "revenue_net": part["net"]})
    columns = [
        Column(name="why", title="owed by", kind="text"),
        Column(name="orders", title="orders"),
        Column(name="revenue_net", title="net revenue", kind="money"),
    ]
    return Table(
        name="attribution",
        title="Orders, each owed to one message alone",
        columns=columns,
        rows=rows,
        currency=currency,
    )


async def _earned(
    connection: postgres.Connection, ask: Ask, name: str, row: Mapping[str, Any], bills: "Bills", currency: str
) -> Table:
    costs = ask.settings.costs
    asleep, back = await reports.reactivated(connection, name, timedelta(days=INACTIVE_DAYS), REACTIVATES)
    cost = bills.of(name)
    each = formulas.share(cost, back)
    rows: list[dict[str, Any]] = [
        {"what": "revenue, gross", "money": row.get("revenue_gross") or 0},
        {"what": "revenue, net of what was given back", "money": row.get("revenue_net") or 0},
        {"what": "net revenue a delivered message", "money": row.get("revenue_per_message")},
        {"what": "net revenue a part", "money": row.get("revenue_per_part")},
        {"what": f"cost of {row.get('parts') or 0:,} parts", "money": bills.of_parts(name)},
        {"what": "other cost", "money": cost - bills.of_parts(name)},
        {
            "what": f"reactivated: {back:,} of {asleep:,} who had slept {INACTIVE_DAYS} days; cost of each",
            "money": each,
        },
    ]
    if costs.acquisition:
        rows.append({"what": "a new customer costs", "money": _minor(costs.acquisition, costs.currency or currency)})
    columns = [Column(name="what", title="what", kind="text"), Column(name="money", title="", kind="money")]
    value = _roi(row, costs, bills)
    notes = [f"ROI {'–' if value is None else f'{value:.0%}'}", *_roi_note(costs)]
    return Table(name="money", title="Money", columns=columns, rows=rows, notes=notes, currency=currency)


async def _by(connection: postgres.Connection, ask: Ask, name: str, by: str, currency: str, refreshed: str) -> Table:
    view = {
        "day": "report_campaign_day",
        "run": "report_run",
        "variant": "report_variant",
        "audience": "report_audience",
    }[by]
    rows = await reports.rows(connection, view, campaign=name, since=ask.since, until=ask.until)
    if by == "day":
        settles = (ask.now - SETTLES).astimezone(ZoneInfo(ask.settings.reports.zone)).date()
        rows = [
            {**row, "is_settling": row["day"] >= settles, "state": "settling" if row["day"] >= settles else ""}
            for row in rows
        ]
    columns = [Column(name=by, title=by, kind="text")]
    if by == "variant":
        arms = {one["variant"]: one for one in await reports.rows(connection, "report_arm", campaign=name)}
        known = {one["variant"]: one for one in rows}
        rows = [{"variant": arm, **known.get(arm, {}), **_of_arm(arms.get(arm, {}))} for arm in sorted({*known, *arms})]
        columns += [
            Column(name="cases", title="sent, or would have been"),
            Column(name="reached", title="reached the goal"),
            *with_formulas(("goal_rate",), "arm"),
        ]
    if by != "variant":
        columns += [Column(name="attempted", title="sent"), Column(name="delivered", title="delivered")]
        columns += with_formulas(("delivery_rate",))
    columns += [
        Column(name="delivered_endpoints", title="people"),
        Column(name="clicked_endpoints", title="clicked"),
        *with_formulas(("click_rate", "response_rate")),
        Column(name="converted", title="converted"),
        *with_formulas(("conversion_rate", "unsubscribe_rate")),
        Column(name="orders", title="orders"),
        Column(name="revenue_gross", title="gross", kind="money"),
        Column(name="revenue_net", title="net", kind="money"),
    ]
    if by == "day":
        columns.append(Column(name="state", title="", kind="text"))
    notes = [refreshed]
    if by in ("variant", "audience"):
        notes.append("in the order of names: which is best is for `sluice experiment` to say (RP-4)")
    if by == "variant":
        notes.append(
            "of whom the gate let pass, by a text or a virtual send; `sluice experiment show` has all who were "
            "assigned, and these beside them (AB-6)"
        )
    return Table(
        name=f"by_{by}", title=f"Campaign {name}, by {by}", columns=columns, rows=rows, notes=notes, currency=currency
    )


def _of_arm(arm: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "cases": arm.get("cases"),
        "reached": arm.get("converted"),
        "goal_rate": arm.get("goal_rate"),
    }
    # Of the control, which has nothing else, the share is of these.
    return {**told, "converted": arm["converted"]} if arm else told


# -- the shop ----------------------------------------------------------------------------------------------------------


@report.command()
@_asking
def shop(ask: Ask) -> None:
    """The shop by months: buyers, churn, frequency, order value; who is inactive; how often is too often."""

    async def work(connection: postgres.Connection, refreshed: str) -> list[Table]:
        currency = await _currency(connection, ask)
        months = [
            row
            for row in await reports.rows(connection, "report_customer_month")
            if ask.since.replace(day=1) <= row["month"] <= ask.until
        ]
        for row in months:
            if row["month"] == ask.now.date().replace(day=1):
                # Who has not bought yet may still.
                row["state"], row["churn_rate"] = "not over", None
            else:
                row["state"] = ""
        known = formulas.of("month")
        columns = [
            Column(name="month", title="month", kind="text"),
            Column(name="buyers", title="buyers"),
            Column(name="new_buyers", title="new"),
            Column(name="returning_buyers", title="returning"),
            Column(name="orders", title="orders"),
            Column(name="revenue_net", title="net revenue", kind="money"),
            *with_formulas(tuple(known), "month"),
            Column(name="state", title="", kind="text"),
        ]
        silences = await inactivity.silences(connection, ask.now)
        ago = {days: count for days, count in silences["order"].items() if days is not None}
        base = Silence(days=ago)
        rows = [
            {
                "days": days,
                "people": base.inactive(days),
                "inactive_share": formulas.share(base.inactive(days), base.people),
            }
            for days in (30, 60, 90, 180, 365)
        ]
        weeks = await reports.rows(connection, "report_messages_week")
        for week in weeks:
            week["messages"] = f"{week['messages']}{' or more' if week['messages'] == 8 else ''}"
        sources = await reports.ask(connection, "report_sources", ask.now)
        for source in sources:
            hours = (ask.now - source["last_at"]).total_seconds() / 3600
            # Who tells something on each day is late after one; who does seldom, after three of their own pauses.
            usual = 24 * 28 / max(1, source["days"])
            source["silent_h"] = hours
            source["state"] = "silent" if hours > max(SILENT_H, 3 * usual) else ""
        return [
            Table(
                name="months",
                title="Shop by month (UTC)",
                columns=columns,
                rows=months,
                notes=[refreshed],
                currency=currency,
            ),
            Table(
                name="inactive",
                title="Buyers without an order for so long",
                columns=[
                    Column(name="days", title="days"),
                    Column(name="people", title="buyers"),
                    Column(name="inactive_share", title="share", kind="share"),
                ],
                rows=rows if base.people else [],
                notes=[f"of {base.people:,} who ever bought; a quarter and more is usual"],
            ),
            Table(
                name="messages_week",
                title="Opt-outs by messages in a week",
                columns=[
                    Column(name="messages", title="messages", kind="text"),
                    Column(name="people_weeks", title="weeks of people"),
                    Column(name="opted_out", title="opt-outs"),
                    *with_formulas(("unsubscribe_rate",), "week"),
                ],
                rows=weeks,
            ),
            Table(
                name="sources",
                title="Sources of events, 28 days",
                columns=[
                    Column(name="source", title="source", kind="text"),
                    Column(name="events", title="events"),
                    Column(name="days", title="days"),
                    Column(name="last_at", title="last", kind="text"),
                    Column(name="silent_h", title="hours ago", kind="number"),
                    Column(name="state", title="", kind="text"),
                ],
                rows=sources,
                notes=["a source that is silent is half of a picture: audiences and goals lack what it would tell"],
            ),
        ]

    _show(
        ask,
        work,
        lambda tables: _plots.series(
            "Shop by month",
            [f"{row['month']:%Y-%m}" for row in tables[0].rows],
            [
                _plots.Line(name=title, values=[float(row[column]) for row in tables[0].rows])
                for column, title in (("buyers", "buyers"), ("new_buyers", "new"), ("orders", "orders"))
            ],
            "people, orders",
            next((at for at, row in enumerate(tables[0].rows) if row["state"]), None),
        ),
    )


@report.command()
@_asking
def cohorts(ask: Ask) -> None:
    """Of those who bought first in a month, how many bought so many months later; and what they have brought."""

    async def work(connection: postgres.Connection, refreshed: str) -> list[Table]:
        currency = await _currency(connection, ask)
        rows = [
            row
            for row in await reports.rows(connection, "report_cohort")
            if ask.since.replace(day=1) <= row["cohort"] <= ask.until
        ]
        by_cohort: dict[date, list[dict[str, Any]]] = {}
        for row in rows:
            by_cohort.setdefault(row["cohort"], []).append(row)
        margin = ask.settings.costs.margin
        worth = [
            {
                "cohort": cohort,
                "buyers": of[0]["buyers"],
                "orders": sum(one["orders"] for one in of),
                "revenue_net": sum(one["revenue_net"] for one in of),
                "clv": formulas.clv_historic(sum(one["revenue_net"] for one in of), of[0]["buyers"], margin),
            }
            for cohort, of in sorted(by_cohort.items())
        ]
        return [
            Table(
                name="cohorts",
                title="Retention by the month of the first order (UTC)",
                columns=[
                    Column(name="cohort", title="cohort", kind="text"),
                    Column(name="months_later", title="months later"),
                    Column(name="buyers", title="buyers"),
                    Column(name="active_buyers", title="bought"),
                    *with_formulas(("retention_rate",), "cohort"),
                    Column(name="orders", title="orders"),
                    Column(name="revenue_net", title="net revenue", kind="money"),
                ],
                rows=rows,
                notes=[refreshed],
                currency=currency,
            ),
            Table(
                name="clv_historic",
                title="What a customer of a cohort has brought",
                columns=[
                    Column(name="cohort", title="cohort", kind="text"),
                    Column(name="buyers", title="buyers"),
                    Column(name="orders", title="orders"),
                    Column(name="revenue_net", title="net revenue", kind="money"),
                    Column(name="clv", title="margin a customer", kind="money"),
                ],
                rows=worth,
                notes=[f"at a margin of {margin:.0%} of net revenue ([costs] margin)"],
                currency=currency,
            ),
        ]

    def drawn(tables: Sequence[Table]) -> str:
        by_cohort: dict[date, dict[int, int]] = {}
        for row in tables[0].rows:
            by_cohort.setdefault(row["cohort"], {})[row["months_later"]] = row["active_buyers"]
        ages = {one: (ask.until.year - one.year) * 12 + ask.until.month - one.month for one in by_cohort}
        far = max(ages.values(), default=0)
        rows, said = [], []
        for cohort, counts in sorted(by_cohort.items()):
            buyers = counts[0]
            # The month that is not over is left out: who has not bought in it may still.
            values = [
                formulas.share(counts.get(at, 0), buyers) if at == 0 or at < ages[cohort] else None
                for at in range(far + 1)
            ]
            rows.append((f"{cohort:%Y-%m} ({buyers:,})", values))
            said.append(["" if buyers >= formulas.FEW else f"{counts.get(at, 0)}/{buyers}" for at in range(far + 1)])
        return _plots.heat_map(
            "Share of buyers who bought again, by months after the first order",
            rows,
            [str(at) for at in range(far + 1)],
            "first order (buyers)",
            said,
        )

    _show(ask, work, drawn)


@report.command()
@_asking
def clv(ask: Ask) -> None:
    """How long customers stay, how often and for how much they buy, and what one may be worth."""
    curve: list[tuple[int, float]] = []
    seen: list[int] = []

    async def work(connection: postgres.Connection, refreshed: str) -> list[Table]:
        currency = await _currency(connection, ask)
        found = await reports.ask(connection, "report_lives", ask.now, LAPSE)
        lives = [Life(days=row["days"], lapsed=row["lapsed"], still=row["still"]) for row in found]
        [year] = await reports.ask(connection, "report_year", ask.now, currency)
        curve[:] = formulas.survival(lives)
        seen[:] = [life.days for life in lives]
        people = sum(life.lapsed + life.still for life in lives)
        margin = ask.settings.costs.margin
        order_value = formulas.share(year["net"], year["orders"])
        frequency = formulas.share(year["orders"], year["buyers"])
        churn = formulas.share(year["lost"], year["buyers_before"])
        simple = formulas.clv_simple(order_value, frequency, churn, margin)
        rows = [
            {"what": "who ever bought", "value": f"{people:,}"},
            {
                "what": "bought twice or more (repeat rate)",
                "value": _percent(year["bought_again"], year["bought_ever"]),
            },
            {
                "what": "relationship length: mean of last order - first order",
                "value": _days(formulas.share(sum(row["together"] or 0 for row in found), people)),
            },
            {
                "what": "median lifetime (Kaplan-Meier), gone = silent for twice the own gap",
                "value": _days(formulas.median_lifetime(curve)),
            },
            {
                "what": "orders of a buyer in the last 365 days",
                "value": "–" if frequency is None else f"{frequency:.2f}",
            },
            {"what": "median days since the last order", "value": _days(year["recency_days"])},
            {"what": "net revenue of an order", "value": "–" if order_value is None else money(order_value, currency)},
            {
                "what": "churn: bought 366 to 730 days ago and not since",
                "value": _percent(year["lost"], year["buyers_before"]),
            },
            {
                "what": "CLV, simple: order value × orders a year / churn a year × margin",
                "value": "–" if simple is None else money(simple, currency),
            },
        ]
        columns = [Column(name="what", title="number", kind="text"), Column(name="value", title="", kind="text")]
        notes = [
            refreshed,
            f"at a margin of {margin:.0%} of net revenue ([costs] margin); of cohorts: sluice report cohorts",
        ]
        survival = [{"days": days, "still": left} for days, left in curve]
        return [
            Table(name="clv", title="Customers", columns=columns, rows=rows, notes=notes, currency=currency),
            Table(
                name="survival",
                title="Share that still buys",
                columns=[Column(name="days", title="days"), Column(name="still", title="share", kind="share")],
                rows=survival if ask.csv or ask.as_json else survival[:: max(1, len(survival) // 12)],
            ),
        ]

    _show(
        ask,
        work,
        lambda tables: _plots.steps(
            "How long customers stay", curve, max(seen, default=0), formulas.median_lifetime(curve)
        ),
        first="survival",
    )


@report.command()
@_asking
@click.option("--brand", default="", metavar="NAME", help="Of one brand; by default of all.")
def growth(ask: Ask, brand: str) -> None:
    """The list: who became marketable and who ceased to be, net and gross, and by which way they came."""

    async def work(connection: postgres.Connection, refreshed: str) -> list[Table]:
        told = [
            row
            for row in await reports.ask(connection, "report_growth", ask.settings.reports.zone)
            if brand in ("", row["brand"])
        ]
        days: list[dict[str, Any]] = []
        sources: dict[tuple[str, str], dict[str, Any]] = {}
        standing: dict[str, int] = {}
        totals: dict[str, dict[str, Any]] = {}
        for row in told:
            before = standing.get(row["brand"], 0)
            standing[row["brand"]] = before + row["gained"] - row["lost"]
            if row["day"] > ask.until:
                continue
            total = totals.setdefault(
                row["brand"], {"brand": row["brand"], "marketable_before": 0, "gained": 0, "lost": 0}
            )
            if row["day"] < ask.since:
                total["marketable_before"] += row["gained"] - row["lost"]
                continue
            total["gained"] += row["gained"]
            total["lost"] += row["lost"]
            source = sources.setdefault(
                (row["brand"], row["source"]), {"brand": row["brand"], "source": row["source"], "gained": 0, "lost": 0}
            )
            source["gained"] += row["gained"]
            source["lost"] += row["lost"]
            if not days or (days[-1]["brand"], days[-1]["day"]) != (row["brand"], row["day"]):
                days.append(
                    {"brand": row["brand"], "day": row["day"], "gained": 0, "lost": 0, "marketable_before": before}
                )
            days[-1]["gained"] += row["gained"]
            days[-1]["lost"] += row["lost"]
        for row in [*days, *totals.values()]:
            row["net"] = row["gained"] - row["lost"]
            row["marketable"] = row["marketable_before"] + row["net"]
            row["marketable_average"] = (row["marketable_before"] + row["marketable"]) / 2
            row["list_growth_rate"] = formulas.share(row["net"], row["marketable_before"])
            row["gross_growth_rate"] = formulas.share(row["gained"], row["marketable_before"])
            row["list_unsubscribe_rate"] = formulas.share(row["lost"], row["marketable_average"])
        counted = [
            Column(name="marketable_before", title="before"),
            Column(name="gained", title="gained"),
            Column(name="lost", title="lost"),
            Column(name="net", title="net"),
            Column(name="marketable", title="after"),
        ]
        rates = with_formulas(("list_growth_rate", "gross_growth_rate", "list_unsubscribe_rate"), "growth")
        outs = await reports.ask(connection, "report_opt_outs", "", ask.since, ask.until)
        return [
            Table(
                name="growth",
                title="List",
                columns=[Column(name="brand", title="brand", kind="text"), *counted, *rates],
                rows=list(totals.values()),
                notes=[refreshed, "growth with many opt-outs is none: gross is shown beside net"],
            ),
            Table(
                name="growth_day",
                title="By day",
                columns=[
                    Column(name="brand", title="brand", kind="text"),
                    Column(name="day", title="day", kind="text"),
                    *counted,
                ],
                rows=days if ask.csv or ask.as_json or ask.plot else days[-31:],
            ),
            Table(
                name="opt_in_sources",
                title="By the way they came or went",
                columns=[
                    Column(name="brand", title="brand", kind="text"),
                    Column(name="source", title="source", kind="text"),
                    Column(name="gained", title="gained"),
                    Column(name="lost", title="lost"),
                ],
                rows=[sources[key] for key in sorted(sources)],
            ),
            Table(
                name="opt_outs",
                title="Opt-outs within 72 hours after a message, by what told them",
                columns=[Column(name="source", title="source", kind="text"), Column(name="people", title="people")],
                rows=outs,
            ),
        ]

    def drawn(tables: Sequence[Table]) -> str:
        days = tables[1].rows
        by_day: dict[date, list[int]] = {}
        for row in days:
            counts = by_day.setdefault(row["day"], [0, 0])
            counts[0] += row["gained"]
            counts[1] += row["lost"]
        order = sorted(by_day)
        lines = [
            _plots.Line(name="gained", values=[float(by_day[day][0]) for day in order]),
            _plots.Line(name="lost", values=[float(by_day[day][1]) for day in order]),
        ]
        return _plots.series("List growth", [day.isoformat() for day in order], lines, "people")

    _show(ask, work, drawn, first="growth_day")


# -- money and time ----------------------------------------------------------------------------------------------------


@report.command()
@_asking
@click.option(
    "--by", type=click.Choice(["country", "carrier", "campaign", "day"]), default="country", show_default=True
)
def cost(ask: Ask, by: str) -> None:
    """What messages cost, by country, carrier, campaign or day; other cost; what is left of the credit."""

    async def work(connection: postgres.Connection, refreshed: str) -> list[Table]:
        bills = await _bills(connection, ask)
        currency = ask.settings.costs.currency or await _currency(connection, ask)
        rows: dict[str, dict[str, Any]] = {}
        for one in bills.parts:
            row = rows.setdefault(
                str(one[by]), {by: str(one[by]) or "–", "messages": 0, "parts": 0, "cost": 0.0, "refunded": 0.0}
            )
            for name in ("messages", "parts", "cost", "refunded"):
                row[name] += one[name]
        for row in rows.values():
            row["each"] = formulas.share(row["cost"] - row["refunded"], row["messages"])
        columns = [
            Column(name=by, title=by, kind="text"),
            Column(name="messages", title="messages"),
            Column(name="parts", title="parts"),
            Column(name="cost", title="debited", kind="money"),
            Column(name="refunded", title="given back", kind="money"),
            Column(name="each", title="a message", kind="money"),
        ]
        costs = ask.settings.costs
        others = [
            {
                "day": line.day,
                "campaign": line.campaign or "all",
                "what": line.what,
                "amount": _minor(line.amount, currency),
            }
            for line in costs.lines
            if ask.since.isoformat() <= line.day <= ask.until.isoformat()
        ]
        spent = await _spent_of_credit(connection, ask)
        bought = _minor(costs.credit, currency)
        account = [
            {"what": "bought", "money": bought},
            {"what": f"debited{' since ' + costs.credit_from if costs.credit_from else ''}", "money": -spent[0]},
            {"what": f"given back ({', '.join(costs.refunded) or 'nothing is'})", "money": spent[1]},
            {"what": "left", "money": bought - spent[0] + spent[1]},
        ]
        notes = [refreshed, "each part that a carrier took is debited, tests too, whatever came of it"]
        if not costs.countries and not costs.carriers:
            notes.append("no price is set: [costs] countries, carriers in sluice.toml")
        return [
            Table(
                name="cost",
                title=f"Cost by {by}",
                columns=columns,
                rows=[rows[key] for key in sorted(rows)],
                notes=notes,
                currency=currency,
            ),
            Table(
                name="lines",
                title="Other cost",
                columns=[
                    Column(name="day", title="day", kind="text"),
                    Column(name="campaign", title="campaign", kind="text"),
                    Column(name="what", title="what", kind="text"),
                    Column(name="amount", title="amount", kind="money"),
                ],
                rows=others,
                currency=currency,
            ),
            Table(
                name="credit",
                title="Credit",
                columns=[Column(name="what", title="what", kind="text"), Column(name="money", title="", kind="money")],
                rows=account if costs.credit else [],
                currency=currency,
            ),
        ]

    _show(
        ask,
        work,
        lambda tables: _plots.bars(
            f"Cost by {by}",
            [str(row[by]) for row in tables[0].rows[:24]],
            [
                float(major_units(round(row["cost"] - row["refunded"]), tables[0].currency))
                for row in tables[0].rows[:24]
            ],
            tables[0].currency or "money",
            by,
        ),
    )


@report.command()
@_asking
@click.option("--campaign", "name", default="", metavar="NAME", help="Of one campaign; by default of all.")
def timing(ask: Ask, name: str) -> None:
    """How fast it is: from what happened to the sending, from there to the handset, to a reply; the best hour."""

    async def work(connection: postgres.Connection, refreshed: str) -> list[Table]:
        [row] = await reports.ask(connection, "report_timing", name, ask.since, ask.until)
        rows = [
            {
                "what": title,
                "n": row[count],
                **dict(zip(("p50", "p95", "p99"), row[column] or (None,) * 3, strict=True)),
            }
            for column, count, title in (
                ("to_submit", "entered", "what set it off → sent"),
                ("to_deliver", "delivered", "sent → delivered"),
                ("to_reply", "replied", "delivered → first reply"),
            )
        ]
        visits = await reports.hours(connection, ask.now - HOURS_BACK, ask.settings.reports.zone)
        best = formulas.best_hour(visits)
        hours = [
            {"hour": f"{hour:02}:00", "visits": count, "mark": "best" if hour == best else ""}
            for hour, count in enumerate(visits)
        ]
        return [
            Table(
                name="timing",
                title=f"Promptness{f' of {name}' if name else ''}",
                columns=[
                    Column(name="what", title="from → to", kind="text"),
                    Column(name="n", title="of"),
                    *(Column(name=one, title=one, kind="seconds") for one in ("p50", "p95", "p99")),
                ],
                rows=rows,
                notes=[refreshed],
            ),
            Table(
                name="hours",
                title="What people did by the hour of their clock, 28 days",
                columns=[
                    Column(name="hour", title="hour", kind="text"),
                    Column(name="visits", title="events"),
                    Column(name="mark", title="", kind="text"),
                ],
                rows=hours if any(visits) else [],
                notes=["whose zone is not known is taken by the house's"],
            ),
            await _conversations(connection, ask),
        ]

    _show(
        ask,
        work,
        lambda tables: _plots.bars(
            "What people did by the hour of their clock",
            [str(row["hour"])[:2] for row in tables[1].rows],
            [float(row["visits"]) for row in tables[1].rows],
            "events of 28 days",
            "hour",
        ),
        first="hours",
    )


async def _conversations(connection: postgres.Connection, ask: Ask) -> Table:
    """How fast whoever writes is answered, and who is not (S4.60)."""
    rows = []
    for row in await reports.ask(connection, "report_conversations", ask.since, ask.until, ask.settings.reports.zone):
        p50, p95 = row["to_answer"] or (None, None)
        waits_s = None if row["oldest"] is None else (ask.now - row["oldest"]).total_seconds()
        rows.append({**row, "p50": p50, "p95": p95, "waits_s": waits_s})
    return Table(
        name="conversations",
        title="People who wrote, by inbox",
        columns=[
            Column(name="inbox", title="inbox", kind="text"),
            Column(name="opened", title="began"),
            Column(name="answered", title="answered"),
            Column(name="p50", title="first answer p50", kind="seconds"),
            Column(name="p95", title="p95", kind="seconds"),
            Column(name="unanswered", title="wait now"),
            Column(name="waits_s", title="the longest", kind="seconds"),
        ],
        rows=rows,
    )


class Bills(Struct, frozen=True, kw_only=True):
    """What was paid: lines of parts with their price, and by campaign what else. In the smallest coin."""

    parts: list[dict[str, Any]]
    lines: dict[str, float]
    usual: float

    def of_parts(self, campaign: str) -> float:
        """What the parts of a campaign cost, less what was given back."""
        return sum((one["cost"] - one["refunded"] for one in self.parts if one["campaign"] == campaign), 0.0)

    def of(self, campaign: str) -> float:
        """All that a campaign cost; what was paid for all is no single one's."""
        return self.of_parts(campaign) + self.lines.get(campaign, 0.0)


async def _bills(connection: postgres.Connection, ask: Ask) -> Bills:
    costs = ask.settings.costs
    currency = costs.currency or await _currency(connection, ask)
    rows = await reports.rows(connection, "report_parts_day", since=ask.since, until=ask.until)
    for row in rows:
        row["country"] = letters_of(row["country"])
        each = _minor(costs.of(row["carrier"], row["country"]) or 0.0, currency, is_exact=True)
        row["cost"] = row["parts"] * each
        row["refunded"] = row["cost"] if row["state"] in costs.refunded else 0.0
    lines: dict[str, float] = {}
    for line in costs.lines:
        if ask.since.isoformat() <= line.day <= ask.until.isoformat():
            lines[line.campaign] = lines.get(line.campaign, 0.0) + _minor(line.amount, currency)
    return Bills(parts=rows, lines=lines, usual=_minor(costs.countries.get("*", 0.0), currency, is_exact=True))


async def _spent_of_credit(connection: postgres.Connection, ask: Ask) -> tuple[float, float]:
    since = date.fromisoformat(ask.settings.costs.credit_from) if ask.settings.costs.credit_from else EVER
    whole = Ask(**{name: getattr(ask, name) for name in ask.__struct_fields__} | {"since": since})
    bills = await _bills(connection, whole)
    return sum(one["cost"] for one in bills.parts), sum(one["refunded"] for one in bills.parts)


def _roi(row: Mapping[str, Any], costs: CostSettings, bills: Bills) -> float | None:
    return formulas.roi((row.get("revenue_net") or 0) * costs.margin, bills.of(row["campaign"]))


def _roi_note(costs: CostSettings) -> list[str]:
    return [
        f"ROI: (net revenue owed to it × margin {costs.margin:.0%} - cost) / cost; what it added: `sluice experiment`"
    ]


def _minor(amount: float, currency: str, *, is_exact: bool = False) -> float:
    """In the smallest coin; a price may be a part of one."""
    if is_exact:
        return amount / float(major_units(1, currency))
    return float(minor_units(amount, currency) or 0)


def _percent(count: int, of: int) -> str:
    value = formulas.share(count, of)
    return "–" if value is None else f"{value:.1%} ({count:,} of {of:,})"


def _days(days: float | None) -> str:
    return "–" if days is None else f"{days:,.0f} days"


# -- around them -------------------------------------------------------------------------------------------------------


async def _currency(connection: postgres.Connection, ask: Ask) -> str:
    house, _ = await reports.terms_of(connection, ask.settings.reports)
    return house.currency


def _show(
    ask: Ask,
    work: Callable[[postgres.Connection, str], Awaitable[list[Table]]],
    drawn: Callable[[Sequence[Table]], str],
    first: str = "",
) -> None:
    """Count what is new, ask, and print or write; `first` names the table that a CSV is of, by default the first."""
    tables = _run(ask, work)
    if ask.plot is not None:
        _write(ask.plot, drawn(tables))
    if ask.csv is not None:
        _write(ask.csv, csv_of(next((table for table in tables if table.name == first), tables[0])))
    if ask.as_json:
        click.echo(json.dumps(document_of(tables), ensure_ascii=False))
        return
    for at, table in enumerate(tables):
        if at:
            click.echo()
        click.echo("\n".join(lines_of(table)))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise Refused(
            f"{path}: expected a file that can be written, found {(error.strerror or str(error)).lower()}"
        ) from error
    say(f"{path} is written")


def _run(ask: Ask, work: Callable[[postgres.Connection, str], Awaitable[list[Table]]]) -> list[Table]:
    async def connected() -> list[Table]:
        async with app.open_database(ask.settings, migrates=not app.has_database(ask.settings)) as database:
            await migrate.require(database.dsn)
            async with database.connection(PATIENCE_S) as connection:
                if ask.is_current:
                    at = await reports.as_of(connection)
                    if at is None:
                        raise Refused("report: expected numbers that were counted, found none: leave out --as-it-is")
                    return await work(connection, f"as of {at:%Y-%m-%d %H:%M} UTC")
                done = await reports.refresh(connection, ask.settings.reports, ask.now, whole=ask.is_rebuilt)
                if done.is_whole:
                    say(f"counted anew: {done.persons:,} people, {done.days:,} days of carriers")
                return await work(connection, f"as of {ask.now:%Y-%m-%d %H:%M} UTC; the last 72 hours settle yet")

    with said_plainly():
        return asyncio.run(connected())
