"""What must not grow: what a run keeps, what a stage costs, what is exported, however much of it there is."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from opentelemetry.semconv.attributes import exception_attributes
from pocketflow import Node

from otel_progress import ProgressTrackerNode, progress, stage, workflow
from otel_progress.live import waiting
from otel_progress.recording.seen import platforms_of, revision_of
from otel_progress.recording.settings import Settings
from otel_progress.recording.stages import MOST_ITEMS
from otel_progress.recording.store import LONGEST_NAME, MOST_NAMES, MOST_TOLD_APART
from otel_progress.recording.visible import LONGEST_TEXT, LONGEST_TRACE
from otel_progress.report import table, totals
from otel_progress.runs import logs
from otel_progress.runs.present import MOST_OPEN
from otel_progress.sinks.mirror import MirrorSink
from otel_progress.telemetry import batches
from otel_progress.telemetry.batches import in_parts
from otel_progress.ways import classes
from otel_progress.ways.classes import item_of

from . import otlp
from .conftest import Telemetry

MANY = 3 * MOST_TOLD_APART


def calls(run: Callable[[], object]) -> int:
    """How many functions are called meanwhile, Python's own in C among them: the fewest of three times.

    Now and then a thread has to be woken, and that says nothing about what grows.
    """
    return min(calls_of_one(run) for _ in range(3))


def calls_of_one(run: Callable[[], object]) -> int:
    count = 0

    def note(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.collect()
    gc.disable()  # What others left lying about is not what this one costs.
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def operations(run: Callable[[], object]) -> int:
    """How many instructions of Python's are executed meanwhile: a loop that calls nothing shows too."""
    count = 0

    def note(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return note

    before = sys.gettrace()
    gc.collect()
    gc.disable()
    sys.settrace(note)
    try:
        run()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


# --- names of stages --------------------------------------------------------------------------------------------------


def test_a_tracker_marks_stages_beyond_those_that_are_told_apart(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    tracker = ProgressTrackerNode()
    with workflow("w", shared=shared):
        for number in range(MOST_TOLD_APART + 3):
            shared["workflow_state"] = {"current_stage": f"user {number}"}
            tracker.run(shared)
            tracker.run(shared)  # Passed again: the same visit.
        assert [name for name, entry in shared["progress_metrics"].items() if not entry["completed"]] == ["other"]
        with stage(f"user {MOST_TOLD_APART + 2}"):  # The stage's own code takes it over.
            pass
    assert shared["progress_metrics"]["other"]["visits"] == 3
    assert len(telemetry.spans("stage")) == MOST_TOLD_APART + 3


def test_a_stage_beyond_costs_what_the_last_that_is_told_apart_does(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}

    def visit(name: str) -> None:
        with stage(name, shared=shared):
            pass

    with workflow("w", shared=shared):
        for number in range(MOST_TOLD_APART + 1):
            visit(f"user {number}")
        late = f"user {MOST_TOLD_APART - 1}"  # As far beyond what metrics and span names tell apart.
        visit(late)
        assert calls(lambda: visit(f"user {MOST_TOLD_APART}")) <= calls(lambda: visit(late)) + 5  # To look it up there.
    assert shared["progress_metrics"]["other"]["visits"] == 4


def test_a_stage_that_is_itself_called_other(telemetry: Telemetry) -> None:
    with workflow("w") as run:
        for name in ("other", *map(str, range(MOST_TOLD_APART)), "last"):
            with stage(name):
                pass
        for _ in range(2):
            with stage("last"):
                pass
    record = progress(run)
    assert (len(record), record["other"]["visits"]) == (MOST_TOLD_APART, 5)  # "999", and three times "last".
    last = [span for span in telemetry.spans("stage") if (span.attributes or {})["otel_progress.stage.name"] == "last"]
    assert [(span.attributes or {})["otel_progress.stage.visit"] for span in last] == [1, 2, 3]


def test_of_a_saved_store_as_many_stages_are_loaded(telemetry: Telemetry) -> None:
    with workflow("w", shared=(shared := dict[str, Any]())), stage("a"):
        pass
    saved = json.loads(json.dumps(shared))
    saved["progress_run"]["run_id"] = "of another process"
    saved["progress_metrics"].update({str(number): saved["progress_metrics"]["a"] for number in range(MANY)})
    with workflow("w", shared=saved) as run:
        pass
    assert len(progress(run)) == MOST_TOLD_APART


# --- platforms, versions, items ---------------------------------------------------------------------------------------


def test_platforms_that_are_named_one_by_one(telemetry: Telemetry) -> None:
    with workflow("w") as run:
        with stage("one") as visit:
            for number in range(MANY):
                visit.platform(f"p{number}")
        for number in range(MANY):
            with stage("each") as visit:
                visit.platform(f"p{number}")
    record = progress(run)
    assert (record["one"]["platforms"], record["each"]["platforms"]) == (MOST_TOLD_APART, MOST_TOLD_APART)
    assert len(run.platform_names) == MOST_TOLD_APART
    (one,) = telemetry.spans("stage one")
    assert (one.attributes or {})["otel_progress.stage.platform_count"] == MOST_TOLD_APART
    assert len(telemetry.points("otel_progress.run.platforms")) == 1


def test_a_platform_is_named_at_the_same_cost_after_many(telemetry: Telemetry) -> None:
    with workflow("w"), stage("one") as visit:
        numbers = iter(range(MANY))

        def name_ten() -> None:
            for _ in range(10):
                visit.platform(f"p{next(numbers)}")

        name_ten()
        few = calls(name_ten)
        held = visit.own_platforms
        for _ in range(20):
            name_ten()
        assert calls(name_ten) == few - 10  # None of them is let through to metrics any more.
        assert visit.own_platforms is held  # Not copied for each.


class Counted:
    """A collection that knows how much of it was read."""

    def __init__(self, size: int) -> None:
        self.size, self.read = size, 0

    def __len__(self) -> int:
        return self.size

    def __contains__(self, name: object) -> bool:
        return False

    def __iter__(self) -> Iterator[str]:
        for number in range(self.size):
            self.read += 1
            yield f"p{number}"


def test_of_many_platforms_in_a_store_few_are_read() -> None:
    many = Counted(200_000)
    known = platforms_of(many)
    assert (known.count, len(known.names), many.read) == (200_000, MOST_NAMES, MOST_NAMES)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ([f"p{number}" for number in range(200_000)], 200_000),
        (tuple(f"p{number}" for number in range(200_000)), 200_000),
        ([{"name": f"p{number}"} for number in range(200_000)], 200_000),
        ({f"p{number}" for number in range(200_000)}, 200_000),
        (dict.fromkeys(range(200_000)), 200_000),
        (range(200_000), 200_000),
        ([f" p{number} " + "x" * 1000 for number in range(MOST_NAMES)], MOST_NAMES),
        (", ".join(map(str, range(1000))), 1000),
        ("a," * 100_000, 8129),  # Of so long a text the beginning is read; and "a" is one platform.
        ("x" * 3_000_000, 1),
    ],
    ids=["list", "tuple", "dicts", "set", "dict", "range", "long names", "text", "long text", "one long name"],
)
def test_platforms_of_every_form(value: Any, count: int) -> None:
    few = calls(lambda: platforms_of(["only", "two", 3]))
    assert platforms_of(value).count == count
    assert len(platforms_of(value).names) <= MOST_NAMES
    assert max(map(len, platforms_of(value).names)) <= LONGEST_NAME
    assert calls(lambda: platforms_of(value)) <= few * MOST_NAMES


