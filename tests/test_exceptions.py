"""What spans tell of exceptions, and that nothing of it is left on them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from pocketflow import AsyncNode, Node

from otel_progress import PocketFlowInstrumentor, stage, workflow
from otel_progress.recording.settings import Settings

from .conftest import Telemetry

TOLD = "exception.stacktrace"


def told(telemetry: Telemetry, span: str) -> list[dict[str, Any]]:
    """The exceptions that the spans of a name describe."""
    return [
        dict(event.attributes or {})
        for each in telemetry.spans(span)
        for event in each.events
        if event.name == "exception"
    ]


# --- one exception, several stages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["task", "future", "thread"])
@pytest.mark.parametrize("stages", [2, 5])
def test_every_stage_that_awaits_one_failed_future_has_the_exception(
    telemetry: Telemetry, kind: str, stages: int
) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("shared")

    def run() -> None:
        raise ValueError("shared")

    async def use() -> None:
        loop = asyncio.get_running_loop()
        awaited: asyncio.Future[None]
        if kind == "task":
            awaited = asyncio.ensure_future(fail())
        elif kind == "thread":
            awaited = loop.run_in_executor(None, run)
        else:
            awaited = loop.create_future()
            loop.call_soon(awaited.set_exception, ValueError("shared"))

        @stage("waits")
        async def waits() -> None:
            await awaited

        await asyncio.gather(*(waits() for _ in range(stages)), return_exceptions=True)

    with workflow("w"):
        asyncio.run(use())
    events = told(telemetry, "stage waits")
    assert [event["exception.message"] for event in events] == ["shared"] * stages
    assert [span.status.description for span in telemetry.spans("stage waits")] == ["shared"] * stages


def test_stages_in_threads_that_wait_for_one_failed_future(telemetry: Telemetry) -> None:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    shared: dict[str, Any] = {}
    barrier = threading.Barrier(4)

    def wait() -> None:
        with pytest.raises(ValueError, match="shared"), stage("waits", shared=shared):
            barrier.wait(10)
            future.result(10)

    with workflow("w", shared=shared):
        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        barrier.wait(10)
        future.set_exception(ValueError("shared"))
        for thread in threads:
            thread.join(10)
    assert len(told(telemetry, "stage waits")) == 3


def test_an_exception_is_described_where_it_was_raised_and_not_around_that(telemetry: Telemetry) -> None:
    with pytest.raises(ValueError), workflow("w"), stage("outer"), stage("inner"):
        raise ValueError("once")
    assert [len(told(telemetry, name)) for name in ("stage inner", "stage outer", "run w")] == [1, 0, 0]


# --- what a stack trace holds -----------------------------------------------------------------------------------------


def trace_of(telemetry: Telemetry, error: BaseException) -> str:
    with pytest.raises(type(error)), stage("a"):
        raise error
    return told(telemetry, "stage a")[-1][TOLD]


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_causes_are_told(telemetry: Telemetry) -> None:
    error = raised(KeyError("third"), raised(OSError("second"), raised(ValueError("first"))))
    text = trace_of(telemetry, error)
    assert text.index("ValueError: first") < text.index("OSError: second") < text.index("KeyError: 'third'")
    assert text.count("The above exception was the direct cause of the following exception:") == 2
    assert text.count("Traceback (most recent call last):") == 3


def test_what_was_being_handled_is_told(telemetry: Telemetry) -> None:
    def handled(*, silent: bool) -> None:
        try:
            raise ValueError("first")
        except ValueError:
            if silent:
                raise KeyError("second") from None
            raise KeyError("second")  # noqa: B904

    for silent in (False, True):
        with pytest.raises(KeyError), stage("a"):
            handled(silent=silent)
    told_, silent_ = (event[TOLD] for event in told(telemetry, "stage a"))
    assert "ValueError: first" in told_
    assert "During handling of the above exception, another exception occurred:" in told_
    assert "first" not in silent_


def test_it_is_what_python_prints(telemetry: Telemetry) -> None:
    import traceback

    error = raised(KeyError("third"), raised(OSError("second"), raised(ValueError("first"))))
    try:
        with stage("a"):
            raise error
    except KeyError as caught:
        expected = traceback.format_exception(type(caught), caught, caught.__traceback__)
    assert told(telemetry, "stage a")[0][TOLD] == "".join(expected)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups and notes are of 3.11")
def test_members_of_groups_and_notes_are_told(telemetry: Telemetry) -> None:
    group: Any = vars(__import__("builtins"))["ExceptionGroup"]
    noted = raised(TypeError("noted"), raised(ValueError("cause of a member")))
    noted.add_note("a note\nof two lines")  # type: ignore[attr-defined]
    error = group("all", [noted, group("inner", [raised(OSError("deep"))])])
    error.add_note("note of the group")
    text = trace_of(telemetry, error)
    for part in (
        "ExceptionGroup: all (2 sub-exceptions)\nnote of the group\n",
        "  | ValueError: cause of a member\n",
        "  | TypeError: noted\n  | a note\n  | of two lines\n",
        "  | ExceptionGroup: inner (1 sub-exception)\n",
        "  |   | OSError: deep\n",
    ):
        assert part in text, text


@pytest.mark.skipif(sys.version_info < (3, 11), reason="task groups are of 3.11")
def test_the_members_of_a_task_group_are_told(telemetry: Telemetry) -> None:
    async def fail(number: int) -> None:
        raise ValueError(f"member {number}")

    async def use() -> None:
        with stage("a"):
            make: Any = vars(asyncio)["TaskGroup"]
            async with make() as tasks:
                tasks.create_task(fail(1))
                tasks.create_task(fail(2))

    with pytest.raises(Exception, match="unhandled errors"):
        asyncio.run(use())
    text = told(telemetry, "stage a")[0][TOLD]
    assert "ValueError: member 1" in text and "ValueError: member 2" in text


def test_a_group_of_the_backport(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    class BaseExceptionGroup(Exception):
        exceptions = (ValueError("member"),)

    module: Any = type(sys)("exceptiongroup")
    module.BaseExceptionGroup = BaseExceptionGroup
    monkeypatch.setitem(sys.modules, "exceptiongroup", module)
    assert "  | ValueError: member\n" in trace_of(telemetry, BaseExceptionGroup("all"))


def test_no_message_of_any_of_them_is_told_where_messages_stay_inside(
    telemetry_with: Callable[[Settings], Telemetry],
) -> None:
    telemetry = telemetry_with(Settings(capture_messages=False))
    error = raised(KeyError("SECRET"), raised(ValueError("SECRET")))
    error.__notes__ = ["SECRET"]  # type: ignore[attr-defined]
    text = trace_of(telemetry, error)
    assert "ValueError\n" in text and "KeyError\n" in text
    secrets = [line for line in text.splitlines() if "SECRET" in line and "raised(" not in line]
    assert secrets == []


class Hostile(Exception):
    """Nothing of it can be read."""

    def __str__(self) -> str:
        raise RuntimeError

    @property
    def __notes__(self) -> Any:
        raise RuntimeError

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise SystemExit

    @property
    def __context__(self) -> Any:  # type: ignore[override]
        raise GeneratorExit


class Lying(Exception):
    """What it says makes no sense."""

    __notes__ = "no list"
    exceptions = 5

    @property
    def __context__(self) -> Any:  # type: ignore[override]
        return 7


def chain(length: int) -> BaseException:
    error: BaseException = ValueError("0")
    for number in range(1, length):
        error = raised(ValueError(str(number)), error)
    return error


def ring() -> BaseException:
    first, second = raised(ValueError("first")), raised(KeyError("second"))
    first.__cause__, second.__cause__ = second, first
    return first


@pytest.mark.parametrize(
    "error",
    [Hostile(), Lying(), chain(10_000), ring(), ValueError("x" * 3_000_000)],
    ids=lambda each: type(each).__name__,
)
def test_no_exception_breaks_or_floods_the_span(
    telemetry: Telemetry, faults: Callable[[], list[str]], error: BaseException
) -> None:
    text = trace_of(telemetry, error)
    assert type(error).__name__ in text
    assert len(text) < 70_000
    assert faults() == []


# --- nothing is left on an exception ----------------------------------------------------------------------------------


class Own(Exception):
    """Has an attribute of its own."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = 5


