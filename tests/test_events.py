"""Events: what is told as it happens, as lines that the official parser takes."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.json.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # pyright: ignore[reportMissingTypeStubs] - has none
    ExportLogsServiceRequest,
)
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import TraceFlags
from pocketflow import BatchFlow, BatchNode, Flow, Node

from otel_progress import PocketFlowInstrumentor, ProgressTrackerNode, gather, names, stage, workflow
from otel_progress.recording import default
from otel_progress.recording.call import Call, Code
from otel_progress.recording.faults import report
from otel_progress.runs.writer import Writer
from otel_progress.sinks import usual
from otel_progress.sinks.events import EventSink
from otel_progress.sinks.texts import RunTexts, StageTexts

from . import otlp
from .conftest import SECOND, START, Telemetry

HEAD = '{"resourceLogs":[{"resource":{"attributes":[]},"scopeLogs":[{"scope":{"name":"otel_progress"},"logRecords":['
Event = dict[str, Any]


class Lines:
    """Where the lines go in a test."""

    process = "1-aaaaaa"
    head = HEAD

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.woken = 0

    def begin(self) -> bool:
        return True

    def write(self, line: bytes) -> None:
        self.written.append(line)

    def soon(self) -> None:
        self.woken += 1

    def events(self, name: str = "") -> list[Event]:
        return [event for event in map(parsed, self.written) if event["event"].endswith(name)]


def parsed(line: bytes) -> Event:
    """A line as the official parser reads it: its attributes without their prefix, and what else it says."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    request = json_format.Parse(line, ExportLogsServiceRequest())
    (resource,) = request.resource_logs
    (scope,) = resource.scope_logs
    (record,) = scope.log_records
    attributes = {
        pair.key.removeprefix("otel_progress."): otlp._value(pair.value)  # pyright: ignore[reportPrivateUsage]
        for pair in record.attributes
    }
    assert len(attributes) == len(record.attributes), "an attribute stands twice"
    return {
        "event": record.event_name.removeprefix("otel_progress."),
        "at": record.time_unix_nano,
        "severity": record.severity_number,
        # OTLP writes ids as hexadecimal digits, which this parser takes for Base64.
        "trace": base64.b64encode(record.trace_id).decode(),
        "span": base64.b64encode(record.span_id).decode(),
        **attributes,
    }


@pytest.fixture
def told(telemetry: Telemetry) -> tuple[Lines, EventSink]:
    """The lines of the process's recorder, and the sink that writes them."""
    lines = Lines()
    sink = EventSink(lines)
    sinks = telemetry.recorder.sinks
    telemetry.recorder.sinks = [sinks[0], sink, *sinks[1:]]
    return lines, sink


Told = tuple[Lines, EventSink]


def test_the_events_of_a_run(telemetry: Telemetry, told: Told) -> None:
    shared: dict[str, Any] = {"task_requirements": {"platforms": ["x", "y"]}, "quality_control": {"revision_count": 1}}
    with workflow("w", shared=shared):
        telemetry.time.passes(1)
        with stage("draft", budget="2m"):
            telemetry.time.passes(2)
            with stage("look"):
                pass
    run_id = {"run.id": "run-1", "workflow.name": "w"}
    trace = {"trace": f"{1:032x}"}
    run, draft, look = ({**trace, "span": f"{number:016x}"} for number in (1, 2, 3))
    known = {"stage.platforms": ["x", "y"], "stage.platform_count": 2, "stage.revision": 1}
    first = {**run_id, "stage.name": "draft", "stage.visit": 1, "stage.visit_id": "1-aaaaaa.1", **known}
    second = {**run_id, "stage.name": "look", "stage.visit": 1, "stage.visit_id": "1-aaaaaa.2", **known}
    good = {"stage.result": "success", "stage.attempts": 1}
    assert told[0].events() == [
        {"event": "run.started", "at": START, "severity": 9, **run, **run_id},
        {"event": "stage.started", "at": START + SECOND, "severity": 9, **draft, **first, "stage.budget": 120.0},
        {"event": "stage.started", "at": START + 3 * SECOND, "severity": 9, **look, **second}
        | {"parent.visit_id": "1-aaaaaa.1"},
        {"event": "stage.ended", "at": START + 3 * SECOND, "severity": 9, **look, **second, **good, "duration": 0.0},
        {"event": "stage.ended", "at": START + 3 * SECOND, "severity": 9, **draft, **first, **good, "duration": 2.0},
        {"event": "run.ended", "at": START + 3 * SECOND, "severity": 9, **run, **run_id}
        | {"result": "success", "duration": 3.0},
    ]


