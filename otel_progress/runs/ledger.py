"""What is known of one run while an input is read: totals, what is open, and as many visits as were asked for.

JSON values only, so that what is not needed at the moment can be put away, and be taken up again where a file has
grown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from ..recording.times import NANO

Fields = dict[str, Any]
"""Fields of a `model.Visit`, as far as they are known."""
MOST_PROCESSES = 1000
_MOST_ACTIONS = 50


@dataclass
class Totals:
    """One stage, as one kind of witness tells it: its spans, or its events."""

    started: int | None = None
    ended: int | None = None
    visits: int = 0
    """That have ended."""
    seconds: float = 0.0
    results: dict[str, int] = field(default_factory=dict[str, int])
    result: str | None = None
    error: str | None = None
    retries: int = 0
    wait: float = 0.0
    items_done: int = 0
    items_failed: int = 0
    items_total: int | None = None
    platforms: int = 0
    revision: int | None = None

    def begin(self, started: int) -> None:
        """A visit started."""
        self.started = started if self.started is None else min(self.started, started)

    def see(self, visit: Fields) -> None:
        """What an open visit says of platforms and revision."""
        if platforms := visit.get("platform_count"):
            self.platforms = max(self.platforms, platforms)
        if (revision := visit.get("revision")) is not None:
            self.revision = max(self.revision or 0, revision)

    def end(self, visit: Fields) -> None:
        """A visit ended."""
        started, ended, result = visit["started"], visit["ended"], visit.get("result")
        if self.started is None or started < self.started:
            self.started = started
        if self.ended is None or ended >= self.ended:
            self.ended, self.result, self.error = ended, result, visit.get("error")
        self.visits += 1
        self.seconds += max(0, ended - started) / NANO
        counted = result or "unknown"
        self.results[counted] = self.results.get(counted, 0) + 1
        self.retries += visit.get("retries") or 0
        self.wait += visit.get("wait") or 0.0
        self.items_done += visit.get("items_done") or 0
        self.items_failed += visit.get("items_failed") or 0
        if (items_total := visit.get("items_total")) is not None:
            self.items_total = (self.items_total or 0) + items_total
        self.see(visit)

    def add(self, other: Totals) -> None:
        """Add what `other` has of further visits."""
        if other.started is not None:
            self.begin(other.started)
        if other.ended is not None and (self.ended is None or other.ended >= self.ended):
            self.ended, self.result, self.error = other.ended, other.result, other.error
        self.visits += other.visits
        self.seconds += other.seconds
        for result, number in other.results.items():
            self.results[result] = self.results.get(result, 0) + number
        self.retries += other.retries
        self.wait += other.wait
        self.items_done += other.items_done
        self.items_failed += other.items_failed
        if other.items_total is not None:
            self.items_total = (self.items_total or 0) + other.items_total
        self.see({"platform_count": other.platforms, "revision": other.revision})


@dataclass
class Part:
    """What one process does of a run: mostly all of it."""

    started: int
    process: str | None = None
    joined: bool = False


@dataclass
class Ledger:
    """One run."""

    id: str
    workflow: str = ""
    service: str | None = None
    trace_id: str | None = None
    started: int | None = None
    open_parts: dict[str, Part] = field(default_factory=dict[str, Part])
    """Parts whose end was not told yet, by their span or process."""
    owned: bool = False
    """Whether a part that is the run itself, and does not only join it, was told of."""
    ended: int | None = None
    """The latest end of a part that is the run itself; where all only join it, of these."""
    result: str | None = None
    error: str | None = None
    note: str = ""
    """What is known of its state where nothing tells it."""
    processes: list[str] = field(default_factory=list[str])
    by_events: dict[str, Totals] = field(default_factory=dict[str, Totals])
    by_spans: dict[str, Totals] = field(default_factory=dict[str, Totals])
    """The same visits, told twice: the fuller of the two is believed, so none is counted twice."""
    open: dict[str, Fields] = field(default_factory=dict[str, Fields])
    open_spans: dict[str, str] = field(default_factory=dict[str, str])
    """Which open visit a span belongs to."""
    kept: dict[str, Fields] = field(default_factory=dict[str, Fields])
    """Visits that have ended, as many as were asked for."""
    spans: dict[str, str] = field(default_factory=dict[str, str])
    """Which kept or open visit a span belongs to."""
    parents: dict[str, str] = field(default_factory=dict[str, str])
    """Of spans between visits, so that a visit finds the one around it."""
    attempts: list[tuple[str, Fields]] = field(default_factory=list[tuple[str, Fields]])
    items: list[tuple[str, Fields]] = field(default_factory=list[tuple[str, Fields]])
    waits: list[tuple[str, Fields]] = field(default_factory=list[tuple[str, Fields]])
    """Each with the span that it lies in."""
    dead_ends: dict[str, dict[str, int]] = field(default_factory=dict[str, "dict[str, int]"])
    """How often each stage gave which action that no edge took."""
    aside: int = 0
    """Of how many visits what was known is in other ledgers, so that it is not in memory."""
    inside: int = 0
    """Spans that were entered in `parents`."""

    def began(self, started: int) -> None:
        """Something of the run started."""
        if self.started is None or started < self.started:
            self.started = started

    def of_spans(self, stage: str) -> Totals:
        """What spans tell of a stage."""
        return self.by_spans.get(stage) or self.by_spans.setdefault(stage, Totals())

    def of_events(self, stage: str) -> Totals:
        """What events tell of it."""
        return self.by_events.get(stage) or self.by_events.setdefault(stage, Totals())

    def seen_in(self, process: str | None) -> None:
        """A process has told of it."""
        if process is not None and process not in self.processes and len(self.processes) < MOST_PROCESSES:
            self.processes.append(process)

    def part_ended(self, key: str, ended: int, result: str | None, error: str | None, *, joined: bool) -> None:
        """A part of the run ended. The result of the part that ended last is the run's, but for parts that join it."""
        self.open_parts.pop(key, None)
        if joined and self.owned:
            return
        if self.ended is None or ended >= self.ended or not (joined or self.owned):
            self.ended, self.result, self.error = ended, result, error
        self.owned = self.owned or not joined

    def open_visit(self, visit: str, known: Fields) -> None:
        """A visit started."""
        self.open[visit] = known
        if span := known.get("span_id"):
            self.open_spans[span] = visit

    def dead_end(self, stage: str, action: str, times: int) -> None:
        """A stage gave an action that no edge took; of very many actions the others are not told apart."""
        actions = self.dead_ends.setdefault(stage, {})
        known = action if action in actions or len(actions) < _MOST_ACTIONS else ""
        actions[known] = actions.get(known, 0) + times

    def close_visit(self, visit: str) -> Fields:
        """A visit ended; what was known of it while it was open."""
        known = self.open.pop(visit, {})
        self.open_spans.pop(known.get("span_id") or "", None)
        return known

    def add(self, other: Ledger) -> None:
        """Take in what another input tells of the same run: a run may go on in another program, with its own record."""
        self.workflow, self.service = self.workflow or other.workflow, self.service or other.service
        self.trace_id, self.note = self.trace_id or other.trace_id, self.note or other.note
        if other.started is not None:
            self.began(other.started)
        if other.ended is not None and (self.ended is None or (other.owned, other.ended) >= (self.owned, self.ended)):
            self.ended, self.result, self.error = other.ended, other.result, other.error
        self.owned = self.owned or other.owned
        for process in other.processes:
            self.seen_in(process)
        for mine, theirs in ((self.by_events, other.by_events), (self.by_spans, other.by_spans)):
            for stage, totals in theirs.items():
                mine.setdefault(stage, Totals()).add(totals)
        for name in ("open_parts", "open", "open_spans", "kept", "spans", "parents"):
            getattr(self, name).update(getattr(other, name))
        self.attempts += other.attempts
        self.items += other.items
        self.waits += other.waits
        for stage, actions in other.dead_ends.items():
            for action, number in actions.items():
                self.dead_end(stage, action, number)

    def put_aside(self) -> Ledger:
        """Another ledger, with all that is known of visits that have ended: to go on here needs nothing of it."""
        bulk = Ledger(self.id, kept=self.kept, parents=self.parents, attempts=self.attempts, items=self.items)
        self.aside += len(self.kept)
        self.kept, self.spans, self.parents, self.attempts, self.items = {}, {}, {}, [], []
        return bulk

    def take_back(self, aside: Iterable[Ledger], most: int) -> None:
        """Take up again what was put aside, in its order, with at most so many visits."""
        for each in (*aside, self.put_aside()):
            for key, told in each.kept.items():
                span = told.get("span_id") or ""
                before = self.spans.get(span)
                # The span of a visit has its own id for a name, until an event gives it one.
                visit = before if before is not None and key == span else key
                known = self.kept.get(visit, {})
                if before is not None and before != visit:
                    known = self.kept.pop(before) | known
                self.kept[visit] = known | {name: value for name, value in told.items() if value is not None}
                if span:
                    self.spans[span] = visit
            self.parents.update(each.parents)
            self.attempts += each.attempts
            self.items += each.items
        for visit in list(self.kept)[most:]:
            self.spans.pop(self.kept.pop(visit).get("span_id") or "", None)

    def dump(self) -> str:
        """All of it as a text."""
        told = _beyond(self, _NOTHING)
        for name, nothing in _INSIDE.items():
            if name in told:
                told[name] = {key: _beyond(each, nothing) for key, each in told[name].items()}
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Ledger:
        """What `dump` has written."""
        values: Any = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("a ledger is an object")
        values = cast("dict[str, Any]", values)
        for name, nothing in _INSIDE.items():
            values[name] = {key: type(nothing)(**each) for key, each in values.get(name, {}).items()}
        return cls(**values)


_NOTHING = Ledger("")
_INSIDE: dict[str, Totals | Part] = {"by_events": Totals(), "by_spans": Totals(), "open_parts": Part(0)}
"""The tables in a ledger, with a record as it is from the start."""


def _beyond(record: Ledger | Totals | Part, nothing: Ledger | Totals | Part) -> Fields:
    """What a record has beyond what it has from the start."""
    known = vars(nothing)
    return {name: value for name, value in vars(record).items() if value != known[name]}
