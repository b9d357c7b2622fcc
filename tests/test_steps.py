"""What a plain function returns is recorded to its end, and is what it would be without."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import inspect
import sys
import threading
import types
import warnings
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import get_current
from pocketflow import BatchFlow, Node

from otel_progress import PocketFlowInstrumentor, stage, workflow
from otel_progress.recording.recorder import Recorder
from otel_progress.recording.settings import Settings

from .conftest import SECOND, Telemetry
from .test_generators import actions, behaviour, compiled, programs

# --- the kinds of it --------------------------------------------------------------------------------------------------


class Boom(Exception):
    """What the work raises."""


async def work(telemetry: Telemetry, fails: bool) -> int:
    await asyncio.sleep(0)
    telemetry.time.passes(3)
    if fails:
        raise Boom
    return 7


def plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function that gives what `function` gives."""
    return lambda *args: function(*args)  # noqa: PLW0108


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


class Client:
    """An object whose call returns a coroutine, without being a coroutine function."""

    def __call__(self, *args: Any) -> Awaitable[int]:
        return work(*args)


def task_of(*args: Any) -> asyncio.Task[int]:
    return asyncio.create_task(work(*args))


def gathered(*args: Any) -> Any:
    return asyncio.gather(work(*args))


def in_a_thread(telemetry: Telemetry, fails: bool) -> asyncio.Future[int]:
    def run() -> int:
        telemetry.time.passes(3)
        if fails:
            raise Boom
        return 7

    return asyncio.get_running_loop().run_in_executor(None, run)


class Partial(functools.partial[Any]):
    """A subclass."""


AWAITED: dict[str, Callable[..., Any]] = {
    "a plain function": plainly(work),
    "a decorator above": logged(work),
    "a decorator above a decorator": logged(logged(work)),
    "a callable object": Client(),
    "its method": Client().__call__,
    "a partial": functools.partial(work),
    "a partial of a lambda": functools.partial(plainly(work)),
    "a partial of another class": Partial(work),
    "a task": task_of,
    "a plain function that gives a task": plainly(task_of),
    "a shielded task": plainly(lambda *args: asyncio.shield(work(*args))),
    "a gathering": gathered,
    "a future of an executor": in_a_thread,
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("kind", AWAITED)
def test_what_is_awaited_is_recorded_to_its_end(telemetry: Telemetry, kind: str, fails: bool) -> None:
    function = AWAITED[kind]
    decorated = stage("x")(function)

    async def use(call: Callable[..., Any]) -> tuple[type, Any]:
        made = call(telemetry, fails)
        assert inspect.isawaitable(made)
        try:
            return type(made), await made
        except Boom:
            return type(made), Boom

    with workflow("w"):
        assert asyncio.run(use(decorated)) == asyncio.run(use(function))
    span = telemetry.span("stage x")
    assert (span.end_time or 0) - (span.start_time or 0) == 3 * SECOND
    assert (span.attributes or {})["otel_progress.stage.result"] == ("failure" if fails else "success")
    assert (span.attributes or {}).get("error.type") == ("Boom" if fails else None)


def test_what_is_awaited_holds_the_stages_inside(telemetry: Telemetry) -> None:
    async def inside() -> None:
        with stage("inside"):
            await asyncio.sleep(0)

    async def use() -> None:
        await stage("coroutine")(plainly(inside))()
        await stage("task")(lambda: asyncio.create_task(inside()))()
        with stage("after"):
            pass

    with workflow("w"):
        asyncio.run(use())
    assert repr(telemetry.trees()) == ("[run w[stage coroutine[stage inside], stage task[stage inside], stage after]]")


def test_a_coroutine_is_one_and_is_awaited_once(telemetry: Telemetry) -> None:
    async def work() -> int:
        return 1

    made = stage("x")(plainly(work))()
    assert inspect.iscoroutine(made)
    assert asyncio.iscoroutine(made)
    assert (made.__name__, made.__qualname__) == (work.__name__, work.__qualname__)
    assert asyncio.run(made) == 1
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        made.send(None)


def test_a_coroutine_that_is_dropped_is_cancelled_and_warned_of_once(telemetry: Telemetry) -> None:
    async def work() -> None: ...

    said: list[str] = []
    with workflow("w"), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: said.append(str(message))
        made = stage("x")(plainly(work))()
        assert len(telemetry.recorder.registry.visits()) == 1
        del made
    assert said == [f"coroutine '{work.__qualname__}' was never awaited"]
    assert (telemetry.span("stage x").attributes or {})["otel_progress.stage.result"] == "cancelled"


@pytest.mark.parametrize("way", ["close", "throw", "cancel"])
def test_a_coroutine_that_is_ended_from_outside(telemetry: Telemetry, way: str) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("finally")

    async def use() -> None:
        task = asyncio.ensure_future(stage("x")(plainly(work))())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with workflow("w"):
        if way == "cancel":
            asyncio.run(use())
        else:
            made = stage("x")(plainly(work))()
            with pytest.raises(RuntimeError, match="no running event loop"):
                made.send(None)
            made.close()
            if way == "throw":
                with pytest.raises(RuntimeError):
                    made.throw(Boom)
    result = "cancelled" if way == "cancel" else "failure"
    assert (telemetry.span("stage x").attributes or {})["otel_progress.stage.result"] == result
    assert seen == ["finally"]


# --- futures ----------------------------------------------------------------------------------------------------------


def outcome(telemetry: Telemetry) -> tuple[Any, Any]:
    attributes = telemetry.span("stage x").attributes or {}
    return attributes["otel_progress.stage.result"], attributes.get("error.type")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_future_of_a_thread_stays_itself(telemetry: Telemetry, when: str) -> None:
    future: concurrent.futures.Future[int] = concurrent.futures.Future()
    with workflow("w"):
        if when == "before":
            future.set_exception(Boom())
        assert stage("x")(lambda: future)() is future
        if when == "after":
            assert telemetry.spans() == []
            telemetry.time.passes(2)
            future.set_exception(Boom())
    assert outcome(telemetry) == ("failure", "Boom")


@pytest.mark.parametrize("kind", [concurrent.futures.Future, asyncio.Future])
def test_a_future_that_is_cancelled(telemetry: Telemetry, kind: type) -> None:
    async def use() -> None:
        future = kind()
        assert stage("x")(lambda: future)() is future
        future.cancel()
        await asyncio.sleep(0)

    with workflow("w"):
        asyncio.run(use())
    assert outcome(telemetry) == ("cancelled", "CancelledError")


@pytest.mark.parametrize("decorate", [True, False])
def test_an_exception_that_nobody_sees_is_still_said_by_asyncio(telemetry: Telemetry, decorate: bool) -> None:
    said: list[str] = []

    async def fail() -> None:
        raise Boom

    def start() -> asyncio.Task[None]:
        return asyncio.create_task(fail())

    async def use() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, about: said.append(about["message"]))
        (stage("x")(start) if decorate else start)()
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()

    with workflow("w"):
        asyncio.run(use())
    assert said == ["Task exception was never retrieved"]


