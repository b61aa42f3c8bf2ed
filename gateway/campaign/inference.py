"""What counts say of rates and means: tests, intervals, and how sure one may be; numbers in, numbers out.

    two_rates        Pearson's chi-square without correction, as its root z with a pooled rate
    newcombe         interval of a difference of rates: R. G. Newcombe, Statistics in Medicine 17 (1998) 873, method 10
    two_means        interval of a difference of what people pay, most of whom pay nothing and one very much
    always_valid     interval that holds at all times at once, however often one looks: the mixture sequential
                     probability ratio test, Johari, Koomen, Pekelis, Walsh, Operations Research 70 (2022) 1806
    holm             S. Holm, Scand. J. Statist. 6 (1979) 65
    best_rates       P(best) and expected loss of rates, each with a prior that is flat (Beta-Binomial)
    best_means       the same of means that are normal

docs/experiments.md has the formulas. Not here: which of it decides anything (experiments.py).
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

from msgspec import Struct

from gateway.experiment import Sums

NORMAL = NormalDist()
Z95 = NORMAL.inv_cdf(0.975)
# Where a posterior is looked at, in its standard deviations from its mean: closely where it has its mass, and far out
# for the tail of a rate that has had no event.
_STEPS = (
    *(step / 2 for step in range(-80, -16)),
    *(step / 8 for step in range(-64, 64)),
    *(step / 2 for step in range(16, 81)),
)
# As soon as the smaller arm is to have so many who did and so many who did not, a difference of rates is near enough to
# normal: of 10,000 experiments that were looked at every hour at most 2.6 % showed a difference that was none.
SURE_FROM = 10
_DEVIATIONS = 9.0


class Interval(Struct, frozen=True):
    """An estimate and the interval around it."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Interval":
        """The same of a multiple, which is not negative."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)


NOTHING = Interval(0.0, -math.inf, math.inf)


class Best(Struct, frozen=True):
    """How likely one is the best of all, and how much is lost on the average by taking it."""

    chance: float
    loss: float


def wilson(events: int, of: int, z: float = Z95) -> Interval:
    """The interval of a rate (E. B. Wilson 1927): it never leaves 0 to 1, and is one where there was no event."""
    if not of:
        return Interval(0.0, 0.0, 1.0)
    rate, square = events / of, z * z
    middle = (rate + square / (2 * of)) / (1 + square / of)
    half = z / (1 + square / of) * math.sqrt(rate * (1 - rate) / of + square / (4 * of * of))
    # Both ends are exact where rounding would leave a trace.
    low = 0.0 if events == 0 else max(0.0, middle - half)
    return Interval(rate, low, 1.0 if events == of else min(1.0, middle + half))


def newcombe(events: int, of: int, other_events: int, other_of: int, z: float = Z95) -> Interval:
    """The interval of the first rate less the other."""
    one, other = wilson(events, of, z), wilson(other_events, other_of, z)
    value = one.value - other.value
    low = math.hypot(one.value - one.low, other.high - other.value)
    high = math.hypot(one.high - one.value, other.value - other.low)
    return Interval(value, value - low, value + high)


def two_rates(events: int, of: int, other_events: int, other_of: int) -> float:
    """The p of two rates being the same, two-sided."""
    if not of or not other_of:
        return 1.0
    pooled = (events + other_events) / (of + other_of)
    variance = pooled * (1 - pooled) * (1 / of + 1 / other_of)
    return two_sided((events / of - other_events / other_of) / math.sqrt(variance)) if variance > 0 else 1.0


def two_sided(z: float) -> float:
    """The chance of a standard normal value at least so far from 0."""
    return math.erfc(abs(z) / math.sqrt(2))


# So many payers of an arm weigh as much as all of both arms when it is asked how unequal payments are.
BORROWED_PAYERS = 50


class Means(Struct, frozen=True):
    """A difference of means: its interval, its p, its standard error."""

    interval: Interval
    p: float
    error: float


def two_means(one: Sums, other: Sums, z: float = Z95) -> Means:
    """Compare what people pay on the average, the first less the other.

    A small arm that happens to lack the one great payment does not know how wide its interval has to be: Welch's holds
    88 % of the time, not 95, with 20 log-normal payers in a smaller arm of 100. So how unequal payments are, the
    ratio of their squares to themselves, is borrowed from both arms together, the less the more payers an arm has.
    """
    ratio = (one.squares + other.squares) / (one.revenue + other.revenue) if one.revenue + other.revenue > 0 else 0.0
    value = mean_of(one) - mean_of(other)
    variance = _variance(one, ratio) + _variance(other, ratio) if ratio else math.inf
    if not math.isfinite(variance):
        return Means(Interval(value, -math.inf, math.inf), 1.0, math.inf)
    error = math.sqrt(variance)
    p = two_sided(value / error) if error else float(value == 0)
    return Means(Interval(value, value - z * error, value + z * error), p, error)


def mean_of(sums: Sums) -> float:
    """What a person pays on the average."""
    return sums.revenue / sums.people if sums.people else 0.0


def _variance(sums: Sums, ratio: float) -> float:
    """The variance of a mean, of payments whose squares are `ratio` times themselves over all."""
    if not sums.people:
        return math.inf
    own = sums.payers / (sums.payers + BORROWED_PAYERS) if sums.revenue > 0 else 0.0
    ratio = (own * sums.squares / sums.revenue if own else 0.0) + (1 - own) * ratio
    mean = mean_of(sums)
    return max(0.0, mean * (ratio - mean)) / sums.people


def mean_and_error(sums: Sums, total: Sums) -> tuple[float, float]:
    """What a person of an arm pays on the average, and the error of that; total: of the arms that are compared."""
    ratio = total.squares / total.revenue if total.revenue > 0 else 0.0
    return mean_of(sums), math.sqrt(_variance(sums, ratio)) if ratio else math.inf


def always_valid(difference: float, variance: float, spread: float, alpha: float = 0.05) -> tuple[Interval, float]:
    """The interval of a difference that holds at every look with 1 - alpha, and the p of no difference at this look.

    variance  of the estimate
    spread    of the differences that one expects (the normal mixture's standard deviation); a wrong one makes the
              interval wider, never false
    """
    if not math.isfinite(variance):
        return Interval(difference, -math.inf, math.inf), 1.0
    if variance <= 0:
        return Interval(difference, difference, difference), 1.0 if difference == 0 else 0.0
    mixed = spread * spread
    growth = math.log((variance + mixed) / variance)
    half = math.sqrt(variance * (variance + mixed) / mixed * (growth - 2 * math.log(alpha)))
    evidence = mixed * difference * difference / (2 * variance * (variance + mixed)) - growth / 2
    return Interval(difference, difference - half, difference + half), min(1.0, math.exp(-evidence))


def rates_variance(events: int, of: int, other_events: int, other_of: int) -> float:
    """The variance of a difference of rates, for a look at any time; infinite before it may be taken for normal.

    The greater of two: as if both had the same rate, and as if each had its own, with a person more at the pooled one.
    Of a control of 5 % the own rate alone would claim, while it has no event yet, to be known for certain: one of three
    experiments without a difference would show one.
    """
    people = of + other_of
    rate = (events + other_events) / people if people else 0.0
    if min(of, other_of) * min(rate, 1 - rate) < SURE_FROM:
        return math.inf
    pooled = (events + other_events + 1) / (people + 2)
    one, other = (events + pooled) / (of + 1), (other_events + pooled) / (other_of + 1)
    return max(rate * (1 - rate) * (1 / of + 1 / other_of), one * (1 - one) / of + other * (1 - other) / other_of)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p values of several comparisons, so that the chance of one false among them stays what it is of one."""
    adjusted = [0.0] * len(ps)
    least = 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, ps[at] * (len(ps) - rank)))
        adjusted[at] = least
    return adjusted


