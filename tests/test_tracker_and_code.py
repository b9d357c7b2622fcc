"""A stage that a tracker and its own code both know, and code that is entered in one context and left in another."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, NamedTuple

import pytest
from opentelemetry import trace
from pocketflow import BatchFlow, Flow, Node

from otel_progress import ProgressTrackerNode, names, stage, workflow
from otel_progress.recording.live import Tracking
from otel_progress.recording.settings import Settings
from otel_progress.recording.sink import Sink
from otel_progress.recording.stages import StageRecord
from otel_progress.recording.visits import Visit

from .conftest import OwnMapping, Telemetry, linked

Shared = dict[str, Any]


def at(name: str) -> Shared:
    return {"workflow_state": {"current_stage": name}}


def passed(shared: Shared, name: str) -> None:
    shared["workflow_state"] = {"current_stage": name}
    ProgressTrackerNode().run(shared)


# --- one stage, spelled in two ways -----------------------------------------------------------------------------------


class FactCheckNode(Node):
    """Named by its class."""


class FactCheck(Node):
    """Named by its class."""


SPELLINGS = [(FactCheckNode, "fact_check"), (FactCheck, "fact_check"), (FactCheck, "Fact-Check Node")]


def visits(shared: Shared) -> dict[str, int]:
    return {name: entry["visits"] for name, entry in shared["progress_metrics"].items()}


@pytest.mark.parametrize(("kind", "name"), SPELLINGS)
def test_a_stage_has_the_trackers_spelling_where_the_tracker_came_first(
    telemetry: Telemetry, instrumented: Telemetry, kind: type[Node], name: str
) -> None:
    shared = at(name)
    tracker = ProgressTrackerNode()
    tracker >> kind() >> ProgressTrackerNode()
    with workflow("w", shared=shared):
        Flow(tracker).run(shared)
    assert visits(shared) == {name: 1}
    assert repr(telemetry.trees()) == f"[run w[stage {name}]]"


@pytest.mark.parametrize(("kind", "name"), SPELLINGS)
def test_a_stage_has_its_class_s_name_where_the_class_came_first(
    telemetry: Telemetry, instrumented: Telemetry, kind: type[Node], name: str
) -> None:
    shared = at(name)
    node = kind()
    node >> ProgressTrackerNode() >> kind() >> ProgressTrackerNode()
    with workflow("w", shared=shared):
        Flow(node).run(shared)
    assert visits(shared) == {kind.__name__: 2}
    assert repr(telemetry.trees()) == f"[run w[stage {kind.__name__}, stage {kind.__name__}]]"


def test_a_stage_has_its_decorators_name_where_the_decorator_came_first(telemetry: Telemetry) -> None:
    @stage("FactCheck")
    def check(shared: Shared) -> None: ...

    shared: Shared = {}
    with workflow("w", shared=shared):
        check(shared)
        passed(shared, "fact_check")
        check(shared)
    assert visits(shared) == {"FactCheck": 2}


# --- items of a batch flow --------------------------------------------------------------------------------------------


@stage("craft")
class Craft(Node):
    """Records itself."""


def number_and_label(telemetry: Telemetry) -> tuple[list[Any], dict[str, int]]:
    """The numbers of the visits of `craft`, and how many were a first one and how many a repeat on the metric."""
    numbers = [(span.attributes or {})["otel_progress.stage.visit"] for span in telemetry.spans("stage craft")]
    points = telemetry.points("otel_progress.stage.duration")
    return numbers, {labels["visit"]: count for labels, (_, count) in points if labels["stage.name"] == "craft"}


class Each(BatchFlow):
    """One item for each platform of the store."""

    def prep(self, shared: Shared) -> list[Shared]:
        return [{"platform": name} for name in shared["items"]]


def test_a_visit_that_code_takes_over_for_an_item_counts_for_that_item(telemetry: Telemetry) -> None:
    shared: Shared = {**at("craft"), "items": ["twitter", "linkedin", "twitter"]}
    tracker = ProgressTrackerNode()
    tracker >> Craft()
    with workflow("w", shared=shared):
        Each(tracker).run(shared)
    assert number_and_label(telemetry) == ([1, 1, 2], {"first": 2, "repeat": 1})
    first, other, again = telemetry.spans("stage craft")
    assert [linked(span, "repeats") for span in (first, other, again)] == [[], [], [first.context]]
    entry = shared["progress_metrics"]["craft"]
    assert (entry["visits"], entry["platforms"]) == (3, 2)
    told = [(span.attributes or {}) for span in (first, other, again)]
    assert [each[names.ITEM_PLATFORM] for each in told] == ["twitter", "linkedin", "twitter"]
    assert [each[names.STAGE_ATTEMPTS] for each in told] == [1, 1, 1]


def test_a_visit_beyond_the_stages_that_are_told_apart_keeps_its_name_when_code_takes_it_over(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_progress.recording.live.MOST_TOLD_APART", 1)
    shared: Shared = {}
    with workflow("w", shared=shared):
        with stage("first"):
            pass
        passed(shared, "craft")
        with stage("craft", shared=shared) as visit:
            assert visit.stage == "craft"
    assert (telemetry.span("stage craft").attributes or {})[names.STAGE_NAME] == "craft"


def test_what_code_has_taken_over_and_leaves_open_is_abandoned(telemetry: Telemetry) -> None:
    shared: Shared = {}
    with workflow("w", shared=shared):
        passed(shared, "a")
        block = stage("a", shared=shared)
        block.__enter__()
    assert shared["progress_metrics"]["a"]["results"] == {"abandoned": 1}


def test_what_a_tracker_is_about_to_complete_ends_as_its_run(telemetry: Telemetry) -> None:
    shared: Shared = {}
    with workflow("w", shared=shared) as run:
        passed(shared, "a")
        run.tracked["a"].tracking = Tracking.PASSED  # In another thread, which has not come to its end.
    assert shared["progress_metrics"]["a"]["results"] == {"success": 1}


def test_what_a_tracker_saw_before_is_no_visit_for_the_item_that_code_takes_over(telemetry: Telemetry) -> None:
    shared: Shared = {"items": ["twitter", "twitter"]}
    with workflow("w", shared=shared):
        for name in ("craft", "other", "craft"):
            passed(shared, name)
        Each(Craft()).run(shared)
    assert number_and_label(telemetry) == ([1, 1, 2], {"first": 2, "repeat": 1})
    assert shared["progress_metrics"]["craft"]["visits"] == 3


# --- entered in one context, left in another --------------------------------------------------------------------------


def here() -> str:
    """Name of the span that is current, "" if there is none."""
    return getattr(trace.get_current_span(), "name", "")


def elsewhere(call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call gives in a context of its own, as it is now, in which it leaves no other span current."""

    def use() -> Any:
        before = here()
        try:
            return call(*arguments)
        finally:
            after.append((before, here()))

    after: list[tuple[str, str]] = []
    try:
        return contextvars.copy_context().run(use)
    finally:
        assert after[0][0] == after[0][1]


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Generator[None]:
    """Nobody logs anything: opentelemetry calls it an error to detach in another context."""
    caplog.set_level("DEBUG")
    yield
    assert [record for record in caplog.get_records("call") if record.name != "asyncio"] == []


