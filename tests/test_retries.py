"""Attempts that the workflow's own code makes: with `visit.attempt()`, and with libraries for retries."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest
import stamina
import tenacity
from opentelemetry.sdk.trace import ReadableSpan
from pocketflow import Node

from otel_progress import current_run, current_stage, on_retry, stage, workflow
from otel_progress.recording.order import MOST_WORKERS
from otel_progress.recording.settings import Settings

from .conftest import SECOND, START, Telemetry

if TYPE_CHECKING:
    AnyNode = Node[Any, Any, Any]
else:
    AnyNode = Node

RETRY = {"workflow.name": "w", "stage.name": "ask"}


def attempts(telemetry: Telemetry) -> list[tuple[Any, Any, float, float]]:
    """The failed ones: number, error, seconds from the start at which each began and ended."""

    def told(span: ReadableSpan) -> tuple[Any, Any, float, float]:
        found = span.attributes or {}
        begun, ended = ((at or 0) - START for at in (span.start_time, span.end_time))
        return found["otel_progress.stage.attempts"], found["error.type"], begun / SECOND, ended / SECOND

    return [told(span) for span in telemetry.spans("attempt")]


def of_stage(telemetry: Telemetry) -> dict[str, Any]:
    """What the stage's span says of attempts."""
    found = telemetry.span("stage ask").attributes or {}
    told = {name: found.get(f"otel_progress.stage.{name}") for name in ("attempts", "retries", "wait", "result")}
    return {name: value for name, value in told.items() if value is not None}


def test_a_loop_of_ones_own(telemetry: Telemetry) -> None:
    with workflow("w"), stage("ask") as visit:
        for number in range(4):
            try:
                with visit.attempt():
                    telemetry.time.passes(1)
                    if number < 3:
                        raise TimeoutError("busy")
            except TimeoutError:
                telemetry.time.passes(0.2)
    assert of_stage(telemetry) == {"attempts": 4, "retries": 3, "wait": pytest.approx(0.6), "result": "success"}
    assert attempts(telemetry) == [
        (1, "TimeoutError", 0.0, 1.0),
        (2, "TimeoutError", 1.2, 2.2),
        (3, "TimeoutError", 2.4, 3.4),
    ]
    assert telemetry.points("otel_progress.stage.retries") == [({**RETRY, "error.type": "TimeoutError"}, 3)]
    assert telemetry.points("otel_progress.stage.wait") == [({**RETRY, "wait.reason": "retry"}, pytest.approx(0.6))]


def test_an_attempt_says_its_number_and_platform_in_its_name(telemetry_with: Callable[[Settings], Telemetry]) -> None:
    """In a list of spans one sees which it was; numbers and platforms without end would be names without end."""
    telemetry = telemetry_with(Settings(name_limit=1))

    def fail(visit: Any) -> None:
        with contextlib.suppress(TimeoutError), visit.attempt():
            raise TimeoutError

    with workflow("w"), stage("ask") as visit:
        fail(visit)
        visit.platform("twitter")
        for _ in range(5):
            fail(visit)
        visit.platform("linkedin")
        fail(visit)
    assert [span.name for span in telemetry.spans("attempt")] == [
        *("attempt 1", "attempt 2 twitter", "attempt 3 twitter", "attempt 4 twitter"),
        *("attempt 5+ twitter", "attempt 5+ twitter", "attempt 5+ other"),
    ]
    numbers = [(span.attributes or {})["otel_progress.stage.attempts"] for span in telemetry.spans("attempt")]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]
    platforms = [(span.attributes or {}).get("otel_progress.item.platform") for span in telemetry.spans("attempt")]
    assert platforms == [None, *["twitter"] * 5, "linkedin"]


def test_the_last_attempt_fails_the_stage(telemetry: Telemetry) -> None:
    def ask(visit: Any) -> None:
        with visit.attempt():
            raise TimeoutError("busy")

    with pytest.raises(TimeoutError), workflow("w"), stage("ask") as visit:
        with pytest.raises(TimeoutError):
            ask(visit)
        ask(visit)
    assert of_stage(telemetry) == {"attempts": 2, "retries": 1, "result": "failure"}
    assert [number for number, *_ in attempts(telemetry)] == [1, 2]
    described = [
        span.name for span in telemetry.spans() if [event for event in span.events if event.name == "exception"]
    ]
    assert described == ["attempt 1", "attempt 2"]  # Not once more by what is around it.


def test_one_thing_after_the_other_is_no_retry(telemetry: Telemetry) -> None:
    with workflow("w"), stage("ask") as visit:
        for _ in range(3):
            with visit.attempt():
                telemetry.time.passes(1)
    assert of_stage(telemetry) == {"attempts": 1, "result": "success"}


def test_tasks_have_attempts_of_their_own(telemetry: Telemetry) -> None:
    async def ask(visit: Any) -> None:
        for number in range(2):
            try:
                async with visit.attempt():
                    await asyncio.sleep(0)
                    if number == 0:
                        raise TimeoutError
            except TimeoutError:
                await asyncio.sleep(0)

    async def main() -> None:
        with workflow("w"), stage("ask") as visit:
            await asyncio.gather(ask(visit), ask(visit))

    asyncio.run(main())
    assert of_stage(telemetry) == {"attempts": 3, "retries": 2, "result": "success"}
    assert [number for number, *_ in attempts(telemetry)] == [1, 1]


