"""`configure`, from outside: what a program exports arrives at a real OTLP receiver, or its end is bounded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_progress import configure
from otel_progress.telemetry.exporters import Exporter
from otel_progress.telemetry.secrets import without_secrets

from . import otlp

ONE_RUN = """
    with workflow("campaign", shared={}):
        with stage("draft"):
            pass
"""


def program(before: str, after: str = ONE_RUN) -> str:
    """A program that configures (or not) and then does something."""
    lines = f"import sys\nfrom otel_progress import configure, stage, workflow\n{before}\n"
    return lines + otlp.textwrap.dedent(after)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_spans_and_metrics_arrive(tmp_path: Path, receiver: otlp.Receiver, protocol: str) -> None:
    endpoint = receiver.grpc if protocol == "grpc" else receiver.http
    otlp.run_code(
        tmp_path,
        program("configure('studio')"),
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
    )
    assert receiver.names() == ["run campaign", "stage draft"]
    assert {span.resource["service.name"] for span in receiver.spans} == {"studio"}
    stage, run = sorted(receiver.spans, key=lambda span: span.name, reverse=True)
    assert (stage.trace_id, stage.parent_id, stage.scope) == (run.trace_id, run.span_id, "otel_progress")
    assert stage.attributes["otel_progress.stage.name"] == "draft"
    durations = [point for point in receiver.points if point.metric == "otel_progress.stage.duration"]
    assert [point.value for point in durations] == [1]
    assert {request.split()[0] for request in receiver.requests} == {"grpc" if protocol == "grpc" else "http"}


def test_endpoint_as_an_argument_serves_every_signal(tmp_path: Path, receiver: otlp.Receiver) -> None:
    otlp.run_code(
        tmp_path,
        program(f"configure(endpoint='{receiver.http}/')"),
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
    )
    assert sorted(receiver.requests) == ["http metrics gzip", "http traces gzip"]
    receiver.spans.clear()
    otlp.run_code(
        tmp_path,
        program(f"configure(endpoint='{receiver.grpc}')"),
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
    )
    assert len(receiver.spans) == 2


@pytest.mark.parametrize(
    ("arguments", "variables", "name"),
    [
        ("'argument'", {"OTEL_SERVICE_NAME": "variable", "OTEL_RESOURCE_ATTRIBUTES": "service.name=x"}, "argument"),
        ("", {"OTEL_SERVICE_NAME": "variable", "OTEL_RESOURCE_ATTRIBUTES": "service.name=resource"}, "variable"),
        ("", {"OTEL_RESOURCE_ATTRIBUTES": "service.name=resource"}, "resource"),
        ("resource_attributes={'service.name': 'attributes'}", {"OTEL_SERVICE_NAME": "variable"}, "attributes"),
        ("", {}, "program"),
    ],
)
def test_service_name(
    tmp_path: Path, receiver: otlp.Receiver, arguments: str, variables: dict[str, str], name: str
) -> None:
    code = program(f"print(configure({arguments}).service_name)", "with stage('only'): pass")
    ended = otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, **variables)
    assert ended.stdout == f"{name}\n"
    assert {span.resource["service.name"] for span in receiver.spans} == {name}
    assert {span.attributes["otel_progress.workflow.name"] for span in receiver.spans} == {name}


def test_resource_attributes(tmp_path: Path, receiver: otlp.Receiver) -> None:
    otlp.run_code(
        tmp_path,
        program("configure(resource_attributes={'deployment.environment.name': 'test', 'shard': 3})"),
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http,
        OTEL_RESOURCE_ATTRIBUTES="team=pr,shard=1",
    )
    for one in (receiver.spans[0].resource, receiver.points[0].resource):
        assert (one["deployment.environment.name"], one["team"], one["shard"]) == ("test", "pr", 3)
        assert one["service.instance.id"]


def test_settings_are_those_of_the_arguments(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program(
        "configure(mirror=False, detail='phases', capture_messages=False)",
        """
        from pocketflow import Node
        shared = {}
        @stage()
        class Draft(Node):
            def exec(self, _):
                raise ValueError("secret")
        try:
            Draft().run(shared)
        except ValueError:
            print(shared)
        """,
    )
    ended = otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, OTEL_PROGRESS_MIRROR="true")
    assert ended.stdout == "{}\n"
    assert {"prep", "exec"} <= set(receiver.names())
    assert "secret" not in repr(receiver.spans)


def test_spans_of_others_say_where_they_were_made(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program(
        "configure('studio')",
        """
        from opentelemetry import trace
        tracer = trace.get_tracer("llm")
        tracer.start_span("before").end()
        with workflow("campaign") as run:
            tracer.start_span("between").end()
            with stage("draft"), tracer.start_as_current_span("chat"):
                tracer.start_span("http").end()
        print(run.id)
        """,
    )
    run_id = otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http).stdout.strip()
    in_run = {"otel_progress.workflow.name": "campaign", "otel_progress.run.id": run_id}
    assert {span.name: span.attributes for span in receiver.spans if span.scope == "llm"} == {
        "before": {},
        "between": in_run,
        "chat": {**in_run, "otel_progress.stage.name": "draft"},
        "http": {**in_run, "otel_progress.stage.name": "draft"},
    }


def test_logs_only_where_asked_for(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program(
        "configure('studio')",
        """
        from opentelemetry._logs import LogRecord, get_logger
        get_logger("app").emit(LogRecord(body="hello"))
        """,
    )
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    otlp.run_code(tmp_path, code, **variables)
    assert receiver.requests == ["http metrics identity"]  # What the exporter of spans says of itself.
    otlp.run_code(tmp_path, code, OTEL_LOGS_EXPORTER="otlp", **variables)
    assert [(log.body, log.resource["service.name"]) for log in receiver.logs] == [("hello", "studio")]


def test_disabled_sdk_exports_nothing_and_the_mirror_still_works(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program(
        "telemetry = configure('studio')",
        """
        shared = {}
        with workflow("campaign", shared=shared), stage("draft"):
            pass
        print(shared["progress_metrics"]["draft"]["completed"], telemetry.flush())
        """,
    )
    ended = otlp.run_code(
        tmp_path,
        code,
        OTEL_SDK_DISABLED="true",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http,
        OTEL_TRACES_EXPORTER="misspelt",
    )
    assert (ended.stdout, ended.stderr, receiver.requests) == ("True True\n", "", [])


def test_what_is_not_sampled_is_still_counted(tmp_path: Path, receiver: otlp.Receiver) -> None:
    variables = {"OTEL_TRACES_SAMPLER": "always_off", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    otlp.run_code(tmp_path, program("configure('studio')"), **variables)
    assert receiver.spans == []
    assert [point.value for point in receiver.points if point.metric == "otel_progress.run.duration"] == [1]


def test_other_exporters(tmp_path: Path, receiver: otlp.Receiver) -> None:
    ended = otlp.run_code(
        tmp_path,
        program("configure('studio')"),
        OTEL_TRACES_EXPORTER="console, otlp",
        OTEL_METRICS_EXPORTER="none",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http,
    )
    assert '"name": "stage draft"' in ended.stdout
    assert receiver.requests == ["http traces identity"]


def test_no_exporter_at_all(tmp_path: Path) -> None:
    ended = otlp.run_code(
        tmp_path, program("configure('studio')"), OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none"
    )
    assert (ended.stdout, ended.stderr) == ("", "")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("OTEL_TRACES_EXPORTER", "jaeger", "OTEL_TRACES_EXPORTER names 'jaeger', and no installed package has such an"),
        ("OTEL_METRICS_EXPORTER", "otpl", "OTEL_METRICS_EXPORTER names 'otpl'"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "is 'http/json'; the protocols are grpc and http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is 'udp'"),
    ],
)
def test_a_wrong_variable_is_said_before_anything_is_set_up(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=message):
        configure("studio")
    monkeypatch.setenv(variable, "none")  # No second ValueError, no warning that it was called before.


def test_a_wrong_argument_is_said() -> None:
    with pytest.raises(ValueError, match="endpoint must begin with http:// or https://"):
        configure(endpoint="localhost:4318")
    with pytest.raises(ValueError, match="detail must be one of none, phases, items, all, not 'most'"):
        configure(detail="most")  # pyright: ignore[reportArgumentType] - that is the point


def test_called_twice_it_warns_and_exports_once(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program("one = configure('first'); print(configure('second') is one)")
    ended = otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    assert ended.stdout == "True\n"
    assert ended.stderr == "configure() was called before, for service 'first': this call changes nothing\n"
    assert receiver.names() == ["run campaign", "stage draft"]
    assert {span.resource["service.name"] for span in receiver.spans} == {"first"}


def test_an_application_with_providers_of_its_own_keeps_them(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program(
        """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
