"""The environment as a carrier: what a program is started in, and what it starts."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, detach

from otel_progress import stage, workflow
from otel_progress.cli.started import watch_what_is_started
from otel_progress.telemetry.environment import context_in, environment_here, read_environment

from . import otlp
from .conftest import Telemetry

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
shell: Any = os  # Its functions are said to be deprecated, and are used all the same.
OUTSIDE = {"TRACEPARENT": f"00-{TRACE}-{SPAN}-01", "TRACESTATE": "vendor=1", "BAGGAGE": "order=7"}
RUN = ["-m", "otel_progress", "run"]


@pytest.fixture
def started(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> Telemetry:
    """A process that was started inside a trace."""
    for name, value in OUTSIDE.items():
        monkeypatch.setenv(name, value)
    read_environment()
    return telemetry


def ids(span: Any) -> tuple[str, str]:
    """Trace and parent."""
    parent = trace.format_span_id(span.parent.span_id) if span.parent else ""
    return trace.format_trace_id(span.context.trace_id), parent


# --- what a program is started in -------------------------------------------------------------------------------------


def test_a_run_is_inside_what_started_the_process(started: Telemetry) -> None:
    with workflow("first"), stage("a"):
        assert baggage.get_baggage("order") == "7"
        assert trace.get_current_span().get_span_context().trace_state == {"vendor": "1"}
    with stage("alone"):
        pass
    assert [ids(started.span(f"run {name}")) for name in ("first", "tests")] == [(TRACE, SPAN)] * 2
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_current_span_wins(started: Telemetry) -> None:
    tracer = started.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("own") as own, workflow("w"):
        assert baggage.get_baggage("order") is None
    context = own.get_span_context()
    assert ids(started.span("run w")) == (
        trace.format_trace_id(context.trace_id),
        trace.format_span_id(context.span_id),
    )


def test_own_baggage_wins(started: Telemetry) -> None:
    token = attach(baggage.set_baggage("order", "8"))
    with workflow("w"):
        assert baggage.get_baggage("order") == "8"
    detach(token)
    assert ids(started.span("run w")) == (TRACE, SPAN)


def test_a_run_that_is_carried_on_stays_in_its_trace(started: Telemetry) -> None:
    other = f"00-{'1' * 32}-{'2' * 16}-01"
    saved = {"run_id": "a" * 32, "workflow": "w", "traceparent": other, "started": "2025-08-28T10:45:00+00:00"}
    with workflow("w", shared={"progress_run": saved}):
        pass
    assert ids(started.span("run w")) == ("1" * 32, "2" * 16)


@pytest.mark.parametrize(
    "value", ["", "00", "00-0-0-01", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", "\n", "é" * 99]
)
def test_what_is_malformed_is_ignored(value: str, faults: Callable[[], list[str]]) -> None:
    assert context_in({"TRACEPARENT": value}) == Context()
    assert faults() == []


def test_lower_case_names_are_none() -> None:
    assert context_in({name.lower(): value for name, value in OUTSIDE.items()}) == Context()


def test_not_sampled_outside_is_not_sampled_here() -> None:
    span = trace.get_current_span(context_in({"TRACEPARENT": f"00-{TRACE}-{SPAN}-00"}))
    assert not span.get_span_context().trace_flags.sampled


PLAIN = """
from otel_progress import configure, stage, workflow
{configure}
with workflow("w"), stage("a"):
    pass