def ended(telemetry: Telemetry, result: str) -> None:
    assert telemetry.recorder.registry.visits() == []
    assert (telemetry.span("stage a").attributes or {})["otel_progress.stage.result"] == result
    assert here() == ""


@pytest.mark.parametrize("make", [stage, workflow])
def test_a_block_may_be_entered_in_one_context_and_left_in_another(
    telemetry: Telemetry, quiet: None, make: type[stage | workflow]
) -> None:
    shared: Shared = {}
    block = make("a", shared=shared)
    contextvars.copy_context().run(block.__enter__)
    with stage("b", shared=shared):
        assert here() == "stage b"
    elsewhere(block.__exit__, None, None, None)
    telemetry.recorder.close()
    assert here() == ""
    assert [span.name for span in telemetry.spans("stage b")] == ["stage b"]
    assert (telemetry.spans()[0].attributes or {}).get("otel_progress.result") == "success"
    assert telemetry.recorder.registry.runs() == []


def test_where_a_block_is_left_in_a_copy_of_its_context_what_was_around_it_is_current(
    telemetry: Telemetry, quiet: None
) -> None:
    block = stage("a")
    with workflow("w") as run:
        block.__enter__()
        copy = contextvars.copy_context()
        copy.run(block.__exit__, None, None, None)
        assert copy.run(trace.get_current_span) is run.span
    ended(telemetry, "success")


def test_where_a_block_is_left_in_another_context_what_is_current_there_stays(
    telemetry: Telemetry, quiet: None
) -> None:
    block = stage("a")

    def leave() -> None:
        with stage("b", shared={}) as visit:
            block.__exit__(None, None, None)
            assert trace.get_current_span() is visit.span

    with workflow("w"):
        block.__enter__()
        contextvars.Context().run(leave)
    ended(telemetry, "success")


