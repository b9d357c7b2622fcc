"""Threads: what is handed to them with `run.wrap` or `run.executor` is part of the run that does so."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from otel_progress import current_stage, stage, workflow

from .conftest import Telemetry


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
