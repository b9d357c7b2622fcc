"""`otel-progress run`: the program behaves as if Python had run it; beside it there is a table and a record."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otel_progress.cli.main import main

from . import otlp
from .said import without_lines

RUN = ["-m", "otel_progress", "run"]

STAGES = """
from otel_progress import stage, workflow
with workflow("campaign", shared={"task_requirements": {"platforms": ["x", "y"]}}):
    with stage("draft"):
        pass
"""


def rows(stderr: str) -> dict[str, list[str]]:
    """The table: visits, platforms, revisions, retries and result of each stage; of the workflow too.

    0 where the table has no such column, or a mark for nothing in it.
    """
    found: dict[str, list[str]] = {}
    heads: list[str] = []
    for line in stderr.splitlines():
        cells = re.split(r"\s{2,}", line.strip())
        if cells[:2] == ["stage", "visits"]:
            heads = cells
        elif heads and len(cells) == len(heads):
            known = dict(zip(heads, cells, strict=True))
            shown = [known.get(head, "-") for head in ("visits", "platforms", "revisions", "retries", "result")]
            found[cells[0]] = ["0" if cell == "-" else cell for cell in shown]
    return found


def run_files(folder: Path) -> list[Path]:
    return sorted((folder / ".otel-progress" / "runs").glob("*/spans.jsonl"))


def recorded(folder: Path) -> list[str]:
    """Names of the spans in the one run file."""
    (file,) = run_files(folder)
    return sorted(span["name"] for span in spans(file))


def spans(file: Path) -> list[dict[str, Any]]:
    return [
        span
        for line in file.read_text("utf-8").splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def test_a_table_and_a_record(tmp_path: Path) -> None:
    program = otlp.write(
        tmp_path,
        """
        from otel_progress import stage, workflow
        shared = {"task_requirements": {"platforms": ["x", "linkedin"]}, "quality_control": {"revision_count": 0}}
        with workflow("campaign", shared=shared):
            for revision in range(3):
                shared["quality_control"]["revision_count"] = revision
                with stage("write"):
                    print("written")
            try:
                with stage("publish"):
                    raise OSError("closed")
            except OSError:
                pass
        """,
    )
    ended = otlp.run(tmp_path, [*RUN, str(program)])
    assert (ended.returncode, ended.stdout) == (0, "written\n" * 3)
    assert rows(ended.stderr) == {
        "write": ["3", "2", "2", "0", "success"],
        "publish": ["1", "2", "2", "0", "failure (OSError)"],
        "campaign (1 run)": ["4", "2", "2", "0", "success"],
    }
    assert recorded(tmp_path) == ["run campaign", "stage publish", *["stage write"] * 3]
    (file,) = run_files(tmp_path)
    assert ended.stderr.splitlines()[-1] == f"Record: {file.parent.relative_to(tmp_path)}"
    assert (tmp_path / ".otel-progress" / ".gitignore").read_text() == "*\n"


PROGRAMS = {
    "arguments, names and paths": """
        import sys
        print(sys.argv, __name__, __file__, __package__, __spec__, __doc__, sys.path[0])
        print(input())
        """,
    "imports what lies beside it": "import beside\nprint(beside.__file__)",
    "exit code": "import sys\nsys.exit(3)",
    "exit text": "import sys\nsys.exit('because')",
    "exception": """
        def work():
            try:
                1 / 0
            except ArithmeticError as error:
                raise ValueError("broken") from error
        work()
        """,
    "exception hook of its own": """
        import sys, traceback
        sys.excepthook = lambda kind, error, trace: print(kind, [frame.line for frame in traceback.extract_tb(trace)])
        1 / 0
        """,
    "interrupted": "raise KeyboardInterrupt",
    "syntax error": "print('never')\ndef (",
    "threads and exit handlers": """
        import atexit, threading
        atexit.register(print, "exit handler")
        goes_on = threading.Event()
        def outlive():
            goes_on.wait()
            print("thread")
        threading.Thread(target=outlive).start()
        print("main")
        goes_on.set()
        """,
    "pickles classes of its own": """
        import pickle, __main__
        class Draft: pass
        print(type(pickle.loads(pickle.dumps(Draft()))) is __main__.Draft)
        """,
    "multiprocessing, spawned": """
        import multiprocessing
        class Draft:
            def __init__(self, value): self.value = value
        def twice(draft): return Draft(draft.value * 2)
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(twice, [Draft(4)])[0].value)
        """,
    "multiprocessing, forked and terminated": """
        import multiprocessing
        def wait(queue):
            queue.put("ready")
            multiprocessing.Event().wait()
        if __name__ == "__main__":
            processes = multiprocessing.get_context("fork")
            queue = processes.Queue()
            child = processes.Process(target=wait, args=(queue,))
            child.start()
            queue.get()
            child.terminate()
            child.join()
            print(child.exitcode)
        """,
    "forked": """
        import os, sys
        child = os.fork()
        if child == 0:
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    "asyncio": """
        import asyncio
        async def work(): raise RuntimeError("in a task")
        asyncio.run(work())
        """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_behaves_as_python_runs_it(tmp_path: Path, name: str) -> None:
    otlp.write(tmp_path, "pass", "beside.py")
    otlp.write(tmp_path, PROGRAMS[name])
    arguments = ["program.py", "-m", "--", "--help", "file name"]
    both = [otlp.start(tmp_path, [*way, *arguments]) for way in ([], RUN)]
    plain, ours = (otlp.ended(process, typed="typed\n") for process in both)
    assert (ours.stdout, ours.returncode) == (plain.stdout, plain.returncode)
    assert ours.stderr.startswith(plain.stderr)
    said = "otel-progress: no stage was recorded" in ours.stderr[len(plain.stderr) :]
    assert said == (plain.returncode == 0)  # Where it broke off, it may not have come to its stages.
    assert said or ours.stderr == plain.stderr
    assert run_files(tmp_path) == []


