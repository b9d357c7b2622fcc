"""`OTEL_CONFIG_FILE`: the SDK as a file declares it, with what is ours added."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from . import otlp

RUN = ["-m", "otel_progress", "run"]
PROGRAM = """
import logging
from otel_progress import configure, stage, workflow
{configure}
with workflow("w"), stage("draft"):
    logging.getLogger("app").warning("hello")
    from opentelemetry import trace
    trace.get_tracer("client").start_span("call").end()
    if "raising" in globals(): raise ValueError
"""
RESOURCE = """
resource:
  attributes: [{name: service.name, value: from-file}]
"""
TRACES = """
tracer_provider:
  processors: [{batch: {exporter: {otlp_http: {endpoint: "${COLLECTOR}/v1/traces"}}}}]
"""
METRICS = """
meter_provider:
  readers: [{periodic: {exporter: {otlp_http: {endpoint: "${COLLECTOR}/v1/metrics"}}}}]
"""
LOGS = """
logger_provider:
  processors: [{batch: {exporter: {otlp_http: {endpoint: "${COLLECTOR}/v1/logs"}}}}]
"""
WHOLE = RESOURCE + TRACES + METRICS + LOGS


def declared(folder: Path, text: str, name: str = "otel.yaml") -> dict[str, str]:
    """The variables with which a file counts; others that would export elsewhere must not."""
    (folder / name).write_text(f'file_format: "1.0"\n{text}')
    ignored = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "misspelt"}
    return {"OTEL_CONFIG_FILE": name, "OTEL_SERVICE_NAME": "no", **ignored}


def program(folder: Path, configure: str = "configure()") -> str:
    return str(otlp.write(folder, PROGRAM.format(configure=configure)))


@pytest.mark.parametrize("command", [[], RUN], ids=["configure", "run"])
def test_everything_arrives_where_the_file_says(tmp_path: Path, receiver: otlp.Receiver, command: list[str]) -> None:
    variables = declared(tmp_path, WHOLE) | {"COLLECTOR": receiver.http}
    ended = otlp.run(tmp_path, [*command, program(tmp_path, "" if command else "configure()")], **variables)
    assert ended.returncode == 0, ended.stderr
    assert receiver.names() == ["call", "run w", "stage draft"]
    assert {span.resource["service.name"] for span in receiver.spans} == {"from-file"}
    (call,) = [span for span in receiver.spans if span.name == "call"]
    assert call.attributes["otel_progress.stage.name"] == "draft"
    assert [point.value for point in receiver.points if point.metric == "otel_progress.stage.duration"] == [1]
    ((log, stage),) = [(log.body, log.attributes["otel_progress.stage.name"]) for log in receiver.logs]
    assert (log, stage) == ("hello", "draft")
    if command:
        (spans,) = tmp_path.glob(".otel-progress/runs/*/spans.jsonl")
        assert "stage draft" in spans.read_text()
        (logs,) = tmp_path.glob(".otel-progress/runs/*/logs.jsonl")
        assert "hello" in logs.read_text()
        assert '"from-file"' in spans.with_name("events.jsonl").read_text()


def test_the_file_wins_over_arguments_and_says_so(tmp_path: Path, receiver: otlp.Receiver) -> None:
    variables = declared(tmp_path, WHOLE) | {"COLLECTOR": receiver.http}
    configure = "configure('studio', endpoint='http://127.0.0.1:9', resource_attributes={'a': 1}, events=True)"
    ended = otlp.run(tmp_path, [program(tmp_path, configure)], **variables)
    assert ended.returncode == 0
    assert "not used is service_name, endpoint, resource_attributes" in ended.stderr
    assert {span.resource["service.name"] for span in receiver.spans} == {"from-file"}
    assert "otel_progress.stage.ended" in {log.event for log in receiver.logs}


def test_what_the_file_leaves_out_is_not_made(tmp_path: Path, receiver: otlp.Receiver) -> None:
    variables = declared(tmp_path, TRACES) | {"COLLECTOR": receiver.http, "OTEL_PROGRESS_EVENTS": "true"}
    ended = otlp.run(tmp_path, [*RUN, program(tmp_path, "")], **variables)
    assert {request.split()[1] for request in receiver.requests} == {"traces"}
    assert "declares no logger_provider: events are not sent" in ended.stderr
    receiver.requests.clear()
    otlp.run(tmp_path, [*RUN, program(tmp_path, "")], **declared(tmp_path, METRICS), COLLECTOR=receiver.http)
    assert {request.split()[1] for request in receiver.requests} == {"metrics"}
    otlp.run(
        tmp_path,
        [*RUN, program(tmp_path, "raising = True")],
        **declared(tmp_path, METRICS),
        COLLECTOR=receiver.http,
        OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN="logs",
    )
    assert [path.name for path in tmp_path.glob(".otel-progress/runs/*/logs.jsonl")] == ["logs.jsonl"] * 2
    for spans in tmp_path.glob(".otel-progress/runs/*"):
        assert "stage draft" in (spans / "spans.jsonl").read_text()  # The record has them all the same.


WRONG = {
    "not there": (None, "none.yaml cannot be used, and nothing is exported: Configuration file not found: none.yaml"),
    "no YAML": ("a: [secret", "otel.yaml cannot be used, and nothing is exported: line 2 is no YAML: expected"),
    "a key that is missing": ("tracer_provider: {}", "'processors' is a required property (at tracer_provider)"),
    "a value of another type": (
        "tracer_provider: {processors: [{batch: {exporter: {otlp_http: {endpoint: [secret]}}}}]}",
        "tracer_provider.processors.0.batch.exporter.otlp_http.endpoint is not as the schema has it (type: ",
    ),
    "an exporter that there is not": (
        "tracer_provider: {processors: [{batch: {exporter: {misspelt: {}}}}]}",
        "otel.yaml cannot be followed in every part: ",
    ),
}


@pytest.mark.parametrize("command", [[], RUN], ids=["configure", "run"])
@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_a_file_that_is_wrong_is_said_and_stops_nothing(
    tmp_path: Path, command: list[str], text: str | None, said: str
) -> None:
    variables = declared(tmp_path, text or "")
    if text is None:
        variables["OTEL_CONFIG_FILE"] = "none.yaml"
    ended = otlp.run(tmp_path, [*command, program(tmp_path, "" if command else "configure()")], **variables)
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("OTEL_CONFIG_FILE")]
    assert said in line
    assert "secret" not in ended.stderr
    assert ended.stderr.startswith(line)  # The SDK says nothing of it beside that.
    assert "Traceback" not in ended.stderr
    if command:
        (spans,) = tmp_path.glob(".otel-progress/runs/*/spans.jsonl")
        assert "stage draft" in spans.read_text()


def test_without_what_reads_it_a_hint_is_given(tmp_path: Path) -> None:
    variables = declared(tmp_path, WHOLE)
    hide = "import sys\nsys.modules['opentelemetry.configuration'] = None\nconfigure()"
    ended = otlp.run(tmp_path, [program(tmp_path, hide)], **variables)
    assert ended.returncode == 0
    assert 'pip install "opentelemetry-sdk[file-configuration]"' in ended.stderr


@pytest.mark.parametrize("command", [[], RUN], ids=["configure", "run"])
@pytest.mark.parametrize("off", ["file", "variable"])
def test_switched_off(tmp_path: Path, receiver: otlp.Receiver, command: list[str], off: str) -> None:
    variables = declared(tmp_path, WHOLE + ("disabled: true\n" if off == "file" else "")) | {"COLLECTOR": receiver.http}
    if off == "variable":
        variables["OTEL_SDK_DISABLED"] = "true"
    ended = otlp.run(tmp_path, [*command, program(tmp_path, "" if command else "configure()")], **variables)
    assert (ended.returncode, receiver.requests) == (0, []), ended.stderr
    assert [*tmp_path.glob(".otel-progress/runs/*/spans.jsonl")] == []
    assert len([*tmp_path.glob(".otel-progress/runs/*/events.jsonl")]) == bool(command)


@pytest.mark.parametrize("command", [[], RUN], ids=["configure", "run"])
def test_a_collector_that_says_nothing_holds_the_end_up_no_longer_than_else(
    tmp_path: Path, receiver: otlp.Receiver, command: list[str]
) -> None:
    receiver.answers = False
    variables = declared(tmp_path, WHOLE) | {"COLLECTOR": receiver.http}
    ended = otlp.run(tmp_path, [*command, program(tmp_path, "" if command else "configure()")], **variables)
    # Not so where the SDK's own handler comes first, and waits for thirty seconds.
    assert "the collector did not take everything within 2 s" in ended.stderr


def test_propagators_are_those_of_the_file(tmp_path: Path, receiver: otlp.Receiver) -> None:
    outside = {"TRACEPARENT": f"00-{'1' * 32}-{'2' * 16}-01", "COLLECTOR": receiver.http}
    for text, parent in (("", ""), ("propagator: {composite: [{tracecontext: {}}]}\n", "2" * 16)):
        receiver.spans.clear()
        otlp.run(tmp_path, [program(tmp_path)], **declared(tmp_path, WHOLE + text), **outside)
        assert [span.parent_id for span in receiver.spans if span.name == "run w"] == [parent]


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_a_forked_child_exports_its_own(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = """
        import multiprocessing
        from otel_progress import configure, stage, workflow
        def work():
            with stage("inside"): pass
        if __name__ == "__main__":
            configure()
            with workflow("w"), stage("outside"):
                child = multiprocessing.get_context("fork").Process(target=work)
                child.start(); child.join()
        """
    variables = declared(tmp_path, WHOLE) | {"COLLECTOR": receiver.http}
    ended = otlp.run(tmp_path, [str(otlp.write(tmp_path, code))], **variables)
    assert ended.returncode == 0, ended.stderr
    assert receiver.names() == ["run w", "stage inside", "stage outside"]