def chi_square_tail(value: float, degrees: int) -> float:
    """The chance that chi-square of so many degrees of freedom is at least so large."""
    if degrees < 1 or value <= 0:
        return 1.0
    return _gamma_tail(degrees / 2, value / 2)


def _gamma_tail(a: float, x: float) -> float:
    """The regularised upper incomplete gamma function (Abramowitz and Stegun 6.5.29, 6.5.31)."""
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = sum_ = 1 / a
        n = a
        while term > sum_ * 1e-16:
            n += 1
            term *= x / n
            sum_ += term
        return max(0.0, 1 - front * sum_)
    # The continued fraction, by Lentz's method.
    b = x + 1 - a
    c, d = 1e300, 1 / b
    found = d
    for i in range(1, 10_000):
        step = -i * (i - a)
        b += 2
        d = 1 / (step * d + b)
        c = b + step / c
        found *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * found


def goodness_of_fit(found: Sequence[int], shares: Sequence[float]) -> tuple[float, int]:
    """Chi-square of counts against the shares that were meant, which need not sum to 1; -> with its degrees."""
    total, whole = sum(found), sum(shares)
    if not total or not whole:
        return 0.0, 0
    value, cells = 0.0, 0
    for count, share in zip(found, shares, strict=True):
        if share > 0:
            expected = total * share / whole
            value += (count - expected) ** 2 / expected
            cells += 1
        elif count:
            return math.inf, max(1, len(found) - 1)
    return value, cells - 1


def best_rates(counts: Sequence[tuple[int, int]]) -> list[Best]:
    """Say of each (events, people) how likely its rate is the greatest, and what is lost by taking it."""
    return _best([_beta(events + 1.0, people - events + 1.0) for events, people in counts], 0.0, 1.0)


