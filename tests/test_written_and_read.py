"""What is read is what was recorded: the real sinks write, the readers read, and both tell the same."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import IO, Any, cast

import pytest
from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from pocketflow import BatchNode, Flow, Node

from otel_progress import PocketFlowInstrumentor, stage, workflow
from otel_progress.recording.times import parse_timestamp
from otel_progress.runs import Run, Stage, read
from otel_progress.sinks.events import EventSink

from . import otlp
from .conftest import Telemetry
from .records import everything
from .test_events import Lines

# --- random workflows, in this process --------------------------------------------------------------------------------


class Plan:
    """Does random things inside a run."""

    def __init__(self, seed: int, telemetry: Telemetry) -> None:
        self.chance = random.Random(seed)
        self.telemetry = telemetry
        self.shared: dict[str, Any] = {
            "task_requirements": {"platforms": ["x", "y"]},
            "quality_control": {"revision_count": 0},
            "version_history": [],
        }

    def passes(self) -> None:
        self.telemetry.time.passes(self.chance.randrange(1, 9) / 8)

    def do(self, depth: int = 0) -> None:
        for _ in range(self.chance.randrange(1, 5)):
            self.passes()
            self.chance.choice([self.visit, self.visit, self.node, self.revise])(depth)

    def revise(self, depth: int) -> None:
        self.shared["quality_control"]["revision_count"] += 1

    def visit(self, depth: int) -> None:
        name = self.chance.choice(["draft", "check", "publish", "überset\tzen"])
        try:
            with stage(name, budget="2m") as visit:
                self.passes()
                if self.chance.random() < 0.5:
                    visit.platform(self.chance.choice(["x", "y", "z"]))
                if self.chance.random() < 0.5:
                    visit.advance(self.chance.randrange(4), total=9, failed=self.chance.randrange(2))
                if self.chance.random() < 0.3:
                    self.shared["version_history"].append({"version_id": f"v{self.chance.random()}", "action": "a"})
                if self.chance.random() < 0.3:
                    with visit.waiting("approval"):
                        self.passes()
                if depth < 3 and self.chance.random() < 0.4:
                    self.do(depth + 1)
                if self.chance.random() < 0.3:
                    raise self.chance.choice([ValueError, KeyError, OSError])("no")
        except (ValueError, KeyError, OSError):
            pass

    def node(self, depth: int) -> None:
        plan = self

        class Write(Node):
            def exec(self, prep_res: Any) -> Any:
                plan.passes()
                if plan.chance.random() < 0.4:
                    raise ValueError("no")

            def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
                if plan.chance.random() < 0.5:
                    raise exc

        class WriteAll(Write, BatchNode):
            def prep(self, shared: Any) -> Any:
                return ["x", "y", "z"]

        kind = self.chance.choice([Write, WriteAll])
        with contextlib.suppress(ValueError):
            Flow(start=kind(max_retries=3)).run(self.shared)


def recorded(seed: int, telemetry: Telemetry) -> tuple[list[str], list[str], dict[str, Any]]:
    """The spans and events of a random run, as lines, and what the recorder itself says of its stages."""
    lines = Lines()
    sinks = telemetry.recorder.sinks
    telemetry.recorder.sinks = [sinks[0], EventSink(lines), *sinks[1:]]
    plan = Plan(seed, telemetry)
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.tracer_provider)
    try:
        with workflow("campaign", shared=plan.shared) as run:
            plan.do()
            entries = dict(run.entries())
            plan.passes()
    finally:
        instrumentor.uninstrument()
    file = io.StringIO()
    FileSpanExporter(stream=cast("IO[str]", file)).export(telemetry.exporter.get_finished_spans())
    return file.getvalue().splitlines(), [line.decode().strip() for line in lines.written], entries


@pytest.mark.parametrize("seed", range(40))
def test_spans_events_and_both_tell_what_was_recorded(seed: int, telemetry: Telemetry, tmp_path: Path) -> None:
    spans, events, entries = recorded(seed, telemetry)
    told: list[Run] = []
    for number, lines in enumerate((spans, events, [*events, *spans], [*spans, *events])):
        file = tmp_path / f"{number}.jsonl"
        file.write_text("\n".join(lines), "utf-8")
        runs, problems = everything(file)
        assert problems == []
        (run,) = runs
        told.append(run)
        assert (run.state, run.result) == ("done", "success")
        assert {each.name: as_entry(each) for each in run.stages} == {
            name: {key: entry[key] for key in COMPARED} | {"start_time": parse_timestamp(entry["start_time"])}
            for name, entry in entries.items()
        }
        assert all(visit.state == "done" for visit in run.visits)
        assert len(run.visits) == sum(entry["visits"] for entry in entries.values())
    by_spans, by_events, both, again = told
    assert [structure(run) for run in told] == [structure(by_spans)] * 4
    assert inside(both) == inside(by_spans) == inside(again)
    assert {each.name: each for each in both.stages} == {each.name: each for each in again.stages}
    assert by_events.seconds == by_spans.seconds == both.seconds


@pytest.mark.parametrize("most", [1, 4, 30])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_known_of_many_visits_is_put_aside_and_taken_back(
    seed: int, most: int, telemetry: Telemetry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [recorded(10 * seed + number, telemetry)[1] for number in range(4)]
    events = [line for lines in itertools.zip_longest(*several) for line in lines if line]
    file = io.StringIO()
    for spans in zip(*[iter(telemetry.exporter.get_finished_spans())] * 3, strict=False):
        FileSpanExporter(stream=cast("IO[str]", file)).export(spans)
    spans = file.getvalue().splitlines()
    random.Random(seed).shuffle(spans)

    def told(lines: list[str], **visits: int) -> dict[str, Any]:
        (tmp_path / "t.jsonl").write_text("\n".join(lines), "utf-8")
        runs, problems = everything(tmp_path / "t.jsonl", **visits)
        assert problems == []
        return {run.id: (structure(run), inside(run), run.stages, run.visits_left_out) for run in runs}

    half = len(events) // 2
    for lines in (spans, events, [*events, *spans], [*spans, *events], [*events[:half], *spans, *events[half:]]):
        with monkeypatch.context() as patched:
            patched.setattr("otel_progress.runs.collect._MOST_KEPT", most)
            bounded = told(lines)
            few = told(lines, visits=2)
        assert bounded == told(lines)
        assert [len(visits) for visits, *_ in few.values()] == [min(2, len(visits)) for visits, *_ in bounded.values()]


COMPARED = ("visits", "seconds", "result", "error", "retries", "items_done", "items_total", "results")


def as_entry(told: Stage) -> dict[str, Any]:
    found = {key: getattr(told, key) for key in COMPARED}
    assert told.started is not None
    return found | {"seconds": round(found["seconds"], 6), "start_time": told.started // 1000 * 1000}


def structure(run: Run) -> list[tuple[Any, ...]]:
    """Every visit, with the one that it lies in, by what does not depend on the witness."""
    by_id = {visit.id: (visit.stage, visit.number, visit.started) for visit in run.visits}
    found = [
        (visit.stage, visit.number, visit.started, visit.ended, visit.result, visit.error, visit.attempts,
         visit.retries, visit.items_done, visit.items_failed, visit.items_total, visit.platforms, visit.item_platform,
         visit.action, visit.revision, by_id.get(visit.parent or ""))
        for visit in run.visits
    ]  # fmt: skip
    return sorted(found, key=repr)  # The clock of the test stands still, so that several start at once.


def inside(run: Run) -> dict[str | None, Any]:
    """What only spans tell."""
    return {visit.span_id: (visit.failed, visit.versions, len(visit.links)) for visit in run.visits}


# --- programs that end in every way -----------------------------------------------------------------------------------

KILLED = """
import asyncio, json, logging, os, random, re, signal, sys, threading, time, traceback
from otel_progress import stage, workflow
from otel_progress.recording import default
from otel_progress.runs import appending, writer
from otel_progress.runs.record import Record