@pytest.mark.parametrize("nanos", [0, 1, 12_345, 999_999_999, 1_000_000_000, 1_000_000_001, 86_400_000_000_001])
def test_durations_of_every_length(telemetry: Telemetry, told: Told, nanos: int) -> None:
    with stage("draft"):
        telemetry.time.wall += nanos
        telemetry.time.monotonic += nanos
    (ended,) = told[0].events("stage.ended")
    assert ended["duration"] == nanos / SECOND


def test_platforms_and_revisions_that_change_between_visits_and_within_them(telemetry: Telemetry, told: Told) -> None:
    shared: dict[str, Any] = {}

    def now_says(platforms: list[str], revision: int) -> None:
        shared["task_requirements"] = {"platforms": platforms}
        shared["quality_control"] = {"revision_count": revision}

    with workflow("w", shared=shared):
        for platforms, revision in ((["x"], 0), (["x"], 1), (["x", "y"], 1), (["x"], 0)):
            now_says(platforms, revision)
            with stage("draft"):
                pass
        with stage("draft"):
            now_says(["z"], 3)
    lines = [
        (event["stage.platforms"], event["stage.revision"]) for event in told[0].events() if "stage.visit" in event
    ]
    at_once = [(["x"], 0), (["x"], 1), (["x", "y"], 1), (["x"], 0)]
    assert lines == [each for each in at_once for _ in range(2)] + [(["x"], 0), (["z"], 0)]


def test_a_run_that_ends_well_says_nothing_of_a_failure_in_it(telemetry: Telemetry, told: Told) -> None:
    lines, _ = told
    for failing in (False, True):
        with suppress(KeyError), workflow("nightly"):
            with suppress(ValueError), stage("draft"):
                raise ValueError
            if failing:
                raise KeyError
    ends = [(each["severity"], each["result"], each.get("error.type")) for each in lines.events("run.ended")]
    assert ends == [(9, "success", None), (13, "failure", "KeyError")]


def test_told_before_the_code_runs_and_before_anything_else_knows(telemetry: Telemetry, told: Told) -> None:
    lines, _ = told
    store: dict[str, Any] = {}
    seen: list[int] = []
    with workflow("w", shared=store):
        seen.append(len(lines.written))
        with stage("a"):
            seen.append(len(lines.written))
        seen.append(len(lines.written))
    assert [*seen, len(lines.written)] == [1, 2, 3, 4]


def test_threads_that_begin_at_once_lose_nothing(told: Told) -> None:
    lines, _ = told
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> bool:
        inside.set()
        return go_on.wait(10)

    def work() -> None:
        with workflow("w"):
            pass

    lines.begin = slow  # type: ignore[method-assign]
    threads = [threading.Thread(target=work) for _ in range(4)]
    threads[0].start()
    assert inside.wait(10)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(lines.written) == 8


def test_a_beginning_that_a_handler_breaks_off_is_made_again(telemetry: Telemetry, told: Told) -> None:
    lines, _ = told
    begin = lines.begin

    def broken() -> bool:
        lines.begin = begin  # type: ignore[method-assign]
        raise TimeoutError

    lines.begin = broken  # type: ignore[method-assign]
    with suppress(TimeoutError), workflow("w"):
        pass
    with workflow("w"):
        pass
    assert [event["event"] for event in lines.events()][-2:] == ["run.started", "run.ended"]


