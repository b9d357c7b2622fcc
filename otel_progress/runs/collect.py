"""Spans and events become runs: one fact after the other, in any order, and held only as far as they are open."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from .. import names
from ..recording.times import NANO
from .ledger import Fields, Ledger, Part
from .otlp import Attributes, EventFact, Fact, SpanFact, count, number, optional_count, seconds, text, texts, time

_HELD = 1000
_MOST_KEPT = 20_000
"""Visits that have ended, and spans inside visits, in memory at once."""
_REMEMBERED = 20_000
_MOST_WAITS = 100
"""Of one visit."""
_INSIDE = 10
"""Spans inside visits, for each visit that is kept."""


class Shelf(Protocol):
    """Where runs are put away that nobody asks for at the moment."""

    def get(self, run: str) -> Ledger | None:
        """The ledger of a run, if it is there."""
        ...

    def put(self, ledger: Ledger) -> None:
        """Keep it."""
        ...

    def put_aside(self, bulk: Ledger) -> None:
        """Keep what was put aside of a run, behind what was before."""
        ...


class Taker(Protocol):
    """What takes the facts of an input as it is read."""

    @property
    def details(self) -> bool:
        """Whether spans are of use that only tell where others lie."""
        ...

    @property
    def exceptions(self) -> bool:
        """Whether exceptions are of use that were recorded as log records."""
        ...

    def add(self, fact: Fact) -> None:
        """Enter a fact."""
        ...

    def replace(self, ledger: Ledger) -> None:
        """Enter a run that is known as a whole."""
        ...


class Collector:
    """Takes facts and keeps the ledgers of their runs.

    At most `held` of them are in memory, with a bounded number of visits; the rest is on the shelf. What it remembers
    of ends, to see that a batch came twice or an end came before its start, is bounded too.
    """

    def __init__(
        self, shelf: Shelf, *, visits: int = 0, wanted: Callable[[str], bool] | None = None, held: int = _HELD
    ) -> None:
        self._shelf = shelf
        self._visits = visits
        self._wanted = wanted
        self._held = held
        self._kept = 0
        self._ledgers: OrderedDict[str, Ledger] = OrderedDict()
        self._ended: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    exceptions = False
    """Whether exceptions are of use that were recorded as log records."""

    @property
    def details(self) -> bool:
        """Whether spans are of use that only tell where others lie."""
        return self._visits > 0

    def add(self, fact: Fact) -> None:
        """Enter a fact."""
        if self._wanted is not None and not self._wanted(fact.run):
            return
        ledger = self._ledger(fact.run)
        ledger.service = ledger.service or fact.service
        ledger.workflow = ledger.workflow or text(fact.attributes.get(names.WORKFLOW_NAME)) or ""
        if isinstance(fact, SpanFact):
            self._add_span(ledger, fact)
        else:
            ledger.seen_in(fact.process)
            self._add_event(ledger, fact)

    def put_away(self) -> None:
        """Put every ledger on the shelf."""
        while self._ledgers:
            self._shelf.put(self._ledgers.popitem()[1])

    def replace(self, ledger: Ledger) -> None:
        """Enter a run that is known as a whole."""
        if self._wanted is None or self._wanted(ledger.id):
            self._shelf.put(ledger)

    def _ledger(self, run: str) -> Ledger:
        ledger = self._ledgers.get(run)
        if ledger is None:
            ledger = self._ledgers[run] = self._shelf.get(run) or Ledger(run)
            self._kept += len(ledger.kept) + len(ledger.parents)
            if len(self._ledgers) > self._held:
                _, oldest = self._ledgers.popitem(last=False)
                self._kept -= len(oldest.kept) + len(oldest.parents)
                self._shelf.put(oldest)
        else:
            self._ledgers.move_to_end(run)
        return ledger

    def _keeps_one_more(self) -> None:
        """Put aside what is known of visits that have ended, where there is much of it."""
        self._kept += 1
        if self._kept > _MOST_KEPT and len(self._ledgers) > 1:
            self._kept = 0
            for ledger in self._ledgers.values():
                if ledger.kept or ledger.parents:
                    self._shelf.put_aside(ledger.put_aside())

    def _is_new(self, witness: str, ledger: Ledger, what: str) -> bool:
        """Whether this end is told for the first time, as far as can be remembered."""
        key = (witness, ledger.id, what)
        if key in self._ended:
            return False
        self._remember(key)
        return True

    def _remember(self, key: tuple[str, str, str]) -> None:
        """Remember an end: by whom it is told, of which run, and of what in it."""
        self._ended[key] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    # --- spans --------------------------------------------------------------------------------------------------------

    def _add_span(self, ledger: Ledger, span: SpanFact) -> None:
        if span.dead_ends and self._is_new("dead end", ledger, span.span_id):
            for stage, action in span.dead_ends:
                ledger.dead_end(stage, action, 1)
        if span.kind == "run":
            ledger.trace_id = span.trace_id or ledger.trace_id
            ledger.began(span.started)
            self._remember(("run", ledger.id, span.span_id))
            result = text(span.attributes.get(names.RESULT))
            error = text(span.attributes.get(names.ERROR_TYPE))
            ledger.part_ended(span.span_id, span.ended, result, error, joined=False)
        elif span.kind == "stage":
            if self._is_new("span", ledger, span.span_id):
                self._add_visit(ledger, span)
        elif ledger.inside < self._visits * _INSIDE and span.span_id not in ledger.parents:  # Else it came twice.
            ledger.inside += 1
            ledger.parents[span.span_id] = span.parent_id
            self._add_inside(ledger, span)
            self._keeps_one_more()

    def _add_visit(self, ledger: Ledger, span: SpanFact) -> None:
        fields = fields_of(span.attributes, ended=True)
        fields["started"], fields["ended"] = span.started, span.ended
        fields["span_id"], fields["parent_span"] = span.span_id, span.parent_id
        if span.versions:
            fields["versions"] = [
                (str(version.get(names.VERSION_ID, "")), text(version.get(names.VERSION_ACTION)))
                for version in span.versions
            ]
        if span.links:
            fields["links"] = [
                (_once(text(found.get(names.LINK))), _once(trace), linked) for trace, linked, found in span.links
            ]
        ledger.trace_id = ledger.trace_id or span.trace_id
        ledger.began(span.started)
        ledger.of_spans(fields["stage"]).end(fields)
        visit = ledger.open_spans.get(span.span_id)
        if visit is not None:  # Its end was told by the span alone.
            self._remember(("event", ledger.id, visit))
            known = ledger.close_visit(visit)
            _wait(known, None, span.ended)
            fields = known | fields
            ledger.of_events(fields["stage"]).end(fields)
        self._keep(ledger, ledger.spans.get(span.span_id) or visit or span.span_id, fields)

    def _add_inside(self, ledger: Ledger, span: SpanFact) -> None:
        fields: Fields = {
            "started": span.started,
            "ended": span.ended,
            "error": text(span.attributes.get(names.ERROR_TYPE)),
        }
        if span.kind == "attempt":
            number = count(span.attributes, names.STAGE_ATTEMPTS) or 1
            ledger.attempts.append(
                (span.parent_id, fields | {"number": number, "message": _message(span, fields["error"])})
            )
        elif span.kind == "wait":
            reason = text(span.attributes.get(names.WAIT_REASON)) or ""
            ledger.waits.append((span.parent_id, {"reason": reason, "started": span.started, "ended": span.ended}))
        elif span.kind == "item":
            platform = text(span.attributes.get(names.ITEM_PLATFORM))
            ledger.items.append((span.parent_id, fields | {"platform": platform}))

    def _keep(self, ledger: Ledger, visit: str, fields: Fields) -> None:
        if visit in ledger.kept:
            ledger.kept[visit].update(fields)
        elif ledger.aside + len(ledger.kept) < self._visits * (2 if ledger.aside else 1):  # Once by each witness.
            ledger.kept[visit] = fields
            if span := fields.get("span_id"):
                ledger.spans[span] = visit
            self._keeps_one_more()

    # --- events -------------------------------------------------------------------------------------------------------

    def _add_event(self, ledger: Ledger, event: EventFact) -> None:
        enter = self._ENTER.get(event.name)
        if enter is not None:  # Else one of a later version.
            enter(self, ledger, event)

    def _run_started(self, ledger: Ledger, event: EventFact) -> None:
        joined = event.attributes.get(names.RUN_JOINED) is True
        key = part_of(event, joined)
        ledger.trace_id = ledger.trace_id or event.trace_id or None
        ledger.began(event.at)
        ledger.owned = ledger.owned or not joined
        if ("run", ledger.id, key) not in self._ended:
            ledger.open_parts[key] = Part(event.at, event.process, joined)

    def _run_ended(self, ledger: Ledger, event: EventFact) -> None:
        joined = event.attributes.get(names.RUN_JOINED) is True
        result, error = text(event.attributes.get(names.RESULT)), text(event.attributes.get(names.ERROR_TYPE))
        key = part_of(event, joined)
        if not joined:  # One that is joined may be joined once more, by the same process.
            self._remember(("run", ledger.id, key))
        ledger.began(event.at - _lasted(event))
        ledger.part_ended(key, event.at, result, error, joined=joined)

    def _stage_started(self, ledger: Ledger, event: EventFact) -> None:
        visit = visit_id(event)
        if visit in ledger.open:
            return
        fields: Fields = self._of_event(event) | {"started": event.at}
        ends = ("event", ledger.id, visit), ("span", ledger.id, event.span_id)
        if not self._ended.keys().isdisjoint(ends):
            self._named_by_event(ledger, visit, event.span_id)
            if (known := ledger.kept.get(visit)) is not None:  # Some of it only a start tells.
                known.update((name, value) for name, value in fields.items() if name not in known)
            return
        ledger.began(event.at)
        ledger.of_events(fields["stage"]).begin(event.at)
        ledger.open_visit(visit, fields)

    def _stage_progress(self, ledger: Ledger, event: EventFact) -> None:
        known = ledger.open.get(visit_id(event))
        if known is not None:
            known.update(fields_of(event.attributes, ended=False))
            _wait(known, text(event.attributes.get(names.WAIT_REASON)), event.at)

    def _stage_ended(self, ledger: Ledger, event: EventFact) -> None:
        visit = visit_id(event)
        if not self._is_new("event", ledger, visit):
            return
        told = self._of_event(event, ended=True)
        known = ledger.close_visit(visit)
        _wait(known, None, event.at)
        fields: Fields = {"started": event.at - _lasted(event), **known, **told}
        fields["ended"] = max(event.at, fields["started"])  # A clock may have been set back.
        ledger.began(fields["started"])
        ledger.of_events(fields["stage"]).end(fields)
        self._named_by_event(ledger, visit, fields.get("span_id"))
        self._keep(ledger, visit, fields)

    @staticmethod
    def _named_by_event(ledger: Ledger, visit: str, span: str | None) -> None:
        """If its span came first, a visit has the event's name from now on."""
        if span and ledger.spans.get(span) == span != visit:
            ledger.kept[visit] = ledger.kept.pop(span)
            ledger.spans[span] = visit

    @staticmethod
    def _of_event(event: EventFact, *, ended: bool = False) -> Fields:
        fields, found = fields_of(event.attributes, ended=ended), event.attributes
        more: Fields = {
            "process": event.process,
            "span_id": event.span_id or None,
            "parent": text(found.get(names.PARENT_VISIT_ID)),
            "parent_span": text(found.get(names.PARENT_SPAN_ID)),
            "follows": list(texts(found.get(names.STAGE_FOLLOWS))) or None,
        }
        fields.update((name, value) for name, value in more.items() if value is not None)
        return fields

    _ENTER: ClassVar[dict[str, Callable[[Collector, Ledger, EventFact], None]]] = {
        names.EVENT_RUN_STARTED: _run_started,
        names.EVENT_RUN_ENDED: _run_ended,
        names.EVENT_STAGE_STARTED: _stage_started,
        names.EVENT_STAGE_PROGRESS: _stage_progress,
        names.EVENT_STAGE_ENDED: _stage_ended,
    }