own = TracerProvider()
own.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name + " ")))
trace.set_tracer_provider(own)
with configure('studio') as telemetry:
    print(trace.get_tracer_provider() is own, telemetry.flush())
        """
    )
    ended = otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    assert ended.stdout == "True True\nstage draft run campaign "
    assert "has a tracer provider already: configure() leaves it alone" in ended.stderr
    assert receiver.requests == []


def test_flush_exports_what_has_ended_and_leaves_open_stages_open(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program(
        "telemetry = configure('studio')",
        """
        with workflow("campaign"), stage("open"):
            with stage("ended"):
                pass
            print(telemetry.flush(), flush=True)
            sys.stdin.read()
        """,
    )
    with otlp.start(tmp_path, [str(otlp.write(tmp_path, code))], OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "True\n"
        assert receiver.names() == ["stage ended"]
        active = [point.value for point in receiver.points if point.metric == "otel_progress.stage.active"]
        assert sum(active) == 1
        process.stdin.close()
        assert process.wait(otlp.TIMEOUT) == 0
    assert receiver.names() == ["run campaign", "stage ended", "stage open"]


def test_flush_says_that_the_collector_was_too_slow(tmp_path: Path, receiver: otlp.Receiver) -> None:
    receiver.answers = False
    code = program("telemetry = configure('studio', exit_timeout=0.1)", ONE_RUN + "    print(telemetry.flush(0.1))")
    ended = otlp.run_code(tmp_path, otlp.textwrap.dedent(code), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    assert ended.stdout == "False\n"


def test_as_a_context_manager_it_ends_what_is_open(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program(
        "",
        """
        with configure("studio") as telemetry:
            left_open = stage("open")
            left_open.__enter__()
        print("ended", flush=True)
        telemetry.shutdown()
        sys.stdin.read()
        """,
    )
    with otlp.start(tmp_path, [str(otlp.write(tmp_path, code))], OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ended\n"
        assert receiver.names() == ["run studio", "stage open"]
        (stage,) = [span for span in receiver.spans if span.name == "stage open"]
        assert stage.attributes["otel_progress.stage.result"] == "abandoned"
        process.stdin.close()
        assert process.wait(otlp.TIMEOUT) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_burst_is_kept_while_the_collector_does_not_answer(tmp_path: Path, receiver: otlp.Receiver) -> None:
    # The SDK's own queue would keep 2,048 of them.
    code = program(
        "telemetry = configure('studio')",
        """
        with workflow("campaign"):
            for number in range(20_000):
                with stage("tiny"):
                    pass
        print("burst", flush=True)
        """,
    )
    receiver.pause()
    command = [str(otlp.write(tmp_path, code))]
    with otlp.start(
        tmp_path, command, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, OTEL_EXPORTER_OTLP_TIMEOUT="60"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "burst\n"
        receiver.resume()
        _, errors = process.communicate(timeout=otlp.TIMEOUT)
    assert (process.returncode, errors) == (0, "")
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans) == 20_001


def test_the_end_is_bounded_whatever_the_collector_does(tmp_path: Path, receiver: otlp.Receiver) -> None:
    # With the SDK alone they end after 13 to 20 s.
    receiver.answers = False
    code = program(
        "configure('studio')",
        """
        for number in range(600):
            with stage("tiny"):
                pass
        print("done", flush=True)
        """,
    )
    command = [str(otlp.write(tmp_path, code))]

    def end(variables: dict[str, str]) -> tuple[float, subprocess.CompletedProcess[str]]:
        process = otlp.start(tmp_path, command, **variables)
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        begun = time.monotonic()
        ended = otlp.ended(process)
        return time.monotonic() - begun, ended

    with otlp.refusing() as refusing, ThreadPoolExecutor(6) as together:
        collectors = {
            "http refuses": {"OTEL_EXPORTER_OTLP_ENDPOINT": refusing},
            "grpc refuses": {"OTEL_EXPORTER_OTLP_ENDPOINT": refusing, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "http never answers": {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http},
            "grpc never answers": {
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            },
            "http is not there": {},
            "grpc is not there": {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        }
        for name, (seconds, ended) in zip(collectors, together.map(end, collectors.values()), strict=True):
            assert seconds < 8, name
            assert ended.returncode == 0, name
            assert "the collector did not take everything within 2 s: the last telemetry is lost" in ended.stderr, name


def test_a_collector_that_takes_batch_after_batch_is_given_more_time(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program(
        "configure('studio', exit_timeout=1)",
        """
        with workflow("campaign"):
            for number in range(4_000):
                with stage("tiny"):
                    pass
        print("done", flush=True)
        """,
    )
    receiver.delay = 0.2  # Eight batches.
    receiver.pause()
    process = otlp.start(tmp_path, [str(otlp.write(tmp_path, code))], OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    receiver.resume()
    ended = otlp.ended(process)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(receiver.spans) == 4_001


FORK = """
import os
shared = {}
with workflow("campaign", shared=shared):
    with stage("before"):
        pass
    child = os.fork()
    if child == 0:
        with stage("in_child") as visit:
            answer = sum(range(100))
        print(answer, telemetry.flush(), flush=True)
        sys.stdin.read()
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    with stage("in_parent"):
        pass
