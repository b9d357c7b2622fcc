"""Starts by the wall clock, durations by the monotonic one: a machine that sleeps, a clock that is set."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from pocketflow import BatchNode, Node

from otel_progress import PocketFlowInstrumentor, ProgressTrackerNode, stage, workflow
from otel_progress.recording import default
from otel_progress.recording.later import Later
from otel_progress.recording.settings import Settings

from .conftest import SECOND, START, ManualTime, Telemetry, make_telemetry

HOURS = 3600 * SECOND


def sleeps(time: ManualTime, hours: int = 8) -> None:
    """The machine is suspended: the monotonic clock of Linux stands still meanwhile."""
    time.wall += hours * HOURS


def started(telemetry: Telemetry, span: str) -> float:
    """Seconds after the test's start by the wall clock."""
    return ((telemetry.span(span).start_time or 0) - START) / SECOND


def lasted(telemetry: Telemetry, span: str) -> float:
    found = telemetry.span(span)
    return ((found.end_time or 0) - (found.start_time or 0)) / SECOND


def test_a_program_whose_tests_stop_the_time(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they do to try its waiting. What our threads wait for is none of it."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    with workflow("w"):
        for _ in range(10):
            with stage("a"):
                pass
    busy = Later(lambda: None, "things")
    busy.drain()  # And while another thread works it gives up after a while.
    monkeypatch.setattr(busy, "_worker", {None: -1})
    assert busy.drain(timeout=0.01) is False
    assert [count for _, (_, count) in telemetry.points("otel_progress.stage.duration")] == [1, 9]
    assert slept == []


def test_a_stage_after_a_sleep_starts_when_it_does(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        with stage("before"):
            telemetry.time.passes(1)
            sleeps(telemetry.time)
            telemetry.time.passes(1)
        with stage("after"):
            assert telemetry.points("otel_progress.stage.oldest_start")[0][1] == (START + 8 * HOURS) / SECOND + 2
            telemetry.time.passes(3)
    assert started(telemetry, "stage after") == 8 * 3600 + 2
    assert lasted(telemetry, "stage before") == 2
    assert lasted(telemetry, "stage after") == 3
    assert lasted(telemetry, "run w") == 5
    assert [total for _, (total, _) in telemetry.points("otel_progress.stage.duration")] == [3, 2]
    assert shared["progress_metrics"]["after"]["start_time"].startswith("2025-08-28T18:45:02")
    assert shared["progress_metrics"]["before"]["seconds"] == 2


def test_a_stage_in_an_idle_run_after_a_sleep(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with stage("before", shared=shared):
        telemetry.time.passes(1)
    sleeps(telemetry.time)
    with stage("after", shared=shared):
        assert telemetry.points("otel_progress.stage.oldest_start")[0][1] == (START + 8 * HOURS) / SECOND + 1
        telemetry.time.passes(1)
    assert started(telemetry, "stage after") == 8 * 3600 + 1
    assert lasted(telemetry, "stage after") == 1


class Sleeper(Node):
    """Fails once, and the machine sleeps between the tries."""

    time: ManualTime

    def exec(self, prep_res: Any) -> None:
        self.time.passes(1)
        if self.cur_retry == 0:
            sleeps(self.time)
            raise ValueError


def test_attempts_and_phases_around_a_sleep(telemetry_with: Any) -> None:
    telemetry: Telemetry = telemetry_with(Settings(detail="all"))
    node = stage("node")(Sleeper)(max_retries=2)
    node.time = telemetry.time
    with workflow("w", shared={}):
        node.run({})
    assert lasted(telemetry, "stage node") == 2
    assert lasted(telemetry, "attempt 1") == 1
    assert lasted(telemetry, "exec") == 2
    assert lasted(telemetry, "post") == 0
    assert telemetry.points("otel_progress.stage.wait") in (
        [],
        [({"stage.name": "node", "workflow.name": "w", "wait.reason": "retry"}, 0.0)],
    )
    stage_starts = telemetry.span("stage node").start_time or 0
    assert all((span.start_time or 0) >= stage_starts for span in telemetry.spans() if span.name != "run w")


def test_items_around_a_sleep(telemetry_with: Any) -> None:
    telemetry: Telemetry = telemetry_with(Settings(detail="items"))

    class Items(BatchNode):
        def prep(self, shared: Any) -> list[int]:
            return [1, 2, 3]

        def exec(self, prep_res: int) -> None:
            telemetry.time.passes(1)
            if prep_res == 2:
                sleeps(telemetry.time, -8)

    PocketFlowInstrumentor().instrument()
    try:
        Items().run({})
    finally:
        PocketFlowInstrumentor().uninstrument()
    items = telemetry.spans("item")
    assert [(span.end_time or 0) - (span.start_time or 0) for span in items] == [SECOND] * 3
    parent = telemetry.span("stage Items")
    assert all((parent.start_time or 0) <= (span.start_time or 0) for span in items)


def test_what_a_tracker_opens_around_a_sleep(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"workflow_state": {"current_stage": "a"}}
    with workflow("w", shared=shared):
        ProgressTrackerNode().run(shared)
        telemetry.time.passes(1)
        sleeps(telemetry.time)
        shared["workflow_state"]["current_stage"] = "b"
        ProgressTrackerNode().run(shared)
        telemetry.time.passes(2)
    assert started(telemetry, "stage b") == 8 * 3600 + 1
    assert (lasted(telemetry, "stage a"), lasted(telemetry, "stage b")) == (1, 2)


def test_what_a_run_leaves_open_lasts_as_long_as_it_did(telemetry: Telemetry) -> None:
    with workflow("w", shared={}):
        telemetry.time.passes(1)
        sleeps(telemetry.time)
        left = stage("left")
        left.__enter__()
        telemetry.time.passes(2)
    left.__exit__(None, None, None)
    assert (lasted(telemetry, "run w"), lasted(telemetry, "stage left")) == (3, 2)
    assert started(telemetry, "stage left") == 8 * 3600 + 1


def test_the_steps_of_a_generator_around_a_sleep(telemetry: Telemetry) -> None:
    @stage("steps")
    def steps() -> Generator[int]:
        telemetry.time.passes(1)
        yield 1
        with stage("inside"):
            telemetry.time.passes(1)

    for _ in steps():
        sleeps(telemetry.time, -8)
    assert lasted(telemetry, "stage steps") == 2
    assert started(telemetry, "stage inside") >= started(telemetry, "stage steps")


def test_a_task_whose_run_ended_before_the_clock_was_set_back(telemetry: Telemetry) -> None:
    async def use() -> None:
        go_on = asyncio.Event()

        async def late() -> None:
            await go_on.wait()
            with stage("late"):
                telemetry.time.passes(1)

        with workflow("w", shared={}):
            task = asyncio.create_task(late())
            await asyncio.sleep(0)
            telemetry.time.passes(1)
        sleeps(telemetry.time, -8)
        go_on.set()
        await task

    asyncio.run(use())
    assert lasted(telemetry, "stage late") == 1


# --- any program, any clock -------------------------------------------------------------------------------------------

moves = st.recursive(
    st.one_of(
        st.tuples(st.just("passes"), st.integers(0, 5)),
        st.tuples(st.just("wall"), st.integers(-30_000, 30_000)),
        st.tuples(st.just("monotonic"), st.integers(-5, 0)),
        st.tuples(st.just("fails"), st.just(0)),
    ),
    lambda inside: st.tuples(st.sampled_from(["stage", "workflow", "generator"]), st.lists(inside, max_size=4)),
    max_leaves=15,
)


class Failed(Exception):
    """A stage fails."""


def run(move: tuple[str, Any], time: ManualTime, expected: dict[int, float], numbers: list[int]) -> None:
    """One move; for each stage, by its number, how long the monotonic clock says that it took."""
    kind, what = move
    if kind == "passes":
        time.passes(what)
    elif kind in ("wall", "monotonic"):
        setattr(time, kind, getattr(time, kind) + what * SECOND)
    elif kind == "fails":
        raise Failed
    else:
        numbers.append(len(numbers))
        number, before = numbers[-1], time.monotonic
        name = str(number)

        def inside() -> Generator[None]:
            yield
            for each in what:
                run(each, time, expected, numbers)

        try:
            if kind == "generator":
                list(stage(name)(inside)())
            else:
                with workflow(name) if kind == "workflow" else stage(name):
                    list(inside())
        except Failed:
            pass
        expected[number] = max(0, time.monotonic - before) / SECOND


@settings(max_examples=150, deadline=None)
@given(program=st.lists(moves, max_size=6))
def test_no_duration_is_negative_and_no_child_before_its_parent(program: list[tuple[str, Any]]) -> None:
    telemetry = make_telemetry()
    previous = default.use(telemetry.recorder)
    expected: dict[int, float] = {}
    numbers: list[int] = []
    try:
        with workflow("w", shared={}):
            for move in program:
                with contextlib.suppress(Failed):
                    run(move, telemetry.time, expected, numbers)
    finally:
        default.use(previous)
    spans: dict[int, ReadableSpan] = {span.context.span_id: span for span in telemetry.spans() if span.context}
    for span in spans.values():
        assert (span.end_time or 0) >= (span.start_time or 0)
        parent = spans.get(span.parent.span_id) if span.parent else None
        assert parent is None or (parent.start_time or 0) <= (span.start_time or 0)
    if "monotonic" not in str(program):
        for number, seconds in expected.items():
            assert lasted(telemetry, f"stage {number}") == seconds


@pytest.mark.parametrize("hours", [-8, 8])
def test_a_clock_that_is_set_between_two_visits(telemetry: Telemetry, hours: int) -> None:
    with workflow("w", shared={}):
        for _ in range(2):
            with stage("a"):
                telemetry.time.passes(1)
            sleeps(telemetry.time, hours)
    first, second = telemetry.spans("stage a")
    assert (second.start_time or 0) - (first.end_time or 0) == max(0, hours) * HOURS
    assert [(span.end_time or 0) - (span.start_time or 0) for span in (first, second)] == [SECOND, SECOND]
