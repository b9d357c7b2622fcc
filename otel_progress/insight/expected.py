"""When a run that goes on is expected to end, from earlier runs of its workflow. Described in docs/expected.md."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..runs.present import RunNow
from .numbers import quantile
from .pace import Pace
from .pasts import Keys, Past, Standing, standing_of

MOST_RUNS = 200
"""Earlier runs that count: the newest."""
FEWEST_RUNS = 5
"""Of fewer nothing can be said."""
LONG = 0.95
_LIKE = 15
"""Earlier runs that stood where a run stands, below which what they have in common with it is less."""
_NEAREST = 40
_SAME = 0.02
_LEFT = 3
_PARTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of its way, where each earlier run is held against what was expected of it then."""
_JUDGED = 20
_ROUNDS = 6
_SOONEST = 0.001
_MOST_BEYOND = 2.0


@dataclass(frozen=True)
class Expected:
    """How long a run will still take, from now on."""

    p50_seconds: float
    """As likely less as more."""
    p90_seconds: float
    """Nine of ten runs take no longer."""
    longer_than: float | None = None
    """The share of the earlier runs that took less than this one already did, where that is at least 0.95."""


_Score = tuple[tuple[int, int, float], float]


class _Known:
    """An earlier run, as long as it would take today."""

    __slots__ = ("at", "number", "past", "scores")

    def __init__(self, past: Past, number: int) -> None:
        self.past = past
        self.number = number
        self.at: Sequence[float] = past.at
        self.scores: list[_Score | None] = []


