"""Lines of records, written by hand: spans, events and process files as a program leaves them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from otel_progress import names
from otel_progress.runs import Problems, Run, read
from otel_progress.runs.reading import open_source

START = 1_756_377_900_000_000_000  # 2025-08-28T10:45:00Z
SECOND = 1_000_000_000
RUN = "0123456789abcdef0123456789abcdef"
TRACE = "aa" * 16
OURS = "otel_progress."


def attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attributes as OTLP has them in JSON."""
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": value}


def span(
    name: str,
    span_id: str,
    parent: str = "",
    *,
    at: float = 0.0,
    takes: float = 1.0,
    run: str = RUN,
    scope: str = names.SCOPE,
    links: Iterable[Mapping[str, Any]] = (),
    events: Iterable[Mapping[str, Any]] = (),
    message: str = "",
    **values: Any,
) -> str:
    """A line with one span; of the names of `values` `__` is a dot."""
    kind, _, rest = name.partition(" ")
    told: dict[str, Any] = {names.RUN_ID: run, names.WORKFLOW_NAME: "campaign"}
    if kind == "stage":
        told |= {names.STAGE_NAME: rest, names.STAGE_VISIT: 1, names.STAGE_RESULT: "success", names.STAGE_ATTEMPTS: 1}
    elif kind == "run":
        told[names.RESULT] = "success"
    made = {
        "traceId": TRACE,
        "spanId": span_id,
        "parentSpanId": parent,
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(START + round(at * SECOND)),
        "endTimeUnixNano": str(START + round((at + takes) * SECOND)),
        "attributes": attributes(told | _dotted(values)),
        "links": list(links),
        "events": list(events),
        "status": {"message": message, "code": 2} if message else {},
    }
    resource = {"attributes": attributes({"service.name": "studio"})}
    scoped = {"scope": {"name": scope}, "spans": [made]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scoped]}]})


def link(span_id: str, kind: str) -> dict[str, Any]:
    """A link of a span to another one."""
    return {"traceId": TRACE, "spanId": span_id, "attributes": attributes({names.LINK: kind})}


def event(
    name: str, *, at: float = 0.0, run: str = RUN, process: str = "7-abcdef", span_id: str = "", **values: Any
) -> str:
    """A line with one event, such as `stage.started`."""
    made: dict[str, Any] = {
        "timeUnixNano": str(START + round(at * SECOND)),
        "severityNumber": 9,
        "eventName": OURS + name,
        "attributes": attributes({names.RUN_ID: run, names.WORKFLOW_NAME: "campaign"} | _dotted(values)),
    }
    if span_id:
        made |= {"traceId": TRACE, "spanId": span_id}
    told = {"service.name": "studio", OURS + "process": process}
    scoped = {"scope": {"name": names.SCOPE}, "logRecords": [made]}
    return json.dumps({"resourceLogs": [{"resource": {"attributes": attributes(told)}, "scopeLogs": [scoped]}]})


def visit_event(what: str, stage: str, visit: str, **values: Any) -> str:
    """An event of a visit."""
    told: dict[str, Any] = {"stage__name": stage, "stage__visit": 1, "stage__visit_id": visit}
    if what == "ended":
        told |= {"stage__result": "success", "duration": 1.0}
    return event(f"stage.{what}", **{**told, **values})


def _dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    plain = {"error__type": names.ERROR_TYPE, "code__function__name": names.CODE_FUNCTION_NAME}
    return {plain.get(key) or OURS + key.replace("__", "."): value for key, value in values.items()}


def campaign(run: str = RUN, at: float = 0.0, result: str = "success") -> list[str]:
    """The spans of a small run, in the order in which they end."""
    mark = run[:8]
    return [
        span("stage draft", f"{mark}00000001", f"{mark}000000ff", at=at + 1, takes=2.0, run=run),
        span("stage check", f"{mark}00000002", f"{mark}000000ff", at=at + 3, takes=4.0, run=run),
        span(f"run {'campaign'}", f"{mark}000000ff", at=at, takes=8.0, run=run, result=result),
    ]


def write(path: Path, lines: Iterable[str]) -> Path:
    """A file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def record(
    folder: Path,
    name: str = "20250828T104500Z-app-0a0a0a",
    *,
    spans: Iterable[str] = (),
    events: Iterable[str] = (),
    processes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """A record in a folder of records; without a file that nothing is written to."""
    made = folder / "runs" / name
    made.mkdir(parents=True)
    for file, lines in (("spans.jsonl", list(spans)), ("events.jsonl", list(events))):
        if lines:
            write(made / file, lines)
    for process, told in (processes or {}).items():
        (made / f"process-{process}.json").write_text(json.dumps(told))
    return made


def only(source: Path | str, **how: Any) -> Run:
    """The one run of a source with which nothing is wrong."""
    reading = read(source, **how)
    (run,) = reading
    assert [str(each) for each in reading.problems.found] == []
    return run


def everything(source: Path | str, **how: Any) -> tuple[list[Run], list[str]]:
    """The runs of a source, and what is wrong with it."""
    reading = read(source, **how)
    return list(reading), [str(each) for each in reading.problems.found]


def shown(source: Path, run: str = RUN, **how: Any) -> Run:
    """One run, as `show` reads it."""
    problems = Problems()
    found = open_source(source).run(run, problems, **how)
    assert not problems.found
    return found