def test_a_future_that_is_dropped_is_cancelled(telemetry: Telemetry) -> None:
    with workflow("w"):
        stage("x")(plainly(concurrent.futures.Future[int]))()
        gc.collect()
    assert outcome(telemetry) == ("cancelled", "GeneratorExit")


def test_a_task_that_outlives_its_run_is_abandoned(telemetry: Telemetry) -> None:
    async def use() -> None:
        go_on = asyncio.Event()
        with workflow("w"):
            task = stage("x")(lambda: asyncio.create_task(go_on.wait()))()
        go_on.set()
        await task

    asyncio.run(use())
    assert outcome(telemetry)[0] == "abandoned"


# --- generators -------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("is_async", [False, True])
@settings(max_examples=60, deadline=None)
@given(program=programs, sequence=st.lists(actions, max_size=8))
def test_a_generator_that_a_plain_function_returns_does_what_it_does_without(
    recorder: Recorder, is_async: bool, program: str, sequence: list[tuple[Any, ...]]
) -> None:
    decorated = behaviour(program, sequence, False, is_async, lambda function: stage("plain")(plainly(function)))
    assert decorated == behaviour(program, sequence, False, is_async, plainly)
    if recorder.registry.visits():  # An exception that was thrown before the first step may still hold it.
        gc.collect()
    assert "plain" not in [visit.stage for visit in recorder.registry.visits()]


def coroutine_behaviour(program: str, sequence: list[tuple[Any, ...]], wrap: Callable[[Any], Any]) -> Any:
    """All that a coroutine does that a plain function returns, driven by hand."""
    log: list[str] = []

    async def run() -> str:
        function = compiled(program, log, decorate=False, is_async=True)
        async for each in function():
            log.append(repr(each))
            await _given()
        return "end"

    outcomes: list[Any] = []
    made = wrap(plainly(run))()
    for name, *arguments in [*sequence, ("close",)]:
        try:
            given = [argument() if callable(argument) else argument for argument in arguments]
            step = made.send if name == "next" else getattr(made, name)
            outcomes.append(("value", step(*(given or ([None] if name == "next" else [])))))
        except BaseException as error:
            outcomes.append((type(error), error.args, type(error.__cause__)))
        outcomes.append(inspect.getcoroutinestate(made))
    return outcomes, log


