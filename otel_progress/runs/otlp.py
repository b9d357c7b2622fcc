"""OTLP as JSON, taken apart: the spans and events of otel_progress that one document holds, as plain facts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from .. import names
from ..recording.times import NANO
from ..recording.visible import printable

Attributes = dict[str, Any]
SpanKind = Literal["run", "stage", "attempt", "wait", "item", "other"]
_KINDS: dict[str, SpanKind] = {
    names.SPAN_RUN: "run",
    names.SPAN_STAGE: "stage",
    names.SPAN_ATTEMPT: "attempt",
    names.SPAN_WAIT: "wait",
    names.SPAN_ITEM: "item",
}
_LATEST = 2**63
_EVENT_NAME = "event.name"
"""Where collectors from before the field have it."""


class MalformedError(ValueError):
    """A span or an event that lacks what it must have."""


@dataclass(frozen=True)
class SpanFact:
    """A span that has ended."""

    kind: SpanKind
    """`other`: a phase, or a span of other instrumentation inside a run; only its place is of interest."""
    run: str
    trace_id: str
    span_id: str
    parent_id: str
    started: int
    ended: int
    attributes: Attributes
    service: str | None = None
    message: str | None = None
    versions: tuple[Attributes, ...] = ()
    dead_ends: tuple[tuple[str, str], ...] = ()
    """Stages with their actions that no edge took; an action without a text was not told."""
    links: tuple[tuple[str, str, Attributes], ...] = ()
    resource: Attributes = field(default_factory=dict[str, Any])
    """What is said of whatever made it, such as `service.version`."""
    exceptions: tuple[Attributes, ...] = ()
    """What its exceptions say of themselves."""


@dataclass(frozen=True)
class EventFact:
    """Something that happened to a run or a visit, told at once."""

    name: str
    run: str
    at: int
    attributes: Attributes
    trace_id: str = ""
    span_id: str = ""
    service: str | None = None
    process: str | None = None
    """What tells its process from every other of the record; at least its id."""


Fact = SpanFact | EventFact


@dataclass
class Taken:
    """What one document holds, and what is wrong in it."""

    facts: list[Fact] = field(default_factory=list["Fact"])
    wrong: list[str] = field(default_factory=list[str])


def take(document: dict[str, Any], *, details: bool, exceptions: bool = False) -> Taken:
    """The facts of a document; with `details` also spans that only tell where others lie.

    With `exceptions` also the log records of exceptions, which are no events of a run.
    """
    taken = Taken()
    for resource in _objects(document.get("resourceSpans")):
        of = _of_resource(resource)
        for scope in _objects(resource.get("scopeSpans")):
            ours = _is_ours(scope)
            if ours or details:
                for number, span in enumerate(_objects(scope.get("spans")), 1):
                    _add(taken, f"span {number}", lambda span=span, ours=ours, of=of: _span(span, of, ours=ours))
    for resource in _objects(document.get("resourceLogs")):
        of = _of_resource(resource)
        for scope in _objects(resource.get("scopeLogs")):
            if _is_ours(scope):
                for number, event in enumerate(_objects(scope.get("logRecords")), 1):
                    make = _exception if exceptions and event.get("eventName") == names.EVENT_EXCEPTION else _event
                    _add(taken, f"log record {number}", lambda event=event, of=of, make=make: make(event, of))
    return taken


def _add(taken: Taken, what: str, make: Callable[[], Fact | None]) -> None:
    try:
        fact = make()
    except (
        MalformedError,
        TypeError,
        AttributeError,
        KeyError,
    ) as error:  # A value of another kind than OTLP has there.
        taken.wrong.append(f"{what}: {error if isinstance(error, MalformedError) else 'it is not as OTLP has it'}")
    else:
        if fact is not None:
            taken.facts.append(fact)


def _objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for each in cast("list[object]", value):
            if isinstance(each, dict):
                yield cast("dict[str, Any]", each)


def _is_ours(scope: dict[str, Any]) -> bool:
    named: object = scope.get("scope")
    return isinstance(named, dict) and cast("dict[str, Any]", named).get("name") == names.SCOPE


@dataclass(frozen=True)
class _Resource:
    service: str | None
    process: str | None
    attributes: Attributes


_last_resource: tuple[object, _Resource] = (None, _Resource(None, None, {}))
"""What was described last, and what it is: mostly every line of a file has the same."""


def _of_resource(resource: dict[str, Any]) -> _Resource:
    global _last_resource
    described = cast("object", resource.get("resource"))
    if described is not None and described == _last_resource[0]:
        return _last_resource[1]
    found = attributes(cast("dict[str, Any]", described).get("attributes")) if isinstance(described, dict) else {}
    pid = found.get("process.pid")
    process = text(found.get(names.PROCESS)) or (str(pid) if type(pid) is int else None)
    made = _Resource(text(found.get("service.name")), process, found)
    _last_resource = cast("object", described), made
    return made


def _span(span: dict[str, Any], resource: _Resource, *, ours: bool) -> SpanFact | None:
    found = attributes(span.get("attributes"))
    run = text(found.get(names.RUN_ID))
    if found.get(names.PENDING) or (run is None and not ours):
        return None
    if run is None:
        raise MalformedError(f"it has no {names.RUN_ID}")
    kind = _KINDS.get(str(span.get("name")).partition(" ")[0], "other") if ours else "other"
    if kind == "stage" and text(found.get(names.STAGE_NAME)) is None:
        raise MalformedError(f"it has no {names.STAGE_NAME}")
    status: object = span.get("status")
    return SpanFact(
        kind,
        run,
        text(span.get("traceId")) or "",
        _id(span.get("spanId")),
        text(span.get("parentSpanId")) or "",
        started := _time(span, "startTimeUnixNano"),
        max(started, _time(span, "endTimeUnixNano")),
        found,
        resource.service,
        text(cast("dict[str, Any]", status).get("message")) if isinstance(status, dict) else None,
        tuple(
            attributes(event.get("attributes"))
            for event in _objects(span.get("events"))
            if event.get("name") == names.EVENT_VERSION
        ),
        tuple(
            map(_dead_end, (each for each in _objects(span.get("events")) if each.get("name") == names.EVENT_DEAD_END))
        ),
        tuple(
            (text(link.get("traceId")) or "", text(link.get("spanId")) or "", attributes(link.get("attributes")))
            for link in _objects(span.get("links"))
        ),
        resource.attributes,
        tuple(
            attributes(event.get("attributes"))
            for event in _objects(span.get("events"))
            if event.get("name") == names.EVENT_EXCEPTION
        ),
    )


def _dead_end(event: dict[str, Any]) -> tuple[str, str]:
    found = attributes(event.get("attributes"))
    return text(found.get(names.STAGE_NAME)) or "", text(found.get(names.STAGE_ACTION)) or ""


def _event(event: dict[str, Any], resource: _Resource) -> EventFact | None:
    found = attributes(event.get("attributes"))
    name = text(event.get("eventName")) or text(found.get(_EVENT_NAME))
    if name is None or not name.startswith(f"{names.SCOPE}."):
        return None  # Another log record of ours; no event of a run.
    run = text(found.get(names.RUN_ID))
    if run is None:
        raise MalformedError(f"it has no {names.RUN_ID}")
    if ".stage." in name and text(found.get(names.STAGE_NAME)) is None:
        raise MalformedError(f"it has no {names.STAGE_NAME}")
    return EventFact(
        name,
        run,
        _time(event, "timeUnixNano"),
        found,
        text(event.get("traceId")) or "",
        text(event.get("spanId")) or "",
        resource.service,
        resource.process,
    )


def _exception(record: dict[str, Any], resource: _Resource) -> EventFact | None:
    found = attributes(record.get("attributes"))
    run, span = text(found.get(names.RUN_ID)), text(record.get("spanId"))
    if run is None or span is None:
        return None
    at, trace = _time(record, "timeUnixNano"), text(record.get("traceId")) or ""
    return EventFact(names.EVENT_EXCEPTION, run, at, found, trace, span, resource.service, resource.process)


def attributes(pairs: object) -> Attributes:
    """The attributes of a span, an event or a resource; what has no value that can be read is left out."""
    found: Attributes = {}
    # This is what reading a record takes its time for: so it is one loop, with what most are, texts, in it.
    for pair in cast("list[object]", pairs) if isinstance(pairs, list) else ():
        if isinstance(pair, dict):
            known = cast("dict[str, Any]", pair)
            key, value = known.get("key"), known.get("value")
            if isinstance(key, str) and isinstance(value, dict):
                text = value.get("stringValue")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
                if type(text) is str and len(value) == 1:  # pyright: ignore[reportUnknownArgumentType]
                    found[key] = text
                elif (read := _value(cast("dict[str, Any]", value))) is not None:
                    found[key] = read
    return found


def _value(value: dict[str, Any]) -> Any:
    for kind, inner in value.items():
        if kind in {"stringValue", "boolValue"}:
            return inner if isinstance(inner, (str, bool)) else None
        try:
            if kind == "intValue":
                return int(inner)
            if kind == "doubleValue":
                return float(inner)
        except (TypeError, ValueError, OverflowError):
            return None
        if kind == "arrayValue" and isinstance(inner, dict):
            return tuple(map(_value, _objects(cast("dict[str, Any]", inner).get("values"))))
    return None


def _time(holder: dict[str, Any], key: str) -> int:
    value: object = holder.get(key)
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        try:
            time = int(value)
        except ValueError:
            time = -1
        if 0 < time < _LATEST:
            return time
    raise MalformedError(f"its {key} is no time")


def _id(value: object) -> str:
    found = text(value)
    if found is None:
        raise MalformedError("it has no spanId")
    return found


def text(value: object) -> str | None:
    """`value`, if it is a text that says something; without halves of characters, which no database takes."""
    if not isinstance(value, str) or not value:
        return None
    return printable(value)


def count(found: Attributes, name: str) -> int:
    """A number of something; 0 where it is none."""
    value = found.get(name)
    return value if type(value) is int and 0 < value < _LATEST else 0


def optional_count(found: Attributes, name: str) -> int | None:
    """The same; None where nothing is told."""
    return count(found, name) if type(found.get(name)) is int else None


def seconds(found: Attributes, name: str) -> float:
    """A duration; 0.0 where it is none."""
    value = found.get(name)
    return float(value) if isinstance(value, (int, float)) and 0 < value < _LATEST / NANO else 0.0


def texts(value: object) -> tuple[str, ...]:
    """A list of names. Jaeger gives one back as the text of a JSON array."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ()
    if isinstance(value, (list, tuple)):
        return tuple(printable(each) for each in cast("tuple[object, ...]", value) if isinstance(each, str))
    return ()
