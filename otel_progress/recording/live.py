"""What is known of a run while it goes on: the run, its stages, their visits.

These objects are live and belong to the recorder. What a workflow may keep is `progress(run)`: plain JSON values.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import trace
from opentelemetry.context import Context

from ..names import MIRROR_FIELDS, Result
from .store import NO_PLATFORMS, Platforms, Version, name_of

if TYPE_CHECKING:
    from .recorder import Recorder

NANO = 1_000_000_000
COMPLETED: frozenset[Result] = frozenset({"success", "fallback"})


def timestamp(ns: int) -> str:
    """Nanoseconds since the Unix epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(ns / NANO, timezone.utc).isoformat()


def now_timestamp() -> str:
    """The present as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat()


def parse_timestamp(value: object) -> int | None:
    """Nanoseconds since the Unix epoch in an ISO 8601 text; one without a zone is taken as UTC; None if it is none."""
    try:
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return round(moment.timestamp() * NANO)
    except (ValueError, OverflowError):
        return None


_MARK = "__otel_progress_run__"


def mark_described(error: BaseException, run: Run) -> bool:
    """Say on `error` that a span of `run` describes it; False where one does already.

    On the exception itself: to keep it would keep its frames alive, and its id may be the next exception's. The mark is
    taken away where the exception leaves what is recorded.
    """
    marks = getattr(error, "__dict__", {})
    if marks.get(_MARK) == run.id:
        return False
    marks[_MARK] = run.id
    return True


def unmark(error: BaseException) -> None:
    """Leave no trace on an exception that leaves what is recorded."""
    getattr(error, "__dict__", {}).pop(_MARK, None)


class Recorded:
    """Something with a start, an end and a place in the trace: a run, a visit, or a part of a visit."""

    recorder: Recorder | None
    run: Run
    parent: Recorded | None = None
    node: object | None = None
    """The node whose call this is, so that a call of super() is not taken for another visit."""
    choosing: object | None = None
    """The node after which a flow chooses the next at this moment."""
    span: trace.Span = trace.INVALID_SPAN
    parent_context: Context
    context: Context
    """To be attached while the workflow's own code runs."""
    started: int
    """Nanoseconds since the Unix epoch, as `ended`."""
    ended: int | None = None
    result: Result | None = None
    exception: BaseException | None = None
    """What ended it, only while the sinks are told of the end."""
    error_type: str | None = None

    @property
    def seconds(self) -> float:
        """How long it took; 0.0 while it goes on."""
        return 0.0 if self.ended is None else (self.ended - self.started) / NANO


class Run(Recorded):
    """One execution of a workflow."""

    def __init__(
        self, recorder: Recorder | None, run_id: str, workflow: str, *, implicit: bool = False, owned: bool = True
    ) -> None:
        self.recorder = recorder
        self.run = self
        self.id = run_id
        self.workflow = workflow
        self.implicit = implicit
        """Begun by a stage that had no run around it: idle, not ended, when no visit is open."""
        self.owned = owned
        """Whether this process makes the run's span and counts the run. Not so for one that is only joined."""
        self.shared: Any = None
        """The workflow's store, held only while the run or a visit of it is open."""
        self.fresh = True
        """Whether what an earlier run left in the store is dropped."""
        self.lock = threading.RLock()
        """Guards the records below. Never held while the store's methods are called; reentrant, because the garbage
        collector and signal handlers call what they like wherever they like."""
        self.mirror_lock = threading.RLock()
        """Held while the store is written, so that no update is lost."""
        self.mirrored: dict[str, dict[str, Any]] = {}
        """The entries last written: making 10,000 of them anew for each new stage would take minutes."""
        self.stages: dict[str, StageRecord] = {}
        self.spellings: dict[str, str] = {}
        """The name of each stage by its letters alone."""
        self.open: dict[Visit, None] = {}
        self.tracked: dict[str, Visit] = {}
        """The open visits that a tracker began, by stage."""
        self.outermost: Visit | None = None
        """The visit with which a run ends that nothing else can join."""
        self.last_activity = 0
        self.anchor = 0
        """Wall-clock time at zero of the monotonic clock, as read when the run began."""
        self.platform_names: dict[str, None] = {}
        self.platform_count = 0
        self.revision: int | None = None
        """The highest count seen; None where the workflow keeps none."""
        self.failing: str | None = None
        """The exception type that ended the last visit, if it failed."""
        self.epoch = 0

    def entries(self) -> dict[str, dict[str, Any]]:
        """The record as `progress_metrics` shows it, fresh, in the order in which the stages first started."""
        with self.lock:
            return {name: stage.entry() for name, stage in self.stages.items()}

    def entry(self, stage: str) -> dict[str, Any] | None:
        """The record of one stage, fresh; None where the run has no such stage."""
        with self.lock:
            record = self.stages.get(stage)
            return None if record is None else record.entry()


