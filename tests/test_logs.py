"""Log records: exceptions in the place of span events, and what a program logs, at a collector and in the record."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from pocketflow import Node

from otel_progress import PocketFlowInstrumentor, stage, workflow
from otel_progress.recording.settings import Settings
from otel_progress.runs import logs as record_logs
from otel_progress.runs import read
from otel_progress.runs.appending import Appending
from otel_progress.sinks.spans import SpanSink
from otel_progress.telemetry import stdlib
from otel_progress.telemetry.logging_setup import Asked
from otel_progress.telemetry.membership import mark_logs_inside

from . import otlp
from .conftest import Telemetry

RUN = ["-m", "otel_progress", "run"]
SIGNAL = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"
AUTOMATIC = "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED"


# --- exceptions -------------------------------------------------------------------------------------------------------


class Sent(list[tuple[int, int, dict[str, Any]]]):
    """Span, severity and attributes of each exception that is sent as a log event."""

    def by(self, telemetry: Telemetry) -> Telemetry:
        """Have the spans of a recorder send them."""
        (spans,) = (sink for sink in telemetry.recorder.sinks if isinstance(sink, SpanSink))
        spans.send_exception = lambda span, _, severity, said: self.append((span.span_id, severity, dict(said)))
        return telemetry


@pytest.fixture
def sent() -> Sent:
    """Those of a test."""
    return Sent()


@pytest.mark.parametrize("both", [False, True])
def test_exceptions_as_log_events(telemetry_with: Callable[[Settings], Telemetry], sent: Sent, both: bool) -> None:
    telemetry = sent.by(telemetry_with(Settings(exception_events=both, exception_logs=True)))
    with pytest.raises(ValueError, match="no"), workflow("w"), stage("outer"), stage("inner"):
        raise ValueError("no")
    inner = telemetry.span("stage inner")
    assert inner.context is not None
    ((span, severity, said),) = sent  # Once, on the innermost.
    assert (span, severity) == (inner.context.span_id, SeverityNumber.ERROR.value)
    stacktrace = said.pop("exception.stacktrace")
    assert stacktrace.endswith("ValueError: no\n")
    assert said == {
        "otel_progress.workflow.name": "w",
        "otel_progress.run.id": "run-1",
        "otel_progress.stage.name": "inner",
        "exception.type": "ValueError",
        "exception.message": "no",
    }
    assert [len(each.events) for each in telemetry.spans()] == [0, 0, int(both)]
    assert inner.status.description == "no"
    assert (inner.attributes or {})["error.type"] == "ValueError"


def test_unasked_no_exception_is_a_log_event(telemetry_with: Callable[[Settings], Telemetry], sent: Sent) -> None:
    telemetry = sent.by(telemetry_with(Settings()))
    with pytest.raises(ValueError, match="no"), stage("a"):
        raise ValueError("no")
    assert sent == []
    assert [event.name for event in telemetry.span("stage a").events] == ["exception"]


def test_messages_stay_in_here_too(telemetry_with: Callable[[Settings], Telemetry], sent: Sent) -> None:
    sent.by(telemetry_with(Settings(exception_logs=True, capture_messages=False)))
    with pytest.raises(ValueError, match="kept"), stage("a"):
        raise ValueError(*["kept"])
    assert "kept" not in str(sent[0][2]).replace('ValueError(*["kept"])', "").replace("ValueError(*['kept'])", "")
    assert sent[0][2]["exception.type"] == "ValueError"


def test_what_was_made_good_is_no_error(telemetry_with: Callable[[Settings], Telemetry], sent: Sent) -> None:
    telemetry = sent.by(telemetry_with(Settings(exception_logs=True)))

    class Asks(Node):
        def exec(self, prep_res: Any) -> None:
            raise OSError(f"try {self.cur_retry}")

    PocketFlowInstrumentor().instrument(tracer_provider=telemetry.tracer_provider)
    try:
        with pytest.raises(OSError, match="try 1"):
            Asks(max_retries=2).run({})
    finally:
        PocketFlowInstrumentor().uninstrument()
    told = [(severity, said["exception.message"]) for _, severity, said in sent]
    assert told == [(13, "try 0"), (13, "try 1"), (17, "try 1")]  # What ended the visit is an error after all.


def test_cancellation_is_no_error(telemetry_with: Callable[[Settings], Telemetry], sent: Sent) -> None:
    sent.by(telemetry_with(Settings(exception_logs=True)))
    with pytest.raises(KeyboardInterrupt), stage("a"):
        raise KeyboardInterrupt
    assert [severity for _, severity, _ in sent] == [13]


FAILS = """
from otel_progress import configure, stage, workflow
{configure}
try:
    with workflow("w"), stage("a"): raise ValueError("no")