def test_modules(tmp_path: Path) -> None:
    package = tmp_path / "studio"
    package.mkdir()
    otlp.write(package, "name = 'studio'", "__init__.py")
    otlp.write(
        package, f"from . import name\nimport sys\nprint(name, sys.argv, __package__, __spec__.name){STAGES}", "app.py"
    )
    otlp.write(package, "from .app import name\nprint(__file__, __name__)", "__main__.py")
    for module in ("studio.app", "studio"):
        plain = otlp.run(tmp_path, ["-m", module, "--help"])
        ours = otlp.run(tmp_path, [*RUN, "-m", module, "--help"])
        assert (ours.stdout, ours.returncode, plain.stderr) == (plain.stdout, plain.returncode, "")
        assert rows(ours.stderr)["draft"] == ["1", "2", "0", "0", "success"]
    assert sorted(record.parent.name.split("-")[1] for record in run_files(tmp_path)) == ["studio", "studio.app"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.py"], "cannot run missing.py: No such file or directory"),
        (["."], "cannot run .: it is a folder; name the script in it"),
        (["-m", "no_such_module"], "cannot run no_such_module: no module no_such_module"),
        (
            ["-m", "sys"],
            "cannot run sys: no module sys (or it is a package without __main__, or not written in Python)",
        ),
    ],
)
def test_what_cannot_be_run(tmp_path: Path, arguments: list[str], message: str) -> None:
    ended = otlp.run(tmp_path, [*RUN, *arguments])
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"otel-progress: {message}")


def test_a_wrong_variable_is_said_before_the_program_starts(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, "print('started')")
    ended = otlp.run(tmp_path, [*RUN, str(program)], OTEL_TRACES_EXPORTER="jaeger")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith("OTEL_TRACES_EXPORTER names 'jaeger', and no installed package has such an exporter\n")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "otel-progress run app.py" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["run", "--help"])
    shown = capsys.readouterr().out
    for said in (
        "script.py | -m module",
        ".otel-progress/runs",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "--keep N",
        "exit code",
    ):
        assert said in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    with pytest.raises(SystemExit, match="2"):
        main(["run", "--keep", "0", "app.py"])
    assert "'0' is not a positive whole number" in capsys.readouterr().err


