"""A run once more, with other times for what is done in it: what waited for what stays as it was.

Every visit starts as long after the last thing that it waited for as it did, and every visit that holds others ends as
long after the last of them. What the code of a visit or of the run does between what is inside is its own time.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .shape import RUN, SLACK, Shape

_NEVER_AWAITED = ("abandoned",)


@dataclass(frozen=True)
class Dependencies:
    """What each start and each end in a run has waited for."""

    shape: Shape
    before: list[list[int]]
    """Visits whose ends the start of each waited for, beside the start of what is around it."""
    inside: list[list[int]]
    """Visits whose ends the end of each waited for; last those of the run."""
    inferred: int
    """How many of all these times alone tell."""
    perhaps: Mapping[int, list[int]]
    """Visits whose start may have waited for these as well: nothing says what waited for them, but the end of all."""
    order: list[int] = field(repr=False)
    """Starts (even) and ends (odd) of the visits, each behind what it has waited for."""


def dependencies_of(shape: Shape) -> Dependencies:
    """Recorded links, and where these leave a time unexplained, all that had ended and had led to nothing else."""
    known = _Known(shape)
    before, inside = [list(each) for each in known.recorded], shape.inside()
    awaited: list[list[int]] = [[] for _ in inside]
    inferred = 0
    for place, visits in zip((*range(len(shape.visits)), RUN), inside, strict=True):
        for visit, more in known.unexplained(place, visits):
            before[visit] += more
            inferred += len(more)
        awaited[place] = known.awaited(place, visits)
        if len(awaited[place]) > 1:
            inferred += len(awaited[place])
    perhaps = _perhaps(shape, inside, awaited)
    waits = [[*each, *perhaps.get(visit, ())] for visit, each in enumerate(before)]
    return Dependencies(shape, before, awaited, inferred, perhaps, _order(shape, waits, awaited))


def _perhaps(shape: Shape, inside: list[list[int]], awaited: list[list[int]]) -> dict[int, list[int]]:
    """For each visit that nothing but the end of all is known to wait for: what started next."""
    found: dict[int, list[int]] = {}
    for visits, ends in zip(inside, awaited, strict=True):
        starts = [shape.starts[each] for each in visits]  # They are in this order.
        for each in ends:
            place = bisect.bisect_left(starts, shape.ends[each])
            if place < len(visits) and visits[place] != each:
                found.setdefault(visits[place], []).append(each)
    return found


class _Known:
    """What links say, and what is not said."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.recorded = [
            [each for each in follows if shape.ends[each] <= shape.starts[visit] and each != visit]
            for visit, follows in enumerate(shape.follows)
        ]
        self._led_on: dict[int, int] = {}
        """When something first started that waited for a visit."""
        for visit, follows in enumerate(self.recorded):
            for each in follows:
                self._lead_on(each, visit)

    def _lead_on(self, each: int, visit: int) -> None:
        started = self.shape.starts[visit]
        self._led_on[each] = min(started, self._led_on.get(each, started))

    def unexplained(self, place: int, visits: list[int]) -> Iterable[tuple[int, list[int]]]:
        """Visits that start later than what is known explains, with what had ended until then and led to nothing."""
        shape = self.shape
        by_end = sorted(visits, key=lambda each: (shape.ends[each], each))
        position = 0
        open_ends: list[int] = []
        for visit in [each for each in visits if shape.parents[each] == place]:
            started = shape.starts[visit]
            while position < len(by_end) and shape.ends[by_end[position]] <= started:
                if shape.visits[by_end[position]].result not in _NEVER_AWAITED:
                    open_ends.append(by_end[position])
                position += 1
            latest = max((shape.ends[each] for each in self.recorded[visit]), default=None)
            if latest is not None and started - latest <= SLACK:
                continue
            open_ends = [
                each for each in open_ends if self._led_on.get(each, started) >= started - SLACK and each != visit
            ]
            since = shape.started - 1 if latest is None else latest
            more = [each for each in open_ends if shape.ends[each] > since and each not in self.recorded[visit]]
            if more:
                for each in more:
                    self._lead_on(each, visit)
                yield visit, more
            if latest is not None:  # What is older than what it is known to follow explains no later one either.
                open_ends = more

    def awaited(self, place: int, visits: list[int]) -> list[int]:
        """What the end of a place has waited for: what led to nothing else, but for what that end has itself ended."""
        shape = self.shape
        ended = shape.ended if place == RUN else shape.ends[place]
        ends = [each for each in visits if each not in self._led_on and shape.visits[each].result not in _NEVER_AWAITED]
        own = [each for each in ends if shape.visits[each].result != "cancelled" or ended - shape.ends[each] > SLACK]
        return own or ends


def _order(shape: Shape, before: list[list[int]], inside: list[list[int]]) -> list[int]:
    """Starts and ends, each behind what it has waited for; what waits for itself, by a damaged record, comes last."""
    count = len(shape.visits)
    waits = [0] * (2 * count)
    leads: list[list[int]] = [[] for _ in waits]

    def then(first: int, second: int) -> None:
        leads[first].append(second)
        waits[second] += 1

    for visit in range(count):
        then(2 * visit, 2 * visit + 1)
        if shape.parents[visit] != RUN:
            then(2 * shape.parents[visit], 2 * visit)
        for each in before[visit]:
            then(2 * each + 1, 2 * visit)
        for each in inside[visit]:
            then(2 * each + 1, 2 * visit + 1)
    ready = [each for each, number in enumerate(waits) if not number]
    found: list[int] = []
    while ready:
        each = ready.pop()
        found.append(each)
        for other in leads[each]:
            waits[other] -= 1
            if not waits[other]:
                ready.append(other)
    return found


def replayed(
    known: Dependencies,
    factors: Mapping[int, float],
    dropped: frozenset[int] = frozenset(),
    before: Mapping[int, list[int]] | None = None,
    ends: Mapping[int, list[int]] | None = None,
) -> float:
    """Nanoseconds that a run takes once more.

    Args:
        known: what waited for what.
        factors: by how much the own time of visits (by number) is multiplied; 1 where nothing is said.
        dropped: visits that do not happen.
        before: in the place of what the starts of these visits waited for.
        ends: in the place of what the ends of these visits, or of the run, waited for.
    """
    shape = known.shape
    starts: list[float] = list(shape.starts)
    finishes: list[float] = list(shape.ends)
    for moment in known.order:
        visit, is_end = divmod(moment, 2)
        if is_end:
            recorded = known.inside[visit]
            now = recorded if ends is None else ends.get(visit, recorded)
            own = shape.ends[visit] - max((shape.ends[each] for each in recorded), default=shape.starts[visit])
            own *= 0 if visit in dropped else factors.get(visit, 1.0)
            finishes[visit] = max(max((finishes[each] for each in now), default=starts[visit]), starts[visit]) + own
            continue
        parent = shape.parents[visit]
        recorded = known.before[visit]
        now = recorded if before is None else before.get(visit, recorded)
        begun, begins = (shape.started, shape.started) if parent == RUN else (shape.starts[parent], starts[parent])
        lag = shape.starts[visit] - max(max((shape.ends[each] for each in recorded), default=begun), begun)
        lag *= 0 if visit in dropped else factors.get(parent, 1.0)
        starts[visit] = max(max((finishes[each] for each in now), default=begins), begins) + lag
    recorded = known.inside[RUN]
    now = recorded if ends is None else ends.get(RUN, recorded)
    behind = shape.ended - max((shape.ends[each] for each in recorded), default=shape.started)
    return max((finishes[each] for each in now), default=shape.started) + behind - shape.started
