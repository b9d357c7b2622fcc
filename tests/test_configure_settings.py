"""Settings that are odd: said, replaced or understood, and never a reason to record nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # pyright: ignore[reportMissingTypeStubs] - has none
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_progress import configure

from . import otlp
from .test_cli import RUN, STAGES, recorded

PROGRAM = "from otel_progress import configure\nconfigure('studio')" + STAGES


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "256", ""),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100000", ""),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "is '-1', which is not a positive number: 65536 is used"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", "is '0', which is not a positive number: 512 is used"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "is '0', which is not a positive number: 5000 is used"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon", "is 'soon', which is not a positive number: 5000 is used"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0.5", "is 0.5, which is not a whole number: 5000 is used"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "is '0', which is not a positive number: 60000 is used"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "nan", "is 'nan', which is not a positive number: 60000 is used"),
    ],
)
def test_what_the_sdk_refuses_is_said_and_the_default_is_used(
    tmp_path: Path, receiver: otlp.Receiver, variable: str, value: str, said: str
) -> None:
    variables = {variable: value, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    ended = otlp.run_code(tmp_path, PROGRAM, **variables)
    assert ended.stderr == (f"{variable} {said}\n" if said else "")
    assert receiver.names() == ["run campaign", "stage draft"]
    assert "otel_progress.stage.duration" in {point.metric for point in receiver.points}
    receiver.spans.clear()
    ended = otlp.run(tmp_path, [*RUN, str(otlp.write(tmp_path, STAGES))], **variables)
    assert "Exported: 2 spans" in ended.stderr
    assert receiver.names() == recorded(tmp_path) == ["run campaign", "stage draft"]


def test_logs_have_limits_too(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = """
        from opentelemetry._logs import LogRecord, get_logger
        from otel_progress import configure
        configure("studio")
        get_logger("app").emit(LogRecord(body="hello"))
        """
    variables = {"OTEL_BLRP_MAX_QUEUE_SIZE": "10", "OTEL_BLRP_SCHEDULE_DELAY": "0", "OTEL_LOGS_EXPORTER": "otlp"}
    ended = otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, **variables)
    assert ended.stderr == "OTEL_BLRP_SCHEDULE_DELAY is '0', which is not a positive number: 1000 is used\n"
    assert [log.body for log in receiver.logs] == ["hello"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "missing"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_METRICS_CREDENTIAL_PROVIDER", "missing"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_LOGS_CREDENTIAL_PROVIDER", "missing"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "-1"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "some"),
    ],
)
def test_after_what_still_raises_a_corrected_call_works(
    tmp_path: Path, receiver: otlp.Receiver, variable: str, value: str
) -> None:
    code = f"""
        import os, threading
        from otel_progress import configure, stage, workflow
        try: configure("wrong")
        except (RuntimeError, ValueError) as error: print("raised", threading.active_count())
        del os.environ[{variable!r}]
        configure("right", endpoint={receiver.http!r})
        with workflow("campaign"), stage("draft"): pass
        """
    ended = otlp.run_code(tmp_path, code, OTEL_LOGS_EXPORTER="otlp", **{variable: value})
    assert (ended.stdout, ended.stderr) == ("raised 1\n", "")
    assert {span.resource["service.name"] for span in receiver.spans} == {"right"}


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_SPAN_EVENT_COUNT_LIMIT", "-1"), ("OTEL_TRACES_EXPORTER", "missing")]
)
def test_twenty_calls_and_cycles_leave_no_more_than_one(
    tmp_path: Path, receiver: otlp.Receiver, variable: str, value: str
) -> None:
    code = f"""
        import logging, os, pocketflow, threading
        from opentelemetry import trace
        from otel_progress import PocketFlowInstrumentor, configure
        logging.disable()
        methods = [dict(vars(cls)) for cls in (pocketflow.BaseNode, pocketflow.Node, pocketflow.Flow)]
        for _ in range(20):
            try: configure("wrong")
            except ValueError: pass
        del os.environ[{variable!r}]
        for _ in range(20):
            configure("right", endpoint={receiver.http!r})
            PocketFlowInstrumentor().instrument()
            PocketFlowInstrumentor().uninstrument()
        assert methods == [dict(vars(cls)) for cls in (pocketflow.BaseNode, pocketflow.Node, pocketflow.Flow)]
        processors = trace.get_tracer_provider()._active_span_processor._span_processors
        print(*sorted(type(each).__name__ for each in processors))
        """
    ended = otlp.run_code(tmp_path, code, OTEL_METRICS_EXPORTER="none", **{variable: value})
    assert ended.stdout == "EndedSpans MembershipProcessor\n"


PLAIN = """
from pocketflow import Flow, Node
class Draft(Node): pass
Flow(start=Draft()).run({})
"""


@pytest.mark.parametrize(
    ("disabled", "is_recorded"),
    [("", True), ("requests,flask", True), ("pocketflow", False), (" requests , pocketflow ", False), ("*", False)],
)
def test_an_instrumentation_that_is_disabled_is_left_out(tmp_path: Path, disabled: str, is_recorded: bool) -> None:
    program = str(otlp.write(tmp_path, PLAIN))
    ended = otlp.run(tmp_path, [*RUN, program], OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled)
    assert ended.returncode == 0
    assert ("no stage was recorded" in ended.stderr) != is_recorded
    assert ("Draft" in ended.stderr) == is_recorded


@pytest.mark.parametrize("form", ["  {}  ", "{}/", "{}/v1/traces", "{}/v1/metrics/", "HTTP{rest}"])
def test_an_endpoint_as_people_write_it(tmp_path: Path, receiver: otlp.Receiver, form: str) -> None:
    endpoint = form.format(receiver.http, rest=receiver.http.removeprefix("http"))
    otlp.run_code(tmp_path, PROGRAM.replace("'studio'", f"endpoint={endpoint!r}"))
    assert sorted(receiver.requests) == ["http metrics identity", "http traces identity"]


@pytest.mark.parametrize("endpoint", ["", "http://", "localhost:4318", "ftp://localhost", "http:localhost"])
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint must begin with http:// or https://"):
        configure(endpoint=endpoint)


PARTIAL = ExportTraceServiceResponse(
    partial_success=ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
).SerializeToString()


def test_over_grpc_it_is_said_that_it_was_sent(tmp_path: Path) -> None:
    """What a collector refuses of a batch that it takes is not known there."""
    program = otlp.write(tmp_path, STAGES)
    with otlp.receiver() as received:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.grpc, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
        ended = otlp.run(tmp_path, [*RUN, str(program)], **settings, OTEL_METRICS_EXPORTER="none")
    assert "Sent: 2 spans to" in ended.stderr
    assert "Exported" not in ended.stderr


@pytest.mark.parametrize(
    ("status", "body", "kind", "taken"),
    [
        (200, b"", "application/x-protobuf", 2),
        (200, b"", "text/plain", 2),
        (202, b"{}", "application/json", 2),
        (200, PARTIAL, "application/x-protobuf", 1),
        (200, b'{"partialSuccess": {"rejectedSpans": "2"}}', "application/json", 0),
        (200, b"<html>Please log in</html>", "text/html; charset=utf-8", 0),
        (200, b"<html>Please log in</html>", "", 0),
        (302, b"", "text/html", 0),
        (404, b"", "text/plain", 0),
    ],
)
def test_only_what_a_collector_took_counts(tmp_path: Path, status: int, body: bytes, kind: str, taken: int) -> None:
    program = otlp.write(tmp_path, STAGES)
    headers = {"Location": "/login"} if status == 302 else {}
    with otlp.answering(status, body, Content_Type=kind, **headers) as endpoint:
        ended = otlp.run(
            tmp_path, [*RUN, str(program)], OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_METRICS_EXPORTER="none"
        )
    rest = "" if taken == 2 else ", which did not take the rest"
    assert ended.stderr.endswith(f"Exported: {taken} spans to {endpoint}/v1/traces{rest}\n")
    assert ("spans were lost" in ended.stderr) == (taken < 2)


def test_a_service_name_that_is_no_text_loses_nothing(tmp_path: Path, receiver: otlp.Receiver) -> None:
    arguments = "'studio \\udcff', resource_attributes={'team': 'pr \\ud800'}"
    ended = otlp.run_code(tmp_path, PROGRAM.replace("'studio'", arguments), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    assert ended.stderr == ""
    assert {(span.resource["service.name"], span.resource["team"]) for span in receiver.spans} == {("studio ?", "pr ?")}
    assert receiver.names() == ["run campaign", "stage draft"]
