"""Runs that no `workflow` begins: how many begin, how long they are kept, what they are counted as."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import json
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from otel_progress import ProgressTrackerNode, Run, Sink, progress, stage, workflow
from otel_progress.recording import default
from otel_progress.recording.recorder import Recorder

from .conftest import Telemetry, make_telemetry, using

Shared = dict[str, Any]


@pytest.fixture
def recorder_with() -> Generator[Callable[[Callable[[], str]], Recorder]]:
    """Puts a recorder that has no sinks, and run ids of the test's own, in the place of the process's own."""
    previous = default.recorder

    def make(new_run_id: Callable[[], str]) -> Recorder:
        default.use(made := Recorder(new_run_id=new_run_id))
        return made

    yield make
    default.use(previous)


def visit(name: str, shared: Shared) -> None:
    with stage(name, shared=shared):
        pass


def at(name: str) -> Shared:
    return {"workflow_state": {"current_stage": name}}


def ids(recorder: Recorder) -> list[str]:
    return [run.id for run in recorder.registry.runs()]


# --- where they begin -------------------------------------------------------------------------------------------------


class Both:
    """A place that two threads reach at once, unless one of them has to wait for the other."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2)

    def reached(self) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):  # Nobody else comes where a lock is held meanwhile.
            self._barrier.wait(timeout=0.2)


def begin_two_at_once(recorder: Recorder) -> None:
    """Begin two stages on one store, by two threads; what they begin has to be one run."""
    shared: Shared = {}
    both_open = threading.Barrier(2)
    runs: list[Run] = []

    def work(name: str) -> None:
        with stage(name, shared=shared) as visit:
            runs.append(visit.run)
            with contextlib.suppress(threading.BrokenBarrierError):
                both_open.wait(timeout=10)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not both_open.broken
    first, second = runs
    assert first is second
    assert recorder.registry.runs() == [first]
    assert {name: entry["visits"] for name, entry in progress(first).items()} == {"a": 1, "b": 1}


def test_two_threads_that_begin_on_one_store_begin_one_run(
    recorder_with: Callable[[Callable[[], str]], Recorder],
) -> None:
    numbers, both = itertools.count(1), Both()

    def slow_id() -> str:
        both.reached()
        return f"run-{next(numbers)}"

    begin_two_at_once(recorder_with(slow_id))