class Earlier:
    """Earlier runs of one workflow."""

    def __init__(self, pasts: Iterable[Past] = ()) -> None:
        self._runs: deque[_Known] = deque()
        self._number = 0
        self._where: tuple[dict[int, list[tuple[_Known, int]]], ...] = ({}, {}, {}, {})
        self._seconds: list[float] = []
        self._levels: tuple[list[float], list[float]] | None = None
        self._pace = Pace()
        for past in pasts:
            self.add(past)

    def add(self, past: Past) -> None:
        """Take in a run that ended after all others that were taken in."""
        known = _Known(past, self._number)
        self._number += 1
        if len(self._runs) >= _LIKE:
            known.scores = [self._score(past, part) for part in _PARTS]
        self._runs.append(known)
        for number, keys in enumerate(past.keys):
            moment = known, number
            for table, key in zip(self._where, keys, strict=True):
                table.setdefault(key, []).append(moment)
        if len(self._runs) > MOST_RUNS:
            self._forget(self._runs.popleft())
            self._pace.forget()
        after = self._pace.add(past)
        for number in range(1, after + 1):  # They were held against a workflow that was no more.
            self._runs[-number].scores = []
        if self._pace.moved():
            for each, at in zip(self._runs, self._pace.today(), strict=True):
                each.at = at
        self._seconds = sorted(each.past.seconds for each in self._runs)
        self._levels = None

    def _forget(self, known: _Known) -> None:
        for keys in known.past.keys:
            for table, key in zip(self._where, keys, strict=True):
                found = table.get(key)
                if found and found[0][0] is known:
                    del found[0]
                    if not found:
                        del table[key]

    def expected(self, run: RunNow, now_ns: int) -> Expected | None:
        """When `run` will end, as of `now_ns` (nanoseconds since the Unix epoch); None where there is no ground."""
        return self.from_standing(standing_of(run, now_ns))

    def from_standing(self, standing: Standing) -> Expected | None:
        """The same, from where a run stands."""
        left = self._left(standing)
        if not left:
            return None
        if self._levels is None:
            self._levels = self._judged(0.5), self._judged(0.9)
        low, high, over = _place(_part(standing.elapsed, left))
        p50, p90 = (levels[low] + (levels[high] - levels[low]) * over for levels in self._levels)
        first = max(0.0, _at_level(left, p50, standing.elapsed))
        second = max(first, _at_level(left, p90, standing.elapsed))
        share = bisect_right(self._seconds, standing.elapsed) / len(self._seconds)
        return Expected(first, second, share if share >= LONG else None)

    # --- what earlier runs still took ---------------------------------------------------------------------------------

    def _left(self, standing: Standing) -> list[float]:
        """What earlier runs still took that stood where this one stands, in order."""
        if len(self._runs) < FEWEST_RUNS:
            return []
        age = standing.age
        found = self._alike(standing.keys, standing.elapsed - age)
        if not found:
            left = [each.at[-1] - standing.elapsed for each in self._runs if each.at[-1] > standing.elapsed]
            return sorted(left) if len(left) >= _LEFT else [standing.elapsed / 10] * _LEFT
        nearby: list[tuple[float, float]] = []
        for known, number, off in found:
            at = known.at
            now = at[known.past.anchors[number]] + age
            if now < at[number + 1]:
                nearby.append((off, at[-1] - now))
        if len(nearby) < min(_LEFT, len(found)):
            nearby = _overdue(found, age)
        farthest = sorted(off for off, _ in nearby)[: max(_NEAREST, len(nearby) // 2)][-1]
        return sorted(seconds for off, seconds in nearby if off <= farthest + _SAME)

    def _alike(self, keys: Keys, before: float) -> list[tuple[_Known, int, float]]:
        """Moments of earlier runs, of each at most one, and how far each is from `before`, which is when its own began."""
        enough = min(_LIKE, max(FEWEST_RUNS, len(self._runs) // 2))
        best: dict[int, tuple[_Known, int, float]] = {}
        for table, key in zip(self._where, keys, strict=True):
            found = table.get(key, ())
            if len(found) < max(_LEFT, len(best)):
                continue
            best = {}
            for known, number in found:
                off = abs(math.log((known.at[known.past.anchors[number]] + 0.01) / (before + 0.01)))
                other = best.get(known.number)
                if other is None or off < other[2]:
                    best[known.number] = known, number, off
            if len(best) >= enough:
                break
        return list(best.values())

    # --- how well that was known of them ------------------------------------------------------------------------------

    def _score(self, past: Past, part: float) -> _Score | None:
        standing = past.standing(past.seconds * part)
        left = self._left(standing)
        if not left:
            return None
        return _place(_part(standing.elapsed, left)), _level_of(left, past.seconds - standing.elapsed, standing.elapsed)

    def _judged(self, share: float) -> list[float]:
        """For each part of the way the level at which so large a share of the earlier runs ended."""
        levels = [share] * len(_PARTS)
        judged = [
            [score for each in self._runs if each.scores and (score := each.scores[place]) is not None]
            for place in range(len(_PARTS))
        ]
        for _ in range(_ROUNDS):
            for place, scores in enumerate(judged):
                if len(scores) >= _JUDGED:
                    found = sorted(
                        [
                            level - levels[low] - (levels[high] - levels[low]) * over
                            for (low, high, over), level in scores
                        ]
                    )
                    level = levels[place] + quantile(found, min(1.0, share * (len(found) + 1) / len(found)))
                    levels[place] = max(-1.0, min(level, 1.0 + _MOST_BEYOND))
        return levels


def _place(part: float) -> tuple[int, int, float]:
    """Between which of the parts of the way one is, and how far."""
    high = bisect_right(_PARTS, part)
    if high in {0, len(_PARTS)}:
        high = min(high, len(_PARTS) - 1)
        return high, high, 0.0
    return high - 1, high, (part - _PARTS[high - 1]) / (_PARTS[high] - _PARTS[high - 1])


def _part(elapsed: float, left: Sequence[float]) -> float:
    """How far on its way a run is, by half of what is left of it."""
    total = elapsed + quantile(left, 0.5)
    return elapsed / total if total > 0 else 1.0


def _overdue(found: Iterable[tuple[_Known, int, float]], age: float) -> list[tuple[float, float]]:
    """What is left where it has taken longer than nearly all earlier ones: those that took longest, and a tenth."""
    lasted: list[tuple[float, float, float]] = []
    for known, number, off in found:
        at = known.at
        lasted.append((at[number + 1] - at[known.past.anchors[number]], off, at[-1] - at[number + 1]))
    lasted.sort(reverse=True)
    return [(off, max(0.0, took - age) + age / 10 + rest) for took, off, rest in lasted[:_LEFT]]


def _at_level(left: Sequence[float], level: float, elapsed: float) -> float:
    """The quantile of what is left. Above 1.0 it is the most of it and so much of the whole run more, below 0.0 less."""
    if level > 1.0:
        return left[-1] + (level - 1.0) * (elapsed + left[-1])
    if level < 0.0:
        return left[0] * (1.0 + level)
    return quantile(left, level)


def _level_of(left: Sequence[float], seconds: float, elapsed: float) -> float:
    """The least level at which `seconds` are enough."""
    if seconds > left[-1]:
        return 1.0 + min(_MOST_BEYOND, (seconds - left[-1]) / max(elapsed + left[-1], _SOONEST))
    if seconds <= left[0]:
        return seconds / left[0] - 1.0 if left[0] > 0 else 0.0
    high = bisect_left(left, seconds)
    between = left[high] - left[high - 1]
    return (high - 1 + (seconds - left[high - 1]) / between) / (len(left) - 1)