def test_what_the_official_encoder_makes_of_the_same(telemetry: Telemetry, told: Told) -> None:
    with workflow("w", shared={"task_requirements": {"platforms": ["x", "ÿ"]}}), stage("draft", budget=1.5) as visit:
        visit.advance(1, total=2)
    line = json.loads(told[0].written[2])
    (record,) = line["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    values: dict[str, Any] = {}
    for pair in record["attributes"]:
        ((kind, value),) = pair["value"].items()
        if kind == "arrayValue":
            value = [each["stringValue"] for each in value["values"]]
        values[pair["key"]] = int(str(value)) if kind == "intValue" else value
    official = encode_logs(
        [
            ReadableLogRecord(
                LogRecord(  # pyright: ignore[reportCallIssue] - its overloads leave out what it takes
                    timestamp=int(record["timeUnixNano"]),
                    trace_id=int(record["traceId"], 16),
                    span_id=int(record["spanId"], 16),
                    trace_flags=TraceFlags(record["flags"]),
                    severity_number=SeverityNumber(record["severityNumber"]),
                    event_name=record["eventName"],
                    attributes=values,
                ),
                Resource({}),
                InstrumentationScope("otel_progress"),
            )
        ]
    ).to_dict()
    (theirs,) = official["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    del theirs["observedTimeUnixNano"]  # When the SDK saw it, which is when it happened.
    assert {key: value for key, value in theirs.items() if value} == record
    assert {"otel_progress.stage.items.done", "otel_progress.stage.platforms"} <= set(values)


def outcomes(shared: dict[str, Any]) -> None:
    for error in (ValueError("no"), KeyboardInterrupt(), SystemExit(3), SystemExit(0), GeneratorExit()):
        with pytest.raises(type(error)), stage("fails", shared=shared):
            raise error


def test_how_a_visit_ends(telemetry: Telemetry, told: Told) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        outcomes(shared)
        stage("left", shared=shared).__enter__()
    ended = told[0].events("stage.ended")
    assert [(end["stage.result"], end.get("error.type"), end["severity"]) for end in ended] == [
        ("failure", "ValueError", 13),
        ("cancelled", "KeyboardInterrupt", 13),
        ("failure", "SystemExit", 13),
        ("success", None, 9),
        ("cancelled", "GeneratorExit", 13),
        ("abandoned", None, 13),
    ]
    assert [end["stage.visit"] for end in ended] == [1, 2, 3, 4, 5, 1]
    assert len({end["stage.visit_id"] for end in ended}) == 6


ODD = ['a"b', "a\\b", "a\nb", "\x00\x1f\x7f", "é\u2028\U0001f600", "\ud800", "</script>", "{" * 300, "%s {0}"]


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_names_of_every_kind(telemetry: Telemetry, told: Told, odd: str) -> None:
    kind = type(f"E{odd}".replace("\x00", "").replace("\ud800", ""), (Exception,), {})
    shared = {"task_requirements": {"platforms": [odd, "x"]}, "progress_run": {"run_id": odd}}
    with workflow(f"w{odd}w", shared=shared), pytest.raises(kind), stage(f"s{odd}s") as visit:
        visit.platform(f"p{odd}p")
        raise kind
    for line in told[0].written:
        parsed(line)
        assert line.isascii()
    (end,) = told[0].events("stage.ended")
    assert end["stage.name"] == telemetry.spans("stage")[0].attributes["otel_progress.stage.name"]  # pyright: ignore[reportOptionalSubscript]


def test_what_a_node_tells(telemetry: Telemetry, told: Told) -> None:
    class Flaky(BatchNode):  # type: ignore[type-arg]
        tries = 0

        def prep(self, shared: Any) -> list[str]:
            return ["x", "y"]

        def exec(self, prep_res: Any) -> None:
            Flaky.tries += 1
            if Flaky.tries == 1:
                raise TimeoutError

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return "revise"

    flaky = Flaky(max_retries=2)
    flaky.next(Node(), "revise")
    PocketFlowInstrumentor().instrument()
    try:
        Flow(flaky).run({})
    finally:
        PocketFlowInstrumentor().uninstrument()
    lines, sink = told
    sink.flush()
    end = lines.events("stage.ended")[0]
    assert {key: end[key] for key in end if key.startswith("stage.")} == {
        "stage.name": "Flaky",
        "stage.visit": 1,
        "stage.visit_id": "1-aaaaaa.1",
        "stage.result": "success",
        "stage.attempts": 3,
        "stage.retries": 1,
        "stage.action": "revise",
        "stage.items.total": 2,
        "stage.items.done": 2,
        "stage.items.failed": 0,
    }


def test_items_of_a_batch_flow_are_told_from_each_other(telemetry: Telemetry, told: Told) -> None:
    class Each(BatchFlow):  # type: ignore[type-arg]
        def prep(self, shared: Any) -> list[dict[str, str]]:
            return [{"platform": "x"}, {"platform": "y"}]

    PocketFlowInstrumentor().instrument()
    try:
        Each(Node()).run({})
    finally:
        PocketFlowInstrumentor().uninstrument()
    nodes = [event for event in told[0].events("stage.started") if event["stage.name"] == "Node"]
    assert [(node["item.platform"], node["stage.visit"]) for node in nodes] == [("x", 1), ("y", 1)]
    assert len({node["stage.visit_id"] for node in nodes}) == 2


def test_a_visit_that_a_tracker_begins_and_code_takes_over_is_one(telemetry: Telemetry, told: Told) -> None:
    shared: dict[str, Any] = {"workflow_state": {"current_stage": "draft"}}
    with workflow("w", shared=shared):
        ProgressTrackerNode().run(shared)
        with stage("draft"):
            pass
    assert [event["event"] for event in told[0].events()] == [
        "run.started",
        "stage.started",
        "stage.ended",
        "run.ended",
    ]


def test_a_joined_run_says_so(telemetry: Telemetry, told: Told) -> None:
    saved = {"progress_run": {"run_id": "r-7", "workflow": "w", "traceparent": f"00-{7:032x}-{8:016x}-01"}}
    with stage("later", shared=saved):
        pass
    telemetry.recorder.close()
    events = told[0].events()
    assert [(event["event"], event["run.id"], event.get("run.joined")) for event in events] == [
        ("run.started", "r-7", True),
        ("stage.started", "r-7", None),
        ("stage.ended", "r-7", None),
        ("run.ended", "r-7", True),
    ]
    assert {event["trace"] for event in events} == {f"{7:032x}"}


def test_the_span_around_is_told_where_it_is_none_of_ours(telemetry: Telemetry, told: Told) -> None:
    tracer = telemetry.tracer_provider.get_tracer("theirs")
    with tracer.start_as_current_span("request"), workflow("w"), tracer.start_as_current_span("inner"), stage("a"):
        pass
    run, visit = told[0].events("started")
    assert run["parent.span_id"] == f"{1:016x}"
    assert visit["parent.span_id"] == f"{3:016x}"


def test_what_is_not_sampled_is_told(told: Told, telemetry: Telemetry) -> None:
    lines, sink = told
    recorder = telemetry.recorder
    recorder.sinks = [*usual.usual_sinks(recorder, TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)), sink]
    with workflow("w"), stage("a"):
        pass
    assert [event["event"] for event in lines.events()] == ["run.started", "stage.started", "stage.ended", "run.ended"]


def test_what_visits_of_a_stage_share_is_made_once(
    telemetry: Telemetry, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each has a `stage` of its own; and what they do not share is told of each."""

    def made(self: RunTexts, *arguments: Any) -> StageTexts:
        count.append(1)
        return texts_of(self, *arguments)

    count, texts_of = list[int](), RunTexts.texts_of
    monkeypatch.setattr(RunTexts, "texts_of", made)
    budgets = [None, None, "1m", "1m", "2m", None]
    with workflow("w"):
        for budget in budgets:
            with stage("a", budget=budget):
                pass
    assert len(count) == 4
    assert [event.get("stage.budget") for event in told[0].events("stage.started")] == [None, None, 60, 60, 120, None]


def test_a_stage_that_is_called_as_those_beyond_are_is_told_from_them(
    telemetry: Telemetry, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_progress.recording.live.MOST_TOLD_APART", 2)
    called = [names.OTHER, "a", "b", names.OTHER, "c"]
    with workflow("w"):
        for name in called:
            with stage(name):
                pass
    assert [event["stage.name"] for event in told[0].events("stage.started")] == called


class EveryOther(Sampler):
    """Takes one span, not the next, in whatever trace."""

    def __init__(self) -> None:
        self.turn = itertools.cycle((Decision.RECORD_AND_SAMPLE, Decision.DROP))

    def should_sample(self, *_args: Any, **_kwargs: Any) -> SamplingResult:
        return SamplingResult(next(self.turn))

    def get_description(self) -> str:
        return "every other"


def test_of_each_visit_it_is_told_whether_it_is_sampled(told: Told, telemetry: Telemetry) -> None:
    """By that the command knows which spans of a child are missing."""
    lines, sink = told
    recorder = telemetry.recorder
    recorder.sinks = [*usual.usual_sinks(recorder, TracerProvider(sampler=EveryOther(), shutdown_on_exit=False)), sink]
    flags: dict[int, int] = {}
    with workflow("w"):
        for _ in range(4):
            with stage("a") as visit:
                context = visit.span.get_span_context()
                flags[context.span_id] = context.trace_flags
    assert sorted(each & TraceFlags.SAMPLED for each in flags.values()) == [0, 0, 1, 1]
    for line in lines.written[1:-1]:
        (record,) = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        assert record["flags"] == flags[int(record["spanId"], 16)]


def test_of_each_visit_it_is_told_in_which_trace_it_is(told: Told, telemetry: Telemetry) -> None:
    lines, _ = told
    tracer, expected = telemetry.tracer_provider.get_tracer("requests"), list[str]()
    with workflow("w"):
        for _ in range(2):
            with tracer.start_as_current_span("request", Context()) as request, stage("draft"):
                pass
            expected += [f"{request.get_span_context().trace_id:032x}"] * 2
    assert [event["trace"] for event in lines.events() if "stage" in event["event"]] == expected
    assert len(set(expected)) == 2


def test_nothing_is_kept_of_a_run_that_has_ended(told: Told, telemetry: Telemetry) -> None:
    """Also where code that differs has a stage in common, whose texts are made anew again and again."""
    _, sink = told
    with workflow("w"):
        for _ in range(3):
            stage("draft")(lambda: None)()
            with stage("draft") as each:
                each.advance(1)
        with stage("draft") as visit:
            pass
        assert [len(each.stages) for each in sink._runs.values()] == [1]
    assert sink._runs == sink._open == sink._progress == {}
    sink.visit_ended(visit)  # Of a thread that comes to it behind the one that ends the run.
    assert sink._runs == {}


def test_without_an_sdk_there_are_no_ids(told: Told, telemetry: Telemetry) -> None:
    lines, sink = told
    telemetry.recorder.sinks = [sink]
    with workflow("w"), stage("a"):
        pass
    assert {(event["trace"], event["span"]) for event in lines.events()} == {("", "")}


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_told_at_once_or_within_a_tenth_of_a_second(telemetry: Telemetry, told: Told) -> None:
    lines, sink = told

    def done() -> list[tuple[int, int]]:
        events = lines.events("stage.progress")
        return [(event["stage.items.done"], (event["at"] - START) * 100 // SECOND) for event in events]

    with workflow("w"), stage("a") as visit:
        visit.advance(1, total=9)
        visit.advance(1)
        assert (done(), lines.woken) == ([], 1)
        telemetry.time.passes(0.1)
        sink.flush()
        assert done() == [(2, 10)]
        sink.flush()
        telemetry.time.passes(5)
        visit.advance(1)  # Long after the last: at once.
        visit.advance(1)
        assert done() == [(2, 10), (3, 510)]
        telemetry.time.passes(0.1)
        sink.flush()
        visit.advance(1)
    sink.flush()
    assert done() == [(2, 10), (3, 510), (4, 520)]
    assert lines.events("stage.ended")[0]["stage.items.done"] == 5


def test_a_retry_is_progress(telemetry: Telemetry, told: Told) -> None:
    lines, sink = told

    class Flaky(Node):  # type: ignore[type-arg]
        tries = 0

        def exec(self, prep_res: Any) -> None:
            telemetry.time.passes(1)
            Flaky.tries += 1
            if Flaky.tries < 3:
                raise ValueError

    stage("flaky")(Flaky)
    Flaky(max_retries=3).run({})
    sink.flush()
    assert [(event["stage.attempts"], event["error.type"]) for event in lines.events("stage.progress")] == [
        (2, "ValueError"),
        (3, "ValueError"),
    ]


# --- into a record ----------------------------------------------------------------------------------------------------


@pytest.fixture
def writer(telemetry: Telemetry, tmp_path: Path) -> Generator[Writer]:
    """What writes the events of the process's recorder into a folder."""
    made = Writer(tmp_path / "record", lambda: "tests")
    made.attach(telemetry.recorder)
    yield made
    made.finish()


def events_in(folder: Path) -> list[Event]:
    """The events of a record; every line is whole."""
    return [parsed(line + b"\n") for line in (folder / "events.jsonl").read_bytes().removesuffix(b"\n").split(b"\n")]


def test_a_line_says_who_wrote_it(telemetry: Telemetry, writer: Writer, tmp_path: Path) -> None:
    with workflow("w"):
        pass
    line = json.loads((tmp_path / "record" / "events.jsonl").read_text().splitlines()[0])["resourceLogs"][0]
    assert {pair["key"]: pair["value"] for pair in line["resource"]["attributes"]} == {
        "service.name": {"stringValue": "tests"},
        names.PROCESS: {"stringValue": writer.process},
    }
    assert writer.process.partition("-")[0] == str(os.getpid())
    assert line["scopeLogs"][0]["scope"] == {"name": "otel_progress"}
    assert (tmp_path / "record" / f"process-{writer.process}.json").exists()


def test_a_lone_last_progress_is_written(writer: Writer, tmp_path: Path) -> None:
    with workflow("w"), stage("a") as visit:
        visit.advance(1)
        otlp.wait_until(lambda: "stage.progress" in [event["event"] for event in events_in(tmp_path / "record")])


def test_a_hundred_thousand_stages_lose_none(writer: Writer, tmp_path: Path) -> None:
    def work() -> None:
        shared: dict[str, Any] = {}
        with workflow("w", shared=shared):
            for _ in range(25_000):
                with stage("a"):
                    pass

    default.recorder.sinks = [writer.sink]
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.finish(60)
    lines = (tmp_path / "record" / "events.jsonl").read_bytes().splitlines()
    assert len(lines) == 2 * 4 + 2 * 100_000
    assert sum(b'"otel_progress.stage.ended"' in line for line in lines) == 100_000
    for line in lines[::1000]:
        parsed(line + b"\n")


def test_where_writing_takes_long_a_thread_does_it_until_it_is_quick(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: Callable[[], list[str]]
) -> None:
    write, slow, threads = os.write, [True], list[int]()
    now = [0.0]
    for module in ("appending", "writer"):
        monkeypatch.setattr(f"otel_progress.runs.{module}.perf_counter", lambda: now[0])

    def take(descriptor: int, data: bytes) -> int:
        now[0] += 0.03 if slow[0] else 0.001
        written = write(descriptor, data)
        threads.append(threading.get_ident())
        return written

    monkeypatch.setattr(os, "write", take)

    def say(message: str) -> None:
        waits.append(writer.is_behind)
        report(message)

    waits: list[bool] = []
    monkeypatch.setattr("otel_progress.runs.writer.report", say)
    me = threading.get_ident()
    with workflow("w"):
        for _ in range(20):
            with stage("a"):
                pass
    assert waits == [False]  # It is said before any line waits, which could be lost unsaid.
    assert threads[:3] == [me, me, me]
    assert threads.count(me) == 3
    slow[0] = False
    writer.finish(60)
    assert len(events_in(tmp_path / "record")) == 42
    assert len(faults()) == 1
    otlp.wait_until(lambda: not writer.is_behind)
    with workflow("w"):
        pass
    assert threads.count(me) == 5


@pytest.fixture
def behind(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """A writer whose thread does nothing, with room for three lines."""
    monkeypatch.setattr("otel_progress.runs.writer._MOST_WAITING", 3)
    assert writer.begin()
    monkeypatch.setattr(writer._keeper, "wake", lambda: None)
    writer._fall_behind()
    return writer


def test_where_the_thread_falls_behind_it_is_written_in_the_frame_again(behind: Writer, tmp_path: Path) -> None:
    behind._written_at = float("inf")
    for _ in range(5):
        behind.write(b"{}\n")
    assert (tmp_path / "record" / "events.jsonl").read_bytes() == b"{}\n" * 2
    assert len(behind._waiting) == 3


def test_what_cannot_be_written_in_time_is_said(behind: Writer, caplog: pytest.LogCaptureFixture) -> None:
    behind._written_at = float("-inf")
    for _ in range(5):
        behind.write(b"{}\n")
    behind.finish(0)
    assert "5 events were not written" in caplog.text
    assert behind.file.fault == "it takes too long to write"


A_PAGE, A_QUARTER = b" " * 4095 + b"\n", b" " * 1023 + b"\n"


def test_slow_writes_with_a_quick_one_among_them_are_no_slow_disk(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, now, takes = os.write, [0.0], iter([0.03, 0.03, 0.001, 0.03, 0.03, 0.001])
    for module in ("appending", "writer"):
        monkeypatch.setattr(f"otel_progress.runs.{module}.perf_counter", lambda: now[0])
    assert writer.begin()
    writer.write(A_PAGE)

    def take(descriptor: int, data: bytes) -> int:
        now[0] += next(takes)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", take)
    for _ in range(6):
        writer.write(A_PAGE)
    assert not writer.is_behind
    assert not list(takes)


def test_a_disk_that_becomes_slow_is_noticed_with_the_next_page(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, now, written = os.write, [0.0], list[bytes]()
    for module in ("appending", "writer"):
        monkeypatch.setattr(f"otel_progress.runs.{module}.perf_counter", lambda: now[0])
    assert writer.begin()
    monkeypatch.setattr(writer._keeper, "wake", lambda: None)
    writer.file.append(A_PAGE)
    for _ in range(3):
        writer.file.append(A_QUARTER)

    def take(descriptor: int, data: bytes) -> int:
        now[0] += 0.03
        written.append(data)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", take)
    for _ in range(8):
        writer.write(A_QUARTER)
    assert len(written) == 4  # The last of its page, the first of the next, and the two after that.


def test_a_busy_interpreter_is_no_slow_disk(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    waits = itertools.cycle([0.0, 0.0, 0.03])  # Not every time.

    def waits_for_the_gil(_: float) -> None:
        now[0] += next(waits)

    def take(descriptor: int, data: bytes) -> int:
        now[0] += 0.05
        return write(descriptor, data)

    write = os.write
    for module in ("appending", "writer"):
        monkeypatch.setattr(f"otel_progress.runs.{module}.perf_counter", lambda: now[0])
    monkeypatch.setattr("otel_progress.runs.writer.sleep", waits_for_the_gil)
    monkeypatch.setattr(os, "write", take)
    with workflow("w"), stage("a"):
        pass
    assert not writer.is_behind


DEATHS = {
    "killed": "os.kill(os.getpid(), 9)",
    "terminated": "signal.signal(15, signal.SIG_DFL); os.kill(os.getpid(), 15)",
    "exits at once": "os._exit(3)",
    "segfault": "import ctypes; ctypes.string_at(0)",
    "aborts": "os.abort()",
    "killed while C code keeps the GIL": """
threading.Thread(target=lambda: (time.sleep(0.2), None)).start()
pid = os.getpid()
if os.fork() == 0:
    time.sleep(0.3); os.kill(pid, 9); os._exit(0)
import ctypes
ctypes.PyDLL(None).sleep(60)
""",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_a_process_that_dies_has_told_what_it_was_doing(tmp_path: Path, death: str) -> None:
    program = (
        "import os, signal, sys, threading, time\n"
        "from otel_progress import stage, workflow\n"
        "with workflow('w'):\n"
        "    with stage('before'): pass\n"
        "    with stage('last') as visit:\n"
        "        visit.advance(1, total=2)\n"
    ) + "\n".join(f"        {line}" for line in death.strip().splitlines())
    otlp.write(tmp_path, program)
    ended = otlp.run(tmp_path, ["-m", "otel_progress", "run", "program.py"])
    assert ended.returncode != 0
    (folder,) = (tmp_path / ".otel-progress" / "runs").iterdir()
    events = [event for event in events_in(folder) if event["event"] != "stage.progress"]
    assert [(event["event"], event.get("stage.name")) for event in events] == [
        ("run.started", None),
        ("stage.started", "before"),
        ("stage.ended", "before"),
        ("stage.started", "last"),
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
def test_a_forked_child_writes_as_itself(telemetry: Telemetry, writer: Writer, tmp_path: Path) -> None:
    with workflow("w"), stage("a"):
        child = os.fork()
        if child == 0:
            try:
                with stage("in the child"):
                    pass
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    events = events_in(tmp_path / "record")
    mine = [event for event in events if event.get("stage.name") == "a"]
    (start, _) = [event for event in events if event.get("stage.name") == "in the child"]
    assert {event["run.id"] for event in events} == {"run-1"}
    assert start["stage.visit_id"].split("-")[0] == str(child)
    assert {event["stage.visit_id"] for event in mine} == {f"{writer.process}.1"}
    assert len(list((tmp_path / "record").glob("process-*.json"))) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")
def test_an_end_is_told_though_a_handler_raises_while_it_is(telemetry: Telemetry, told: Told) -> None:
    lines, sink = told
    write, times = lines.write, [0]

    def interrupted(line: bytes) -> None:
        if b"stage.ended" in line and not times[0]:
            times[0] += 1
            signal.raise_signal(signal.SIGUSR1)
        write(line)

    def handler(_number: int, _frame: object) -> None:
        raise TimeoutError("the time limit of a job")

    lines.write = interrupted  # type: ignore[method-assign]
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TimeoutError), workflow("w"), stage("a"):
            pass
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [event["stage.result"] for event in lines.events("stage.ended")] == ["success"]
    assert sink._open == {}


def test_what_a_visit_follows(telemetry: Telemetry, told: Told) -> None:
    with workflow("w"):
        for name in ("a", "b", "a"):
            with stage(name):
                pass
    started = told[0].events("stage.started")
    assert [event.get("stage.follows") for event in started] == [None, ["1-aaaaaa.1"], ["1-aaaaaa.2"]]


def test_a_visit_that_follows_several(telemetry: Telemetry, told: Told) -> None:
    async def each(name: str) -> None:
        with stage(name):
            await asyncio.sleep(0)

    async def main() -> None:
        with workflow("w"):
            await gather(each("a"), each("b"), each("c"))
            with stage("after", revision=2):
                pass

    asyncio.run(main())
    after = told[0].events("stage.started")[-1]
    assert (after["stage.follows"], after["stage.revision"]) == (["1-aaaaaa.1", "1-aaaaaa.2", "1-aaaaaa.3"], 2)


def test_a_visit_in_which_no_attempt_was_seen_says_so(telemetry: Telemetry, told: Told) -> None:
    recorder = telemetry.recorder
    with workflow("w"):
        for attempts in (0, 1):
            recorder.end(recorder.start_visit(Call(Code("a", attempts=attempts))))
    assert [event["stage.attempts"] for event in told[0].events("stage.ended")] == [0, 1]
