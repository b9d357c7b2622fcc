"""What a run knows of each of its stages, over all their visits. A stage's record begins, notes and ends them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, cast, get_args

from opentelemetry import trace

from ..names import MIRROR_FIELDS, Result
from .faults import report
from .seen import NO_PLATFORMS, Platforms, whole_number
from .store import MOST_TOLD_APART, name_of, type_name
from .times import NANO, parse_timestamp, timestamp

if TYPE_CHECKING:
    from .live import Run
    from .visits import Visit
    from .waiting import Waiting

_ODD = "a store was loaded whose progress_metrics holds what is no count or no result: that is ignored"
MOST_ITEMS = 10_000
"""Items of a batch flow whose visits are counted, those visited last: one that comes back after so many is new."""
COMPLETED: frozenset[Result] = frozenset({"success", "fallback"})


class StageRecord:
    """What one run knows of one stage: its part in the beginning of a visit, what is noted of that, and its end."""

    started = 0
    """When the first visit started, in nanoseconds since the Unix epoch."""
    ended: int | None = None
    open = 0
    nanos = 0
    """How long all visits took together, in nanoseconds."""
    trace = 0
    """The trace of the last visit."""
    noted: Platforms | None = NO_PLATFORMS
    """The platforms that the run was told of last: the same once more are nothing new to it. None: tell it of any."""
    first_revision = 0
    """The revision at which the first visit started."""
    rework = 0.0
    """Seconds of the repeats at a higher revision than that."""
    by_code = False
    """Whether the stage's own code records it, so that a tracker need not."""

    of_others = False
    """Whether it is that of all stages beyond those that a run tells apart."""

    def __init__(self, run: Run, name: str) -> None:
        self.run = run
        self.name = name
        self.shown: dict[str, Any] = {
            "start_time": "",
            "end_time": "",
            "platforms": 0,
            "revisions": 0,
            "completed": False,
            "visits": 0,
            "seconds": 0.0,
            "result": None,
            "results": {},
            "retries": 0,
            "items_done": 0,
            "items_total": None,
            "versions": [],
            "error": None,
            "trace_id": None,
            "waiting": None,
        }
        """What `progress_metrics` shows of it, kept where it changes: copies are asked for twice in every visit. Into
        these `entry` puts the time of the end and copies of the two values below that are no plain ones."""
        self.results: dict[Result, int] = {}
        """Visits that have ended, by result."""
        self.versions: list[str] = []
        self.waits: dict[Waiting, None] = {}
        """What its visits wait for at this moment."""
        self.own_platforms: dict[str, None] = {}
        """Platforms that visits named one by one; they win over the count in the store."""
        self.by_item: OrderedDict[object, int] = OrderedDict()
        """Visits so far for each item of a batch flow."""
        self.without_item = 0
        """Visits so far outside of one."""
        self.last_spans: dict[object, trace.SpanContext] = {}
        """By item (None: outside of one), the context of the span of its last visit, if there is one. Set by the sink
        of spans, and here so that it goes with the record, and with an item."""

    def stage_of(self, called: str) -> str:
        """The name of the stage of a visit whose code is called so."""
        return called if self.of_others else self.name

    def begin(self, visit: Visit) -> bool:
        """A visit begins; False where the run has ended meanwhile, or what a tracker begins has been begun."""
        run = self.run
        with run.lock:
            by_tracker = visit.eventful and visit.by_tracker
            if run.ended is not None or (by_tracker and (self.by_code or visit.stage in run.tracked)):
                return False
            if visit.item is None:
                visit.number = self.without_item = self.without_item + 1
            else:
                self._number(visit)
            shown = self.shown
            if not shown["visits"]:
                self.started = self.started or visit.started
                self.first_revision = visit.revision or 0
            shown["visits"] += 1
            shown["completed"], shown["result"], shown["error"] = False, None, None
            self.open += 1
            run.open[visit] = None  # Since it got its number nothing is called: an interruption leaves all or none.
            if by_tracker:
                run.tracked[visit.stage] = visit
            else:
                self.by_code = True
                if visit.shared is None and run.shared is None and run.implicit and len(run.open) == 1:
                    run.outermost = visit  # No later stage can find this run: it ends with this one.
            if visit.eventful:
                for name in visit.own_platforms:
                    self._name_platform(name)
            if visit.platforms is not self.noted or visit.latest_revision is not None:
                self._note(visit.platforms, visit.latest_revision, visit.own_platforms)
            return True

    def _number(self, visit: Visit) -> None:
        item, by_item = visit.item, self.by_item
        before = by_item.get(item, 0)
        if before:
            by_item.move_to_end(item)
        elif len(by_item) >= MOST_ITEMS:
            self.last_spans.pop(by_item.popitem(last=False)[0], None)
        visit.number = by_item[item] = before + 1

    def take_over(self, visit: Visit) -> None:
        """The stage's own code goes on with a visit that a tracker began."""
        with self.run.lock:
            self.by_code = True
            if visit.item is not None and not self.of_others:  # The tracker did not know which.
                self._number(visit)
            for name in visit.own_platforms:
                self._name_platform(name)
            self._note(visit.platforms, visit.latest_revision, visit.own_platforms)

    def note(self, platforms: Platforms, revision: int | None) -> None:
        """What is known of platforms and revision has changed, whether or not a visit is open."""
        with self.run.lock:
            self._note(platforms, revision)

    def name_platform(self, visit: Visit, name: str, at: int) -> tuple[str, float] | None:
        """A visit works for platform `name` from now on; gives the one before and for how long it was that."""
        with self.run.lock:
            if visit not in self.run.open:  # It has ended in another thread, as below.
                return None
            before, since = visit.item_platform, visit.platform_since or visit.started
            if name != before:
                visit.eventful, visit.item_platform, visit.platform_since = True, name, at
            if name not in visit.own_platforms and len(visit.own_platforms) < MOST_TOLD_APART:
                visit.add_platform(name)
                self._name_platform(name)
            return None if before is None or before == name else (before, max(0, at - since) / NANO)

    def expect(self, visit: Visit, total: int) -> None:
        """A visit has `total` items."""
        with self.run.lock:
            if visit not in self.run.open:
                return
            self.shown["items_total"] = _bounded((self.shown["items_total"] or 0) + total - (visit.items_total or 0))
            visit.eventful, visit.items_total = True, total

    def count(self, visit: Visit, items: int, result: Result) -> bool:
        """Items of a visit ended with `result`; False where it has ended before."""
        with self.run.lock:
            if visit not in self.run.open:
                return False
            visit.eventful = True
            if result in COMPLETED:
                visit.items_done = _bounded(visit.items_done + items)
                self.shown["items_done"] = _bounded(self.shown["items_done"] + items)
            else:
                visit.items_failed = _bounded(visit.items_failed + items)
            return True

    def attempt(self, visit: Visit, retry: bool, wait: float) -> None:
        """A visit tries once more, `wait` seconds after a try that failed if it is a retry."""
        with self.run.lock:
            visit.eventful = True
            visit.attempts += 1
            if retry:
                visit.retries += 1
                visit.wait += wait
                self.shown["retries"] += 1

    def wait(self, waiting: Waiting) -> bool:
        """A visit waits; False where it has ended meanwhile."""
        with self.run.lock:
            visit = waiting.visit
            if visit not in self.run.open:
                return False
            if "waits" not in visit.__dict__:
                visit.eventful = True
                visit.waits = {}
            last = next(reversed(self.waits)) if waiting in self.waits else waiting  # It may be entered once more.
            visit.waits[waiting] = self.waits[waiting] = None
            self.shown["waiting"] = last.reason
            return True

    def wait_no_more(self, waiting: Waiting, at: int) -> None:
        """It goes on, unless it has done so before."""
        with self.run.lock:
            if waiting not in self.waits:
                return
            visit, ended = waiting.visit, max(waiting.started, at)
            untold = iter(self.run.recorder.sinks)
            others = [each.reason for each in self.waits if each is not waiting]
            # Nothing is called from here on, as at the end of a visit.
            visit.wait += (ended - waiting.started) / NANO
            del self.waits[waiting]
            self.shown["waiting"] = others[-1] if others else None
            waiting.ended, waiting.untold = ended, untold

    def end(self, visit: Visit, ended: int, result: Result, error: BaseException | None) -> bool:
        """A visit ends; False where it has ended before."""
        run = self.run
        with run.lock:
            if visit not in run.open:
                return False
            if visit.platforms is not self.noted or visit.latest_revision is not None:
                self._note(visit.platforms, visit.latest_revision, visit.own_platforms)
            failed = result != "success" and result in ("failure", "cancelled")
            error_type = (run.failing if error is None else type_name(error)) if failed else None
            versions = [version.id for version in visit.versions] if visit.eventful and visit.versions else None
            untold = iter(run.recorder.sinks)
            is_completed = result in COMPLETED
            is_tracked = visit.eventful and run.tracked.get(visit.stage) is visit
            count = self.results.get(result, 0) + 1
            # Rework is a repeat at a higher revision than `first_revision`.
            rework = (ended - visit.started) / NANO if visit.revision and visit.is_rework else 0.0
            outer_rework = 0.0 if not rework or visit.is_inside_rework else rework  # Else the run's is counted already.
            shown = self.shown
            # Nothing is called from here on, so that what a signal's handler raises comes before all of it or after.
            visit.result, run.failing = result, error_type
            if failed or error is not None:
                visit.error_type, visit.exception = error_type, error
            visit.untold = untold
            if is_tracked:
                del run.tracked[visit.stage]
            if self.ended is None or ended > self.ended:
                self.ended = ended
            if ended > run.last_activity:  # noqa: PLR1730 - `max` would be a call
                run.last_activity = ended
            self.nanos += ended - visit.started
            shown["seconds"] = self.nanos // 1000 / 1e6
            if rework:
                self.rework += rework
                run.rework += outer_rework
            self.results[result] = count
            if versions:
                self.versions += versions
                del self.versions[:-MOST_TOLD_APART]
            self.open -= 1
            if not self.open:
                shown["completed"], shown["result"], shown["error"] = is_completed, result, error_type
            del run.open[visit]
            run.ending[visit] = None
            visit.ended = ended
            if not visit.is_told:
                visit.ended_early = True
            return True

    def _name_platform(self, name: str) -> None:
        count = len(self.own_platforms) + 1
        if count <= MOST_TOLD_APART and name not in self.own_platforms:
            self.shown["platforms"], self.own_platforms[name] = count, None
        self.run.name_platform(name)

    def _note(self, platforms: Platforms, revision: int | None, own: Collection[str] = ()) -> None:
        """With the platforms of its `own` that a visit named: they win over the count in the store, for the run too."""
        run = self.run
        self.noted = None if own else platforms
        if not self.own_platforms:
            self.shown["platforms"] = platforms.count
        if revision is not None:
            self.shown["revisions"] = revision
        if own:
            platforms = run.noted
        if platforms is not run.noted or (revision is not None and revision != run.revision):
            run.note(platforms, revision)

    @property
    def seconds(self) -> float:
        """How long all visits took together."""
        return self.nanos / NANO

    def entry(self) -> dict[str, Any]:
        """As `progress_metrics` shows it: JSON values only, nothing of which is kept here."""
        shown = self.shown
        if not shown["start_time"]:
            shown["start_time"] = timestamp(self.started)
        entry = shown.copy()
        entry["results"], entry["versions"] = self.results.copy(), self.versions.copy()
        if self.open or self.ended is None:
            del entry["end_time"]
        else:
            entry["end_time"] = timestamp(self.ended)
        return entry

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
        shown = record.shown
        shown["visits"] = _count(saved.get("visits"))
        seconds, result, total = saved.get("seconds"), saved.get("result"), saved.get("items_total")
        if isinstance(seconds, (int, float)) and 0 <= seconds < 2**63:
            record.nanos = round(seconds * NANO)
            shown["seconds"] = record.nanos // 1000 / 1e6
        # A visit that was open when the store was saved ended with its process, as far as anybody knows.
        known = result if result in get_args(Result) else "failure" if saved.get("completed") is False else "success"
        shown["result"] = cast(Result, known) if result is not None or record.ended else "abandoned"
        shown["completed"] = shown["result"] in COMPLETED
        record._load_results(saved.get("results"), is_open=result is None)
        if shown["visits"]:
            record.without_item = shown["visits"]
        shown["retries"] = _count(saved.get("retries"))
        shown["items_done"] = _count(saved.get("items_done"))
        shown["items_total"] = None if total is None else _count(total)
        versions = saved.get("versions")
        record.versions = list(map(name_of, cast("list[Any]", versions))) if isinstance(versions, list) else []
        shown["error"] = name_of(saved["error"]) if saved.get("error") else None
        shown["trace_id"] = name_of(saved["trace_id"]) if saved.get("trace_id") else None
        record.noted, shown["platforms"] = None, _count(saved.get("platforms"))
        shown["revisions"] = record.first_revision = _count(saved.get("revisions"))
        return record

    def _load_results(self, saved: Any, *, is_open: bool) -> None:
        """Take over how the visits of a saved entry ended: of one that does not tell, how the last one did."""
        if saved is None or not isinstance(saved, Mapping):
            if saved is not None:
                report(_ODD)
            if self.shown["visits"] and self.shown["result"] is not None:
                self.results[self.shown["result"]] = 1
            return
        counts = {key: _count(value) for key, value in cast("Mapping[Any, Any]", saved).items()}
        self.results = {key: counts[key] for key in get_args(Result) if counts.get(key)}
        if len(self.results) < len(counts):
            report(_ODD)
        ended = sum(self.results.values())
        visits = self.shown["visits"]
        if is_open and ended < visits:
            self.results["abandoned"] = self.results.get("abandoned", 0) + visits - ended
        self.shown["visits"] = max(visits, ended)


def _bounded(count: int) -> int:
    """A sum of counts within 64 bits, beyond which exporters refuse it."""
    return count if count < 2**63 else 2**63 - 1


def _count(value: Any) -> int:
    """A count in a saved store; 0 for what is none."""
    count = None if isinstance(value, bool) else whole_number(value)
    if count is None or not 0 <= count < 2**62:  # It is counted on from there.
        if value is not None:
            report(_ODD)
        return 0
    return count
