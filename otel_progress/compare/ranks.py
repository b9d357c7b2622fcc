"""Ranks of few, skewed samples: how far one side lies from the other, how sure that is, and when two are the same.

Everything is read from the sorted differences between the logarithms of the two sides. Their median is the estimate of
Hodges and Lehmann; how many of them lie above a value is the statistic of Mann and Whitney (of Wilcoxon's signed ranks
where the differences are the averages of Walsh), so that tests and intervals cannot contradict each other. Equality is
shown by two one-sided tests (Schuirmann), each against a border of what is taken to be the same.

The distributions are SciPy's: exact for up to 50 runs of each side, normal above that. Ties count for neither side,
which is on the safe side. Sources: J. L. Hodges and E. L. Lehmann, "Estimates of Location Based on Rank Tests", Annals
of Mathematical Statistics 34 (1963); M. Hollander, D. A. Wolfe and E. Chicken, "Nonparametric Statistical Methods", 3rd
edition (2013), chapters 3 and 4; D. J. Schuirmann, "A Comparison of the Two One-Sided Tests Procedure and the Power
Approach for Assessing the Equivalence of Average Bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15
(1987); S. Wellek, "Testing Statistical Hypotheses of Equivalence and Noninferiority", 2nd edition (2010), chapter 6.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

from .library import bound_of, chance_above, numpy, stats

EXACT = 50
"""Runs of each side up to which the distribution of the ranks is exact."""
_LEAST = 1e-9
"""Seconds. What is shorter counts as so long: zero has no logarithm."""
_FEWEST = 4
"""Runs of a side, of which nothing can be said about how one resembles the next."""
_MOST_LIKE = 0.9
_LAGS = 0.3
"""Up to which lag, as a part of the runs of a side."""


@dataclass(frozen=True)
class Differences:
    """What lies between two sides, for any number of rows at once."""

    sorted: Any
    """Array of shape (rows, differences): logarithms of ratios, new to base, ascending."""
    tail: Any
    """At u: how likely it is that u or more of the differences are positive, if nothing has changed."""
    inflation: Any
    """Array of shape (rows,): by how much the variance is larger than that of independent runs."""

    @classmethod
    def unpaired(cls, base: Any, new: Any, inflation: Any = 1.0) -> Differences:
        """Of two sides, each an array of shape (rows, runs) of seconds, with their `inflation`."""
        one, other = _logarithms(base), _logarithms(new)
        between = (other[:, :, None] - one[:, None, :]).reshape(len(one), -1)
        widened = numpy().broadcast_to(numpy().asarray(inflation, dtype=float), len(one))
        return cls(numpy().sort(between, axis=1), unpaired_tail(one.shape[1], other.shape[1]), widened)

    @classmethod
    def paired(cls, base: Any, new: Any) -> Differences:
        """Of pairs: run i of one side and run i of the other ran one right after the other."""
        np = numpy()
        between = _logarithms(new) - _logarithms(base)
        one, other = np.triu_indices(between.shape[1])
        averages = (between[:, one] + between[:, other]) / 2
        return cls(np.sort(averages, axis=1), paired_tail(between.shape[1]), np.ones(len(between)))

    @property
    def estimate(self) -> Any:
        """The shift, as the logarithm of a ratio: array of shape (rows,)."""
        return numpy().median(self.sorted, axis=1)

    @property
    def p_slower(self) -> Any:
        """One-sided: that the new side only seems slower."""
        return self._p((self.sorted > 0).sum(axis=1))

    @property
    def p_faster(self) -> Any:
        """One-sided: that the new side only seems faster."""
        return self._p((self.sorted < 0).sum(axis=1))

    @property
    def p_different(self) -> Any:
        """Two-sided: that the sides only seem to differ."""
        return numpy().minimum(1.0, 2 * numpy().minimum(self.p_slower, self.p_faster))

    def p_same(self, margin: float) -> Any:
        """That they only seem to differ by less than `margin`, the logarithm of a ratio."""
        below = self._p((self.sorted < margin).sum(axis=1))
        above = self._p((self.sorted > -margin).sum(axis=1))
        return numpy().maximum(below, above)

    def least_p(self) -> Any:
        """The smallest one-sided p that so many runs can give, however far the sides are apart."""
        return self._p(numpy().full(len(self.sorted), len(self.tail) - 1))

    def interval(self, row: int, level: float) -> tuple[float, float]:
        """What the tests at a two-sided `level` do not reject for a row: from, to; infinite where they reject none."""
        raw = float(chance_above(bound_of(level / 2) * math.sqrt(self.inflation[row])))
        needed = int(numpy().searchsorted(-self.tail, -raw))  # The first u whose tail is at most that.
        if needed >= len(self.tail):
            return -math.inf, math.inf
        values = self.sorted[row]
        return float(values[len(values) - needed]), float(values[needed - 1])

    def _p(self, counts: Any) -> Any:
        raw = self.tail[counts]
        widened = chance_above(bound_of(raw) / numpy().sqrt(self.inflation))
        return numpy().where(self.inflation > 1, widened, raw)


def inflation_of(base: Any, new: Any) -> Any:
    """By how much the variance of where a side lies is larger than that of independent runs: at least 1, for each row.

    Runs that follow each other resemble each other on most machines, so many runs say as much as fewer that are
    independent. From how much each run resembles those before it (the autocorrelations of the normal scores, of both
    sides together) it is taken in two ways, and the larger one counts: as of an autoregressive series, (1 + r) / (1 -
    r), and as the sum over the lags up to a third of the runs, which sees slow drifts (W. K. Newey and K. D. West, "A
    Simple, Positive Semi-Definite, Heteroskedasticity and Autocorrelation Consistent Covariance Matrix", Econometrica
    55, 1987). Few runs show less of it than there is (M. G. Kendall, "Note on Bias in the Estimation of
    Autocorrelation", Biometrika 41, 1954), which is put right before.

    Args:
        base: array of shape (rows, runs) of seconds, in the order in which the runs began.
        new: the same of the other side.
    """
    np = numpy()
    sides = [_normal_scores(np.asarray(side, dtype=float)) for side in (base, new)]
    each = (sides[0].shape[1] + sides[1].shape[1]) / 2
    if each <= _FEWEST:
        return np.ones(len(sides[0]))
    whole: Any = sum((side**2).sum(axis=1) for side in sides)

    def likeness(lag: int) -> Any:
        found = sum((side[:, lag:] * side[:, :-lag]).sum(axis=1) for side in sides)
        return np.divide(found, whole, out=np.zeros(len(whole)), where=whole > 0)

    first = np.clip((likeness(1) + 1 / each) / (1 - 3 / each), 0.0, _MOST_LIKE)
    lags = max(1, int(_LAGS * each))
    weighted = sum((1 - lag / (lags + 1)) * (likeness(lag) + (1 - lag / each) / each) for lag in range(1, lags + 1))
    slow = (1 + 2 * weighted) / (1 - _LAGS)
    return np.maximum((1 + first) / (1 - first), np.maximum(slow, 1.0))


def likeness_of_pairs(base: Any, new: Any) -> Any:
    """How much the two runs of a pair resemble each other beyond what all of them do: 0 for not at all, 1 for wholly.

    The intraclass correlation of the ranks, each side about its own median. It does not know which side is which, so
    that to choose a test by it tells nothing of what the test will say.
    """
    np = numpy()
    one, other = (side - np.median(side, axis=1, keepdims=True) for side in (_logarithms(base), _logarithms(new)))
    ranks = stats().rankdata(np.concatenate([one, other], axis=1), axis=1)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    runs = one.shape[1]
    above, below = 2 * (ranks[:, :runs] * ranks[:, runs:]).sum(axis=1), (ranks**2).sum(axis=1)
    return np.divide(above, below, out=np.zeros(len(one)), where=below > 0)


def evened(inflations: Any) -> Any:
    """Each halfway between its own and that of all: the machine is the same for all stages, and few runs say little.

    Args:
        inflations: array whose last axis is that of the rows of one comparison.
    """
    np = numpy()
    logarithms = np.log(inflations)
    return np.exp((logarithms + logarithms.mean(axis=-1, keepdims=True)) / 2)


def far_apart(base: Any, new: Any) -> Any:
    """Whether the sides are further apart than the runs of either reach, for each row: no drift of a machine does that.

    One would have to go further between two runs than in all the others, which never said so.
    """
    np = numpy()
    lows, highs = zip(*((side.min(axis=1), side.max(axis=1)) for side in map(_logarithms, (base, new))), strict=True)
    gap = np.maximum(lows[1] - highs[0], lows[0] - highs[1])
    return gap >= np.maximum(highs[0] - lows[0], highs[1] - lows[1])


def _normal_scores(side: Any) -> Any:
    ranks = stats().rankdata(side, axis=1)
    return -bound_of(ranks / (side.shape[1] + 1))


def _logarithms(seconds: Any) -> Any:
    return numpy().log(numpy().maximum(numpy().asarray(seconds, dtype=float), _LEAST))


@functools.lru_cache(64)
def unpaired_tail(base: int, new: int) -> Any:
    """How likely it is, if nothing has changed, that u or more of all differences are positive: array over u."""
    np, scipy_stats = numpy(), stats()
    counts = np.arange(base * new + 1)
    if max(base, new) > EXACT:
        middle, spread = base * new / 2, math.sqrt(base * new * (base + new + 1) / 12)
        return chance_above((counts - 0.5 - middle) / spread)
    # One sample for every value of the statistic: so many of the new side above all of the base, one among it.
    above = np.arange(new) < (counts // base)[:, None]
    among = np.arange(new) == (counts // base)[:, None]
    places = np.where(above, base, np.where(among, (counts % base)[:, None], 0))
    samples = places - 0.5 + np.arange(new) / (4 * new)
    old = np.broadcast_to(np.arange(base, dtype=float), (len(counts), base))
    return scipy_stats.mannwhitneyu(samples, old, alternative="greater", method="exact", axis=1).pvalue


@functools.lru_cache(64)
def paired_tail(pairs: int) -> Any:
    """The same of the averages of Walsh of so many pairs."""
    np, scipy_stats = numpy(), stats()
    counts = np.arange(pairs * (pairs + 1) // 2 + 1)
    if pairs > EXACT:
        middle, spread = counts[-1] / 2, math.sqrt(pairs * (pairs + 1) * (2 * pairs + 1) / 24)
        return chance_above((counts - 0.5 - middle) / spread)
    samples = np.empty((len(counts), pairs))
    left = counts.copy()
    for rank in range(pairs, 0, -1):  # Signed ranks that sum up to each, the largest first.
        taken = left >= rank
        left = left - rank * taken
        samples[:, rank - 1] = np.where(taken, rank, -rank)
    return scipy_stats.wilcoxon(samples, alternative="greater", method="exact", axis=1).pvalue
