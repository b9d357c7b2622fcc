"""What a run would have taken if something in it were otherwise, by replaying what is recorded of it.

It assumes that all the rest takes as long as it did, that nothing else would have been done, and that what went on at
once did not hold each other up. Where the record speaks against the last, it refuses and says why.
"""

from __future__ import annotations

import bisect
import functools
import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from ..recording.times import NANO
from ..runs.model import Run
from .bounded import bound_of
from .replay import Dependencies, dependencies_of, replayed
from .shape import RUN, Shape, shape_of
from .sharing import Sharing, sharing_of
from .visits import lost_to_retries, rework_of, waited_in

_UNSURE = 0.02
"""Part of a run by which answers may differ that what the record does not say would make."""


@dataclass(frozen=True)
class WhatIf:
    """One answer."""

    what: str
    """The question, in words: `style_editor twice as fast`."""
    stage: str | None
    before: float
    """Seconds that the run took."""
    after: float | None
    """Seconds that it would have taken; None: refused."""
    inferred: int
    """How many of the dependencies that were replayed times alone tell, and no link."""
    refused: str | None = None
    """Why there is no answer."""

    @property
    def saves(self) -> float:
        """Seconds; 0.0 where there is no answer."""
        return 0.0 if self.after is None else max(0.0, self.before - self.after)

    @property
    def share(self) -> float:
        """The same as a part of the run, from 0 to 1."""
        return self.saves / self.before if self.before else 0.0


class Replay:
    """A run that may be asked several questions."""

    def __init__(self, run: Run) -> None:
        self._known: Dependencies | None = None
        self._shape = shape_of(run)
        self._refused = _unfit(run)

    @property
    def shape(self) -> Shape:
        """The run, as it is replayed."""
        return self._shape

    @functools.cached_property
    def sharing(self) -> Sharing:
        """Whose its time is."""
        return sharing_of(self._shape)

    @property
    def _own(self) -> list[int]:
        return self.sharing.own

    def faster(self, stage: str, factor: float = 2.0) -> WhatIf:
        """If the own time of every visit of a stage, without what it waited, were `factor` times shorter.

        Raises:
            ValueError: the factor is not above 0.
        """
        if not factor > 0:
            raise ValueError(f"{factor} is no factor: it must be above 0")
        what = f"{stage} {'twice' if factor == 2 else f'{factor:g} times'} as fast"
        visits = [number for number, visit in enumerate(self._shape.visits) if visit.stage == stage]
        if not visits:
            return self._no(what, stage, f"there is no visit of {stage}")
        return self._answer(what, stage, {number: self._worked(number, factor) for number in visits})

    def _worked(self, number: int, factor: float) -> float:
        """By how much the own time of a visit shrinks that works faster, and waits as long as it did."""
        visit, own = self._shape.visits[number], self._own[number]
        if not own or not (visit.waits or visit.retries):
            return 1 / factor
        waits = min(1.0, waited_in(visit, self._shape.starts[number], self._shape.ends[number]) / own)
        return waits + (1 - waits) / factor

    def without_retries(self, stage: str | None = None) -> WhatIf:
        """If every visit (of a stage) had succeeded with the attempt that was its last."""
        what = f"no retries{f' of {stage}' if stage else ''}"
        shape, own = self._shape, self._own
        factors: dict[int, float] = {}
        for number, visit in enumerate(shape.visits):
            lost = lost_to_retries(visit, shape.starts[number], shape.ends[number])
            if lost and own[number] and stage in {None, visit.stage}:
                factors[number] = max(0.0, 1 - lost / own[number])
        if not factors:
            return self._no(what, stage, "nothing was tried again")
        return self._answer(what, stage, factors)

    def one_revision_less(self) -> WhatIf:
        """If the work had been good enough one revision earlier: without the repeats at the highest revision."""
        by_revision = rework_of(self._shape).by_revision
        what = "one revision less"
        if not by_revision:
            return self._no(what, None, "nothing was worked on again")
        gone = set(by_revision[max(by_revision)])
        for number, parent in enumerate(self._shape.parents):  # Parents begin before what is in them.
            if parent in gone:
                gone.add(number)
        return self._answer(what, None, {}, frozenset(gone))

    def more_in_parallel(self, stage: str) -> WhatIf:
        """If two items at a time were worked on, of those that this stage begins with and that came one by one."""
        what = f"two items of {stage} at once"
        inner = self._items_inside(stage)
        if inner:
            return self._answer(what, stage, inner)
        items = items_one_by_one(self._shape, stage)
        if items is None:
            return self._no(what, stage, "no items that came one after the other are recorded of it")
        if self._refused:
            return self._no(what, stage, self._refused)
        known = self._dependencies()
        before, ends = _two_at_once(known, items)
        return self._took(what, stage, replayed(known, {}, before=before, ends=ends))

    def _items_inside(self, stage: str) -> dict[int, float]:
        """By how much the own time of its visits shrinks whose items came one by one."""
        shape, own = self._shape, self._own
        factors: dict[int, float] = {}
        for number, visit in enumerate(shape.visits):
            if visit.stage != stage or len(visit.items) < 2 or not own[number]:
                continue
            items = sorted(visit.items, key=lambda each: (each.started, each.ended))
            if all(a.ended <= b.started for a, b in itertools.pairwise(items)):
                whole = items[-1].ended - items[0].started
                saved = min(own[number], whole - _makespan([item.ended - item.started for item in items]))
                factors[number] = 1 - max(0, saved) / own[number]
        return factors

    def _answer(
        self, what: str, stage: str | None, factors: Mapping[int, float], dropped: frozenset[int] = frozenset()
    ) -> WhatIf:
        known = self._dependencies()
        refused = self._refused or bound_of(known, frozenset(factors) | dropped)
        if refused:
            return self._no(what, stage, refused)
        after = replayed(known, factors, dropped)
        perhaps = {visit: [*known.before[visit], *more] for visit, more in known.perhaps.items()}
        if replayed(known, factors, dropped, perhaps) - after > _UNSURE * self._shape.wall:
            stages = sorted({self._shape.visits[each].stage for more in known.perhaps.values() for each in more})
            return self._no(what, stage, f"the record does not say what waited for {' and '.join(stages[:3])}")
        return self._took(what, stage, after)

    def _took(self, what: str, stage: str | None, after: float) -> WhatIf:
        return WhatIf(what, stage, self._shape.wall / NANO, after / NANO, self._dependencies().inferred)

    def _no(self, what: str, stage: str | None, reason: str) -> WhatIf:
        return WhatIf(what, stage, self._shape.wall / NANO, None, 0, reason)

    def _dependencies(self) -> Dependencies:
        if self._known is None:
            self._known = dependencies_of(self._shape)
        return self._known


