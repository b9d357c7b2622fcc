"""Adds up what runs did, as it is told.

It is fed by plain values, so a program that runs, its children and a run that is read again all come out alike. What is
kept is bounded by what is open and by the stages that there are, not by the visits: a run may have millions.

The wall time of a run is shared out along the path that took it. The path of a visit is that of the visit before it,
and its own time: before it came the one that it is recorded to follow, else, of those beside it, the one that had ended
last when it started. The path of a run, or of a visit that holds visits, is that of the one in it that ended last. So
the stages of a run and what lies outside of them are its wall time, and what ran beside the path has no share.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Container, Hashable, Sequence

from ..names import OTHER
from ..recording.store import MOST_TOLD_APART
from .paths import Path, Paths
from .totals import AGAIN, BADLY, FAILED, REWORK, Ended, Failure, Row, Started, WorkflowTotals, more

_MOST_GAPS = 32
"""Of a run, the longest times in which no stage of its process was open: stages of its children may lie there."""
_MOST_RUNS = 1000
"""Runs that have ended and whose gaps are kept, the last ones."""


class _Around:
    """What visits lie in: a run, or a visit."""

    __slots__ = ("ends_at", "inside", "paths", "row", "started", "workflow")

    def __init__(self, workflow: WorkflowTotals, row: Row, started: int, ends_at: int | None = None) -> None:
        self.workflow = workflow
        self.row = row
        self.started = started
        self.ends_at = ends_at
        """When it ends, where that is known already."""
        self.inside: dict[Hashable, _Visit] = {}
        """The open visits."""
        self.paths: Paths | None = None
        """Of the visits inside, once there are some."""

    def before(self, started: int, follows: Sequence[Hashable]) -> Path:
        """The path up to a visit that starts then."""
        if self.paths is None:
            self.paths = Paths(self.started)
        return self.paths.before(started, follows)

    def path(self, most: int) -> dict[object, int]:
        """The parts of the path through it, which took so long at most."""
        return {} if self.paths is None else self.paths.last.within(most)


class _Visit(_Around):
    """A visit that goes on."""

    __slots__ = ("around", "at_once", "base", "key", "run", "since", "stage")

    def __init__(self, started: Started, run: _Run, around: _Around) -> None:
        at, row = started.at, around.workflow.inside(around.row, started.stage, started.at)
        _Around.__init__(self, around.workflow, row, at)
        self.key = started.visit
        self.run = run
        self.stage = started.stage
        self.since = at
        """When it started, or what was around it ended."""
        self.put_in(around, around.before(at, started.follows))
        self.at_once = len(around.inside)
        others = run.of_row.get(row, 0)
        run.of_row[row] = others + 1
        if others:
            run.beside.add(row)

    @property
    def is_in_a_loop(self) -> bool:
        """Whether neither it nor what it is inside of was visited beside itself."""
        row: Row | None = self.row
        while row is not None and row not in self.run.beside:
            row = row.around
        return row is None

    def put_in(self, around: _Around, base: Path) -> None:
        """Have it lie in something, behind what has ended there."""
        self.around = around
        self.base = base
        base.holders += 1
        around.inside[self.key] = self


class _Run(_Around):
    """A run that goes on, or one that has ended and is told of by others still."""

    cause: tuple[object, Failure] | None = None
    """What went wrong last, where it began, and what it is inside of."""
    first_failure: Failure | None = None
    final: tuple[int, str, str | None] = (0, "", None)
    """When the last visit ended that lies in no other, its stage and action."""
    seen = 0
    """The last time that was told."""

    def __init__(self, run: str, workflow: WorkflowTotals, started: int, *, counts: bool) -> None:
        super().__init__(workflow, workflow.row, started)
        self.id = run
        self.counts = counts
        """Whether it is a run, or more of one that was counted."""
        self.of_row: dict[Row, int] = {}
        """Open visits of each stage, where there are some."""
        self.beside: set[Row] = set()
        """Stages that were visited beside themselves: that is no loop that comes to them again."""
        self.idle_since = started
        self.gaps: list[tuple[int, int]] = []
        """The longest times in which nothing is open: how long, and from when."""

    def busy(self, at: int) -> None:
        """A visit starts where none is open."""
        gap = (at - self.idle_since, self.idle_since)
        if gap[0] > 0:
            (heapq.heappush if len(self.gaps) < _MOST_GAPS else heapq.heappushpop)(self.gaps, gap)


class _Guests(_Run):
    """What others tell of a run that has ended: it lies in the times in which nothing of the run itself was open."""

    def __init__(self, run: str, workflow: WorkflowTotals, gaps: list[tuple[int, int]]) -> None:
        super().__init__(run, workflow, 0, counts=False)
        self.starts = [start for start, _ in gaps]
        self.places: list[_Around] = []
        for start, end in gaps:
            self.places.append(_Around(workflow, workflow.row, start, end))

    def place_at(self, started: int) -> _Around:
        """Where something lies that starts then; itself, which is on no path, where it is beside all gaps."""
        at = max(0, bisect_right(self.starts, started) - 1)
        for place in self.places[at : at + 2]:
            if started < (place.ends_at or 0):
                return place
        return self

    def path(self, most: int) -> dict[object, int]:  # noqa: ARG002 - each gap is as long as it is
        """The parts of the paths through all gaps."""
        parts = Counter[object]()
        for place in self.places:
            parts.update(place.path((place.ends_at or 0) - place.started))
        return parts


class Adding:
    """Adds up. Not to be called by several threads at once."""

    def __init__(self) -> None:
        self.workflows: dict[str, WorkflowTotals] = {}
        self._runs: dict[str, _Run] = {}
        self._open: dict[Hashable, _Visit] = {}
        self._gaps: OrderedDict[str, tuple[WorkflowTotals, list[tuple[int, int]]]] = OrderedDict()

    def run_started(self, run: str, workflow: str, started: int, more_of: bool = False) -> None:
        """A run starts; `more_of` one that was counted."""
        if run not in self._runs:
            self._runs[run] = _Run(run, self.workflow(workflow), started, counts=not more_of)

    def run_joined(self, run: str, workflow: str) -> None:
        """Another process tells more of a run, which may have ended."""
        if run not in self._runs:
            known, gaps = self._gaps.get(run) or (self.workflow(workflow), [])
            self._runs[run] = _Guests(run, known, gaps)

    def visit_started(self, started: Started) -> None:
        """A visit starts."""
        run, visit, parent = self._runs.get(started.run), started.visit, started.parent
        if run is None or visit in self._open:
            return
        around: _Around = run
        if parent is not None:
            around = self._open.get(parent, run)
        if around is run:
            if isinstance(run, _Guests):
                around = run.place_at(started.at)
            elif not run.inside:
                run.busy(started.at)
        self._open[visit] = _Visit(started, run, around)
        if started.in_child:
            run.workflow.in_children += 1

    def visit_ended(self, ended: Ended) -> None:
        """A visit ends. What is still open inside goes on inside what is around it."""
        known = self._open.pop(ended.visit, None)
        if known is None:
            return
        around, run, row, at = known.around, known.run, known.row, ended.at
        at_once = len(around.inside)
        if at_once > 1 or known.at_once > 1:
            row.at_once = max(row.at_once, known.at_once, at_once)
        around.inside.pop(ended.visit, None)
        run.of_row[row] = run.of_row.get(row, 1) - 1
        if around.row is run.row:
            if at_once == 1 and at > run.idle_since:
                run.idle_since = at
            if at >= run.final[0]:
                run.final = at, known.stage, ended.action
        run.seen = max(run.seen, at)
        took = at - known.started
        if took < 0:  # noqa: PLR1730 - `max` would be a call
            took = 0
        row.count(took, ended)
        if ended.result in BADLY:
            self._failed(known, ended)
        path = self._extended(known, ended, took)
        for other in known.inside.values():
            other.since = max(other.since, at)
            other.put_in(around, path)

    @staticmethod
    def _extended(visit: _Visit, ended: Ended, took: int) -> Path:
        """The path of a visit that ends."""
        around, base, until = visit.around, visit.base, ended.at
        if around.ends_at is not None:
            until = min(until, around.ends_at)
        base.holders -= 1
        on_it = until - (max(base.until, visit.since))
        if on_it < 0:  # noqa: PLR1730
            on_it = 0
        parts = visit.path(min(on_it, took)) if visit.paths is not None else {}
        if ended.is_repeat and visit.is_in_a_loop:
            parts[AGAIN] = on_it  # Once, whatever in it was so too, as below.
        if ended.is_rework:
            parts[REWORK] = on_it
        if ended.result == "failure":
            parts[FAILED] = on_it
        row = visit.row
        while row is not around.row and row.around is not None:  # More than one where it outlived what was around it.
            parts[row] = on_it
            row = row.around
        paths = around.paths
        if paths is None:  # It has outlived that.
            paths = around.paths = Paths(around.started)
        return paths.extended(base, visit.key, until, on_it, parts)

    @staticmethod
    def _failed(visit: _Visit, ended: Ended) -> None:
        run = visit.run
        before = run.cause
        if before is not None and before[0] is visit and before[1].error == ended.error:
            failure = before[1]  # It comes from inside.
        else:
            failure = Failure(run.id, visit.stage, ended.result, ended.error, ended.message)
        run.cause = visit.around, failure
        run.first_failure = _worse(run.first_failure, failure)

    def dead_end(self, run: str, stage: str, action: str | None, times: int = 1) -> None:
        """A flow ended where no edge takes the action that a stage returned; or so many flows."""
        if (of := self._runs.get(run)) is not None:
            more(of.workflow.dead_ends, (stage, action or ""), times)

    def run_ended(
        self, run: str, ended: int, result: str = "success", error: str | None = None, message: str = ""
    ) -> None:
        """A run ends. What others have open in it goes on, on no path."""
        of = self._runs.pop(run, None)
        if of is None:
            return
        workflow = of.workflow
        of.inside, still_open = {}, of.inside
        self._add_path(of, ended)
        if isinstance(of, _Guests):
            if not workflow.ended_badly:
                workflow.failure = _worse(workflow.failure, of.first_failure)
            return
        if not still_open:
            of.busy(ended)
        if of.gaps:
            gaps = sorted((start, start + length) for length, start in of.gaps)
            self._gaps[run] = workflow, gaps
            if len(self._gaps) > _MOST_RUNS:
                self._gaps.popitem(last=False)
        if still_open:
            guests = self._runs[run] = _Guests(run, workflow, [])
            for visit in still_open.values():
                guests.of_row[visit.row] = guests.of_row.get(visit.row, 0) + 1
                visit.run = guests
                visit.put_in(guests, guests.before(ended, ()))
        if of.counts:
            workflow.runs += 1
            workflow.row.results[result] += 1
            if error is not None and result in BADLY:
                more(workflow.row.errors, (result, error))
        self._conclude(of, ended, Failure(run, "", result, error, message))

    @staticmethod
    def _add_path(of: _Run, ended: int) -> None:
        workflow, on_it = of.workflow, 0
        for part, took in of.path(max(0, ended - of.started)).items():
            if isinstance(part, Row):
                part.path += took
                on_it += took if part.around is workflow.row else 0
            else:
                workflow.figures[str(part)] += took
        wall = 0 if isinstance(of, _Guests) else max(0, ended - of.started)
        workflow.row.time += wall
        workflow.outside += wall - on_it

    @staticmethod
    def _conclude(of: _Run, ended: int, end: Failure) -> None:
        workflow = of.workflow
        wall = max(0, ended - of.started)
        if wall > workflow.slowest[0]:
            workflow.slowest = wall, of.id
        if of.final[2] is not None:  # It is a flow.
            more(workflow.ends, (of.final[1], of.final[2]))
        if end.result in BADLY:
            cause = None if of.cause is None else of.cause[1]
            is_of_it = cause is not None and _is_cancelled(cause) == _is_cancelled(end)
            if cause is None or not is_of_it or (end.error is not None and cause.error != end.error):
                cause = end  # Between its stages.
            known = workflow.failure if workflow.ended_badly else None
            workflow.failure = _worse(known, cause._replace(result=end.result))
            workflow.ended_badly = True
        elif not workflow.ended_badly:
            workflow.failure = _worse(workflow.failure, of.first_failure)

    def close(self, going_on: Container[Hashable] = ()) -> None:
        """All is told: what is open, and is not `going_on`, did not live to end. How long it took nobody knows."""
        for key, visit in reversed(list(self._open.items())):
            visit.around.inside.pop(key, None)
            visit.row.visits += 1
            if key in going_on:
                visit.row.results["running"] += 1
            else:
                visit.row.results["abandoned"] += 1
                self._failed(visit, Ended(key, 0, "abandoned"))
        self._open.clear()
        for run, of in list(self._runs.items()):
            self.run_ended(run, max(of.seen, of.started), "running" if run in going_on else "abandoned")

    def workflow(self, name: str) -> WorkflowTotals:
        """The totals of a workflow."""
        known = name if name in self.workflows or len(self.workflows) < MOST_TOLD_APART else OTHER
        found = self.workflows.get(known)
        if found is None:
            found = self.workflows[known] = WorkflowTotals(Row(known))
        return found


def _worse(first: Failure | None, later: Failure | None) -> Failure | None:
    """What is told of two: what failed rather than what was cancelled, else the first."""
    if first is None or later is None:
        return first or later
    return later if _is_cancelled(first) and not _is_cancelled(later) else first


def _is_cancelled(failure: Failure) -> bool:
    return failure.result == "cancelled"