def test_a_long_text_is_no_revision() -> None:
    assert revision_of("1" * 3_000_000) is None


def test_versions_of_one_stage(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"version_history": []}
    with workflow("w", shared=shared):
        for _ in range(3):
            with stage("style"):
                shared["version_history"].extend({"version_id": f"v{number}"} for number in range(MANY))
        shared["version_history"].append({"version_id": "between"})
        with stage("style"):
            shared["version_history"].append({"version_id": "last"})
    versions = shared["progress_metrics"]["style"]["versions"]
    assert (len(versions), versions[-1], versions[-2]) == (MOST_TOLD_APART, "last", f"v{MANY - 1}")


@stage("post")
class Post(Node):
    """A node of a batch flow."""


def test_items_of_a_batch_flow(telemetry: Telemetry) -> None:
    node, shared = Post(), dict[str, Any]()

    def visit(item: int) -> int:
        node.set_params({"item": item})
        node.run(shared)
        return int(str((telemetry.exporter.get_finished_spans()[-1].attributes or {})["otel_progress.stage.visit"]))

    with workflow("w", shared=shared) as run:
        for item in range(MOST_ITEMS + 10):
            node.set_params({"item": item})
            node.run(shared)
        record = run.stages["post"]
        assert len(record.by_item) == len(record.last_spans) == MOST_ITEMS
        assert visit(MOST_ITEMS + 9) == 2  # One of the last,
        assert visit(10) == 2
        assert visit(0) == 1  # and one that is new again.
    assert shared["progress_metrics"]["post"]["visits"] == MOST_ITEMS + 13