@dataclass
class StageRecord:
    """What one run knows of one stage, over all its visits."""

    started: int
    start_time: str = ""
    """`started` as text: it is asked for at every change."""
    ended: int | None = None
    open: int = 0
    visits: int = 0
    seconds: float = 0.0
    result: Result | None = None
    retries: int = 0
    items_done: int = 0
    items_total: int | None = None
    versions: list[str] = field(default_factory=list[str])
    error: str | None = None
    trace_id: str | None = None
    platform_count: int = 0
    own_platforms: dict[str, None] = field(default_factory=dict[str, None])
    """Platforms that visits named one by one; they win over the count in the store."""
    revision: int = 0
    by_code: bool = False
    """Whether the stage's own code records it, so that a tracker need not."""
    by_item: dict[object, tuple[int, trace.SpanContext]] = field(
        default_factory=dict[object, "tuple[int, trace.SpanContext]"]
    )
    """Visits so far, and the span of the last, for each item of a batch flow."""

    def entry(self) -> dict[str, Any]:
        """As `progress_metrics` shows it: JSON values only."""
        self.start_time = self.start_time or timestamp(self.started)
        entry: dict[str, Any] = {"start_time": self.start_time}
        if not self.open and self.ended is not None:
            entry["end_time"] = timestamp(self.ended)
        entry.update(
            {
                "platforms": len(self.own_platforms) or self.platform_count,
                "revisions": self.revision,
                "completed": not self.open and self.result in COMPLETED,
                "visits": self.visits,
                "seconds": round(self.seconds, 6),
                "result": None if self.open else self.result,
                "retries": self.retries,
                "items_done": self.items_done,
                "items_total": self.items_total,
                "versions": list(self.versions),
                "error": None if self.open else self.error,
                "trace_id": self.trace_id,
            }
        )
        return entry

    @classmethod
    def from_entry(cls, entry: Any) -> StageRecord | None:
        """The record that a saved entry tells of; None where `entry` is not one."""
        if not isinstance(entry, Mapping):
            return None
        saved = cast("Mapping[str, Any]", entry)
        started = parse_timestamp(saved.get(MIRROR_FIELDS[0]))
        if started is None:
            return None
        ended = parse_timestamp(saved.get("end_time"))
        result = saved.get("result")
        total = saved.get("items_total")
        versions = saved.get("versions")
        visits = _count(saved.get("visits"))
        return cls(
            by_item={None: (visits, trace.INVALID_SPAN_CONTEXT)} if visits else {},
            started=started,
            ended=ended,
            visits=visits,
            seconds=float(saved["seconds"]) if isinstance(saved.get("seconds"), (int, float)) else 0.0,
            # A visit that was open when the store was saved ended with its process, as far as anybody knows.
            result=cast(Result, result) if result is not None else ("abandoned" if ended is None else "success"),
            retries=_count(saved.get("retries")),
            items_done=_count(saved.get("items_done")),
            items_total=None if total is None else _count(total),
            versions=[name_of(version) for version in cast("list[Any]", versions)]
            if isinstance(versions, list)
            else [],
            error=name_of(saved["error"]) if saved.get("error") else None,
            trace_id=name_of(saved["trace_id"]) if saved.get("trace_id") else None,
            platform_count=_count(saved.get("platforms")),
            revision=_count(saved.get("revisions")),
        )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


