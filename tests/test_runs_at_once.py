"""Runs that go on at once over one store: each is its own, unless its context lies inside the other's."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import threading
from collections.abc import Callable, Generator, MutableMapping
from typing import Any

import pytest
from pocketflow import AsyncFlow, AsyncNode

from otel_progress import PocketFlowInstrumentor, Run, progress, stage, workflow
from otel_progress.recording.stages import StageRecord

from .conftest import OwnMapping, Telemetry, make_telemetry, using

Shared = MutableMapping[str, Any]


@pytest.fixture(params=[dict[str, Any], OwnMapping], ids=["dict", "mapping"])
def shared(request: pytest.FixtureRequest) -> Shared:
    """A store."""
    return request.param()


def step(name: str, shared: Any = None) -> None:
    with stage(name, shared=shared):
        pass


class Turns:
    """Lets two tasks go on in the order that is given: each waits until it is its turn."""

    def __init__(self, *order: str) -> None:
        self.order = list(order)
        self.changed = asyncio.Condition()

    async def take(self, who: str) -> None:
        """Wait until it is the turn of `who`."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.order[0] == who)
            del self.order[0]
            self.changed.notify_all()


# Each of the two begins, makes a stage, makes another one, and ends.
ORDERS = sorted({"".join(order) for order in itertools.permutations("aaaabbbb")})


# --- each is a run of its own -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("way", ["named", "not named", "given to stages", "block"])
def test_two_workflows_over_one_store_are_two_runs(telemetry: Telemetry, order: str, way: str) -> None:
    shared: dict[str, Any] = {}
    given = None if way == "block" else shared

    async def stages(me: str, turns: Turns, given: Any) -> None:
        step(f"{me}1", given)
        await turns.take(me)
        step(f"{me}2", given)
        await turns.take(me)

    @workflow("a")
    async def a(shared: Any, turns: Turns) -> None:
        await stages("a", turns, None if way == "named" else shared)

    @workflow("b")
    async def b(shared: Any, turns: Turns) -> None:
        await stages("b", turns, None if way == "named" else shared)

    @workflow("a")
    async def a_unnamed(store: Any, turns: Turns) -> None:
        await stages("a", turns, store)

    @workflow("b")
    async def b_unnamed(store: Any, turns: Turns) -> None:
        await stages("b", turns, store)

    async def block(me: str, turns: Turns) -> None:
        await turns.take(me)
        with workflow(me, shared=shared):
            await stages(me, turns, given)
        await turns.take(me)

    async def call(me: str, turns: Turns) -> None:
        if way == "block":
            await block(me, turns)
            return
        await turns.take(me)
        named = {"a": a, "b": b} if way != "not named" else {"a": a_unnamed, "b": b_unnamed}
        await named[me](shared, turns)
        await turns.take(me)

    async def both() -> None:
        turns = Turns(*order)
        await asyncio.gather(call("a", turns), call("b", turns))

    asyncio.run(both())
    assert sorted(map(repr, telemetry.trees())) == ["run a[stage a1, stage a2]", "run b[stage b1, stage b2]"]
    results = [(span.attributes or {})["otel_progress.stage.result"] for span in telemetry.spans("stage")]
    assert results == ["success"] * 4
    assert telemetry.recorder.registry.runs() == []


class Wait(AsyncNode):
    """A node that waits for its turn."""

    def __init__(self, name: str, turns: Turns) -> None:
        super().__init__()
        self.name, self.turns = name, turns

    async def exec_async(self, prep_res: Any) -> None:
        await self.turns.take(self.name[0])


def named_flow(name: str, start: Any) -> Any:
    flow: Any = AsyncFlow(start)
    flow.name = name
    return flow


@pytest.mark.parametrize("order", ["abab", "abba"])
def test_two_flows_over_one_store_are_two_runs(telemetry: Telemetry, shared: Shared, order: str) -> None:
    async def both() -> None:
        turns = Turns(*order)
        flows: list[Any] = []
        for me in "ab":
            first = Wait(f"{me}1", turns)
            first >> Wait(f"{me}2", turns)  # type: ignore[operator]
            flows.append(named_flow(me, first))
        await asyncio.gather(*(flow.run_async(shared) for flow in flows))

    PocketFlowInstrumentor().instrument()
    try:
        asyncio.run(both())
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert sorted(map(repr, telemetry.trees())) == ["run a[stage a1, stage a2]", "run b[stage b1, stage b2]"]
    assert sorted(shared["progress_metrics"]) == ["a1", "a2", "b1", "b2"]
    assert {entry["result"] for entry in shared["progress_metrics"].values()} == {"success"}