except ValueError: pass
"""


@pytest.mark.parametrize(("value", "events", "logs"), [("", 1, 0), ("logs", 0, 1), ("logs/dup", 1, 1)])
def test_exceptions_arrive_as_asked(
    tmp_path: Path, receiver: otlp.Receiver, value: str, events: int, logs: int
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http, SIGNAL: value}
    otlp.run_code(tmp_path, FAILS.format(configure="configure()"), **variables)
    (span,) = [span for span in receiver.spans if span.name == "stage a"]
    assert span.events == ("exception",) * events
    assert (span.message, span.attributes["error.type"]) == ("no", "ValueError")
    assert [(log.event, log.scope, log.severity, log.span_id) for log in receiver.logs] == (
        [("exception", "otel_progress", 17, span.span_id)] * logs
    )


def test_where_nobody_takes_them_it_is_said(tmp_path: Path) -> None:
    ended = otlp.run_code(tmp_path, FAILS.format(configure=""), **{SIGNAL: "logs"})
    assert "no logger provider that takes log records" in ended.stderr


def test_an_applications_own_provider_takes_them(tmp_path: Path) -> None:
    code = """
        from opentelemetry._logs import set_logger_provider
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter, SimpleLogRecordProcessor
        provider = LoggerProvider()
        provider.add_log_record_processor(SimpleLogRecordProcessor(ConsoleLogRecordExporter()))
        set_logger_provider(provider)
        """
    ended = otlp.run_code(tmp_path, otlp.textwrap.dedent(code) + FAILS.format(configure=""), **{SIGNAL: "logs"})
    assert json.loads(ended.stdout)["attributes"]["exception.message"] == "no"


# --- where a log record was made --------------------------------------------------------------------------------------


def test_a_log_record_says_where_it_belongs(telemetry: Telemetry) -> None:
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    mark_logs_inside(provider)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("app")
    logger.emit(LogRecord(body="before"))
    with workflow("w"):
        logger.emit(LogRecord(body="between"))
        with stage("a") as visit:
            logger.emit(LogRecord(body="inside", attributes={"own": 1}))
        logger.emit(LogRecord(body="left", context=visit.context))
    said = {str(each.log_record.body): dict(each.log_record.attributes or {}) for each in exporter.get_finished_logs()}
    run = {"otel_progress.workflow.name": "w", "otel_progress.run.id": "run-1"}
    assert said == {
        "before": {},
        "between": run,
        "inside": {"own": 1, **run, "otel_progress.stage.name": "a"},
        "left": said["left"],
    }


# --- what a program logs ----------------------------------------------------------------------------------------------

LOGS = """
import logging, sys
from otel_progress import configure, stage, workflow
{configure}
log = logging.getLogger("app.client")
log.warning("before")
with workflow("w"), stage("draft"):
    log.info("below the level")
    log.warning("hello %s", "you", extra={{"order": 7, "odd": object()}})
    try: raise OSError("no line")
    except OSError: log.exception("failed")
    log.error("wrong %s %s", "arguments")
