"""`gather` does what `asyncio.gather` does: each is tried on the same things."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from otel_progress import gather, stage, workflow

from .conftest import Telemetry, told

Gather = Callable[..., Any]
Trial = Callable[[Gather, list[Any]], Coroutine[Any, Any, Any]]


class Boom(Exception):
    """What fails raises."""


async def work(log: list[Any], name: str, turns: int = 1, error: BaseException | None = None) -> str:
    log.append(f"{name} begins")
    try:
        for _ in range(turns):
            await asyncio.sleep(0)
        if error is not None:
            raise error
    except asyncio.CancelledError:
        log.append(f"{name} is cancelled")
        raise
    log.append(f"{name} ends")
    return name


class Same:
    """Something to be awaited that equals all of its kind."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same)

    def __hash__(self) -> int:
        return 1

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "same"


class Unhashable(Same):
    """One that cannot be a key."""

    __hash__ = None  # type: ignore[assignment]


async def nothing(g: Gather, log: list[Any]) -> Any:
    return await g()


async def in_order(g: Gather, log: list[Any]) -> Any:
    return await g(work(log, "a", 3), work(log, "b", 1), asyncio.create_task(work(log, "c")))


async def one_fails(g: Gather, log: list[Any]) -> Any:
    try:
        return await g(work(log, "a", 5), work(log, "b", 1, Boom("b")), work(log, "c", 2, Boom("c")))
    finally:
        await asyncio.sleep(0.01)  # What was not waited for goes on.


async def exceptions_are_results(g: Gather, log: list[Any]) -> Any:
    results = await g(work(log, "a"), work(log, "b", 1, Boom("b")), return_exceptions=True)
    return [repr(each) for each in results]


async def cancelled_inside(g: Gather, log: list[Any]) -> Any:
    return await g(work(log, "a", 5), work(log, "b", 1, asyncio.CancelledError()))


async def cancelled_outside(g: Gather, log: list[Any]) -> Any:
    async def waits() -> Any:
        return await g(work(log, "a", 9), work(log, "b", 9), return_exceptions=True)

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel("enough")
    return await task


async def too_late(g: Gather, log: list[Any]) -> Any:
    return await asyncio.wait_for(g(work(log, "a", 10**9), work(log, "b")), 0.01)


async def the_same_twice(g: Gather, log: list[Any]) -> Any:
    one, future = work(log, "a"), asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, "f")
    return await g(one, future, one, future, Same(), Same())


async def what_cannot_be_a_key(g: Gather, log: list[Any]) -> Any:
    return await g(Unhashable())


async def what_cannot_be_awaited(g: Gather, log: list[Any]) -> Any:
    try:
        return await g(work(log, "a"), 7)
    finally:
        await asyncio.sleep(0.01)


async def of_another_loop(g: Gather, log: list[Any]) -> Any:
    other = asyncio.new_event_loop()
    try:
        return await g(other.create_future(), work(log, "a"))
    finally:
        log.append(len(asyncio.all_tasks(other)))
        await asyncio.to_thread(other.run_until_complete, asyncio.sleep(0.01))
        other.close()


async def left_alone(g: Gather, log: list[Any]) -> Any:
    """The loop ends while it goes on."""

    async def waits() -> None:
        await g(work(log, "a", 9))

    coroutine = waits()
    coroutine.send(None)
    coroutine.close()


TRIALS: list[Trial] = [
    nothing,
    in_order,
    one_fails,
    exceptions_are_results,
    cancelled_inside,
    cancelled_outside,
    too_late,
    the_same_twice,
    what_cannot_be_a_key,
    what_cannot_be_awaited,
    of_another_loop,
    left_alone,
]


def outcome(trial: Trial, g: Gather) -> tuple[Any, list[Any]]:
    """What comes of it, and all that happened and was said."""
    log: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, said: log.append(said["message"]))
    try:
        result = loop.run_until_complete(trial(g, log))
    except BaseException as error:
        result = (type(error), error.args if isinstance(error, (Boom, asyncio.CancelledError)) else ())
    loop.close()
    gc.collect()
    return result, log


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("trial", TRIALS)
def test_the_same_as_asyncio(telemetry: Telemetry, trial: Trial) -> None:
    with workflow("w"):
        assert outcome(trial, gather) == outcome(trial, asyncio.gather)


def test_an_exception_is_not_held(telemetry: Telemetry) -> None:
    async def fails() -> None:
        raise Boom

    async def main() -> weakref.ref[Boom] | None:
        try:
            await gather(fails(), work([], "b"))
        except Boom as error:
            return weakref.ref(error)
        return None

    gc.disable()
    try:
        with workflow("w"):
            held = asyncio.run(main())
        assert held is not None
        assert held() is None
    finally:
        gc.enable()


def test_stages_in_a_gather_within_another(telemetry: Telemetry) -> None:
    async def one(name: str) -> None:
        with stage(name):
            await asyncio.sleep(0)

    async def both() -> None:
        await one("a")
        await gather(one("b"), one("c"))

    async def main() -> None:
        with workflow("w"):
            await gather(both(), one("d"))
            await one("e")

    asyncio.run(main())
    assert dict(told(telemetry)) == {"a": [], "b": ["a"], "c": ["a"], "d": [], "e": ["b", "c", "d"]}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
def test_what_eager_tasks_do_at_once_follows_too(telemetry: Telemetry) -> None:
    async def one(*names: str, waits: bool = False) -> None:
        for name in names:
            with stage(name):
                pass
            if waits:
                await asyncio.sleep(0)

    async def inner() -> None:
        await one("f")
        await gather(one("g"), one("h", waits=True))
        await one("i")

    async def main() -> None:
        eager: Any = asyncio
        asyncio.get_running_loop().set_task_factory(eager.eager_task_factory)
        with workflow("w"):
            await one("a")
            await gather(one("b", "c"), one("d", waits=True))
            await one("e")
            await gather(inner(), one("j"))
            await one("k")
            with stage("l"):
                await gather(one("m"))
            await asyncio.gather(one("n"))

    asyncio.run(main())
    assert dict(told(telemetry)) == {
        "a": [],
        "b": ["a"],
        "c": ["b"],
        "d": ["a"],
        "e": ["c", "d"],
        "f": ["e"],
        "g": ["f"],
        "h": ["f"],
        "i": ["g", "h"],
        "j": ["e"],
        "k": ["i", "j"],
        "l": ["k"],
        "m": [],
        "n": [],
    }
