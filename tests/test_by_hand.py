"""Nodes whose prep, exec and post somebody calls one by one: engines without `_run`, and loops of users."""

from __future__ import annotations

import asyncio
import copy
import gc
import threading
from typing import Any

import pytest
from pocketflow import AsyncNode, AsyncParallelBatchNode, BatchNode, Node

from otel_progress import progress, stage, workflow
from otel_progress.recording.settings import Settings

from .conftest import Telemetry

Shared = dict[str, Any]


class Engine:
    """Drives steps of any class: it is not theirs, and they have no `_run`."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps

    def run(self, shared: Shared) -> list[Any]:
        return [step.post(shared, (got := step.prep(shared)), step.exec(got)) for step in map(copy.copy, self.steps)]

    async def run_async(self, shared: Shared) -> list[Any]:
        actions: list[Any] = []
        for step in map(copy.copy, self.steps):
            got = await step.prep_async(shared)
            actions.append(await step.post_async(shared, got, await step.exec_async(got)))
        return actions


class Step:
    """The engine's base."""

    def prep(self, shared: Shared) -> Any:
        return shared.get("topic")

    def exec(self, prep_res: Any) -> Any:
        return prep_res

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
        return "default"


@stage("draft")
class Draft(Step):
    def exec(self, prep_res: Any) -> Any:
        return f"about {super().exec(prep_res)}"

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> str:
        shared["draft"] = exec_res
        super().post(shared, prep_res, exec_res)
        return "checked"


@stage("check")
class Check(Step):
    def exec(self, prep_res: Any) -> Any:
        with stage("lookup"):
            return None


class AStep:
    async def prep_async(self, shared: Shared) -> Any:
        await asyncio.sleep(0)
        return shared["topic"]

    async def exec_async(self, prep_res: Any) -> Any:
        await asyncio.sleep(0)
        return prep_res

    async def post_async(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
        await asyncio.sleep(0)
        return exec_res


@stage("fetch")
class Fetch(AStep):
    pass


class Plain(Node):
    """Of PocketFlow, driven by hand."""

    def prep(self, shared: Shared) -> Any:
        return 3

    def exec(self, prep_res: Any) -> Any:
        return prep_res

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
        return exec_res


def results(telemetry: Telemetry, name: str) -> list[Any]:
    return [(span.attributes or {})["otel_progress.stage.result"] for span in telemetry.spans(f"stage {name}")]


def test_an_engine_that_calls_prep_exec_and_post_itself(telemetry: Telemetry) -> None:
    shared: Shared = {"topic": "ferries"}
    with workflow("w", shared=shared):
        assert Engine(Draft(), Check()).run(shared) == ["checked", "default"]
    assert shared["draft"] == "about ferries"
    assert repr(telemetry.trees()) == "[run w[stage draft, stage check[stage lookup]]]"
    attributes = telemetry.span("stage draft").attributes or {}
    assert attributes["otel_progress.stage.action"] == "checked"
    assert attributes["otel_progress.stage.result"] == "success"
    assert attributes["otel_progress.stage.attempts"] == 1
    assert [entry["visits"] for entry in shared["progress_metrics"].values()] == [1, 1, 1]


def test_it_lasts_from_the_first_call_to_the_end_of_the_last(telemetry: Telemetry) -> None:
    shared: Shared = {}
    step = Draft()
    with workflow("w", shared=shared):
        got = step.prep(shared)
        telemetry.time.passes(1)
        done = step.exec(got)
        with stage("between"):
            telemetry.time.passes(2)
        assert shared["progress_metrics"]["draft"]["completed"] is False
        step.post(shared, got, done)
        telemetry.time.passes(4)
    assert repr(telemetry.trees()) == "[run w[stage draft, stage between]]"
    assert shared["progress_metrics"]["draft"]["seconds"] == 3.0
    assert vars(step) == {}


def test_an_async_engine(telemetry: Telemetry) -> None:
    shared: Shared = {"topic": "ferries"}
    assert asyncio.run(Engine(Fetch(), Fetch()).run_async(shared)) == ["ferries", "ferries"]
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run tests[stage fetch, stage fetch]]"
    assert results(telemetry, "fetch") == ["success", "success"]


def test_nodes_of_pocketflow_by_hand(instrumented: Telemetry) -> None:
    shared: Shared = {}
    with workflow("w", shared=shared):
        assert Engine(Plain(), Plain(max_retries=2)).run(shared) == [3, 3]
        for node in (Plain(),):  # With the retries of its own.
            node.post(shared, None, node._exec(node.prep(shared)))
        assert Plain().run(shared) == 3
    assert repr(instrumented.trees()) == "[run w[stage Plain, stage Plain, stage Plain, stage Plain]]"
    assert results(instrumented, "Plain") == ["success"] * 4


