"""What `sluice experiment` says: objects for programs, and lines for people."""

import math
from datetime import datetime
from typing import Any

from msgspec import Struct

from gateway.campaign import experiments as rules
from gateway.campaign.experiments import MISMATCH, SMALL, UNDERPOWERED, Line, Pair, Verdict
from gateway.campaign.inference import Interval
from gateway.commands._options import plain
from gateway.experiment import CONTROL, SHOWN, Experiment, allocation_of
from gateway.store.experiments import Counted, Kept


class Shown(Struct, frozen=True, kw_only=True):
    """An experiment and what is known of it."""

    kept: Kept
    known: Verdict
    elapsed_s: float | None
    attributed: float | None


def shown(kept: Kept, counted: Counted, now: datetime, attributed: float | None = None) -> Shown:
    """Judge what was counted."""
    return Shown(
        kept=kept,
        known=rules.verdict(kept.body, counted.arms, counted.splits, kept.stopped),
        elapsed_s=None if counted.first_at is None else (now - counted.first_at).total_seconds(),
        attributed=attributed,
    )


def shares(experiment: Experiment) -> str:
    """Say who of all people gets what."""
    allocation = allocation_of(experiment)
    tested = (allocation.test) / 10_000
    told = [
        f"{plain(name)} {100 * share * tested:.4g} %"
        for name, share in zip(experiment.names(), allocation.shares(), strict=True)
        if share
    ]
    return ", ".join(told) + (f"; {100 * (1 - tested):.4g} % wait for the winner" if tested < 1 else "")


def standing(kept: Kept) -> dict[str, Any]:
    """Say how far an experiment is."""
    names = kept.body.names()
    return {
        "name": kept.name,
        "campaign": kept.campaign,
        "version": kept.version,
        "state": kept.state,
        "metric": kept.body.metric,
        "winner": None if kept.winner is None else names[kept.winner],
        "stopped": [names[arm] for arm in kept.stopped],
        "made_at": kept.made_at.isoformat(),
        "decided_at": None if kept.decided_at is None else kept.decided_at.isoformat(),
        "decided_by": kept.decided_by,
        "why": kept.why,
    }


def standing_line(kept: Kept) -> str:
    """Say it in a line."""
    names = kept.body.names()
    text = f"{plain(kept.name)}: {SHOWN[kept.state]}"
    if kept.winner is not None:
        text += f", {plain(names[kept.winner])} has won"
    if kept.decided_at is not None:
        text += f", {kept.decided_at:%Y-%m-%d %H:%M:%S} UTC by {plain(kept.decided_by)}"
    if kept.why:
        text += f": {plain(kept.why)}"
    if kept.stopped:
        text += f"; arms stopped: {', '.join(plain(names[arm]) for arm in kept.stopped)}"
    return text