@types.coroutine
def _given() -> Generator[str, Any, Any]:
    return (yield "waiting")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=200, deadline=None)
@given(program=programs, sequence=st.lists(actions, max_size=8))
def test_a_coroutine_that_a_plain_function_returns_does_what_it_does_without(
    recorder: Recorder, program: str, sequence: list[tuple[Any, ...]]
) -> None:
    decorated = coroutine_behaviour(program, sequence, stage("plain"))
    assert decorated == coroutine_behaviour(program, sequence, lambda function: function)
    if recorder.registry.visits():  # An exception that was thrown before the first step may still hold it.
        gc.collect()
    assert "plain" not in [visit.stage for visit in recorder.registry.visits()]


def counted(telemetry: Telemetry, fails: bool = False) -> Generator[int, Any, str]:
    telemetry.time.passes(1)
    yield 1
    telemetry.time.passes(1)
    if fails:
        raise Boom
    yield 2
    return "end"


@pytest.mark.parametrize("fails", [False, True])
def test_a_generator_that_is_returned_is_recorded_to_its_end(telemetry: Telemetry, fails: bool) -> None:
    made: Any = stage("x")(lambda: counted(telemetry, fails))()
    assert inspect.isgenerator(made)
    assert made.__qualname__ == "counted"
    if fails:
        with pytest.raises(Boom):
            list(made)
    else:
        assert list(made) == [1, 2]
    span = telemetry.span("stage x")
    assert (span.end_time or 0) - (span.start_time or 0) == 2 * SECOND
    assert outcome(telemetry) == (("failure", "Boom") if fails else ("success", None))


def test_an_async_generator_that_is_returned_is_recorded_to_its_end(telemetry: Telemetry) -> None:
    async def steps() -> AsyncGenerator[int]:
        yield 1
        telemetry.time.passes(1)
        raise Boom

    async def use() -> None:
        async for _ in stage("x")(plainly(steps))():
            pass

    with pytest.raises(Boom):
        asyncio.run(use())
    assert outcome(telemetry) == ("failure", "Boom")


def test_a_generator_that_has_been_started_goes_on(telemetry: Telemetry) -> None:
    def averages() -> Generator[float | None, float]:
        total, count, average = 0.0, 0, None
        while True:
            total += yield average
            count += 1
            average = total / count

    def primed() -> Generator[float | None, float]:
        made = averages()
        next(made)
        return made

    for wrap in (lambda function: function, stage("x")):  # type: ignore[var-annotated]
        made: Any = wrap(primed)()
        assert inspect.getgeneratorstate(made) == inspect.GEN_SUSPENDED
        assert [made.send(2), made.send(4)] == [2, 3]
        made.close()
    assert outcome(telemetry) == ("cancelled", "GeneratorExit")


def test_a_generator_that_can_be_awaited_stays_so(telemetry: Telemetry) -> None:
    @types.coroutine
    def old() -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0).__await__()
        telemetry.time.passes(1)
        return 5

    async def use() -> int:
        return await stage("x")(plainly(old))()

    assert asyncio.run(use()) == 5
    assert telemetry.points("otel_progress.stage.duration")[0][1] == (1.0, 1)


@pytest.mark.parametrize("how", ["dropped", "closed", "never taken"])
def test_a_generator_that_is_left(telemetry: Telemetry, how: str) -> None:
    with workflow("w"):
        made: Any = stage("x")(lambda: counted(telemetry))()
        if how != "never taken":
            next(made)
        if how == "closed":
            made.close()
        del made
        gc.collect()
    assert outcome(telemetry) == ("cancelled", "GeneratorExit")


class Stream:
    """Keeps its generator, and gives it out again and again."""

    def __init__(self) -> None:
        self.steps = iter_of(3)

    def __iter__(self) -> Iterator[int]:
        return self.steps


def iter_of(number: int) -> Generator[int]:
    yield from range(number)


def test_what_others_hold_as_well_is_left_alone(telemetry: Telemetry) -> None:
    stream = Stream()
    give = stage("x")(stream.__iter__)
    assert give() is give() is stream.steps
    for each in give():
        assert each == 0
        break
    assert list(give()) == [1, 2]
    assert len(telemetry.spans("stage x")) == 4


