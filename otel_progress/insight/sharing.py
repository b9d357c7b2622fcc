"""Whose the time of a run is: at each instant it belongs to what is open and has nothing open inside."""

from __future__ import annotations

from dataclasses import dataclass

from ..recording.times import NANO
from .shape import RUN, Shape


@dataclass(frozen=True)
class Gap:
    """A time in which no visit was open."""

    started: int
    ended: int
    after: str | None
    """The stage that ended before it; None: it begins with the run."""
    before: str | None
    """The stage that started after it; None: it ends with the run."""

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.ended - self.started) / NANO


@dataclass(frozen=True)
class Sharing:
    """The time of a run, by visits and in nanoseconds."""

    own: list[int]
    """Time in which a visit was open and nothing was inside it."""
    beside: list[int]
    """As much of that as something else went on beside it."""
    wall: list[float]
    """Its part of the wall time, which those that go on at once share in equal parts."""
    gaps: list[Gap]

    @property
    def gap(self) -> int:
        """Nanoseconds in which nothing was open."""
        return sum(gap.ended - gap.started for gap in self.gaps)

    @property
    def parallel(self) -> float:
        """How many visits went on at once, on average over the time in which any did; 0.0 where none did."""
        busy = sum(self.wall)
        return sum(self.own) / busy if busy else 0.0


def sharing_of(shape: Shape) -> Sharing:
    """Go once through all starts and ends."""
    return _Sweep(shape).done()


class _Sweep:
    """The instants of a run, one after the other."""

    def __init__(self, shape: Shape) -> None:
        count = len(shape.visits)
        self._shape = shape
        self._inside = [0] * count
        self._open = [False] * count
        self._since = [0] * count
        self._from = [(0.0, 0)] * count
        self._own, self._beside, self._wall = [0] * count, [0] * count, [0.0] * count
        self._going_on = 0
        self._shared, self._several = 0.0, 0
        """How much time one visit has got since the start of the run, and how much of it was not for it alone."""
        self._now = shape.started
        self._last: int | None = None
        self._gaps: list[Gap] = []

    def done(self) -> Sharing:
        shape, begun = self._shape, 0
        by_start = sorted(range(len(shape.starts)), key=shape.starts.__getitem__)
        for ends in sorted(range(len(shape.ends)), key=shape.ends.__getitem__):
            at = shape.ends[ends]
            while begun < len(by_start) and shape.starts[by_start[begun]] <= at:
                starts = by_start[begun]
                self._pass(shape.starts[starts], starts)
                self._start(starts)
                begun += 1
            self._pass(at, None)
            self._end(ends)
        self._pass(shape.ended, None)
        return Sharing(self._own, self._beside, self._wall, self._gaps)

    def _pass(self, at: int, starts: int | None) -> None:
        passed = at - self._now
        if passed <= 0:
            return
        if self._going_on:
            self._shared += passed / self._going_on
            if self._going_on > 1:
                self._several += passed
        else:
            visits = self._shape.visits
            after = None if self._last is None else visits[self._last].stage
            self._gaps.append(Gap(self._now, at, after, None if starts is None else visits[starts].stage))
        self._now = at

    def _start(self, visit: int) -> None:
        parent = self._shape.parents[visit]
        if parent != RUN:
            self._inside[parent] += 1
            if self._open[parent] and self._inside[parent] == 1:
                self._stop(parent)
        self._open[visit] = True
        if not self._inside[visit]:
            self._go(visit)

    def _end(self, visit: int) -> None:
        if not self._inside[visit]:
            self._stop(visit)
        self._open[visit] = False
        self._last = visit
        parent = self._shape.parents[visit]
        if parent != RUN:
            self._inside[parent] -= 1
            if self._open[parent] and not self._inside[parent]:
                self._go(parent)

    def _go(self, visit: int) -> None:
        self._going_on += 1
        self._since[visit], self._from[visit] = self._now, (self._shared, self._several)

    def _stop(self, visit: int) -> None:
        self._going_on -= 1
        shared, several = self._from[visit]
        self._own[visit] += self._now - self._since[visit]
        self._wall[visit] += self._shared - shared
        self._beside[visit] += self._several - several
