"""The spans of children that did not live to export them, made anew of what they told of their visits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from .. import names
from .._version import SCHEMA_URL, __version__
from ..recording.times import NANO
from ..runs.appending import Appending
from ..runs.others import Told
from ..runs.record import EXPORTED, SPANS, Record
from ..telemetry.exporters import Exporter
from ..telemetry.lifetime import process

_ID = re.compile(rb'"spanId":"([0-9a-f]{16})"')
_OF_EVENTS = (
    names.STAGE_VISIT_ID,
    names.STAGE_FOLLOWS,
    names.PARENT_VISIT_ID,
    names.PARENT_SPAN_ID,
    names.DURATION,
)
_NOT = "-"
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def note_what_children_export(folder: Path, *, of: int | None = None) -> None:
    """Have the children of process `of`, and this one if it is not that, note which spans they export.

    So that none is exported twice. What was not taken is noted again, behind a sign.
    """
    file = Appending(folder / EXPORTED)

    def note(spans: Any, is_taken: bool) -> None:
        if os.getpid() != of:
            sign = "" if is_taken else _NOT
            ids = [f"{sign}{span.context.span_id:016x}\n" for span in spans if _is_ours(span)]
            if ids:
                file.append("".join(ids).encode())

    Exporter.note = note


def _is_ours(span: Any) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == names.SCOPE


def complete(record: Record) -> None:
    """Hand the spans that children told of, and did not get out, to what exports those of this process."""
    written = set(_ID.findall(_read(record.folder / SPANS)))
    exported = _exported(record.folder / EXPORTED)
    resource: Any = getattr(trace.get_tracer_provider(), "resource", None) or Resource({})
    for span_id, span in _spans(record.told_by_others(), resource):
        if span_id not in written and record.spans is not None:
            record.spans.on_end(span)
        if span_id not in exported and process.telemetry is not None:
            for processor in process.telemetry.processors:
                processor.on_end(span)


def _exported(file: Path) -> set[bytes]:
    """The ids of the spans that children have sent, but for those that were not taken."""
    found: set[bytes] = set()
    for noted in _read(file).split():
        span_id = noted.removeprefix(_NOT.encode())
        (found.add if span_id == noted else found.discard)(span_id)
    return found


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _spans(told: Iterator[Told], resource: Resource) -> Iterator[tuple[bytes, ReadableSpan]]:
    runs: dict[str, str] = {}
    visits: dict[str, tuple[Told, str]] = {}
    for event in told:
        if not event.is_sampled:
            continue
        said = event.attributes
        if event.name == names.EVENT_RUN_STARTED:
            runs[said[names.RUN_ID]] = event.span_id
            visits[said[names.RUN_ID]] = event, said.get(names.PARENT_SPAN_ID, "")
        elif event.name == names.EVENT_STAGE_STARTED:
            around = visits.get(said.get(names.PARENT_VISIT_ID, ""))
            parent = said.get(names.PARENT_SPAN_ID) or (around[0].span_id if around else runs.get(said[names.RUN_ID]))
            visits[said[names.STAGE_VISIT_ID]] = event, parent or ""
        elif event.name in (names.EVENT_STAGE_ENDED, names.EVENT_RUN_ENDED) and names.RUN_JOINED not in said:
            started = visits.pop(str(said.get(names.STAGE_VISIT_ID, said[names.RUN_ID])), None)
            if started is not None:
                yield event.span_id.encode(), _span(*started, event, resource)


def _span(started: Told, parent: str, ended: Told, resource: Resource) -> ReadableSpan:
    said = {**started.attributes, **ended.attributes}
    stage, result = said.get(names.STAGE_NAME), said.get(names.STAGE_RESULT, said.get(names.RESULT))
    trace_id = int(ended.trace_id, 16)
    failed = result not in ("success", "fallback")
    return ReadableSpan(
        f"{names.SPAN_RUN} {said[names.WORKFLOW_NAME]}" if stage is None else f"{names.SPAN_STAGE} {stage}",
        SpanContext(trace_id, int(ended.span_id, 16), is_remote=False, trace_flags=_SAMPLED),
        SpanContext(trace_id, int(parent, 16), is_remote=False, trace_flags=_SAMPLED) if parent else None,
        resource,
        {
            **({names.ERROR_TYPE: result} if failed else {}),
            **{key: value for key, value in said.items() if key not in _OF_EVENTS},
        },
        instrumentation_scope=InstrumentationScope(names.SCOPE, __version__, SCHEMA_URL),
        status=Status(StatusCode.ERROR) if failed else Status(),
        start_time=ended.at - round(said[names.DURATION] * NANO),
        end_time=ended.at,
    )
