"""One run, prepared for every question: what lies in what, what followed what, and all within the time of the run."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .. import names
from ..runs.model import Run, Visit

RUN = -1
"""In the place of a visit: the run itself."""
SLACK = 1_000_000
"""Nanoseconds between two events of which the one may have led to the other at once."""


@dataclass(frozen=True)
class Shape:
    """The visits of a run by their numbers in the order of their starts, whatever order they were read in.

    What has no end goes on to the last instant that was told, and nothing reaches beyond the run.
    """

    run: Run
    started: int
    ended: int
    visits: tuple[Visit, ...]
    starts: list[int]
    ends: list[int]
    parents: list[int]
    """The visit around each; `RUN` where there is none."""
    around: list[int]
    """What could wait for its end: the nearest around it that does not end before it."""
    follows: Sequence[Sequence[int]]
    """What each is recorded to have followed."""

    @property
    def wall(self) -> int:
        """Nanoseconds from the start to the end."""
        return self.ended - self.started

    def inside(self) -> list[list[int]]:
        """The visits that each could wait for, and last those of the run: `inside()[RUN]`."""
        found: list[list[int]] = [[] for _ in range(len(self.visits) + 1)]
        for visit, around in enumerate(self.around):
            found[around].append(visit)
        return found


def shape_of(run: Run) -> Shape:
    """Prepare a run."""
    visits = tuple(sorted(run.visits, key=_order))
    started, ended = _span_of(run, visits)
    numbers = {visit.id: number for number, visit in enumerate(visits)}
    parents = [numbers.get(visit.parent or "", RUN) for visit in visits]
    order: Sequence[int] = range(len(visits))
    if not all(map(operator.lt, parents, order)):  # Mostly what is around each has begun before it.
        parents = _without_circles(parents)
        order = _from_outside(parents)
    slept = _slept(visits, started, ended)
    starts, ends, around = [started] * len(visits), [ended] * len(visits), [RUN] * len(visits)
    for number in order:
        visit, late, place = visits[number], slept[number], parents[number]
        earliest = started if place == RUN else starts[place]  # Clocks of several processes differ by a little.
        begun = starts[number] = min(max(visit.started - late if late else visit.started, earliest), ended)
        if visit.ended is not None:
            ends[number] = max(min(visit.ended - late if late else visit.ended, ended), begun)
        while place != RUN and ends[place] < ends[number]:
            place = around[place]  # What lies between ends before it, too: tasks may start each other without an end.
        around[number] = place
    follows = [_followed(visit, numbers) if visit.links else () for visit in visits]
    return Shape(run, started, ended, visits, starts, ends, parents, around, follows)


def _followed(visit: Visit, numbers: dict[str, int]) -> Sequence[int]:
    """What a visit is recorded to have followed."""
    found = [
        numbers[link.visit]
        for link in visit.links
        if link.kind == names.LINK_FOLLOWS and link.visit in numbers and link.visit != visit.id
    ]
    return sorted(set(found)) if len(found) > 1 else found


def _order(visit: Visit) -> tuple[int, float, str]:
    return visit.started, -(math.inf if visit.ended is None else visit.ended), visit.id


def _span_of(run: Run, visits: Iterable[Visit]) -> tuple[int, int]:
    """When a run began and ended; where no end was told, the last instant that was."""
    if run.started is not None and run.ended is not None:
        return run.started, max(run.started, run.ended)
    told = [at for visit in visits for at in (visit.started, visit.ended, *_inside(visit)) if at is not None]
    told += [at for stage in run.stages for at in (stage.started, stage.ended) if at is not None]
    started = run.started if run.started is not None else min(told, default=0)
    ended = run.ended if run.ended is not None else max(told, default=started)
    return started, max(started, ended)


def _slept(visits: Sequence[Visit], started: int, ended: int) -> list[int]:
    """How late each visit is by the wall clock, as the machine slept or the clock was set forward.

    Starts are by the wall clock, durations by the monotonic one. So the run ended before what came after the sleep
    began, as nothing else in its own process can: the sleep was in the longest time in which nothing was told.
    """
    own = [number for number, visit in enumerate(visits) if visit.process == visits[0].process]
    late = [0] * len(visits)
    if not own or visits[own[-1]].started <= ended + SLACK:
        return late
    told, longest, behind = started, 0, 0
    for number in own:
        visit = visits[number]
        if visit.started - told > longest:
            longest, behind = visit.started - told, visit.started
        told = max(told, visit.started, visit.ended or 0)
    for number in own:
        if visits[number].started >= behind:
            late[number] = min(longest, told - ended)
    return late


def _inside(visit: Visit) -> Iterable[int | None]:
    """Instants inside a visit that has no end of its own."""
    if visit.ended is None:
        for each in (*visit.failed, *visit.items, *visit.waits):
            yield each.started
            yield each.ended


def _without_circles(parents: list[int]) -> list[int]:
    """The same, where in a damaged record something lies in itself: that is then directly in the run."""
    found = list(parents)
    known = [False] * len(parents)
    for number in range(len(parents)):
        way: list[int] = []
        on_way: set[int] = set()
        place = number
        while place != RUN and not known[place]:
            if place in on_way:
                found[way[-1]] = RUN
                break
            way.append(place)
            on_way.add(place)
            place = found[place]
        for each in way:
            known[each] = True
    return found


def _from_outside(parents: list[int]) -> list[int]:
    """The visits, each behind the one around it."""
    depths = [-1] * len(parents)
    for number in range(len(parents)):
        way: list[int] = []
        place = number
        while place != RUN and depths[place] < 0:
            way.append(place)
            place = parents[place]
        depth = 0 if place == RUN else depths[place] + 1
        for each in reversed(way):
            depths[each] = depth
            depth += 1
    return sorted(range(len(parents)), key=depths.__getitem__)