assert not logging.getLogger().handlers
"""


@pytest.mark.parametrize("asked", [{"OTEL_LOGS_EXPORTER": "otlp"}, {AUTOMATIC: "true"}], ids=["exporter", "automatic"])
@pytest.mark.parametrize("command", [[], RUN], ids=["configure", "run"])
def test_what_a_program_logs_arrives(
    tmp_path: Path, receiver: otlp.Receiver, command: list[str], asked: dict[str, str]
) -> None:
    program = otlp.write(tmp_path, LOGS.format(configure="" if command else "configure('studio')"))
    variables = asked | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    ended = otlp.run(tmp_path, [*command, str(program)], **variables)
    assert ended.returncode == 0, ended.stderr
    logs = receiver.logs[not command :]  # With `run` the SDK is set up when the first run begins.
    assert [(log.body, log.severity, log.scope) for log in logs] == [
        ("hello you", 13, "app.client"),
        ("failed", 17, "app.client"),
        ("wrong %s %s", 17, "app.client"),
    ]
    (span,) = [span for span in receiver.spans if span.name == "stage draft"]
    run_id = span.attributes["otel_progress.run.id"]
    for log in logs:
        assert log.span_id == span.span_id
        assert log.attributes["otel_progress.stage.name"] == "draft"
        assert log.attributes["otel_progress.run.id"] == run_id
    assert logs[0].attributes["order"] == 7
    assert "odd" not in logs[0].attributes
    assert logs[1].attributes["exception.type"] == "OSError"
    assert logs[1].attributes["exception.message"] == "no line"
    # What Python prints by itself for a program without handlers is printed all the same.
    assert [line for line in ended.stderr.splitlines() if line in ("before", "hello you", "failed")] == [
        "before",
        "hello you",
        "failed",
    ]


def test_a_burst_loses_none(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = """
        import logging
        from otel_progress import configure, stage, workflow
        configure(exit_timeout=30)
        logging.getLogger().addHandler(logging.NullHandler())
        with workflow("w"), stage("a"):
            for number in range(5_000): logging.getLogger("app").warning("%d", number)
        """
    otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, OTEL_LOGS_EXPORTER="otlp")
    assert [int(log.body) for log in receiver.logs] == [*range(5_000)]


@pytest.mark.parametrize(
    ("asked", "program", "handed_on"),
    [
        ({}, False, False),
        ({"OTEL_LOGS_EXPORTER": "none"}, False, False),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, True, True),
        ({"OTEL_LOGS_EXPORTER": "otlp", AUTOMATIC: "false"}, True, False),
        ({"OTEL_LOGS_EXPORTER": "none", AUTOMATIC: "true"}, True, True),
    ],
)
def test_what_asks_for_what(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], program: bool, handed_on: bool
) -> None:
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert Asked.of(Settings()) == Asked(program=program, stdlib=handed_on)


@pytest.fixture
def handed_on(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[], list[Any]]]:
    """Gives what was handed on so far."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    monkeypatch.setattr(stdlib._Bridge, "connected", False)
    monkeypatch.setattr(stdlib.outlet, "provider", provider)
    stdlib.connect()

    def found() -> list[Any]:
        stdlib.outlet.drain()
        return [each.log_record for each in exporter.get_finished_logs()]

    yield found
    stdlib.outlet.drain()


def test_nothing_twice_where_a_handler_of_opentelemetry_sends_it(handed_on: Callable[[], list[Any]]) -> None:
    logger = logging.getLogger("app.sent")
    handler = type("Handler", (logging.NullHandler,), {"__module__": "opentelemetry.sdk._logs"})()
    logger.parent.addHandler(handler)  # type: ignore[union-attr]
    try:
        logger.error("twice?")
        logger.propagate = False
        logger.error("once")
    finally:
        logger.propagate = True
        logger.parent.removeHandler(handler)  # type: ignore[union-attr]
    assert [each.body for each in handed_on()] == ["once"]


def test_what_is_said_of_the_export_is_not_exported(handed_on: Callable[[], list[Any]]) -> None:
    for name in ("opentelemetry.exporter", "otel_progress"):
        logging.getLogger(name).error("it failed")
    assert handed_on() == []


@pytest.fixture
def mute() -> logging.Logger:
    """A logger whose handler asks for no text, so that we are the only ones who do."""
    logger = logging.Logger("app.mute")
    logger.addHandler(logging.NullHandler())
    return logger


def test_what_is_logged_while_something_is_exported_is_not(handed_on: Callable[[], list[Any]]) -> None:
    with suppress_instrumentation():
        logging.getLogger("urllib3").error("it would be told of the export of what tells of it")
    assert handed_on() == []


def test_odd_things_are_handed_on_as_far_as_they_can_be(
    handed_on: Callable[[], list[Any]], faults: Callable[[], list[str]], mute: logging.Logger
) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    mute.error(Odd())
    mute.error("long %s", "x" * 1_000_000, extra={"large": 2**70, "text": "y" * 1_000_000, "half": "\ud800"})
    mute.error("half \ud800")
    odd, long, half = handed_on()
    assert odd.body == ""
    assert len(long.body) < 11_000
    assert len(long.attributes["text"]) < 11_000
    assert "large" not in long.attributes
    assert (long.attributes["half"], half.body) == ("?", "half ?")
    assert faults() == []


def test_what_the_handler_of_a_signal_raises_passes(handed_on: Callable[[], list[Any]], mute: logging.Logger) -> None:
    class TooLongError(Exception):
        pass

    class Slow:
        def __str__(self) -> str:
            signal.raise_signal(signal.SIGUSR1)
            return ""

    def handler(number: int, frame: Any) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TooLongError):
            mute.error(Slow())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handed_on() == []


# --- the record -------------------------------------------------------------------------------------------------------


def in_record(folder: Path) -> list[str]:
    """Bodies, or names of events, of the log records in the one record; none where there is no file."""
    (record,) = folder.glob(".otel-progress/runs/*")
    file = record / "logs.jsonl"
    found: list[str] = []
    for line in file.read_text().splitlines() if file.exists() else ():
        for scope in json.loads(line)["resourceLogs"][0]["scopeLogs"]:
            found += [each["body"].get("stringValue") or each["eventName"] for each in scope["logRecords"]]
    return sorted(found)


