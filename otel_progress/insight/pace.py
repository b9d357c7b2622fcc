"""How fast a workflow is today: whether it changed, and what its earlier runs would take as it is now."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from .pasts import Past

_MOST = 200
_LEAST = 6
"""Runs that a change is seen from."""
_CLEAR = 4.0
"""Standard errors by which the runs since a change differ from those before it."""
_LOOKS = (6, 7, 8, 9, 10, 12, 14, 17, 20, 25, 30, 40, 60)
_CAUTION = 1.0
"""Runs that what was known before counts as, where a change is measured."""


class Pace:
    """Takes runs in their order, and tells those before the last change what they would take since."""

    def __init__(self) -> None:
        self._levels: dict[str, float] = {}
        self._regimes: deque[_Regime] = deque([_Regime({})])
        self._runs = 0
        self._since = 0

    def add(self, past: Past) -> int:
        """Take in a run. Gives how many of the last runs are known from now on to have come after a change, or 0."""
        regime = self._regimes[-1]
        regime.add(past)
        self._since += 1
        self._runs += 1
        changed = regime.changed()
        if changed:
            self._regimes.append(regime.split(changed))
            self._since = 0
        while self._runs > _MOST:
            self._runs -= 1
            first = self._regimes[0]
            first.forget()
            if not first.runs and len(self._regimes) > 1:
                self._regimes.popleft()
        return changed

    def moved(self) -> bool:
        """Whether to look at `today` again."""
        if len(self._regimes) == 1:
            return False
        count = len(self._regimes[-1].runs)
        return count < 30 or count % 10 == 0

    def today(self, past: Past) -> Sequence[float]:
        """When each moment of a run began, had it been as runs are today."""
        now = self._regimes[-1]
        regime = next((each for each in self._regimes if past in each.known), now)
        if regime is now:
            return past.at
        factors = {
            stage: math.exp(level - regime.levels[stage])
            for stage, level in now.levels.items()
            if stage in regime.levels
        }
        at = past.at
        found, total = [0.0], 0.0
        for number, stage in enumerate(past.of):
            total += (at[number + 1] - at[number]) * factors.get(stage, 1.0)
            found.append(total)
        return found


class _Regime:
    """Runs between two changes."""

    def __init__(self, before: dict[str, float]) -> None:
        self.before = before
        self.runs: deque[Past] = deque()
        self.known: set[Past] = set()
        self.logs: dict[str, deque[tuple[Past, float]]] = {}
        self.levels: dict[str, float] = dict(before)

    def add(self, past: Past) -> None:
        self.runs.append(past)
        self.known.add(past)
        for stage, (visits, seconds) in past.worked.items():
            logs = self.logs.setdefault(stage, deque())
            logs.append((past, math.log(max(seconds / visits, 1e-6))))
            self._level(stage)

    def _level(self, stage: str) -> None:
        logs = self.logs.get(stage)
        if logs:
            total, count = sum(each for _, each in logs), float(len(logs))
            if stage in self.before:
                total, count = total + _CAUTION * self.before[stage], count + _CAUTION
            self.levels[stage] = total / count

    def forget(self) -> None:
        past = self.runs.popleft()
        self.known.discard(past)
        for logs in self.logs.values():
            if logs and logs[0][0] is past:
                logs.popleft()

    def split(self, count: int) -> _Regime:
        """Cut off the last runs, which are another regime."""
        last = [self.runs.pop() for _ in range(count)][::-1]
        self.known.difference_update(last)
        for stage, logs in self.logs.items():
            while logs and logs[-1][0] not in self.known:
                logs.pop()
            self._level(stage)
        found = _Regime(dict(self.levels))
        for past in last:
            found.add(past)
        return found

    def changed(self) -> int:
        """How many of the last runs came after a change, which is the clearest; 0 where there is none."""
        clearest, found = 1.0, 0
        for stage in self.logs:
            logs = self.logs[stage]
            if len(logs) < 2 * _LEAST:
                continue
            values = [each for _, each in logs]
            spread = _spread(values) * _CLEAR * (1 + 8 / len(values))
            for look in _LOOKS:
                if look > len(values) - _LEAST:
                    break
                late, early = values[-look:], values[:-look]
                apart = abs(sum(late) / look - sum(early) / len(early))
                error = spread * math.sqrt(1 / look + 1 / len(early))
                if apart > clearest * error + 1e-9 and apart > 0.05:
                    clearest, found = apart / error if error else math.inf, self._since(logs[-look][0])
        return found if found <= len(self.runs) - _LEAST else 0

    def _since(self, past: Past) -> int:
        return len(self.runs) - self.runs.index(past)


def _spread(values: Sequence[float]) -> float:
    """The standard deviation, by what each value differs from the one before: a change adds to one difference alone."""
    total = sum((second - first) ** 2 for first, second in zip(values, values[1:], strict=False))
    return math.sqrt(total / 2 / (len(values) - 1))