"""


@pytest.mark.parametrize("command", [[], RUN], ids=["configure", "run"])
def test_it_arrives_so(tmp_path: Path, receiver: otlp.Receiver, command: list[str]) -> None:
    program = otlp.write(tmp_path, PLAIN.format(configure="" if command else "configure()"))
    variables = OUTSIDE | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    ended = otlp.run(tmp_path, [*command, str(program)], **variables)
    assert (ended.returncode, receiver.names()) == (0, ["run w", "stage a"]), ended.stderr
    assert {span.trace_id for span in receiver.spans} == {TRACE}
    assert [span.parent_id for span in receiver.spans if span.name == "run w"] == [SPAN]


@pytest.mark.parametrize(("propagators", "parent"), [("none", ""), ("baggage", ""), ("tracecontext", SPAN)])
def test_propagators_are_those_of_the_variable(
    tmp_path: Path, receiver: otlp.Receiver, propagators: str, parent: str
) -> None:
    variables = {"OTEL_PROPAGATORS": propagators, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    otlp.run_code(tmp_path, PLAIN.format(configure="configure()"), **OUTSIDE, **variables)
    assert [span.parent_id for span in receiver.spans if span.name == "run w"] == [parent]


def test_an_unknown_propagator_is_said_and_stops_nothing(tmp_path: Path, receiver: otlp.Receiver) -> None:
    variables = {"OTEL_PROPAGATORS": "misspelt", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    ended = otlp.run(tmp_path, [*RUN, str(otlp.write(tmp_path, PLAIN.format(configure="")))], **OUTSIDE, **variables)
    assert (ended.returncode, receiver.names()) == (0, ["run w", "stage a"])
    assert "Propagator misspelt not found" in ended.stderr


def test_the_api_alone_reads_nothing(tmp_path: Path) -> None:
    code = """
        import sys
        from otel_progress import stage
        shared = {}
        with stage("a", shared=shared): pass
        print(shared["progress_run"]["traceparent"], "opentelemetry.propagate" in sys.modules)
        """
    assert otlp.run_code(tmp_path, code, **OUTSIDE).stdout == " False\n"


# --- what it starts ---------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> Telemetry:
    """A process that `otel-progress run` runs a program in."""
    monkeypatch.setattr(subprocess.Popen, "__init__", subprocess.Popen.__init__)  # Put back at the end.
    for name in ("system", "execv", "execve", "posix_spawn", "posix_spawnp"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, getattr(os, name))
    monkeypatch.setattr("otel_progress.cli.started._Watched.done", False)
    monkeypatch.setenv("OTEL_PROGRESS_RECORD", "/nowhere")
    monkeypatch.setenv("TRACEPARENT", OUTSIDE["TRACEPARENT"])
    monkeypatch.setenv("TRACESTATE", "stale=1")
    watch_what_is_started()
    return telemetry


def told(**options: Any) -> dict[str, str]:
    """What a child finds in its environment."""
    code = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('TRACE')}))"
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, **options).stdout)


def test_each_child_finds_the_stage_that_started_it(watched: Telemetry) -> None:
    before = dict(os.environ)
    with ExitStack() as opened:
        opened.enter_context(workflow("w"))
        for name in ("a", "b"):
            with stage(name) as visit:
                context = visit.span.get_span_context()
                here = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
                assert told() == {"TRACEPARENT": here}
                assert told(env={**os.environ, "FURTHER": "1"}) == {"TRACEPARENT": here}
        assert dict(os.environ) == before
    assert told() == {"TRACEPARENT": OUTSIDE["TRACEPARENT"], "TRACESTATE": "stale=1"}


def test_an_environment_of_the_programs_own_stays(watched: Telemetry) -> None:
    own = {"TRACEPARENT": "00-own", "OTEL_PROGRESS_RECORD": "/nowhere"}
    kept = dict(own)
    with workflow("w"), stage("a"):
        assert told(env={"FURTHER": "1"}) == {}
        assert told(env=own) == {"TRACEPARENT": "00-own"}
    assert own == kept


def test_an_environment_that_is_given_is_not_changed(watched: Telemetry) -> None:
    given = dict(os.environ)
    with workflow("w"), stage("a"):
        assert told(env=given) != {}
    assert given == dict(os.environ)


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
def test_commands_for_the_shell(watched: Telemetry, tmp_path: Path) -> None:
    file = tmp_path / "told"
    with workflow("w"), stage("a") as visit:
        span = f"{visit.span.get_span_context().span_id:016x}"
        assert shell.system(f"echo $TRACEPARENT > '{file}'; exit 3") == 3 << 8
        assert span in file.read_text()
        assert shell.system(f"echo $TRACEPARENT > '{file}'".encode()) == 0
        assert span in file.read_text()
        with shell.popen("echo $TRACEPARENT") as pipe:
            assert span in pipe.read()
        with pytest.raises(TypeError):
            shell.system(5)


PRINT = "import os, sys; open(sys.argv[1], 'w').write(repr([os.environ.get(n) for n in ('TRACEPARENT', 'TRACESTATE')]))"
FORKED: dict[str, Callable[[str, list[str]], object]] = {
    "execv": lambda path, argv: os.execv(path, [*argv]),
    "execl": lambda path, argv: os.execl(path, *argv),
    "execvp": lambda path, argv: os.execvp(path, [*argv]),
    "execlp": lambda path, argv: os.execlp(path, *argv),
    "execve": lambda path, argv: os.execve(path, argv, {**os.environ, "FURTHER": "1"}),
    "execle": lambda path, argv: os.execle(path, *argv, os.environ),
    "execvpe": lambda path, argv: os.execvpe(path, argv, os.environ),
}
SPAWNED: dict[str, Callable[[str, list[str]], object]] = {
    "spawnv": lambda path, argv: shell.spawnv(os.P_WAIT, path, argv),
    "spawnl": lambda path, argv: shell.spawnl(os.P_WAIT, path, *argv),
    "spawnvp": lambda path, argv: shell.spawnvp(os.P_WAIT, path, argv),
    "spawnve": lambda path, argv: shell.spawnve(os.P_WAIT, path, argv, os.environ),
    "posix_spawn": lambda path, argv: os.waitpid(os.posix_spawn(path, argv, os.environ), 0),
    "posix_spawnp": lambda path, argv: os.waitpid(os.posix_spawnp(path, argv, os.environ, setsigmask=[]), 0),
}


def forked(path: str, argv: list[str], execute: Callable[[str, list[str]], object]) -> None:
    """Execute it in a child."""
    if (child := os.fork()) == 0:
        try:
            execute(path, argv)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(os.name != "posix", reason="functions of POSIX")
@pytest.mark.parametrize("way", [*FORKED, *SPAWNED])
def test_what_os_itself_starts(watched: Telemetry, tmp_path: Path, way: str) -> None:
    file, before = tmp_path / "told", dict(os.environ)
    argv = [sys.executable, "-c", PRINT, str(file)]
    with workflow("w"), stage("a") as visit:
        if way in SPAWNED:
            SPAWNED[way](sys.executable, argv)
        else:
            forked(sys.executable, argv, FORKED[way])
        context = visit.span.get_span_context()
        here = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
    assert file.read_text() == repr([here, None])
    assert dict(os.environ) == before


@pytest.mark.skipif(os.name != "posix", reason="functions of POSIX")
def test_what_os_itself_cannot_start(watched: Telemetry) -> None:
    before = dict(os.environ)
    with workflow("w"), stage("a"):
        with pytest.raises(FileNotFoundError):
            os.execv("/nowhere", ["nowhere"])
        for wrong in (shell.execve, shell.posix_spawn):
            with pytest.raises(TypeError):
                wrong("/nowhere", ["nowhere"])
    assert dict(os.environ) == before
    assert told() == {"TRACEPARENT": OUTSIDE["TRACEPARENT"], "TRACESTATE": "stale=1"}  # As C has it.


def test_an_environment_of_its_own_stays_in_os_itself(watched: Telemetry, tmp_path: Path) -> None:
    file = tmp_path / "told"
    with workflow("w"), stage("a"):
        argv = [sys.executable, "-c", PRINT, str(file)]
        shell.spawnve(os.P_WAIT, sys.executable, argv, {"TRACEPARENT": "00-own", "OTEL_PROGRESS_RECORD": "/nowhere"})
    assert file.read_text() == "['00-own', None]"


@pytest.mark.parametrize("name", ["system", "execv", "execve", "posix_spawn"])
def test_functions_of_os_are_pickled_as_ever(watched: Telemetry, name: str) -> None:
    assert pickle.loads(pickle.dumps(getattr(os, name))) is getattr(os, name)


def test_wrong_arguments_raise_as_ever(watched: Telemetry) -> None:
    with workflow("w"), stage("a"):
        for wrong in ({"misspelt": 1}, {"env": 5}):
            with pytest.raises((TypeError, AttributeError)):
                subprocess.Popen(["true"], **wrong)  # type: ignore[call-overload]


def test_baggage_is_told_too(watched: Telemetry) -> None:
    token = attach(baggage.set_baggage("order", "8"))
    with workflow("w"):
        assert environment_here()["BAGGAGE"] == "order=8"
    detach(token)
    assert environment_here() == {}


CHILDREN = """
import multiprocessing, subprocess, sys
from otel_progress import stage, workflow

