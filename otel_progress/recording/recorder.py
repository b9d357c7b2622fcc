"""The one recorder: it knows when runs and visits start and end, and tells the sinks.

The ways in (decorators, context managers, tracker, instrumentors) translate to its methods; what a start or an end
means for spans, metrics or the shared store is the sinks' business.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.context import Context, create_key, get_current, get_value, set_value

from ..names import PROGRESS_METRICS, Result
from .faults import report
from .live import Attempt, Part, Recorded, Run, StageRecord, Visit, unmark
from .registry import Registry, held, remote_context, saved_run
from .settings import Settings
from .store import (
    Platforms,
    name_of,
    platforms_of,
    read,
    read_platforms,
    read_revision,
    revision_of,
    store_of,
    version_count,
    versions_since,
)

RECORDED = create_key("otel-progress-recorded")
"""Key of the innermost run, visit or part in a context."""


_MOST_BUDGETS = 1000  # Workflow names may be user data.


@dataclass(frozen=True)
class Clock:
    """Where time comes from."""

    wall: Callable[[], int] = time.time_ns
    """Nanoseconds since the Unix epoch; read once per run, so that a clock set back in mid-run changes no duration."""
    monotonic: Callable[[], int] = time.perf_counter_ns


class Sink:
    """What is done with a recording. Override what you need; an exception is logged once and stops nothing.

    Sinks are called in order, in the workflow's own thread, before the call that they are told of goes on: be quick.
    """

    def run_started(self, run: Run) -> None:
        """A run began, or was joined (`run.owned` is false: another process, or an earlier call, made its span)."""

    def run_ended(self, run: Run) -> None:
        """A run ended: `result`, `seconds` and `exception` are set."""

    def visit_started(self, visit: Visit) -> None:
        """A visit began."""

    def stage_changed(self, run: Run, stage: str) -> None:
        """Platforms, revision or items of a stage changed."""

    def visit_ended(self, visit: Visit) -> None:
        """A visit ended: `result`, `seconds`, `exception` and the rest are final."""

    def part_started(self, part: Part) -> None:
        """A phase or an item began (only where `detail` asks for it)."""

    def part_ended(self, part: Part) -> None:
        """A phase or an item ended."""

    def attempt_failed(self, visit: Visit, attempt: Attempt) -> None:
        """One try of exec failed; whether the visit fails is not known yet."""

    def retried(self, visit: Visit, error_type: str, wait: float) -> None:
        """Exec is tried again, `wait` seconds after it failed with `error_type`."""

    def dead_end(self, owner: Visit | Run, stage: str, action: str | None) -> None:
        """The node of `stage` returned an action that no edge takes, and its flow (`owner`) ended there."""

    def items_ended(self, visit: Visit, count: int, result: Result, platform: str | None) -> None:
        """`count` items of a batch ended with `result`."""


def new_run_id() -> str:
    """A run id that no other run has: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def program_name() -> str:
    """The running program's name: its module's, else its script's without the ending."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name:
        return name_of(str(spec.name).removesuffix(".__main__"))
    return name_of(Path(sys.argv[0]).stem if sys.argv else "") or "workflow"


def result_of(error: BaseException | None) -> Result:
    """The result of code that was left by `error` (None: it returned).

    A BaseException that is no Exception (KeyboardInterrupt, CancelledError, GeneratorExit) cancels; a SystemExit tells
    by its code.
    """
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "success"
    return "failure" if isinstance(error, (Exception, SystemExit)) else "cancelled"


def recorded_in(context: Context | None = None) -> Recorded | None:
    """The innermost run, visit or part that `context` (None: the current one) is in."""
    recorded = get_value(RECORDED, context)
    return recorded if isinstance(recorded, Recorded) else None


class Recorder:
    """Keeps the live runs and visits and calls the sinks. Safe to use from any thread and task."""

    def __init__(
        self,
        sinks: Sequence[Sink] = (),
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        new_run_id: Callable[[], str] = new_run_id,
    ) -> None:
        self.sinks = list(sinks)
        self.settings = settings or Settings()
        self.workflow: str | None = None
        """Name of the runs that a stage begins by itself; None: the program's name."""
        self.budgets: dict[tuple[str, str], float] = {}
        """Declared budgets in seconds, by workflow and stage."""
        self.registry = Registry()
        self._clock = clock or Clock()
        self._new_run_id = new_run_id
        self._at_exit = False
        self._epoch = 0
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    def _forked(self) -> None:
        # What was open at the fork is the parent's to end. A stage that starts in the child joins the run by its id.
        self._epoch += 1
        self.registry = Registry()

    def tell(self, event: str, *arguments: Any) -> None:
        """Call the method `event` of every sink."""
        for sink in self.sinks:
            try:
                getattr(sink, event)(*arguments)
            except Exception as error:
                report(f"{type(sink).__name__}.{event} failed; the workflow goes on without it", error)

    def current(self) -> Recorded | None:
        """The innermost run, visit or part that this code runs in."""
        recorded = recorded_in()
        return recorded if recorded is not None and recorded.recorder is self else None

    def now(self, run: Run) -> int:
        """The time in `run`, in nanoseconds since the Unix epoch."""
        return run.anchor + self._clock.monotonic()

    def is_open(self, recorded: Recorded) -> bool:
        """Whether this process may still add to `recorded`."""
        return recorded.ended is None and recorded.run.epoch == self._epoch

    def end(self, recorded: Recorded, error: BaseException | None = None, result: Result | None = None) -> None:
        """End a run, a visit or a part: by `error` where one leaves it. A second end does nothing."""
        if not self.is_open(recorded):
            return
        if isinstance(recorded, Run):
            self._end_run(recorded, error, result)
        elif isinstance(recorded, Visit):
            self._end_visit(recorded, error, result)
        elif isinstance(recorded, Part):
            recorded.ended = max(recorded.started, self.now(recorded.run))
            recorded.result = result or result_of(error)
            self._tell_end("part_ended", recorded, error)

    def close(self) -> None:
        """End every run of this process: idle ones at their last activity, others as abandoned."""
        for run in self.registry.runs():
            idle = run.implicit and all(visit.tracked for visit in list(run.open))
            self._end_run(run, None, None if idle else "abandoned", run.last_activity if idle else None)

    def _tell_end(self, event: str, recorded: Recorded, error: BaseException | None) -> None:
        recorded.exception = error
        self.tell(event, recorded)
        recorded.exception = None
        around = recorded.parent
        ends_here = isinstance(around, Run) and around.implicit and around.outermost is not recorded
        if error is not None and (around is None or ends_here):
            unmark(error)

    # --- runs ---------------------------------------------------------------------------------------------------------

    def start_run(
        self,
        workflow: str,
        *,
        shared: Any = None,
        node: object = None,
        function: str | None = None,
        item: object = None,
        item_platform: str | None = None,
    ) -> Run | Visit:
        """Begin a run; inside another one, a visit that may hold visits.

        The arguments are those of `start_visit`.
        """
        shared = store_of(shared)
        with held(self.registry.starting):
            around, ambient = self.registry.find(shared), self.current()
            if around is None and ambient is not None and self.is_open(ambient.run):
                around = ambient.run
            idle = around is not None and around.implicit and not around.open
            if around is not None and idle:  # Begun by an earlier stage. What follows is a workflow of its own.
                self._end_run(around, None, None, around.last_activity)
            saved = saved_run(shared)
            outlives = saved is not None and ambient is not None and saved["run_id"] == ambient.run.id
            if (around is not None and not idle) or outlives:
                return self.start_visit(
                    workflow, shared=shared, node=node, function=function, item=item, item_platform=item_platform
                )
            if saved is not None and self.registry.has_ended(saved["run_id"]):
                saved = None
            run = Run(self, saved["run_id"] if saved else self._new_run_id(), name_of(workflow) or "workflow")
            run.fresh = saved is None
            run.node = node
            run.parent_context = remote_context(saved) if saved else get_current()
            return self._begin_run(run, shared)

    def _run_for(self, shared: Any) -> Run:
        """The run that a stage belongs to; a new one where there is none."""
        ambient = self.current()
        if ambient is not None and (shared is None or shared is ambient.run.shared) and self.is_open(ambient.run):
            return ambient.run
        with held(self.registry.starting):
            run = self.registry.find(shared)
            if run is not None:
                return run
            if ambient is not None and self.is_open(ambient.run):
                return ambient.run
            if (saved := saved_run(shared)) is not None:
                return self._join(
                    saved["run_id"], saved["workflow"], trace.get_current_span(remote_context(saved)), shared
                )
            if ambient is not None:  # A task that outlives its run, or a forked child.
                return self._join(ambient.run.id, ambient.run.workflow, ambient.run.span, shared)
            run = Run(self, self._new_run_id(), self.workflow or program_name(), implicit=True)
            run.parent_context = get_current()
            return self._begin_run(run, shared)

    def _join(self, run_id: str, workflow: str, span: trace.Span, shared: Any) -> Run:
        """A run that began elsewhere: in another process, before a fork, or here and has ended."""
        if (live := self.registry.get(run_id)) is not None:
            return live
        run = Run(self, run_id, workflow or "workflow", implicit=True, owned=False)
        run.fresh = False
        run.span = trace.NonRecordingSpan(span.get_span_context())
        run.parent_context = trace.set_span_in_context(run.span)
        return self._begin_run(run, shared)

    def _begin_run(self, run: Run, shared: Any) -> Run:
        run.epoch = self._epoch
        run.shared = shared
        run.started = run.last_activity = self._clock.wall()
        run.anchor = run.started - self._clock.monotonic()
        run.context = set_value(RECORDED, run, run.parent_context)
        saved = None if run.fresh else read(shared, PROGRESS_METRICS)
        for name, entry in list(cast("Mapping[Any, Any]", saved).items()) if isinstance(saved, Mapping) else ():
            if (record := StageRecord.from_entry(entry)) is not None:
                run.stages[_known(run, name, loose=False)] = record
        if not self._at_exit:
            # Registered only now, so that it is called before the providers' own handlers, which were there first.
            self._at_exit = True
            atexit.register(self.close)
        self.tell("run_started", run)
        self.registry.add(run)
        return run

    def _end_run(self, run: Run, error: BaseException | None, result: Result | None, at: int | None = None) -> None:
        with run.lock:
            if run.ended is not None:
                return
            run.ended = max(run.started, self.now(run) if at is None else at)
            left = list(run.open)
        run.result = result or ("failure" if error is None and run.implicit and run.failing else result_of(error))
        run.error_type = run.failing if error is None else type(error).__name__
        self._add_to_run(run, read_platforms(run.shared), read_revision(run.shared))
        for visit in reversed(left):
            if visit.tracked:
                self._end_visit(visit, error, run.result, run.ended)
            else:
                self._end_visit(visit, None, "abandoned", run.ended)
        self._tell_end("run_ended", run, error)
        run.node = None
        self.registry.remove(run)

    @staticmethod
    def _add_to_run(run: Run, platforms: Platforms, revision: int | None) -> None:
        with run.lock:
            run.platform_names.update(dict.fromkeys(platforms.names))
            run.platform_count = max(run.platform_count, platforms.count, len(run.platform_names))
            if revision is not None:
                run.revision = max(run.revision or 0, revision)

    # --- visits -------------------------------------------------------------------------------------------------------

    def start_visit(
        self,
        stage: str,
        *,
        shared: Any = None,
        node: object = None,
        function: str | None = None,
        budget: float | None = None,
        platforms: Any = None,
        revision: Any = None,
        item: object = None,
        item_platform: str | None = None,
        loose: bool = False,
    ) -> Visit:
        """Begin a visit, or take over the one that a tracker has begun for this stage.

        Args:
            stage: name of the stage.
            shared: the workflow's store; None: that of the run around it.
            node: the object whose call it is.
            function: qualified name of the code.
            budget: seconds that the visit may take.
            platforms: value, or callable of the store; None: as read from the store.
            revision: value, or callable of the store; None: as read from the store.
            item: which item of a batch flow it is for (hashable).
            item_platform: the platform that the item names.
            loose: whether the name is only a class's, and may be another spelling of one that the run knows.
        """
        shared = store_of(shared)
        run = self._run_for(shared)
        stage = _known(run, stage, loose=loose)
        with run.lock:
            visit = run.tracked.pop(stage, None)
        taken_over = visit is not None
        visit = visit or Visit(self, run, stage)
        visit.tracked = False
        visit.node, visit.function, visit.budget, visit.item = node, function, budget, item
        visit.shared = shared
        visit.given_platforms, visit.given_revision = platforms, revision
        self._read(visit)
        if item_platform is not None:
            visit.item_platform = name_of(item_platform)
            visit.own_platforms[visit.item_platform] = None
        if budget is not None and len(self.budgets) < _MOST_BUDGETS:
            self.budgets[run.workflow, stage] = budget
        if not taken_over:
            return self._begin_visit(visit)
        self._place(visit)
        self.registry.wake(run, shared)
        with run.lock:
            record = run.stages[stage]
            record.by_code = True
            if item is not None:  # The tracker did not know which.
                visit.number = record.by_item.get(item, (0, None))[0] + 1
                record.by_item[item] = (visit.number, visit.span.get_span_context())
        self.changed(visit)
        return visit

    def _place(self, visit: Visit) -> None:
        """Put the visit where the code that starts it runs: inside what is open there, else inside its run."""
        ambient = self.current()
        inside = ambient is not None and ambient.run is visit.run
        visit.parent = ambient if inside else visit.run
        visit.parent_context = get_current() if inside else trace.set_span_in_context(visit.run.span)
        visit.context = set_value(RECORDED, visit, visit.parent_context)
        if visit.span is not trace.INVALID_SPAN:
            visit.context = trace.set_span_in_context(visit.span, visit.context)

    def _begin_visit(self, visit: Visit) -> Visit:
        run = visit.run
        self._place(visit)
        visit.started = self.now(run)
        visit.versions_before = version_count(visit.store)
        with run.lock:
            record = run.stages.setdefault(visit.stage, StageRecord(visit.started))
            before, visit.previous = record.by_item.get(visit.item, (0, None))
            visit.number = before + 1
            record.visits += 1
            record.open += 1
            record.by_code = record.by_code or not visit.tracked
            run.open[visit] = None
            if visit.tracked:
                run.tracked[visit.stage] = visit
            elif visit.store is None and run.implicit and len(run.open) == 1:
                run.outermost = visit  # Without a store no later stage can find this run: it ends with this one.
        if not visit.tracked:
            self.registry.wake(run, visit.shared)
        self._note(visit)
        self.tell("visit_started", visit)
        with run.lock:
            record.by_item[visit.item] = (visit.number, visit.span.get_span_context())
        return visit

    def _end_visit(
        self, visit: Visit, error: BaseException | None, result: Result | None = None, at: int | None = None
    ) -> None:
        run = visit.run
        with run.lock:
            if visit.ended is not None:
                return
            visit.ended = max(visit.started, self.now(run) if at is None else at)
        visit.result = result or result_of(error)
        if visit.result == "success" and visit.fell_back:
            visit.result = "fallback"
        items = list(visit.items.values())
        visit.items.clear()
        for item in items:
            if item.part is not None:
                self.end(item.part, error, visit.result)
            if visit.batch:  # A failure that no fallback saw, or one that runs on while the visit ends around it.
                visit.count(1, "abandoned" if item.running else "failure", item.platform)
        visit.versions = versions_since(visit.store, visit.versions_before)
        self._read(visit)
        with run.lock:
            record = run.stages[visit.stage]
            del run.open[visit]
            if run.tracked.get(visit.stage) is visit:
                del run.tracked[visit.stage]
            record.open -= 1
            if visit.result in ("failure", "cancelled"):
                visit.error_type = type(error).__name__ if error is not None else run.failing
            record.ended = max(record.ended or 0, visit.ended)
            record.seconds += visit.seconds
            record.result = visit.result
            record.error = run.failing = visit.error_type
            record.versions.extend(version.id for version in visit.versions)
            run.last_activity = max(run.last_activity, visit.ended)
        self._note(visit)
        self._tell_end("visit_ended", visit, error)
        shared, visit.shared, visit.node = visit.store, None, None
        if run.outermost is visit:
            self._end_run(run, error, None, visit.ended)
        elif not visit.tracked:
            self._rest_if_idle(run, shared)

    def _rest_if_idle(self, run: Run, shared: Any) -> None:
        """Let a run that nothing ends go idle when only trackers have a visit open in it."""
        with run.lock:
            idle = run.implicit and run.ended is None and all(visit.tracked for visit in run.open)
        if idle and (longest := self.registry.rest(run, shared)) is not None:
            self._end_run(longest, None, None, longest.last_activity)

    def _read(self, visit: Visit) -> None:
        """Bring a visit's platforms and revision up to date; what the user gave wins over what the store says."""
        shared = visit.store
        if visit.given_platforms is not None:
            visit.platforms = platforms_of(_value(visit.given_platforms, shared))
        else:
            visit.platforms = read_platforms(shared) or visit.platforms
        given = visit.given_revision
        revision = read_revision(shared) if given is None else revision_of(_value(given, shared))
        if revision is not None:
            visit.latest_revision = revision
            visit.revision = revision if visit.revision is None else visit.revision

    def _note(self, visit: Visit) -> None:
        """Carry a visit's platforms and revision over to its stage and its run."""
        own = Platforms(tuple(visit.own_platforms), len(visit.own_platforms))
        with visit.run.lock:
            record = visit.run.stages[visit.stage]
            record.own_platforms.update(visit.own_platforms)
            record.platform_count = visit.platforms.count
            if visit.latest_revision is not None:
                record.revision = visit.latest_revision
        self._add_to_run(visit.run, own or visit.platforms, visit.latest_revision)

    def changed(self, visit: Visit) -> None:
        """Tell that something about an open visit changed."""
        self._note(visit)
        self.tell("stage_changed", visit.run, visit.stage)

    def make_part(self, owner: Visit | Run, name: str, platform: str | None = None) -> Part:
        """A part that no sink is told of."""
        part = Part(owner, name, platform)
        part.started = self.now(owner.run)
        part.parent_context = get_current()
        part.context = set_value(RECORDED, part, part.parent_context)
        return part

    def start_part(self, owner: Visit | Run, name: str, platform: str | None = None) -> Part:
        """Begin a phase or an item inside a visit or run."""
        part = self.make_part(owner, name, platform)
        self.tell("part_started", part)
        return part

    # --- what a tracker sees ------------------------------------------------------------------------------------------

    def track(self, stage: object, *, shared: Any, platforms: Any = None, revision: Any = None) -> None:
        """A tracker was passed while `stage` is the current stage.

        The others that trackers began are completed; this one is begun, unless it is open or its own code records it.
        Platforms and revision are read from the store where they are None.
        """
        shared = store_of(shared)
        run = self._run_for(shared)
        stage = _known(run, stage, loose=True)
        self.registry.wake(run, shared)
        with run.lock:
            others = [visit for name, visit in run.tracked.items() if name != stage]
            record = run.stages.get(stage)
            visits = [visit for visit in run.open if visit.stage == stage]
        for other in others:
            self._end_visit(other, None)
        visit = Visit(self, run, stage)
        visit.tracked = True
        visit.given_platforms, visit.given_revision = platforms, revision
        self._read(visit)
        if not visits and (record is None or not record.by_code):
            self._begin_visit(visit)
        else:  # Open, or recorded by its own code: what was read goes to its record only.
            for each in visits:
                if each.tracked:
                    each.given_platforms, each.given_revision = platforms, revision
                self._read(each)
            self._note(visit)
            self.tell("stage_changed", run, stage)
        self._rest_if_idle(run, shared)

    def finish_tracked(self, shared: Any) -> None:
        """Complete every stage that a tracker began in the run of `shared`, and the run, if only trackers kept it."""
        ambient = self.current()
        run = self.registry.find(store_of(shared)) or (ambient.run if ambient and self.is_open(ambient.run) else None)
        if run is None:
            return
        self.registry.wake(run, store_of(shared))
        for visit in list(run.tracked.values()):
            self._end_visit(visit, None)
        if run.implicit and not run.open:
            self._end_run(run, None, None, run.last_activity)


def _known(run: Run, stage: object, *, loose: bool) -> str:
    """The name of a stage in `run`.

    A tracker names a stage as the workflow does (`fact_check`), an instrumentor by its class (`FactCheck`,
    `FactCheckNode`): `loose` names that differ in no more than that are one stage, by the name that came first.
    """
    name = name_of(stage) or "stage"
    if name in run.stages:
        return name
    letters = "".join(filter(str.isalnum, name)).casefold()
    key = letters.removesuffix("node") or letters
    with run.lock:
        if not loose:
            run.spellings.setdefault(key, name)
            return name
        return run.spellings.setdefault(key, name)


def _value(given: Any, shared: Any) -> Any:
    """What `platforms=` or `revision=` gives: a value, or what a callable makes of the store."""
    if not callable(given):
        return given
    try:
        return given(shared)
    except Exception as error:
        report(f"{name_of(getattr(given, '__qualname__', given))} failed to read the store", error)
        return None
