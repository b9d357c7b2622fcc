"""The contract of sinks: what is done with a recording.

A sink is told of starts and ends as they happen, in the workflow's own thread, before the call that it is told of goes
on: be quick. Sinks are called in the order in which they were added, the spans first of all, then the metrics, then the
mirror, then those that `add_sink` adds: these find `visit.span` and `visit.context` made. (One that comes before the
spans sees none.) What a sink raises is logged once and stops nothing, but for what a signal's handler raises: that goes
on to the workflow when all sinks are told, and a call that tells of an end and is interrupted by it is made once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..names import Result
    from .live import Run
    from .stages import StageRecord
    from .visits import Attempt, Part, Visit
    from .waiting import Waiting


class Sink:
    """Override what you need. A run or visit is complete when a sink is told of its start, and final at its end.

    The objects are live: read them, keep none of them beyond the call that tells of their end, and change nothing. Only
    the sink of spans does: it sets `span`, `span_context` and `context`, and what a stage knows of its spans and trace.
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

    def stage_noted(self, record: StageRecord, shared: Any) -> None:
        """What a tracker read of a stage in the store `shared` (None: that of its run) was noted.

        Visits of it may be open or not: its own code records it, or another tracker began it.
        """

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