def test_the_installed_command(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("otel-progress")
    assert command.exists()
    program = otlp.write(tmp_path, "1 / 0")
    plain = otlp.run(tmp_path, [str(program)])
    ended = subprocess.run([command, "run", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(plain.stderr)
    assert ended.stderr == plain.stderr


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGTERM, "failure (SystemExit)"), (signal.SIGINT, "cancelled (KeyboardInterrupt)")],
)
def test_signals(tmp_path: Path, number: signal.Signals, name: str) -> None:
    program = otlp.write(
        tmp_path,
        """
        import sys
        from otel_progress import stage, workflow
        try:
            with workflow("campaign"), stage("draft"):
                print("ready", flush=True)
                sys.stdin.read()
        finally:
            print("tidied up")
        """,
    )
    with otlp.start(tmp_path, [*RUN, str(program)]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, errors = process.communicate(timeout=otlp.TIMEOUT)
    assert (process.returncode, out) == (-number, "tidied up\n")
    assert rows(errors)["draft"] == ["1", "0", "0", "0", name]
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    assert recorded(tmp_path) == ["run campaign", "stage draft"]


@pytest.mark.parametrize("ending", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_ended_before_a_sudden_end_is_in_the_record(tmp_path: Path, ending: str) -> None:
    program = otlp.write(
        tmp_path,
        f"""
        import os, signal, sys
        from otel_progress import stage, workflow
        with workflow("campaign"):
            with stage("draft"):
                pass
            print("ended", flush=True)
            sys.stdin.read()
            {ending}
        """,
    )
    with otlp.start(tmp_path, [*RUN, str(program)]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ended\n"
        otlp.wait_until(lambda: bool(run_files(tmp_path)) and recorded(tmp_path) == ["stage draft"])
        _, errors = process.communicate(timeout=otlp.TIMEOUT)
    assert (process.returncode, without_lines(errors)) == (3 if "exit" in ending else -signal.SIGKILL, "")
    assert recorded(tmp_path) == ["stage draft"]


def test_threads_and_exit_handlers_are_recorded_too(tmp_path: Path) -> None:
    program = otlp.write(
        tmp_path,
        """
        import atexit, threading
        from otel_progress import stage
        main_ended = threading.Event()
        def later(name):
            with stage(name): pass
        def outlive():
            main_ended.wait()
            later("thread")
        atexit.register(later, "exit handler")
        threading.Thread(target=outlive).start()
        main_ended.set()
        """,
    )
    ended = otlp.run(tmp_path, [*RUN, str(program)])
    assert (ended.returncode, ended.stdout) == (0, "")
    assert set(rows(ended.stderr)) == {"thread", "exit handler", "program (2 runs)"}
    assert recorded(tmp_path) == ["run program", "run program", "stage exit handler", "stage thread"]


def test_forked_children_write_to_the_same_record(tmp_path: Path) -> None:
    program = otlp.write(
        tmp_path,
        """
        import multiprocessing
        from otel_progress import stage, workflow
        def work(number):
            for _ in range(200):
                with stage("in child"): pass
        with workflow("campaign"):
            processes = multiprocessing.get_context("fork")
            children = [processes.Process(target=work, args=(number,)) for number in range(3)]
            for child in children: child.start()
            for _ in range(200):
                with stage("in parent"): pass
            for child in children: child.join()
            print([child.exitcode for child in children])
        """,
    )
    ended = otlp.run(tmp_path, ["-W", "ignore", *RUN, str(program)])
    assert (ended.returncode, ended.stdout) == (0, "[0, 0, 0]\n")
    assert rows(ended.stderr)["in parent"][0] == "200"
    names = recorded(tmp_path)
    assert {name: names.count(name) for name in set(names)} == {
        "run campaign": 1,
        "stage in child": 600,
        "stage in parent": 200,
    }


def test_exported_as_well_where_an_endpoint_is_set(tmp_path: Path, receiver: otlp.Receiver) -> None:
    program = otlp.write(tmp_path, STAGES)
    command = [*RUN, "--service-name", "studio", str(program)]
    ended = otlp.run(tmp_path, command, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    assert f"Exported: 2 spans to {receiver.http}/v1/traces" in ended.stderr
    assert receiver.names() == recorded(tmp_path) == ["run campaign", "stage draft"]
    assert {span.resource["service.name"] for span in receiver.spans} == {"studio"}
    assert "otel_progress.stage.duration" in {point.metric for point in receiver.points}


def test_nothing_is_exported_unasked(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, STAGES)
    ended = otlp.run(tmp_path, [*RUN, str(program)])
    assert "Exported" not in ended.stderr
    assert "Failed to" not in ended.stderr


def test_a_collector_that_refuses_is_said_and_the_record_is_kept(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, STAGES + "raise SystemExit(4)")
    with otlp.refusing() as endpoint:
        ended = otlp.run(tmp_path, [*RUN, str(program)], OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert ended.returncode == 4
    assert f"Exported: 0 spans to {endpoint}/v1/traces, which did not take the rest" in ended.stderr
    assert recorded(tmp_path) == ["run campaign", "stage draft"]


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_spans_that_were_taken_are_said_so_whatever_happened_to_the_metrics(
    tmp_path: Path, receiver: otlp.Receiver, quiet: list[str]
) -> None:
    program = otlp.write(tmp_path, STAGES)
    addresses = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.http}/v1/traces"}
    with otlp.refusing() as endpoint:
        addresses["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] = f"{endpoint}/v1/metrics"
        ended = otlp.run(tmp_path, [*RUN, *quiet, str(program)], **addresses)
    assert receiver.names() == ["run campaign", "stage draft"]
    assert "the last telemetry is lost" in ended.stderr
    assert "did not take" not in ended.stderr.replace("the collector did not take everything", "")
    assert ended.stderr.count(f"Exported: 2 spans to {receiver.http}/v1/traces\n") == (not quiet)


@pytest.mark.parametrize("signal_of_it", ["traces", "metrics"])
def test_a_signal_of_which_no_address_is_named_is_not_sent(
    tmp_path: Path, receiver: otlp.Receiver, signal_of_it: str
) -> None:
    program = otlp.write(tmp_path, STAGES)
    address = {f"OTEL_EXPORTER_OTLP_{signal_of_it.upper()}_ENDPOINT": f"{receiver.http}/v1/{signal_of_it}"}
    ended = otlp.run(tmp_path, [*RUN, str(program)], **address)
    assert (len(receiver.spans) > 0, len(receiver.points) > 0) == (signal_of_it == "traces", signal_of_it == "metrics")
    assert ended.stderr.count("spans to") == (signal_of_it == "traces")
    assert "localhost" not in ended.stderr


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("secret", ["user:s3cret", "user:s3cret@s3cret", "s3cret", "user:s3cret/s3cret?s3cret"])
def test_no_secret_reaches_a_line(tmp_path: Path, protocol: str, secret: str) -> None:
    program = otlp.write(tmp_path, "import logging\nlogging.basicConfig(level=logging.INFO)" + STAGES)
    with otlp.refusing() as endpoint:
        address = endpoint.replace("//", f"//{secret}@") + "/v1/traces?api-key=s3cret"
        variables = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": address}
        ended = otlp.run(tmp_path, [*RUN, str(program)], **variables, OTEL_METRICS_EXPORTER="none")
    told = "Exported" if protocol == "http/protobuf" else "Sent"  # gRPC's exporter does not hand on what was taken.
    assert (f"{told}: 0 spans to" in ended.stderr) == ("s3cret/" not in secret)
    assert "s3cret" not in ended.stderr


@pytest.mark.parametrize(
    "address", ["user:s3cret@{host}", "http:/user:s3cret@{host}", "s3cret:@{host}", "http://{host}/#s3cret"]
)
def test_no_secret_reaches_a_line_of_what_is_no_address(tmp_path: Path, address: str) -> None:
    program = otlp.write(tmp_path, STAGES)
    with otlp.refusing() as endpoint:
        given = address.format(host=endpoint.removeprefix("http://"))
        ended = otlp.run(tmp_path, [*RUN, str(program)], OTEL_EXPORTER_OTLP_ENDPOINT=given)
    assert "Exported: 0 spans to" in ended.stderr
    assert "s3cret" not in ended.stderr


def test_no_secret_reaches_a_line_of_a_library(tmp_path: Path, receiver: otlp.Receiver) -> None:
    """At its level DEBUG urllib3 logs the address of every request; of the program's own it goes on to."""
    asks = "import requests; requests.get(os.environ['OTHER'] + '/x?its=own')"
    told = "import logging, os; logging.basicConfig(level=logging.DEBUG)"
    program = otlp.write(tmp_path, f"{told}{STAGES}{asks}\n")
    address = f"{receiver.http}/v1/traces?api-key=s3cret"
    ended = otlp.run(tmp_path, [*RUN, str(program)], OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=address, OTHER=receiver.http)
    assert '"POST /v1/traces HTTP/1.1"' in ended.stderr
    assert '"GET /x?its=own HTTP/1.1"' in ended.stderr
    assert "s3cret" not in ended.stderr


def test_no_secret_reaches_a_line_where_a_collector_redirects(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, STAGES)
    with otlp.answering(302, Location="http://user:s3cret@elsewhere/?api-key=s3cret") as endpoint:
        ended = otlp.run(tmp_path, [*RUN, str(program)], OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert "Exported: 0 spans to" in ended.stderr
    assert "s3cret" not in ended.stderr


def test_ctrl_c_ends_the_wait_for_the_collector(tmp_path: Path, receiver: otlp.Receiver) -> None:
    receiver.answers = False
    program = otlp.write(tmp_path, STAGES + "import atexit\natexit.register(print, 'at exit', flush=True)")
    with otlp.start(tmp_path, [*RUN, str(program)], OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at exit\n"
        receiver.wait_until(lambda: bool(receiver.requests))
        process.send_signal(signal.SIGINT)
        ended = otlp.ended(process)
    assert ended.returncode == 0
    assert "KeyboardInterrupt" not in ended.stderr
    assert rows(ended.stderr)["draft"][0] == "1"
    assert "Exported: 0 spans" in ended.stderr
    assert "which did not take the rest" in ended.stderr


def test_a_program_that_configures_is_let_do_so(tmp_path: Path, receiver: otlp.Receiver) -> None:
    program = otlp.write(
        tmp_path,
        f"""
        from otel_progress import configure
        telemetry = configure("own", endpoint={receiver.http!r}, flush_on_sigterm=True)
        {STAGES.replace(chr(10), chr(10) + " " * 8)}
        """,
    )
    ended = otlp.run(tmp_path, [*RUN, "--service-name", "ours", str(program)])
    assert receiver.names() == recorded(tmp_path) == ["run campaign", "stage draft"]
    assert {span.resource["service.name"] for span in receiver.spans} == {"own"}
    assert [line.split()[0] for line in without_lines(ended.stderr).splitlines()] == [
        "stage",
        "draft",
        "outside",
        "campaign",
        "Next:",
        "Record:",
        "Exported:",
    ]


def test_a_program_with_providers_of_its_own_keeps_them(tmp_path: Path) -> None:
    program = otlp.write(
        tmp_path,
        f"""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
        own = TracerProvider()
        own.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name + ", ")))
        trace.set_tracer_provider(own)
        {STAGES.replace(chr(10), chr(10) + " " * 8)}
        """,
    )
    ended = otlp.run(tmp_path, [*RUN, str(program)])
    assert ended.stdout == "stage draft, run campaign, "
    assert recorded(tmp_path) == ["run campaign", "stage draft"]
    assert rows(ended.stderr)["draft"][0] == "1"


def test_a_run_that_is_joined_after_its_end_is_counted_once(tmp_path: Path) -> None:
    joined = """
        import contextlib
        from otel_progress import stage, workflow
        shared = {}
        with workflow("campaign", shared=shared), stage("draft"):
            pass
        for name in ("draft", "late"):
            with contextlib.suppress(ValueError), stage(name, shared=shared):
                raise ValueError
        """
    ended = otlp.run(tmp_path, [*RUN, str(otlp.write(tmp_path, joined))])
    assert rows(ended.stderr) == {
        "draft": ["2", "0", "0", "0", "1 success, 1 failure (ValueError)"],
        "late": ["1", "0", "0", "0", "failure (ValueError)"],
        "campaign (1 run)": ["3", "0", "0", "0", "success"],
    }


def test_an_unchanged_pocketflow_program_is_recorded(tmp_path: Path) -> None:
    flow = """
        from pocketflow import Flow, Node
        class Draft(Node): pass
        class Check(Node): pass
        draft, check = Draft(), Check()
        draft >> check
        Flow(start=draft).run({})
        """
    program = otlp.write(tmp_path, flow)
    ended = otlp.run(tmp_path, [*RUN, str(program)])
    assert list(rows(ended.stderr)) == ["Draft", "Check", "program (1 run)"]
    own = "PocketFlowInstrumentor().instrument(name_hook=lambda node: 'my ' + type(node).__name__)"
    program = otlp.write(
        tmp_path, f"from otel_progress import PocketFlowInstrumentor\n{own}\n" + otlp.textwrap.dedent(flow)
    )
    ended = otlp.run(tmp_path, [*RUN, str(program)])
    assert list(rows(ended.stderr))[:2] == ["my Draft", "my Check"]
    assert "already instrumented" not in ended.stderr


@pytest.mark.parametrize(("variable", "value"), [("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_SDK_DISABLED", "true")])
def test_without_spans_there_are_still_a_table_and_events(tmp_path: Path, variable: str, value: str) -> None:
    program = otlp.write(tmp_path, STAGES)
    ended = otlp.run(tmp_path, [*RUN, str(program)], **{variable: value})
    assert rows(ended.stderr)["draft"] == ["1", "2", "0", "0", "success"]
    (record,) = (tmp_path / ".otel-progress" / "runs").iterdir()
    assert ended.stderr.endswith(f"Record: .otel-progress/runs/{record.name}\n")
    assert len((record / "events.jsonl").read_text().splitlines()) == 4
    assert not (record / "spans.jsonl").exists()


def test_the_record_stays_where_the_program_was_started(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    program = otlp.write(tmp_path, "import os\nos.chdir('elsewhere')" + STAGES)
    ended = otlp.run(tmp_path, [*RUN, "--keep", "1", str(program)])
    assert recorded(tmp_path) == ["run campaign", "stage draft"]
    assert ended.stderr.splitlines()[-1].startswith("Record: .otel-progress/runs/")


def test_standard_error_may_be_anything(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, "import io, sys\nsys.stderr = io.StringIO()\nsys.stderr.close()" + STAGES)
    ended = otlp.run(tmp_path, [*RUN, str(program)], PYTHONIOENCODING="ascii", COLUMNS="80")
    assert ended.returncode == 0
    assert "draft" in ended.stderr
    assert re.search(r" \d+% [#.]{6} ", ended.stderr)


@pytest.mark.parametrize("program", ["program.py", "missing.py"])
def test_nothing_is_said_where_standard_error_is_closed(tmp_path: Path, program: str) -> None:
    otlp.write(tmp_path, "print('from the program')" + STAGES)
    starter = f"""
        import os, sys
        os.close(2)
        os.execv(sys.executable, [sys.executable, *{RUN!r}, {program!r}])
        """
    ended = otlp.run(tmp_path, [str(otlp.write(tmp_path, starter, "starter.py"))])
    expected = (0, "from the program\n") if program == "program.py" else (2, "")
    assert (ended.returncode, ended.stdout, ended.stderr) == (*expected, "")
    assert len(run_files(tmp_path)) == (program == "program.py")


def test_only_what_is_missing_is_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run"])
    assert capsys.readouterr().err.endswith("error: the following arguments are required: program\n")
