"""How fast a run goes, as `sluice send` is told: its options, its plan, and what is refused before anything leaves.

Not here: the words themselves (gateway/rate.py), the forecast (campaign/rates.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from gateway.campaign.rates import Way, forecast, per_s_of, per_s_of_clicks, slower
from gateway.commands._options import Refused, say
from gateway.config import Settings
from gateway.rate import (
    ASK,
    CLICK_SHARE,
    HOLD_S,
    KINDS,
    RatePlan,
    length_words,
    read_budget,
    read_over,
    read_ramp,
    read_rate,
    read_share,
    read_threshold,
)
from gateway.store import postgres, rates, results


class Words(click.ParamType[Any]):
    """Words that a reader of gateway/rate.py reads."""

    def __init__(self, name: str, read: Callable[[str], Any]):
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what cannot be read, with what was expected."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(f"{error}, found {value!r}", param, ctx)


def _hold(text: str) -> int:
    return 0 if text == ASK else read_over(text)


def rate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a run that has a rate."""
    for option in reversed(
        [
            click.option("--over", type=Words("time", read_over), metavar="3h", help="Spread it evenly over so long."),
            click.option("--rate", type=Words("rate", read_rate), metavar="100/s", help="So many messages: 5000/h."),
            click.option(
                "--clicks", type=Words("rate", read_rate), metavar="200/m",
                help="No faster than that so many clicks come to the site that it leads to.",
            ),
            click.option(
                "--click-share", type=Words("share", read_share), default=f"{CLICK_SHARE:.0%}", show_default=True,
                metavar="8%", help="Of the messages that are opened, until it is known.",
            ),
            click.option(
                "--ramp", type=Words("shares", read_ramp), metavar="1%,10%,100%", help="So many, a hold, then more."
            ),
            click.option(
                "--ramp-hold", type=Words("time", _hold), default=length_words(HOLD_S), show_default=True,
                metavar="15m", help="Between the steps of a ramp; ask: until `sluice resume campaign`.",
            ),
            click.option(
                "--budget", type=Words("amount", read_budget), metavar="'500 EUR'", help="It stops before."
            ),
            click.option(
                "--pause-at", type=Words("threshold", read_threshold), multiple=True, metavar="'failure 20% of 100'",
                help=f"A carrier stops for this run at that share of at least so many: {', '.join(KINDS)}.",
            ),
            click.option(
                "--accept-shortfall", is_flag=True, help="Send although not everybody is reached before it expires."
            ),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def rate_of(settings: Settings, names: Sequence[str], options: Mapping[str, Any], parts: int = 1) -> RatePlan | None:
    """Make the plan of a run; None: nothing is said.

    parts   of a message, as far as it is known
    raises  Refused: words that contradict one another, or costs that nobody has said
    """
    amount, currency = options["budget"] or (0.0, "")
    if options["over"] and options["rate"]:
        raise Refused("--over and --rate: expected one of them, found both")
    if amount:
        if currency != settings.costs.currency:
            known = settings.costs.currency or "none: [costs] says no currency"
            raise Refused(f"--budget: expected the currency of [costs], {known}, found {currency}")
        free = [name for name in names if settings.costs.of(name, "*") is None]
        if free:
            where = f'[costs.countries] or [costs.carriers.{free[0]}] with "*"'
            raise Refused(f"--budget: expected what a part costs through {', '.join(free)} in {where}, found none")
    plan = RatePlan(
        over_s=options["over"] or 0, per_s=options["rate"] or 0.0, ramp=options["ramp"] or (),
        hold_s=options["ramp_hold"], budget=amount, currency=currency, parts=max(1, parts),
        thresholds=tuple(options["pause_at"]), clicks_per_min=(options["clicks"] or 0.0) * 60,
        click_share=options["click_share"],
    )  # fmt: skip
    nothing = RatePlan(hold_s=plan.hold_s, parts=plan.parts, click_share=plan.click_share)
    return None if plan == nothing else plan


async def keep_rate(connection: postgres.Connection, run: int, plan: RatePlan | None, people: int) -> None:
    """Keep the plan of a run before its chunks are there: nothing of it leaves before its first grant."""
    if plan is None:
        return
    # The first step of a ramp, and what a budget can pay for, are said by who steers.
    goes_to = 0 if plan.ramp or plan.budget else None
    per_s = slower(per_s_of(plan, people, people, 0.0, None), per_s_of_clicks(plan))
    await rates.add(connection, run, plan, people, per_s, goes_to)


async def judge_rate(
    connection: postgres.Connection, settings: Settings, lanes: Mapping[str, int], plan: RatePlan | None, people: int,
    class_: int, begin: datetime, options: Mapping[str, Any], parts: int = 1,
) -> None:  # fmt: skip
    """Say when a run will be over; refuse one whose offer ends before everybody has it (S0.16, TH-2).

    raises  Refused with the shortfall, unless it is accepted
    """
    plan = plan or RatePlan()
    waiting = [row for row in await results.queue_by_lane(connection) if row["class"] <= class_]
    tps = [settings.carrier(name).tps for name in lanes]
    per_s = sum(tps) / max(1, parts) if all(tps) else 0.0
    ahead = sum(int(row["positions"]) for row in waiting if row["lane"] in lanes.values())
    after_s = options["expires_after"]
    expires_at = None if after_s is None else begin.timestamp() + after_s
    found = forecast(plan, [Way(people, per_s, ahead)], begin.timestamp(), None, expires_at)
    if found.ends_at is not None and (not plan.is_asap or after_s is not None):
        ends = begin + timedelta(seconds=math.ceil(found.ends_at - begin.timestamp()))
        say(f"forecast    {plan.words}: over at {ends:%Y-%m-%d %H:%M:%S} UTC")
    if found.shortfall and not options["accept_shortfall"]:
        told = f"{found.shortfall:,} of {people:,} people would not be reached before it expires in {after_s:g} s"
        ahead_words = f", with {ahead:,} messages waiting before it" if ahead else ""
        carried = f" at {per_s:,.0f} messages a second{ahead_words}" if per_s else ""
        raise Refused(f"--expires-after: {told}{carried}: nothing was enqueued; send it anyway with --accept-shortfall")
