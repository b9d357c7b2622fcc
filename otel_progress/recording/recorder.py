"""The recorder (there is one, `default.recorder`): it knows when runs and visits start and end, and tells the sinks.

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
from dataclasses import replace
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, get_current, set_value

from ..names import PROGRESS_METRICS
from . import order
from .call import Call, Code
from .ending import Ender, wait_until
from .faults import report
from .live import NOWHERE, Beginning, Recorded, Run
from .place import RECORDED, SPAN, current_context, outside, within
from .registry import Registry, remote_context, saved_run
from .settings import Settings
from .sources import Clock, new_run_id, program_name
from .stages import StageRecord
from .store import name_of, read, store_in_use
from .visits import Part, Visit


class Recorder(Ender):
    """Starts runs, visits and parts. Safe to use from any thread and task.

    An `Ender` ends them (`ending.py`), a `Teller` calls the sinks (`teller.py`), a `Registry` keeps the runs.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        new_run_id: Callable[[], str] = new_run_id,
    ) -> None:
        super().__init__()
        clock = clock or Clock()
        self._wall, self._monotonic = clock.wall, clock.monotonic
        self.registry = Registry()
        self.settings = settings or Settings()
        self.workflow: str | None = None
        """Name of the runs that a stage begins by itself; None: the program's name."""
        self.prepare: Callable[[], object] | None = None
        """Called before a run begins: what takes long there is not in the run's time."""
        self.started_in: Context | None = None  # Of the process: for runs that begin where no span is current.
        self._new_run_id = new_run_id
        self._serials = itertools.count(1)
        self._at_exit = False
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    def _forked(self) -> None:
        # What was open at the fork is the parent's to end. A stage that starts in the child joins the run by its id.
        # The registry's lock may be held for ever by a thread that is no more: it is replaced, and not asked.
        before, self.registry, self.changing = self.registry, Registry(), threading.RLock()
        for run in before.left_behind():
            run.open_here = False
            run.lock = threading.RLock()

    def current(self) -> Recorded | None:
        """The innermost of what is open where this code runs; the run, where that has ended too."""
        return self.ambient()[0]

    def ambient(self) -> tuple[Recorded | None, Context]:
        """As `current`, and the context there: what has ended is passed over, but for a run with nothing around it.

        None outside of every run.
        """
        context = current_context()
        recorded: Any = context.get(RECORDED)
        if recorded is None or recorded.recorder is not self:
            return None, context
        if recorded.ended is None and (type(recorded) is not Part or recorded.owner.ended is None):
            return recorded, context  # Mostly: `is_over` without a call.
        return outside(recorded, context)

    def is_open(self, recorded: Recorded) -> bool:
        """Whether this process may still add to `recorded`."""
        return recorded.ended is None and recorded.run.open_here

    def _take_time(self, recorded: Recorded, around: Recorded | None) -> None:
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
        if store_in_use.here:
            return self.nothing(call.code)
        shared, (ambient, context) = call.shared, self.ambient()
        saved = saved_run(shared)
        if ambient is not None and (
            (self.is_open(ambient.run) and not ambient.run.unattended)
            or (saved is not None and saved["run_id"] == ambient.run.id)  # A task that outlives its run, or a fork.
        ):
            return self.start_visit(call)
        idle = self.registry.find(shared, saved)
        if idle is not None and idle.idle:  # Begun by an earlier stage. What follows is a workflow of its own.
            self.end_idle(idle)
        if saved is not None:
            known = self.registry.of_id(saved["run_id"])
            if self.registry.has_ended(saved["run_id"]) or (known is not None and known.fresh):
                saved = None  # It began here: this is not the process that carries it on.
        beginning = Beginning.CARRIED_ON if saved else Beginning.WORKFLOW
        run = Run(
            self,
            saved["run_id"] if saved else self._new_run_id(),
            self._program() if call.code.bare else name_of(call.code.name) or "workflow",
            beginning,
            shared=shared,
            origin=call.code.origin,
        )
        run.node, run.code, run.context_before = call.node, call.code, context
        run.parent_context = remote_context(saved) if saved else context
        return self._begin_run(run) or run

    def run_for(self, call: Call, ambient: Recorded | None) -> Run:
        """The run that a stage belongs to; a new one where there is none."""
        if ambient is not None and self.is_open(ambient.run):
            return ambient.run
        let_go = self.registry.times_let_go  # Before the store is read: `claim` asks which were let go of since.
        run = self._found_for(call, ambient)
        if run is None:
            if call.shared is None and order.main_worker() is None:
                self._hint(call.code.name)
            code, beginning = call.code, Beginning.STAGE
            run = Run(self, self._new_run_id(), self._program(), beginning, shared=call.shared, origin=code.origin)
            run.parent_context = get_current()
            run = self._begin_run(run, let_go)
        return run or self.run_for(call, ambient)

    def _found_for(self, call: Call, ambient: Recorded | None) -> Run | None:
        """The run that a stage joins, if its store or its context says one."""
        saved = saved_run(call.shared)
        run = self.registry.find(call.shared, saved)
        if run is not None and run.ended is None:
            with run.begin_lock:  # Another thread may be making its span.
                return run
        if saved is not None:
            span = trace.get_current_span(remote_context(saved))
            return self._join(saved["run_id"], saved["workflow"], span, call)
        if ambient is not None:  # A task that outlives its run, or a forked child.
            return self._join(ambient.run.id, ambient.run.workflow, ambient.run.span, call)
        return None

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
        beginning, origin = Beginning.JOINED, call.code.origin
        run = Run(self, run_id, name_of(workflow) or "workflow", beginning, shared=call.shared, origin=origin)
        run.span = trace.NonRecordingSpan(span.get_span_context())
        run.parent_context = trace.set_span_in_context(run.span)
        return self._begin_run(run) or run

    def _begin_run(self, run: Run, let_go: int | None = None) -> Run | None:
        """Begin a run; gives the one that another thread was faster to begin in its place.

        None, with `let_go` only, where the store has to be read once more (see `Registry.claim`).
        """
        if self.prepare is not None:
            self.prepare()
        self._take_time(run, None)
        run.last_activity = run.started
        # What begins a run by itself in another thread may be one of a pool, which tells no order.
        run.worker = order.main_worker() if run.implicit else order.worker()
        self._put_within(run)
        if not run.fresh:
            run.load(read(run.shared, PROGRESS_METRICS))
        if not self._at_exit:
            # Registered only now, so that it is called before the providers' own handlers, which were there first.
            self._at_exit = True
            atexit.register(self.close)
        try:
            with run.begin_lock:
                known = self.registry.claim(run, let_go)
                if known is run:
                    self.tell("run_started", run)
            if known is run:
                self.tell("run_shown", run)
                run.shown = True
        except BaseException:
            self.end(run, None, "abandoned")
            raise
        if known is None or known is run:
            return known
        with known.begin_lock:  # Its span is made by then.
            return known

    # --- visits -------------------------------------------------------------------------------------------------------

    def start_visit(self, call: Call) -> Visit:
        """Begin a visit, in a run of its own where there is none, or take over the one that a tracker has begun.

        (A tracker is a node of the flow, or a call, that tells what stage the flow comes to: `ProgressTrackerNode`.)
        A stage that the workflow's code runs while it is asked what a store says is not recorded: then a visit comes
        back that has ended.
        """
        if store_in_use.here:
            return self.nothing(call.code)
        (ambient, context), code = self.ambient(), call.code
        run = None if ambient is None else ambient.run
        try:
            if run is None or run.ended is not None or not run.open_here:  # `is_open` without a call.
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
        if not visit.is_told:  # The thread of the tracker may be about to make its span.
            wait_until(lambda: visit.is_told or visit.worker == order.worker())
        visit.called(call)
        if visit.node is not None:
            self.registry.of_nodes[id(visit.node)][visit] = None
        self._place(visit, ambient, context)
        visit.context = Context({**visit.parent_context, RECORDED: visit, SPAN: visit.span})
        visit.read_store()
        if visit.run.idle or visit.run.shared is None:
            self.registry.wake(visit.run, call.shared)
        visit.record.take_over(visit)
        self.tell("stage_changed", visit)
        return visit

    def _put_within(self, run: Run) -> None:
        """Put a run where it begins: in what the process was started in, unless a span is current there."""
        context, started_in = run.parent_context, self.started_in
        if started_in is not None and not trace.get_current_span(context).get_span_context().is_valid:
            span, context = trace.get_current_span(started_in), Context({**started_in, **context})
            run.parent_context = (
                trace.set_span_in_context(span, context) if span.get_span_context().is_valid else context
            )
        run.context = set_value(RECORDED, run, run.parent_context)

    @staticmethod
    def _place(visit: Visit, ambient: Recorded | None, context: Context) -> None:
        """Put the visit where the code that starts it runs: inside what is open there, else inside its run."""
        run, visit.context_before = visit.run, context
        if ambient is None or ambient.run is not run:
            ambient, context = run, trace.set_span_in_context(run.span)
        visit.parent, visit.parent_context = ambient, context

    def begin(self, visit: Visit, ambient: Recorded | None, context: Context) -> Visit | None:
        """Begin a visit where the code that starts it runs.

        None where another thread was faster: it has ended the run or, of what a tracker begins, begun that stage.
        """
        run = visit.run
        visit.serial = next(self._serials)
        self._place(visit, ambient, context)
        self._take_time(visit, visit.parent)
        order.starts(visit)
        try:
            if visit.node is not None:
                self.registry.of_nodes[id(visit.node)][visit] = None
            if not visit.record.begin(visit):  # `StageRecord.begin` numbers it, and counts it as open.
                if visit.node is not None:
                    self.registry.drop_node(visit)
                return None
            if (run.idle or (run.shared is None and visit.shared is not None)) and not visit.by_tracker:
                self.registry.wake(run, visit.shared)
            self.tell_start(visit)
            if visit.context is NOWHERE:  # No sink of spans was there to set it, or it failed.
                visit.context = within(visit)
            visit.is_told = True
            if visit.ended is not None:
                self.tell_early_end(visit)
        except BaseException:
            visit.is_told = True
            self.end(visit, None, "abandoned")
            self.tell_early_end(visit)
            if visit.node is not None:
                self.registry.drop_node(visit)
            raise
        return visit

    def nothing(self, code: Code) -> Visit:
        """A visit that records nothing, in a run that does neither: both have ended."""
        run = Run(self, "", "")
        run.started = run.ended = run.clock = 0
        run.context = run.parent_context = get_current()
        unread = replace(code, platforms=None, revision=None)  # Else the functions given for these would be called.
        visit = Visit(self, StageRecord(run, code.name), Call(unread))
        visit.started = visit.ended = visit.clock = 0
        visit.context = visit.parent_context = run.context
        return visit

    def make_part(self, owner: Visit | Run, name: str, platform: str | None = None) -> Part:
        """A part that no sink is told of."""
        part = Part(owner, name, platform)
        self._take_time(part, owner)
        part.parent_context = self.ambient()[1]
        part.context = set_value(RECORDED, part, part.parent_context)
        return part

    def start_part(self, owner: Visit | Run, name: str, platform: str | None = None) -> Part:
        """Begin a phase or an item inside a visit or run."""
        part = self.make_part(owner, name, platform)
        self.tell("part_started", part)
        return part