def test_threads_that_work_on_one_store_are_runs_of_their_own(telemetry: Telemetry, shared: Shared) -> None:
    begun, ended = threading.Barrier(8), threading.Barrier(8)

    def work(number: int) -> None:
        with workflow(f"w{number}", shared=shared):
            begun.wait(timeout=30)
            step(f"s{number}", shared)
            ended.wait(timeout=30)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(map(repr, telemetry.trees())) == [f"run w{number}[stage s{number}]" for number in range(8)]
    assert sorted(shared["progress_metrics"]) == [f"s{number}" for number in range(8)]
    assert {entry["result"] for entry in shared["progress_metrics"].values()} == {"success"}


def test_a_workflow_elsewhere_over_the_store_of_one_is_a_run_of_its_own(telemetry: Telemetry, shared: Shared) -> None:
    def elsewhere() -> None:
        with workflow("inner", shared=shared):
            step("there")

    with workflow("outer", shared=shared):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        step("here")
    assert repr(telemetry.trees()) == "[run outer[stage here], run inner[stage there]]"


def test_workflows_that_are_generators_take_turns_over_one_store(telemetry: Telemetry, shared: Shared) -> None:
    @workflow("a")
    def a(shared: Any) -> Generator[int]:
        for number in range(3):
            step("a")
            yield number

    @workflow("b")
    def b(shared: Any) -> Generator[int]:
        for number in range(2):
            step("b")
            yield number

    assert list(itertools.zip_longest(a(shared), b(shared))) == [(0, 0), (1, 1), (2, None)]
    assert repr(telemetry.trees()) == "[run a[stage a, stage a, stage a], run b[stage b, stage b]]"


def in_its_context(shared: Any) -> None:
    with workflow("outer", shared=shared), workflow("inner", shared=shared):
        step("s")


def in_a_task_of_its_context(shared: Any) -> None:
    async def inner() -> None:
        in_its_context_alone(shared)

    async def outer() -> None:
        with workflow("outer", shared=shared):
            await asyncio.create_task(inner())

    asyncio.run(outer())


def in_its_context_alone(shared: Any) -> None:
    with workflow("inner", shared=shared):
        step("s")


def in_a_thread_with_its_context(shared: Any) -> None:
    with workflow("outer", shared=shared):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(in_its_context_alone, shared))
        thread.start()
        thread.join()


def by_asyncio_to_thread(shared: Any) -> None:
    async def outer() -> None:
        with workflow("outer", shared=shared):
            await asyncio.to_thread(in_its_context_alone, shared)

    asyncio.run(outer())


@pytest.mark.parametrize(
    "nested", [in_its_context, in_a_task_of_its_context, in_a_thread_with_its_context, by_asyncio_to_thread]
)
def test_a_workflow_inside_the_context_of_one_is_a_stage_of_it(
    telemetry: Telemetry, shared: Shared, nested: Callable[[Any], None]
) -> None:
    nested(shared)
    assert repr(telemetry.trees()) == "[run outer[stage inner[stage s]]]"


def test_a_workflow_that_a_stage_left_behind_is_a_run_of_its_own(telemetry: Telemetry) -> None:
    async def late(gate: asyncio.Event) -> None:
        await gate.wait()
        with workflow("late"):
            step("s")

    async def main() -> None:
        gate = asyncio.Event()
        with stage("first", shared={}):
            task = asyncio.create_task(late(gate))
        gate.set()
        await task

    asyncio.run(main())
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run tests[stage first, run late[stage s]]]"


# --- which run a stage joins ------------------------------------------------------------------------------------------


def test_a_stage_joins_the_run_around_it_and_the_stores_only_where_there_is_none(telemetry: Telemetry) -> None:
    one: dict[str, Any] = {}
    two: dict[str, Any] = {}
    with workflow("one", shared=one):
        contextvars.Context().run(_inside_another, one, two)
        contextvars.Context().run(step, "of the store", one)
    assert repr(telemetry.trees()) == "[run one[stage of the store], run two[stage mine, stage with another's store]]"
    assert set(one["progress_metrics"]) == {"mine", "with another's store", "of the store"}
    assert set(two["progress_metrics"]) == {"mine", "with another's store"}


def _inside_another(one: dict[str, Any], two: dict[str, Any]) -> None:
    with workflow("two", shared=two):
        step("mine")
        step("with another's store", one)


