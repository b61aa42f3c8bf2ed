"""What `sluice audience threshold` and `inactive` say: an object for programs, and lines for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.campaign.inactivity import FEWEST_GAPS, PERCENTILES, Silence, by_rhythm, percentile, share_within
from gateway.store.inactivity import Repeated

RHYTHM_DAYS = 180
CURVE_DAYS = (7, 14, 30, 60, 90, 180, 365)
SHARE_DAYS = (30, 60, 90, 180, 365)


def proposals(
    every: float | None, gaps: Mapping[int, int], repeats: Sequence[Repeated], percent: float
) -> dict[str, Any]:
    """Propose; None is what there is too little for."""
    told: dict[str, Any] = {"rhythm": None, "purchases": None}
    if every is not None:
        least, most = by_rhythm(every)
        told["rhythm"] = {"every_days": every, "least_days": least, "most_days": most}
    if gaps:
        median = percentile(gaps, 50)
        days = percentile(gaps, percent)
        told["purchases"] = {
            "gaps": sum(gaps.values()),
            "median_days": median,
            "percentile": percent,
            "days": days,
            "of_median": days / median,
            "median_twice_at": share_within(gaps, 2 * median),
            "percentiles": {str(one): percentile(gaps, one) for one in PERCENTILES},
            "repeats": [
                {"days": one.days, "purchases": one.purchases, "followed": one.followed} for one in repeats
            ],
        }  # fmt: skip
    return told


def proposal_lines(told: Mapping[str, Any]) -> list[str]:
    """Say it."""
    rhythm, bought = told["rhythm"], told["purchases"]
    if rhythm is None:
        lines = ["by rhythm     no two days of bulk runs yet: --every DAYS says how often people are written to"]
    else:
        least, most = rhythm["least_days"], rhythm["most_days"]
        span = f"{least} days" if least == most else f"{least} to {most} days"
        lines = [f"by rhythm     {span}: people are written to every {rhythm['every_days']:.3g} days"]
    if bought is None:
        return [*lines, "by purchase   nobody has bought a second time yet"]
    lines.append(
        f"by purchase   {bought['days']} days: {bought['percentile']:g} % of {bought['gaps']:,} gaps are no longer; "
        f"{bought['of_median']:.1f} times the median of {bought['median_days']} days"
    )
    if bought["gaps"] < FEWEST_GAPS:
        lines.append(f"              of fewer than {FEWEST_GAPS} gaps: it says little yet")
    lines.append("percentiles   " + ", ".join(f"{one} %: {days} days" for one, days in bought["percentiles"].items()))
    for one in bought["repeats"]:
        if one["purchases"]:
            share = one["followed"] / one["purchases"]
            lines.append(
                f"within {one['days']:>4}   {share:6.1%} of {one['purchases']:,} purchases were followed by another"
            )
    return lines


def inactive_shares(found: Mapping[str, Mapping[int | None, int]], days: Sequence[int]) -> dict[str, Any]:
    """Count who is inactive by each sign: of all people, and by orders of all buyers."""
    told: dict[str, Any] = {}
    for sign, counts in found.items():
        ago = {one: count for one, count in counts.items() if one is not None}
        base = {sign: Silence(days=ago, never=counts.get(None, 0))}
        if sign == "order":
            base["buyers"] = Silence(days=ago)
        for name, one in base.items():
            told[name] = {
                "people": one.people, "never": one.never, "inactive": {str(each): one.inactive(each) for each in days},
            }  # fmt: skip
    return told


def share_lines(told: Mapping[str, Any]) -> list[str]:
    """Say it."""
    lines = []
    for name, one in told.items():
        lines.append(f"{name:8} of {one['people']:,} people, {one['never']:,} of them without a sign ever")
        for days, count in one["inactive"].items():
            share = count / one["people"] if one["people"] else 0.0
            lines.append(f"{'':8} {days:>5} days {count:>12,}  {share:6.1%}")
    return lines