def part_of(event: EventFact, joined: bool) -> str:
    """Which part of a run it is: by its span, or by its process, as one that joins a run has the span of that run."""
    return f"joined {event.process}" if joined else event.span_id or event.process or ""


def _wait(visit: Fields, reason: str | None, at: int) -> None:
    """A visit waits for something from now on, or, with None, for nothing any more."""
    waits: list[list[Any]] = visit.setdefault("waits", []) if reason is not None else visit.get("waits") or []
    before = waits[-1] if waits and waits[-1][2] is None else None
    if before is not None and before[0] != reason:
        before[2] = max(at, before[1])
    if reason is not None and (before is None or before[0] != reason):
        del waits[_MOST_WAITS - 1 :]  # The last is always kept: it says what it waits for now.
        waits.append([reason, at, None])


def _lasted(event: EventFact) -> int:
    return round(seconds(event.attributes, names.DURATION) * NANO)


def visit_id(event: EventFact) -> str:
    """What tells a visit from every other of its record."""
    found = event.attributes
    named = text(found.get(names.STAGE_VISIT_ID)) or event.span_id
    return named or f"{found.get(names.STAGE_NAME)}/{found.get(names.STAGE_VISIT)}/{found.get(names.ITEM_PLATFORM)}"


def fields_of(found: Attributes, *, ended: bool) -> Fields:
    """The fields of a visit that its span or an event tells."""
    fields: Fields = {"stage": ""}
    for name, value in found.items():  # There are fewer of them than there may be, and this is done for every visit.
        if (known := _FIELDS.get(name)) is not None:
            field, read = known
            if (told := read(value)) is not None:
                fields[field] = told
    if "platforms" in fields:
        fields.setdefault("platform_count", len(fields["platforms"]))
    if ended:
        if result := text(found.get(names.STAGE_RESULT)) or text(found.get(names.RESULT)):
            fields["result"] = sys.intern(result)
        if error := text(found.get(names.ERROR_TYPE)):
            fields["error"] = error
        waited = names.STAGE_WAIT in found
        fields["wait"] = seconds(found, names.STAGE_WAIT) if waited else 0.0
        fields["retries"] = _retries(found) if waited or names.STAGE_RETRY_COUNT in found else 0
    return fields