def told(found: Shown) -> dict[str, Any]:
    """Say what is known, for a program; a bound that is not known yet is null."""
    known, names = found.known, found.kept.body.names()

    def pair(one: Pair) -> dict[str, Any]:
        return {
            "one": names[one.one],
            "other": names[one.other],
            **_interval("difference", one.difference),
            "p": one.p,
            "adjusted_p": one.adjusted,
            **_interval("always_valid", one.always),
            "always_valid_p": one.always_p,
        }

    return {
        **standing(found.kept),
        "elapsed_s": found.elapsed_s,
        "labels": list(known.labels),
        "needed": known.needed,
        "sample_ratio_p": known.mismatch,
        "beats_all": None if known.beats is None else names[known.beats],
        "by_rule": None if known.by_rule is None else names[known.by_rule],
        "arms": [
            {
                "name": one.name,
                "people": one.people,
                "reached": one.reached,
                "conversions": one.conversions,
                **_interval("rate", one.rate),
                **_interval("rate_of_reached", one.rate_reached),
                "revenue_a_person": one.mean,
                "opt_outs": one.opt_outs,
                "failures": one.failures,
                "chance_best": one.best.chance if one.best else None,
                "expected_loss": _finite(one.best.loss) if one.best else None,
                "rank": one.rank or None,
                "is_stopped": one.is_stopped,
            }
            for one in known.lines
        ],
        "pairs": [pair(one) for one in known.pairs],
        "against_control": [pair(one) for one in known.against],
        "lift": [
            {
                "arm": "all variants" if one.arm == CONTROL else names[one.arm],
                "people": one.people,
                **_interval("conversions", one.conversions),
                **({} if one.revenue is None else _interval("revenue", one.revenue)),
            }
            for one in known.lifts
        ],
        "attributed_revenue": found.attributed,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _interval(name: str, one: Interval) -> dict[str, float | None]:
    return {name: one.value, f"{name}_low": _finite(one.low), f"{name}_high": _finite(one.high)}


def lines(found: Shown) -> list[str]:
    """Say what is known, for a person."""
    kept, known = found.kept, found.known
    experiment, names = kept.body, kept.body.names()
    said = [standing_line(kept), f"metric {experiment.metric}, by assignment; window {experiment.window}"]
    if found.elapsed_s is None:
        return [*said, "nobody was assigned yet"]
    said += [f"! {_label(one, known)}" for one in known.labels]
    said += ["", *_table([_head(experiment), *(_cells(experiment, one) for one in known.lines)])]
    for title, pairs in (("difference", known.pairs), ("against the control", known.against)):
        if pairs:
            rows = [[title, "95 % interval", "p of one look", "p (Holm)", "95 % at every look"]]
            rows += [_pair(experiment, one, names) for one in pairs]
            said += ["", *_table(rows)]
    if known.lifts:
        rows = [["lift over the control", "conversions more", *(["revenue more"] if experiment.currency else [])]]
        for one in known.lifts:
            name = "all variants" if one.arm == CONTROL else plain(names[one.arm])
            row = [name, _range(one.conversions, "{:,.0f}")]
            if one.revenue is not None:
                row.append(f"{_range(one.revenue, '{:,.0f}')} minor units of {experiment.currency}")
            rows.append(row)
        said += ["", *_table(rows)]
    if found.attributed is not None:
        said.append(f"attributed revenue: {found.attributed:,.0f} minor units")
    said += ["", _verdict(found)]
    return said


def _label(label: str, known: Verdict) -> str:
    if label == UNDERPOWERED:
        people = sum(one.people for one in known.lines)
        return f"{label}: {people:,} people of {known.needed:,} that the minimum effect takes"
    if label == MISMATCH:
        return f"{label}: p = {known.mismatch:.2g}: people were not divided as they were to be, there is no verdict"
    if label == SMALL:
        return f"{label}: fewer than {rules.RANKED_FROM} conversions in an arm"
    return label


def _head(experiment: Experiment) -> list[str]:
    of_money = [f"revenue a person ({experiment.currency} minor)"] if experiment.currency else []
    return ["arm", "people", "reached", "conversions", "rate", "95 % interval", *of_money, "of reached", "opt-outs",
            "failures", "P(best)", "expected loss", "rank"]  # fmt: skip


def _cells(experiment: Experiment, one: Line) -> list[str]:
    loss = "" if one.best is None or not math.isfinite(one.best.loss) else (
        f"{one.best.loss:,.1f}" if experiment.is_of_money else f"{100 * one.best.loss:.3f} pp"
    )  # fmt: skip
    return [
        plain(one.name) + (" (stopped)" if one.is_stopped else ""),
        f"{one.people:,}",
        f"{one.reached:,}",
        f"{one.conversions:,}",
        f"{100 * one.rate.value:.2f} %",
        f"{100 * one.rate.low:.2f} to {100 * one.rate.high:.2f} %",
        *([f"{one.mean:,.1f}"] if experiment.currency else []),
        f"{100 * one.rate_reached.value:.2f} %",
        f"{one.opt_outs:,}",
        f"{one.failures:,}",
        "" if one.best is None else f"{one.best.chance:.3f}",
        loss,
        str(one.rank or ""),
    ]


def _pair(experiment: Experiment, one: Pair, names: tuple[str, ...]) -> list[str]:
    return [
        f"{plain(names[one.one])} - {plain(names[one.other])}",
        _difference(experiment, one.difference),
        f"{one.p:.3g}",
        f"{one.adjusted:.3g}",
        _difference(experiment, one.always),
    ]


def _difference(experiment: Experiment, one: Interval) -> str:
    if not math.isfinite(one.low):
        return "too early"
    if experiment.is_of_money:
        return _range(one, "{:+,.1f}")
    return f"{100 * one.value:+.2f} ({100 * one.low:+.2f} to {100 * one.high:+.2f}) pp"


def _range(one: Interval, form: str) -> str:
    if not math.isfinite(one.low):
        return "not known"
    return f"{form.format(one.value)} ({form.format(one.low)} to {form.format(one.high)})"


def _verdict(found: Shown) -> str:
    kept, known, names = found.kept, found.known, found.kept.body.names()
    if kept.state in ("decided", "stopped"):
        return standing_line(kept)
    if known.is_blocked:
        return "no verdict: look for what takes people out of one arm"
    if len(kept.body.variants) < 2:
        return "one variant: there is nothing to decide, only a lift to be known"
    text = "nobody beats all others" if known.beats is None else f"{plain(names[known.beats])} beats all others"
    by_rule = "none yet" if known.by_rule is None else plain(names[known.by_rule])
    left_s = rules.due_after_s(kept.body) - (found.elapsed_s or 0.0)
    when = f"it is decided in {left_s / 3600:.1f} h" if kept.state == "running" and left_s > 0 else SHOWN[kept.state]
    return f"{text}; by the rule {by_rule}; {when}"


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def planned(experiment: Experiment, people: int | None, per_day: float | None) -> dict[str, Any]:
    """Say what an experiment takes, for a program."""
    found = rules.plan(experiment, people, per_day)
    return {
        "name": experiment.name,
        "needed": found.needed,
        "people": found.people,
        "detectable_effect": found.effect,
        "days": found.days,
        "is_underpowered": found.is_underpowered,
    }


def plan_lines(experiment: Experiment, people: int | None, per_day: float | None) -> list[str]:
    """Say it for a person."""
    found = rules.plan(experiment, people, per_day)
    unit = f"minor units of {experiment.currency} a person" if experiment.is_of_money else "percentage points"
    times = 1.0 if experiment.is_of_money else 100.0
    said = [
        shares(experiment),
        f"{found.needed:,} people tell {experiment.minimum_effect * times:g} {unit} from nothing, four times of five",
    ]
    if found.people is not None:
        said.append(f"{found.people:,} people are in the test" + (f": {UNDERPOWERED}" if found.is_underpowered else ""))
        if found.effect is not None:
            said.append(f"so many can tell {found.effect * times:.3g} {unit}")
    if found.days is not None:
        said.append(f"that takes {found.days:,.1f} days")
    return said