def test_what_tells_items_apart_is_looked_at_within_bounds() -> None:
    node = Post()

    def told(params: dict[str, Any]) -> Any:
        node.set_params(params)
        return item_of(node)[0]

    wide = {str(number): number for number in range(100_000)}
    deep: list[Any] = [[[[number] * 100] * 100] * 100 for number in range(100)]
    long = {"text": "x" * 3_000_000}
    few = calls(lambda: told({"a": 1}))
    for params in (wide, {"deep": deep}, long, {"list": list(wide)}):
        assert calls(lambda params=params: told(params)) <= few + 20 * 256
        assert told(params) == told(params.copy()) is not None
    assert isinstance(told(long), int)  # Not the text itself.
    assert told({"a": [1, [2, 3]]}) != told({"a": [1, [2, 4]]})


# --- what is open -----------------------------------------------------------------------------------------------------


def test_one_stage_object_in_many_tasks(telemetry: Telemetry) -> None:
    block = stage("fetch", shared={})

    def one() -> None:
        with block:
            pass

    def in_context() -> None:
        Context().run(one)

    def others(count: int) -> None:
        for _ in range(count):
            Context().run(block.__enter__)

    in_context()
    others(2)
    few = calls(in_context)
    others(2000)
    assert calls(in_context) <= few


def test_one_stage_object_is_left_by_the_task_that_entered_it(telemetry: Telemetry) -> None:
    block = stage("fetch")

    async def fetch(turn: list[asyncio.Event], number: int) -> None:
        with block as visit:
            visit.platform(f"p{number}")
            turn[number].set()
            await turn[-1].wait()

    async def use() -> None:
        turn = [asyncio.Event() for _ in range(51)]
        tasks = [asyncio.create_task(fetch(turn, number)) for number in range(50)]
        for event in turn[:-1]:
            await event.wait()
        turn[-1].set()
        await asyncio.gather(*reversed(tasks))

    with workflow("w"):
        asyncio.run(use())
    results = {str((span.attributes or {})["otel_progress.stage.result"]) for span in telemetry.spans("stage")}
    assert results == {"success"}
    assert block._open == {}


class OnlyExec(Node):
    def exec(self, prep_res: Any) -> None: ...


class ThreePhases(OnlyExec):
    def prep(self, shared: Any) -> None: ...
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None: ...


@pytest.mark.parametrize(("kind", "calls"), [(ThreePhases, {"prep": 1, "post": 3}), (OnlyExec, {"exec": 1})])
def test_a_node_is_called_by_hand_at_the_same_cost_while_much_is_open(
    telemetry: Telemetry, kind: type[Any], calls: dict[str, int]
) -> None:
    node = stage("by hand")(kind)()

    def visit() -> None:
        for name, arguments in calls.items():
            getattr(node, name)(*[None] * arguments)

    def is_open(around: AbstractContextManager[object]) -> Generator[None]:
        with around, stage("open"):
            yield

    with workflow("w"):
        visit()
        few = min(operations(visit) for _ in range(3))
        contexts = [copy_context() if number % 2 else Context() for number in range(400)]
        opened = [is_open(stage("around") if number % 2 else workflow("other")) for number in range(400)]
        for context, each in zip(contexts, opened, strict=True):
            context.run(next, each)
        visit()
        assert min(operations(visit) for _ in range(3)) <= few + 50
        for context, each in zip(contexts, opened, strict=True):
            context.run(each.close)
    assert len(telemetry.spans("stage by hand")) == 8
    assert not telemetry.recorder.registry.of_nodes


