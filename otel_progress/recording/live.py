"""What is known of a run while it goes on: the run, its stages, their visits.

These objects are live and belong to the recorder. What a workflow may keep is `progress(run)`: plain JSON values.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast, get_args

from opentelemetry import trace
from opentelemetry.context import Context

from ..names import MIRROR_FIELDS, Result
from .call import Call, Origin
from .faults import report
from .store import NO_PLATFORMS, Platforms, Version, name_of, whole_number

if TYPE_CHECKING:
    from .recorder import Recorder

NANO = 1_000_000_000
COMPLETED: frozenset[Result] = frozenset({"success", "fallback"})


def timestamp(ns: int) -> str:
    """Nanoseconds since the Unix epoch as ISO 8601 in UTC, to the microsecond."""
    seconds, rest = divmod(ns, NANO)
    micros = rest // 1000
    return f"{_second(seconds)}.{micros:06}+00:00" if micros else f"{_second(seconds)}+00:00"


@functools.lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None).isoformat()


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


class Recorded:
    """Something with a start, an end and a place in the trace: a run, a visit, or a part of a visit."""

    recorder: Recorder
    run: Run
    parent: Recorded | None = None
    node: object | None = None
    """The node whose call this is, so that calls of its methods find it."""
    span: trace.Span = trace.INVALID_SPAN
    parent_context: Context
    context: Context
    """To be attached while the workflow's own code runs."""
    started: int
    """Nanoseconds since the Unix epoch, as `ended`: read from the wall clock, and never before the parent's."""
    clock: int
    """The monotonic clock at the start: it alone tells how long something took."""
    ended: int | None = None
    result: Result | None = None
    exception: BaseException | None = None
    """What ended it, only while the sinks are told of the end."""
    error_type: str | None = None

    @property
    def seconds(self) -> float:
        """How long it took; 0.0 while it goes on."""
        return 0.0 if self.ended is None else (self.ended - self.started) / NANO


class Beginning(Enum):
    """How a run began."""

    WORKFLOW = "workflow"
    """With a `workflow`, which ends it."""
    CARRIED_ON = "carried on"
    """The same, with a store that says the run of another process."""
    STAGE = "stage"
    """With a stage that had no run around it: idle, not ended, when no visit is open."""
    JOINED = "joined"
    """Elsewhere: in another process, before a fork, or here before its end. Idle as the one before."""