def looks(error: BaseException) -> Any:
    return (
        vars(error),
        error.args,
        error.__cause__,
        error.__context__,
        error.__suppress_context__,
        getattr(error, "__notes__", None),
    )


def fail(error: BaseException) -> Any:
    raise error


async def fail_async(error: BaseException) -> Any:
    raise error


def fail_in_steps(error: BaseException) -> Generator[int]:
    yield 1
    raise error


async def fail_in_async_steps(error: BaseException) -> AsyncGenerator[int]:
    yield 1
    raise error


def in_a_block(error: BaseException) -> None:
    with workflow("w"), stage("a"), stage("b"):
        raise error


class Failing(Node):
    error: Any

    def exec(self, prep_res: Any) -> None:
        raise self.error


class FailingAsync(AsyncNode):
    error: Any

    async def exec_async(self, prep_res: Any) -> None:
        raise self.error


def run_node(error: BaseException) -> None:
    node: Any = Failing(max_retries=3)
    node.error = error
    node.run({})


def run_async_node(error: BaseException) -> None:
    node: Any = FailingAsync(max_retries=3)
    node.error = error
    asyncio.run(node.run_async({}))


async def all_steps(steps: AsyncGenerator[int]) -> None:
    async for _ in steps:
        pass


WAYS: dict[str, Callable[[Callable[[Any], Any], BaseException], Any]] = {
    "function": lambda wrap, error: wrap(fail)(error),
    "coroutine": lambda wrap, error: asyncio.run(wrap(fail_async)(error)),
    "returned coroutine": lambda wrap, error: asyncio.run(wrap(lambda: fail_async(error))()),
    "generator": lambda wrap, error: list(wrap(fail_in_steps)(error)),
    "returned generator": lambda wrap, error: list(wrap(lambda: fail_in_steps(error))()),
    "async generator": lambda wrap, error: asyncio.run(all_steps(wrap(fail_in_async_steps)(error))),
    "nested": lambda wrap, error: wrap(wrap(wrap(fail)))(error),
    "block": lambda wrap, error: in_a_block(error) if wrap is not plain else fail(error),
    "node": lambda _, error: run_node(error),
    "async node": lambda _, error: run_async_node(error),
}


def plain(function: Any) -> Any:
    return function


@pytest.mark.parametrize("make", [lambda: ValueError("x"), lambda: Own("x"), lambda: KeyboardInterrupt("x")])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_on_an_exception(telemetry: Telemetry, way: str, make: Callable[[], BaseException]) -> None:
    def caught(wrap: Callable[[Any], Any]) -> Any:
        error = make()
        error.__context__ = None
        try:
            with workflow("around") if wrap is not plain else stage("around"):
                WAYS[way](wrap, error)
        except BaseException as found:
            assert found is error
            return looks(error)

    expected = caught(plain)
    PocketFlowInstrumentor().instrument()
    try:
        assert caught(stage("a")) == expected
    finally:
        PocketFlowInstrumentor().uninstrument()