def _unfit(run: Run) -> str | None:
    """Why a run cannot be replayed at all."""
    if not run.visits:
        return "its visits were not recorded one by one"
    if run.visits_left_out:
        return f"{run.visits_left_out} of its visits are known by their totals only"
    if run.ended is None or any(visit.ended is None for visit in run.visits):
        return "it has not ended"
    return None


def items_one_by_one(shape: Shape, stage: str) -> list[list[int]] | None:
    """The visits of each item of a batch flow that begins each with `stage`, where they came one after the other."""
    places = {shape.around[n] for n, visit in enumerate(shape.visits) if visit.stage == stage}
    if len(places) != 1:
        return None
    (place,) = places
    visits = [n for n, around in enumerate(shape.around) if around == place]
    firsts = [n for n in visits if shape.visits[n].stage == stage and shape.visits[n].number == 1]
    if len(firsts) < 2:
        return None
    if any(shape.ends[first] > shape.starts[after] for first, after in itertools.pairwise(firsts)):
        return None
    bounds = [bisect.bisect_left(visits, first) for first in firsts]  # Both are in the order of their starts.
    items = [visits[low:high] for low, high in itertools.pairwise(bounds)]
    stages = {shape.visits[n].stage for item in items for n in item}
    last = visits[bounds[-1] :]  # Of the last item the stages tell where it ends.
    items.append(last[: next((i for i, n in enumerate(last) if shape.visits[n].stage not in stages), len(last))])
    one_by_one = all(
        max(shape.ends[n] for n in item) <= shape.starts[after[0]] for item, after in itertools.pairwise(items)
    )
    platforms = [shape.visits[first].item_platform for first in firsts]
    known = len(set(platforms)) == len(platforms) or set(platforms) == {None}
    return items if one_by_one and known else None


def _two_at_once(known: Dependencies, items: list[list[int]]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """What the items' first visits, and what comes behind them, wait for where two are worked on at a time."""
    shape = known.shape
    begins = [shape.starts[item[0]] for item in items]
    takes = [max(shape.ends[n] for n in item) - start for item, start in zip(items, begins, strict=True)]
    ends_of = [[max(item, key=lambda n: shape.ends[n])] for item in items]
    before = {items[1][0]: known.before[items[0][0]]}
    free = [(takes[0], 0), (takes[1], 1)]
    heapq.heapify(free)
    for number in range(2, len(items)):
        at, other = heapq.heappop(free)
        before[items[number][0]] = ends_of[other]
        heapq.heappush(free, (at + takes[number], number))
    last = set(ends_of[-1])
    left = [visit for _, number in free for visit in ends_of[number]]
    inside = {visit for item in items for visit in item}
    for visit, waits in enumerate(known.before):
        if visit not in inside and last & set(waits):
            before[visit] = [*waits, *left]
    place = shape.around[items[0][0]]
    ends = {place: [*known.inside[place], *left]} if place == RUN or last & set(known.inside[place]) else {}
    return before, ends


def _makespan(times: list[int]) -> int:
    """How long it takes when two are worked on at a time, in their order."""
    free = [0, 0]
    for taken in times:
        heapq.heapreplace(free, free[0] + taken)
    return max(free)