if sys.argv[4:] == ["slow"]:  # Every write seems so.
    assert appending.SLOW == writer.SLOW and writer._MOSTLY
    appending.SLOW, writer.SLOW, writer._MOSTLY = 1e-9, 1e-9, 0
chance, truth = random.Random(int(sys.argv[1])), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
parent = os.getpid()

def work(name, shared, above=parent, truth=truth):
    while os.getppid() == above:
        with stage(name, shared=shared) as visit:
            os.write(truth, b"started\\n")
            visit.advance()
            with stage(name + "_inner", shared=shared):
                os.write(truth, b"started\\n")
            os.write(truth, b"ended\\n")
        os.write(truth, b"ended\\n")

def threads(shared):
    for number in range(2):
        threading.Thread(target=work, args=(f"side{number}", shared), daemon=True).start()
    work("main", shared)

def tasks(shared):
    async def task(name):
        while os.getppid() == parent:
            async with stage(name, shared=shared):
                os.write(truth, b"started\\n")
                await asyncio.sleep(0)
            os.write(truth, b"ended\\n")
    async def all():
        await asyncio.gather(*(task(f"task{number}") for number in range(3)))
    asyncio.run(all())

def forks(shared):
    above = os.getpid()
    if not os.fork():  # It outlives the process that is killed, for a moment.
        try:
            work("child", shared, above, os.open(os.devnull, os.O_WRONLY))  # Others are alive by then.
        finally:
            os._exit(0)
    work("main", shared)