@pytest.mark.parametrize("make", [lambda: iter_of(3), lambda: asyncio.sleep(0, 3), lambda: aiter_of(3)])
def test_what_others_know_weakly_is_left_alone(telemetry: Telemetry, make: Callable[[], Any]) -> None:
    known: weakref.WeakSet[Any] = weakref.WeakSet()

    @stage("x")
    def start() -> Any:
        made = make()
        known.add(made)
        return made

    made = start()
    assert made in known
    if inspect.iscoroutine(made):
        assert asyncio.run(made) == 3


async def aiter_of(number: int) -> AsyncGenerator[int]:
    for each in range(number):
        yield each


class Request:
    """Can be awaited, and is a context manager as well."""

    def __await__(self) -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0).__await__()
        return 1


class Proxy:
    """Says to be of any class, and counts who asks."""

    asked = 0

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        Proxy.asked += 1
        return asyncio.Future


@pytest.mark.parametrize(
    "value",
    [Request(), Proxy(), iter([1]), map(str, [1]), range(3), (each for each in ()), object(), asyncio, int],
    ids=str,
)
def test_other_values_come_back_as_they_are(telemetry: Telemetry, value: object) -> None:
    asked = Proxy.asked
    assert stage("x")(lambda: value)() is value
    assert Proxy.asked == asked
    assert outcome(telemetry) == ("success", None)


def test_what_is_returned_is_not_kept(telemetry: Telemetry) -> None:
    class Chunk: ...

    made: Any = stage("x")(lambda: (Chunk() for _ in range(2)))()
    gone = weakref.ref(next(made))
    assert gone() is None
    owner = weakref.ref(made)
    del made
    assert owner() is None


# --- what has ended is no parent --------------------------------------------------------------------------------------


def chunks() -> Generator[int]:
    for number in range(3):
        with stage(f"chunk {number}"):
            yield number


@pytest.mark.parametrize("way", ["decorated", "returned", "plain"])
@pytest.mark.parametrize("context", ["copied", "empty", "threads"])
def test_steps_in_different_contexts_are_beside_each_other(telemetry: Telemetry, way: str, context: str) -> None:
    def in_a_thread(call: Callable[[], Any], run: Callable[..., Any]) -> Any:
        given: list[Any] = []
        thread = threading.Thread(target=lambda: given.append(run(call)))
        thread.start()
        thread.join(10)
        return given[0]

    def step(steps: Any) -> Any:
        own = contextvars.Context() if context == "empty" else contextvars.copy_context()
        call: Callable[[], Any] = lambda: next(steps, None)  # noqa: E731
        return in_a_thread(call, own.run) if context == "threads" else own.run(call)

    shared: dict[str, Any] = {}
    functions: dict[str, Callable[[], Any]] = {
        "decorated": stage("stream", shared=shared)(chunks),
        "returned": stage("stream", shared=shared)(plainly(chunks)),
        "plain": chunks,
    }
    with workflow("w", shared=shared):
        steps = functions[way]()
        while step(steps) is not None:
            pass
    inside = "stage chunk 0, stage chunk 1, stage chunk 2"
    if way != "plain":
        assert repr(telemetry.trees()) == f"[run w[stage stream[{inside}]]]"
    elif context != "empty":
        assert repr(telemetry.trees()) == f"[run w[{inside}]]"


def test_a_generator_that_is_closed_from_elsewhere_is_no_parent(telemetry: Telemetry) -> None:
    with workflow("w"):
        steps = chunks()
        next(steps)
        contextvars.Context().run(steps.close)
        with stage("after"):
            pass
        tracer = telemetry.tracer_provider.get_tracer("another")
        with tracer.start_as_current_span("foreign"), stage("inside foreign"):
            pass
    chunk, after = telemetry.span("stage chunk 0"), telemetry.span("stage after")
    assert after.parent is not None and chunk.parent is not None
    assert after.parent.span_id == chunk.parent.span_id
    assert "otel_progress.stage.name" not in (telemetry.span("foreign").attributes or {})


def test_a_stage_that_begins_while_a_generator_waits_leaves_no_trace_of_it(telemetry: Telemetry) -> None:
    with workflow("w"):
        steps = chunks()
        next(steps)
        with stage("meanwhile"):
            steps.close()
            with stage("inside"):
                pass
        with stage("after"):
            pass
    assert repr(telemetry.trees()) == "[run w[stage chunk 0[stage meanwhile], stage inside, stage after]]"


