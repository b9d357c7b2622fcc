"""`stage` and `workflow` on every kind of callable, and as context managers."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import pickle
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

import pytest
from opentelemetry import trace
from pocketflow import Node

from otel_progress import Run, Visit, progress, stage, workflow

from .conftest import SECOND, Telemetry

if TYPE_CHECKING:
    AnyNode = Node[Any, Any, Any]
else:
    AnyNode = Node


class Kind(Enum):
    """A name of another type."""

    DRAFT = 1


def here() -> str:
    """Name of the span that is current, "" if there is none."""
    return getattr(trace.get_current_span(), "name", "")


@stage("double")
def double(number: int, *, plus: int = 0) -> int:
    """Twice a number."""
    return 2 * number + plus


class Holder:
    """Methods of each kind."""

    factor = 3

    @stage("method")
    def method(self, number: int) -> int:
        return self.factor * number

    @stage("static")
    @staticmethod
    def static(number: int) -> int:
        return 5 * number

    @staticmethod
    @stage("static inside")
    def static_inside(number: int) -> int:
        return 7 * number

    @stage("class")
    @classmethod
    def of_class(cls, number: int) -> int:
        return cls.factor * number


def test_a_plain_function_keeps_everything_but_gets_a_span(telemetry: Telemetry) -> None:
    assert double(4, plus=1) == 9
    assert telemetry.span("stage double").attributes == {
        "otel_progress.workflow.name": "tests",
        "otel_progress.run.id": "run-1",
        "otel_progress.stage.name": "double",
        "otel_progress.stage.visit": 1,
        "otel_progress.stage.result": "success",
        "otel_progress.stage.attempts": 1,
        "otel_progress.stage.platform_count": 0,
        "code.function.name": f"{__name__}.double",
    }
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice a number."
    assert str(inspect.signature(double)) == "(number: 'int', *, plus: 'int' = 0) -> 'int'"
    with pytest.raises(TypeError, match="minus"):
        double(1, minus=1)  # type: ignore[call-arg]


def test_methods_of_each_kind(telemetry: Telemetry) -> None:
    holder = Holder()
    assert [holder.method(1), Holder.static(1), holder.static(1), Holder.static_inside(1), Holder.of_class(1)] == [
        3,
        5,
        5,
        7,
        3,
    ]
    stages = [span.name for span in telemetry.spans("stage")]
    assert stages == ["stage method", "stage static", "stage static", "stage static inside", "stage class"]


def test_names_come_from_the_function_where_none_is_given(telemetry: Telemetry) -> None:
    @stage()
    def polish() -> None: ...

    polish()
    stage()(functools.partial(double, 2))()
    assert [span.name for span in telemetry.spans("stage")] == ["stage polish", "stage double", "stage double"]


def test_a_decorated_function_pickles_and_copies(telemetry: Telemetry) -> None:
    assert pickle.loads(pickle.dumps(double))(3) == 6
    assert copy.deepcopy(double) is double


def test_bare_decorators(telemetry: Telemetry) -> None:
    @stage
    def polish(number: int) -> int:
        return number + 1

    @stage
    async def polish_later(number: int) -> int:
        return number + 1

    @workflow
    def campaign() -> tuple[int, int]:
        return polish(1), asyncio.run(polish_later(2))

    assert campaign() == (2, 3)
    assert [str(tree) for tree in telemetry.trees()] == ["run campaign[stage polish, stage polish_later]"]
    assert (inspect.isfunction(polish), inspect.iscoroutinefunction(polish_later)) == (True, True)


def test_bare_decorators_of_classes_and_methods(telemetry: Telemetry) -> None:
    class Tool:
        @stage
        def method(self) -> int:
            return 1

        @stage
        @staticmethod
        def static() -> int:
            return 2

        @stage
        @classmethod
        def of_class(cls) -> type[Tool]:
            return cls

    @stage
    class Work(AnyNode):
        def exec(self, prep_res: Any) -> int:
            return 4

    assert (Tool().method(), Tool.static(), Tool.of_class()) == (1, 2, Tool)
    Work().run({})
    assert [span.name for span in telemetry.spans("stage")] == [
        "stage method",
        "stage static",
        "stage of_class",
        "stage Work",
    ]


@pytest.mark.parametrize("name", ["x", 7, 1.5, ("a", "b"), Kind.DRAFT])
def test_what_is_a_name_is_one(telemetry: Telemetry, name: Any) -> None:
    with stage(name):
        pass
    assert [span.name for span in telemetry.spans("stage")] == [f"stage {name}"]


@pytest.mark.parametrize("wrong", [property(lambda _: 1), functools.cached_property(lambda _: 1), Holder, int])
def test_above_what_cannot_be_recorded_it_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes a function"):
        stage(wrong)


def test_a_class_that_is_no_node_is_refused() -> None:
    with pytest.raises(TypeError, match="Holder is none"):
        stage("x")(Holder)
    with pytest.raises(TypeError, match="not int"):
        stage("x")(cast("Callable[[], None]", 3))


@pytest.mark.parametrize("budget", ["soon", "", "-3s", 0, float("nan"), float("inf")])
def test_a_budget_that_is_no_duration_is_refused(budget: str | float) -> None:
    with pytest.raises(ValueError, match="duration"):
        stage("x", budget=budget)


@pytest.mark.parametrize(("budget", "seconds"), [("2m", 120.0), ("1h30m", 5400.0), ("250ms", 0.25), (7, 7.0)])
def test_a_budget_is_kept_in_seconds(telemetry: Telemetry, budget: str | float, seconds: float) -> None:
    with stage("x", budget=budget):
        pass
    assert (telemetry.span("stage x").attributes or {})["otel_progress.stage.budget"] == seconds
    assert telemetry.points("otel_progress.stage.budget") == [({"workflow.name": "tests", "stage.name": "x"}, seconds)]


def test_a_coroutine_function_stays_one(telemetry: Telemetry) -> None:
    @stage("think")
    async def think(number: int) -> tuple[int, str]:
        await asyncio.sleep(0)
        return number, here()

    assert inspect.iscoroutinefunction(think)
    assert asyncio.run(think(1)) == (1, "stage think")
    assert telemetry.span("stage think").status.is_unset


def test_a_generator_is_timed_from_its_first_step_and_current_only_while_it_steps(telemetry: Telemetry) -> None:
    @stage("stream")
    def stream(count: int) -> Generator[tuple[int, str], str, str]:
        said = ""
        for number in range(count):
            telemetry.time.passes(1)
            said = yield number, here()
        return f"end {said}"

    assert inspect.isgeneratorfunction(stream)
    steps = stream(2)
    telemetry.time.passes(10)
    assert telemetry.recorder.registry.visits() == []
    assert next(steps) == (0, "stage stream")
    assert here() == ""
    telemetry.time.passes(2)
    assert steps.send("one") == (1, "stage stream")
    with pytest.raises(StopIteration) as stop:
        steps.send("two")
    assert stop.value.value == "end two"
    span = telemetry.span("stage stream")
    assert ((span.end_time or 0) - (span.start_time or 0)) / 1e9 == 4
    assert span.status.is_unset


def test_exceptions_thrown_into_a_generator_reach_it(telemetry: Telemetry) -> None:
    @stage("stream")
    def stream() -> Generator[str]:
        try:
            yield "one"
        except ValueError as error:
            yield f"caught {error}"

    steps = stream()
    assert next(steps) == "one"
    assert steps.throw(ValueError("x")) == "caught x"
    assert list(steps) == []
    assert telemetry.span("stage stream").status.is_unset


def test_a_generator_that_is_closed_early_is_cancelled(telemetry: Telemetry) -> None:
    closed: list[str] = []

    @stage("stream")
    def stream() -> Generator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(here())

    for _ in stream():
        break
    assert closed == ["stage stream"]
    span = telemetry.span("stage stream")
    assert (span.attributes or {})["otel_progress.stage.result"] == "cancelled"
    assert (span.attributes or {})["error.type"] == "GeneratorExit"


def test_a_generator_that_ignores_its_close_fails_as_it_would_have(telemetry: Telemetry) -> None:
    @stage("stream")
    def stream() -> Generator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    steps = stream()
    next(steps)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        steps.close()


def test_a_generator_closed_in_another_context_leaves_no_trace_there(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    @stage("stream")
    def stream() -> Generator[int]:
        yield 1
        yield 2

    steps = stream()
    next(steps)
    thread = threading.Thread(target=steps.close)
    thread.start()
    thread.join()
    assert here() == ""
    assert caplog.records == []


def test_yield_from_a_decorated_generator(telemetry: Telemetry) -> None:
    @stage("inner")
    def inner() -> Generator[int, int, int]:
        first = yield 1
        return first * 2

    def outer() -> Generator[int, int, int]:
        return (yield from inner())

    steps = outer()
    assert next(steps) == 1
    with pytest.raises(StopIteration) as stop:
        steps.send(21)
    assert stop.value.value == 42


def test_an_async_generator(telemetry: Telemetry) -> None:
    @stage("stream")
    async def stream(count: int) -> AsyncGenerator[tuple[int, str], str]:
        for number in range(count):
            await asyncio.sleep(0)
            yield number, here()

    async def use() -> list[tuple[int, str, str]]:
        return [(number, inside, here()) async for number, inside in stream(2)]

    assert inspect.isasyncgenfunction(stream)
    assert asyncio.run(use()) == [(0, "stage stream", ""), (1, "stage stream", "")]
    assert telemetry.span("stage stream").status.is_unset


def test_an_async_generator_takes_values_and_exceptions(telemetry: Telemetry) -> None:
    @stage("stream")
    async def stream() -> AsyncGenerator[str, str]:
        said = yield "one"
        try:
            yield f"heard {said}"
        except ValueError:
            yield "caught"

    async def use() -> list[str]:
        steps = stream()
        return [await anext(steps), await steps.asend("x"), await steps.athrow(ValueError())]

    assert asyncio.run(use()) == ["one", "heard x", "caught"]


@pytest.mark.parametrize("drop", [True, False])
def test_an_async_generator_left_early_is_closed_once(telemetry: Telemetry, drop: bool) -> None:
    closed: list[str] = []
    said: list[dict[str, Any]] = []

    @stage("stream")
    async def stream() -> AsyncGenerator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(here())

    async def use() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
        steps = stream()
        async for _ in steps:
            break
        if drop:  # The event loop closes what is left over.
            kept.append(steps)
        else:
            await steps.aclose()

    kept: list[AsyncGenerator[int]] = []
    asyncio.run(use())
    assert closed == ["stage stream"]
    assert said == []
    assert (telemetry.span("stage stream").attributes or {})["otel_progress.stage.result"] == "cancelled"


def test_context_managers_of_both_kinds_nest(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}

    async def use() -> None:
        async with workflow("w", shared=shared) as run, stage("outer") as visit:
            assert isinstance(run, Run)
            assert isinstance(visit, Visit)
            assert visit.run is run
            with stage("inner"):
                assert here() == "stage inner"
            assert here() == "stage outer"

    asyncio.run(use())
    assert repr(telemetry.trees()) == "[run w[stage outer[stage inner]]]"
    assert list(shared["progress_metrics"]) == ["outer", "inner"]


def test_one_object_may_be_entered_again_and_again(telemetry: Telemetry) -> None:
    draft = stage("draft")
    with workflow("w"):
        with draft as outer, draft as inner:
            assert (outer.number, inner.number) == (1, 2)
        with draft as third:
            assert third.number == 3
    assert repr(telemetry.trees()) == "[run w[stage draft[stage draft], stage draft]]"


def test_one_object_entered_by_many_tasks_at_once_ends_each_visit_where_it_began(telemetry: Telemetry) -> None:
    draft = stage("draft")

    async def work(number: int, gate: asyncio.Event) -> None:
        async with draft as visit:
            visit.platform(f"p{number}")
            if number == 0:
                await gate.wait()
            else:
                gate.set()
            visit.advance(number)

    async def use() -> None:
        gate = asyncio.Event()
        async with workflow("w"):
            await asyncio.gather(*(work(number, gate) for number in range(5)))

    asyncio.run(use())
    done = {
        (span.attributes or {})["otel_progress.item.platform"]: (span.attributes or {}).get(
            "otel_progress.stage.items.done", 0
        )
        for span in telemetry.spans("stage")
    }
    assert done == {"p0": 0, "p1": 1, "p2": 2, "p3": 3, "p4": 4}


def test_workflow_as_a_decorator_finds_the_store(telemetry: Telemetry) -> None:
    @stage("step")
    def step(shared: dict[str, Any]) -> None:
        shared["seen"] = True

    @workflow("campaign")
    def campaign(topic: str, shared: dict[str, Any]) -> str:
        step(shared)
        return topic

    store: dict[str, Any] = {}
    assert campaign("x", store) == "x"
    assert list(store) == ["progress_metrics", "progress_run", "seen"]
    assert repr(telemetry.trees()) == "[run campaign[stage step]]"


def test_a_workflow_inside_a_run_is_a_stage_that_holds_stages(telemetry: Telemetry) -> None:
    with workflow("outer") as run, workflow("inner") as same:
        assert same is run
        with stage("step"):
            pass
    assert repr(telemetry.trees()) == "[run outer[stage inner[stage step]]]"


def test_the_visit_tells_what_only_the_workflow_knows(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"task_requirements": {"platforms": 6}, "quality_control": {"revision_count": 2}}
    with workflow("w", shared=shared), stage("publish") as visit:
        visit.platform("twitter")
        visit.advance(1, total=6)
        assert shared["progress_metrics"]["publish"]["items_done"] == 1
        assert shared["progress_metrics"]["publish"]["items_total"] == 6
        visit.platform("linkedin")
        visit.advance(2, failed=1)
    visit.advance(100)
    attributes = telemetry.span("stage publish").attributes or {}
    assert attributes["otel_progress.stage.platforms"] == ("twitter", "linkedin")
    assert attributes["otel_progress.stage.platform_count"] == 2
    assert attributes["otel_progress.stage.revision"] == 2
    assert attributes["otel_progress.stage.items.total"] == 6
    assert attributes["otel_progress.stage.items.done"] == 3
    assert attributes["otel_progress.stage.items.failed"] == 1
    entry = shared["progress_metrics"]["publish"]
    assert (entry["platforms"], entry["revisions"], entry["items_done"], entry["items_total"]) == (2, 2, 3, 6)


def test_platforms_and_revision_given_by_hand_win_over_the_store(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"task_requirements": {"platforms": 6}, "round": 4}
    with stage("x", shared=shared, platforms="a, b", revision=lambda store: store["round"]):
        pass
    entry = shared["progress_metrics"]["x"]
    assert (entry["platforms"], entry["revisions"]) == (2, 4)


def test_what_reading_the_store_takes_is_no_time_of_the_stage(telemetry: Telemetry) -> None:
    def slow(store: dict[str, Any]) -> int:
        telemetry.time.passes(10)
        return int(store["round"])

    shared: dict[str, Any] = {"round": 4}
    with workflow("w", shared=shared), stage("x", revision=slow):
        telemetry.time.passes(1)
    entry = shared["progress_metrics"]["x"]
    assert (entry["seconds"], entry["revisions"]) == (1.0, 4)
    assert (telemetry.span("stage x").start_time or 0) - (telemetry.span("run w").start_time or 0) == 10 * SECOND


def test_a_callable_that_reads_the_store_is_no_stage_of_the_run(telemetry: Telemetry) -> None:
    @stage
    def planner() -> list[str]:
        return ["x"]

    @stage("planned", platforms=lambda _: planner())
    def planned() -> None: ...

    with workflow("w"):
        planned()
        around = contextvars.copy_context()
    around.run(planned)  # In a context that outlives its run: each stage there joins it, and ends it again.
    assert len(telemetry.spans("stage planned")) == 2
    assert telemetry.spans("stage planner") == []
    assert [(span.attributes or {})["otel_progress.stage.platforms"] for span in telemetry.spans("stage planned")] == [
        ("x",)
    ] * 2


def test_a_callable_that_runs_the_very_stage_it_is_given_to_is_called_once_at_its_start(telemetry: Telemetry) -> None:
    calls: list[int] = []

    def platforms(_: Any) -> list[str]:
        calls.append(len(telemetry.spans("stage planned")))
        return planned() if len(calls) < 9 else []

    @stage("planned", platforms=platforms)
    def planned() -> list[str]:
        return ["x"]

    with workflow("w", shared={}):
        planned()
    assert calls == [0, 0]  # At its start and its end; what it runs then asks nothing.
    assert len(telemetry.spans("stage planned")) == 1


def test_a_callable_that_fails_to_read_the_store_is_reported(
    telemetry: Telemetry, faults: Callable[[], list[str]]
) -> None:
    def broken(shared: Any) -> Any:
        return shared["nothing"]

    with stage("x", shared={}, platforms=broken):
        pass
    assert len(faults()) == 1
    assert "broken failed to read the store" in faults()[0]
    assert len(telemetry.spans("stage x")) == 1


def test_progress_gives_the_record_where_there_is_no_store(telemetry: Telemetry) -> None:
    with workflow("w") as run:
        with stage("a"):
            assert progress(run)["a"]["completed"] is False
        telemetry.time.passes(1)
        with stage("b"):
            telemetry.time.passes(2)
    record = progress(run)
    assert list(record) == ["a", "b"]
    assert record["b"]["seconds"] == 2.0
    record.clear()
    assert list(progress(run)) == ["a", "b"]


def test_stages_that_see_the_same_store_join_one_run(telemetry: Telemetry) -> None:
    @stage("one")
    def one(shared: dict[str, Any]) -> None: ...

    @stage("two")
    def two(shared: dict[str, Any]) -> None: ...

    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    one(first)
    one(second)
    two(first)
    two(shared=second)
    telemetry.time.passes(60)
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run tests[stage one, stage two], run tests[stage one, stage two]]"
    assert first["progress_run"]["run_id"] == "run-1"
    assert second["progress_run"]["run_id"] == "run-2"
    assert telemetry.points("otel_progress.run.duration") == [
        ({"workflow.name": "tests", "result": "success"}, (0.0, 2)),
    ]


def test_stages_without_a_store_are_runs_of_their_own(telemetry: Telemetry) -> None:
    double(1)
    double(2)
    assert repr(telemetry.trees()) == "[run tests[stage double], run tests[stage double]]"
    assert telemetry.recorder.registry.runs() == []


def test_a_workflow_run_twice_over_one_store_is_two_runs(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    for _ in range(2):
        with workflow("w", shared=shared), stage("a"):
            pass
    assert repr(telemetry.trees()) == "[run w[stage a], run w[stage a]]"
    assert shared["progress_run"]["run_id"] == "run-2"
    assert shared["progress_metrics"]["a"]["visits"] == 1


def test_a_store_saved_in_mid_run_carries_run_and_trace_on(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        with stage("a"):
            telemetry.time.passes(3)
        saved = pickle.dumps(shared)
    telemetry.recorder._forked()  # As another process sees it: nothing of the run is known but what the store says.
    loaded = pickle.loads(saved)
    with workflow("w", shared=loaded), stage("a"):
        telemetry.time.passes(4)
    first, second = telemetry.spans("run")
    assert first.context is not None
    assert second.parent is not None
    assert second.parent.span_id == first.context.span_id
    assert (second.attributes or {})["otel_progress.run.id"] == "run-1"
    assert loaded["progress_metrics"]["a"]["visits"] == 2
    assert loaded["progress_metrics"]["a"]["seconds"] == 7.0


def test_a_stage_after_the_end_of_its_run_joins_its_trace(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        pass
    with stage("late", shared=shared):
        pass
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run w[stage late]]"
    assert telemetry.points("otel_progress.run.duration") == [({"workflow.name": "w", "result": "success"}, (0.0, 1))]


def test_idle_runs_are_bounded(telemetry: Telemetry) -> None:
    @stage("a")
    def a(shared: dict[str, Any]) -> None: ...

    stores: list[dict[str, Any]] = [{} for _ in range(300)]
    for store in stores:
        a(store)
    assert len(telemetry.recorder.registry.runs()) == 256
    assert len(telemetry.spans("run")) == 44


def test_idle_runs_hold_no_store(telemetry: Telemetry) -> None:
    class Big(dict[str, Any]):
        pass

    import weakref

    store = Big()
    with stage("a", shared=store):
        pass
    gone = weakref.ref(store)
    del store
    assert gone() is None