def work(name):
    with stage(name): pass

if __name__ == "__main__":
    method = sys.argv[1]
    with workflow("w"):
        for number in ("1", "2"):
            with stage("outer " + number):
                if method == "program":
                    subprocess.run([sys.executable, "child.py", "inner " + number], check=True)
                else:
                    child = multiprocessing.get_context(method).Process(target=work, args=("inner " + number,))
                    child.start(); child.join()
"""


@pytest.mark.skipif(os.name != "posix", reason="methods of POSIX")
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork", "program"])
def test_children_are_in_the_stage_that_started_them(tmp_path: Path, receiver: otlp.Receiver, method: str) -> None:
    otlp.write(
        tmp_path,
        "import sys\nfrom otel_progress import configure, stage\nconfigure()\nwith stage(sys.argv[1]): pass\n",
        "child.py",
    )
    program = str(otlp.write(tmp_path, CHILDREN))
    variables = OUTSIDE | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    ended = otlp.run(tmp_path, [*RUN, program, method], **variables)
    assert ended.returncode == 0, ended.stderr
    by_id = {span.span_id: span for span in receiver.spans}
    assert {span.trace_id for span in receiver.spans} == {TRACE}
    inner = [span for span in receiver.spans if span.name.startswith("stage inner")]
    assert len(inner) == 2
    for span in inner:
        around = by_id[span.parent_id]
        if method == "fork":  # It joins the run that was open at the fork.
            assert around.name in ("run w", span.name.replace("inner", "outer"))
        else:
            assert around.name.startswith("run ")
            assert by_id[around.parent_id].name == span.name.replace("inner", "outer")


@pytest.mark.parametrize("how", ["spawn", "program"])
def test_children_of_children_too(tmp_path: Path, how: str) -> None:
    code = f"""
        import multiprocessing, os, subprocess, sys
        from otel_progress import stage, workflow
        PRINT = [sys.executable, "-c", "import os; print(os.environ['TRACEPARENT'], flush=True)"]
        def work():
            with stage("inner") as visit:
                context = visit.span.get_span_context()
                print(f"00-{{context.trace_id:032x}}-{{context.span_id:016x}}", flush=True)
                subprocess.run(PRINT, check=True)
        if __name__ == "__main__":
            if sys.argv[1:]:
                from otel_progress import configure
                configure()
                work()
            else:
                with workflow("w"), stage("outer"):
                    if "{how}" == "program":
                        subprocess.run([sys.executable, __file__, "child"], check=True)
                    else:
                        child = multiprocessing.get_context("spawn").Process(target=work)
                        child.start(); child.join()
        """
    ended = otlp.run(tmp_path, [*RUN, str(otlp.write(tmp_path, code))])
    assert ended.returncode == 0, ended.stderr
    here, told = ended.stdout.splitlines()
    assert told.startswith(here)
