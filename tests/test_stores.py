"""Stores that wait, lock, record or are no store: each harms nobody but itself, and holds what it holds without us."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from multiprocessing import Manager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pocketflow import Flow, Node

from otel_progress import PocketFlowInstrumentor, Sink, stage, workflow

from . import otlp
from .conftest import OwnMapping, Telemetry

LONGEST = 30.0  # Seconds that a wait may take; mostly nothing.
ROOT = Path(__file__).parents[1]


def at_once(count: int, work: Callable[[], object]) -> None:
    """Run `work` in so many threads that begin together; none may raise, or be there for ever."""
    barrier, faults = threading.Barrier(count), list[BaseException]()

    def run() -> None:
        try:
            barrier.wait(LONGEST)
            work()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONGEST)
    assert not any(thread.is_alive() for thread in threads)
    assert faults == []


class Slow(dict[str, Any]):
    """One whose every access lets other threads go first."""

    def get(self, *args: Any) -> Any:
        os.sched_yield()
        return super().get(*args)

    def __setitem__(self, key: str, value: Any) -> None:
        os.sched_yield()
        super().__setitem__(key, value)
        os.sched_yield()


class Locked(dict[str, Any]):
    """One with a plain lock of its own, which the workflow holds while its stages run."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def __setitem__(self, key: str, value: Any) -> None:
        if self.lock.acquire(timeout=0.01):
            try:
                super().__setitem__(key, value)
            finally:
                self.lock.release()