def test_tasks_that_gave_up_are_not_kept_for_ever(telemetry: Telemetry) -> None:
    async def ask(visit: Any) -> None:
        with contextlib.suppress(TimeoutError), visit.attempt():
            raise TimeoutError

    async def main() -> int:
        with workflow("w"), stage("ask") as visit:
            await asyncio.gather(*(ask(visit) for _ in range(MOST_WORKERS + 10)))
            return len(visit.tries)

    assert asyncio.run(main()) == MOST_WORKERS


def test_a_cancelled_attempt_is_none_that_failed(telemetry: Telemetry) -> None:
    with pytest.raises(KeyboardInterrupt), workflow("w"), stage("ask") as visit, visit.attempt():
        raise KeyboardInterrupt
    assert (of_stage(telemetry)["result"], attempts(telemetry)) == ("cancelled", [])


def test_after_the_visit_it_does_nothing(telemetry: Telemetry) -> None:
    with workflow("w"), stage("ask") as visit:
        pass
    with pytest.raises(TimeoutError), visit.attempt():
        raise TimeoutError
    assert attempts(telemetry) == []


# --- libraries --------------------------------------------------------------------------------------------------------


class Flaky:
    """Fails so often before it answers."""

    def __init__(self, telemetry: Telemetry, times: int) -> None:
        self.left = times
        self._time = telemetry.time

    def __call__(self) -> str:
        self._time.passes(1)
        self.left -= 1
        if self.left >= 0:
            raise ConnectionError("away")
        return "answer"


def test_tenacity(telemetry: Telemetry) -> None:
    flaky = Flaky(telemetry, 2)
    again = tenacity.retry(wait=tenacity.wait_fixed(0.5), before_sleep=on_retry, sleep=telemetry.time.passes)(flaky)
    with workflow("w"), stage("ask"):
        assert again() == "answer"
        flaky.left = 1
        assert again() == "answer"
    assert of_stage(telemetry) == {"attempts": 4, "retries": 3, "wait": 1.5, "result": "success"}
    # How long the first took is read from tenacity, whose clock is not the test's.
    assert [(number, error, ended) for number, error, _, ended in attempts(telemetry)] == [
        (1, "ConnectionError", 1.0),
        (2, "ConnectionError", 2.5),
        (1, "ConnectionError", 5.0),
    ]
    assert attempts(telemetry)[1][2] == 1.5


def test_tenacity_in_a_coroutine(telemetry: Telemetry) -> None:
    flaky = Flaky(telemetry, 1)

    @tenacity.retry(before_sleep=on_retry)
    async def ask() -> str:
        return flaky()

    @stage("ask")
    async def asks() -> str:
        return await ask()

    with workflow("w"):
        assert asyncio.run(asks()) == "answer"
    assert of_stage(telemetry) == {"attempts": 2, "retries": 1, "result": "success"}


@pytest.fixture
def hooked() -> Generator[None]:
    """Stamina with the hook, and without any wait."""
    stamina.instrumentation.set_on_retry_hooks([on_retry])
    stamina.set_testing(True, attempts=5)
    yield
    stamina.set_testing(False)
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.mark.usefixtures("hooked")
def test_stamina(telemetry: Telemetry) -> None:
    again = stamina.retry(on=ConnectionError)(Flaky(telemetry, 2).__call__)
    with workflow("w"), stage("ask"):
        assert again() == "answer"
    assert of_stage(telemetry) == {"attempts": 3, "retries": 2, "result": "success"}
    # Stamina does not say when the first began.
    assert attempts(telemetry) == [(1, "ConnectionError", 1.0, 1.0), (2, "ConnectionError", 1.0, 2.0)]


@pytest.mark.parametrize("details", [None, object(), 7])
def test_what_is_no_detail_of_a_retry(telemetry: Telemetry, details: Any) -> None:
    with workflow("w"), stage("ask"):
        on_retry(details)
    assert of_stage(telemetry) == {"attempts": 1, "result": "success"}


def test_outside_of_a_stage_a_hook_does_nothing(telemetry: Telemetry) -> None:
    again = tenacity.retry(before_sleep=on_retry)(Flaky(telemetry, 1))
    assert (again(), telemetry.spans()) == ("answer", [])


# --- where code is ----------------------------------------------------------------------------------------------------


def test_current_stage(telemetry: Telemetry) -> None:
    assert (current_stage(), current_run()) == (None, None)
    with workflow("w") as run:
        assert (current_stage(), current_run()) == (None, run)
        with stage("outer") as outer:
            assert (current_stage(), current_run()) == (outer, run)
            with stage("inner") as inner:
                assert current_stage() is inner
            assert current_stage() is outer
    assert (current_stage(), current_run()) == (None, None)


def test_current_stage_in_the_phases_of_a_node(telemetry_with: Any) -> None:
    telemetry_with(Settings(detail="all"))
    seen: list[Any] = []

    @stage("work")
    class Work(AnyNode):
        def exec(self, prep_res: Any) -> None:
            visit = current_stage()
            seen.append(visit and visit.stage)

    Work().run({})
    assert seen == ["work"]
    assert current_run() is None
