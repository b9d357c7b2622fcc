"""Node classes under `@stage`: real PocketFlow, and look-alikes."""

from __future__ import annotations

import abc
import asyncio
import copy
import pickle
from typing import Any, Protocol, runtime_checkable

import pytest
from opentelemetry.trace import StatusCode
from pocketflow import AsyncFlow, AsyncNode, AsyncParallelBatchNode, BatchFlow, BatchNode, Flow, Node

from otel_progress import stage, workflow
from otel_progress.recording.settings import Settings

from .conftest import Telemetry, linked

Shared = dict[str, Any]


@stage("draft")
class Draft(Node):
    def prep(self, shared: Shared) -> str:
        return shared["topic"]

    def exec(self, prep_res: str) -> str:
        return f"about {prep_res}"

    def post(self, shared: Shared, prep_res: str, exec_res: str) -> str:
        shared["draft"] = exec_res
        return "go"


class Inheriting(Draft):
    """Overrides nothing."""


class Overriding(Draft):
    def _run(self, shared: Shared) -> Any:
        return f"own_{super()._run(shared)}"

    def exec(self, prep_res: str) -> str:
        return super().exec(prep_res).upper()


class Replacing(Draft):
    def _run(self, shared: Shared) -> Any:
        return "replaced"


@stage("renamed")
class Renamed(Draft):
    pass


class Between:
    """Stands between a decorated class and the owner of `_run`."""

    def _run(self, shared: Shared) -> Any:
        return f"between_{super()._run(shared)}"  # type: ignore[misc]


class Mixed(Draft, Between, Node):
    pass


@pytest.mark.parametrize(
    ("cls", "name", "action"),
    [
        (Draft, "draft", "go"),
        (Inheriting, "draft", "go"),
        (Overriding, "draft", "own_go"),
        (Replacing, "draft", "replaced"),
        (Renamed, "renamed", "go"),
        (Mixed, "draft", "between_go"),
    ],
)
def test_a_decorated_class_and_its_subclasses_give_one_span_a_visit(
    telemetry: Telemetry, cls: type[Node], name: str, action: str
) -> None:
    shared: Shared = {"topic": "x"}
    assert cls().run(shared) == action
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == f"[run tests[stage {name}]]"
    attributes = telemetry.span(f"stage {name}").attributes or {}
    assert attributes["otel_progress.stage.action"] == action
    assert attributes["code.function.name"] == f"{__name__}.{cls.__name__}._run"
    assert shared["progress_metrics"][name]["visits"] == 1


def test_a_base_between_the_class_and_the_method_is_called(telemetry: Telemetry) -> None:
    @stage("x")
    class Late(Between, Node):
        pass

    assert Late().run({}) == "between_None"


def test_a_class_keeps_what_it_is(telemetry: Telemetry) -> None:
    node = pickle.loads(pickle.dumps(copy.deepcopy(Draft(max_retries=3))))
    assert type(node) is Draft
    assert vars(node) == {"params": {}, "successors": {}, "max_retries": 3, "wait": 0}
    shared: Shared = {"topic": "x"}
    Flow(node).run(shared)
    assert vars(node) == {"params": {}, "successors": {}, "max_retries": 3, "wait": 0}
    assert shared["draft"] == "about x"
    assert Draft.exec.__name__ == "exec"
    assert Draft("x" and 1).exec("y") == "about y"  # type: ignore[arg-type]


def test_a_class_between_an_abstract_one_and_what_makes_it_whole(telemetry: Telemetry) -> None:
    class Abstract(Node, abc.ABC):
        @abc.abstractmethod
        def exec(self, prep_res: int) -> int: ...

    @stage("draft")
    class Mixin(Abstract):
        def prep(self, shared: Shared) -> int:
            return 2

    class Whole(Abstract):
        def exec(self, prep_res: int) -> int:
            return prep_res * 2

        def post(self, shared: Shared, prep_res: int, exec_res: int) -> str:
            return str(exec_res)

    class Both(Mixin, Whole): ...

    class Unfinished(Mixin): ...

    assert Both().run({}) == "4"
    with pytest.raises(TypeError, match="abstract"):
        Unfinished()  # type: ignore[abstract]
    assert len(telemetry.spans("stage draft")) == 1