class Run(Recorded):
    """One execution of a workflow."""

    open_here = True
    """Whether this process may add to it: until its end, and not in a forked child."""
    idle = False
    """Whether it is one that nothing ends, between its stages."""
    outermost: Visit | None = None
    """The visit with which a run ends that nothing else can join."""
    last_activity = 0
    platform_count = 0
    revision: int | None = None
    """The highest count seen; None where the workflow keeps none."""
    failing: str | None = None
    """The exception type that ended the last visit, if it failed."""
    noted: Platforms = NO_PLATFORMS
    """The platforms last added to the run's."""

    def __init__(
        self,
        recorder: Recorder,
        run_id: str,
        workflow: str,
        begun: Beginning = Beginning.WORKFLOW,
        *,
        shared: Any = None,
        origin: Origin = "program",
    ) -> None:
        self.recorder = recorder
        self.run = self
        self.id = run_id
        self.workflow = workflow
        self.begun = begun
        self.implicit = begun in (Beginning.STAGE, Beginning.JOINED)
        """Whether nothing ends it but the process: begun by a stage, here or elsewhere."""
        self.shared = shared
        """The workflow's store, held only while the run or a visit of it is open."""
        self.origin: Origin = origin
        self.lock = threading.RLock()
        """Guards the records below. Never held while code of the workflow runs; reentrant, because the garbage
        collector and signal handlers call what they like wherever they like."""
        self.beginning = threading.RLock()
        """Held until the run's span is made, so that no visit is begun before it."""
        self.stages: dict[str, StageRecord] = {}
        self.spellings: dict[str, str] = {}
        """The name of each stage by its letters alone."""
        self.open: dict[Visit, None] = {}
        self.tracked: dict[str, Visit] = {}
        """The open visits that a tracker began, by stage."""
        self.platform_names: dict[str, None] = {}

    @property
    def owned(self) -> bool:
        """Whether this process makes the run's span and counts the run. Not so for one that is only joined."""
        return self.begun is not Beginning.JOINED

    @property
    def fresh(self) -> bool:
        """Whether what an earlier run left in the store is dropped."""
        return self.begun in (Beginning.WORKFLOW, Beginning.STAGE)

    @property
    def unattended(self) -> bool:
        """Whether no visit is open but those of trackers, in a run that nothing ends."""
        return self.implicit and len(self.open) == len(self.tracked)

    def stage_name(self, stage: object, *, loose: bool) -> str:
        """The name of a stage in this run.

        A tracker names a stage as the workflow does (`fact_check`), an instrumentor by its class (`FactCheck`,
        `FactCheckNode`): `loose` names that differ in no more than that are one stage, by the name that came first.
        """
        name = name_of(stage) or "stage"
        if name in self.stages:
            return name
        letters = "".join(filter(str.isalnum, name)).casefold()
        key = letters.removesuffix("node") or letters
        with self.lock:
            known = self.spellings.setdefault(key, name)
        return known if loose else name

    def stage(self, name: object, *, loose: bool) -> StageRecord:
        """The record of a stage, made if need be; shown when its first visit has begun."""
        known = self.stage_name(name, loose=loose)
        return self.stages.get(known) or self.stages.setdefault(known, StageRecord(self, known))

    def load(self, name: object, entry: Any) -> None:
        """Take over what a saved store says of a stage."""
        stage = self.stage_name(name, loose=False)
        if (record := StageRecord.from_entry(self, stage, entry)) is not None:
            self.stages[stage] = record

    def hand_over(self, stage: str) -> Visit | None:
        """The visit of a stage that a tracker began, if there is one, for the stage's own code to go on with."""
        with self.lock:
            visit = self.tracked.pop(stage, None)
            if visit is not None:
                visit.by_tracker, visit.handed_over = False, True
            return visit

    def note(self, platforms: Platforms, revision: int | None) -> None:
        """Keep what a visit or the store says of the run's platforms and revision."""
        with self.lock:
            if platforms is not self.noted:
                self.noted = platforms
                self.platform_names.update(dict.fromkeys(platforms.names))
                self.platform_count = max(self.platform_count, platforms.count, len(self.platform_names))
            if revision is not None and revision > (self.revision or -1):
                self.revision = revision

    def entries(self) -> dict[str, dict[str, Any]]:
        """The record as `progress_metrics` shows it, fresh, in the order in which the stages first started."""
        with self.lock:
            return {name: stage.entry() for name, stage in self.stages.items() if stage.visits or stage.started}