def test_asynchronous_nodes_of_pocketflow_by_hand(instrumented: Telemetry) -> None:
    class APlain(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)
            return 4

        async def post_async(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    async def loop() -> list[Any]:
        with workflow("w"):
            return await Engine(APlain(), APlain()).run_async({})

    assert asyncio.run(loop()) == [4, 4]
    assert repr(instrumented.trees()) == "[run w[stage APlain, stage APlain]]"


@pytest.mark.parametrize("phase", ["prep", "exec", "post"])
@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_an_exception_ends_it(telemetry: Telemetry, phase: str, error: BaseException) -> None:
    def fail(*args: Any) -> None:
        raise error

    cls = stage("x")(type("Failing", (Step,), {phase: fail}))
    shared: Shared = {}
    with workflow("w", shared=shared), pytest.raises(type(error)) as caught:
        Engine(cls()).run(shared)
    assert caught.value is error
    assert results(telemetry, "x") == ["failure" if isinstance(error, ValueError) else "cancelled"]
    assert shared["progress_metrics"]["x"]["error"] == type(error).__name__


def test_a_further_try_is_a_visit(telemetry: Telemetry) -> None:
    @stage("shaky")
    class Shaky(Step):
        def exec(self, prep_res: Any) -> Any:
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError

    tries: list[int] = []
    shared: Shared = {}
    step = Shaky()
    with workflow("w", shared=shared) as run:
        got = step.prep(shared)
        with pytest.raises(ConnectionError):
            step.exec(got)
        step.post(shared, got, step.exec(got))
    assert results(telemetry, "shaky") == ["failure", "success"]
    assert progress(run)["shaky"]["results"] == {"failure": 1, "success": 1}


# --- what never ends --------------------------------------------------------------------------------------------------


def test_the_next_prep_ends_what_was_left_open(telemetry: Telemetry) -> None:
    shared: Shared = {}
    step = Draft()
    with workflow("w", shared=shared):
        for _ in range(2):
            step.exec(step.prep(shared))
        with stage("other"):
            assert Engine(step).run(shared) == ["checked"]
    assert repr(telemetry.trees()) == "[run w[stage draft, stage draft, stage other[stage draft]]]"
    assert results(telemetry, "draft") == ["abandoned", "abandoned", "success"]


def test_the_end_of_the_run_ends_it(telemetry: Telemetry) -> None:
    shared: Shared = {}
    step = Draft()
    with workflow("w", shared=shared):
        got = step.prep(shared)
    assert results(telemetry, "draft") == ["abandoned"]
    assert step.post(shared, got, step.exec(got)) == "checked"  # Its time is over, and no other begins.
    assert len(telemetry.spans("stage")) == 1


def test_it_ends_with_its_node(telemetry: Telemetry) -> None:
    shared: Shared = {}
    with workflow("w", shared=shared):
        Draft().prep(shared)
        gc.collect()
        assert shared["progress_metrics"]["draft"]["result"] == "abandoned"
        with stage("other"):
            pass
    assert repr(telemetry.trees()) == "[run w[stage draft, stage other]]"


def test_exec_alone_is_a_call_like_any(instrumented: Telemetry) -> None:
    with workflow("w"), stage("helped"):
        assert Plain().exec(1) == 1
        assert Draft().exec("x") == "about x"
    assert repr(instrumented.trees()) == "[run w[stage helped]]"


def test_without_a_prep_or_a_post_of_its_own(instrumented: Telemetry) -> None:
    class Only(Node):
        def exec(self, prep_res: Any) -> Any:
            return prep_res

    with workflow("w") as run:
        only = Only()
        assert only.exec(1) == 1
        assert progress(run)["Only"]["result"] == "success"
        only.post({}, None, 1)  # PocketFlow's own, which does nothing.
        only.post({}, only.prep({}), only.exec(2))
    assert results(instrumented, "Only") == ["success", "success"]
    assert progress(run)["Only"]["visits"] == 2


def test_what_a_decorated_node_of_pocketflow_has_of_its_own(telemetry: Telemetry) -> None:
    @stage("only")
    class Only(Node):
        def exec(self, prep_res: Any) -> Any:
            return prep_res

    @stage("whole")
    class Whole(Plain): ...

    with workflow("w") as run:
        only = Only()
        assert [only.exec(1), only.exec(2)] == [1, 2]
        assert progress(run)["only"]["results"] == {"success": 2}
        whole = Whole()
        assert whole.exec(1) == 1  # A call like any: it has a prep.
        assert "whole" not in progress(run)
        assert Engine(whole).run({}) == [3]
    assert progress(run)["whole"]["results"] == {"success": 1}


def test_execs_at_once_are_visits_where_there_is_no_prep(telemetry: Telemetry) -> None:
    @stage("only")
    class Only:
        async def exec_async(self, prep_res: int) -> int:
            await asyncio.sleep(0)
            return prep_res

    @stage("batch")
    class Items(AsyncParallelBatchNode):
        async def exec_async(self, prep_res: int) -> int:
            await asyncio.sleep(0)
            return prep_res

    async def main() -> None:
        only, items = Only(), Items()
        assert await asyncio.gather(*map(only.exec_async, range(4))) == [0, 1, 2, 3]
        assert await asyncio.gather(*map(items.exec_async, range(4))) == [0, 1, 2, 3]
        await items.post_async({}, None, [])

    with workflow("w") as run:
        asyncio.run(main())
    assert progress(run)["only"]["results"] == {"success": 4}
    assert (progress(run)["batch"]["results"], progress(run)["batch"]["items_done"]) == ({"success": 1}, 4)


def test_what_prep_is_given_is_a_store_only_by_its_name(telemetry: Telemetry) -> None:
    @stage("call")
    class Calls:
        def prep(self, payload: Shared) -> Shared:
            return payload

        def exec(self, prep_res: Shared) -> int:
            return self.call(**prep_res)

        def call(self, query: int) -> int:
            return query

    class Named(Calls):
        def post(self, payload: Shared, prep_res: Any, exec_res: Any) -> None: ...

    payload: Shared = {"query": 8}
    state = dict(payload)
    with workflow("w"), stage("around"):
        calls, named = Calls(), Named()
        assert calls.exec(calls.prep(payload)) == 8
        assert payload == {"query": 8}
        named.post(state, named.prep(state), None)
    assert state["progress_metrics"]["call"]["visits"] == 2  # It is now the run's: of both.


def test_the_items_of_a_batch_by_hand(telemetry: Telemetry) -> None:
    @stage("each")
    class Each(BatchNode):
        def prep(self, shared: Shared) -> list[int]:
            return [1, 2, 3]

        def exec(self, prep_res: int) -> int:
            return prep_res

        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
            return "done"

    shared: Shared = {}
    each = Each()
    each.post(shared, None, [each.exec(item) for item in each.prep(shared)])
    assert shared["progress_metrics"]["each"]["items_done"] == 3
    assert shared["progress_metrics"]["each"]["visits"] == 1


# --- one visit, never two ---------------------------------------------------------------------------------------------


def test_run_goes_on_with_what_prep_began(telemetry: Telemetry) -> None:
    @stage("plain")
    class Mine(Plain):
        pass

    shared: Shared = {}
    node = Mine()
    with workflow("w", shared=shared):
        assert node.prep(shared) == 3
        assert node.run(shared) == 3
    assert results(telemetry, "plain") == ["success"]
    assert (telemetry.span("stage plain").attributes or {})["otel_progress.stage.action"] == "3"
    assert node.run(shared) == 3
    assert shared["progress_metrics"]["plain"]["visits"] == 2


@pytest.mark.parametrize("methods", [["prep", "exec"], ["exec"]])
def test_a_thread_of_run_without_its_context_is_no_other_visit(instrumented: Telemetry, methods: list[str]) -> None:
    class Threads(Node):
        def exec(self, prep_res: Any) -> Any:
            return 3

        def _exec(self, prep_res: Any) -> Any:
            thread = threading.Thread(target=lambda: found.extend([getattr(self, name)({}) for name in methods]))
            thread.start()
            thread.join()

    found: list[Any] = []
    with workflow("w"):
        Threads().run({})
    assert found[-1] == 3
    assert repr(instrumented.trees()) == "[run w[stage Threads]]"


def test_run_that_goes_on_with_what_prep_began_is_a_run_as_any(instrumented: Telemetry) -> None:
    """Its threads begin no visit, and where it runs itself again that is one."""

    class Threads(Node):
        left = 1

        def exec(self, prep_res: Any) -> Any:
            return 3

        def _exec(self, prep_res: Any) -> Any:
            thread = threading.Thread(target=lambda: found.append(self.exec({})))
            thread.start()
            thread.join()
            if self.left:
                self.left = 0
                self._run({})

    found: list[Any] = []
    node = Threads()
    with workflow("w"):
        node.prep({})
        node.run({})
    assert found == [3, 3]
    assert repr(instrumented.trees()) == "[run w[stage Threads[stage Threads]]]"


def test_an_item_that_runs_on_begins_no_visit(instrumented: Telemetry) -> None:
    class Items(AsyncParallelBatchNode):
        async def _run_async(self, shared: Shared) -> Any:
            return await super()._run_async(shared)

        async def prep_async(self, shared: Shared) -> list[int]:
            return [0, 1]

    class Each(Items):
        """Has no prep beside that of the class with `_run_async`: so exec could begin a visit."""

        async def exec_async(self, prep_res: int) -> None:
            tries.append(prep_res)
            if prep_res == 1:
                await failed.wait()
            raise ValueError

        async def exec_fallback_async(self, prep_res: int, exc: Exception) -> None:
            if prep_res == 0:
                raise exc

    async def main() -> None:
        with pytest.raises(ValueError):
            await Each(max_retries=2).run_async({})
        failed.set()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    tries: list[int] = []
    failed = asyncio.Event()
    asyncio.run(main())
    assert sorted(tries) == [0, 0, 1, 1]
    assert results(instrumented, "Each") == ["failure"]


def test_exec_in_a_thread_belongs_to_the_visit(telemetry: Telemetry) -> None:
    shared: Shared = {"topic": "x"}
    step = Draft()
    found: list[Any] = []
    with workflow("w", shared=shared):
        got = step.prep(shared)
        thread = threading.Thread(target=lambda: found.append(step.exec(got)))
        thread.start()
        thread.join()
        step.post(shared, got, found[0])
    assert repr(telemetry.trees()) == "[run w[stage draft]]"
    assert (telemetry.span("stage draft").attributes or {})["otel_progress.stage.attempts"] == 1


def test_tasks_that_drive_one_node_at_once(telemetry: Telemetry) -> None:
    step = Fetch()

    async def one(number: int) -> Any:
        shared = {"topic": number}
        with workflow("w", shared=shared):
            return await drive(shared)

    async def drive(shared: Shared) -> Any:
        got = await step.prep_async(shared)
        return await step.post_async(shared, got, await step.exec_async(got))

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(one, range(5)))

    assert asyncio.run(all_of_them()) == list(range(5))
    assert results(telemetry, "fetch") == ["success"] * 5
    assert repr(telemetry.trees()) == f"[{', '.join(['run w[stage fetch]'] * 5)}]"


