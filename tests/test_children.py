"""Children of a program that `otel-progress run` runs: every stage of every one arrives, however it starts and ends."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from . import otlp
from .test_cli import rows

pytest.importorskip("fcntl")
RUN = ["-m", "otel_progress", "run"]
METHODS = multiprocessing.get_all_start_methods()
every_method = pytest.mark.parametrize("method", METHODS)


def records(folder: Path) -> list[Path]:
    return sorted((folder / ".otel-progress" / "runs").iterdir())


def events(folder: Path) -> list[dict[str, Any]]:
    """What was told in the one record, in order: the event's name, who told it, and what."""
    (record,) = records(folder)
    found: list[dict[str, Any]] = []
    for line in (record / "events.jsonl").read_text().splitlines():
        (resource,) = json.loads(line)["resourceLogs"]
        (event,) = resource["scopeLogs"][0]["logRecords"]
        said = [*resource["resource"]["attributes"], *event["attributes"]]
        attributes = {pair["key"].removeprefix("otel_progress."): next(iter(pair["value"].values())) for pair in said}
        found.append({"event": event["eventName"].removeprefix("otel_progress."), **attributes})
    return found


def pid_of(event: dict[str, Any]) -> str:
    """The id of the process that told it."""
    return event["process"].partition("-")[0]


def ended(folder: Path) -> Counter[str]:
    """How often each stage has ended; none has ended twice."""
    ends = [event for event in events(folder) if event["event"] == "stage.ended"]
    assert len({end["stage.visit_id"] for end in ends}) == len(ends)
    return Counter(end["stage.name"] for end in ends)


