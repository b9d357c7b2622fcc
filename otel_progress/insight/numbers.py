"""What is computed from numbers, with nothing but Python: quantiles, spread, outliers, trends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

Interval = tuple[int, int]
OUTLYING = 3.5
"""Modified z-score above which a value is an outlier (Iglewicz and Hoaglin, 1993)."""
_GROUPS = 40
"""Groups whose medians a trend is computed of: as many pairs are enough, and all pairs of 10,000 runs too many."""


def union(intervals: Iterable[Interval]) -> int:
    """How long any of the intervals lasts."""
    total, until = 0, None
    for started, ended in sorted(intervals):
        if until is None or started > until:
            total, until = total + max(0, ended - started), max(started, ended)
        elif ended > until:
            total, until = total + ended - until, ended
    return total


def quantile(ordered: Sequence[float], q: float) -> float:
    """The `q`-quantile of values in order, between two of them by a straight line (definition 7 of Hyndman and Fan)."""
    place = (len(ordered) - 1) * q
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median(values: Iterable[float]) -> float:
    """The middle of values."""
    return quantile(sorted(values), 0.5)


def spread(ordered: Sequence[float]) -> float:
    """The quartile coefficient of dispersion of values in order, (Q3 - Q1) / (Q3 + Q1): 0.0 where all are the same."""
    low, high = quantile(ordered, 0.25), quantile(ordered, 0.75)
    return (high - low) / (high + low) if high + low > 0 else 0.0


def outlying(values: Sequence[float]) -> list[float]:
    """The modified z-score of each value: 0.6745 (x - median) / MAD; all 0.0 where the values do not differ.

    Where more than half of the values are the same the MAD is 0; then 1.253314 times the mean absolute deviation takes
    its place, as that of IBM's Cognos does.
    """
    if not values:
        return []
    middle = median(values)
    away = [abs(value - middle) for value in values]
    scale = median(away) / 0.6745 or 1.253314 * sum(away) / len(away)
    return [(value - middle) / scale if scale else 0.0 for value in values]


def trend(values: Sequence[float]) -> tuple[float, float]:
    """By how much values grow from the first to the last, and how likely chance alone makes as much of it.

    The slope is that of Theil and Sen, the median of the slopes of all pairs; the probability that of the test of Mann
    and Kendall, with ties. Of more than 40 values it is the medians of 40 groups that follow each other.
    """
    points = _grouped(values)
    count = len(points)
    if count < 4:
        return 0.0, 1.0
    slopes: list[float] = []
    score = 0
    for first in range(count):
        for second in range(first + 1, count):
            change = points[second] - points[first]
            slopes.append(change / (second - first))
            score += (change > 0) - (change < 0)
    ties = {value: points.count(value) for value in points}
    variance = (count * (count - 1) * (2 * count + 5) - sum(n * (n - 1) * (2 * n + 5) for n in ties.values())) / 18
    if variance <= 0 or score == 0:
        return 0.0, 1.0
    z = (abs(score) - 1) / math.sqrt(variance)
    return median(slopes) * (count - 1), math.erfc(z / math.sqrt(2))


def _grouped(values: Sequence[float]) -> Sequence[float]:
    if len(values) <= _GROUPS:
        return values
    bounds = [len(values) * number // _GROUPS for number in range(_GROUPS + 1)]
    return [median(values[low:high]) for low, high in itertools.pairwise(bounds)]
