"""What a signal's handler raises, at each instant at which Python calls one, reaches the program and leaves nothing.

Python looks for signals at the first instruction of a function and after a call of one in C. A profile function is
called at the same places: it plays the handler at the first of them, then, in a new run, at the second, and so on. So
every instant is tried once, and none twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from opentelemetry import context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span
from pocketflow import BatchNode, Flow, Node

from otel_progress import PocketFlowInstrumentor, ProgressTrackerNode, Run, Sink, Visit, gather, stage, workflow
from otel_progress.recording import default, order
from otel_progress.recording.later import Later
from otel_progress.recording.recorder import Recorder
from otel_progress.recording.waiting import Waiting
from otel_progress.sinks.mirror import _Desk
from otel_progress.sinks.usual import usual_sinks

OURS = ("otel_progress", "opentelemetry")

RESUMED_UNSEEN = sys.version_info < (3, 11)
"""Whether what a profile function raises where a coroutine goes on passes by its own `try`; a signal's does not."""


class TimeLimit(BaseException):
    """What a job queue raises when a job takes too long. No `Exception`: PocketFlow would take that for a failure."""


class Handler:
    """A signal's handler that raises an exception of some kind."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __call__(self, number: int, frame: Any) -> None:
        raise self.kind


class Begun(Sink):
    """Keeps every run and visit, and its span."""

    def __init__(self) -> None:
        self.all: list[tuple[Run | Visit, Span]] = []

    def run_started(self, run: Run) -> None:
        self.all.append((run, run.span))

    def visit_started(self, visit: Visit) -> None:
        self.all.append((visit, visit.span))


@pytest.fixture
def begun() -> Iterator[Begun]:
    """A recorder whose span processors swallow nothing (the SDK's SimpleSpanProcessor does), and what it began."""
    recorder, seen = Recorder(), Begun()
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    recorder.sinks = [*usual_sinks(recorder, TracerProvider(shutdown_on_exit=False), provider), seen]
    before = default.use(recorder)
    PocketFlowInstrumentor().instrument()
    gc.disable()  # What is raised in a finalizer ends there, by Python's own rule.
    yield seen
    gc.enable()
    PocketFlowInstrumentor().uninstrument()
    default.use(before)


def interrupted(work: Callable[[], object], at: int, handler: Handler) -> bool:
    """Call `work`, and the handler at the instant number `at`. False where there are not so many."""
    count, came = 0, False

    def look(frame: Any, event: str, _argument: Any) -> None:
        nonlocal count, came
        if event not in ("call", "c_return") or not str(frame.f_globals.get("__name__")).startswith(OURS):
            return
        if RESUMED_UNSEEN and event == "call" and frame.f_lasti >= 0:
            return
        count += 1
        if count == at:
            sys.setprofile(None)
            came = True
            handler(signal.SIGTERM, sys._getframe())

    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
        if came and sys.exc_info()[1] is None:
            pytest.fail(f"the exception at instant {at} was swallowed")
    return came


@stage("short")
def short(shared: dict[str, Any]) -> None: ...


@stage("steps")
def steps(shared: dict[str, Any]) -> Iterator[int]:
    yield 1
    yield 2


@stage("awaited")
async def awaited(shared: dict[str, Any]) -> None: ...


class Fails(Node):
    def exec(self, prep_res: Any) -> None:
        if self.cur_retry == 0:
            raise KeyError

    def exec_fallback(self, prep_res: Any, exc: Exception) -> None: ...


class Items(BatchNode):
    def prep(self, shared: Any) -> list[str]:
        return ["twitter"]


def a_block() -> None:
    with stage("alone") as visit:
        visit.advance(1, total=2)


def a_workflow() -> None:
    with workflow("whole"), stage("inner"):
        pass


def calls() -> None:
    shared: dict[str, Any] = {}
    short(shared)
    short(shared)


def a_generator() -> None:
    list(steps({}))


def a_coroutine() -> None:
    with contextlib.suppress(StopIteration):
        awaited({}).send(None)


def a_flow() -> None:
    fails = Fails(max_retries=2)
    fails >> Items() >> ProgressTrackerNode()
    Flow(fails).run({"workflow_state": {"current_stage": "tracked"}})


def by_hand() -> None:
    node = Fails()
    got = node.prep({})
    with contextlib.suppress(AttributeError):  # Its flow would have set `cur_retry`.
        node.exec(got)
    node.post({}, got, None)
    items: Any = Items()
    items.post({}, None, [items.exec(each) for each in items.prep({})])


class Plain(Node):
    def prep(self, shared: Any) -> int:
        return 1


def run_after_prep() -> None:
    node: Any = Plain()
    node.prep({})
    node._run({})
    flow: Any = Flow(node)
    flow.prep({})
    flow._run({})


@workflow("waits")
def a_wait() -> None:
    with stage("waits") as visit, visit.waiting("approval"):
        pass


def attempts() -> None:
    with stage("tries") as visit:
        with contextlib.suppress(KeyError), visit.attempt():
            raise KeyError
        with visit.attempt():
            pass


class AtOnce(Executor):
    """Calls what is submitted to it in the same thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def what_is_carried() -> None:
    try:
        with workflow("whole") as run:
            short({})
            run.wrap(short)({})
            with run.executor(AtOnce()) as executor:
                executor.submit(short, {})
    finally:
        assert order._thread.activity is None, "the thread has not gone back to what it did before"


@workflow("gathers")
async def gathers() -> None:
    await awaited({})
    await gather(awaited({}), awaited({}))
    await awaited({})


def what_is_gathered() -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(gathers())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        loop.close()


class Thing:
    """Something that is called."""

    def __call__(self) -> None: ...


thing = stage(Thing())


def an_object() -> None:
    thing()


def try_every_instant(begun: Begun, work: Callable[[], object], kind: type[BaseException]) -> int:
    """How many instants there are. Nothing is left after any of them."""
    recorder, handler, at = default.recorder, Handler(kind), 0
    work()  # What is found once is found.
    recorder.close()
    while True:
        at += 1
        begun.all.clear()
        try:
            if not interrupted(work, at, handler):
                return at - 1
        except kind:
            pass
        left = {
            "current": dict(context.get_current()),
            "visits": recorder.registry.visits(),
            "runs": [run for run in recorder.registry.runs() if not run.idle],
            "nodes": dict(recorder.registry.of_nodes),
        }
        assert not any(left.values()), (at, left)
        recorder.close()
        assert recorder.registry.runs() == []
        assert [each for each, span in begun.all if each.ended is None or span.is_recording()] == [], at


WORKS = [
    a_block,
    a_workflow,
    calls,
    a_generator,
    a_coroutine,
    a_flow,
    a_wait,
    attempts,
    what_is_carried,
    what_is_gathered,
    an_object,
    by_hand,
    run_after_prep,
]


@pytest.mark.filterwarnings("ignore:coroutine 'awaited' was never awaited")  # That of a gather that did not begin.
@pytest.mark.parametrize("work", WORKS)
def test_nothing_is_swallowed_and_nothing_left_open(begun: Begun, work: Callable[[], object]) -> None:
    assert try_every_instant(begun, work, TimeLimit) > 300


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError, RuntimeError, AttributeError, StopIteration, OSError])
def test_of_whatever_kind_it_is(begun: Begun, kind: type[BaseException]) -> None:
    for work in (a_block, a_wait, what_is_carried):
        assert try_every_instant(begun, work, kind) > 300


def test_what_is_shown_of_platforms_is_what_was_named(begun: Begun) -> None:
    handler, came = Handler(TimeLimit), True
    for at in itertools.count(1):
        shared: dict[str, Any] = {"task_requirements": {"platforms": 6}}
        with workflow("w", shared=shared), stage("a") as visit:

            def name(named: Visit = visit) -> None:
                named.platform("x")

            with contextlib.suppress(TimeLimit):
                came = interrupted(name, at, handler)
            named = len(visit.record.own_platforms)
        assert shared["progress_metrics"]["a"]["platforms"] == (named or 6), at
        if not came:
            return


def test_who_is_interrupted_keeps_nobody_out() -> None:
    """Where one thread works at a time: what waits, and a store that is no plain dict."""
    later, desk = Later(lambda: None, "things"), _Desk()
    works: list[tuple[Callable[[], object], object]] = [
        (later.drain, later._worker),
        (lambda: desk.hand_in("key", lambda: None), desk.writer),
    ]
    for work, held in works:
        at, came = 0, True
        while came:
            at += 1
            with contextlib.suppress(TimeLimit):
                came = interrupted(work, at, Handler(TimeLimit))
            assert held == {}, at
        assert at > 5


def test_time_of_waiting_is_counted_once_and_told_once(begun: Begun) -> None:
    times, told = itertools.count(0, 10**9), list[Waiting]()
    begun.wait_ended = lambda visit, waiting: told.append(waiting)  # type: ignore[method-assign]
    default.recorder.now = lambda recorded: next(times)  # type: ignore[method-assign]
    for at in itertools.count(1):
        told.clear()
        try:
            if not interrupted(a_wait, at, Handler(TimeLimit)):
                break
        except TimeLimit:
            pass
        for visit in [each for each, _ in begun.all if isinstance(each, Visit)]:
            assert len(told) == len(set(told)), at
            assert visit.wait == sum(((each.ended or 0) - each.started) / 10**9 for each in told), at
        begun.all.clear()