def holds_the_interpreter(shared):
    with stage("busy", shared=shared):
        os.write(truth, b"started\\n")
        re.match("(a+)+$", "a" * 23 + "b")
    os.write(truth, b"ended\\n")
    work("main", shared)

class Behind(logging.Handler):
    def __init__(self):
        super().__init__()
        self.pid = os.getpid()
    def emit(self, record):
        if "takes long to write" in record.getMessage() and os.getpid() == self.pid:
            os.write(truth, b"behind\\n")

def child(how):
    logging.getLogger("otel_progress").addHandler(Behind())
    record = Record("killed")
    record.writer(lambda: "killed").attach(default.recorder)
    os.write(1, (json.dumps(str(record.path)) + "\\n").encode())
    shared = {}
    with workflow("campaign", shared=shared):
        os.write(told, b"y")
        how(shared)

for number in range(int(sys.argv[3])):
    form = (threads, tasks, forks, holds_the_interpreter)[number % 4]
    begins, told = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(told, b"x")
            child(form)
        except BaseException as error:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            raised = [type(error).__name__, str(error), os.path.basename(frame.f_code.co_filename)]
            os.write(1, (json.dumps(raised) + "\\n").encode())
        finally:
            os._exit(0)
    # What a handler raises while Python forks, or makes or closes an event loop, is dropped by Python.
    how = chance.choice([signal.SIGKILL, signal.SIGTERM, *([] if form in (forks, tasks) else [signal.SIGINT])])
    if how == signal.SIGINT:
        os.read(begins, 1)
    if chance.random() < 0.8:  # Else it may not even have begun.
        while os.read(begins, 1) != b"y": pass
    time.sleep(chance.random() * chance.choice([0.005, 0.05]))
    os.close(begins)
    os.close(told)
    os.kill(pid, how)
    os.waitpid(pid, 0)
    os.write(1, (json.dumps(how) + "\\n").encode())
    os.write(truth, b"next\\n")
"""
KILLS = int(os.environ.get("KILLS", "100"))


@pytest.mark.parametrize(("count", "disk"), [(KILLS, "quick"), (40, "slow")])
def test_killed_at_random_instants_no_state_is_wrong(tmp_path: Path, count: int, disk: str) -> None:
    """No line is torn, nothing that was known to be written is lost, and nothing that is gone counts as running."""
    script, truth, behind = otlp.write(tmp_path, KILLED), tmp_path / "truth", 0
    command = [sys.executable, str(script), "7", str(truth), str(count), disk]
    limit = otlp.TIMEOUT + count
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=limit, check=True)
    outcomes = _outcomes(done.stdout)
    assert len(outcomes) == count
    seen = {"crashed": 0, "done": 0, "none": 0}
    for (path, how, raised), told in zip(outcomes, truth.read_text().split("next\n"), strict=False):
        # What comes after a record has said that a thread writes now may be lost with the process, and nothing before.
        in_frame, is_behind, _ = told.partition("behind")
        behind += bool(is_behind)
        started, ended = in_frame.count("started"), in_frame.count("ended")
        if path is None or not (tmp_path / path / "events.jsonl").exists():
            assert started == 0
            seen["none"] += 1
            continue
        runs, problems = everything(tmp_path / path, visits=100_000)
        assert problems == []
        if not runs:
            assert started == 0
            seen["none"] += 1
            continue
        (run,) = runs
        assert run.visit_count >= started
        finished = sum(visit.state == "done" for visit in run.visits)
        assert finished >= ended
        assert {visit.state for visit in run.visits} <= {"done", "crashed"}
        assert run.visit_count - finished <= 6  # What three threads may have open.
        if raised == _OF_PYTHON and run.state == "done":
            assert (run.result, run.error) == ("failure", "RuntimeError")
        elif how == signal.SIGINT and run.state == "done":
            assert raised is not None
            assert raised[0] == "KeyboardInterrupt"
            assert run.result in ("cancelled", "abandoned")  # The second where it came as a block was entered or left.
        else:
            assert (run.state, run.result) == ("crashed", None)
            assert "is gone without a word" in run.note
        seen[run.state] += 1
    assert seen["crashed"] > count / 3
    assert disk == "quick" or behind > count / 3
    listed, problems = everything(tmp_path)
    assert problems == []
    assert len(listed) == count - seen["none"]


_OF_PYTHON = ["RuntimeError", "release unlocked lock", "threading.py"]
"""What `Thread.start` makes of a KeyboardInterrupt that comes as its wait for the thread ends, without us too: the lock
of its condition is not taken again when that is left. So this is what left the workflow, and the record says so."""


def _outcomes(printed: str) -> list[tuple[str | None, int, list[str] | None]]:
    """The record of each child, where it came so far, the signal, and what left it: type, message and file."""
    found: list[tuple[str | None, int, list[str] | None]] = []
    path = raised = None
    for line in printed.splitlines():
        value = json.loads(line)
        if isinstance(value, str):
            path = value
        elif isinstance(value, list):
            raised = cast("list[str]", value)
        else:
            found.append((path, value, raised))
            path = raised = None
    return found


RUN = ["-m", "otel_progress", "run", "--no-live"]


def run_of(folder: Path) -> Run:
    reading = read(folder / ".otel-progress")
    (run,) = reading
    assert not reading.problems
    return run


WAITS = """
    import sys
    from otel_progress import stage, workflow
    with workflow("campaign"), stage("draft"):
        print("begun", flush=True)
        sys.stdin.readline()