def best_means(means: Sequence[tuple[float, float]]) -> list[Best]:
    """Say the same of each (mean, its standard error)."""
    if any(not math.isfinite(error) for _, error in means):
        return [Best(1 / len(means), math.inf)] * len(means)
    # Who has no spread at all has as good as none: the least that the points can show.
    widest = max((error for _, error in means), default=0.0) or 1.0
    return _best([_normal(mean, max(error, widest / 100)) for mean, error in means], -math.inf, math.inf)


_Posterior = tuple[float, float, Callable[[float], float]]
"""Mean, standard deviation, and density, of whatever integral."""


def _beta(a: float, b: float) -> _Posterior:
    mean = a / (a + b)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)

    def density(x: float) -> float:
        if (x <= 0 and a > 1) or (x >= 1 and b > 1):
            return 0.0
        left = (a - 1) * math.log(x) if a > 1 else 0.0
        return math.exp(front + left + ((b - 1) * math.log1p(-x) if b > 1 else 0.0))

    return mean, math.sqrt(mean * (1 - mean) / (a + b + 1)), density


def _normal(mean: float, spread: float) -> _Posterior:
    return mean, spread, lambda x: math.exp(-0.5 * ((x - mean) / spread) ** 2)


def _best(posteriors: Sequence[_Posterior], least: float, most: float) -> list[Best]:
    """Integrate over the densities; by Simpson's rule, between places that each of them has where it has its mass."""
    if len(posteriors) == 1:
        return [Best(1.0, 0.0)]
    places = sorted({min(most, max(least, mean + spread * step)) for mean, spread, _ in posteriors for step in _STEPS})
    # Each two places and the middle between them: masses of both halves, of each posterior.
    widths = [after - before for before, after in zip(places, places[1:], strict=False)]
    middles = [(before + after) / 2 for before, after in zip(places, places[1:], strict=False)]
    at_places, at_middles, below, below_middles = [], [], [], []
    for _, _, density in posteriors:
        ends, inner = [density(x) for x in places], [density(x) for x in middles]
        upto, half = [0.0], []
        for width, one, between, other in zip(widths, ends, inner, ends[1:], strict=False):
            half.append(upto[-1] + width * (5 * one + 8 * between - other) / 24)
            upto.append(upto[-1] + width * (one + 4 * between + other) / 6)
        total = upto[-1]
        at_places.append([one / total for one in ends])
        at_middles.append([one / total for one in inner])
        below.append([one / total for one in upto])
        below_middles.append([min(1.0, max(0.0, one / total)) for one in half])

    def integral(ends: Sequence[float], inner: Sequence[float]) -> float:
        return sum(
            width * (one + 4 * between + other) / 6
            for width, one, between, other in zip(widths, ends, inner, ends[1:], strict=False)
        )

    all_below = [math.prod(row) for row in zip(*below, strict=True)]
    all_below_middles = [math.prod(row) for row in zip(*below_middles, strict=True)]
    # E max = the least place + the integral of P(max > x).
    greatest = places[0] + integral([1 - one for one in all_below], [1 - one for one in all_below_middles])
    found = []
    for at, (mean, _, _) in enumerate(posteriors):
        ends, inner = (
            # Where nobody is below at all there is none of its mass.
            [mass * product / own if own else 0.0 for mass, product, own in zip(masses, products, owns, strict=True)]
            for masses, products, owns in (
                (at_places[at], all_below, below[at]),
                (at_middles[at], all_below_middles, below_middles[at]),
            )
        )
        found.append(Best(min(1.0, integral(ends, inner)), max(0.0, greatest - mean)))
    return found


def people_needed(
    baseline: float, effect: float, share: float, other_share: float, alpha: float = 0.05, power: float = 0.8
) -> int:
    """How many people it takes in all for two arms of such shares to tell rates `effect` apart (J. L. Fleiss)."""
    other = baseline + effect
    ratio = other_share / share
    mean = (baseline + ratio * other) / (1 + ratio)
    by_chance = NORMAL.inv_cdf(1 - alpha / 2) * math.sqrt((1 + 1 / ratio) * mean * (1 - mean))
    by_power = NORMAL.inv_cdf(power) * math.sqrt(baseline * (1 - baseline) + other * (1 - other) / ratio)
    return math.ceil(((by_chance + by_power) / effect) ** 2 / share)


def people_needed_of_means(
    deviation: float, effect: float, share: float, other_share: float, alpha: float = 0.05, power: float = 0.8
) -> int:
    """How many people it takes in all for two arms of such shares to tell means `effect` apart."""
    z = NORMAL.inv_cdf(1 - alpha / 2) + NORMAL.inv_cdf(power)
    return math.ceil((z * deviation / effect) ** 2 * (1 / share + 1 / other_share))