class StageRecord:
    """What one run knows of one stage, over all its visits. It begins, notes and ends them."""

    started = 0
    """When the first visit started, in nanoseconds since the Unix epoch."""
    start_time = ""
    """`started` as text: it is asked for at every change."""
    ended: int | None = None
    open = 0
    visits = 0
    seconds = 0.0
    result: Result | None = None
    retries = 0
    items_done = 0
    items_total: int | None = None
    error: str | None = None
    trace_id: str | None = None
    platform_count = 0
    revision = 0
    by_code = False
    """Whether the stage's own code records it, so that a tracker need not."""

    def __init__(self, run: Run, name: str) -> None:
        self.run = run
        self.name = name
        self.versions: list[str] = []
        self.own_platforms: dict[str, None] = {}
        """Platforms that visits named one by one; they win over the count in the store."""
        self.by_item: dict[object, int] = {}
        """Visits so far for each item of a batch flow; None: outside of one."""
        self.last_spans: dict[object, trace.SpanContext] = {}
        """The span of the last of them, if there is one."""

    def begin(self, visit: Visit) -> bool:
        """A visit begins; False where the run has ended meanwhile."""
        run = self.run
        with run.lock:
            if run.ended is not None:
                return False
            self.started = self.started or visit.started
            number = visit.number = self.by_item.get(visit.item, 0) + 1
            self.by_item[visit.item] = number
            self.visits += 1
            self.open += 1
            run.open[visit] = None
            if visit.by_tracker:
                run.tracked[self.name] = visit
            else:
                self.by_code = True
                if visit.shared is None and run.shared is None and run.implicit and len(run.open) == 1:
                    run.outermost = visit  # No later stage can find this run: it ends with this one.
            if visit.own_platforms:
                self._name_platforms(visit)
            self._note(visit)
            return True

    def take_over(self, visit: Visit) -> None:
        """The stage's own code goes on with a visit that a tracker began."""
        with self.run.lock:
            self.by_code = True
            if visit.item is not None:  # The tracker did not know which.
                number = visit.number = self.by_item.get(visit.item, 0) + 1
                self.by_item[visit.item] = number
            self._name_platforms(visit)
            self._note(visit)

    def note(self, visit: Visit) -> None:
        """Platforms or revision of a visit may have changed."""
        with self.run.lock:
            self._note(visit)

    def name_platform(self, visit: Visit, name: str) -> None:
        """A visit works for one more platform."""
        with self.run.lock:
            visit.item_platform = name
            if name not in visit.own_platforms:
                visit.own_platforms = {**visit.own_platforms, name: None}
                self._name_platforms(visit)

    def expect(self, visit: Visit, total: int) -> None:
        """A visit has `total` items."""
        with self.run.lock:
            self.items_total = (self.items_total or 0) + total - (visit.items_total or 0)
            visit.items_total = total

    def count(self, visit: Visit, items: int, result: Result) -> None:
        """Items of a visit ended with `result`."""
        with self.run.lock:
            if result in COMPLETED:
                visit.items_done += items
                self.items_done += items
            else:
                visit.items_failed += items

    def attempt(self, visit: Visit, retry: bool, wait: float) -> None:
        """A visit tries once more, `wait` seconds after a try that failed if it is a retry."""
        with self.run.lock:
            visit.attempts += 1
            if retry:
                visit.wait += wait
                self.retries += 1

    def end(self, visit: Visit, ended: int, result: Result, error_type: str | None) -> bool:
        """A visit ends; False where it has ended before."""
        run = self.run
        with run.lock:
            if run.open.pop(visit, visit) is visit:
                return False
            visit.ended = ended
            visit.result = result
            if result in ("failure", "cancelled"):
                visit.error_type = error_type or run.failing
            if run.tracked.get(self.name) is visit:
                del run.tracked[self.name]
            self.open -= 1
            if self.ended is None or ended > self.ended:
                self.ended = ended
            self.seconds += (ended - visit.started) / NANO
            self.result = result
            self.error = run.failing = visit.error_type
            if visit.versions:
                self.versions.extend(version.id for version in visit.versions)
            run.last_activity = max(run.last_activity, ended)
            self._note(visit)
            return True

    def _name_platforms(self, visit: Visit) -> None:
        run = self.run
        self.own_platforms.update(visit.own_platforms)
        run.platform_names.update(visit.own_platforms)
        run.platform_count = max(run.platform_count, len(run.platform_names))

    def _note(self, visit: Visit) -> None:
        run, platforms, revision = self.run, visit.platforms, visit.latest_revision
        self.platform_count = platforms.count
        if revision is not None:
            self.revision = revision
        if visit.own_platforms:  # They win over the count in the store, for the run too.
            platforms = run.noted
        if platforms is not run.noted or (revision is not None and revision != run.revision):
            run.note(platforms, revision)

    def entry(self) -> dict[str, Any]:
        """As `progress_metrics` shows it: JSON values only."""
        self.start_time = self.start_time or timestamp(self.started)
        over = not self.open and self.ended is not None
        # A literal for each of the two: it is asked for twice in every visit.
        if not over:
            return {
                "start_time": self.start_time,
                "platforms": len(self.own_platforms) or self.platform_count,
                "revisions": self.revision,
                "completed": not self.open and self.result in COMPLETED,
                "visits": self.visits,
                "seconds": round(self.seconds, 6),
                "result": None if self.open else self.result,
                "retries": self.retries,
                "items_done": self.items_done,
                "items_total": self.items_total,
                "versions": self.versions[:],
                "error": None if self.open else self.error,
                "trace_id": self.trace_id,
            }
        return {
            "start_time": self.start_time,
            "end_time": timestamp(self.ended or 0),
            "platforms": len(self.own_platforms) or self.platform_count,
            "revisions": self.revision,
            "completed": self.result in COMPLETED,
            "visits": self.visits,
            "seconds": round(self.seconds, 6),
            "result": self.result,
            "retries": self.retries,
            "items_done": self.items_done,
            "items_total": self.items_total,
            "versions": self.versions[:],
            "error": self.error,
            "trace_id": self.trace_id,
        }

    @classmethod
    def from_entry(cls, run: Run, name: str, entry: Any) -> StageRecord | None:
        """The record that a saved entry tells of; None where `entry` is not one."""
        if not isinstance(entry, Mapping):
            return None
        saved = cast("Mapping[str, Any]", entry)
        started = parse_timestamp(saved.get(MIRROR_FIELDS[0]))
        if started is None:
            return None
        record = cls(run, name)
        record.started = started
        record.ended = parse_timestamp(saved.get("end_time"))
        record.visits = _count(saved.get("visits"))
        if record.visits:
            record.by_item[None] = record.visits
        seconds, result, total = saved.get("seconds"), saved.get("result"), saved.get("items_total")
        if isinstance(seconds, (int, float)) and 0 <= seconds < 2**63:
            record.seconds = float(seconds)
        # A visit that was open when the store was saved ended with its process, as far as anybody knows.
        known = result if result in get_args(Result) else "success"
        record.result = cast(Result, known) if result is not None else "success" if record.ended else "abandoned"
        record.retries = _count(saved.get("retries"))
        record.items_done = _count(saved.get("items_done"))
        record.items_total = None if total is None else _count(total)
        versions = saved.get("versions")
        record.versions = list(map(name_of, cast("list[Any]", versions))) if isinstance(versions, list) else []
        record.error = name_of(saved["error"]) if saved.get("error") else None
        record.trace_id = name_of(saved["trace_id"]) if saved.get("trace_id") else None
        record.platform_count = _count(saved.get("platforms"))
        record.revision = _count(saved.get("revisions"))
        return record


