"""OTLP as JSON, taken apart: the spans and events of otel_progress that one document holds, as plain facts."""

from __future__ import annotations

import json
from collections.abc import Callable
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
_DEEPEST = 8
"""Arrays in arrays: attributes have none. What a file nests deeper nobody reads."""
_EVENT_NAME = "event.name"
"""Where collectors from before the field have it."""


class MalformedError(ValueError):
    """A span or an event that lacks what it must have."""


@dataclass(slots=True, eq=False)  # Not frozen: to make so many would take a tenth of the time of reading.
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


@dataclass(slots=True, eq=False)
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
                _add(taken, "span", scope.get("spans"), _our_span if ours else _other_span, of)
    for resource in _objects(document.get("resourceLogs")):
        of = _of_resource(resource)
        for scope in _objects(resource.get("scopeLogs")):
            if _is_ours(scope):
                _add(taken, "log record", scope.get("logRecords"), _event_or_exception if exceptions else _event, of)
    return taken


def _add(
    taken: Taken, what: str, found: object, fact_of: Callable[[dict[str, Any], _Resource], Fact | None], of: _Resource
) -> None:
    """Take the facts of a list of spans or log records, and say which of them are none."""
    for number, each in enumerate(_objects(found), 1):
        try:
            fact = fact_of(each, of)
        except MalformedError as error:
            taken.wrong.append(f"{what} {number}: {error}")
        except (TypeError, AttributeError, KeyError):  # A value of another kind than OTLP has there.
            taken.wrong.append(f"{what} {number}: it is not as OTLP has it")
        else:
            if fact is not None:
                taken.facts.append(fact)


def _objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        return []
    found: list[Any] = value  # pyright: ignore[reportUnknownVariableType] - a cast would be a call, a million times
    if len(found) == 1 and type(found[0]) is dict:  # Nearly always.
        return found
    return [each for each in found if isinstance(each, dict)]


def _is_ours(scope: dict[str, Any]) -> bool:
    try:
        return scope["scope"]["name"] == names.SCOPE
    except (TypeError, KeyError):
        return False


@dataclass(frozen=True)
class _Resource:
    service: str | None
    process: str | None
    attributes: Attributes


_last_resource: tuple[object, _Resource] = (None, _Resource(None, None, {}))
"""What was described last, and what it is: mostly every line of a file has the same."""


def _of_resource(resource: dict[str, Any]) -> _Resource:
    global _last_resource
    described: Any = resource.get("resource")
    if described is not None and described == _last_resource[0]:
        return _last_resource[1]
    found = attributes(cast("dict[str, Any]", described).get("attributes")) if isinstance(described, dict) else {}
    pid = found.get("process.pid")
    process = text(found.get(names.PROCESS)) or (str(pid) if type(pid) is int else None)
    made = _Resource(text(found.get("service.name")), process, found)
    _last_resource = cast("object", described), made
    return made


def _our_span(span: dict[str, Any], resource: _Resource) -> SpanFact | None:
    found = attributes(span.get("attributes"))
    if found.get(names.PENDING):
        return None
    run = text(found.get(names.RUN_ID))
    if run is None:
        raise MalformedError(f"it has no {names.RUN_ID}")
    kind = _KINDS.get(str(span.get("name")).partition(" ")[0], "other")
    if kind == "stage" and text(found.get(names.STAGE_NAME)) is None:
        raise MalformedError(f"it has no {names.STAGE_NAME}")
    return _span_fact(kind, run, span, found, resource)


def _other_span(span: dict[str, Any], resource: _Resource) -> SpanFact | None:
    """A span of other instrumentation, if it is inside a run."""
    found = attributes(span.get("attributes"))
    run = text(found.get(names.RUN_ID))
    return None if run is None or found.get(names.PENDING) else _span_fact("other", run, span, found, resource)