def test_a_stage_without_a_run_that_another_task_began_is_ended_without_a_wait(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("otel_progress.recording.ending.sleep", waits.append)

    async def use() -> None:
        block = stage("a")
        await asyncio.create_task(block.__aenter__())
        await asyncio.create_task(block.__aexit__(None, None, None))

    asyncio.run(use())
    assert waits == []
    assert repr(telemetry.trees()) == "[run tests[stage a]]"


def test_a_block_inside_a_generator_may_be_left_in_another_context(telemetry: Telemetry, quiet: None) -> None:
    @contextlib.contextmanager
    def opened() -> Generator[str]:
        with stage("a"):
            yield here()

    block = opened()
    assert contextvars.copy_context().run(block.__enter__) == "stage a"
    assert elsewhere(block.__exit__, KeyError, KeyError("x"), None) is False
    ended(telemetry, "failure")


@pytest.mark.parametrize("closed", [True, False])
def test_a_generator_may_take_each_step_in_another_context(telemetry: Telemetry, quiet: None, closed: bool) -> None:
    @stage("a")
    def steps() -> Generator[str]:
        yield here()
        yield here()

    made = steps()
    assert [elsewhere(next, made), elsewhere(next, made)] == ["stage a", "stage a"]
    if closed:
        elsewhere(made.close)
    else:
        assert elsewhere(list, made) == []
    ended(telemetry, "cancelled" if closed else "success")


def test_an_async_block_may_be_entered_in_one_task_and_left_in_another(telemetry: Telemetry, quiet: None) -> None:
    async def use() -> None:
        block = stage("a")
        await asyncio.create_task(block.__aenter__())
        assert here() == ""
        await asyncio.create_task(block.__aexit__(None, None, None))

    asyncio.run(use())
    ended(telemetry, "success")


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("decorate", [True, False])
def test_an_async_generator_may_take_each_step_in_another_task(
    telemetry: Telemetry, quiet: None, closed: bool, decorate: bool
) -> None:
    async def plain() -> AsyncGenerator[str]:
        yield here()
        await asyncio.sleep(0)
        yield here()

    async def with_a_block() -> AsyncGenerator[str]:
        with stage("a"):
            async for seen in plain():
                yield seen

    async def in_a_task(step: Callable[[], Any]) -> Any:
        async def take() -> Any:
            return await step()

        return await asyncio.create_task(take())

    async def use() -> None:
        made = stage("a")(plain)() if decorate else with_a_block()
        seen = [await in_a_task(made.__anext__), await in_a_task(made.__anext__)]
        assert seen == ["stage a", "stage a" if decorate else ""]  # A block is current where it was entered.
        assert here() == ""
        if closed:
            await in_a_task(made.aclose)
        else:
            with pytest.raises(StopAsyncIteration):
                await in_a_task(made.__anext__)

    asyncio.run(use())
    ended(telemetry, "cancelled" if closed else "success")


# --- what a tracker reads of a stage that its own code records --------------------------------------------------------


def test_a_tracker_that_is_passed_behind_a_stage_brings_it_up_to_date(telemetry: Telemetry) -> None:
    """In the store of its run, and in the one that it was given, which is another; that one is read."""
    shared: Shared = {}
    other: Shared = {"task_requirements": {"platforms": ["a", "b"]}, "quality_control": {"revision_count": 3}}
    with workflow("w", shared=shared):
        with stage("draft"):
            pass
        told = Noted()
        telemetry.recorder.sinks = [*telemetry.recorder.sinks, told]
        passed(other, "draft")
    for store in (shared, other):
        entry = store["progress_metrics"]["draft"]
        assert (entry["visits"], entry["platforms"], entry["revisions"]) == (1, 2, 3)
    assert told.stages == [("draft", other)]
    assert repr(telemetry.trees()) == "[run w[stage draft]]"


def test_a_tracker_that_is_passed_behind_a_stage_writes_once(telemetry: Telemetry) -> None:
    """A store may be slow to take it."""
    store: Any = Counts()
    store.update(at("draft"))
    with workflow("w", shared=store):
        with stage("draft"):
            pass
        store.written.clear()
        ProgressTrackerNode().run(store)
        assert store.written == ["progress_metrics"]


class Counts(OwnMapping):
    """A store that tells what is written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def __setitem__(self, key: str, value: Any) -> None:
        self.written.append(key)
        super().__setitem__(key, value)


def test_a_run_without_a_store_is_shown_in_the_first_that_comes(telemetry: Telemetry) -> None:
    """A tracker that is passed before that, without one, changes nothing of it: what an earlier run left there goes."""

    class State(NamedTuple):
        """What is no store, and yet says a stage."""

        workflow_state: Shared

    shared: Shared = {}
    with workflow("earlier", shared=shared), stage("stale"):
        pass
    with workflow("new"):
        with stage("draft"):
            pass
        state: Any = State({"current_stage": "draft"})
        ProgressTrackerNode().run(state)
        with stage("craft", shared=shared):
            pass
    assert list(shared["progress_metrics"]) == ["draft", "craft"]
    assert shared["progress_run"]["workflow"] == "new"


class Noted(Sink):
    """Keeps what it is told of trackers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, Shared]] = []

    def stage_noted(self, record: StageRecord, shared: Any) -> None:
        """Keep it."""
        self.stages.append((record.name, shared))

    def visit_started(self, visit: Visit) -> None:
        """There is none."""
        raise AssertionError


def test_a_tracker_behind_a_stage_writes_nothing_where_the_mirror_is_off(telemetry_with: Any) -> None:
    telemetry_with(Settings(mirror=False))
    shared: Shared = {}
    with workflow("w", shared=shared):
        with stage("draft"):
            pass
        passed(shared, "draft")
    assert shared == at("draft")
