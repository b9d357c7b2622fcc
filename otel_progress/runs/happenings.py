"""What happens in a record, line after line: the few things that everybody asks, at once; the rest when it is asked.

A display has to keep up with thousands of lines a second, and shows a few of them. So of a line as the writer makes it
only these few are read, by one expression. All else, and every line that is written in another way, is read as the
readers of records read it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .. import names
from .collect import visit_id
from .documents import DamagedError, parse
from .otlp import Attributes, EventFact, count, take, text

_BEGINNING = b'{"resourceLogs":'
_END = b"]}]}]}"
_FINE = ("success", "fallback")
_STRING = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
_PLAIN = re.compile(
    rb'"timeUnixNano":"(\d{1,18}|[1-8]\d{18})","severityNumber":(\d+),'
    rb'"eventName":"otel_progress\.(run\.started|run\.ended|stage\.started|stage\.progress|stage\.ended)",'
    rb'"attributes":\[\{"key":"otel_progress\.run\.id","value":\{"stringValue":' + _STRING + rb"\}\},"
    rb'\{"key":"otel_progress\.workflow\.name","value":\{"stringValue":' + _STRING + rb"\}\}"
    rb'(?:,\{"key":"otel_progress\.stage\.name","value":\{"stringValue":' + _STRING + rb"\}\}"
    rb'.*?\{"key":"otel_progress\.stage\.visit_id","value":\{"stringValue":"([^"\\]+)")?'
)
_COUNTS = re.compile(
    rb'"otel_progress\.stage\.(retries|revision|platform_count|items\.done|items\.failed|items\.total)"'
    rb',"value":\{"intValue":"(\d{1,18})"'
)
_OF_PARENT = b'"otel_progress.parent.visit_id","value":{"stringValue":"'
_CANCELLED = re.compile(rb'otel_progress\.(?:stage\.)?result","value":\{"stringValue":"cancelled"')
_DURATION = names.DURATION.encode()
_NOTHING: dict[str, int] = {}
_EVENTS = {name.removeprefix(f"{names.SCOPE}.").encode(): name for name in names.EVENTS}
_FAILED = b"13"

Went = Literal["well", "failed", "cancelled"]


@dataclass(slots=True, eq=False)
class Happening:
    """A start, an end, or progress."""

    name: str
    """One of `names.EVENTS`."""
    at: int
    """Nanoseconds since the Unix epoch."""
    run: str
    workflow: str
    stage: str | None
    """None for what happens to a run."""
    visit: str
    """What tells the visit from every other of the record; empty for what happens to a run."""
    fine: bool
    """Of an end: whether it was a success, or a fallback."""
    _line: bytes
    _fact: EventFact | None

    @property
    def went(self) -> Went:
        """Of an end: how it went. What was left open, too, has failed."""
        if self.fine:
            return "well"
        if self._fact is None:
            return "cancelled" if _CANCELLED.search(self._line) else "failed"
        result = self._fact.attributes.get(names.STAGE_RESULT if self.stage is not None else names.RESULT)
        return "cancelled" if result == "cancelled" else "failed"

    @property
    def fact(self) -> EventFact:
        """All that is told of it."""
        if self._fact is None:
            self._fact = next(iter(_facts(self._line)), None) or self._of_damaged()
            self._line = b""
        return self._fact

    def _of_damaged(self) -> EventFact:
        """What is known where a line is none of JSON beyond that."""
        known = {names.WORKFLOW_NAME: self.workflow}
        if self.stage is not None:
            known |= {names.STAGE_NAME: self.stage, names.STAGE_VISIT_ID: self.visit}
        return EventFact(self.name, self.run, self.at, known)

    @property
    def attributes(self) -> Attributes:
        """The attributes of the event."""
        return self.fact.attributes

    @property
    def process(self) -> str | None:
        """What names the process that tells it."""
        return self.fact.process

    @property
    def parent(self) -> str | None:
        """Of the start of a visit: the visit around it."""
        if self._fact is None:
            _, is_told, rest = self._line.partition(_OF_PARENT)
            visit, _, _ = rest.partition(b'"')
            if b"\\" not in visit:
                return visit.decode("utf-8", "replace") if is_told else None
        return text(self.fact.attributes.get(names.PARENT_VISIT_ID))

    @property
    def counts(self) -> dict[str, int]:
        """Of a visit: retries, revision, platforms and items, by the ends of their attributes' names; what is told."""
        if self._fact is None:
            told = _COUNTS.findall(self._line, max(0, self._line.rfind(_DURATION)))  # They stand behind it.
            return {name.decode(): int(value) for name, value in told} if told else _NOTHING
        found = self._fact.attributes
        return {name: count(found, attribute) for name, attribute in _COUNTED.items() if attribute in found}


_COUNTED = {
    "retries": names.STAGE_RETRY_COUNT,
    "revision": names.STAGE_REVISION,
    "platform_count": names.STAGE_PLATFORM_COUNT,
    "items.done": names.STAGE_ITEMS_DONE,
    "items.failed": names.STAGE_ITEMS_FAILED,
    "items.total": names.STAGE_ITEMS_TOTAL,
}


def happenings(data: bytes) -> Iterator[Happening]:
    """What whole lines of events tell. What is none of an event is passed over: another reader says so."""
    match = _PLAIN.search
    lines = data.split(b"\n")
    lines.pop()  # What is behind the last end of a line.
    torn = data.count(_BEGINNING) != len(lines)  # Then a line may be one that broke off, with the next behind it.
    for line in lines:
        if torn and (start := line.rfind(_BEGINNING)) > 0:
            line = line[start:]  # noqa: PLW2901 - what is before is blank, or lost
        found = line.endswith(_END) and match(line)  # Else it broke off.
        plain = found and _plain(found, line)
        if plain:
            yield plain
        else:
            yield from map(_of_fact, _facts(line))


def _plain(found: re.Match[bytes], line: bytes) -> Happening | None:
    at, severity, name, run, workflow, stage, visit = found.groups()
    try:
        known = _names(run, workflow, stage)
    except ValueError:  # No text that JSON has.
        return None
    if (stage is None) != (visit is None):
        return None
    of = visit.decode("utf-8", "replace") if visit else ""
    return Happening(_EVENTS[name], int(at), *known, of, severity != _FAILED, line, None)


@functools.lru_cache(4096)
def _names(run: bytes, workflow: bytes, stage: bytes | None) -> tuple[str, str, str | None]:
    return _text(run), _text(workflow), None if stage is None else _text(stage)


def _text(found: bytes) -> str:
    return text(json.loads(b'"%s"' % found)) or ""


def _facts(line: bytes) -> list[EventFact]:
    try:
        facts = take(parse(line), details=False).facts
    except DamagedError:
        return []
    return [fact for fact in facts if isinstance(fact, EventFact) and fact.name in names.EVENTS]


def _of_fact(fact: EventFact) -> Happening:
    found = fact.attributes
    stage = text(found.get(names.STAGE_NAME))
    result = found.get(names.STAGE_RESULT if stage else names.RESULT, "success")
    return Happening(
        fact.name,
        fact.at,
        fact.run,
        text(found.get(names.WORKFLOW_NAME)) or "",
        stage if fact.name.startswith(f"{names.SCOPE}.stage") else None,
        visit_id(fact) if stage else "",
        not fact.name.endswith("ended") or result in _FINE,
        b"",
        fact,
    )
