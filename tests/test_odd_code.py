"""Odd but legal code that once met a fault: each test is one that was reproduced."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import gc
import inspect
import pickle
import sys
import threading
import types
import weakref
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from pocketflow import (
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
from otel_progress.sinks.metrics import MetricSink
from otel_progress.ways.classes import WRAPPED
from otel_progress.ways.patches import Patches

from .conftest import Telemetry

Shared = dict[str, Any]


@pytest.fixture
def instrumented(telemetry: Telemetry) -> Generator[PocketFlowInstrumentor]:
    """PocketFlow, recorded."""
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument()
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def attributes(telemetry: Telemetry, span: str) -> Any:
    return telemetry.span(span).attributes or {}


# --- pickled by value -------------------------------------------------------------------------------------------------


def held_by(function: types.FunctionType, seen: set[int]) -> list[Any]:
    """What has to be pickled where a function is pickled by value, as cloudpickle does: no functions, no classes."""
    if id(function) in seen:
        return []
    seen.add(id(function))
    found = [each.cell_contents for each in function.__closure__ or ()]
    names = [name for name in function.__code__.co_names if name.startswith("__")]
    found += [function.__globals__[name] for name in names if name in function.__globals__]
    found += vars(function).get(WRAPPED, ())
    inner = [each for some in found if inspect.isfunction(some) for each in held_by(some, seen)]
    return [each for each in found if not inspect.isfunction(each) and not inspect.isclass(each)] + inner


def test_a_class_can_be_pickled_by_value(instrumented: PocketFlowInstrumentor) -> None:
    class Draft(Node):
        def exec(self, prep_res: Any) -> None: ...

    class Publish(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None: ...

    @stage("check")
    class Check(Node): ...

    methods = [vars(cls)[name] for cls, name in ((Draft, "exec"), (Publish, "exec_async"), (Check, "post"))]
    held = [each for method in methods for each in held_by(method, set())]
    arrived = [pickle.loads(pickle.dumps(each)) for each in held]
    assert len({each for each in held if isinstance(each, Patches)}) == 2  # The instrumentor's, and the decorators'.
    assert arrived == held  # In this process it is the same that records them.
    instrumented.uninstrument()
    draft = next(each for each in held if isinstance(each, Patches))
    told = pickle.dumps(draft)
    del held, arrived, methods, draft
    gc.collect()
    assert isinstance(pickle.loads(told), Patches)  # Where nothing is instrumented too.


# --- locks ------------------------------------------------------------------------------------------------------------


def test_the_garbage_collector_may_end_a_stage_anywhere(telemetry: Telemetry) -> None:
    @stage("g")
    def steps(shared: Shared) -> Generator[None, list[Any]]:
        me = yield
        yield
        assert me

    shared: Shared = {}
    before = gc.get_threshold()
    gc.set_threshold(50, 5, 5)
    try:
        with workflow("w", shared=shared):
            for _ in range(3000):
                one = steps(shared)
                next(one)
                one.send([one])  # A cycle.
                del one
    finally:
        gc.set_threshold(*before)
    assert shared["progress_metrics"]["g"]["visits"] == 3000


only_where_the_collector_disturbs = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="the collector does not run inside of ContextVar.set any more"
)


@only_where_the_collector_disturbs
def test_what_the_garbage_collector_frees_leaves_the_current_context_alone(telemetry: Telemetry) -> None:
    seen: list[tuple[Any, Any]] = []

    class Session:
        def __del__(self) -> None:
            before = contextvars.copy_context()
            with stage("close session"):
                seen.append((before, contextvars.copy_context()))

    session: Any = Session()
    session.me = session  # A cycle: only the collector frees it.
    with workflow("w"):
        del session
        gc.collect()
        with stage("after"):
            pass
    (during,) = seen
    assert dict(during[0].items()) == dict(during[1].items())
    assert telemetry.span("stage close session").parent == telemetry.span("stage after").parent


class Noting(SpanProcessor):
    """Leaves another context current at every end of a span."""

    def on_end(self, span: ReadableSpan) -> None:
        """Leave it."""
        context.attach(context.set_value("ended", span.name))


@only_where_the_collector_disturbs
def test_what_another_thread_does_while_the_garbage_collector_waits_is_recorded_as_ever(telemetry: Telemetry) -> None:
    collects, may_go_on = threading.Event(), threading.Event()

    class Session:
        def __del__(self) -> None:
            collects.set()
            may_go_on.wait(30)

    def collect() -> None:
        session: Any = Session()
        session.me = session
        del session
        gc.collect()

    thread = threading.Thread(target=collect)
    telemetry.tracer_provider.add_span_processor(Noting())
    with workflow("w"):
        thread.start()
        assert collects.wait(30)
        with stage("outer"):
            inside = trace.get_current_span().get_span_context()
            with stage("inner"):
                pass
        behind, noted = trace.get_current_span().get_span_context(), context.get_value("ended")
        may_go_on.set()
        thread.join(30)
    assert telemetry.span("stage inner").parent == telemetry.span("stage outer").context == inside
    assert telemetry.span("run w").context == behind
    assert noted == "stage outer"


@only_where_the_collector_disturbs
def test_what_is_current_when_the_garbage_collector_ends_a_stage_stays_so(telemetry: Telemetry) -> None:
    telemetry.tracer_provider.add_span_processor(Noting())
    opened = stage("session")
    seen: list[tuple[Any, Any]] = []

    class Session:
        def __init__(self) -> None:
            self.me = self  # As above.
            opened.__enter__()

        def __del__(self) -> None:
            before = contextvars.copy_context()
            opened.__exit__(None, None, None)
            seen.append((before, contextvars.copy_context()))

    def work() -> None:
        with workflow("w"):
            Session()
            gc.collect()

    contextvars.copy_context().run(work)
    (during,) = seen
    assert dict(during[0].items()) == dict(during[1].items())
    assert telemetry.spans("stage session")


def test_a_store_may_open_a_stage_when_it_is_freed(telemetry: Telemetry) -> None:
    class Session:
        def __del__(self) -> None:
            with stage("close session"):
                pass

    def use() -> workflow:
        opened = workflow("w", shared={"session": Session()})
        opened.__enter__()
        opened.shared = None
        return opened

    use().__exit__(None, None, None)
    gc.collect()
    assert len(telemetry.spans("stage close session")) == 1


def test_one_object_entered_by_many_threads(telemetry: Telemetry) -> None:
    draft = stage("x")
    faults: list[BaseException] = []
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work() -> None:
        try:
            for _ in range(300):
                with draft:
                    pass
        except BaseException as error:
            faults.append(error)

    try:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert faults == []
    assert telemetry.recorder.registry.visits() == []
    assert len(telemetry.spans("stage x")) == 2400


# --- classes ----------------------------------------------------------------------------------------------------------


def test_methods_that_are_no_plain_functions_stay_what_they_are(instrumented: PocketFlowInstrumentor) -> None:
    class Static(Node):
        @staticmethod
        def exec(prep_res: Any) -> Any:
            return prep_res

        @classmethod
        def post(cls, shared: Shared, prep_res: Any, exec_res: Any) -> str:
            return cls.__name__

    class Child(Static):
        pass

    class Says:
        def __call__(self, prep_res: Any) -> str:
            return "object"

    class Object(Node):
        exec: Any = Says()

        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    class Helper(Node):
        def exec_async(self, prep_res: Any) -> str:
            return "helper"

        def exec(self, prep_res: Any) -> str:
            return self.exec_async(prep_res)

        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    assert Static.exec(5) == 5
    assert Child.post({}, 2, 3) == "Child"
    assert [cls().run({}) for cls in (Static, Child, Object, Helper)] == ["Static", "Child", "object", "helper"]


def test_a_method_set_to_none_fails_as_it_would_have(telemetry: Telemetry) -> None:
    @stage("b")
    class Broken(Node):
        exec_fallback: Any = None

        def exec(self, prep_res: Any) -> None:
            raise ValueError

    with pytest.raises(TypeError, match="NoneType"):
        Broken().run({})


def test_async_nodes_by_another_name(telemetry: Telemetry) -> None:
    class Base:
        async def prep(self, shared: Shared) -> None: ...

        async def _run(self, shared: Shared) -> str:
            await asyncio.sleep(0)
            telemetry.time.passes(10)
            with stage("inner"):
                return "done"

    @stage("outer")
    class Other(Base):
        pass

    @stage("stream")
    class Stream(AsyncNode):
        async def exec_async(self, prep_res: Any) -> AsyncIterator[int]:
            for number in range(3):
                yield number

        async def _run_async(self, shared: Shared) -> list[int]:
            return [number async for number in self.exec_async(None)]

    shared: Shared = {}
    assert asyncio.run(Other()._run(shared)) == "done"
    assert asyncio.run(Stream().run_async({})) == [0, 1, 2]
    assert shared["progress_metrics"]["outer"]["seconds"] == 10.0
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run tests[stage outer[stage inner]], run tests[stage stream]]"


def test_a_metaclass_that_answers_everything(instrumented: PocketFlowInstrumentor) -> None:
    class Answers(type):
        def __getattr__(cls, name: str) -> Any:
            return f"answered {name}"

    class Odd(Node, metaclass=Answers):
        def exec(self, prep_res: Any) -> int:
            return 1

        def post(self, shared: Shared, prep_res: Any, exec_res: int) -> int:
            return exec_res

    assert Odd().run({}) == 1


def test_a_class_that_is_built_anew_after_the_decorator(telemetry: Telemetry) -> None:
    @dataclasses.dataclass(slots=True)
    @stage("x")
    class Slotted(Node):
        number: int = 1

        def __post_init__(self) -> None:
            Node.__init__(self)

        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> int:
            return self.number

    class Child(Slotted):
        pass

    assert (Slotted().run({}), Child(2).run({})) == (1, 2)
    assert len(telemetry.spans("stage x")) == 2


def test_a_class_that_cannot_be_changed_keeps_the_others_recorded(
    telemetry: Telemetry, faults: Callable[[], list[str]]
) -> None:
    class Sealing(type):
        def __setattr__(cls, name: str, value: Any) -> None:
            raise TypeError("sealed")

    class Sealed(Node, metaclass=Sealing):
        def exec(self, prep_res: Any) -> int:
            return 1

    class Later(Node):
        def exec(self, prep_res: Any) -> int:
            return 2

    PocketFlowInstrumentor().instrument()
    try:
        first = Sealed()
        first >> Later()
        Flow(first).run({})
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert repr(telemetry.trees()) == "[run tests[stage Sealed, stage Later]]"
    assert faults() == ["Sealed cannot be recorded"]


def test_uninstrument_leaves_what_others_have_changed(
    telemetry: Telemetry, instrumented: PocketFlowInstrumentor
) -> None:
    class Patched(Node):
        def exec(self, prep_res: Any) -> str:
            return "old"

        def post(self, shared: Shared, prep_res: Any, exec_res: str) -> str:
            return exec_res

    Patched.exec = lambda self, prep_res: "new"  # type: ignore[method-assign]
    sink = telemetry.recorder.sinks[0]
    telemetry.recorder.sinks.remove(sink)
    instrumented.uninstrument()
    assert Patched().run({}) == "new"
    assert sink not in telemetry.recorder.sinks


def test_a_class_can_be_freed(telemetry: Telemetry, instrumented: PocketFlowInstrumentor) -> None:
    def make(decorate: bool) -> weakref.ref[type]:
        class Made(Node):
            def prep(self, shared: Shared) -> Any:
                return super().prep(shared)

        if decorate:
            stage("made")(Made)
        Made().run({})
        return weakref.ref(Made)

    made = [make(True), make(False)]
    gc.collect()
    assert [each() for each in made] == [None, None]


# --- generators, coroutines and context -------------------------------------------------------------------------------


def test_a_closed_generator_frees_its_arguments_at_once(telemetry: Telemetry) -> None:
    class Big:
        pass

    @stage("g")
    def steps(big: Big) -> Generator[int]:
        try:
            yield 1
        except ValueError:
            yield 2

    gc.disable()
    try:
        for leave in (lambda g: g.close(), lambda g: g.throw(ValueError())):
            big = Big()
            gone = weakref.ref(big)
            one = steps(big)
            next(one)
            leave(one)
            del one, big
            assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_generator_makes_current_stays_so_inside(telemetry: Telemetry, is_async: bool) -> None:
    tracer = telemetry.tracer_provider.get_tracer("llm")

    @stage("g")
    def steps() -> Generator[int]:
        with tracer.start_as_current_span("llm"):
            yield 1
            with tracer.start_as_current_span("http"):
                pass
            yield 2

    @stage("g")
    async def steps_async() -> AsyncIterator[int]:
        with tracer.start_as_current_span("llm"):
            yield 1
            with tracer.start_as_current_span("http"):
                pass
            yield 2

    async def use() -> None:
        async for _ in steps_async():
            assert context.get_current() == {}

    if is_async:
        asyncio.run(use())
    else:
        for _ in steps():
            assert context.get_current() == {}
    assert repr(telemetry.trees()) == "[run tests[stage g[llm[http]]]]"


def test_what_a_node_attaches_reaches_the_next(telemetry: Telemetry, instrumented: PocketFlowInstrumentor) -> None:
    class Sets(Node):
        def prep(self, shared: Shared) -> None:
            context.attach(baggage.set_baggage("user", "bob"))

    class Gets(Node):
        def prep(self, shared: Shared) -> None:
            shared["user"] = baggage.get_baggage("user")

    def use() -> Shared:
        first = Sets()
        first >> Gets()
        shared: Shared = {}
        Flow(first).run(shared)
        shared["after"] = baggage.get_baggage("user")
        return shared

    shared = __import__("contextvars").copy_context().run(use)
    assert (shared["user"], shared["after"]) == ("bob", "bob")
    assert repr(telemetry.trees()) == "[run tests[stage Sets, stage Gets]]"


def test_coroutine_functions_of_other_kinds(telemetry: Telemetry) -> None:
    @stage("old")
    @types.coroutine
    def old() -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0).__await__()
        return 1

    class Callable_:
        async def __call__(self) -> int:
            await asyncio.sleep(0)
            telemetry.time.passes(3)
            return 2

    called = stage("object")(Callable_())

    async def use() -> list[int]:
        return [await old(), await called()]

    assert asyncio.run(use()) == [1, 2]
    span = telemetry.span("stage object")
    assert (span.end_time or 0) - (span.start_time or 0) == 3_000_000_000


# --- exceptions and names ---------------------------------------------------------------------------------------------


def test_an_exception_without_a_text_ends_its_spans(telemetry: Telemetry, faults: Callable[[], list[str]]) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(Mute), workflow("w"), stage("a"):
        raise Mute
    assert repr(telemetry.trees()) == "[run w[stage a]]"
    assert telemetry.span("stage a").status.description is None
    assert faults() == []


def test_a_second_exception_is_not_taken_for_the_first(telemetry: Telemetry) -> None:
    def fail(number: int) -> None:
        raise ValueError(number)

    def both() -> None:
        with stage("outer"):
            try:
                with stage("inner"):
                    fail(1)
            except ValueError:
                pass
            fail(2)

    for _ in range(20):
        with pytest.raises(ValueError, match="2"):
            both()
    assert [len(span.events) for span in telemetry.spans("stage outer")] == [1] * 20


def test_no_name_or_message_can_break_the_export(telemetry: Telemetry) -> None:
    with pytest.raises(ValueError), stage("bad \udcff"):
        raise ValueError("worse \udcff")
    assert encode_spans(telemetry.spans()).ByteSize() > 0


def test_a_text_that_a_node_returns_is_no_action(telemetry: Telemetry, instrumented: PocketFlowInstrumentor) -> None:
    class Letter(Node):
        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> str:
            return "Dear customer, here is your secret"

    Letter().run({})
    telemetry.recorder.close()
    assert "secret" not in "".join(span.to_json() for span in telemetry.spans())


# --- counts -----------------------------------------------------------------------------------------------------------


def test_items_that_run_on_after_a_failure_are_not_counted_twice(
    telemetry: Telemetry, instrumented: PocketFlowInstrumentor
) -> None:
    class Parallel(AsyncParallelBatchNode):
        async def prep_async(self, shared: Shared) -> list[int]:
            return [0, 1, 2, 3]

        async def exec_async(self, prep_res: int) -> int:
            if prep_res == 0:
                raise ValueError
            await failed.wait()
            ended.append(prep_res)
            return prep_res

    failed = asyncio.Event()
    ended: list[int] = []

    async def use() -> None:
        with pytest.raises(ValueError):
            await AsyncFlow(Parallel()).run_async({})
        failed.set()
        while len(ended) < 3:
            await asyncio.sleep(0)

    asyncio.run(use())
    found = attributes(telemetry, "stage Parallel")
    assert (found["otel_progress.stage.items.failed"], found["otel_progress.stage.items.done"]) == (4, 0)
    points = {labels["result"]: value for labels, value in telemetry.points("otel_progress.stage.items")}
    assert points == {"failure": 1, "abandoned": 3}


def test_the_next_item_of_a_custom_loop_is_no_retry(telemetry: Telemetry, instrumented: PocketFlowInstrumentor) -> None:
    class Loop(BatchNode):
        def prep(self, shared: Shared) -> list[str]:
            return ["a", "b", "c", "d"]

        def _exec(self, items: Any) -> None:
            for item in items:
                try:
                    self.exec(item)
                except ValueError:
                    continue

        def exec(self, prep_res: str) -> None:
            if prep_res in "ab":
                raise ValueError

    shared: Shared = {}
    Loop().run(shared)
    found = attributes(telemetry, "stage Loop")
    assert (found["otel_progress.stage.items.failed"], found["otel_progress.stage.items.done"]) == (2, 2)
    assert shared["progress_metrics"]["Loop"]["retries"] == 0


def test_items_are_told_apart_by_what_they_are(telemetry: Telemetry, instrumented: PocketFlowInstrumentor) -> None:
    class Leaf(Node):
        pass

    class Each(BatchFlow):
        def prep(self, shared: Shared) -> Any:
            return ({"doc": {"number": number, "tags": ["a"]}} for number in (0, 1, 2, 3, 0))

    Each(Leaf()).run({})
    visits = [(span.attributes or {})["otel_progress.stage.visit"] for span in telemetry.spans("stage Leaf")]
    assert visits == [1, 1, 1, 1, 2]


def test_a_stage_inside_an_overridden_run_is_inside_its_visit(
    telemetry: Telemetry, instrumented: PocketFlowInstrumentor
) -> None:
    class Around(Node):
        def _run(self, shared: Shared) -> Any:
            with stage("around"):
                return super()._run(shared)

    Around().run({})
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run tests[stage Around[stage around]]]"
    assert attributes(telemetry, "stage Around")["otel_progress.stage.attempts"] == 1


def test_a_repeat_after_a_save_and_a_load_is_a_repeat(telemetry: Telemetry) -> None:
    shared: Shared = {}
    with stage("a", shared=shared):
        pass
    telemetry.recorder._forked()  # As another process sees it.
    with stage("a", shared=dict(shared)):
        pass
    assert [(span.attributes or {})["otel_progress.stage.visit"] for span in telemetry.spans("stage a")] == [1, 2]


def test_a_last_tracker_that_has_nothing_to_close_makes_no_run(telemetry: Telemetry) -> None:
    shared: Shared = {}
    ProgressTrackerNode(final=True).run(shared)
    assert shared == {}
    assert telemetry.recorder.registry.runs() == []


def test_many_flows_of_trackers_at_once_keep_their_stages(telemetry: Telemetry) -> None:
    stores: list[Shared] = [{"workflow_state": {"current_stage": "a"}} for _ in range(300)]
    for store in stores:
        ProgressTrackerNode().run(store)
    for store in stores:
        ProgressTrackerNode(final=True).run(store)
    assert all(store["progress_metrics"]["a"]["completed"] for store in stores)
    assert telemetry.recorder.registry.runs() == []


def test_an_argument_that_only_has_the_name_is_no_store(telemetry: Telemetry) -> None:
    @stage("load")
    def load(number: int, shared: bool = True) -> int:
        return number

    assert [load(1, shared=True), load(2, True)] == [1, 2]
    assert repr(telemetry.trees()) == "[run tests[stage load], run tests[stage load]]"


def test_budgets_are_bounded(telemetry: Telemetry) -> None:
    budgeted = stage("a", budget="1m")
    for number in range(1100):
        with workflow(f"user {number}"), budgeted:
            pass
    assert [len(each.budgets) for each in telemetry.recorder.sinks if isinstance(each, MetricSink)] == [1000]


def test_a_flow_in_a_workflow_block_is_let_go(telemetry: Telemetry, instrumented: PocketFlowInstrumentor) -> None:
    class Mine(Flow):
        pass

    with workflow("w"):
        flow = Mine(BaseNode())
        gone = weakref.ref(flow)
        flow.run({})
        del flow
        assert gone() is None


def test_methods_of_a_plain_mixin(telemetry: Telemetry, instrumented: PocketFlowInstrumentor) -> None:
    class Mixin:
        def exec(self, prep_res: Any) -> None:
            raise ValueError

    class Runs:
        def _run(self, shared: Shared) -> str:
            return "own"

    class Mixed(Mixin, Node):
        def exec_fallback(self, prep_res: Any, exc: Exception) -> int:
            return 1

    class Alone(Runs, Node):
        pass

    first = Mixed(max_retries=3)
    first >> Alone()
    Flow(first).run({})
    assert repr(telemetry.trees()) == "[run tests[stage Mixed[attempt 1, attempt 2, attempt 3], stage Alone]]"
    assert attributes(telemetry, "stage Mixed")["otel_progress.stage.attempts"] == 3
    instrumented.uninstrument()
    assert "exec" not in vars(Mixed)


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_a_run_has_ended_around_leaves_current_what_was_around_it(telemetry: Telemetry, by_hand: bool) -> None:
    @stage("inner")
    class Inner:
        async def exec_async(self, prep_res: None) -> None:
            await ended.wait()

    async def inner() -> None:
        if by_hand:
            await Inner().exec_async(None)
        else:
            with stage("inner"):
                await ended.wait()

    async def outlives() -> bool:
        with stage("outermost"), stage("outer"):
            span = trace.get_current_span()
            await inner()
            return trace.get_current_span() is span

    async def main() -> bool:
        with workflow("w"):
            task = asyncio.create_task(outlives())
            await asyncio.sleep(0)
        ended.set()
        return await task

    ended = asyncio.Event()
    assert asyncio.run(main())
    results = [(span.attributes or {})["otel_progress.stage.result"] for span in telemetry.spans("stage")]
    assert results == ["abandoned"] * 3


def test_a_flow_in_a_task_that_outlives_its_run_joins_it(
    telemetry: Telemetry, instrumented: PocketFlowInstrumentor
) -> None:
    class Slow(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            if self.params["n"] == 0:
                raise ValueError
            await ended.wait()

    class Inner(AsyncFlow):
        pass

    class Leaf(AsyncNode):
        async def post_async(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
            left.append(1)

    class Each(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Shared) -> list[Shared]:
            return [{"n": 0}, {"n": 1}, {"n": 2}]

    ended = asyncio.Event()
    left: list[int] = []
    shared: Shared = {}

    async def use() -> None:
        first = Slow()
        first >> Inner(Leaf())
        with pytest.raises(ValueError):
            await Each(first).run_async(shared)
        ended.set()
        while len(left) < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(use())
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == (
        "[run Each[stage Slow[attempt 1], stage Slow, stage Slow, stage Inner[stage Leaf], stage Inner[stage Leaf]]]"
    )
    assert {name: entry["visits"] for name, entry in shared["progress_metrics"].items()} == {
        "Slow": 3,
        "Inner": 2,
        "Leaf": 2,
    }
    assert [count for _, (_, count) in telemetry.points("otel_progress.run.duration")] == [1]


@pytest.mark.parametrize("action", ["", 0, False, None])
def test_an_empty_action_is_the_default(
    telemetry: Telemetry, instrumented: PocketFlowInstrumentor, action: object
) -> None:
    class Says(Node):
        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
            return action

    Flow(Says()).run({})
    assert attributes(telemetry, "stage Says")["otel_progress.stage.action"] == "default"


def test_a_dead_end_that_an_override_asks_for_is_told_once(
    telemetry: Telemetry, instrumented: PocketFlowInstrumentor
) -> None:
    class Careful(Flow):
        def get_next_node(self, curr: Any, action: Any) -> Any:
            return super().get_next_node(curr, action)

    first = Node()
    first - "go" >> Node()
    with pytest.warns(UserWarning, match="Flow ends"):
        Careful(first).run({})
    assert [event.name for event in telemetry.span("run Careful").events] == ["dead_end"]