class Waits(dict[str, Any]):
    """One that does not answer until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may = threading.Event(), threading.Event()

    def get(self, *args: Any) -> Any:
        self.asked.set()
        assert self.may.wait(LONGEST)
        return super().get(*args)


@pytest.mark.parametrize("make", [dict, Slow, Locked])
def test_no_update_is_lost_and_one_store_is_one_run(telemetry: Telemetry, make: Callable[[], dict[str, Any]]) -> None:
    shared = make()

    def work() -> None:
        for _ in range(15):
            with stage("draft", shared=shared):
                pass

    at_once(8, work)
    with stage("last", shared=shared):  # Whatever was left to somebody else to write.
        pass
    assert shared["progress_metrics"]["draft"]["visits"] == 120
    telemetry.recorder.close()
    assert len(telemetry.spans("run")) == 1


def test_two_threads_begin_one_run(telemetry: Telemetry) -> None:
    for _ in range(50):
        shared: dict[str, Any] = {}

        def work(shared: dict[str, Any] = shared) -> None:
            with stage("draft", shared=shared):
                pass

        at_once(2, work)
    telemetry.recorder.close()
    assert len(telemetry.spans("run")) == 50
    assert len(telemetry.spans("stage")) == 100


def test_a_store_that_does_not_answer_slows_only_itself(telemetry: Telemetry) -> None:
    waits = Waits()

    def use() -> None:
        with workflow("waits", shared=waits), stage("own"):
            pass

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    assert waits.asked.wait(LONGEST)
    shared: dict[str, Any] = {}

    def others() -> None:
        with workflow("others", shared=shared), stage("draft"):
            pass

    at_once(1, others)
    assert shared["progress_metrics"]["draft"]["completed"]
    telemetry.points("otel_progress.stage.active")  # A collection does not wait either.
    waits.may.set()
    thread.join(LONGEST)
    assert waits["progress_metrics"]["own"]["completed"]


def test_a_store_of_another_process_is_one_for_many_threads(telemetry: Telemetry) -> None:
    with Manager() as manager:
        shared = manager.dict()

        def work() -> None:
            for _ in range(5):
                with stage("draft", shared=shared):
                    pass

        at_once(4, work)
        with stage("last", shared=shared):
            pass
        assert shared["progress_metrics"]["draft"]["visits"] == 20


def test_a_run_that_its_store_does_not_tell_of_yet_keeps_it(telemetry: Telemetry) -> None:
    """Where one thread begins a run over a slow store, another may have gone through a stage of it before that."""
    writing, written = threading.Event(), threading.Event()

    class Slow(OwnMapping):
        def __setitem__(self, key: str, value: Any) -> None:
            writing.set()
            assert written.wait(LONGEST)
            super().__setitem__(key, value)

    shared = Slow()

    def work(name: str) -> None:
        with stage(name, shared=shared):
            pass

    first = threading.Thread(target=work, args=("first",), daemon=True)
    first.start()
    assert writing.wait(LONGEST)
    for name in ("second", "third"):
        other = threading.Thread(target=work, args=(name,), daemon=True)
        other.start()
        other.join(LONGEST)
        assert not other.is_alive()
    written.set()
    first.join(LONGEST)
    runs = [(span.attributes or {})["otel_progress.run.id"] for span in telemetry.spans("stage")]
    assert runs == [runs[0]] * 3


class Asks(OwnMapping):
    """One whose every method, and whose end, has another thread look whether it can have the lock of a run."""

    lock: ClassVar[Any] = threading.RLock()
    held: ClassVar[list[str]] = []
    gone: ClassVar[list[None]] = []

    def ask(self, name: str) -> None:
        def look() -> None:
            if self.lock.acquire(blocking=False):
                self.lock.release()
            else:
                self.held.append(name)

        at_once(1, look)

    def __getitem__(self, key: str) -> Any:
        self.ask("getitem")
        return super().__getitem__(key)

    def __iter__(self) -> Any:
        self.ask("iter")
        return super().__iter__()

    def __del__(self) -> None:
        self.ask("del")
        self.gone.append(None)


def test_what_stands_in_a_dict_is_no_plain_dict_either(telemetry: Telemetry) -> None:
    """No lock is held while its methods run, or when the last of it goes."""
    shared: dict[str, Any] = {"progress_metrics": Asks()}
    shared["progress_metrics"]["a"] = Asks()
    with workflow("w", shared=shared) as run:
        Asks.lock = run.lock
        with stage("a") as visit:
            shared["progress_metrics"] = Asks()
            visit.advance(1)
            shared["progress_run"] = Asks()
        with workflow("w", shared=shared), stage("b"):
            pass
    shared.update(progress_metrics=Asks(), progress_run=Asks())
    Asks.lock = run.lock
    with stage("a", shared=shared):
        pass
    assert Asks.held == []
    assert shared["progress_metrics"]["a"]["completed"]


@pytest.mark.parametrize("whose", ["one", "two"])
def test_what_stood_in_one_of_two_stores_goes_while_the_lock_of_neither_is_held(
    telemetry: Telemetry, whose: str
) -> None:
    one: dict[str, Any] = {}
    two: dict[str, Any] = {}

    def inside_another() -> None:
        with workflow("two", shared=two) as other, stage("a", shared=one):
            Asks.lock = other.lock if whose == "two" else run.lock
            two["progress_metrics"]["a"] = Asks()
            Asks.gone.clear()

    with workflow("one", shared=one) as run:
        contextvars.Context().run(inside_another)
    assert (Asks.held, len(Asks.gone)) == ([], 1)


def test_a_hook_may_wait_for_a_thread_that_joins_its_run(telemetry: Telemetry, faults: Callable[[], list[str]]) -> None:
    shared: dict[str, Any] = {}

    def join() -> None:
        with stage("elsewhere", shared=shared):
            pass

    PocketFlowInstrumentor().instrument(span_hook=lambda span, node: at_once(1, join))
    try:
        Flow(Node()).run(shared)
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert len(telemetry.spans("run")) == 1
    assert faults() == []


def test_one_run_whose_end_fails_stops_no_other(telemetry: Telemetry) -> None:
    class Refuses(dict[str, Any]):
        def get(self, *args: Any) -> Any:
            raise SystemExit

    class Fails(Sink):
        def run_ended(self, run: Any) -> None:
            raise SystemExit

    telemetry.recorder.sinks.append(Fails())
    for shared in ({}, Refuses(), {}):
        workflow("w", shared=shared).__enter__()
    telemetry.recorder.close()
    assert telemetry.recorder.registry.runs() == []
    assert len(telemetry.spans("run")) == 3


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, BaseException, RuntimeError])
def test_what_a_hook_raises_ends_there(telemetry: Telemetry, error: type[BaseException]) -> None:
    def hook(*_: Any) -> Any:
        raise error

    PocketFlowInstrumentor().instrument(name_hook=hook, span_hook=hook)
    try:
        Flow(Node()).run({})
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert telemetry.span("stage Node")


# --- what is no store -------------------------------------------------------------------------------------------------


class Jar(OwnMapping):
    """As a cookie jar or a file of measurements: a registered mapping that is none of ours."""


class Frame(Jar):
    """As a DataFrame: it has columns, and no truth."""

    def __array__(self) -> Any:
        raise NotImplementedError

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]


@stage("reads")
def reads(shared: Any) -> None: ...


class Takes(Node):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None: ...


@pytest.mark.parametrize("make", [Jar, Frame])
def test_what_merely_has_the_name_does_not_change(telemetry: Telemetry, make: Callable[[], Jar]) -> None:
    found = make()
    reads(found)
    reads(shared=found)
    assert found.data == {}
    named = make()
    with workflow("w", shared=named), stage("a"):
        pass
    Flow(Takes()).run(named)  # pyright: ignore[reportArgumentType]
    assert bool(named.data) == (make is Jar)


PROGRAM = """
import json, sys
sys.path.insert(0, {root!r})
from pocketflow import Flow, Node

def of(**values):
    return sorted(values)

class Sums(Node):
    def post(self, shared, prep_res, exec_res):
        shared["total"] = sum(shared.values())

class Passes(Node):
    def post(self, shared, prep_res, exec_res):
        for key in shared:
            shared[key] = len(of(**shared))

class Nests(Node):
    def post(self, shared, prep_res, exec_res):
        for key in list(shared):
            Flow(Sums()).run(shared)

shared = {{"a": 1, "b": 2}}
first = Sums()
first >> Passes() >> Nests()
Flow(first).run(shared)
print(json.dumps(shared))
"""


def test_a_program_that_is_recorded_from_outside_has_the_same_store(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, textwrap.dedent(PROGRAM).format(root=str(ROOT)))
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    ways = [], ["-m", "otel_progress", "run"], [instrument]
    said = list[str]()
    for way in ways:
        command = [instrument, sys.executable] if way == [instrument] else [sys.executable, *way]
        ended = subprocess.run(
            [*command, str(program)],
            cwd=tmp_path,
            env=otlp.environment(
                PYTHONPATH=str(ROOT),
                OTEL_TRACES_EXPORTER="none",
                OTEL_METRICS_EXPORTER="none",
                OTEL_LOGS_EXPORTER="none",
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        said.append(ended.stdout)
    assert said == said[:1] * 3