def test_a_protocol_is_still_met_by_what_met_it(telemetry: Telemetry) -> None:
    @stage("draft")
    @runtime_checkable
    class Drafts(Protocol):
        def exec(self, prep_res: int) -> int: ...

        def post(self, shared: Shared, prep_res: int, exec_res: int) -> int:
            return exec_res

    class Other:
        def exec(self, prep_res: int) -> int:
            return prep_res

        def post(self, shared: Shared, prep_res: int, exec_res: int) -> int:
            return exec_res

    class Own(Drafts):
        def exec(self, prep_res: int) -> int:
            return prep_res

    assert isinstance(Other(), Drafts)
    assert issubclass(Other, Drafts)
    own = Own()
    assert own.post({}, 1, own.exec(1)) == 1
    assert len(telemetry.spans("stage draft")) == 1


def test_a_class_that_defines_its_own_init_subclass(telemetry: Telemetry) -> None:
    seen: list[tuple[str, str]] = []

    @stage("base")
    class Base(Node):
        def __init_subclass__(cls, label: str = "", **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            seen.append((cls.__name__, label))

    class Child(Base, label="x"):
        def _run(self, shared: Shared) -> str:
            return "child"

    assert seen == [("Child", "x")]
    assert Child().run({}) == "child"
    assert len(telemetry.spans("stage base")) == 1


def test_retries_and_their_failed_attempts(telemetry: Telemetry) -> None:
    time = telemetry.time

    @stage("shaky")
    class Shaky(Node):
        def exec(self, prep_res: Any) -> str:
            time.passes(1)
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionError("no line")
            return "ok"

        def post(self, shared: Shared, prep_res: Any, exec_res: str) -> None:
            shared["said"] = exec_res

    tries: list[int] = []
    shared: Shared = {}
    with workflow("w", shared=shared):
        Shaky(max_retries=3).run(shared)
    assert shared["said"] == "ok"
    assert repr(telemetry.trees()) == "[run w[stage shaky[attempt 1, attempt 2]]]"
    visit = telemetry.span("stage shaky")
    assert visit.status.is_unset
    assert visit.events == ()
    attributes = visit.attributes or {}
    assert attributes["otel_progress.stage.attempts"] == 3
    assert attributes["otel_progress.stage.result"] == "success"
    first, second = telemetry.spans("attempt")
    assert [(first.attributes or {})["otel_progress.stage.attempts"], (second.attributes or {})["error.type"]] == [
        1,
        "ConnectionError",
    ]
    assert first.status.status_code is StatusCode.ERROR
    assert first.status.description == "no line"
    assert [event.name for event in first.events] == ["exception"]
    assert ((first.end_time or 0) - (first.start_time or 0)) == 1_000_000_000
    assert telemetry.points("otel_progress.stage.retries") == [
        ({"workflow.name": "w", "stage.name": "shaky", "error.type": "ConnectionError"}, 2)
    ]
    assert shared["progress_metrics"]["shaky"]["retries"] == 2


def test_the_wait_between_attempts_is_measured_apart(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    @stage("shaky")
    class Shaky(Node):
        def exec(self, prep_res: Any) -> None:
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError

    tries: list[int] = []
    monkeypatch.setattr("pocketflow.time.sleep", telemetry.time.passes)
    Shaky(max_retries=2, wait=4).run({})
    assert (telemetry.span("stage shaky").attributes or {})["otel_progress.stage.wait"] == 4.0
    assert [value for _, value in telemetry.points("otel_progress.stage.wait")] == [4.0]


def test_a_fallback_is_completed_but_degraded(telemetry: Telemetry) -> None:
    @stage("shaky")
    class Shaky(Node):
        def exec(self, prep_res: Any) -> str:
            raise ConnectionError("no line")

        def exec_fallback(self, prep_res: Any, exc: Exception) -> str:
            return f"instead of {exc}"

        def post(self, shared: Shared, prep_res: Any, exec_res: str) -> None:
            shared["said"] = exec_res

    shared: Shared = {}
    Shaky(max_retries=2).run(shared)
    assert shared["said"] == "instead of no line"
    span = telemetry.span("stage shaky")
    assert span.status.is_unset
    assert (span.attributes or {})["otel_progress.stage.result"] == "fallback"
    assert len(telemetry.spans("attempt")) == 2
    entry = shared["progress_metrics"]["shaky"]
    assert (entry["completed"], entry["result"], entry["error"]) == (True, "fallback", None)


@pytest.mark.parametrize("step", ["prep", "exec", "post"])
@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError()])
def test_an_exception_in_any_phase_passes_and_is_told_once(
    telemetry: Telemetry, step: str, error: BaseException
) -> None:
    def fail(*args: Any) -> None:
        raise error

    cls = stage("x")(type("Failing", (Node,), {step: fail}))
    shared: Shared = {}
    with pytest.raises(type(error)) as caught:
        cls().run(shared)
    assert caught.value is error
    span = telemetry.span("stage x")
    result = "failure" if isinstance(error, (ValueError, SystemExit)) else "cancelled"
    assert (span.attributes or {})["otel_progress.stage.result"] == result
    assert (span.attributes or {})["error.type"] == type(error).__name__
    assert span.status.status_code is StatusCode.ERROR
    events = [event for each in telemetry.spans() for event in each.events]
    assert [event.name for event in events] == ["exception"]
    assert shared["progress_metrics"]["x"]["completed"] is False
    assert shared["progress_metrics"]["x"]["error"] == type(error).__name__
    assert telemetry.recorder.registry.visits() == []


