"""Threads: what is handed to them with `run.wrap` or `run.executor` is part of the run that does so."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
import trio

from otel_progress import current_stage, stage, workflow
from otel_progress.recording.order import MOST_WORKERS

from .conftest import Telemetry, told


@stage()
def publish(platform: str = "x") -> str:
    """A stage without a store."""
    return platform


def trees(telemetry: Telemetry) -> list[str]:
    return [str(tree) for tree in telemetry.trees()]


def in_thread(function: Any, *args: Any) -> None:
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def test_a_thread(telemetry: Telemetry) -> None:
    with workflow("w") as run, stage("outer"):
        in_thread(run.wrap(publish), "x")
    assert trees(telemetry) == ["run w[stage outer[stage publish]]"]


def test_what_is_wrapped_is_called_as_ever(telemetry: Telemetry) -> None:
    async def later(number: int) -> int:
        """Once more."""
        publish()
        await asyncio.sleep(0)
        return number + 1

    def fails() -> None:
        raise ValueError("no")

    with workflow("w") as run:
        wrapped = run.wrap(later)
        assert (wrapped.__name__, wrapped.__doc__, asyncio.iscoroutinefunction(wrapped)) == (
            "later",
            "Once more.",
            True,
        )
        assert asyncio.run(wrapped(1)) == 2
        with pytest.raises(ValueError, match="no"):
            run.wrap(fails)()
        assert current_stage() is None
    assert trees(telemetry) == ["run w[stage publish]"]


def test_after_the_end_of_the_run_it_is_none_of_it(telemetry: Telemetry) -> None:
    with workflow("w") as run:
        wrapped = run.wrap(publish)
    in_thread(wrapped)
    assert trees(telemetry) == ["run w", "run tests[stage publish]"]


def test_from_outside_it_is_in_the_run(telemetry: Telemetry) -> None:
    made: list[Any] = []
    with workflow("w") as run:
        in_thread(lambda: made.append(run.wrap(publish)))
        in_thread(made[0])
    assert trees(telemetry) == ["run w[stage publish]"]


def test_an_executor(telemetry: Telemetry) -> None:
    with workflow("w") as run, run.executor(ThreadPoolExecutor(2)) as pool:
        future = pool.submit(publish, "x")
        assert isinstance(future, Future)
        assert (future.result(), list(pool.map(publish, "abc"))) == ("x", ["a", "b", "c"])
        with pytest.raises(RuntimeError, match="cannot schedule new futures"):
            pool.shutdown()
            pool.submit(publish)
    assert trees(telemetry) == [f"run w[{', '.join(['stage publish'] * 4)}]"]


def test_an_executor_of_an_event_loop(telemetry: Telemetry) -> None:
    async def main() -> None:
        with workflow("w") as run, stage("outer"), run.executor(ThreadPoolExecutor(2)) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, publish)

    asyncio.run(main())
    assert trees(telemetry) == ["run w[stage outer[stage publish]]"]


def test_processes_are_refused(telemetry: Telemetry) -> None:
    with workflow("w") as run, ProcessPoolExecutor(1) as pool, pytest.raises(TypeError, match="hand `shared`"):
        run.executor(pool)


def test_a_thread_that_was_handed_nothing_is_hinted_at_once(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), workflow("w"):
        in_thread(publish)
        in_thread(publish)
    (hint,) = caplog.messages
    assert "a stage (publish) begins a run of its own while w goes on" in hint
    assert "run.wrap(function)" in hint


def test_stages_that_know_their_store_are_no_cause_for_a_hint(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    shared: dict[str, Any] = {}

    def work() -> None:
        with stage("a", shared=shared):
            pass

    with caplog.at_level(logging.WARNING), workflow("w", shared=shared):
        in_thread(work)
    assert caplog.messages == []


# --- what followed what -----------------------------------------------------------------------------------------------


def test_a_thread_is_free_again_when_coroutines_that_were_wrapped_have_ended(telemetry: Telemetry) -> None:
    async def work(turns: int) -> None:
        publish()
        for _ in range(turns):
            await asyncio.sleep(0)

    async def main(wrapped: Any) -> None:
        await asyncio.gather(wrapped(1), wrapped(3))

    with workflow("w") as run, ThreadPoolExecutor(1) as pool:
        with stage("before"):
            pass
        pool.submit(asyncio.run, main(run.wrap(work))).result()
        for name in ("one", "other"):  # By one thread of a pool, which have nothing to do with each other.
            pool.submit(copy_context().run, stage(name)(lambda: None)).result()
    assert told(telemetry) == [
        ("before", []),
        ("publish", ["before"]),
        ("publish", ["before"]),
        ("one", []),
        ("other", []),
    ]


def test_the_end_of_an_executor_in_a_thread_of_a_pool(telemetry: Telemetry) -> None:
    def work() -> None:
        with run.executor(ThreadPoolExecutor(1)) as pool:
            pool.submit(publish)

    with workflow("w") as run, ThreadPoolExecutor(1) as pool:
        pool.submit(copy_context().run, work).result()
        pool.submit(copy_context().run, stage("other")(lambda: None)).result()
    assert told(telemetry) == [("publish", []), ("other", [])]


def test_the_end_of_an_executor_in_a_callback(telemetry: Telemetry) -> None:
    async def main() -> None:
        with workflow("w") as run:
            loop = asyncio.get_running_loop()
            done = loop.create_future()

            def work() -> None:
                with run.executor(ThreadPoolExecutor(1)) as pool:
                    pool.submit(publish)

            loop.call_soon(work)
            loop.call_soon(stage("other")(lambda: None))
            loop.call_soon(done.set_result, None)
            await done

    asyncio.run(main())
    assert told(telemetry) == [("publish", []), ("other", [])]


def test_tasks_of_trio_in_a_thread_of_an_executor(telemetry: Telemetry) -> None:
    async def child(function: Any) -> None:
        for _ in range(2):
            await trio.lowlevel.checkpoint()
            function()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, publish)
            nursery.start_soon(child, stage("other")(lambda: None))

    with workflow("w") as run, run.executor(ThreadPoolExecutor(1)) as pool:
        pool.submit(trio.run, main).result()
    assert sorted(told(telemetry)) == [("other", []), ("other", ["other"]), ("publish", []), ("publish", ["publish"])]


def test_what_is_known_of_many_calls_is_bounded(telemetry: Telemetry) -> None:
    with workflow("w") as run:
        publish()
        wrapped = run.wrap(int)
        with run.executor(ThreadPoolExecutor(1)) as pool:
            for _ in range(MOST_WORKERS + 100):
                wrapped()
                pool.submit(int)
            assert len(pool._activities) == MOST_WORKERS  # type: ignore[attr-defined]
        assert run.ends is not None
        assert len(run.ends) <= MOST_WORKERS