def run(folder: Path, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose main part begins in the line `main:`."""
    code = textwrap.dedent(program).replace("main:", "if __name__ == '__main__':")
    done = otlp.run(folder, [*RUN, str(otlp.write(folder, code)), *arguments], **variables)
    assert done.returncode == 0, done.stderr
    return done


WORK = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
from otel_progress import stage, workflow
context = multiprocessing.get_context(sys.argv[1])

@stage("work")
def work(number):
    return number

"""
WAYS = {
    "a pool, which ends its workers by SIGTERM": """
    with context.Pool(3) as pool:
        pool.map(work, range(12))
""",
    "a pool that is closed": """
    with context.Pool(3, maxtasksperchild=1) as pool:
        pool.map(work, range(12), chunksize=1)
        pool.close(); pool.join()
""",
    "processes": """
    each = [context.Process(target=work, args=(number,)) for number in range(12)]
    for process in each: process.start()
    for process in each: process.join()
""",
    "an executor": """
    with ProcessPoolExecutor(3, mp_context=context) as executor:
        list(executor.map(work, range(12)))
""",
}


@every_method
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_stage_of_every_child_arrives_and_is_counted(tmp_path: Path, method: str, way: str) -> None:
    done = run(tmp_path, WORK + "main:" + way, method)
    assert ended(tmp_path) == {"work": 12}
    assert rows(done.stderr)["work"][0] == "12"
    assert str(os.getpid()) not in {pid_of(event) for event in events(tmp_path)}


JOINED = """
main:
    shared = {}
    with workflow("w", shared=shared), stage("main"):
        with context.Pool(2) as pool:
            pool.starmap(joins, [(dict(shared), number) for number in range(6)])
"""


@every_method
def test_inside_a_run(tmp_path: Path, method: str) -> None:
    joins = "def joins(shared, number):\n    with stage('joins', shared=shared): pass\n"
    done = run(tmp_path, WORK + joins + JOINED, method)
    assert ended(tmp_path) == {"joins": 6, "main": 1}
    assert len({event["run.id"] for event in events(tmp_path)}) == 1
    assert rows(done.stderr)["joins"] == ["6", "0", "0", "0", "success"]
    assert "w (1 run)" in done.stderr


def test_a_child_that_is_given_as_text_is_named_as_its_program(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        import subprocess, sys
        subprocess.run([sys.executable, "-c", "from otel_progress import stage\\nwith stage('work'): pass"], check=True)
        """,
    )
    (begun,) = [event for event in events(tmp_path) if event["event"] == "run.started"]
    assert begun["workflow.name"] == "program"


@every_method
def test_a_program_that_does_not_know_of_us(tmp_path: Path, method: str) -> None:
    run(
        tmp_path,
        """
        import multiprocessing, sys
        from pocketflow import Flow, Node
        class Draft(Node): pass
        def work(number):
            Flow(Draft()).run({})
        main:
            with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
                pool.map(work, range(4))
        """,
        method,
    )
    assert ended(tmp_path) == {"Draft": 4}


@every_method
def test_children_of_children(tmp_path: Path, method: str) -> None:
    run(
        tmp_path,
        """
        import multiprocessing, sys
        from pocketflow import Flow, Node
        context = multiprocessing.get_context(sys.argv[1])
        class Draft(Node): pass
        def work(depth):
            Flow(Draft()).run({})
            if depth:
                child = context.Process(target=work, args=(depth - 1,))
                child.start()
                child.join()
        main:
            work(2)
        """,
        method,
    )
    assert ended(tmp_path) == {"Draft": 3}
    (record,) = records(tmp_path)
    told = [json.loads(file.read_text()) for file in record.glob("process-*.json")]
    assert len(told) == 3
    assert all("ended" in each for each in told)


@every_method
def test_a_child_that_is_killed_is_counted_with_what_it_did_not_end(tmp_path: Path, method: str) -> None:
    done = run(
        tmp_path,
        WORK
        + """
def dies():
    with stage("last"):
        os.kill(os.getpid(), 9)
main:
    child = context.Process(target=dies)
    child.start()
    child.join()
""",
        method,
    )
    assert ended(tmp_path) == {}
    assert rows(done.stderr)["last"] == ["1", "0", "0", "0", "abandoned"]


def test_a_program_of_its_own_that_imports_us(tmp_path: Path) -> None:
    otlp.write(tmp_path, "from otel_progress import stage\nwith stage('inside'): pass", "other.py")
    done = run(tmp_path, "import subprocess, sys\nsubprocess.run([sys.executable, 'other.py'], check=True)")
    assert ended(tmp_path) == {"inside": 1}
    assert rows(done.stderr)["inside"][0] == "1"


def test_a_run_inside_a_run_has_a_record_of_its_own(tmp_path: Path) -> None:
    otlp.write(tmp_path, "from otel_progress import stage\nwith stage('inside'): pass", "other.py")
    run(
        tmp_path,
        "import subprocess, sys\nfrom otel_progress import stage\nwith stage('outside'):\n"
        "    subprocess.run([sys.executable, '-m', 'otel_progress', 'run', 'other.py'], check=True)",
    )
    told = [(record / "events.jsonl").read_text() for record in records(tmp_path)]
    assert sorted(("inside" in each, "outside" in each) for each in told) == [(False, True), (True, False)]


def test_a_child_that_cannot_find_us_runs_all_the_same(tmp_path: Path) -> None:
    """Where only the command itself was found in the folder in which it was called."""
    run(
        tmp_path,
        """
        import multiprocessing, sys
        def work():
            print("works", "otel_progress" in sys.modules, flush=True)
        main:
            child = multiprocessing.get_context("spawn").Process(target=work)
            import otel_progress.cli.children as children
            children._ROOT = "/nowhere"
            for name in [name for name in sys.modules if name.startswith("otel_progress")]:
                del sys.modules[name]
            sys.path[:] = [each for each in sys.path if not each.endswith("site-packages")]
            sys.path_hooks.clear()
            child.start()
            child.join()
            assert child.exitcode == 0
        """,
    )


@every_method
def test_nothing_is_left_behind_in_a_child(tmp_path: Path, method: str) -> None:
    """What the program finds in it is what it finds without us."""
    code = textwrap.dedent(
        """
        import multiprocessing, multiprocessing.spawn, sys, threading
        def work():
            print(sys.path, sys.argv, sorted(vars(sys.modules["multiprocessing.spawn"])), threading.active_count())
        if __name__ == "__main__":
            child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
            child.start()
            child.join()
        """
    )
    program = str(otlp.write(tmp_path, code))
    plain = otlp.run(tmp_path, [program, method])
    ours = otlp.run(tmp_path, [*RUN, program, method])
    assert ours.stdout == plain.stdout != ""


def test_metrics_and_spans_of_a_spawned_child_are_exported(tmp_path: Path) -> None:
    with otlp.receiver() as received:
        main = "main:\n    child = context.Process(target=work, args=(1,)); child.start(); child.join()\n"
        run(tmp_path, WORK + main, "spawn", OTEL_EXPORTER_OTLP_ENDPOINT=received.http, OTEL_SERVICE_NAME="studio")
        assert "stage work" in {span.name for span in received.spans}
        assert {span.resource["service.name"] for span in received.spans} == {"studio"}
        assert "otel_progress.stage.duration" in {point.metric for point in received.points}


@every_method
def test_what_a_child_did_not_live_to_export_its_parent_does(tmp_path: Path, method: str) -> None:
    joins = """
def joins(shared, number):
    with stage("joins", shared=shared):
        with stage("look"): pass
        with stage("inner"): pass
"""
    with otlp.receiver() as received:
        done = run(tmp_path, WORK + joins + JOINED, method, OTEL_EXPORTER_OTLP_ENDPOINT=received.http)
        spans = received.spans
    exported = re.search(rf"Exported: (\d+) spans to {received.http}/v1/traces\n", done.stderr)
    assert exported is not None
    # Mostly all of them; but a worker may come to its end, and export, before the pool ends it.
    (record,) = (tmp_path / ".otel-progress" / "runs").iterdir()
    noted = [line for file in record.glob("exported.txt") for line in file.read_text().split()]
    assert int(exported[1]) + len({line for line in noted if not line.startswith("-")}) == 20
    inside = {"stage joins": 6, "stage look": 6, "stage inner": 6}
    assert Counter(span.name for span in spans) == {"run w": 1, "stage main": 1, **inside}
    assert len({span.trace_id for span in spans}) == 1
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == 20
    assert Counter(by_id[span.parent_id].name for span in spans if span.name != "run w") == {
        "run w": 7,
        "stage joins": 12,
    }
    for span in spans:
        if span.name == "stage inner":
            assert span.attributes["otel_progress.stage.result"] == "success"
            assert not [name for name in span.attributes if re.search("visit_id|parent|follows", name)]
    (record,) = records(tmp_path)
    written = [
        span["name"]
        for line in (record / "spans.jsonl").read_text().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    assert Counter(written) == Counter(span.name for span in spans)


@every_method
def test_spans_of_failures_that_a_child_did_not_live_to_export(tmp_path: Path, method: str) -> None:
    dies = """
def dies():
    try:
        with stage("fails"):
            raise ValueError("no")
    except ValueError:
        os.kill(os.getpid(), 9)
main:
    with workflow("w"), stage("main"):
        child = context.Process(target=dies); child.start(); child.join()
"""
    with otlp.receiver() as received:
        run(tmp_path, WORK + dies, method, OTEL_EXPORTER_OTLP_ENDPOINT=received.http)
    by_id = {span.span_id: span for span in received.spans}
    (span,) = [span for span in received.spans if span.name == "stage fails"]
    assert (span.attributes["error.type"], span.message) == ("ValueError", "")
    while span.name not in {"stage main", "run w"}:
        span = by_id[span.parent_id]  # The child's run, where it has one of its own, is in the stage that started it.


def test_what_a_child_has_exported_is_not_exported_again(tmp_path: Path) -> None:
    main = "main:\n    child = context.Process(target=work, args=(1,)); child.start(); child.join()\n"
    for method in METHODS:
        with otlp.receiver() as received:
            run(tmp_path, WORK + main, method, OTEL_EXPORTER_OTLP_ENDPOINT=received.http)
            assert sorted(span.name for span in received.spans) == ["run program", "stage work"]


SENDS = """
from opentelemetry import trace
def sends():
    with stage("work"):
        pass
    trace.get_tracer_provider().force_flush()
main:
    child = context.Process(target=sends)
    child.start()
    print(child.pid, flush=True)
    child.join()
"""


@every_method
def test_what_a_child_has_sent_when_it_is_killed_is_not_exported_again(tmp_path: Path, method: str) -> None:
    """As a pool does, which tells its workers to end and then ends them by SIGTERM."""
    code = (WORK + SENDS).replace("main:", "if __name__ == '__main__':")
    command = [*RUN, str(otlp.write(tmp_path, code)), method]
    with otlp.receiver() as received:
        received.pause()
        with otlp.start(tmp_path, command, OTEL_EXPORTER_OTLP_ENDPOINT=received.http) as program:
            assert program.stdout is not None
            child = int(program.stdout.readline())
            received.wait_until(lambda: bool(received.begun))
            os.kill(child, signal.SIGKILL)
            received.resume()
            assert otlp.ended(program).returncode == 0
        assert sorted(span.name for span in received.spans) == ["run program", "stage work"]


@pytest.mark.parametrize("status", [200, 302, 503])
def test_what_a_child_has_sent_is_noted_and_what_was_not_taken_too(tmp_path: Path, status: int) -> None:
    main = "main:\n    child = context.Process(target=work, args=(1,)); child.start(); child.join()\n"
    with otlp.answering(status, Content_Type="application/x-protobuf") as address:
        run(tmp_path, WORK + main, "spawn", OTEL_EXPORTER_OTLP_ENDPOINT=address, OTEL_EXPORTER_OTLP_TIMEOUT="1")
    (record,) = records(tmp_path)
    noted: dict[str, bool] = {}
    for each in (record / "exported.txt").read_text().split():
        noted[each.removeprefix("-")] = not each.startswith("-")
    assert list(noted.values()) == [status == 200] * 2  # A run and its stage.


def test_what_was_not_sampled_in_a_child_stays_so(tmp_path: Path) -> None:
    variables = {"OTEL_TRACES_SAMPLER": "always_off"}
    with otlp.receiver() as received:
        main = "main:" + WAYS["a pool, which ends its workers by SIGTERM"]
        run(tmp_path, WORK + main, "fork", OTEL_EXPORTER_OTLP_ENDPOINT=received.http, **variables)
        assert received.spans == []


# --- Celery -----------------------------------------------------------------------------------------------------------

TASKS = """
import os
from celery import Celery
from otel_progress import stage, workflow
app = Celery("tasks", broker="filesystem://", backend="file://" + os.path.abspath("results"))
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control", "polling_interval": 0.05
}
app.conf.worker_hijack_root_logger = False

@app.task
@stage("task")
def task(number):
    with stage("inner"):
        return number
"""
SEND = """
from tasks import task
results = [task.delay(number) for number in range(6)]
assert sorted(result.get(timeout=60) for result in results) == list(range(6))
"""


@pytest.mark.parametrize(
    "options", [["--max-tasks-per-child=1"], []], ids=["a child for each task", "lasting children"]
)
def test_a_celery_worker(tmp_path: Path, options: list[str]) -> None:
    pytest.importorskip("celery", reason="celery is not installed")
    for folder in ("queue", "control", "results"):
        (tmp_path / folder).mkdir()
    otlp.write(tmp_path, TASKS, "tasks.py")
    command = [*RUN, "-m", "celery", "-A", "tasks", "worker", "--concurrency=2", "--without-mingle", *options]
    with otlp.receiver() as received:
        worker = otlp.start(
            tmp_path, command, OTEL_EXPORTER_OTLP_ENDPOINT=received.http, OTEL_METRIC_EXPORT_INTERVAL="500"
        )
        with worker:
            try:
                sent = otlp.run(tmp_path, [str(otlp.write(tmp_path, SEND, "send.py"))])
                assert sent.returncode == 0, sent.stderr
            finally:
                worker.terminate()
                done = otlp.ended(worker)
    assert ended(tmp_path) == {"task": 6, "inner": 6}
    assert rows(done.stderr)["task"][0] == "6"
    stages = [span for span in received.spans if span.name in ("stage task", "stage inner")]
    assert len({span.span_id for span in stages}) == 12
    assert "otel_progress.stage.duration" in {point.metric for point in received.points}


LATE = (
    WORK
    + """
import threading
def late(begun, go_on):
    with stage("late"):
        begun.set()
        go_on.wait(30)
main:
    begun, go_on = context.Event(), context.Event()
    with workflow("outer"):
        child = context.Process(target=late, args=(begun, go_on), daemon=len(sys.argv) > 2)
        child.start()
        begun.wait(30)
    """
)


@every_method
def test_one_that_python_waits_for_behind_the_program_is_counted_to_its_end(tmp_path: Path, method: str) -> None:
    """`multiprocessing` joins what the program does not; it does so in an exit handler, as we make the table."""
    done = run(tmp_path, f"{LATE}timer = threading.Timer(1.5, go_on.set); timer.daemon = True; timer.start()", method)
    assert ended(tmp_path) == {"late": 1}
    assert rows(done.stderr)["late"] == ["1", "0", "0", "0", "success"]


@every_method
def test_a_daemon_that_python_ends_behind_the_program_did_not_live_to_end(tmp_path: Path, method: str) -> None:
    done = run(tmp_path, f"{LATE}pass", method, "daemon")
    assert ended(tmp_path) == {}
    assert rows(done.stderr)["late"] == ["1", "0", "0", "0", "abandoned"]


@every_method
def test_sigterm_ends_a_program_at_once_that_only_waits_for_a_child(tmp_path: Path, method: str) -> None:
    code = textwrap.dedent(LATE).replace("main:", "if __name__ == '__main__':")
    program = otlp.write(tmp_path, f"{code}import atexit; atexit.register(print, 'at exit', flush=True)")
    with otlp.start(tmp_path, [*RUN, str(program), method]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at exit\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        process.wait(10)
        took = time.monotonic() - begun
        for event in events(tmp_path):
            if event["event"] == "stage.started":
                os.kill(int(pid_of(event)), signal.SIGKILL)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == -signal.SIGTERM
    assert took < 1.0
    assert "SystemExit" not in said
    assert rows(said)["late"] == ["1", "0", "0", "0", "running"]


def test_a_child_that_outlives_the_program_is_running_and_not_abandoned(tmp_path: Path) -> None:
    """Its table says what is true when it is made, and its record what comes later."""
    done = run(
        tmp_path,
        """
import os, time
from otel_progress import stage, workflow
with workflow("outer"):
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        with workflow("inner"), stage("late"):
            time.sleep(3)
        os._exit(0)
    time.sleep(0.5)
""",
    )
    assert rows(done.stderr)["late"] == ["1", "0", "0", "0", "running"]
    assert "bandoned" not in done.stderr
    otlp.wait_until(lambda: ended(tmp_path)["late"] == 1)


def test_a_record_by_a_relative_name_is_where_the_program_began(tmp_path: Path) -> None:
    code = """
        import os
        from otel_progress import stage
        os.mkdir("elsewhere")
        os.chdir("elsewhere")
        with stage("draft"):
            pass
        """
    assert otlp.run_code(tmp_path, code, OTEL_PROGRESS_RECORD="record").stderr == ""
    assert [*(tmp_path / "elsewhere").iterdir()] == []
    assert (tmp_path / "record" / "events.jsonl").stat().st_size > 0