def test_a_batch_counts_its_items_while_it_runs(telemetry: Telemetry) -> None:
    seen: list[tuple[int, int | None]] = []

    @stage("write")
    class Write(BatchNode):
        def prep(self, shared: Shared) -> list[str]:
            self_shared.append(shared)
            return shared["task_requirements"]["platforms"]

        def exec(self, prep_res: str) -> str:
            entry = self_shared[0]["progress_metrics"]["write"]
            seen.append((entry["items_done"], entry["items_total"]))
            if prep_res == "x":
                raise ValueError
            return prep_res

        def exec_fallback(self, prep_res: str, exc: Exception) -> str:
            return "fallback"

    self_shared: list[Shared] = []
    shared: Shared = {"task_requirements": {"platforms": ["twitter", "x", "linkedin"]}}
    Write(max_retries=2).run(shared)
    assert seen == [(0, 3), (1, 3), (1, 3), (2, 3)]
    attributes = telemetry.span("stage write").attributes or {}
    assert attributes["otel_progress.stage.items.total"] == 3
    assert attributes["otel_progress.stage.items.done"] == 3
    assert attributes["otel_progress.stage.items.failed"] == 0
    labels = {"workflow.name": "tests", "stage.name": "write"}
    assert sorted(telemetry.points("otel_progress.stage.items"), key=str) == sorted(
        [
            ({**labels, "result": "success", "item.platform": "twitter"}, 1),
            ({**labels, "result": "success", "item.platform": "linkedin"}, 1),
            ({**labels, "result": "fallback", "item.platform": "x"}, 1),
        ],
        key=str,
    )


def test_an_item_that_fails_for_good_is_counted_as_failed(telemetry: Telemetry) -> None:
    @stage("write")
    class Write(BatchNode):
        def prep(self, shared: Shared) -> list[int]:
            return [1, 0]

        def exec(self, prep_res: int) -> float:
            return 1 / prep_res

    with pytest.raises(ZeroDivisionError):
        Write().run({})
    attributes = telemetry.span("stage write").attributes or {}
    assert (attributes["otel_progress.stage.items.done"], attributes["otel_progress.stage.items.failed"]) == (1, 1)


def test_a_parallel_batch_keeps_the_attempts_of_its_items_apart(telemetry: Telemetry) -> None:
    @stage("write")
    class Write(AsyncParallelBatchNode):
        async def prep_async(self, shared: Shared) -> list[int]:
            return list(range(10))

        async def exec_async(self, prep_res: int) -> int:
            await asyncio.sleep(0)
            tries[prep_res] = tries.get(prep_res, 0) + 1
            if prep_res % 2 and tries[prep_res] == 1:
                raise ValueError(prep_res)
            return prep_res

        async def post_async(self, shared: Shared, prep_res: Any, exec_res: list[int]) -> None:
            shared["out"] = exec_res

    tries: dict[int, int] = {}
    shared: Shared = {}
    asyncio.run(Write(max_retries=2).run_async(shared))
    assert shared["out"] == list(range(10))
    attributes = telemetry.span("stage write").attributes or {}
    assert attributes["otel_progress.stage.attempts"] == 15
    assert attributes["otel_progress.stage.items.done"] == 10
    assert shared["progress_metrics"]["write"]["retries"] == 5
    assert len(telemetry.spans("attempt")) == 5