def _count(value: Any) -> int:
    return value if type(value) is int and 0 < value < 2**63 else 0


class Visit(Recorded):
    """One execution of a stage: what `with stage(...) as visit` gives.

    Its methods tell what only the workflow knows. None raises, and all do nothing after the end.
    """

    number = 1
    """1 for the first visit of the stage for this item, 2 for its first repeat."""
    by_tracker = False
    """Begun by a tracker and not (yet) taken over by the stage's own code."""
    handed_over = False
    """Whether a tracker began it and the stage's own code took it over."""
    platforms: Platforms = NO_PLATFORMS
    item_platform: str | None = None
    own_platforms: Mapping[str, None] = MappingProxyType({})
    """The platforms that it named one by one."""
    items: MutableMapping[object, Item] = cast("MutableMapping[object, Item]", MappingProxyType({}))
    """Open items of a batch (or the one exec of a plain node), by the task or thread that works on them."""
    revision: int | None = None
    """The workflow's revision count when the visit started, or first known after that."""
    latest_revision: int | None = None
    wait = 0.0
    items_total: int | None = None
    items_done = 0
    items_failed = 0
    fell_back = False
    action: str | None = None
    versions: Sequence[Version] = ()
    versions_before = 0

    def __init__(self, recorder: Recorder, record: StageRecord, call: Call) -> None:
        self.recorder = recorder
        self.run = record.run
        self.record = record
        self.stage = record.name
        self.code = code = call.code
        self.shared = call.shared
        self.node = call.node
        self.item = call.item
        self.attempts = code.attempts
        if call.item_platform is not None:
            self.item_platform = call.item_platform
            self.own_platforms = {call.item_platform: None}

    def called(self, call: Call) -> None:
        """Which call it is: known from the start, but for one that a tracker began."""
        own = self.own_platforms
        Visit.__init__(self, self.recorder, self.record, call)
        self.own_platforms = {**own, **self.own_platforms}

    @property
    def budget(self) -> float | None:
        """Seconds that it may take."""
        return self.code.budget

    @property
    def function(self) -> str | None:
        """Qualified name of the code."""
        return self.code.function

    @property
    def store(self) -> Any:
        """The workflow's store, as far as the visit or its run knows it."""
        return self.run.shared if self.shared is None else self.shared

    def platform(self, name: str) -> None:
        """Say that the visit works for platform `name` from now on."""
        if self.recorder.is_open(self):
            self.record.name_platform(self, name_of(name))
            self.recorder.tell("stage_changed", self)

    def advance(self, done: int = 1, *, total: int | None = None, failed: int = 0) -> None:
        """Say that `done` more items are done and `failed` more have failed, of `total` in this visit (if known)."""
        if not self.recorder.is_open(self):
            return
        if total is not None:
            self._expect(total)
        self.count(_whole(done, "done"), "success", self.item_platform)
        self.count(_whole(failed, "failed"), "failure", self.item_platform)
        self.recorder.tell("stage_changed", self)

    def expect(self, total: int) -> None:
        """Say how many items the visit has."""
        if self.recorder.is_open(self):
            self._expect(total)
            self.recorder.tell("stage_changed", self)

    def work_on(self, worker: object, item: Item) -> None:
        """Keep what a task or thread works on."""
        if "items" not in self.__dict__:
            self.__dict__.setdefault("items", {})
        self.items[worker] = item

    def _expect(self, total: int) -> None:
        if (whole := whole_number(total)) is None or whole < 0:
            report("a visit's total is no whole number of items, and is ignored")
        else:
            self.record.expect(self, whole)

    def count(self, items: int, result: Result, platform: str | None) -> None:
        """Count items that ended with `result`."""
        if items > 0:
            self.record.count(self, items, result)
            self.recorder.tell("items_ended", self, items, result, platform)


def _whole(value: Any, what: str) -> int:
    whole = whole_number(value)
    if whole is None:
        report(f"advance({what}=...) is no whole number of items, and is ignored")
    return whole or 0


class Part(Recorded):
    """A phase or an item inside a visit or run, recorded where `detail` asks for it."""

    item: object = None
    """The parameters of a batch flow's item."""

    def __init__(self, owner: Visit | Run, name: str, platform: str | None = None) -> None:
        self.recorder = owner.recorder
        self.run = owner.run
        self.owner = owner
        self.parent = owner
        self.name = name
        self.platform = platform


class Item:
    """The attempts at one item of a batch node, or at the one exec of a plain node."""

    part: Part | None = None
    attempts = 0
    running = False
    failed_at: int | None = None
    error = ""

    def __init__(self, subject: object = None, platform: str | None = None) -> None:
        self.subject = subject
        """What exec is called with: a call with another object is no retry."""
        self.platform = platform


@dataclass(frozen=True)
class Attempt:
    """One failed try of exec."""

    number: int
    started: int
    ended: int
    error: BaseException
    context: Context