"""


def test_what_runs_is_seen_and_then_done(tmp_path: Path) -> None:
    program = otlp.start(tmp_path, [*RUN, str(otlp.write(tmp_path, WAITS))])
    assert program.stdout is not None
    assert program.stdout.readline() == "begun\n"
    run = run_of(tmp_path)
    assert (run.state, run.note, [visit.state for visit in run.open_visits]) == ("running", "", ["running"])
    assert otlp.ended(program, "\n").returncode == 0
    run = run_of(tmp_path)
    assert (run.state, run.result, run.open_visits) == ("done", "success", ())


ENDS: dict[str, tuple[str, str]] = {
    "os._exit": ("os._exit(3)", "crashed"),
    "a signal that it sends itself": ("os.kill(os.getpid(), 9)", "crashed"),
    "a fault": ("import ctypes; ctypes.string_at(0)", "crashed"),
    "an exception": ("raise ValueError", "failure"),
    "SystemExit": ("sys.exit(3)", "failure"),
    "SIGTERM": ("os.kill(os.getpid(), 15)", "cancelled"),
}


@pytest.mark.parametrize("end", list(ENDS))
def test_how_a_program_ended(end: str, tmp_path: Path) -> None:
    code, expected = ENDS[end]
    begin = "import os, sys\nfrom otel_progress import stage, workflow\nwith workflow('campaign'), stage('draft'):\n"
    program = f"{begin}    {code}"
    otlp.run(tmp_path, [*RUN, str(otlp.write(tmp_path, program))])
    run = run_of(tmp_path)
    assert (run.state if run.result is None else run.result) in {expected, "failure" if end == "SIGTERM" else expected}
    (visit,) = run.visits
    assert visit.state == run.state


CHILDREN = """
    import multiprocessing, os
    from otel_progress import stage, workflow

    def work(number):
        with stage("child", shared=shared):
            pass
        if number == 3:
            with stage("last", shared=shared):
                os._exit(1)

    shared = {}
    with workflow("campaign", shared=shared):
        fork = multiprocessing.get_context("fork")
        processes = [fork.Process(target=work, args=(number,)) for number in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
"""


def test_what_forked_children_did_is_in_the_run(tmp_path: Path) -> None:
    otlp.run(tmp_path, [*RUN, str(otlp.write(tmp_path, textwrap.dedent(CHILDREN)))])
    run = run_of(tmp_path)
    assert (run.state, run.result, len(run.processes)) == ("done", "success", 5)
    child, last = run.stages
    assert (child.visits, child.results, last.open) == (4, {"success": 4}, 1)
    (opened,) = run.open_visits
    assert opened.state == "crashed"
