"""When a run that goes on is expected to end, from earlier runs of its workflow. Described in docs/expected.md."""

from __future__ import annotations

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
"""The share of the earlier runs from which on it is said that a run took longer than them."""
_LIKE = 15
"""Earlier runs that are to have stood where a run stands; of fewer, less is asked to be the same."""
_FEWEST_LIKE = 3
"""Of fewer nothing is taken."""
_NEAREST = 40
"""Of these so many, or half of them, that took about as long to come there."""
_ABOUT = 0.02
"""How much more of a difference in that is none."""
_SOON = 0.01
"""Seconds that are no difference."""
_PARTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of its way, where each earlier run is held against what was expected of it then."""
_JUDGED = 20
"""Earlier runs that are needed for that."""
_MOST_JUDGED = 100
"""The last of them, so that what is wrong of late is soon put right."""
_COUNTS_LESS = 3
"""Of runs before a change so many count as one: what they would take now is itself known from few."""
_ROUNDS = 6
_MOST_BEYOND = 2.0
"""By how many times the whole time of a run more is expected than ever was, at most."""
_SHORTEST = 0.001


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
"""How far on its way a run seemed to be, and the level at which what was expected of it was just enough."""


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
        self._changed = False
        for past in pasts:
            self.add(past)
        self._judge()

    def add(self, past: Past) -> None:
        """Take in a run that ended after all others that were taken in."""
        known = _Known(past, self._number)
        self._number += 1
        if len(self._runs) >= _LIKE:
            known.scores = self._scores(known)
        self._runs.append(known)
        for number, keys in enumerate(past.keys):
            moment = known, number
            for table, key in zip(self._where, keys, strict=True):
                table.setdefault(key, []).append(moment)
        if len(self._runs) > MOST_RUNS:
            self._forget(self._runs.popleft())
            self._pace.forget()
        changed = self._pace.add(past)
        if changed or self._pace.moves():
            for each, at in zip(self._runs, self._pace.today(), strict=True):
                each.at = at
        self._changed = self._changed or changed
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
        levels = self._levels or self._judge()
        low, high, over = _place(_part(standing.elapsed, left))
        p50, p90 = (each[low] + (each[high] - each[low]) * over for each in levels)
        first = max(0.0, _at_level(left, p50, standing.elapsed))
        second = max(first, _at_level(left, p90, standing.elapsed))
        share = bisect_right(self._seconds, standing.elapsed) / len(self._seconds)
        return Expected(first, second, share if share >= LONG else None)

    # --- what earlier runs still took ---------------------------------------------------------------------------------

    def _left(self, standing: Standing, besides: _Known | None = None) -> list[float]:
        """What earlier runs still took that stood where this one stands, in order."""
        if len(self._runs) < FEWEST_RUNS:
            return []
        age = standing.age
        found = self._alike(standing.keys, standing.elapsed - age, besides)
        if not found:
            left = [
                each.at[-1] - standing.elapsed
                for each in self._runs
                if each.at[-1] > standing.elapsed and each is not besides
            ]
            return sorted(left) if len(left) >= _FEWEST_LIKE else [standing.elapsed / 10] * _FEWEST_LIKE
        nearby: list[tuple[float, float]] = []
        for known, number, off in found:
            at = known.at
            now = at[known.past.anchors[number]] + age
            if now < at[number + 1]:
                nearby.append((off, at[-1] - now))
        if len(nearby) < min(_FEWEST_LIKE, len(found)):
            nearby = _overdue(found, age)
        farthest = sorted(off for off, _ in nearby)[: max(_NEAREST, len(nearby) // 2)][-1]
        return sorted(seconds for off, seconds in nearby if off <= farthest + _ABOUT)

    def _alike(self, keys: Keys, before: float, besides: _Known | None) -> list[tuple[_Known, int, float]]:
        """Moments of earlier runs, at most one of each, and how unlike `before` the time before its open visit was."""
        enough = min(_LIKE, max(FEWEST_RUNS, len(self._runs) // 2))
        best: dict[int, tuple[_Known, int, float]] = {}
        since = before + _SOON
        for table, key in zip(self._where, keys, strict=True):
            found = table.get(key, ())
            if len(found) < max(_FEWEST_LIKE, len(best)):
                continue
            these: dict[int, tuple[_Known, int, float]] = {}
            for known, number in found:
                if known is besides:
                    continue
                then = known.at[known.past.anchors[number]] + _SOON
                off = then / since if then > since else since / then
                other = these.get(known.number)
                if other is None or off < other[2]:
                    these[known.number] = known, number, off
            if len(these) > len(best):
                best = these
            if len(best) >= enough:
                break
        return list(best.values())

    # --- how well that was known of them ------------------------------------------------------------------------------

    def _scores(self, known: _Known) -> list[_Score | None]:
        """What was expected of an earlier run at parts of its way, by others, against what it took."""
        found: list[_Score | None] = []
        whole = known.at[-1]
        for part in _PARTS:
            standing = known.past.standing(whole * part, known.at)
            left = self._left(standing, known)
            level = _level_of(left, whole - standing.elapsed, standing.elapsed) if left else 0.0
            found.append((_place(_part(standing.elapsed, left)), level) if left else None)
        return found

    def _judge(self) -> tuple[list[float], list[float]]:
        if self._changed:  # What was expected of runs before it says little of what would be now.
            self._changed = False
            for each in self._runs:
                each.scores = self._scores(each)
        self._levels = self._judged(0.5), self._judged(0.9)
        return self._levels

    def _judged(self, share: float) -> list[float]:
        """For each part of the way the level at which so large a share of the earlier runs ended."""
        levels = [_level_for(share, max(2, len(self._runs)))] * len(_PARTS)
        last = list(self._runs)[-_MOST_JUDGED:]
        judged = [
            [score for each in last if each.scores and (score := each.scores[place]) is not None]
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
                    before = max(0, len(found) - self._pace.since)
                    enough = _level_for(share, len(found) - before + before // _COUNTS_LESS)
                    level = levels[place] + quantile(found, min(1.0, enough))
                    levels[place] = max(-1.0, min(level, 1.0 + _MOST_BEYOND))
        return levels


def _level_for(share: float, count: int) -> float:
    """The quantile of so many values that one more does not exceed with the probability `share`."""
    return (share * (count + 1) - 1) / (count - 1)


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
    return [(off, max(0.0, took - age) + age / 10 + rest) for took, off, rest in lasted[:_FEWEST_LIKE]]


def _at_level(left: Sequence[float], level: float, elapsed: float) -> float:
    """The quantile of what is left. Above 1.0: the most of it, and so much of the whole run more; below 0.0 less."""
    if level > 1.0:
        return left[-1] + (level - 1.0) * (elapsed + left[-1])
    if level < 0.0:
        return left[0] * (1.0 + level)
    return quantile(left, level)


def _level_of(left: Sequence[float], seconds: float, elapsed: float) -> float:
    """The least level at which `seconds` are enough."""
    if seconds > left[-1]:
        return 1.0 + min(_MOST_BEYOND, (seconds - left[-1]) / max(elapsed + left[-1], _SHORTEST))
    if seconds <= left[0]:
        return seconds / left[0] - 1.0 if left[0] > 0 else 0.0
    high = bisect_left(left, seconds)
    between = left[high] - left[high - 1]
    return (high - 1 + (seconds - left[high - 1]) / between) / (len(left) - 1)