def test_idle_runs(telemetry: Telemetry) -> None:
    tracker, registry = ProgressTrackerNode(), telemetry.recorder.registry

    def tracked() -> None:
        tracker.run({"workflow_state": {"current_stage": "draft"}})

    def idle() -> None:
        with stage("draft", shared={}):
            pass

    tracked(), idle()
    few = calls(tracked), calls(idle)
    for _ in range(5000):
        tracked()
    assert len(registry.runs()) == 4096
    for _ in range(300):
        idle()
    assert len(registry.runs()) == 4096
    assert all(run.open for run in registry.runs())  # Those in which nothing is open go first.
    assert (calls(tracked), calls(idle)) <= (few[0] * 2, few[1] * 2)  # Each ends one that is idle longest.
    telemetry.recorder.close()
    assert registry.runs() == []


class Slow(dict[str, Any]):
    """A store that takes its time: what is to be written to it waits."""

    recorded: Callable[[], None] | None = None

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if (recorded := self.recorded) is not None:
            self.recorded = None
            recorded()


def test_what_a_slow_store_is_to_take_waits_once(telemetry: Telemetry) -> None:
    import threading

    store, waiting = Slow(), list[int]()
    sink = next(each for each in telemetry.recorder.sinks if isinstance(each, MirrorSink))

    def others_go_on() -> None:
        def many() -> None:
            for _ in range(200):
                with stage("b", shared=store):
                    pass
            waiting.extend(len(each.waiting) for each in sink._runs.values())

        thread = threading.Thread(target=many)
        thread.start()
        thread.join()

    with workflow("w", shared=store):
        store.recorded = others_go_on
        with stage("a"):
            pass
    assert waiting == [1]
    assert store["progress_metrics"]["b"]["visits"] == 200


# --- exceptions -------------------------------------------------------------------------------------------------------


def fail(message: str, deep: int = 0) -> None:
    """Raise it, from below."""
    if deep:
        fail(message, deep - 1)
    raise ValueError(message)


@pytest.mark.parametrize("filling", ["m", "é\n", "\U0001f600"])
def test_a_long_message(telemetry: Telemetry, filling: str) -> None:
    message = f"begins {filling * 1_000_000} ends"
    with pytest.raises(ValueError, match="begins") as raised, workflow("w"), stage("outer"), stage("inner"):
        fail(message)
    assert str(raised.value) == message  # The workflow's own is whole.
    for span in telemetry.spans():
        said = span.status.description or ""
        assert len(said) <= LONGEST_TEXT + 100
        assert said.startswith("begins ")
        assert said.endswith(" ends")
        assert "characters left out" in said
    (event,) = telemetry.span("stage inner").events
    texts = {key: str(value) for key, value in (event.attributes or {}).items()}
    assert len(texts[exception_attributes.EXCEPTION_MESSAGE]) <= LONGEST_TEXT + 100
    assert texts[exception_attributes.EXCEPTION_STACKTRACE].endswith(" ends\n")


def test_a_deep_stack(telemetry: Telemetry) -> None:
    with pytest.raises(ValueError, match="deep"), stage("a"):
        through(300)
    (event,) = telemetry.span("stage a").events
    trace = str((event.attributes or {})[exception_attributes.EXCEPTION_STACKTRACE])
    assert LONGEST_TRACE <= len(trace) <= LONGEST_TRACE + 100
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("ValueError: deep\n")


def through(left: int) -> None:
    """Two functions in turn, so that their frames are not folded into one."""
    if left == 0:
        fail("deep")
    back(left - 1)


def back(left: int) -> None:
    through(left)


def test_types_of_exceptions(telemetry: Telemetry, faults: Callable[[], list[str]]) -> None:
    for number in range(300):
        with pytest.raises(RuntimeError), stage("a", shared={}):
            raise type(f"Error{number}" + "x" * 1000 * (number == 0), (RuntimeError,), {})
    types = {attributes["error.type"] for attributes, _ in telemetry.points("otel_progress.stage.duration")}
    assert len(types) == 201
    assert "_OTHER" in types
    assert max(map(len, types)) == LONGEST_NAME
    assert {len(str((span.attributes or {})["error.type"])) <= LONGEST_NAME for span in telemetry.spans()} == {True}
    assert {str((span.attributes or {})["error.type"]) for span in telemetry.spans("stage")} > {"Error299"}
    (said,) = faults()
    assert said.startswith("more than 200 distinct error type names: further ones are counted as '_OTHER'")