def test_the_store_of_another_run_is_written_under_that_runs_lock(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, under = StageRecord.entry, list[bool]()
    one: dict[str, Any] = {}

    def look(record: StageRecord) -> dict[str, Any]:
        if record.name == "with another's store":
            under.append(lock.is_held)
        return entry(record)

    with workflow("one", shared=one) as run:
        run.lock = lock = Held(run.lock)  # type: ignore[assignment]
        monkeypatch.setattr(StageRecord, "entry", look)
        contextvars.Context().run(_inside_another, one, {})
    assert (
        under == [False, True] * 2
    )  # In the store of its own run, and in that of the other, at its start and its end.


class Held:
    """A lock that says whether it is held."""

    is_held = False

    def __init__(self, lock: Any) -> None:
        self.lock = lock

    def __enter__(self) -> None:
        self.lock.acquire()
        self.is_held = True

    def __exit__(self, *_: object) -> None:
        self.is_held = False
        self.lock.release()


def test_a_stage_in_a_bare_thread_joins_the_run_that_began_last_of_those_that_go_on(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    bare = contextvars.Context
    with workflow("a", shared=shared):
        second = workflow("b", shared=shared)
        context = bare()
        context.run(second.__enter__)
        bare().run(step, "while both go on", shared)
        context.run(second.__exit__, None, None, None)
        bare().run(step, "while one goes on", shared)
    assert repr(telemetry.trees()) == "[run a[stage while one goes on], run b[stage while both go on]]"


def test_a_store_that_belongs_to_a_run_stays_with_it(telemetry: Telemetry) -> None:
    """A stage without a store around one with a store: what that store says of its own run is not dropped."""
    order: dict[str, Any] = {}
    step("draft", order)
    with stage("handle"):
        step("publish", order)
    assert order["progress_run"]["run_id"] == "run-1"
    assert next(iter(order["progress_metrics"])) == "draft"
    step("archive", order)
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run tests[stage draft, stage archive], run tests[stage handle[stage publish]]]"


# --- what the store shows ---------------------------------------------------------------------------------------------


def test_one_store_shows_the_stages_of_both_runs_and_says_the_one_that_began_last(
    telemetry: Telemetry, shared: Shared
) -> None:
    with workflow("a", shared=shared) as a:
        step("plan")
        step("draft")
        second, context = workflow("b", shared=shared), contextvars.Context()
        b: Run = context.run(second.__enter__)
        assert list(shared["progress_metrics"]) == ["plan", "draft"]
        assert shared["progress_run"]["run_id"] == b.id
        assert a.lock is b.lock  # Else one would lose what the other writes at the same moment.
        telemetry.time.passes(1)
        context.run(step, "draft")
        context.run(step, "review")
        assert (progress(a)["draft"]["visits"], progress(b)["draft"]["visits"]) == (1, 1)
        assert shared["progress_metrics"] == {**progress(a), **progress(b)}  # The entry that changed last stands.
        step("draft")
        assert shared["progress_metrics"] == {**progress(b), **progress(a)}
        context.run(second.__exit__, None, None, None)
        assert shared["progress_run"]["run_id"] == a.id  # It goes on.
        step("publish")
        assert set(shared["progress_metrics"]) == {"plan", "draft", "review", "publish"}
    json.dumps(dict(shared))
    with workflow("c", shared=shared):
        assert shared["progress_metrics"] == {}


def test_no_update_is_lost_where_two_runs_write_into_one_store(telemetry: Telemetry, shared: Shared) -> None:
    both = threading.Barrier(2)

    def work(me: str) -> None:
        both.wait(timeout=30)
        with workflow(me, shared=shared):
            both.wait(timeout=30)
            for number in range(200):
                step(f"{me}{number}")
            both.wait(timeout=60)

    threads = [threading.Thread(target=work, args=(me,)) for me in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(shared["progress_metrics"]) == 400
    assert {entry["completed"] for entry in shared["progress_metrics"].values()} == {True}


# --- a store from another process -------------------------------------------------------------------------------------


def test_two_workflows_carry_one_saved_run_on_at_once(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        step("a")
    saved = json.dumps(shared)
    for there in using(make_telemetry()):
        first, second = json.loads(saved), json.loads(saved)
        with workflow("w", shared=first) as one:
            two = contextvars.Context().run(_carry_on, second)
            step("b")
        assert (one.id, two.id) == (shared["progress_run"]["run_id"],) * 2
        assert {span.name for span in there.spans("stage")} == {"stage b", "stage c"}
        assert len(there.spans("run")) == 2
        assert there.recorder.registry.runs() == []
        assert (list(first["progress_metrics"]), list(second["progress_metrics"])) == (["a", "b"], ["a", "c"])


def _carry_on(shared: dict[str, Any]) -> Run:
    with workflow("w", shared=shared) as run:
        step("c")
        return run


def test_a_copy_of_the_store_of_a_run_that_goes_on_is_no_store_from_elsewhere(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared) as run:
        step("a")
        copy = json.loads(json.dumps(shared))
        other = contextvars.Context().run(_carry_on, copy)
        assert other.id != run.id
    assert repr(telemetry.trees()) == "[run w[stage a], run w[stage c]]"
