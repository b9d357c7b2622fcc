"""The one recorder: it knows when runs and visits start and end, and tells the sinks.

The ways in (decorators, context managers, tracker, instrumentors) hand it one complete `Call`; what a start or an end
means for spans, metrics or the shared store is the sinks' business.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, get_current, set_value

from ..names import PROGRESS_METRICS, Result
from . import order, twins
from .call import Call, Code
from .faults import from_handler, report
from .live import Beginning, Recorded, Run
from .place import RECORDED, current_context, outside, put_within, span_only
from .registry import Registry, remote_context, saved_run
from .settings import Settings
from .sink import Teller
from .sources import Clock, new_run_id, program_name, result_of
from .stages import StageRecord
from .store import (
    NOTHING_SEEN,
    here,
    look_at,
    name_of,
    read,
    type_name,
    versions_since,
)
from .visits import Part, Visit

_NOWHERE = Context()  # Where something is that has ended: its own context would hold it in a cycle.


class Recorder(Teller):
    """Keeps the live runs and visits and calls the sinks. Safe to use from any thread and task."""

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        new_run_id: Callable[[], str] = new_run_id,
    ) -> None:
        super().__init__()
        self.settings = settings or Settings()
        self.workflow: str | None = None
        """Name of the runs that a stage begins by itself; None: the program's name."""
        self.prepare: Callable[[], object] | None = None
        """Called before a run begins: what takes long there is not in the run's time."""
        self.started_in: Context | None = None  # Of the process: for runs that begin where no span is current.
        self.registry = Registry()
        clock = clock or Clock()
        self._wall, self._monotonic = clock.wall, clock.monotonic
        self._new_run_id = new_run_id
        self._serials = itertools.count(1)
        self._at_exit = False
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    def _forked(self) -> None:
        # What was open at the fork is the parent's to end. A stage that starts in the child joins the run by its id.
        # The registry's lock may be held for ever by a thread that is no more: it is replaced, and not asked.
        before, self.registry = self.registry, Registry()
        for run in before.left_behind():
            run.open_here = False
            run.lock = threading.RLock()

    def current(self) -> Recorded | None:
        """The innermost of what is open where this code runs; the run, where that has ended too."""
        return self.around()[0]

    def around(self) -> tuple[Recorded | None, Context]:
        """The same, and the context there: what was left current after its end is in neither."""
        context = current_context()
        recorded = context.get(RECORDED)
        if not isinstance(recorded, Recorded) or recorded.recorder is not self:
            return None, context
        if recorded.ended is None and (type(recorded) is not Part or recorded.owner.ended is None):
            return recorded, context
        return outside(recorded, context)

    def now(self, recorded: Recorded) -> int:
        """The time inside `recorded`, in nanoseconds since the Unix epoch."""
        passed = self._monotonic() - recorded.clock
        return recorded.started + passed if passed > 0 else recorded.started

    def is_open(self, recorded: Recorded) -> bool:
        """Whether this process may still add to `recorded`."""
        return recorded.ended is None and recorded.run.open_here

    def end(
        self,
        recorded: Recorded,
        error: BaseException | None = None,
        result: Result | None = None,
        at: int | None = None,
    ) -> None:
        """End a run, a visit or a part: by `error` where one leaves it. A second end does nothing."""
        if recorded.ended is not None or not recorded.run.open_here:
            return
        try:
            if isinstance(recorded, Visit):
                self._end_visit(recorded, error, result, at)
            elif isinstance(recorded, Run):
                self._end_run(recorded, error, result, at)
            else:
                recorded.result, recorded.exception = result or result_of(error), error
                ended, recorded.untold = self.now(recorded), iter(self.sinks)
                recorded.ended = ended
                self._finish(recorded)
        except BaseException:
            self._finish(recorded)  # What a signal's handler has interrupted goes on where it stood.
            raise

    def _finish(self, recorded: Recorded) -> None:
        if recorded.untold is None:
            return
        if isinstance(recorded, Visit):
            self._finish_visit(recorded)
        elif isinstance(recorded, Run):
            self._finish_run(recorded)
        else:
            self.tell("part_ended", recorded, to=recorded.untold)
            recorded.exception = recorded.untold = None

    def close(self) -> None:
        """End every run of this process: idle ones at their last activity, others as abandoned."""
        for run in self.registry.runs():
            try:
                idle = run.unattended
                self.end(run, None, None if idle else "abandoned", run.last_activity if idle else None)
            except BaseException as error:
                if from_handler(error):
                    raise
                report("a run could not be ended", error)

    def _start(self, recorded: Recorded, around: Recorded | None) -> None:
        """Take the time: no child before its parent or what ended before it, should the wall clock be set back."""
        started = self._wall()
        recorded.clock = self._monotonic()
        if around is not None:
            if started < around.started:  # noqa: PLR1730 - `max` would be a call, as below
                started = around.started
            if started < around.run.last_activity:  # noqa: PLR1730
                started = around.run.last_activity
        recorded.started = started

    # --- runs ---------------------------------------------------------------------------------------------------------

    def start_run(self, call: Call) -> Run | Visit:
        """Begin a run; inside another one, a visit that may hold visits."""
        if here.reading:
            return self.nothing(call.code)
        shared, (ambient, context) = call.shared, self.around()
        saved = saved_run(shared)
        if ambient is not None and (
            (self.is_open(ambient.run) and not ambient.run.unattended)
            or (saved is not None and saved["run_id"] == ambient.run.id)  # A task that outlives its run, or a fork.
        ):
            return self.start_visit(call)
        idle = self.registry.find(shared, saved)
        if idle is not None and idle.unattended:  # Begun by an earlier stage. What follows is a workflow of its own.
            self.end_idle(idle)
        if saved is not None:
            known = self.registry.of_id(saved["run_id"])
            if self.registry.has_ended(saved["run_id"]) or (known is not None and known.fresh):
                saved = None  # It began here: this is not the process that carries it on.
        begun = Beginning.CARRIED_ON if saved else Beginning.WORKFLOW
        run = Run(
            self,
            saved["run_id"] if saved else self._new_run_id(),
            self._program() if call.code.bare else name_of(call.code.name) or "workflow",
            begun,
            shared=shared,
            origin=call.code.origin,
        )
        run.node, run.method, run.before = call.node, call.code.function, context
        run.parent_context = remote_context(saved) if saved else context
        return self._begin_run(run)

    def run_for(self, call: Call, ambient: Recorded | None) -> Run:
        """The run that a stage belongs to; a new one where there is none."""
        if ambient is not None and self.is_open(ambient.run):
            return ambient.run
        shared, rests = call.shared, self.registry.rests
        saved = saved_run(shared)
        run = self.registry.find(shared, saved)
        if run is not None and run.ended is None:
            with run.beginning:  # Another thread may be making its span.
                return run
        if saved is not None:
            span = trace.get_current_span(remote_context(saved))
            return self._join(saved["run_id"], saved["workflow"], span, call)
        if ambient is not None:  # A task that outlives its run, or a forked child.
            return self._join(ambient.run.id, ambient.run.workflow, ambient.run.span, call)
        if shared is None and order.main_worker() is None:
            self._hint(call.code.name)
        run = Run(self, self._new_run_id(), self._program(), Beginning.STAGE, shared=shared, origin=call.code.origin)
        run.parent_context = get_current()
        return self._begin_run(run, rests)

    def _hint(self, stage: str) -> None:
        """Say once how another thread is told which run its stages are part of."""
        if open_elsewhere := [each.workflow for each in self.registry.runs() if not each.implicit]:
            report(
                f"a stage ({stage}) begins a run of its own while {open_elsewhere[0]} goes on: if it is part of that, "
                "have it called by run.wrap(function) or run.executor(pool), or hand it the same shared"
            )

    def _program(self) -> str:
        """The name of a run that has none."""
        return name_of(self.workflow) if self.workflow else program_name()

    def _join(self, run_id: str, workflow: str, span: trace.Span, call: Call) -> Run:
        """A run that began elsewhere: in another process, before a fork, or here and has ended."""
        begun, origin = Beginning.JOINED, call.code.origin
        run = Run(self, run_id, name_of(workflow) or "workflow", begun, shared=call.shared, origin=origin)
        run.span = trace.NonRecordingSpan(span.get_span_context())
        run.parent_context = trace.set_span_in_context(run.span)
        return self._begin_run(run)

    def _begin_run(self, run: Run, rests: int | None = None) -> Run:
        if self.prepare is not None:
            self.prepare()
        self._start(run, None)
        run.last_activity = run.started
        run.worker = order.main_worker() if run.implicit else order.worker()
        put_within(run, self.started_in)
        if not run.fresh:
            run.load(read(run.shared, PROGRESS_METRICS))
        if not self._at_exit:
            # Registered only now, so that it is called before the providers' own handlers, which were there first.
            self._at_exit = True
            atexit.register(self.close)
        try:
            with run.beginning:
                known = self.registry.claim(run, rests)
                if known is run:
                    self.tell("run_started", run)
            if known is run:
                self.tell("run_shown", run)
                run.shown = True
        except BaseException:
            self.end(run, None, "abandoned")
            raise
        if known is not run:
            with known.beginning:
                return known
        return run

    def end_idle(self, run: Run) -> None:
        """End a run in which nothing goes on, as of its last visit's end."""
        self.end(run, None, None, run.last_activity)

    def _end_run(self, run: Run, error: BaseException | None, result: Result | None, at: int | None) -> None:
        seen = look_at(run.shared)
        with run.lock:
            if run.ended is not None:
                return
            ended = max(run.started, self.now(run) if at is None else at)
            run.note(seen.platforms, seen.revision)
            run.result = result or ("failure" if error is None and run.implicit and run.failing else result_of(error))
            if run.result in ("failure", "cancelled"):  # Else what failed last did not end it.
                run.error_type = run.failing if error is None else type_name(error)
            run.exception = error
            run.untold, run.ended = iter(self.sinks), ended
        self._finish_run(run)

    def _finish_run(self, run: Run) -> None:
        for visit in reversed(list(run.open)):
            at = min(self.now(visit), run.end_within(visit))
            if visit.by_tracker:
                self.end(visit, run.exception, run.result, at)
            else:
                self.end(visit, None, "abandoned", at)
        self.tell("run_ended", run, to=run.untold)
        self.registry.remove(run)
        run.context, run.parent_context = _NOWHERE, span_only(run.parent_context)
        run.before, run.node, run.exception, run.untold, run.ends = _NOWHERE, None, None, None, None

    # --- visits -------------------------------------------------------------------------------------------------------

    def start_visit(self, call: Call) -> Visit:
        """Begin a visit, or take over the one that a tracker has begun for this stage."""
        if here.reading:
            return self.nothing(call.code)
        (ambient, context), code = self.around(), call.code
        run = None if ambient is None else ambient.run
        try:
            if run is None or run.ended is not None or not run.open_here:
                run = self.run_for(call, ambient)
            record = run.stages.get(code.name) or run.stage(code.name, loose=code.loose, of_class=code.of_class)
            if run.tracked and (visit := run.hand_over(record.stage_of(code.name))) is not None:
                return self._take_over(visit, call, ambient, context)
            visit = Visit(self, record, call)
            return self.begin(visit, ambient, context) or self.start_visit(call)
        except BaseException:
            if run is not None and run.unattended and run.shown and run.ended is None:
                self.rest(run, call.shared)  # Else it would be there for ever, without a visit that ends it.
            raise

    def _take_over(self, visit: Visit, call: Call, ambient: Recorded | None, context: Context) -> Visit:
        visit.called(call)
        if visit.node is not None:
            self.registry.of_nodes[id(visit.node)][visit] = None
        self._place(visit, ambient, context)
        visit.context = trace.set_span_in_context(visit.span, visit.context)
        visit.look()
        if visit.run.idle or visit.run.shared is None:
            self.registry.wake(visit.run, call.shared)
        visit.record.take_over(visit)
        self.tell("stage_changed", visit)
        return visit

    @staticmethod
    def _place(visit: Visit, ambient: Recorded | None, context: Context) -> None:
        """Put the visit where the code that starts it runs: inside what is open there, else inside its run."""
        run, visit.before = visit.run, context
        if ambient is None or ambient.run is not run:
            ambient, context = run, trace.set_span_in_context(run.span)
        visit.parent, visit.parent_context = ambient, context
        visit.context = Context({**context, RECORDED: visit})  # `set_value` copies twice.

    def begin(self, visit: Visit, ambient: Recorded | None, context: Context) -> Visit | None:
        """Begin a visit where the code that starts it runs; None where another thread has ended the run meanwhile."""
        run, visit.serial = visit.run, next(self._serials)
        self._place(visit, ambient, context)
        self._start(visit, visit.parent)
        order.starts(visit)
        if (seen := visit.look()) is not NOTHING_SEEN:
            visit.versions_before = seen.versions
            visit.platforms_before, visit.revision_before = visit.platforms, visit.revision
        try:
            if not visit.record.begin(visit):
                return None
            if visit.node is not None:
                self.registry.of_nodes[id(visit.node)][visit] = None
            if not visit.by_tracker and (run.idle or (run.shared is None and visit.shared is not None)):
                self.registry.wake(run, visit.shared)
            self.tell("visit_started", visit)
        except BaseException:
            self.end(visit, None, "abandoned")
            raise
        return visit

    def _end_visit(self, visit: Visit, error: BaseException | None, result: Result | None, at: int | None) -> None:
        passed = self._monotonic() - visit.clock if at is None else at - visit.started
        ended = visit.started + passed if passed > 0 else visit.started
        outcome = result or ("success" if error is None else result_of(error))
        if visit.items:
            visit.leave_items(error, outcome, ended)
        for waiting in list(visit.waits):
            waiting.end(ended)
        if visit.item_platform is not None:
            visit.leave_platform(ended)
        if outcome == "success" and visit.fell_back:
            outcome = "fallback"
        if visit.look().versions != visit.versions_before:
            visit.versions = versions_since(visit.store, visit.versions_before)
        if visit.run.tracked:
            twins.note(visit, ended)
        if visit.record.end(visit, ended, outcome, error):
            if visit.inside is not None:
                twins.say(visit, ended)
            if outcome != "abandoned":
                order.ended(visit)
            self._finish_visit(visit)

    def _finish_visit(self, visit: Visit) -> None:
        run = visit.run
        self.tell("visit_ended", visit, to=visit.untold)
        if run.outermost is visit:
            self.end(run, visit.exception, None, visit.ended)
        elif run.implicit and run.unattended and not visit.by_tracker and run.ended is None and run.shown:
            self.rest(run, visit.store)
        if visit.node is not None:
            self.registry.drop_node(visit)
        visit.shared = visit.node = visit.untold = visit.worker = None
        if visit.exception is not None or visit.ends is not None:  # Not kept by most.
            visit.exception = visit.ends = None
        visit.context = visit.parent_context = visit.before = _NOWHERE

    def rest(self, run: Run, shared: Any) -> None:
        """Let a run that nothing ends go idle when only trackers have a visit open in it."""
        if (longest := self.registry.rest(run, shared)) is not None:
            self.end_idle(longest)

    def nothing(self, code: Code) -> Visit:
        """A visit that records nothing, in a run that does neither: both have ended."""
        run = Run(self, "", "")
        run.started = run.ended = run.clock = 0
        run.context = run.parent_context = get_current()
        visit = Visit(self, StageRecord(run, code.name), Call(code))
        visit.started = visit.ended = visit.clock = 0
        visit.context = visit.parent_context = run.context
        return visit

    def make_part(self, owner: Visit | Run, name: str, platform: str | None = None) -> Part:
        """A part that no sink is told of."""
        part = Part(owner, name, platform)
        self._start(part, owner)
        part.parent_context = self.around()[1]
        part.context = set_value(RECORDED, part, part.parent_context)
        return part

    def start_part(self, owner: Visit | Run, name: str, platform: str | None = None) -> Part:
        """Begin a phase or an item inside a visit or run."""
        part = self.make_part(owner, name, platform)
        self.tell("part_started", part)
        return part
