"""The contract of sinks: what is done with a recording.

A sink is told of starts and ends as they happen, in the workflow's own thread, before the call that it is told of goes
on: be quick. Sinks are called in the order in which they were added, the spans first of all, then the metrics, then the
mirror, then those that `add_sink` adds: these find `visit.span` and `visit.context` made. (One that comes before the
spans sees none.) What a sink raises is logged once and stops nothing. Where a call that tells of an end is interrupted
by what a signal's handler raises, it is made once more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .faults import passes, report

if TYPE_CHECKING:
    from ..names import Result
    from .live import Run
    from .visits import Attempt, Part, Visit
    from .waiting import Waiting


class Sink:
    """Override what you need. A run or visit is complete when a sink is told of its start, and final at its end.

    The objects are live: read them, keep none of them beyond the call that tells of their end, and change nothing.
    """

    def run_started(self, run: Run) -> None:
        """A run began, or was joined (`run.owned` is false: another process, or an earlier call, made its span).

        Threads that join the run wait until all sinks have been told: what waits or takes long belongs to `run_shown`.
        """

    def run_shown(self, run: Run) -> None:
        """The store of the run may now be told of it. Other threads can find the run by then."""

    def run_ended(self, run: Run) -> None:
        """A run ended: `result`, `seconds` and `exception` are set."""

    def visit_started(self, visit: Visit) -> None:
        """A visit began."""

    def stage_changed(self, visit: Visit) -> None:
        """Platforms, revision, items or retries of a visit's stage changed."""

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

    def wait_started(self, visit: Visit, waiting: Waiting) -> None:
        """A visit waits, as its code says."""

    def wait_ended(self, visit: Visit, waiting: Waiting) -> None:
        """It goes on: `waiting.ended` is set."""

    def dead_end(self, owner: Visit | Run, stage: str, action: str | None) -> None:
        """The node of `stage` returned an action that no edge takes, and its flow (`owner`) ended there."""

    def items_ended(self, visit: Visit, count: int, result: Result, platform: str | None) -> None:
        """`count` items of a batch ended with `result`."""

    def platform_ended(self, visit: Visit, platform: str, seconds: float) -> None:
        """A visit worked so long for a platform: one item, or the visit itself up to the next platform or its end."""


class Teller:
    """Tells the sinks: each of them, whatever another one raises."""

    def __init__(self) -> None:
        self.sinks: list[Sink] = []
        """Never changed in place: others go through it meanwhile."""
        self.changing = threading.RLock()
        """Held while the sinks are exchanged for others."""

    def change(self, changed: Callable[[list[Sink]], list[Sink]]) -> None:
        """Tell what `changed` makes of the sinks from now on; what another thread changes meanwhile is not lost."""
        with self.changing:
            self.sinks = changed(self.sinks)

    def tell(self, event: str, *arguments: Any, to: Iterable[Sink] | None = None) -> None:
        """Call the method `event` of every sink; with `to`, which tells of an end, of those that are left."""
        foreign: BaseException | None = None
        for sink in self.sinks if to is None else to:
            try:
                getattr(sink, event)(*arguments)
            except BaseException as error:
                if _is_foreign(error, sink, event):
                    foreign = error  # The other sinks are told all the same.
                    if to is not None:
                        getattr(sink, event)(*arguments)
        if foreign is not None:
            raise foreign

    def tell_start(self, visit: Visit) -> None:
        """The same for `visit_started`: it comes so often that it is called by its name, as the next."""
        foreign: BaseException | None = None
        for sink in self.sinks:
            try:
                sink.visit_started(visit)
            except BaseException as error:
                if _is_foreign(error, sink, "visit_started"):
                    foreign = error
        if foreign is not None:
            raise foreign

    def tell_end(self, visit: Visit) -> None:
        """The same for `visit_ended`, to those that are left."""
        foreign: BaseException | None = None
        for sink in visit.untold or ():
            try:
                sink.visit_ended(visit)
            except BaseException as error:
                if _is_foreign(error, sink, "visit_ended"):
                    foreign = error
                    sink.visit_ended(visit)
        if foreign is not None:
            raise foreign


def _is_foreign(error: BaseException, sink: Sink, event: str) -> bool:
    """Whether what a sink raised has to go on to the workflow; else it is reported."""
    if passes(error, theirs=True):
        return True
    report(f"{type(sink).__name__}.{event} failed; the workflow goes on without it", error)
    return False