def test_a_run_is_looked_for_and_kept_in_one_go(
    recorder_with: Callable[[Callable[[], str]], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, both = itertools.count(1), Both()
    recorder = recorder_with(lambda: f"run-{next(numbers)}")
    registry: Any = recorder.registry
    keep = registry._keep

    def slow(run: Run) -> None:
        both.reached()
        keep(run)

    monkeypatch.setattr(registry, "_keep", slow)
    begin_two_at_once(recorder)


@pytest.mark.parametrize("asks", [True, False], ids=["finds it", "is about to begin one"])
def test_no_visit_begins_before_the_run_that_another_thread_begins_is_told_of(telemetry: Telemetry, asks: bool) -> None:
    shared: Shared = {}
    other = threading.Thread(target=visit, args=("b", shared))
    has_asked, begins = threading.Event(), threading.Event()

    class Slow(Sink):
        def run_started(self, run: Run) -> None:
            if asks:
                other.start()
            begins.set()
            other.join(timeout=0.3)  # Longer than it takes where nobody has it wait.

    def prepare() -> None:
        if threading.current_thread() is other:
            has_asked.set()
            begins.wait(timeout=10)

    telemetry.recorder.change(lambda sinks: [Slow(), *sinks])
    if not asks:
        telemetry.recorder.prepare = prepare
        other.start()
        assert has_asked.wait(timeout=10)
    visit("a", shared)
    other.join(timeout=30)
    telemetry.recorder.close()
    run = telemetry.span("run tests")
    assert [span.parent for span in telemetry.spans("stage")] == [run.context] * 2


@pytest.mark.parametrize("same", [True, False], ids=["the same store", "another store"])
def test_what_another_thread_began_and_left_while_a_run_was_about_to_begin_is_joined(
    telemetry: Telemetry, same: bool
) -> None:
    shared: Shared = {}

    def meanwhile() -> None:
        telemetry.recorder.prepare = None
        thread = threading.Thread(target=visit, args=("a", shared if same else {}))
        thread.start()
        thread.join(timeout=30)

    telemetry.recorder.prepare = meanwhile
    visit("b", shared)
    visits = {name: entry["visits"] for name, entry in shared["progress_metrics"].items()}
    assert visits == ({"a": 1, "b": 1} if same else {"b": 1})
    telemetry.recorder.close()
    trees = "[run tests[stage a, stage b]]" if same else "[run tests[stage a], run tests[stage b]]"
    assert repr(telemetry.trees()) == trees


# --- how many are kept ------------------------------------------------------------------------------------------------


def test_the_run_that_is_idle_longest_ends_when_256_newer_ones_are_idle(telemetry: Telemetry) -> None:
    stores: list[Shared] = [{} for _ in range(257)]
    for store in stores[:256]:
        visit("a", store)
    assert telemetry.spans("run") == []
    visit("b", stores[0])  # Not the longest any more.
    visit("a", stores[256])
    assert len(telemetry.recorder.registry.runs()) == 256
    (ended,) = telemetry.spans("run")
    assert (ended.attributes or {})["otel_progress.run.id"] == stores[1]["progress_run"]["run_id"]


def test_a_run_with_a_stage_open_is_not_idle(telemetry: Telemetry) -> None:
    shared: Shared = {}
    visit("a", shared)
    with stage("a", shared=shared):
        for _ in range(300):
            contextvars.Context().run(visit, "b", {})  # A run of its own.
    visit("c", shared)
    assert {name: entry["result"] for name, entry in shared["progress_metrics"].items()} == {
        "a": "success",
        "c": "success",
    }
    assert shared["progress_run"]["run_id"] == "run-1"
    assert "run-1" in ids(telemetry.recorder)


def test_idle_runs_with_a_tracked_stage_outlive_those_without(telemetry: Telemetry) -> None:
    tracked = at("a")
    ProgressTrackerNode().run(tracked)
    for _ in range(300):
        visit("b", {})
    assert tracked["progress_metrics"]["a"]["result"] is None
    kept = ids(telemetry.recorder)
    assert (len(kept), kept[0]) == (256, tracked["progress_run"]["run_id"])


def test_the_oldest_of_4096_idle_runs_with_tracked_stages_ends(
    recorder_with: Callable[[Callable[[], str]], Recorder],
) -> None:
    numbers = itertools.count(1)
    recorder = recorder_with(lambda: f"run-{next(numbers)}")
    tracker = ProgressTrackerNode()
    for _ in range(4096):
        tracker.run(at("a"))
    oldest, *newer = recorder.registry.runs()
    assert (len(newer), oldest.result, len(recorder.registry.visits())) == (4095, None, 4096)
    tracker.run(at("a"))
    assert (oldest.id, oldest.result) == ("run-1", "success")
    assert progress(oldest)["a"]["completed"] is True
    assert recorder.registry.runs()[:-1] == newer
    assert len(recorder.registry.visits()) == 4096


# --- what becomes of them ---------------------------------------------------------------------------------------------


def test_a_stage_that_was_open_in_a_saved_store_is_abandoned_where_it_is_loaded(telemetry: Telemetry) -> None:
    shared: Shared = {}
    visit("plan", shared)
    with stage("draft", shared=shared):
        saved = json.dumps(shared)
    for there in using(make_telemetry()):
        loaded: Shared = json.loads(saved)
        assert loaded["progress_metrics"]["draft"]["result"] is None
        visit("publish", loaded)
        metrics = loaded["progress_metrics"]
        assert {name: entry["result"] for name, entry in metrics.items()} == {
            "plan": "success",
            "draft": "abandoned",
            "publish": "success",
        }
        assert metrics["draft"]["completed"] is False
        assert "end_time" not in metrics["draft"]
        visit("draft", loaded)
        draft = loaded["progress_metrics"]["draft"]
        assert (draft["result"], draft["visits"], draft["completed"]) == ("success", 2, True)
        there.recorder.close()


def test_what_was_loaded_of_stages_is_shown_as_it_was_saved(telemetry: Telemetry) -> None:
    shared: Shared = {"version_history": []}
    for number in range(2):
        with contextlib.suppress(ValueError), stage("draft", shared=shared, platforms=["a", "b"], revision=number):
            shared["version_history"].append({"version_id": f"v{number}"})
            telemetry.time.passes(1.5)
            if not number:
                raise ValueError
    with contextlib.suppress(KeyError), stage("check", shared=shared) as checking:
        checking.advance(2, total=3)
        raise KeyError
    saved = json.dumps(shared)
    for there in using(make_telemetry()):
        loaded: Shared = json.loads(saved)
        visit("publish", loaded)
        metrics = loaded["progress_metrics"]
        assert {name: metrics[name] for name in ("draft", "check")} == json.loads(saved)["progress_metrics"]
        assert (metrics["draft"]["completed"], metrics["check"]["completed"]) == (True, False)
        assert (metrics["draft"]["seconds"], metrics["draft"]["versions"]) == (3.0, ["v0", "v1"])
        there.recorder.close()


@pytest.mark.parametrize(
    ("fails", "result"), [([True], "failure"), ([False, True], "failure"), ([True, False], "success")]
)
def test_an_idle_run_ends_as_its_last_visit_did(telemetry: Telemetry, fails: list[bool], result: str) -> None:
    shared: Shared = {}
    for number, failing in enumerate(fails):
        telemetry.time.passes(2)
        with contextlib.suppress(ValueError), stage(f"stage {number}", shared=shared):
            if failing:
                raise ValueError
    telemetry.time.passes(60)
    telemetry.recorder.close()
    run = telemetry.span("run tests")
    assert (run.attributes or {})["otel_progress.result"] == result
    assert run.status.is_unset is (result == "success")
    assert (run.attributes or {}).get("error.type") == ("ValueError" if result == "failure" else None)
    assert telemetry.points("otel_progress.run.duration") == [
        ({"workflow.name": "tests", "result": result}, (2.0 * (len(fails) - 1), 1))
    ]


def test_an_idle_run_is_active_only_while_a_stage_is_open(telemetry: Telemetry) -> None:
    def active() -> list[int]:
        return [count for _, count in telemetry.points("otel_progress.run.active")]

    shared: Shared = {}
    for name in ("a", "b"):
        with stage(name, shared=shared):
            assert active() == [1]
        assert active() == [0]
    telemetry.recorder.close()
    assert active() == [0]
    assert telemetry.points("otel_progress.run.active") == [({"workflow.name": "tests"}, 0)]


def test_a_run_that_is_only_joined_is_active_where_it_began_alone(telemetry: Telemetry) -> None:
    shared: Shared = {}
    with workflow("w", shared=shared):
        saved = json.dumps(shared)
    for there in using(make_telemetry()):
        with stage("a", shared=json.loads(saved)):
            assert there.points("otel_progress.run.active") == []
            assert [count for _, count in there.points("otel_progress.stage.active")] == [1]
        there.recorder.close()
        assert there.points("otel_progress.run.active") == []
