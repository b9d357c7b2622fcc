"""PocketFlow without a change: whole trees, for all its classes and every combination of ways in."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import importlib.util
import itertools
import sys
import threading
import types
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pocketflow
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span
from pocketflow import (
    AsyncBatchFlow,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BaseNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)

from otel_progress import PocketFlowInstrumentor, ProgressTrackerNode, stage, workflow

from .conftest import Telemetry

Shared = dict[str, Any]
Instrument = Callable[..., PocketFlowInstrumentor]


@pytest.fixture
def instrument(telemetry: Telemetry) -> Generator[Instrument]:
    """`instrument()` for the time of a test."""
    instrumentor = PocketFlowInstrumentor()

    def begin(**arguments: Any) -> PocketFlowInstrumentor:
        instrumentor.instrument(**arguments)
        return instrumentor

    yield begin
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def run(node: Any, shared: Shared | None = None) -> Any:
    """Run a node or flow of either kind."""
    shared = {} if shared is None else shared
    return asyncio.run(node.run_async(shared)) if isinstance(node, AsyncNode) else node.run(shared)


def chain(*nodes: Any) -> Any:
    """Join nodes; gives the first."""
    for one, two in itertools.pairwise(nodes):
        one >> two
    return nodes[0]


# --- the classes, before instrument() ---------------------------------------------------------------------------------


class Step(Node):
    def exec(self, prep_res: Any) -> str:
        return "done"


class Base(BaseNode):
    def exec(self, prep_res: Any) -> str:
        return "done"


class Items(BatchNode):
    def prep(self, shared: Shared) -> list[int]:
        return [1, 2]

    def exec(self, prep_res: int) -> int:
        return prep_res


class AStep(AsyncNode):
    async def exec_async(self, prep_res: Any) -> str:
        await asyncio.sleep(0)
        return "done"


class AItems(AsyncBatchNode):
    async def prep_async(self, shared: Shared) -> list[int]:
        return [1, 2]

    async def exec_async(self, prep_res: int) -> int:
        await asyncio.sleep(0)
        return prep_res


class PItems(AsyncParallelBatchNode):
    async def prep_async(self, shared: Shared) -> list[int]:
        return [1, 2]

    async def exec_async(self, prep_res: int) -> int:
        await asyncio.sleep(0)
        return prep_res


class Each(BatchFlow):
    def prep(self, shared: Shared) -> list[Shared]:
        return [{"platform": "x"}, {"platform": "y"}]


class AEach(AsyncBatchFlow):
    async def prep_async(self, shared: Shared) -> list[Shared]:
        return [{"platform": "x"}, {"platform": "y"}]


class PEach(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Shared) -> list[Shared]:
        return [{"platform": "x"}, {"platform": "y"}]


CLASSES: list[tuple[Callable[[], Any], str]] = [
    (Base, "[run tests[stage Base]]"),
    (Step, "[run tests[stage Step]]"),
    (Items, "[run tests[stage Items]]"),
    (AStep, "[run tests[stage AStep]]"),
    (AItems, "[run tests[stage AItems]]"),
    (PItems, "[run tests[stage PItems]]"),
    (lambda: Flow(chain(Step(), Items(), Base())), "[run tests[stage Step, stage Items, stage Base]]"),
    (lambda: Each(chain(Step(), Items())), "[run Each[stage Step, stage Items, stage Step, stage Items]]"),
    (
        lambda: AsyncFlow(chain(Step(), AStep(), AItems(), PItems())),
        "[run tests[stage Step, stage AStep, stage AItems, stage PItems]]",
    ),
    (lambda: AEach(AStep()), "[run AEach[stage AStep, stage AStep]]"),
    (lambda: PEach(chain(AStep(), Step())), "[run PEach[stage AStep, stage AStep, stage Step, stage Step]]"),
    (
        lambda: Flow(chain(Step(), Each(Flow(Step())), Flow(chain(Step(), Each(Items()))))),
        (
            "[run tests[stage Step, stage Each[stage Flow[stage Step], stage Flow[stage Step]], "
            "stage Flow[stage Step, stage Each[stage Items, stage Items]]]]"
        ),
    ),
    (
        lambda: AsyncFlow(chain(AsyncFlow(AStep()), Flow(Step()), PEach(AsyncFlow(AStep())))),
        (
            "[run tests[stage AsyncFlow[stage AStep], stage Flow[stage Step], "
            "stage PEach[stage AsyncFlow[stage AStep], stage AsyncFlow[stage AStep]]]]"
        ),
    ),
]


@pytest.mark.parametrize("treat", [lambda node: node, copy.deepcopy], ids=["as made", "copied"])
@pytest.mark.parametrize(("make", "tree"), CLASSES, ids=[tree for _, tree in CLASSES])
def test_every_class_gives_its_tree(
    telemetry: Telemetry, instrument: Instrument, make: Callable[[], Any], tree: str, treat: Callable[[Any], Any]
) -> None:
    made = make()
    instrument()
    run(treat(made))
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == tree
    assert {span.status.status_code.name for span in telemetry.spans()} == {"UNSET"}
    visits = telemetry.spans("stage")
    assert all((span.attributes or {})["otel_progress.stage.result"] == "success" for span in visits)
    assert sum(count for _, (_, count) in telemetry.points("otel_progress.stage.duration")) == len(visits)
    assert telemetry.recorder.registry.runs() == []


# --- overriding, with and without super -------------------------------------------------------------------------------


class RunSuper(Step):
    def _run(self, shared: Shared) -> Any:
        return super()._run(shared)


class RunAlone(Step):
    def _run(self, shared: Shared) -> Any:
        return "own"


class ExecSuper(Step):
    def _exec(self, prep_res: Any) -> Any:
        return super()._exec(prep_res)

    def exec(self, prep_res: Any) -> str:
        return super().exec(prep_res)


class OwnRetry(Step):
    def _exec(self, prep_res: Any) -> Any:
        for _ in range(3):
            try:
                return self.exec(prep_res)
            except ValueError:
                continue
        return None

    def exec(self, prep_res: Any) -> str:
        raise ValueError


class ARunSuper(AStep):
    async def _run_async(self, shared: Shared) -> Any:
        return await super()._run_async(shared)


class ARunAlone(AStep):
    async def _run_async(self, shared: Shared) -> Any:
        return "own"


class Awaitable(AStep):
    def _run_async(self, shared: Shared) -> Any:
        return super()._run_async(shared)


class OrchSuper(Flow):
    def _orch(self, shared: Shared, params: Any = None) -> Any:
        return super()._orch(shared, params)


class OrchAlone(Flow):
    def _orch(self, shared: Shared, params: Any = None) -> Any:
        return self.start_node._run(shared)  # type: ignore[union-attr]


class FlowRunAlone(Flow):
    def _run(self, shared: Shared) -> Any:
        return self._orch(shared)


class AOrchSuper(AsyncFlow):
    async def _orch_async(self, shared: Shared, params: Any = None) -> Any:
        return await super()._orch_async(shared, params)


class EachOrchSuper(Each):
    def _orch(self, shared: Shared, params: Any = None) -> Any:
        return super()._orch(shared, params)


@pytest.mark.parametrize(
    ("make", "tree"),
    [
        (RunSuper, "[run tests[stage RunSuper]]"),
        (RunAlone, "[run tests[stage RunAlone]]"),
        (ExecSuper, "[run tests[stage ExecSuper]]"),
        (OwnRetry, "[run tests[stage OwnRetry[attempt 1, attempt 2, attempt 3]]]"),
        (ARunSuper, "[run tests[stage ARunSuper]]"),
        (ARunAlone, "[run tests[stage ARunAlone]]"),
        (Awaitable, "[run tests[stage Awaitable]]"),
        (lambda: OrchSuper(Step()), "[run OrchSuper[stage Step]]"),
        (lambda: OrchAlone(Step()), "[run OrchAlone[stage Step]]"),
        (lambda: FlowRunAlone(Step()), "[run FlowRunAlone[stage Step]]"),
        (lambda: AOrchSuper(AStep()), "[run AOrchSuper[stage AStep]]"),
        (lambda: EachOrchSuper(Step()), "[run EachOrchSuper[stage Step, stage Step]]"),
        (
            lambda: Flow(EachOrchSuper(Step())),
            "[run tests[stage EachOrchSuper[stage Step, stage Step]]]",
        ),
    ],
)
@pytest.mark.parametrize("later", [False, True], ids=["defined before", "defined after"])
def test_overridden_methods(
    telemetry: Telemetry, instrument: Instrument, make: Callable[[], Any], tree: str, later: bool
) -> None:
    instrument()
    made = make()
    if later and isinstance(make, type):
        made = type(
            make.__name__, (make,), {name: vars(make)[name] for name in ("_run", "_exec") if name in vars(make)}
        )()
    if later and not isinstance(make, type):
        made = type(type(made).__name__, (type(made),), {})(made.start_node)
    run(made)
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == tree
    for span in telemetry.spans("stage Each"):
        assert (span.attributes or {})["otel_progress.stage.items.done"] == 2


# --- names ------------------------------------------------------------------------------------------------------------


class Named(Node):
    name = "by class"


class Proxy(Node):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"proxied {name}"


def test_a_name_is_the_nodes_own_or_its_classs(telemetry: Telemetry, instrument: Instrument) -> None:
    instrument()
    own, other, odd = Step(), Step(), Step()
    own.name = "own"  # type: ignore[attr-defined]
    other.node_name = "other"  # type: ignore[attr-defined]
    odd.name = 7  # type: ignore[attr-defined]
    flow = Flow(chain(own, other, odd, Named(), Proxy()))
    flow.name = "campaign"  # type: ignore[attr-defined]
    run(flow)
    assert repr(telemetry.trees()) == (
        "[run campaign[stage own, stage other, stage Step, stage by class, stage Proxy]]"
    )


def test_a_decorator_names_its_class_and_one_visit_stays_one(telemetry: Telemetry, instrument: Instrument) -> None:
    @stage("before", budget="1m")
    class Before(Step):
        pass

    instrument()

    @stage("after")
    class After(Step):
        def exec(self, prep_res: Any) -> str:
            return super().exec(prep_res)

    class Child(After):
        def _run(self, shared: Shared) -> Any:
            return super()._run(shared)

    shared: Shared = {}
    run(Flow(chain(Before(), After(), Child())), shared)
    assert repr(telemetry.trees()) == "[run tests[stage before, stage after, stage after]]"
    assert {name: entry["visits"] for name, entry in shared["progress_metrics"].items()} == {"before": 1, "after": 2}
    assert [(span.attributes or {})["otel_progress.stage.attempts"] for span in telemetry.spans("stage")] == [1, 1, 1]


def test_a_tracker_is_no_stage_and_counts_nothing_twice(telemetry: Telemetry, instrument: Instrument) -> None:
    class Next(Node):
        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
            shared["workflow_state"] = {"current_stage": "Step"}

    instrument()
    shared: Shared = {}
    run(
        Flow(chain(Next(), ProgressTrackerNode(), Step(), ProgressTrackerNode(), ProgressTrackerNode(final=True))),
        shared,
    )
    assert repr(telemetry.trees()) == "[run tests[stage Next, stage Step]]"
    assert {name: entry["visits"] for name, entry in shared["progress_metrics"].items()} == {"Next": 1, "Step": 1}


def test_a_tracker_and_a_class_that_spell_a_stage_differently_are_one(
    telemetry: Telemetry, instrument: Instrument
) -> None:
    class FactCheckNode(Node):
        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
            shared["workflow_state"] = {"current_stage": "next_up"}

    class NextUp(Node):
        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
            shared["workflow_state"] = {"current_stage": "Next-Up"}

    instrument()
    shared: Shared = {"workflow_state": {"current_stage": "fact_check"}}
    nodes = (ProgressTrackerNode(), FactCheckNode(), NextUp(), ProgressTrackerNode(), FactCheckNode())
    run(Flow(chain(*nodes)), shared)
    assert repr(telemetry.trees()) == "[run tests[stage fact_check, stage NextUp, stage fact_check]]"
    visits = {name: entry["visits"] for name, entry in shared["progress_metrics"].items()}
    assert visits == {"fact_check": 2, "NextUp": 1}


def test_names_that_decorators_give_stay_apart(telemetry: Telemetry) -> None:
    with workflow("w"), stage("draft"), stage("Draft"), stage("draft_"):
        pass
    assert repr(telemetry.trees()) == "[run w[stage draft[stage Draft[stage draft_]]]]"


def test_a_workflow_block_around_a_flow_is_its_run(telemetry: Telemetry, instrument: Instrument) -> None:
    instrument()
    shared: Shared = {}
    with workflow("campaign", shared=shared):
        run(Flow(chain(Step(), Flow(Step()))), shared)
        run(Each(Step()), shared)
        with stage("around"):
            run(Flow(Step()), shared)
    assert repr(telemetry.trees()) == (
        "[run campaign[stage Step, stage Flow[stage Step], stage Step, stage Step, "
        "stage around[stage Flow[stage Step]]]]"
    )


def test_workflow_on_a_class_is_the_run_once(telemetry: Telemetry, instrument: Instrument) -> None:
    @workflow("decorated")
    class Decorated(Flow):
        pass

    instrument()
    run(Decorated(Flow(Step())))
    assert repr(telemetry.trees()) == "[run decorated[stage Flow[stage Step]]]"


# --- what a visit tells -----------------------------------------------------------------------------------------------


def test_the_params_of_a_batch_flow_name_the_platform(telemetry: Telemetry, instrument: Instrument) -> None:
    instrument()
    shared: Shared = {}
    run(Flow(Each(chain(Step(), Items()))), shared)
    platforms = [
        (span.name, (span.attributes or {})["otel_progress.item.platform"])
        for span in telemetry.spans("stage")
        if span.name != "stage Each"
    ]
    assert platforms == [("stage Step", "x"), ("stage Items", "x"), ("stage Step", "y"), ("stage Items", "y")]
    labels = {"workflow.name": "tests", "result": "success"}
    assert sorted(telemetry.points("otel_progress.stage.items"), key=str) == sorted(
        (
            ({**labels, "stage.name": name, "item.platform": platform}, count)
            for name, count in (("Each", 1), ("Items", 2))
            for platform in "xy"
        ),
        key=str,
    )
    metrics = shared["progress_metrics"]
    assert (metrics["Each"]["items_done"], metrics["Each"]["items_total"]) == (2, 2)
    assert (metrics["Step"]["platforms"], metrics["Step"]["visits"]) == (2, 2)
    assert {attributes["visit"] for attributes, _ in telemetry.points("otel_progress.stage.duration")} == {"first"}


def test_another_key_may_name_the_platform(telemetry: Telemetry, instrument: Instrument) -> None:
    class Channels(BatchFlow):
        def prep(self, shared: Shared) -> list[Shared]:
            return [{"channel": "mail"}]

    instrument(platform_key="channel")
    run(Channels(Step()))
    assert (telemetry.span("stage Step").attributes or {})["otel_progress.item.platform"] == "mail"


def test_overlapping_visits_of_a_parallel_batch_flow(telemetry: Telemetry, instrument: Instrument) -> None:
    both = asyncio.Event()
    inside: list[str] = []

    class Meet(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            inside.append(str(self.params["platform"]))
            if len(inside) == 2:
                assert telemetry.points("otel_progress.stage.active")[0][1] == 2
                entry = shared["progress_metrics"]["Meet"]
                assert (entry["visits"], entry["completed"], "end_time" in entry) == (2, False, False)
                both.set()
            await both.wait()

    instrument()
    shared: Shared = {}
    run(PEach(Meet()), shared)
    entry = shared["progress_metrics"]["Meet"]
    assert (entry["visits"], entry["completed"], entry["platforms"]) == (2, True, 2)
    assert telemetry.points("otel_progress.stage.active") == [({"workflow.name": "PEach", "stage.name": "Meet"}, 0)]


def test_the_items_of_a_batch_flow_that_fail(telemetry: Telemetry, instrument: Instrument) -> None:
    class Picky(Node):
        def exec(self, prep_res: Any) -> None:
            if self.params["platform"] == "y":
                raise ValueError("y")

    instrument()
    shared: Shared = {}
    with pytest.raises(ValueError, match="y"):
        run(Flow(Each(Picky())), shared)
    attributes = telemetry.span("stage Each").attributes or {}
    assert (
        attributes["otel_progress.stage.items.done"],
        attributes["otel_progress.stage.items.failed"],
        attributes["otel_progress.stage.items.total"],
    ) == (1, 1, 2)
    assert (telemetry.span("run tests").attributes or {})["otel_progress.result"] == "failure"
    assert [event.name for span in telemetry.spans() for event in span.events] == ["exception"]


def test_the_action_and_a_dead_end(telemetry: Telemetry, instrument: Instrument) -> None:
    class Says(Node):
        def __init__(self, action: Any) -> None:
            super().__init__()
            self.action = action

        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
            return self.action

    first, second = Says("go"), Says(404)
    first - "go" >> second
    second - "found" >> Step()
    instrument()
    with pytest.warns(UserWarning, match="Flow ends"):
        run(Flow(first))
    actions = [(span.attributes or {})["otel_progress.stage.action"] for span in telemetry.spans("stage")]
    assert actions == ["go", "404"]
    (event,) = telemetry.span("run tests").events
    assert (event.name, dict(event.attributes or {})) == (
        "dead_end",
        {"otel_progress.stage.name": "Says", "otel_progress.stage.action": "404"},
    )
    assert telemetry.points("otel_progress.flow.dead_ends") == [({"workflow.name": "tests", "stage.name": "Says"}, 1)]


def test_the_end_of_a_flow_is_no_dead_end(telemetry: Telemetry, instrument: Instrument) -> None:
    instrument()
    run(Flow(chain(Step(), Step())))
    assert telemetry.points("otel_progress.flow.dead_ends") == []


def test_retries_fallback_and_wait(
    telemetry: Telemetry, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shaky(AsyncNode):
        async def exec_async(self, prep_res: Any) -> str:
            raise ConnectionError

        async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> str:
            return "instead"

    async def sleep(seconds: float) -> None:
        telemetry.time.passes(seconds)

    monkeypatch.setattr("pocketflow.asyncio", types.SimpleNamespace(sleep=sleep))
    instrument()
    run(AsyncFlow(Shaky(max_retries=3, wait=2)))
    assert repr(telemetry.trees()) == "[run tests[stage Shaky[attempt 1, attempt 2, attempt 3]]]"
    attributes = telemetry.span("stage Shaky").attributes or {}
    assert attributes["otel_progress.stage.result"] == "fallback"
    assert attributes["otel_progress.stage.wait"] == 4.0
    assert attributes["otel_progress.stage.attempts"] == 3
    assert [value for _, value in telemetry.points("otel_progress.stage.retries")] == [2]
    assert (telemetry.span("run tests").attributes or {})["otel_progress.result"] == "success"


def test_max_retries_zero_never_calls_exec(telemetry: Telemetry, instrument: Instrument) -> None:
    instrument()
    run(Flow(Step(max_retries=0)))
    assert (telemetry.span("stage Step").attributes or {})["otel_progress.stage.attempts"] == 0


def test_versions_of_a_visit(telemetry: Telemetry, instrument: Instrument) -> None:
    class Keeps(Node):
        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
            history = shared.setdefault("version_history", [])
            history.append({"version_id": f"v{len(history) + 1}", "action": "kept", "content_pieces": {"x": "secret"}})

    instrument()
    shared: Shared = {}
    run(Flow(chain(Keeps(), Keeps())), shared)
    assert shared["progress_metrics"]["Keeps"]["versions"] == ["v1", "v2"]
    assert [[event.name for event in span.events] for span in telemetry.spans("stage")] == [["version"], ["version"]]


@pytest.mark.parametrize(
    ("detail", "tree"),
    [
        ("phases", "[run Each[stage Items[prep, exec, post], stage Items[prep, exec, post]]]"),
        ("items", "[run Each[item[stage Items[item, item]], item[stage Items[item, item]]]]"),
        (
            "all",
            "[run Each[" + ", ".join(["item[stage Items[prep, exec[item, item], post]]"] * 2) + "]]",
        ),
    ],
)
def test_detail(telemetry: Telemetry, instrument: Instrument, detail: str, tree: str) -> None:
    instrument(detail=detail)
    run(Each(Items()))
    assert repr(telemetry.trees()) == tree


# --- concurrency ------------------------------------------------------------------------------------------------------


def test_one_flow_in_many_threads_and_tasks(telemetry: Telemetry, instrument: Instrument) -> None:
    instrument()
    step = Step()
    flow, aflow = Flow(chain(step, Flow(Step()))), AsyncFlow(chain(AStep(), AsyncFlow(AStep())))
    threads = [threading.Thread(target=flow.run, args=({},)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def all_at_once() -> None:
        await asyncio.gather(*(aflow.run_async({}) for _ in range(20)))

    asyncio.run(all_at_once())
    trees = sorted(map(repr, telemetry.trees()))
    assert (
        trees
        == ["run tests[stage AStep, stage AsyncFlow[stage AStep]]"] * 20
        + ["run tests[stage Step, stage Flow[stage Step]]"] * 20
    )
    assert len({(span.attributes or {})["otel_progress.run.id"] for span in telemetry.spans("run")}) == 40  # type: ignore[misc]


@pytest.mark.parametrize(
    ("carried", "trees"),
    [
        (False, "[run tests[stage Spawns], run tests[stage Step]]"),
        (True, "[run tests[stage Spawns[stage Flow[stage Step]]]]"),
    ],
)
def test_a_flow_that_a_node_runs_in_a_thread(
    telemetry: Telemetry, instrument: Instrument, carried: bool, trees: str
) -> None:
    class Spawns(Node):
        def prep(self, shared: Shared) -> Shared:
            return shared

        def exec(self, prep_res: Shared) -> None:
            context = contextvars.copy_context() if carried else contextvars.Context()
            thread = threading.Thread(target=context.run, args=(Flow(Step()).run, prep_res))
            thread.start()
            thread.join()

    instrument()
    run(Flow(Spawns()))
    assert repr(telemetry.trees()) == trees


# --- settings and hooks -----------------------------------------------------------------------------------------------


def test_hooks_name_stages_and_add_attributes(telemetry: Telemetry, instrument: Instrument) -> None:
    def name(node: Any) -> str | None:
        return "hooked" if isinstance(node, Items) else None

    def add(span: Span, node: Any) -> None:
        span.set_attribute("app.kind", type(node).__name__)

    @stage("mine")
    class Mine(Items):
        pass

    instrument(name_hook=name, span_hook=add)
    run(Flow(chain(Step(), Items(), Mine())))
    assert [(span.name, (span.attributes or {})["app.kind"]) for span in telemetry.spans()] == [
        ("run tests", "Flow"),
        ("stage Step", "Step"),
        ("stage hooked", "Items"),
        ("stage mine", "Mine"),
    ]


def test_hooks_that_fail_are_said_once(
    telemetry: Telemetry, instrument: Instrument, faults: Callable[[], list[str]]
) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("hook")

    instrument(name_hook=fail, span_hook=fail)
    run(Flow(chain(Step(), Step())))
    assert repr(telemetry.trees()) == "[run tests[stage Step, stage Step]]"
    assert sorted(faults()) == [
        "_HookSink.run_shown failed; the workflow goes on without it",
        "_HookSink.visit_started failed; the workflow goes on without it",
        "name_hook failed; the stage has its usual name",
    ]


@pytest.mark.parametrize(
    ("arguments", "tree"),
    [
        ({"exclude": ["It*"]}, "[run tests[stage Step]]"),
        ({"include": ["Flow", "It*"]}, "[run tests[stage Items]]"),
        ({"include": ["*s"], "exclude": ["Items"]}, "[]"),
        ({"exclude": ["Flow"]}, "[run tests[stage Step, stage Items]]"),
    ],
)
def test_stages_are_included_and_excluded_by_name(
    telemetry: Telemetry, instrument: Instrument, arguments: Any, tree: str
) -> None:
    instrument(**arguments)
    run(Flow(chain(Step(), Items())))
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == tree


def test_an_unknown_detail_is_refused(instrument: Instrument) -> None:
    with pytest.raises(ValueError, match="detail must be one of"):
        instrument(detail="everything")
    assert not PocketFlowInstrumentor().is_instrumented_by_opentelemetry
    instrument(detail="all")


def test_providers_may_be_given(telemetry: Telemetry, instrument: Instrument) -> None:
    memory, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    meters = MeterProvider([reader], shutdown_on_exit=False)
    instrumentor = instrument(tracer_provider=provider, meter_provider=meters)
    run(Flow(Step()))
    instrumentor.uninstrument()
    assert [span.name for span in memory.get_finished_spans()] == ["stage Step", "run tests"]
    assert reader.get_metrics_data() is not None
    assert telemetry.spans() == []
    with stage("a"):
        pass
    assert len(telemetry.spans("stage a")) == 1


# --- putting everything back ------------------------------------------------------------------------------------------


def snapshot(classes: list[type]) -> dict[tuple[type, str], Any]:
    return {(cls, name): value for cls in classes for name, value in vars(cls).items() if not name.startswith("__weak")}


def test_uninstrument_restores_every_attribute_of_every_class(telemetry: Telemetry, instrument: Instrument) -> None:
    classes = [value for value in vars(pocketflow).values() if isinstance(value, type)]
    classes += [RunSuper, ExecSuper, OwnRetry, ARunSuper, Each, AOrchSuper, Named]
    before = snapshot(classes)
    instrumentor = instrument()
    members: dict[str, Any] = {"_run": lambda self, shared: "own", "exec": lambda self, prep_res: 1}
    between = type("Between", (Step,), dict(members))
    assert vars(between)["_run"] is not members["_run"]
    instrumentor.uninstrument()
    assert snapshot(classes) == before
    assert {name: vars(between)[name] for name in members} == members
    run(Flow(between()))
    assert telemetry.spans() == []
    instrument()
    run(Flow(between()))
    assert repr(telemetry.trees()) == "[run tests[stage Between]]"


def test_uninstrument_leaves_a_decorated_class_its_decorator(telemetry: Telemetry, instrument: Instrument) -> None:
    instrumentor = instrument()

    @stage("kept")
    class Kept(Step):
        def exec(self, prep_res: Any) -> str:
            return "x"

    instrumentor.uninstrument()
    run(Kept())
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run tests[stage kept]]"


def test_twice_is_harmless(telemetry: Telemetry, instrument: Instrument, caplog: pytest.LogCaptureFixture) -> None:
    instrument()
    instrument()
    assert "already instrumented" in caplog.text
    run(Flow(Step()))
    assert repr(telemetry.trees()) == "[run tests[stage Step]]"
    PocketFlowInstrumentor().uninstrument()
    PocketFlowInstrumentor().uninstrument()


@pytest.fixture
def copied(tmp_path: Path) -> Generator[types.ModuleType]:
    """PocketFlow's one file, copied into a project."""
    path = tmp_path / "my_copy.py"
    path.write_text(Path(pocketflow.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("my_copy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["my_copy"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["my_copy"]


def test_a_copy_of_pocketflow(telemetry: Telemetry, instrument: Instrument, copied: Any) -> None:
    class Mine(copied.BatchNode):
        def prep(self, shared: Shared) -> list[int]:
            return [1, 2, 3]

    instrument(module=copied)
    first = Mine()
    first >> ProgressTrackerNode()
    shared: Shared = {}
    copied.Flow(first).run(shared)
    run(Flow(Step()))
    assert repr(telemetry.trees()) == "[run tests[stage Mine]]"
    assert shared["progress_metrics"]["Mine"]["items_done"] == 3
    instrument(module=pocketflow)
    run(Flow(Step()))
    assert repr(telemetry.trees()) == "[run tests[stage Mine], run tests[stage Step]]"
    before = vars(copied.BaseNode)["_run"]
    PocketFlowInstrumentor().uninstrument()
    assert vars(copied.BaseNode)["_run"] is before.__wrapped__


def test_a_module_without_the_classes_is_refused(instrument: Instrument) -> None:
    with pytest.raises(ValueError, match="json has no class BaseNode"):
        instrument(module=importlib.import_module("json"))
    assert not PocketFlowInstrumentor().is_instrumented_by_opentelemetry
