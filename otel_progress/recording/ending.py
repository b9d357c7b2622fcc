"""The ends of runs, visits and parts: who ends one of them, and what the sinks are told when.

The beginning of one is told before its end, though one thread may end what another has just begun.
"""

from __future__ import annotations

from collections.abc import Callable
from time import sleep  # The program's tests may put another one into `time`.
from typing import Any

from ..names import Result
from . import order, twins
from .faults import from_handler, report
from .live import NOWHERE, Recorded, Run
from .place import span_only
from .registry import Registry
from .seen import NOTHING_SEEN, look_at, versions_since
from .sources import result_of
from .store import type_name
from .teller import Teller
from .visits import Visit

_WHEN_IDLE = -1
"""In the place of a time: at its last activity, unless something goes on in it."""
_LONGEST_WAIT = 1000  # Milliseconds.


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do; not for long, as it may be held up by what the caller holds."""
    for _ in range(_LONGEST_WAIT):
        if is_so():
            return
        sleep(0.001)


class Ender(Teller):
    """Ends what a recorder has begun."""

    registry: Registry
    _monotonic: Callable[[], int]

    def now(self, recorded: Recorded) -> int:
        """The time inside `recorded`, in nanoseconds since the Unix epoch."""
        passed = self._monotonic() - recorded.clock
        return recorded.started + passed if passed > 0 else recorded.started

    def end(
        self,
        recorded: Recorded,
        error: BaseException | None = None,
        result: Result | None = None,
        at: int | None = None,
    ) -> None:
        """End a run, a visit or a part: by `error` where one leaves it.

        A second end does nothing, nor one in a forked child of what its parent began.
        """
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
            if not recorded.ended_early:
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
                if run.begin_lock.acquire(timeout=_LONGEST_WAIT / 1000):  # Its beginning is being told.
                    run.begin_lock.release()
                self.end_idle(run)
                self.end(run, None, "abandoned")
            except BaseException as error:
                if from_handler(error):
                    raise
                report("a run could not be ended", error)

    # --- runs ---------------------------------------------------------------------------------------------------------

    def end_idle(self, run: Run) -> None:
        """End a run as of its last visit's end; not one in which a visit has begun meanwhile."""
        self.end(run, None, None, _WHEN_IDLE)

    def _end_run(self, run: Run, error: BaseException | None, result: Result | None, at: int | None) -> None:
        seen = look_at(run.shared)
        with run.lock:
            if run.ended is not None or (at == _WHEN_IDLE and not run.unattended):
                return
            ended = max(run.started, self.now(run) if at is None else run.last_activity if at == _WHEN_IDLE else at)
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
        if run.ending:  # Other threads may be telling of the ends of its visits.
            wait_until(lambda: not [visit for visit in list(run.ending) if visit.worker != order.worker()])
        self.tell("run_ended", run, to=run.untold)
        self.registry.remove(run)
        run.context, run.parent_context = NOWHERE, span_only(run.parent_context)
        run.context_before, run.node, run.exception, run.untold, run.ends = NOWHERE, None, None, None, None

    # --- visits -------------------------------------------------------------------------------------------------------

    def _end_visit(self, visit: Visit, error: BaseException | None, result: Result | None, at: int | None) -> None:
        passed = self._monotonic() - visit.clock if at is None else at - visit.started
        ended = visit.started + passed if passed > 0 else visit.started
        outcome = result or ("success" if error is None else result_of(error))
        if visit.eventful:
            outcome = self._settle(visit, error, outcome, ended)
        seen = visit.read_store()  # Which brings its platforms and revision up to date.
        if seen is not NOTHING_SEEN and seen.versions != visit.versions_before:  # Its history has changed.
            visit.eventful, visit.versions = True, versions_since(visit.store, visit.versions_before)
        if visit.run.tracked:
            twins.note(visit, ended)
        if visit.record.end(visit, ended, outcome, error):  # `StageRecord.end`: it sets what the sinks read. Only once.
            if visit.eventful:
                for waiting in list(visit.waits):  # Another thread has begun to wait meanwhile.
                    waiting.end(ended)
                if visit.inside is not None:
                    twins.say(visit, ended)
            if outcome != "abandoned":
                order.ended(visit)  # For what starts next.
            if not visit.ended_early:
                self._finish_visit(visit)

    @staticmethod
    def _settle(visit: Visit, error: BaseException | None, outcome: Result, ended: int) -> Result:
        """End what goes on in a visit that ends; gives its result."""
        if visit.items:
            visit.leave_items(error, outcome, ended)
        for waiting in list(visit.waits):
            waiting.end(ended)
        if visit.item_platform is not None:
            visit.leave_platform(ended)
        return "fallback" if outcome == "success" and visit.fell_back else outcome

    def tell_early_end(self, visit: Visit) -> None:
        """Tell of the end of a visit that another thread ended before all sinks knew of its beginning. Now they do."""
        with visit.run.lock:  # By then it is decided who tells of it.
            ended_early = visit.ended_early
        if ended_early and visit.untold is not None:
            self._finish_visit(visit)

    def _finish_visit(self, visit: Visit) -> None:
        run = visit.run
        self.tell_end(visit)
        run.ending.pop(visit, None)  # Before the run may end below, which waits for those that are in there.
        if run.outermost is visit:
            self.end(run, visit.exception, None, visit.ended)
        # `implicit` first, which is no call and mostly False; `unattended` asks it too.
        elif run.implicit and run.unattended and not visit.by_tracker and run.ended is None and run.shown:
            self.rest(run, visit.store)
        if visit.node is not None:
            self.registry.drop_node(visit)
        visit.shared = visit.node = visit.untold = visit.worker = None
        if visit.exception is not None or visit.ends is not None:  # Not kept by most.
            visit.exception = visit.ends = None
        visit.context = visit.parent_context = visit.context_before = NOWHERE

    def rest(self, run: Run, shared: Any) -> None:
        """Let a run that nothing ends go idle when only trackers have a visit open in it.

        It ends, as of its last visit's end, when a `workflow` begins over the same store, when a final tracker is
        passed, when too many runs are idle, or when the program exits.
        """
        if (longest := self.registry.rest(run, shared)) is not None:
            self.end_idle(longest)
