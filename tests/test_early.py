"""What comes before the first run of a program under `otel-progress run`: its spans, and the time of the set-up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_progress import workflow

from . import otlp
from .conftest import Telemetry

RUN = ["-m", "otel_progress", "run"]
BEGIN = """
import asyncio
import threading
from opentelemetry import trace
from otel_progress import stage, workflow

tracer = trace.get_tracer("app")

def job():
    with workflow("w", shared={}), stage("s"):
        pass
"""


def spans_of(folder: Path, code: str, **variables: str) -> list[dict[str, Any]]:
    """The spans that a program leaves in its record."""
    ended = otlp.run(folder, [*RUN, str(otlp.write(folder, BEGIN + code))], **variables)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return [
        span
        for file in (folder / ".otel-progress" / "runs").glob("*/spans.jsonl")
        for line in file.read_text("utf-8").splitlines()
        for resource in json.loads(line).get("resourceSpans", ())
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def tree(spans: list[dict[str, Any]]) -> dict[str, str | None]:
    """The name of each span's parent, "?" where that was not recorded."""
    names = {span["spanId"]: span["name"] for span in spans}
    return {span["name"]: names.get(span["parentSpanId"], "?") if span.get("parentSpanId") else None for span in spans}


ONE = {"around": None, "run w": "around", "stage s": "run w"}
IN_A_TASK_AND_A_THREAD = """
async def main():
    with tracer.start_as_current_span("around"):
        await asyncio.to_thread(job)

with trace.get_tracer("another").start_as_current_span("outer"):
    asyncio.run(main())
"""
ENDED_BY_HAND = """
span = tracer.start_span("around")
with tracer.start_as_current_span("gone"):
    pass
with trace.use_span(span):
    job()
span.end()
span.end()
"""
WITH_ONE_AFTER_IT = """
with tracer.start_as_current_span("around"):
    job()
with tracer.start_as_current_span("later"):
    pass
"""
TWO = {"outer": None, "around": "outer", "run w": "around", "stage s": "run w"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('with tracer.start_as_current_span("around"):\n    job()', ONE),
        ('with trace.use_span(tracer.start_span("around"), end_on_exit=True):\n    job()', ONE),
        ('@tracer.start_as_current_span("around")\ndef main():\n    job()\nmain()', ONE),
        ('@tracer.start_as_current_span("around")\nasync def main():\n    job()\nasyncio.run(main())', ONE),
        ('with tracer.start_as_current_span("outer"), tracer.start_as_current_span("around"):\n    job()', TWO),
        (IN_A_TASK_AND_A_THREAD, TWO),
        (ENDED_BY_HAND, ONE),
        (WITH_ONE_AFTER_IT, {**ONE, "later": None}),
        (
            'away = tracer.start_span("away")\njob()\naway.end()\n',
            {"away": None, "run w": None, "stage s": "run w"},
        ),
    ],
)
def test_a_span_around_the_first_run_is_recorded(tmp_path: Path, code: str, expected: dict[str, str | None]) -> None:
    assert tree(spans_of(tmp_path, code)) == expected


def test_what_is_said_of_it_is_kept(tmp_path: Path) -> None:
    code = """
other = trace.SpanContext(1, 2, True)
try:
    with tracer.start_as_current_span("first", attributes={"a": 1}, kind=trace.SpanKind.SERVER) as span:
        assert span.is_recording() and not span.get_span_context().is_valid
        span.set_attribute("b", 2)
        span.set_attributes({"c": 3})
        span.add_event("event", {"d": 4})
        span.add_link(other)
        span.update_name("around")
        job()
        assert span.is_recording() and span.get_span_context().is_valid
        assert span.name == "around"
        raise ValueError("said")
except ValueError:
    pass
"""
    (span,) = (each for each in spans_of(tmp_path, code) if each["name"] == "around")
    assert {each["key"] for each in span["attributes"]} == {"a", "b", "c"}
    assert [event["name"] for event in span["events"]] == ["event", "exception"]
    assert (len(span["links"]), span["kind"], span["status"]["code"]) == (1, 2, 2)
    assert int(span["startTimeUnixNano"]) <= int(span["events"][0]["timeUnixNano"])
    assert int(span["events"][1]["timeUnixNano"]) <= int(span["endTimeUnixNano"])


OWN = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory = InMemorySpanExporter()
with tracer.start_as_current_span("too early") as span:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    with tracer.start_as_current_span("around"):
        job()
exported = [span.name for span in memory.get_finished_spans()]
assert exported == ["stage s", "run w", "around"], exported
"""


def test_a_program_that_sets_up_its_own_exports_what_it_does_without_us(tmp_path: Path) -> None:
    assert tree(spans_of(tmp_path, OWN)) == ONE


def test_where_the_sdk_is_disabled_nothing_is_made(tmp_path: Path) -> None:
    code = """
with tracer.start_as_current_span("around") as span:
    job()
    assert not span.get_span_context().is_valid
"""
    assert spans_of(tmp_path, code, OTEL_SDK_DISABLED="true") == []


def test_the_set_up_is_not_in_the_time_of_the_first_run(tmp_path: Path) -> None:
    spans_of(
        tmp_path,
        """
import time
import otel_progress.cli.providers as providers
start, ended = providers.start, []

def slow(*arguments, **more):
    start(*arguments, **more)
    ended.append(time.time_ns())

providers.start = slow
with workflow("w", shared={}) as run:
    pass
assert run.started >= ended[0]
""",
    )


def test_a_run_begins_after_what_prepares_for_it(telemetry: Telemetry) -> None:
    telemetry.recorder.prepare = lambda: telemetry.time.passes(5)
    with workflow("w", shared={}) as run:
        telemetry.time.passes(1)
    assert run.seconds == 1.0
    assert telemetry.points("otel_progress.run.duration") == [({"workflow.name": "w", "result": "success"}, (1.0, 1))]
