"""The critical path: what the end of a run has waited for, instant by instant, back to its start.

From the end of something the path goes to what is recorded to come before it; where nothing recorded explains the time
between, to what ended last before it, and then it is said to be inferred. Going into a visit it does the same inside.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from ..recording.times import NANO
from ..runs.quickly import quickly
from .shape import RUN, SLACK, Shape

_UNFINISHED = ("abandoned",)
"""Nothing waits for the end of these: it was only noted with the end of the run."""


@dataclass(frozen=True, slots=True)  # As many as there are visits, and more; so are the steps.
class Segment:
    """A part of the path in which one visit, or the run itself, did what is its own."""

    started: int
    ended: int
    visit: str | None
    """Its id; None: the run's own code, between the stages."""
    stage: str | None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.ended - self.started) / NANO


@dataclass(frozen=True, slots=True)
class Step:
    """A visit whose end something on the path has waited for."""

    visit: str
    stage: str
    inferred: bool
    """Whether times alone say so, and no link."""


_segment, _step = quickly(Segment), quickly(Step)


@dataclass(frozen=True)
class Path:
    """The critical path of a run."""

    segments: tuple[Segment, ...]
    """From the start of the run to its end, without a gap."""
    steps: tuple[Step, ...]
    """In the order of time; of visits inside others the inner ones come before the outer one ends, so behind it."""

    @property
    def inferred(self) -> int:
        """How many of the steps times alone tell."""
        return sum(step.inferred for step in self.steps)

    @property
    def seconds_of(self) -> dict[str | None, float]:
        """The time of each stage on the path; that of the run's own code under None."""
        found: dict[str | None, int] = {}
        for each in self.segments:
            found[each.stage] = found.get(each.stage, 0) + each.ended - each.started
        return {stage: spent / NANO for stage, spent in found.items()}


def path_of(shape: Shape) -> Path:
    """Walk back from the end of a run to its start."""
    return _Walk(shape).done()


class _Walk:
    """On the way back: inside of `_place` at the instant `_at`."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._followed = set(itertools.chain.from_iterable(shape.follows))
        self._inside: dict[int, list[int]] = {}
        """What each place could wait for, in the order of the ends."""
        self._open_ends: dict[int, int] = {}
        """Of how many of these nothing is known to follow."""
        by_start = sorted(range(len(shape.visits)), key=shape.starts.__getitem__)
        for visit in sorted(by_start, key=shape.ends.__getitem__):
            around = shape.around[visit]
            self._inside.setdefault(around, []).append(visit)
            if visit not in self._followed:
                self._open_ends[around] = self._open_ends.get(around, 0) + 1
        self._used = [False] * len(shape.visits)
        self._at = shape.ended
        self._segments: list[Segment] = []
        self._steps: list[Step] = []

    def done(self) -> Path:
        place, next_one = RUN, None
        while True:
            before, inferred = self._before(place, next_one)
            if before is not None:
                self._back_to(self._shape.ends[before], place)
                self._used[before] = True
                visit = self._shape.visits[before]
                self._steps.append(_step(visit.id, visit.stage, inferred))
                place, next_one = before, None
                continue
            self._back_to(self._shape.started if place == RUN else self._shape.starts[place], place)
            if place == RUN:
                return Path(tuple(reversed(self._segments)), tuple(reversed(self._steps)))
            self._used[place] = True
            place, next_one = self._outside(place), place

    def _back_to(self, at: int, place: int) -> None:
        """What was from then on until now was its own."""
        if at < self._at:
            visit = None if place == RUN else self._shape.visits[place]
            self._segments.append(
                _segment(at, self._at, None if visit is None else visit.id, None if visit is None else visit.stage)
            )
            self._at = at

    def _outside(self, place: int) -> int:
        """Where a visit was started: what lies around it and was still open then."""
        around = self._shape.parents[place]
        while around != RUN and self._shape.ends[around] < self._at:
            around = self._shape.around[around]  # What lies between has ended before that.
        return around

    def _before(self, place: int, next_one: int | None) -> tuple[int | None, bool]:
        """What was waited for: by the start of the next one, or, with None, by the end of the place itself."""
        ends, recorded = self._shape.ends, None
        if next_one is not None:
            for each in self._shape.follows[next_one]:
                if not self._used[each] and (recorded is None or ends[each] >= ends[recorded]):
                    recorded = each
        last = self._last(self._inside.get(place, []), is_end=next_one is None)
        if last is None or (recorded is not None and ends[last] - ends[recorded] <= SLACK):
            return recorded, False
        alone = next_one is None and self._open_ends.get(place) == 1 and last not in self._followed
        return last, not alone

    def _last(self, waiting: list[int], *, is_end: bool) -> int | None:
        """What of these ended last until now. Time goes back only: what is passed over once is of no use later."""
        ends, visits = self._shape.ends, self._shape.visits
        while waiting:
            last = waiting[-1]
            if not (self._used[last] or ends[last] > self._at or visits[last].result in _UNFINISHED):
                break
            waiting.pop()
        else:
            return None
        if is_end and visits[last].result == "cancelled":
            # By the end, which has then waited for something else: that has ended right before.
            for each in reversed(waiting):
                if ends[last] - ends[each] > SLACK:
                    break
                if visits[each].result != "cancelled" and not self._used[each]:
                    return each
        return last