LOGGED = ["failed", "hello you", "wrong %s %s"]


@pytest.mark.parametrize(
    ("variables", "configure", "kept"),
    [
        ({}, "", []),
        ({SIGNAL: "logs"}, "", []),
        ({"OTEL_PROGRESS_EVENTS": "true"}, "", LOGGED),
        ({}, "configure(events=True)", LOGGED),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, "", LOGGED),
        ({"OTEL_LOGS_EXPORTER": "otlp", "OTEL_PROGRESS_EVENTS": "true"}, "", LOGGED),
        ({"OTEL_LOGS_EXPORTER": "none", AUTOMATIC: "true"}, "", LOGGED),
        ({"OTEL_LOGS_EXPORTER": "none", AUTOMATIC: "true"}, "configure()", LOGGED),
        ({"OTEL_SDK_DISABLED": "true", AUTOMATIC: "true"}, "", []),
    ],
)
def test_the_record_holds_what_is_logged_in_a_run_where_it_is_asked_for(
    tmp_path: Path, receiver: otlp.Receiver, variables: dict[str, str], configure: str, kept: list[str]
) -> None:
    program = otlp.write(tmp_path, LOGS.format(configure=configure))
    exports = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    ended = otlp.run(tmp_path, [*RUN, str(program)], **variables, **exports)
    assert ended.returncode == 0, ended.stderr
    assert in_record(tmp_path) == kept
    assert bool([log for log in receiver.logs if log.body]) == (variables.get("OTEL_LOGS_EXPORTER") == "otlp")
    (run,) = read(tmp_path / ".otel-progress")
    assert [each.name for each in run.stages] == ["draft"]


def test_exceptions_that_are_log_events_are_in_the_record(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, FAILS.format(configure=""))
    otlp.run(tmp_path, [*RUN, str(program)], **{SIGNAL: "logs"})
    assert in_record(tmp_path) == ["exception"]
    (record,) = tmp_path.glob(".otel-progress/runs/*")
    reading = read(record / "logs.jsonl")
    assert (list(reading), reading.problems.found) == ([], [])  # They are no runs, and nothing is wrong with them.


def test_a_program_with_providers_of_its_own(tmp_path: Path) -> None:
    own = (
        "from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n"
        "trace.set_tracer_provider(TracerProvider())\n"
    )
    program = otlp.write(tmp_path, LOGS.format(configure=own))
    ended = otlp.run(tmp_path, [*RUN, str(program)], **{AUTOMATIC: "true"})
    assert ended.returncode == 0, ended.stderr
    assert in_record(tmp_path) == LOGGED


@pytest.mark.parametrize("method", ["fork", "spawn", "program"])
def test_children_log_into_it_too(tmp_path: Path, receiver: otlp.Receiver, method: str) -> None:
    code = f"""
        import logging, multiprocessing, subprocess, sys
        from otel_progress import configure, stage, workflow
        def work():
            with stage("inside"): logging.getLogger("child").warning("from a child")
        if sys.argv[1:]:
            configure()
            work()
            sys.exit()
        if __name__ == "__main__":
            with workflow("w"), stage("outside"):
                logging.getLogger("app").warning("from the program")
                if "{method}" == "program":
                    subprocess.run([sys.executable, __file__, "child"], check=True)
                else:
                    child = multiprocessing.get_context("{method}").Process(target=work)
                    child.start(); child.join()
        """
    variables = {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    ended = otlp.run(tmp_path, [*RUN, str(otlp.write(tmp_path, code))], **variables)
    assert ended.returncode == 0, ended.stderr
    assert sorted(log.body for log in receiver.logs) == ["from a child", "from the program"]
    assert in_record(tmp_path) == ["from a child", "from the program"]


def test_what_it_holds_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: Callable[[], list[str]], telemetry: Telemetry
) -> None:
    monkeypatch.setattr(record_logs, "MOST_BYTES", 100)
    processor = record_logs.log_processor(Appending(tmp_path / "logs.jsonl"))
    provider = LoggerProvider(shutdown_on_exit=False)
    mark_logs_inside(provider)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("app")
    for body in ("first", "second"):
        with stage("a"):
            logger.emit(LogRecord(body=body, context=trace.set_span_in_context(trace.INVALID_SPAN)))
        processor.force_flush()
    assert "second" not in (tmp_path / "logs.jsonl").read_text()
    assert [fault for fault in faults() if "no more log records" in fault]
    processor.shutdown()
