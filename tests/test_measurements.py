"""The queue of measurements: nothing of the SDK in the workflow's frame, nothing lost, nothing without bound."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.context import Context
from pocketflow import Flow, Node

from otel_progress import PocketFlowInstrumentor, add_sink, names, stage, workflow
from otel_progress.recording import later
from otel_progress.recording.sink import Sink
from otel_progress.recording.visits import Visit
from otel_progress.sinks.measurements import Measurements, Record

from .conftest import Telemetry


def measured(what: Callable[[int | float], object]) -> Record:
    """An instrument that calls `what` with each amount."""

    def record(amount: int | float, attributes: Any = None, context: Context | None = None) -> None:
        what(amount)

    return record


class Failing(Node):
    """A node whose first try fails, and whose action no edge takes."""

    def __init__(self) -> None:
        super().__init__(max_retries=2)
        self.next(Node(), "another")
        self.tries = 0

    def exec(self, prep_res: Any) -> None:
        self.tries += 1
        if self.tries == 1:
            raise ValueError

    def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> str:
        return "nowhere"


@pytest.mark.filterwarnings("ignore:Flow ends:UserWarning")
def test_nothing_of_the_metrics_sdk_runs_where_the_workflow_runs(telemetry: Telemetry) -> None:
    seen: set[str] = set()

    def note(frame: Any, event: str, _argument: Any) -> None:
        if event == "call":
            seen.add(frame.f_globals.get("__name__", ""))

    PocketFlowInstrumentor().instrument()
    sys.setprofile(note)
    try:
        store: dict[str, Any] = {"quality_control": {"revision_count": 1}}
        with workflow("w", shared=store), stage("a", budget=1) as visit:
            visit.advance(1)
            visit.platform("twitter")
            with visit.waiting("approval"):
                pass
            Flow(Failing()).run(store)
    finally:
        sys.setprofile(None)
        PocketFlowInstrumentor().uninstrument()
    assert not [name for name in seen if name.startswith("opentelemetry.sdk.metrics")]
    recorded = {metric.name for metric in names.METRICS if metric.kind in ("histogram", "counter")}
    assert {name for name in recorded if not telemetry.points(name)} == set()


def test_what_was_measured_is_in_the_very_next_collection(telemetry: Telemetry) -> None:
    for number in range(1, 4):
        with stage("a"):
            pass
        assert [value[1] for _, value in telemetry.points("otel_progress.stage.duration")][-1] >= number - 1
    assert sum(value[1] for _, value in telemetry.points("otel_progress.stage.duration")) == 3


def test_the_thread_records_what_nobody_collects() -> None:
    queue, recorded = Measurements(), threading.Event()
    queue.put(measured(lambda _: recorded.set()), 1, {})
    assert recorded.wait(10)


def test_no_more_than_the_bound_waits_and_what_is_dropped_is_said(
    faults: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(later, "MOST", 5)
    queue, got = Measurements(), list[float]()
    queue._running = True  # No thread.
    for number in range(8):
        queue.put(measured(got.append), number, {})
    assert queue.drain()
    assert got == [0, 1, 2, 3, 4]
    assert faults() == [
        "there are more measurements than can be taken: they are dropped, and counted",
        "3 measurements were dropped: there were more than could be taken",
    ]


def test_one_that_cannot_be_recorded_does_not_stop_the_others(faults: Callable[[], list[str]]) -> None:
    queue, got = Measurements(), list[float]()
    queue._running = True

    def fail(_: float) -> None:
        raise ValueError("no")

    queue.put(measured(fail), 1, {})
    queue.put(measured(got.append), 2, {})
    assert queue.drain()
    assert got == [2]
    assert faults() == ["one of the measurements could not be taken"]


def test_a_drain_inside_a_drain_of_the_same_thread_does_not_wait() -> None:
    queue, inner = Measurements(), list[bool]()
    queue._running = True
    queue.put(measured(lambda _: inner.append(queue.drain(60))), 1, {})
    assert queue.drain()
    assert inner == [False]


def test_a_drain_waits_for_another_thread_no_longer_than_it_was_told() -> None:
    queue, inside, go_on = Measurements(), threading.Event(), threading.Event()
    queue._running = True

    def slow(_: float) -> None:
        inside.set()
        go_on.wait(10)

    queue.put(measured(slow), 1, {})
    thread = threading.Thread(target=queue.drain)
    thread.start()
    assert inside.wait(10)
    assert queue.drain(0.02) is False
    go_on.set()
    thread.join(10)
    assert queue.drain()


def test_no_thread_is_started_where_nobody_takes_metrics() -> None:
    """A process with threads is warned when it forks."""
    code = (
        "import _thread; starts = []; begin = _thread.start_new_thread;"
        "_thread.start_new_thread = lambda *a: (starts.append(a), begin(*a))[1];"
        "from otel_progress import stage, workflow\n"
        "with workflow('w', shared={}), stage('a'): pass\n"
        "assert starts == [], starts"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the number of calls ----------------------------------------------------------------------------------------------


@stage("draft")
def draft(shared: dict[str, Any]) -> None:
    """A stage that does nothing."""


@stage("draft")
async def draft_async(shared: dict[str, Any]) -> None:
    """The same in a coroutine."""


class Again(Node):
    """A node that comes back to itself."""

    def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> str:
        shared["left"] -= 1
        return "again" if shared["left"] else "default"


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests may have imported libraries that are asked at each visit which of their tasks runs."""
    for name in ("greenlet", "sniffio"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def calls_of_ours(run: Callable[[], object]) -> int:
    """How many Python functions of the package are called meanwhile."""
    count = 0

    def note(frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call" and str(frame.f_globals.get("__name__", "")).startswith("otel_progress")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.usefixtures("unasked")
def test_a_visit_of_a_function_takes_few_calls(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        draft(shared)
        assert calls_of_ours(lambda: [draft(shared) for _ in range(10)]) <= 10 * 47


@pytest.mark.usefixtures("unasked")
def test_a_visit_of_a_coroutine_takes_few_calls(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}

    def once() -> None:
        with pytest.raises(StopIteration):
            draft_async(shared).send(None)

    with workflow("w", shared=shared):
        once()
        assert calls_of_ours(lambda: [once() for _ in range(10)]) <= 10 * 48


def test_no_visit_and_no_run_has_more_attributes_than_python_keeps_without_a_dict(telemetry: Telemetry) -> None:
    """Thirty, beside what is in slots: to make a dict of them takes some microseconds."""
    most = list[int]()

    class Look(Sink):
        def visit_ended(self, visit: Visit) -> None:
            most.extend((len(vars(visit)), len(vars(visit.run))))

    add_sink(Look())
    again = Again()
    again.next(again, "again")
    again.next(Node())
    platforms = {"task_requirements": {"platforms": ["x", "y"]}, "quality_control": {"revision_count": 2}}
    PocketFlowInstrumentor().instrument()
    try:
        Flow(again).run({"left": 3, **platforms})
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert len(most) == 8
    assert max(most) <= 30


@pytest.mark.usefixtures("unasked")
def test_a_visit_of_a_node_takes_few_calls(telemetry: Telemetry) -> None:
    again = Again()
    again.next(again, "again")
    again.next(Node())
    flow = Flow(again)
    PocketFlowInstrumentor().instrument()
    try:
        flow.run({"left": 1})
        few = calls_of_ours(lambda: flow.run({"left": 1}))
        many = calls_of_ours(lambda: flow.run({"left": 11}))
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert many - few <= 10 * 93
