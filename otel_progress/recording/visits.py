"""Visits while they go on, and what is inside them: parts, items, attempts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import trace
from opentelemetry.context import Context

from ..names import Result
from .call import Call
from .faults import report
from .live import NOWHERE, Recorded, Run, Tracking
from .order import MOST_WORKERS
from .seen import (
    NO_PLATFORMS,
    NOTHING_SEEN,
    Platforms,
    Seen,
    Version,
    look_at,
    said_of,
    whole_number,
)
from .stages import StageRecord
from .store import name_of
from .times import NANO
from .trying import Tries, Trying
from .waiting import Waiting

if TYPE_CHECKING:
    from .order import Followed
    from .recorder import Recorder
    from .twins import Inside


_NO_ITEMS = cast("MutableMapping[object, Item]", MappingProxyType({}))


class Visit(Recorded):
    """One execution of a stage: what `with stage(...) as visit` gives.

    What it has for the workflow tells what only that knows: none of these methods raises, and all do nothing after the
    end. The others are for the recorder.
    """

    # What every visit has: it takes less time there, and most have nothing else.
    __slots__ = (
        "attempts",
        "clock",
        "code",
        "context",
        "context_before",
        "ended",
        "eventful",
        "follows",
        "in_one_go",
        "is_told",
        "item",
        "node",
        "number",
        "parent",
        "parent_context",
        "platforms",
        "record",
        "recorder",
        "result",
        "revision",
        "run",
        "serial",
        "shared",
        "span",
        "span_context",
        "stage",
        "started",
        "untold",
        "worker",
    )

    serial: int
    """Tells the visits of one process apart, in the order in which they started."""
    follows: tuple[Followed, ...]
    """The visits that it is known to follow."""
    number: int
    """1 for the first visit of the stage for this item, 2 for its first repeat."""
    span_context: trace.SpanContext
    """That of its span, if that is one: it is asked for again and again."""
    is_told: bool
    """Whether all sinks have been told of its beginning."""
    ended_early = False
    """Whether another thread ended it before that. Then the thread that began it tells of the end, once all sinks know
    of the beginning (`tell_early_end`)."""
    eventful: bool
    """While it is False, none of these need be looked at: platforms that it named, items, attempts, waits, an action,
    versions, and what a tracker began. Most visits have none."""
    tracking = Tracking.NOT
    inside: Inside | None = None
    """Of one that a tracker began: which nodes ended inside it."""
    platforms: Platforms
    item_platform: str | None = None
    """What it works for: the item of a batch flow, or the platform that it named last."""
    platform_since = 0
    """When it named that; 0: it worked for that from its start."""
    platform_told = False
    """Whether it is told how long it worked for that: one by one, where it has items that name platforms."""
    own_platforms: MutableMapping[str, None] = cast("MutableMapping[str, None]", MappingProxyType({}))
    """The platforms that it named one by one."""
    items: MutableMapping[object, Item] = _NO_ITEMS
    """Open items of a batch (or the one exec of a plain node), by the task or thread that works on them."""
    revision: int | None
    """The workflow's revision count when the visit started, or first known after that."""
    latest_revision: int | None = None
    retries = 0
    wait = 0.0
    """Seconds that it has waited, for the next attempt or for what it said; those of several at once are added."""
    waits: MutableMapping[Waiting, None] = cast("MutableMapping[Waiting, None]", MappingProxyType({}))
    """What it waits for at this moment."""
    tries: MutableMapping[object, Tries] = cast("MutableMapping[object, Tries]", MappingProxyType({}))
    """Attempts of its own code that are not over, by the task or thread that makes them."""
    items_total: int | None = None
    items_done = 0
    items_failed = 0
    fell_back = False
    action: str | None = None
    versions: Sequence[Version] = ()
    platforms_before: Platforms = NO_PLATFORMS
    """What was known of platforms when it started, as below of revision and versions."""
    revision_before: int | None = None
    versions_before = 0

    def __init__(self, recorder: Recorder, record: StageRecord, call: Call) -> None:
        self.recorder = recorder
        self.run = record.run
        self.record = record
        code, self.shared, self.node, item, item_platform = call
        self.code = code
        if record.of_others:  # The one of all stages beyond those that a run tells apart.
            self.stage, self.item = code.name, (code.name, item)
        else:
            self.stage, self.item = record.name, item
        self.serial, self.number, self.follows = 0, 1, ()
        self.parent = self.worker = self.ended = self.result = self.untold = self.revision = None
        self.eventful = self.is_told = False
        self.platforms, self.context = NO_PLATFORMS, NOWHERE
        self.span, self.span_context = trace.INVALID_SPAN, trace.INVALID_SPAN_CONTEXT
        self.attempts = code.attempts
        self.in_one_go = code.in_one_go
        """Whether who begins it ends it, so that nobody need ask."""
        if item_platform is not None:
            self.item_platform, self.own_platforms, self.eventful = item_platform, {item_platform: None}, True
        # Before it starts: how long a store takes to answer is no time of the stage's.
        seen = self.read_store()
        if seen is not NOTHING_SEEN or self.platforms is not NO_PLATFORMS or self.revision is not None:
            self.versions_before = seen.versions
            self.platforms_before, self.revision_before = self.platforms, self.revision

    def read_store(self) -> Seen:
        """Bring its platforms and revision up to date."""
        shared, code = self.shared, self.code
        if shared is None:
            shared = self.run.shared
        seen = look_at(shared)
        if seen is NOTHING_SEEN and code.platforms is None and code.revision is None:
            return seen
        platforms, revision = seen.platforms, seen.revision
        if code.platforms is not None or code.revision is not None:  # What the user gave wins over what was seen.
            platforms, revision = said_of(code, shared, seen)
        if platforms.count or code.platforms is not None:
            self.platforms = platforms
        if revision is not None:
            self.latest_revision = revision
            if self.revision is None:
                self.revision = revision
        return seen

    def called(self, call: Call) -> None:
        """Which call it is: known from the start, but for one that a tracker began."""
        code, self.shared, self.node, item, item_platform = call
        self.code, self.attempts = code, code.attempts
        self.stage, self.item = (code.name, (code.name, item)) if self.record.of_others else (self.record.name, item)
        if item_platform is not None:
            self.item_platform, self.own_platforms = item_platform, {**self.own_platforms, item_platform: None}

    @property
    def by_tracker(self) -> bool:
        """Whether a tracker began it and will end it."""
        return self.tracking is Tracking.OPEN or self.tracking is Tracking.PASSED

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

    @property
    def is_rework(self) -> bool:
        """Whether it is a repeat at a higher revision than the stage's first visit."""
        return self.number > 1 and (self.revision or 0) > self.record.first_revision

    @property
    def is_inside_rework(self) -> bool:
        """Whether a visit around it is rework."""
        around = self.parent
        while around is not None and around.run is self.run:
            if isinstance(around, Visit) and around.is_rework:
                return True
            around = around.parent
        return False

    def platform(self, name: str) -> None:
        """Say that the visit works for platform `name` from now on."""
        if self.recorder.is_open(self):
            before = self.record.name_platform(self, name_of(name), self.recorder.now(self))
            if before is not None and not self.platform_told:
                self.recorder.tell("platform_ended", self, *before)
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

    def attempt(self) -> Trying:
        """Say that a block is one attempt, in a loop that tries again where it fails. For `with` and `async with`.

        Each that fails is a span of its own; what comes after one that failed counts as a retry, and the time between
        them as waiting. What the block raises passes.

            for wait in (1, 5, None):
                try:
                    with visit.attempt():
                        return ask(prompt)
                except TimeoutError:
                    if wait is None:
                        raise
                    time.sleep(wait)
        """
        return Trying(self)

    def tries_of(self, who: object, *, anew: bool = False) -> Tries:
        """The attempts that a task or thread has in hand; `anew` where it begins with something else."""
        if "tries" not in self.__dict__:
            self.__dict__.setdefault("tries", OrderedDict())
        if anew:
            self.tries.pop(who, None)
        found = self.tries.get(who) or self.tries.setdefault(who, Tries(self))
        if len(self.tries) > MOST_WORKERS:  # Of tasks that gave up.
            cast("OrderedDict[object, Tries]", self.tries).popitem(last=False)
        return found

    def waiting(self, reason: str) -> Waiting:
        """Say what the visit waits for, as long as a block takes: a person, a queue, a rate limit.

        Its time counts as waiting, not as work, and the stage is shown to wait meanwhile. For `with` and `async with`.

            with visit.waiting("approval"):
                answer = ask_the_editor(draft)

        Args:
            reason: a word or two, the same for the same kind of waiting: it is an attribute of metrics.
        """
        return Waiting(self, reason)

    @property
    def waiting_for(self) -> str | None:
        """What it waits for; where that is several things, the last that it said."""
        waits = [each for each in list(self.waits) if each.ended is None]
        return waits[-1].reason if waits else None

    def add_platform(self, name: str) -> None:
        """Keep what it has named. In place: a copy for each of many would be long."""
        if "own_platforms" not in self.__dict__:
            self.eventful = True
            self.own_platforms = {}
        self.own_platforms[name] = None

    def work_on(self, worker: object, item: Item) -> None:
        """Keep what a task or thread works on."""
        if self.items is _NO_ITEMS:
            with self.run.lock:  # Others may begin with theirs.
                if self.items is _NO_ITEMS:
                    self.eventful = True
                    self.items = {}
        self.items[worker] = item

    def _expect(self, total: int) -> None:
        if (whole := whole_number(total)) is None or whole < 0:
            report("a visit's total is no whole number of items, and is ignored")
        else:
            self.record.expect(self, whole)

    def count(self, items: int, result: Result, platform: str | None) -> None:
        """Count items that ended with `result`."""
        if items > 0 and self.record.count(self, items, result):
            self.recorder.tell("items_ended", self, items, result, platform)

    def leave_platform(self, ended: int) -> None:
        """Say at its end how long it worked for its last platform, unless that was told item by item."""
        if not self.platform_told:
            self.platform_told = True
            since = self.platform_since or self.started
            self.recorder.tell("platform_ended", self, self.item_platform, max(0, ended - since) / NANO)

    def leave_items(self, error: BaseException | None, result: Result, ended: int) -> None:
        """End the items that it leaves: failed without a fallback, or running on while it ends around them."""
        for worker in list(self.items):
            item = self.items.pop(worker, None)
            if item is None:  # Its own thread was faster to end it.
                continue
            if item.part is not None:
                self.recorder.end(item.part, error, result)
            if self.code.batch:
                self.count(1, "abandoned" if item.running else "failure", item.platform)
                if item.platform is not None:
                    self.time_item(item, ended)

    def time_item(self, item: Item | Part, ended: int) -> None:
        """Say how long an item took that names a platform: as long as its span, where it has one."""
        part = item.part if isinstance(item, Item) else item
        started, ended = (item.started, ended) if part is None else (part.started, part.ended or ended)
        if started:  # Else its fallback was called, and nothing before it.
            self.platform_told = True
            self.recorder.tell("platform_ended", self, item.platform, max(0, ended - started) / NANO)


def _whole(value: Any, what: str) -> int:
    whole = whole_number(value)
    if whole is None or whole < 0:
        report(f"advance({what}=...) is no whole number of items, and is ignored")
    return whole or 0


class Part(Recorded):
    """A phase or an item inside a visit or run, recorded where `detail` asks for it."""

    item: object = None
    """The parameters of a batch flow's item."""

    def __init__(self, owner: Visit | Run, name: str, platform: str | None = None) -> None:
        self.recorder = owner.recorder
        self.run = owner.run
        self.owner = self.part_of = owner
        self.parent = owner
        self.name = name
        self.platform = platform


class Item:
    """The attempts at one item of a batch node, or at the one exec of a plain node."""

    part: Part | None = None
    started = 0
    """When its first attempt began."""
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
    platform: str | None = None
    """What it worked for."""
