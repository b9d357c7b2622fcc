"""A decorated generator behaves as it does without the decorator, whatever is done to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import textwrap
import types
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_progress import stage
from otel_progress.recording.recorder import Recorder

from .conftest import Telemetry

pytestmark = pytest.mark.usefixtures("recorder")

Outcome = tuple[object, ...]

# --- random programs --------------------------------------------------------------------------------------------------

YIELD = "log.append(repr((yield {})))"
LEAVE = ["return", "raise KeyError('own')", "raise ValueError('own')", "raise StopIteration(5)", "raise GeneratorExit"]


def indented(block: str) -> str:
    return textwrap.indent(block, "    ")


def compounds(blocks: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    body = blocks.map(indented)
    handler = st.one_of(body, st.sampled_from(["    pass", "    raise"]))
    return st.one_of(
        st.builds("try:\n{}\nexcept GeneratorExit:\n{}".format, body, handler),
        st.builds("try:\n{}\nexcept ValueError as error:\n    log.append(repr(error))\n{}".format, body, handler),
        st.builds("try:\n{}\nfinally:\n    log.append('finally')\n{}".format, body, body),
        st.builds("@wrap\nasync def inside():\n{}\n    yield 'last'\n<delegate>".format, body),
        st.lists(blocks, min_size=2, max_size=3).map("\n".join),
    )


simple = st.one_of(
    st.integers(0, 9).map(YIELD.format),
    st.integers(0, 9).map(YIELD.format),  # More often than the others.
    st.just("await pause()"),
    st.sampled_from([*LEAVE, "return 'value'"]),
)
programs = st.recursive(simple, compounds, max_leaves=12)
"""Bodies of async generator functions."""


@types.coroutine
def pause() -> Generator[None]:
    yield


def compiled(program: str, log: list[str], decorate: bool, is_async: bool) -> Callable[[], Any]:
    """The program as a generator function, it and those inside it decorated or not."""
    source = f"@wrap\nasync def outside():\n{indented(program)}\n    yield 'last'\n"
    if is_async:
        changes = {
            "return 'value'": "return",
            "<delegate>": "async for each in inside(): log.append(repr((yield each)))",
        }
    else:
        changes = {"async def": "def", "await pause()": "log.append('pause')"}
        changes["<delegate>"] = "log.append(repr((yield from inside())))"
    for before, after in changes.items():
        source = source.replace(before, after)
    names: dict[str, Any] = {"log": log, "pause": pause, "wrap": stage() if decorate else lambda function: function}
    exec(source, names)
    return names["outside"]


THROWN: list[Callable[[], BaseException]] = [
    lambda: ValueError("thrown"),
    lambda: KeyError("thrown", 1),
    GeneratorExit,
    lambda: GeneratorExit("thrown"),
    lambda: StopIteration(3),
    StopAsyncIteration,
    KeyboardInterrupt,
    asyncio.CancelledError,
]
actions = st.one_of(
    st.just(("next",)),
    st.just(("close",)),
    st.integers(0, 9).map(lambda number: ("send", number)),
    st.sampled_from(THROWN).map(lambda make: ("throw", make)),
)


def awaited(awaitable: Any) -> Any:
    """What an awaitable gives, with no event loop."""
    steps = awaitable.__await__()
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def done(steps: Any, action: tuple[Any, ...]) -> Outcome:
    """What one action on a generator gives or raises, and whether the generator is still alive then."""
    is_async = hasattr(steps, "ag_frame")
    name = {"next": "__anext__" if is_async else "__next__"}.get(action[0], f"{'a' if is_async else ''}{action[0]}")
    method: Callable[..., Any] = getattr(steps, name)
    arguments = [argument() if callable(argument) else argument for argument in action[1:]]
    outcome: Outcome
    try:
        value = method(*arguments)
        outcome = ("value", awaited(value) if is_async else value)
    except BaseException as error:
        cause = error.__cause__
        outcome = ("raised", type(error), error.args, arguments == [error], type(cause), arguments == [cause])
    if is_async:
        return (*outcome, steps.ag_frame is None, steps.ag_running)
    return (*outcome, steps.gi_frame is None, inspect.getgeneratorstate(steps))


def behaviour(
    program: str,
    sequence: list[tuple[Any, ...]],
    decorate: bool,
    is_async: bool,
    wrap: Callable[[Any], Any] = lambda function: function,
) -> tuple[list[Outcome], list[str]]:
    """All that a program does when it is driven so, and then to its end."""
    log: list[str] = []
    gc.disable()  # A generator that was left inside is closed when it is freed, which shall be no matter of chance.
    try:
        steps = wrap(compiled(program, log, decorate, is_async))()
        outcomes = [done(steps, action) for action in sequence]
        while (steps.ag_frame if is_async else steps.gi_frame) is not None:
            outcomes.append(done(steps, ("next",)))
        outcomes += [done(steps, action) for action in (("next",), ("close",), ("throw", ValueError))]
        return outcomes, list(log)
    finally:
        gc.enable()


@settings(max_examples=400, deadline=None)
@given(program=programs, sequence=st.lists(actions, max_size=8))
def does_the_same(recorder: Recorder, is_async: bool, program: str, sequence: list[tuple[Any, ...]]) -> None:
    decorated = behaviour(program, sequence, decorate=True, is_async=is_async)
    assert decorated == behaviour(program, sequence, decorate=False, is_async=is_async)
    assert "outside" not in [visit.stage for visit in recorder.registry.visits()]  # One inside may wait to be freed.


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Programs that ignore their close.
@pytest.mark.parametrize("is_async", [False, True])
def test_a_decorated_generator_does_what_it_does_undecorated(recorder: Recorder, is_async: bool) -> None:
    does_the_same(recorder=recorder, is_async=is_async)  # pyright: ignore[reportCallIssue] - the rest is given
    gc.collect()  # What is left is freed here, where the warning is expected, and not in a test behind.


# --- what became of the visit -----------------------------------------------------------------------------------------


def yields_on() -> Generator[int]:
    try:
        yield 1
    except GeneratorExit:
        yield 2
        yield 3


def returns() -> Generator[int, None, str]:
    try:
        yield 1
    except GeneratorExit:
        return "value"
    return "end"


def passes() -> Generator[int]:
    yield 1


async def yields_on_async() -> AsyncGenerator[int]:
    try:
        yield 1
    except GeneratorExit:
        yield 2
        yield 3


async def returns_async() -> AsyncGenerator[int]:
    with contextlib.suppress(GeneratorExit):
        yield 1


async def passes_async() -> AsyncGenerator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (yields_on, "success"),
        (yields_on_async, "success"),
        (returns, "cancelled"),
        (returns_async, "cancelled"),
        (passes, "cancelled"),
        (passes_async, "cancelled"),
    ],
)
@pytest.mark.parametrize("action", [("close",), ("throw", GeneratorExit)])
def test_a_visit_is_cancelled_where_a_generator_exit_ends_it(
    telemetry: Telemetry, function: Callable[[], Any], result: str, action: tuple[Any, ...]
) -> None:
    steps = stage("a")(function)()
    done(steps, ("next",))
    done(steps, action)
    if result == "success":
        assert len(telemetry.recorder.registry.visits()) == 1
        while telemetry.recorder.registry.visits():
            done(steps, ("next",))
    found = telemetry.span("stage a")
    assert (found.attributes or {})["otel_progress.stage.result"] == result
    assert (found.attributes or {}).get("error.type") == (None if result == "success" else "GeneratorExit")


def test_a_generator_that_fails_in_its_close_fails(telemetry: Telemetry) -> None:
    @stage("a")
    def steps() -> Generator[int]:
        try:
            yield 1
        finally:
            raise KeyError

    made = steps()
    next(made)
    with pytest.raises(KeyError):
        made.close()
    assert (telemetry.span("stage a").attributes or {})["otel_progress.stage.result"] == "failure"


class Chunk:
    """Something large."""


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_generator_has_given_is_not_kept(telemetry: Telemetry, is_async: bool) -> None:
    @stage("a")
    def steps() -> Generator[Chunk]:
        yield Chunk()
        yield Chunk()

    @stage("a")
    async def steps_async() -> AsyncGenerator[Chunk]:
        yield Chunk()
        yield Chunk()

    made: Any = steps_async() if is_async else steps()
    first = awaited(anext(made)) if is_async else next(made)
    gone = weakref.ref(first)
    del first
    assert gone() is None
    done(made, ("close",))


# --- context managers made of generators ------------------------------------------------------------------------------


BODIES: list[Callable[[], BaseException] | None] = [None, *THROWN, lambda: RuntimeError("generator raised")]


def manager(decorate: bool, is_async: bool, catches: type[BaseException], log: list[str]) -> Any:
    """A context manager that catches what it is told to."""
    wrap: Callable[[Any], Any] = stage("a") if decorate else lambda function: function

    @wrap
    def opened() -> Generator[int]:
        try:
            yield 1
            log.append("after")
        except catches:
            log.append("caught")
        finally:
            log.append("finally")

    @wrap
    async def opened_async() -> AsyncGenerator[int]:
        try:
            yield 1
            await pause()
            log.append("after")
        except catches:
            log.append("caught")
        finally:
            log.append("finally")

    return contextlib.asynccontextmanager(opened_async) if is_async else contextlib.contextmanager(opened)


def used(make: Any, is_async: bool, error: BaseException | None, log: list[str]) -> Outcome:
    """What a `with` block does whose body raises `error`."""

    async def body() -> None:
        async with make():
            if error is not None:
                raise error
            log.append("body")

    try:
        if is_async:
            awaited(body())
        else:
            with make():
                if error is not None:
                    raise error
                log.append("body")
    except BaseException as raised:
        return type(raised), raised is error
    return ("went on",)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("catches", [ZeroDivisionError, ValueError, GeneratorExit, BaseException])
@pytest.mark.parametrize("make", BODIES)
def test_a_context_manager_made_of_a_stage_does_what_it_does_without(
    telemetry: Telemetry,
    make: Callable[[], BaseException] | None,
    catches: type[BaseException],
    is_async: bool,
) -> None:
    seen: list[tuple[Outcome, list[str]]] = []
    for decorate in (True, False):
        log: list[str] = []
        error = None if make is None else make()
        seen.append((used(manager(decorate, is_async, catches, log), is_async, error, log), log))
    assert seen[0] == seen[1]
    assert ("after" in seen[0][1]) is (make is None)
    if catches is ZeroDivisionError and make is not None:  # It catches none of them.
        assert seen[0][0][0] != "went on"
    assert telemetry.recorder.registry.visits() == []
    assert len(telemetry.spans("stage a")) == 1