class Visit(Recorded):
    """One execution of a stage: what `with stage(...) as visit` gives.

    Its two methods tell what only the workflow knows. Neither raises, and both do nothing after the end.
    """

    def __init__(self, recorder: Recorder | None, run: Run, stage: str) -> None:
        self.recorder = recorder
        self.run = run
        self.stage = stage
        self.number = 1
        """1 for the first visit of the stage for this item, 2 for its first repeat."""
        self.item: object = None
        """Which item of a batch flow the visit is for; None outside of one."""
        self.tracked = False
        """Begun by a tracker and not (yet) taken over by the stage's own code."""
        self.shared: Any = None
        self.function: str | None = None
        self.budget: float | None = None
        self.platforms: Platforms = NO_PLATFORMS
        self.own_platforms: dict[str, None] = {}
        self.item_platform: str | None = None
        self.revision: int | None = None
        """The workflow's revision count when the visit started, or first known after that."""
        self.latest_revision: int | None = None
        self.given_platforms: Any = None
        self.given_revision: Any = None
        self.attempts = 1
        self.retries = 0
        self.wait = 0.0
        self.items_total: int | None = None
        self.items_done = 0
        self.items_failed = 0
        self.fell_back = False
        self.action: str | None = None
        self.versions: list[Version] = []
        self.versions_before = 0
        self.previous: trace.SpanContext | None = None
        self.items: dict[object, Item] = {}
        """Open items of a batch (or the one exec of a plain node), by the task or thread that works on them."""
        self.batch = False
        self.phases: set[str] = set()

    @property
    def store(self) -> Any:
        """The workflow's store, as far as the visit or its run knows it."""
        return self.run.shared if self.shared is None else self.shared

    def platform(self, name: str) -> None:
        """Say that the visit works for platform `name` from now on."""
        if self.recorder is not None and self.recorder.is_open(self):
            self.item_platform = name_of(name)
            self.own_platforms[self.item_platform] = None
            self.recorder.changed(self)

    def advance(self, done: int = 1, *, total: int | None = None, failed: int = 0) -> None:
        """Say that `done` more items are done and `failed` more have failed, of `total` in this visit (if known)."""
        if self.recorder is None or not self.recorder.is_open(self):
            return
        if total is not None:
            self.expect(total)
        self.count(done, "success", self.item_platform)
        self.count(failed, "failure", self.item_platform)
        self.recorder.changed(self)

    def expect(self, total: int) -> None:
        """Set how many items the visit has."""
        with self.run.lock:
            record = self.run.stages[self.stage]
            record.items_total = (record.items_total or 0) + total - (self.items_total or 0)
            self.items_total = total

    def count(self, items: int, result: Result, platform: str | None) -> None:
        """Count items that ended with `result`."""
        if items <= 0 or self.recorder is None:
            return
        with self.run.lock:
            if result in COMPLETED:
                self.items_done += items
                self.run.stages[self.stage].items_done += items
            else:
                self.items_failed += items
        self.recorder.tell("items_ended", self, items, result, platform)


class Part(Recorded):
    """A phase or an item inside a visit or run, recorded where `detail` asks for it."""

    def __init__(self, owner: Visit | Run, name: str, platform: str | None = None) -> None:
        self.recorder = owner.recorder
        self.run = owner.run
        self.owner = owner
        self.parent = owner
        self.name = name
        self.platform = platform
        self.item: object = None
        """The parameters of a batch flow's item."""


@dataclass(eq=False)
class Item:
    """The attempts at one item of a batch node, or at the one exec of a plain node."""

    subject: object = None
    """What exec is called with: a call with another object is no retry."""
    platform: str | None = None
    part: Part | None = None
    attempts: int = 0
    running: bool = False
    failed_at: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Attempt:
    """One failed try of exec."""

    number: int
    started: int
    ended: int
    error: BaseException
    context: Context