def test_nested_stages_that_were_left_are_no_parents(telemetry: Telemetry) -> None:
    def steps() -> Generator[int]:
        with stage("a"), stage("b"), stage("c"):
            yield 1

    with workflow("w"), stage("open"):
        made = steps()
        next(made)
        contextvars.Context().run(made.close)
        with stage("after"):
            pass
    assert repr(telemetry.trees()) == "[run w[stage open[stage a[stage b[stage c]], stage after]]]"


def test_a_run_that_was_left_is_no_parent_of_another(telemetry: Telemetry) -> None:
    def steps() -> Generator[int]:
        with workflow("left"), stage("a"):
            yield 1

    tracer = telemetry.tracer_provider.get_tracer("server")

    def use() -> None:
        with tracer.start_as_current_span("request"):
            for _ in range(3):
                made = steps()
                next(made)
                contextvars.Context().run(made.close)
            with workflow("after"), stage("b"):
                pass

    contextvars.copy_context().run(use)
    assert repr(telemetry.trees()) == (
        "[request[run left[stage a], run left[stage a], run left[stage a], run after[stage b]]]"
    )


def test_runs_that_were_left_are_not_kept(telemetry: Telemetry) -> None:
    class Payload: ...

    def steps(payload: Any) -> Generator[int]:
        with workflow("left", shared={"payload": payload}), stage("a"):
            yield 1

    def use() -> list[weakref.ref[Any]]:
        gone: list[weakref.ref[Any]] = []
        for _ in range(5):
            payload = Payload()
            gone.append(weakref.ref(payload))
            made = steps(payload)
            next(made)
            contextvars.Context().run(made.close)
        return gone

    assert [ref() for ref in contextvars.copy_context().run(use)] == [None] * 5


def test_a_part_that_has_ended_is_no_parent(telemetry_with: Callable[[Settings], Telemetry]) -> None:
    telemetry = telemetry_with(Settings(detail="all"))

    @stage("node")
    class Leaving(Node):
        def prep(self, shared: Any) -> None:
            self.made = chunks()
            next(self.made)

        def exec(self, prep_res: Any) -> None:
            with stage("in exec"):
                pass

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            with stage("in post"):
                pass

    node = Leaving()
    with workflow("w", shared={}):
        node.run({})
        contextvars.Context().run(node.made.close)
        with stage("after"):
            pass
    (run,) = telemetry.trees()
    assert [child.name for child in run.children] == ["stage node", "stage after"]


def test_after_an_item_of_a_batch_flow(telemetry: Telemetry) -> None:
    """An item has no span here, and is a part all the same."""
    left: list[contextvars.Context] = []

    class Inner(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            left.append(contextvars.copy_context())

    class Each(BatchFlow):
        def prep(self, shared: Any) -> list[dict[str, Any]]:
            return [{"n": 1}]

    PocketFlowInstrumentor().instrument()
    try:
        with workflow("w", shared={}) as run, stage("outer"):
            Each(Inner()).run({})

            def use() -> None:
                with stage("late"):
                    pass

            left[0].run(use)
            assert run.ended is None
    finally:
        PocketFlowInstrumentor().uninstrument()
    late = telemetry.span("stage late")
    assert late.parent is not None
    assert late.parent.span_id == telemetry.span("stage outer").context.span_id  # type: ignore[union-attr]


def test_blocks_that_are_left_out_of_order_leave_nothing_current(telemetry: Telemetry) -> None:
    before = get_current()
    with workflow("w"):
        left = stage("left")
        left.__enter__()
    left.__exit__(None, None, None)
    assert get_current() == before
    outer, middle, inner = stage("outer"), stage("middle"), stage("inner")
    with workflow("w"):
        around = get_current()
        for block in (outer, middle, inner):
            block.__enter__()
        for block in (outer, middle, inner):
            block.__exit__(None, None, None)
        with stage("after"):
            pass
        assert get_current() == around
    assert repr(telemetry.trees()) == "[run w[stage left], run w[stage outer[stage middle[stage inner]], stage after]]"


# --- nothing is left in the context -----------------------------------------------------------------------------------


def test_a_finalizer_called_by_the_collector_leaves_the_context_alone(telemetry: Telemetry) -> None:
    """Before Python 3.12 it would crash the interpreter in the middle of somebody else's change."""
    seen: list[Any] = []

    class Resource:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            with stage("finalizer"):
                seen.append(get_current())

    with workflow("w"):
        before = get_current()
        Resource()
        gc.collect()
        assert get_current() is before
    assert len(telemetry.spans("stage finalizer")) == 1
    if sys.version_info < (3, 12):
        assert seen == [before]
