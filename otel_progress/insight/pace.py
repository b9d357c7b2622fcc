"""How fast a workflow is today: whether it has changed, and what its earlier runs would take as it is now.

A change is where the visits of a stage took clearly longer, or shorter, than before: the logarithms of their durations
differ by more standard errors than chance brings about, by the test of a change in the mean at the place where it shows
most (Page, 1954; Hawkins, 1977). The runs before it are kept: each is stretched, stage by stage, to what it would take
now.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from .pasts import Past

_LEAST = 6
"""Runs with a stage on either side of a change that is seen."""
_CLEAR = 3.5
"""Standard errors by which they differ; of few runs more, as the error itself is not well known of them."""
_FEW = 8.0
_SMALLEST = 0.05
"""Of a duration. What changes by less is not looked at."""
_LOOKS = (*range(_LEAST, 25), 27, 30, 35, 40, 50, 60)
"""How many runs ago a change is looked for."""
_SAME = 0.6
"""As part of what is clear: a stage that changed by less is taken to be as it was before."""
_WEIGHT = 12
"""Runs as which that counts."""
_YOUNG = 20
"""Runs after a change with each of which it is looked at again: whether it was one, and where."""
_AGAIN = (10, 20)
"""Runs after a change at which it is known better."""
_SETTLED = 30
"""Runs after a change from which it is known well."""
_SHORTEST = 1e-6


class Pace:
    """Takes runs in their order, and knows what each would take today."""

    def __init__(self) -> None:
        self._regimes: deque[_Regime] = deque([_Regime({})])

    def add(self, past: Past) -> bool:
        """Take in a run. Gives whether another change is known from now on, or one is known better or no more."""
        before = len(self._regimes)
        if before > 1 and self.since < _YOUNG:
            last = self._regimes.pop()
            for each in last.runs:
                self._regimes[-1].add(each)
        regime = self._regimes[-1]
        regime.add(past)
        if after := regime.changed():
            self._regimes.append(regime.split(after))
        return len(self._regimes) != before or (before > 1 and self.since in _AGAIN)

    @property
    def since(self) -> int:
        """Runs since the last change."""
        return len(self._regimes[-1].runs)

    def forget(self) -> None:
        """Forget the first run."""
        self._regimes[0].forget()
        if not self._regimes[0].runs and len(self._regimes) > 1:
            self._regimes.popleft()

    def moves(self) -> bool:
        """Whether runs before a change are to be stretched anew, as more is known of what came after it."""
        return len(self._regimes) > 1 and (self.since < _SETTLED or self.since % 10 == 0)

    def today(self) -> list[Sequence[float]]:
        """For each run when its moments would begin today, in seconds from its start."""
        now = self._regimes[-1]
        found: list[Sequence[float]] = []
        for regime in self._regimes:
            factors = {
                stage: math.exp(series.level - regime.series[stage].level)
                for stage, series in now.series.items()
                if stage in regime.series
            }
            found += [past.at if regime is now else _stretched(past, factors) for past in regime.runs]
        return found


class _Series:
    """One stage in the runs of a regime: the logarithm of how long its visits took on average."""

    __slots__ = ("_before", "_differences", "_total", "_weight", "runs", "values")

    def __init__(self, before: float = 0.0, weight: int = 0) -> None:
        self.runs: deque[Past] = deque()
        self.values: deque[float] = deque()
        self._before, self._weight = before, weight
        self._total = 0.0
        self._differences = 0.0
        """The sum of the squares of what each differs from the one before it."""

    @property
    def level(self) -> float:
        """The mean; what it was before counts as so many runs, where it did not change."""
        weight = self._weight if self.values else max(1, self._weight)
        return (self._total + self._before * weight) / (len(self.values) + weight)

    def add(self, past: Past, value: float) -> None:
        if self.values:
            self._differences += (value - self.values[-1]) ** 2
        self.runs.append(past)
        self.values.append(value)
        self._total += value

    def forget(self) -> None:
        self.runs.popleft()
        value = self.values.popleft()
        self._total -= value
        if self.values:
            self._differences -= (value - self.values[0]) ** 2

    def pop(self) -> None:
        self.runs.pop()
        value = self.values.pop()
        self._total -= value
        if self.values:
            self._differences -= (value - self.values[-1]) ** 2

    def changes(self) -> list[tuple[float, Past]]:
        """How clearly it has changed with each of the last runs, 1.0 being clear enough."""
        count = len(self.values)
        if count < 2 * _LEAST:
            return []
        # A change adds to one of the differences alone, so it hides itself less than in the variance.
        spread = math.sqrt(max(0.0, self._differences) / 2 / (count - 1))
        limit = _CLEAR * (1 + _FEW / count) * spread
        found: list[tuple[float, Past]] = []
        values = list(self.values)[: -1 - _LOOKS[-1] : -1]
        runs = list(self.runs)[: -1 - _LOOKS[-1] : -1]
        late, seen = 0.0, 0
        for look in _LOOKS:
            if look > count - _LEAST:
                break
            late += sum(values[seen:look])
            seen = look
            apart = abs(late / look - (self._total - late) / (count - look))
            if apart > _SMALLEST:
                found.append((apart / (limit * math.sqrt(1 / look + 1 / (count - look)) + 1e-9), runs[look - 1]))
        return found


class _Regime:
    """Runs between two changes."""

    def __init__(self, series: dict[str, _Series]) -> None:
        self.runs: deque[Past] = deque()
        self.series = series

    def add(self, past: Past) -> None:
        self.runs.append(past)
        for stage, (visits, seconds) in past.worked.items():
            series = self.series.get(stage)
            if series is None:
                series = self.series[stage] = _Series()
            series.add(past, math.log(max(seconds / visits, _SHORTEST)))

    def forget(self) -> None:
        past = self.runs.popleft()
        for stage in past.worked:
            self.series[stage].forget()

    def split(self, after: int) -> _Regime:
        """Cut off the last runs, which are another regime."""
        same = {stage for stage, series in self.series.items() if not _is_changed(series.changes())}
        last = [self.runs.pop() for _ in range(after)]
        for past in last:
            for stage in past.worked:
                self.series[stage].pop()
        found = _Regime(
            {stage: _Series(each.level, _WEIGHT if stage in same else 0) for stage, each in self.series.items()}
        )
        for past in reversed(last):
            found.add(past)
        return found

    def changed(self) -> int:
        """How many of the last runs came after a change; 0 where there is none.

        That there is one is said by the stage where it is clearest, and where it is by all that changed.
        """
        found = [changes for series in self.series.values() if _is_changed(changes := series.changes())]
        if not any(clear > 1.0 for changes in found for clear, _ in changes):
            return 0
        together: dict[Past, float] = {}
        for changes in found:
            for clear, past in changes:
                together[past] = together.get(past, 0.0) + clear * clear
        first = max(together, key=together.__getitem__)
        after = next(number for number, past in enumerate(reversed(self.runs), 1) if past is first)
        return after if after <= len(self.runs) - _LEAST else 0


def _is_changed(changes: list[tuple[float, Past]]) -> bool:
    return any(clear > _SAME for clear, _ in changes)


def _stretched(past: Past, factors: dict[str, float]) -> list[float]:
    total, before = 0.0, 0.0
    found = [0.0]
    for stage, at in zip(past.of, past.at[1:], strict=True):
        total += (at - before) * factors.get(stage, 1.0)
        before = at
        found.append(total)
    return found