def _span_fact(kind: SpanKind, run: str, span: dict[str, Any], found: Attributes, resource: _Resource) -> SpanFact:
    status: object = span.get("status")
    started = _time(span, "startTimeUnixNano")
    fact = SpanFact(
        kind,
        run,
        text(span.get("traceId")) or "",
        _id(span.get("spanId")),
        text(span.get("parentSpanId")) or "",
        started,
        max(started, _time(span, "endTimeUnixNano")),
        found,
        resource.service,
        text(cast("dict[str, Any]", status).get("message")) if status and isinstance(status, dict) else None,
        resource=resource.attributes,
    )
    if events := _objects(span.get("events")):
        told = [(event.get("name"), attributes(event.get("attributes"))) for event in events]
        fact.versions = tuple(each for name, each in told if name == names.EVENT_VERSION)
        fact.dead_ends = tuple(_dead_end(each) for name, each in told if name == names.EVENT_DEAD_END)
        fact.exceptions = tuple(each for name, each in told if name == names.EVENT_EXCEPTION)
    if links := _objects(span.get("links")):
        fact.links = tuple(
            (text(link.get("traceId")) or "", text(link.get("spanId")) or "", attributes(link.get("attributes")))
            for link in links
        )
    return fact


def _dead_end(found: Attributes) -> tuple[str, str]:
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


def _event_or_exception(record: dict[str, Any], resource: _Resource) -> EventFact | None:
    return (_exception if record.get("eventName") == names.EVENT_EXCEPTION else _event)(record, resource)


def _exception(record: dict[str, Any], resource: _Resource) -> EventFact | None:
    found = attributes(record.get("attributes"))
    run, span = text(found.get(names.RUN_ID)), text(record.get("spanId"))
    if run is None or span is None:
        return None
    at, trace = _time(record, "timeUnixNano"), text(record.get("traceId")) or ""
    return EventFact(names.EVENT_EXCEPTION, run, at, found, trace, span, resource.service, resource.process)


def attributes(pairs: Any) -> Attributes:
    """The attributes of a span, an event or a resource; what has no value that can be read is left out."""
    # This is what reading takes its time for: so what nearly all are, texts and numbers as OTLP has them, is read in
    # one loop that looks at nothing twice. With the first that is otherwise it begins anew, and looks closely.
    found: Attributes = {}
    try:
        pair: dict[str, dict[str, Any]]
        for pair in pairs:
            value = pair["value"]
            (kind,) = value
            key = pair["key"]
            if type(key) is not str:  # pyright: ignore[reportUnnecessaryComparison] - in JSON it may be anything
                return attributes_of_any(pairs)
            inner = value[kind]
            if kind == "stringValue" and type(inner) is str:
                found[key] = inner
            elif kind == "intValue" and type(inner) is str:
                found[key] = int(inner)
            else:
                read = _value(value)
                if read is not None:
                    found[key] = read
    except (TypeError, LookupError, ValueError, AttributeError):
        return attributes_of_any(pairs)
    return found


def attributes_of_any(pairs: object) -> Attributes:
    """The same, of anything that may stand there."""
    found: Attributes = {}
    for pair in _objects(pairs):
        key, value = pair.get("key"), pair.get("value")
        if isinstance(key, str) and isinstance(value, dict):
            read = _value(cast("dict[str, Any]", value))
            if read is not None:
                found[key] = read
    return found


def _value(value: dict[str, Any], depth: int = _DEEPEST) -> Any:
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
        if kind == "arrayValue" and isinstance(inner, dict) and depth:
            values = _objects(cast("dict[str, Any]", inner).get("values"))
            return tuple([_value(each, depth - 1) for each in values])
    return None


def _time(holder: dict[str, Any], key: str) -> int:
    value: object = holder.get(key)
    if type(value) is str or type(value) is int:
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
    if type(value) is str and value.isascii():
        return value or None
    return printable(value) or None if isinstance(value, str) else None


def count(found: Attributes, name: str) -> int:
    """A number of something; 0 where it is none."""
    return number(found.get(name))


def number(value: object) -> int:
    """`value`, if it is a number of something; else 0."""
    return value if type(value) is int and 0 < value < _LATEST else 0


def optional_count(found: Attributes, name: str) -> int | None:
    """The same; None where nothing is told."""
    return count(found, name) if type(found.get(name)) is int else None


def seconds(found: Attributes, name: str) -> float:
    """A duration; 0.0 where it is none."""
    return time(found.get(name))


def time(value: object) -> float:
    """`value`, if it is a duration in seconds; else 0.0."""
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