@pytest.mark.parametrize(
    ("detail", "tree"),
    [
        ("none", "[run w[stage a[attempt 1]]]"),
        ("phases", "[run w[stage a[prep, exec[attempt 1], post]]]"),
        ("items", "[run w[stage a[item, item[attempt 1]]]]"),
        ("all", "[run w[stage a[prep, exec[item, item[attempt 1]], post]]]"),
    ],
)
def test_detail_makes_spans_of_phases_and_items(telemetry_with: Any, detail: Any, tree: str) -> None:
    telemetry: Telemetry = telemetry_with(Settings(detail=detail))

    @stage("a")
    class A(BatchNode):
        def prep(self, shared: Shared) -> list[str]:
            return ["x", "y"]

        def exec(self, prep_res: str) -> None:
            tries.append(prep_res)
            if tries == ["x", "y"]:
                raise ValueError

        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
            super().post(shared, prep_res, exec_res)

    tries: list[str] = []
    shared: Shared = {}
    with workflow("w", shared=shared):
        A(max_retries=2).run(shared)
    assert repr(telemetry.trees()) == tree


def test_the_items_of_a_batch_flow_are_no_repeats(telemetry: Telemetry) -> None:
    class Platforms(BatchFlow):
        def prep(self, shared: Shared) -> list[dict[str, str]]:
            return [{"platform": "twitter"}, {"platform": "linkedin"}, {"platform": "twitter"}]

    shared: Shared = {"topic": "x"}
    with workflow("w", shared=shared):
        Platforms(Draft()).run(shared)
    visits = [
        ((span.attributes or {})["otel_progress.item.platform"], (span.attributes or {})["otel_progress.stage.visit"])
        for span in telemetry.spans("stage")
    ]
    assert visits == [("twitter", 1), ("linkedin", 1), ("twitter", 2)]
    first, _, third = telemetry.spans("stage")
    assert linked(third, "repeats") == [first.context]
    assert shared["progress_metrics"]["draft"]["platforms"] == 2
    assert shared["progress_metrics"]["draft"]["visits"] == 3
    labels = {"workflow.name": "w", "stage.name": "draft", "result": "success", "revision": "none"}
    assert telemetry.points("otel_progress.stage.duration") == [
        ({**labels, "visit": "first"}, (0.0, 2)),
        ({**labels, "visit": "repeat"}, (0.0, 1)),
    ]


def test_async_nodes_in_an_async_flow(telemetry: Telemetry) -> None:
    @stage("fetch")
    class Fetch(AsyncNode):
        async def prep_async(self, shared: Shared) -> int:
            await asyncio.sleep(0)
            return 1

        async def exec_async(self, prep_res: int) -> int:
            if not tries:
                tries.append(1)
                raise TimeoutError
            return prep_res + 1

        async def post_async(self, shared: Shared, prep_res: int, exec_res: int) -> str:
            shared["n"] = exec_res
            return "next"

    tries: list[int] = []
    fetch = Fetch(max_retries=2)
    fetch - "next" >> Draft()  # type: ignore[operator]
    shared: Shared = {"topic": "x"}

    async def use() -> Any:
        async with workflow("w", shared=shared):
            return await AsyncFlow(fetch).run_async(shared)

    assert asyncio.run(use()) == "go"
    assert shared["n"] == 2
    assert repr(telemetry.trees()) == "[run w[stage fetch[attempt 1], stage draft]]"


def test_a_node_that_is_not_from_pocketflow(telemetry: Telemetry) -> None:
    @stage("own")
    class Own:
        exec = staticmethod(lambda prep_res: prep_res * 2)

        def __getattr__(self, name: str) -> Any:
            return f"proxied {name}"

        def _run(self, shared: Shared) -> Any:
            return self.exec(21)

    assert Own()._run({}) == 42
    attributes = telemetry.span("stage own").attributes or {}
    assert attributes["otel_progress.stage.attempts"] == 1
    assert attributes["otel_progress.stage.action"] == "42"


def test_workflow_on_a_flow_class(telemetry: Telemetry) -> None:
    @workflow("campaign")
    class Campaign(Flow):
        pass

    shared: Shared = {"topic": "x"}
    assert Campaign(Draft()).run(shared) == "go"
    assert Campaign(Draft()).run(shared) == "go"
    assert repr(telemetry.trees()) == "[run campaign[stage draft], run campaign[stage draft]]"
