"""From how many days without a sign a person is inactive: proposals out of what a business does (S0.11 to S0.13).

    by rhythm    who is written to every d days is given 90 d^a to 90 d^b days: 90 where it is daily, 180 to 365 where
                 it is monthly, with a = ln 2 / ln 30 and b = ln (365 / 90) / ln 30
    by purchase  the gaps between days on which a person bought: after the percentile p of them, p % of those who came
                 back had come back
    repeats      of purchases at least n days old, the share that another one followed within n days: nobody who has not
                 had the time yet is counted as gone

Histograms are days -> how many. Not here: where they come from (store/inactivity.py).
"""

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

DAILY_DAYS = 90
MONTHLY_DAYS = (180, 365)
MONTH = 30
PERCENTILES = (50, 75, 80, 90, 95)
# Below, a percentile says more of the few who bought than of those who will.
FEWEST_GAPS = 30


class Silence(Struct, frozen=True, kw_only=True):
    """How long ago something of each person was last: days -> people, and of whom it never was."""

    days: Mapping[int, int]
    never: int = 0

    @property
    def people(self) -> int:
        """The whole base."""
        return sum(self.days.values()) + self.never

    def inactive(self, days: int) -> int:
        """Count those of whom nothing was for so many days, or never (SG-3: at `days` exactly somebody is)."""
        return self.never + sum(count for ago, count in self.days.items() if ago >= days)


def by_rhythm(every_days: float) -> tuple[int, int]:
    """Propose the least and the most days for who is written to every so many days; oftener than daily is daily."""
    least, most = (
        DAILY_DAYS * max(1.0, every_days) ** (math.log(at_monthly / DAILY_DAYS) / math.log(MONTH))
        for at_monthly in MONTHLY_DAYS
    )
    return round(least), round(most)


def rhythm_of(sent_on: Sequence[int]) -> float | None:
    """The mean number of days from one day of sending to the next; None: there are not two of them."""
    days = sorted(set(sent_on))
    return (days[-1] - days[0]) / (len(days) - 1) if len(days) > 1 else None


def percentile(gaps: Mapping[int, int], percent: float) -> int:
    """The least gap that so many percent are no longer than (nearest rank).

    raises  ValueError: there is none
    """
    wanted = max(1, math.ceil(sum(gaps.values()) * percent / 100))
    upto = 0
    for days in sorted(gaps):
        upto += gaps[days]
        if upto >= wanted:
            return days
    raise ValueError("gaps: expected one at least, found none")


def share_within(gaps: Mapping[int, int], days: float) -> float:
    """The share of gaps that are no longer."""
    return sum(count for gap, count in gaps.items() if gap <= days) / sum(gaps.values())
