"""`configure(events=True)`: events by OTLP logs; `configure(pending=True)`: what has begun shows at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import format_span_id

from otel_progress import stage, workflow
from otel_progress.recording.settings import Settings

from . import otlp
from .conftest import Telemetry

WORK = """
with workflow("w", shared={"task_requirements": {"platforms": ["x", "y"]}}):
    with stage("draft", budget=2) as visit:
        visit.advance(1, total=2)
"""


def in_record(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The events of the one record: name and attributes, without ids and times."""
    (file,) = folder.glob(".otel-progress/runs/*/events.jsonl")
    found: list[tuple[str, dict[str, Any]]] = []
    for line in file.read_text().splitlines():
        event = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        found.append((event["eventName"], {pair["key"]: plain(pair["value"]) for pair in event["attributes"]}))
    return found


def plain(value: dict[str, Any]) -> Any:
    ((kind, found),) = value.items()
    if kind == "arrayValue":
        return [plain(each) for each in found["values"]]
    return int(found) if kind == "intValue" else found


def test_the_same_events_as_in_a_record(tmp_path: Path, receiver: otlp.Receiver) -> None:
    program = "from otel_progress import configure, stage, workflow\nconfigure('studio', events=True)\n" + WORK
    otlp.write(tmp_path, program)
    ended = otlp.run(tmp_path, ["-m", "otel_progress", "run", "program.py"], OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    assert ended.returncode == 0, ended.stderr
    arrived = [(log.event, {**log.attributes, "otel_progress.stage.visit_id": ""}) for log in receiver.logs]
    assert arrived == [(name, {**said, "otel_progress.stage.visit_id": ""}) for name, said in in_record(tmp_path)]
    assert {log.resource["service.name"] for log in receiver.logs} == {"studio"}
    spans = {span.span_id for span in receiver.spans}
    assert {log.span_id for log in receiver.logs} == spans


@pytest.mark.parametrize(
    ("variables", "arrives"),
    [
        ({"OTEL_PROGRESS_EVENTS": "true"}, True),
        ({}, False),
        ({"OTEL_PROGRESS_EVENTS": "true", "OTEL_LOGS_EXPORTER": "none"}, False),
        ({"OTEL_PROGRESS_EVENTS": "true", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_asked_for_by_a_variable(
    tmp_path: Path, receiver: otlp.Receiver, variables: dict[str, str], arrives: bool
) -> None:
    program = "from otel_progress import configure, stage, workflow\nconfigure()\n" + WORK
    otlp.run_code(tmp_path, program, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, **variables)
    assert [log.event for log in receiver.logs] == (
        [f"otel_progress.{name}" for name in ("run.started", "stage.started", "stage.ended", "run.ended")]
        if arrives
        else []
    )


def test_the_logs_of_the_program_are_its_own_business(tmp_path: Path, receiver: otlp.Receiver) -> None:
    program = (
        "from opentelemetry._logs import get_logger_provider\nfrom opentelemetry.sdk._logs import LoggerProvider\n"
        "from otel_progress import configure\nconfigure(events=True)\n"
        "assert not isinstance(get_logger_provider(), LoggerProvider)\n"
    )
    otlp.run_code(tmp_path, program, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    asked = program.replace("assert not ", "assert ")
    otlp.run_code(tmp_path, asked, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, OTEL_LOGS_EXPORTER="otlp")


def test_a_burst_loses_none(tmp_path: Path, receiver: otlp.Receiver) -> None:
    program = """
        from otel_progress import configure, stage, workflow
        telemetry = configure(events=True, exit_timeout=30)
        with workflow("w"):
            for _ in range(10_000):
                with stage("a"): pass
        """
    otlp.run_code(tmp_path, program, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, OTEL_TRACES_EXPORTER="none")
    assert len(receiver.logs) == 20_002


def test_a_forked_child_sends_its_own(tmp_path: Path, receiver: otlp.Receiver) -> None:
    program = """
        import multiprocessing
        from otel_progress import configure, stage, workflow
        def work():
            with stage("inside"): pass
        if __name__ == "__main__":
            configure(events=True)
            with workflow("w"), stage("outside"):
                child = multiprocessing.get_context("fork").Process(target=work)
                child.start()
                child.join()
        """
    otlp.run_code(tmp_path, program, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    ends = [log for log in receiver.logs if log.event == "otel_progress.stage.ended"]
    assert sorted(log.attributes["otel_progress.stage.name"] for log in ends) == ["inside", "outside"]


# --- pending spans ----------------------------------------------------------------------------------------------------


def test_a_pending_span_says_that_something_has_begun(telemetry_with: Callable[[Settings], Telemetry]) -> None:
    telemetry = telemetry_with(Settings(pending=True))
    with workflow("w"), stage("draft"), stage("look"):
        run, draft, look = telemetry.spans()
    assert [span.name for span in (run, draft, look)] == ["run w", "stage draft", "stage look"]
    for span in (run, draft, look):
        assert span.start_time == span.end_time
        assert (span.attributes or {})["otel_progress.pending"] is True
    assert run.context is not None
    assert draft.context is not None
    assert run.parent is not None
    assert run.parent.span_id not in {span.context.span_id for span in (run, draft, look) if span.context}
    assert draft.parent is not None
    assert draft.parent.span_id == run.context.span_id
    assert look.parent is not None
    assert look.parent.span_id == draft.context.span_id
    real = [span for span in telemetry.spans() if "otel_progress.pending" not in (span.attributes or {})]
    assert [(span.name, span.end_time is not None) for span in real] == [
        ("run w", True),
        ("stage draft", True),
        ("stage look", True),
    ]
    assert len({format_span_id(span.context.span_id) for span in telemetry.spans() if span.context}) == 6
    assert len({span.context.trace_id for span in telemetry.spans() if span.context}) == 1
    assert telemetry.points("otel_progress.stage.duration")[0][1][1] == 1
    assert telemetry.recorder.sinks[0]._pending == {}  # type: ignore[attr-defined]


def test_no_pending_span_unasked(telemetry: Telemetry) -> None:
    with workflow("w"), stage("draft"):
        assert telemetry.spans() == []


def test_pending_spans_are_exported_while_it_runs_and_are_in_no_record(tmp_path: Path, receiver: otlp.Receiver) -> None:
    otlp.write(
        tmp_path,
        "import sys\nfrom otel_progress import configure, stage, workflow\nconfigure(pending=True)\n"
        "with workflow('w'), stage('draft'):\n    print('ready', flush=True)\n    sys.stdin.readline()\n",
    )
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with otlp.start(tmp_path, ["-m", "otel_progress", "run", "program.py"], **variables) as process:
        assert process.stdout is not None
        process.stdout.readline()
        receiver.wait_until(lambda: receiver.names() == ["run w", "stage draft"])
        ended = otlp.ended(process, "\n")
    assert ended.returncode == 0
    assert len(receiver.spans) == 4
    (file,) = tmp_path.glob(".otel-progress/runs/*/spans.jsonl")
    assert "otel_progress.pending" not in file.read_text()