"""


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_forked_child_exports_its_own_and_the_parent_its_own(
    tmp_path: Path, receiver: otlp.Receiver, protocol: str
) -> None:
    # flush() first, so that there is a connection to the collector at the fork, and something counted.
    before = "telemetry = configure('studio')\nwith workflow('earlier'), stage('before'): pass\ntelemetry.flush()"
    process = otlp.start(
        tmp_path,
        ["-W", "ignore", str(otlp.write(tmp_path, program(before, FORK)))],
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.grpc if protocol == "grpc" else receiver.http,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_METRIC_EXPORT_INTERVAL="50",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "4950 True\n"
    (in_child,) = [span for span in receiver.spans if span.name == "stage in_child"]
    child = in_child.resource["service.instance.id"]
    # Until whatever exports metrics in the child has done so more than once.
    receiver.wait_until(lambda: sum(point.resource["service.instance.id"] == child for point in receiver.points) > 20)
    ended = otlp.ended(process)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "7\n", "")
    assert receiver.names() == [
        "run campaign",
        "run earlier",
        "stage before",
        "stage before",
        "stage in_child",
        "stage in_parent",
    ]
    (run,) = [span for span in receiver.spans if span.name == "run campaign"]
    assert (in_child.trace_id, in_child.parent_id) == (run.trace_id, run.span_id)
    assert in_child.resource["service.instance.id"] != run.resource["service.instance.id"]
    # The last that each process said of each stage; what the parent had counted at the fork is not counted twice.
    counts = {
        (
            point.resource["service.instance.id"],
            point.attributes["otel_progress.workflow.name"],
            point.attributes["otel_progress.stage.name"],
        ): point.value
        for point in receiver.points
        if point.metric == "otel_progress.stage.duration"
    }
    assert sorted((workflow, stage, count) for (_, workflow, stage), count in counts.items()) == [
        ("campaign", "before", 1),
        ("campaign", "in_child", 1),
        ("campaign", "in_parent", 1),
        ("earlier", "before", 1),
    ]


def test_a_forked_child_makes_its_own_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[InMemorySpanExporter] = []

    def make() -> InMemorySpanExporter:
        made.append(InMemorySpanExporter())
        return made[-1]

    exporter = Exporter(make)
    span = TracerProvider(shutdown_on_exit=False).get_tracer("tests").start_span("draft")
    exporter.export([span])
    monkeypatch.setattr(os, "getpid", lambda: -1)
    exporter.export([span, span])
    exporter.shutdown()
    assert [len(each.get_finished_spans()) for each in made] == [1, 2]
    assert exporter.exported == 2
    monkeypatch.undo()
    exporter.export([span])
    assert [len(each.get_finished_spans()) for each in made] == [2, 2]


def test_a_child_of_multiprocessing_exports_at_its_end(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program(
        "import multiprocessing\ntelemetry = configure('studio')",
        """
        def work(number):
            with stage("in_child"):
                return number * number

        with workflow("campaign"):
            processes = multiprocessing.get_context("fork")
            child = processes.Process(target=work, args=(2,))
            child.start()
            child.join()
            print(child.exitcode)
        """,
    )
    ended = otlp.run(
        tmp_path,
        ["-W", "ignore", str(otlp.write(tmp_path, code))],
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http,
    )
    assert (ended.stdout, ended.stderr) == ("0\n", "")
    assert receiver.names() == ["run campaign", "stage in_child"]


def test_os_exit_takes_no_time_and_loses_only_what_waits(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = program(
        "import os\ntelemetry = configure('studio')",
        """
        with stage("ended"):
            pass
        telemetry.flush()
        with stage("lost"):
            os._exit(3)
        """,
    )
    ended = otlp.run(tmp_path, [str(otlp.write(tmp_path, code))], OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    assert (ended.returncode, ended.stderr) == (3, "")
    assert receiver.names() == ["run studio", "stage ended"]


@pytest.mark.parametrize("ending", ["raise ValueError('broken')", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_however_it_ends_everything_arrives(tmp_path: Path, receiver: otlp.Receiver, ending: str) -> None:
    code = program("configure('studio')", f"with workflow('campaign'), stage('draft'):\n    {ending}")
    otlp.run(tmp_path, [str(otlp.write(tmp_path, code))], OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    assert receiver.names() == ["run campaign", "stage draft"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals as POSIX has them")
@pytest.mark.parametrize("flush", [True, False])
def test_sigterm(tmp_path: Path, receiver: otlp.Receiver, flush: bool) -> None:
    code = program(
        f"configure('studio', flush_on_sigterm={flush})",
        """
        with workflow("campaign"), stage("draft"):
            print("ready", flush=True)
            sys.stdin.read()
        """,
    )
    with otlp.start(tmp_path, [str(otlp.write(tmp_path, code))], OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        code = process.wait(otlp.TIMEOUT)
    assert code == (143 if flush else -signal.SIGTERM)
    assert receiver.names() == (["run campaign", "stage draft"] if flush else [])


def test_flush_on_sigterm_leaves_a_handler_of_the_program_alone(tmp_path: Path) -> None:
    code = program(
        "import signal\nown = lambda *_: None\nsignal.signal(signal.SIGTERM, own)\nconfigure(flush_on_sigterm=True)",
        "print(signal.getsignal(signal.SIGTERM) is own)",
    )
    ended = otlp.run_code(tmp_path, code, OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none")
    assert ended.stdout == "True\n"
    assert "flush_on_sigterm is ignored" in ended.stderr


def test_an_exporter_that_fails_harms_nothing(tmp_path: Path) -> None:
    code = program(
        """
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
def export(self, spans):
    raise RuntimeError("no disk")
ConsoleSpanExporter.export = export
telemetry = configure('studio')
        """,
        ONE_RUN + "    print(telemetry.flush())",
    )
    ended = otlp.run_code(
        tmp_path, otlp.textwrap.dedent(code), OTEL_TRACES_EXPORTER="console", OTEL_METRICS_EXPORTER="none"
    )
    assert ended.stdout == "True\n"


def test_metrics_reach_a_file_too(tmp_path: Path) -> None:
    """The official file exporter prints OTLP JSON Lines to standard output where nothing else is said."""
    ended = otlp.run_code(
        tmp_path, program("configure()"), OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="otlp_json_file"
    )
    assert "otel_progress.stage.duration" in json.dumps([json.loads(line) for line in ended.stdout.splitlines()])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:p@ss@host:4318/v1?key=1#f", "http://host:4318/v1"),
        ("user:pw@host:4318", "host:4318"),
        ("http:/user:pw@host", "http:/host"),
        ("no exporter @stage names, see #5?", "no exporter @stage names, see #5?"),
    ],
)
def test_secrets_of_addresses_are_taken_out_and_nothing_else(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