def _often(value: object) -> str | None:
    return _once(text(value))


def _number(value: object) -> int | None:
    """A number; 0 where it is none that anything can have, None where it is none at all."""
    return number(value) if type(value) is int else None


_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    names.STAGE_NAME: ("stage", _often),
    names.STAGE_VISIT: ("number", _number),
    names.STAGE_ACTION: ("action", text),
    names.STAGE_REVISION: ("revision", _number),
    names.STAGE_PLATFORMS: ("platforms", lambda value: list(texts(value)) or None),
    names.STAGE_PLATFORM_COUNT: ("platform_count", lambda value: number(value) or None),
    names.ITEM_PLATFORM: ("item_platform", text),
    names.STAGE_ATTEMPTS: ("attempts", lambda value: number(value) or None),
    names.STAGE_BUDGET: ("budget", lambda value: time(value) or None),
    names.CODE_FUNCTION_NAME: ("function", _often),
    names.STAGE_ITEMS_DONE: ("items_done", _number),
    names.STAGE_ITEMS_FAILED: ("items_failed", _number),
    names.STAGE_ITEMS_TOTAL: ("items_total", _number),
}


def _once(name: str | None) -> str | None:
    """The same text, kept once, however many visits have it."""
    return None if name is None else sys.intern(name)


def _retries(found: Attributes) -> int:
    """Attempts after the first. Before they were told, only the wait between two says that there was one."""
    told = optional_count(found, names.STAGE_RETRY_COUNT)
    if told is not None or not seconds(found, names.STAGE_WAIT):
        return told or 0
    items = count(found, names.STAGE_ITEMS_DONE) + count(found, names.STAGE_ITEMS_FAILED)
    return max(1, count(found, names.STAGE_ATTEMPTS) - max(1, items))


def _message(span: SpanFact, error: str | None) -> str | None:
    """The message of an attempt's exception. Records of earlier versions have the type before it, or alone."""
    message = span.message
    if message is None or error is None or message == error:
        return None if message == error else message
    return message.removeprefix(f"{error}: ")
