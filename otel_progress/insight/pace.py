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
_CLEAR = 4.0
"""Standard errors by which they differ; of few runs more, as the error itself is not well known of them."""
_FEW = 8.0
_SMALLEST = 0.05
"""Of a duration. What changes by less is not looked at."""
_LOOKS = (6, 7, 8, 9, 10, 12, 14, 17, 20, 25, 30, 40, 60)
"""How many runs ago a change is looked for."""
_SETTLED = 30
"""Runs after a change from which it is known well."""
_SHORTEST = 1e-6


class Pace:
    """Takes runs in their order, and knows what each would take today."""

    def __init__(self) -> None:
        self._regimes: deque[_Regime] = deque([_Regime({})])

    def add(self, past: Past) -> int:
        """Take in a run. Gives how many of the last runs are known from now on to have come after a change, or 0."""
        regime = self._regimes[-1]
        regime.add(past)
        after = regime.changed()
        if after:
            self._regimes.append(regime.split(after))
        return after

    def forget(self) -> None:
        """Forget the first run."""
        self._regimes[0].forget()
        if not self._regimes[0].runs and len(self._regimes) > 1:
            self._regimes.popleft()

    def moved(self) -> bool:
        """Whether runs before a change are to be stretched anew, as more is known of what came after it."""
        after = len(self._regimes[-1].runs)
        return len(self._regimes) > 1 and (after < _SETTLED or after % 10 == 0)

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

    __slots__ = ("_before", "_differences", "_total", "runs", "values")

    def __init__(self, before: float | None) -> None:
        self.runs: deque[Past] = deque()
        self.values: deque[float] = deque()
        self._before = before
        self._total = 0.0
        self._differences = 0.0
        """The sum of the squares of what each differs from the one before it."""

    @property
    def level(self) -> float:
        """The mean; what it was before a change counts as one run."""
        if self._before is None:
            return self._total / len(self.values) if self.values else 0.0
        return (self._total + self._before) / (len(self.values) + 1)

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

    def change(self) -> tuple[float, Past | None]:
        """How clearly it has changed, 1.0 being clear enough, and the first run after that."""
        count = len(self.values)
        if count < 2 * _LEAST:
            return 0.0, None
        # A change adds to one of the differences alone, so it hides itself less than in the variance.
        spread = math.sqrt(max(0.0, self._differences) / 2 / (count - 1))
        limit = _CLEAR * (1 + _FEW / count) * spread
        clearest, first, late, seen = 0.0, None, 0.0, 0
        last = list(self.values)[: -1 - min(count - _LEAST, _LOOKS[-1]) : -1]
        for look in _LOOKS:
            if look > len(last):
                break
            late += sum(last[seen:look])
            seen = look
            apart = abs(late / look - (self._total - late) / (count - look))
            clear = apart / (limit * math.sqrt(1 / look + 1 / (count - look)) + 1e-9)
            if apart > _SMALLEST and clear > clearest:
                clearest, first = clear, self.runs[-look]
        return clearest, first


class _Regime:
    """Runs between two changes."""

    def __init__(self, before: dict[str, float]) -> None:
        self.runs: deque[Past] = deque()
        self.series = {stage: _Series(level) for stage, level in before.items()}

    def add(self, past: Past) -> None:
        self.runs.append(past)
        for stage, (visits, seconds) in past.worked.items():
            series = self.series.get(stage)
            if series is None:
                series = self.series[stage] = _Series(None)
            series.add(past, math.log(max(seconds / visits, _SHORTEST)))

    def forget(self) -> None:
        past = self.runs.popleft()
        for stage in past.worked:
            self.series[stage].forget()

    def split(self, after: int) -> _Regime:
        """Cut off the last runs, which are another regime."""
        last = [self.runs.pop() for _ in range(after)]
        for past in last:
            for stage in past.worked:
                self.series[stage].pop()
        found = _Regime({stage: series.level for stage, series in self.series.items()})
        for past in reversed(last):
            found.add(past)
        return found

    def changed(self) -> int:
        """How many of the last runs came after a change, that of the stage where it is clearest; 0 where there is none."""
        clearest, first = max((series.change() for series in self.series.values()), key=_clear, default=(0.0, None))
        if clearest <= 1.0 or first is None:
            return 0
        after = next(number for number, past in enumerate(reversed(self.runs), 1) if past is first)
        return after if after <= len(self.runs) - _LEAST else 0


def _clear(change: tuple[float, Past | None]) -> float:
    return change[0]


def _stretched(past: Past, factors: dict[str, float]) -> list[float]:
    total, before = 0.0, 0.0
    found = [0.0]
    for stage, at in zip(past.of, past.at[1:], strict=True):
        total += (at - before) * factors.get(stage, 1.0)
        before = at
        found.append(total)
    return found