def test_a_task_that_is_gone_leaves_nothing_open(telemetry: Telemetry) -> None:
    step = Fetch()
    shared = {"topic": "x"}
    with workflow("w", shared=shared) as run:
        for _ in range(3):
            asyncio.run(step.prep_async(shared))
            gc.collect()
        assert progress(run)["fetch"]["results"] == {"abandoned": 2}
    assert results(telemetry, "fetch") == ["abandoned"] * 3


def test_detail_makes_spans_of_the_phases(telemetry_with: Any) -> None:
    telemetry: Telemetry = telemetry_with(Settings(detail="phases"))
    with workflow("w"):
        Engine(Check()).run({})
    assert repr(telemetry.trees()) == "[run w[stage check[prep, exec[stage lookup], post]]]"


def test_what_an_engine_hands_to_prep_need_not_be_a_store(telemetry: Telemetry) -> None:
    class Request:
        """Somebody's."""

    request: Any = Request()
    step = Fetch()
    with workflow("w", shared={}) as run, stage("around"), pytest.raises(TypeError):
        asyncio.run(step.prep_async(request))
    assert vars(request) == {}
    assert progress(run)["fetch"]["result"] == "failure"


def test_a_run_by_hand(telemetry: Telemetry) -> None:
    @workflow("whole")
    class Whole(Step):
        def exec(self, prep_res: Any) -> Any:
            with stage("inner"):
                return prep_res

    shared: Shared = {}
    assert Engine(Whole()).run(shared) == ["default"]
    assert repr(telemetry.trees()) == "[run whole[stage inner]]"


# --- what cannot be recorded ------------------------------------------------------------------------------------------


class Slotted:
    __slots__ = ()

    def prep(self, shared: Shared) -> None: ...

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None: ...


class Static(Step):
    post: Any = staticmethod(lambda shared, prep_res, exec_res: None)


class Client:
    def post(self, url: str) -> None: ...


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Slotted, "it has no _run, and __slots__ without __weakref__"),
        (Static, "it has no _run, and post is no plain method"),
        (Client, "it has no prep, exec or post as a node has them"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_the_line_to_write(cls: type, reason: str) -> None:
    with pytest.raises(TypeError) as caught:
        stage("x")(cls)
    assert str(caught.value) == (
        f"@stage takes a function, or a class with prep, exec or post; {cls.__name__} is none: {reason}. "
        'Write `with stage("x", shared=shared):` around what uses it'
    )