def test_the_name_of_a_run_that_a_stage_begins(telemetry: Telemetry) -> None:
    telemetry.recorder.workflow = "w" * 1_000_000
    shared: dict[str, Any] = {
        "progress_run": {"run_id": "r" * 1000, "workflow": "w" * 1000, "traceparent": "x" * 10**6}
    }
    for store in ({}, shared):
        with stage("a", shared=store):
            pass
    spans = telemetry.spans("stage")
    assert [len(str((span.attributes or {})["otel_progress.workflow.name"])) for span in spans] == [LONGEST_NAME] * 2
    assert len(json.dumps(shared)) > 1_000_000  # Its own text is left alone.


# --- export -----------------------------------------------------------------------------------------------------------


def test_over_grpc_no_batch_is_too_large(tmp_path: Path, receiver: otlp.Receiver) -> None:
    code = """
        from contextlib import suppress
        from opentelemetry import trace
        from otel_progress import configure, stage, workflow
        configure("large")
        def fail(left):
            if not left: raise ValueError("é" * 3_000_000)
            fail_again(left - 1)
        def fail_again(left): fail(left)
        with workflow("campaign"):
            for _ in range(600):
                with suppress(ValueError), stage("draft"): fail(60)
            trace.get_current_span().set_attribute("prompt", "p" * 2_000_000)
            with trace.get_tracer("llm").start_as_current_span("chat") as span:
                span.set_attribute("prompt", ["p" * 2_000_000])
        """
    variables = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_METRICS_EXPORTER": "none"}
    ended = otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.grpc, **variables)
    assert ended.stderr == ""
    assert len(receiver.spans) == 602
    assert len(receiver.requests) > 2


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_metrics_of_many_stages_arrive(tmp_path: Path, receiver: otlp.Receiver, protocol: str) -> None:
    code = """
        from otel_progress import configure, stage, workflow
        configure("many", exit_timeout=60)
        for workflow_number in range(150):
            with workflow(f"{workflow_number} " + "w" * 180):
                for stage_number in range(20):
                    with stage(f"{stage_number} " + "s" * 180, budget="1m"): pass
        """
    endpoint = receiver.grpc if protocol == "grpc" else receiver.http
    variables = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_TRACES_EXPORTER": "none"}
    ended = otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **variables)
    assert ended.stderr == ""
    assert len([point for point in receiver.points if point.metric == "otel_progress.stage.duration"]) == 3000
    assert len(receiver.requests) > 3


def test_a_usual_batch_goes_in_one_request(telemetry: Telemetry) -> None:
    for _ in range(512):
        with stage("a", shared={"task_requirements": {"platforms": ["twitter", "blog"]}}):
            pass
    spans = telemetry.spans("stage")
    assert [len(part) for part in in_parts(spans)] == [512]


def test_the_page_says_the_bounds() -> None:
    page = (Path(__file__).parents[1] / "docs" / "behaviour.md").read_text("utf-8").partition("### Bounds")[2]
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for what, bound in {
        "a name:": LONGEST_NAME,
        "names of workflows": Settings().name_limit,
        "stages that a run": MOST_TOLD_APART,
        "platforms named": MOST_TOLD_APART,
        "platforms in the store": MOST_NAMES,
        "names of platforms": MOST_NAMES,
        "versions": MOST_TOLD_APART,
        "items of a batch flow": MOST_ITEMS,
        "what tells an item": classes._MOST_PARTS,
        "stages that are loaded": MOST_TOLD_APART,
        "the message": LONGEST_TEXT,
        "a stack trace": LONGEST_TRACE,
        "`logs.jsonl`": logs.MOST_BYTES // 2**20,
        "a request": batches._MOST // 2**20,
        "data points": batches.MOST_POINTS,
        "open visits": MOST_OPEN,
        "events that wait": waiting._MOST,
        "the table": table._MOST_WORKFLOWS,
        "the table |": table._MOST_ROWS,
        "errors and ends": totals._MOST_COUNTED,
        "the totals": MOST_TOLD_APART,
    }.items():
        (row,) = [row for row in rows if row.startswith(f"| {what}")]
        assert re.search(rf"(?<![\d,]){bound:,}(?![\d,])", row.split("|")[2]), row
