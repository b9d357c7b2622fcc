"""Attacks on the promise that a workflow does the same with otel_progress as without; each bounded and repeatable."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from pocketflow import AsyncFlow, AsyncNode, BatchFlow, Flow, Node

from otel_progress import PocketFlowInstrumentor, ProgressTrackerNode, Visit, stage, workflow
from otel_progress.recording import default
from otel_progress.recording.faults import from_handler, passes
from otel_progress.recording.recorder import Recorder
from otel_progress.recording.settings import Settings
from otel_progress.sinks.usual import usual_sinks

from .conftest import Telemetry

posix = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")


class TimeLimit(Exception):
    """What a job queue raises when a job takes too long."""


class Raiser:
    """Handlers of every form."""

    def method(self, number: int, frame: Any) -> None:
        raise TimeLimit

    def __call__(self, number: int, frame: Any) -> None:
        raise TimeLimit


def plain(number: int, frame: Any) -> None:
    raise TimeLimit


def with_more(more: str, number: int, frame: Any) -> None:
    raise TimeLimit(more)


def that_leaves(number: int, frame: Any) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    raise TimeLimit


def of_a_common_kind(number: int, frame: Any) -> None:
    raise ValueError("limit")


def of_another_common_kind(number: int, frame: Any) -> None:
    raise RuntimeError("limit")


def that_holds_no_frame(number: int, frame: Any) -> None:
    del number, frame
    raise TimeLimit


class Forgetful:
    """As some style guides want it: what is not used is deleted."""

    def __call__(self, number: int, frame: Any) -> None:
        del frame
        raise ValueError("limit")


HANDLERS: list[Any] = [
    plain,
    Raiser().method,
    Raiser(),
    functools.partial(with_more, "x"),
    that_leaves,
    of_a_common_kind,
    of_another_common_kind,
    that_holds_no_frame,
    functools.partial(that_holds_no_frame),
    Forgetful(),
]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """One whose span processors swallow nothing: the SDK's SimpleSpanProcessor does, the batching one does not."""
    made = Recorder()
    meter_provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    made.sinks = usual_sinks(made, TracerProvider(shutdown_on_exit=False), meter_provider)
    before = default.use(made)
    yield made
    default.use(before)


@pytest.fixture
def no_finalizers() -> Iterator[None]:
    """What is raised while the collector calls a finalizer ends there, by Python's own rule."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class GoesOn:
    """True until an exception was due long ago: what swallows it shall fail a test, not hold it up for ever."""

    def __init__(self) -> None:
        self.until = time.monotonic() + 30

    def __bool__(self) -> bool:
        return time.monotonic() < self.until


class Loop(Node):
    """A node that goes on until something stops it."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = GoesOn()

    def exec(self, prep_res: Any) -> int:
        return 1

    def post(self, shared: dict[str, Any], prep_res: Any, exec_res: int) -> str:
        return "again" if self.goes_on else "default"


@stage("short")
def short(shared: dict[str, Any]) -> None: ...


def blocks() -> None:
    goes_on = GoesOn()
    while goes_on:
        with stage("block") as visit:
            visit.advance(1)


def calls() -> None:
    shared: dict[str, Any] = {}
    goes_on = GoesOn()
    with workflow("w", shared=shared):
        while goes_on:
            short(shared)


def flows() -> None:
    loop = Loop()
    loop.next(loop, "again")
    Flow(loop).run({})


@posix
@pytest.mark.usefixtures("no_finalizers")
@pytest.mark.parametrize("handler", HANDLERS, ids=lambda each: getattr(each, "__name__", type(each).__name__))
@pytest.mark.parametrize("work", [blocks, calls, flows])
def test_what_a_signal_handler_raises_reaches_the_program(
    recorder: Recorder, work: Callable[[], None], handler: Any
) -> None:
    before = signal.getsignal(signal.SIGALRM)
    PocketFlowInstrumentor().instrument()
    try:
        for number in range(25):  # Without the exception the loop would go on for ever.
            signal.signal(signal.SIGALRM, handler)
            try:
                with pytest.raises((TimeLimit, ValueError, RuntimeError)):
                    signal.setitimer(signal.ITIMER_REAL, 0.0005 + number * 0.00013)
                    work()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        PocketFlowInstrumentor().uninstrument()
        signal.signal(signal.SIGALRM, before)
    assert recorder.registry.visits() == []
    assert begins_at_once()


def begins_at_once() -> bool:
    """Whether another thread can begin a run: no lock was left held."""
    done = threading.Event()

    def begin() -> None:
        with workflow("other", shared={}), stage("a"):
            done.set()

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    return done.wait(5)


def throw_into(thread: threading.Thread) -> None:
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(TimeLimit))


@pytest.mark.usefixtures("no_finalizers")
def test_an_exception_that_another_thread_sets_reaches_the_program(recorder: Recorder) -> None:
    for _ in range(20):
        inside, ended = threading.Event(), list[type[BaseException]]()

        def work(inside: threading.Event = inside, ended: list[type[BaseException]] = ended) -> None:
            try:
                inside.set()
                calls()
            except BaseException as error:
                ended.append(type(error))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert inside.wait(5)
        throw_into(thread)
        thread.join(5)
        is_lost = thread.is_alive()
        while thread.is_alive():  # It would record for ever, into what the tests after this one look at.
            throw_into(thread)
            thread.join(0.1)
        assert not is_lost
        assert ended == [TimeLimit]
    assert recorder.registry.visits() == []


def test_a_fault_of_ours_is_no_exception_of_a_handler() -> None:
    def ours() -> None:
        raise KeyError("ours")

    try:
        ours()
    except KeyError as error:
        assert not from_handler(error)
        assert not passes(error)


# --- stores -----------------------------------------------------------------------------------------------------------


class Table:
    """Something that arrays and tables of data look like."""

    def __init__(self) -> None:
        self.columns: dict[str, Any] = {}

    def __array__(self) -> Any:
        raise NotImplementedError

    def __setitem__(self, key: str, value: Any) -> None:
        self.columns[key] = value

    def get(self, key: str) -> Any:
        return self.columns.get(key)


def test_a_table_of_data_grows_no_columns(telemetry: Telemetry) -> None:
    table = Table()
    with workflow("w", shared=table), stage("a", shared=table):
        pass
    short(table)  # pyright: ignore[reportArgumentType]
    assert table.columns == {}
    assert set(vars(table)) == {"columns"}


class Curious(dict[str, Any]):
    """A store whose reading is a stage."""

    def get(self, *args: Any) -> Any:
        with stage("read", shared=self):
            return super().get(*args)


def test_a_store_whose_reading_is_a_stage_does_not_recurse(telemetry: Telemetry) -> None:
    store = Curious()
    with workflow("w", shared=store), stage("a", shared=store):
        pass
    assert {span.name for span in telemetry.spans("stage")} == {"stage a"}
    assert store["progress_metrics"]["a"]["completed"]


class Own(BaseException):
    """Of no usual kind."""


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, Own, RuntimeError, TimeLimit])
def test_what_a_stores_methods_raise_ends_there(telemetry: Telemetry, error: type[BaseException]) -> None:
    class Hostile(dict[str, Any]):
        def get(self, *args: Any) -> Any:
            raise error

        def __setitem__(self, key: str, value: Any) -> None:
            raise error

    class Name:
        def __str__(self) -> str:
            raise error

    def revision(_: Any) -> int:
        raise error

    with workflow("w", shared=Hostile()), stage(Name(), revision=revision) as visit:
        visit.platform(Name())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert telemetry.recorder.registry.runs() == []


@pytest.mark.parametrize("error", [SystemExit, Own, RuntimeError])
@pytest.mark.parametrize("base", [object, dict])
def test_what_an_object_says_of_itself_is_not_asked(
    telemetry: Telemetry, error: type[BaseException], base: type[Any]
) -> None:
    """As a lazy object does that is asked for its class too early."""

    class Answers(type):
        def __getattr__(cls, name: str) -> Any:
            raise error

    class Lazy(base, metaclass=Answers):  # type: ignore[misc]
        @property
        def __class__(self) -> Any:
            raise error

        def __getattr__(self, name: str) -> Any:
            raise error

        def __call__(self, store: Any) -> Any:
            raise error

    class Text(str):
        def __len__(self) -> int:
            raise error

        def strip(self, *_: Any) -> str:
            raise error

        __eq__ = __str__ = __getitem__ = strip  # type: ignore[assignment]
        __hash__ = str.__hash__

    class Key:
        def __str__(self) -> str:
            raise error

    class Items(BatchFlow):
        def prep(self, shared: Any) -> list[dict[Any, Any]]:
            return [{Key(): 1}, {"item": lazy}]

    lazy: Any = Lazy()
    short(lazy)
    with workflow("w", shared=lazy), stage(Text("a"), shared=lazy, revision=lazy, platforms=lazy) as visit:
        visit.advance(lazy, failed=lazy, total=lazy)
        visit.platform(Text("twitter"))
    shared = {"workflow_state": {"current_stage": Text("b"), "revision_count": Text("3")}, "quality_control": lazy}
    with workflow("w", shared={**shared, "task_requirements": {"platforms": lazy}}):
        Flow(ProgressTrackerNode()).run(shared)
        PocketFlowInstrumentor().instrument()
        try:
            Items(Node()).run(shared)
        finally:
            PocketFlowInstrumentor().uninstrument()
    assert len(telemetry.spans("stage Node")) == 2
    telemetry.recorder.close()
    assert {span.name for span in telemetry.spans("stage")} == {"stage short", "stage a", "stage Items", "stage Node"}


def test_what_is_recorded_from_outside_leaves_the_store_as_it_is(telemetry: Telemetry) -> None:
    class Sums(Node):
        def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> None:
            shared["total"] = sum(shared.values())
            for key in shared:  # A loop over the store, with a stage in it.
                shared[key] = self.of(**shared)

        def of(self, **values: int) -> int:
            return len(values)

    def outcome() -> dict[str, Any]:
        shared = {"a": 1, "b": 2}
        Flow(Sums()).run(shared)
        return shared

    without = outcome()
    PocketFlowInstrumentor().instrument(skip_dep_check=True)
    try:
        assert outcome() == without
        shared: dict[str, Any] = {}
        with workflow("w", shared=shared), stage("own"):
            Flow(Node()).run(shared)
        assert list(shared["progress_metrics"]) == ["own"]
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert len(telemetry.spans("stage Sums")) == 1


def test_a_later_call_by_the_program_turns_the_mirror_on_for_runs_that_begin_after_it(telemetry: Telemetry) -> None:
    class Asks(Node):
        def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> None:
            PocketFlowInstrumentor().instrument()

    stores = list[dict[str, Any]]({} for _ in range(3))
    first = Asks()
    first >> Node()
    PocketFlowInstrumentor().instrument(skip_dep_check=True)
    try:
        Flow(Node()).run(stores[0])
        Flow(first).run(stores[1])
        Flow(Node()).run(stores[2])
        PocketFlowInstrumentor().instrument(skip_dep_check=True)  # Which changes nothing any more.
        Flow(Node()).run(stores[2])
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert [set(store) for store in stores] == [set(), set(), {"progress_metrics", "progress_run"}]
    assert stores[2]["progress_metrics"]["Node"]["visits"] == 1
    assert len(telemetry.spans("stage Node")) == 4


@pytest.mark.parametrize(("mirror", "keys"), [(True, {"progress_metrics", "progress_run"}), (False, set[str]())])
def test_the_setting_decides_for_all(
    telemetry_with: Callable[[Settings], Telemetry], mirror: bool, keys: set[str]
) -> None:
    telemetry_with(Settings(mirror=mirror))
    PocketFlowInstrumentor().instrument(skip_dep_check=True)
    try:
        outside: dict[str, Any] = {}
        Flow(Node()).run(outside)
    finally:
        PocketFlowInstrumentor().uninstrument()
    inside: dict[str, Any] = {}
    short(inside)
    assert set(outside) == set(inside) == keys


# --- values -----------------------------------------------------------------------------------------------------------


class Scalar:
    """A number as array libraries have them."""

    def __int__(self) -> int:
        return 3

    def __float__(self) -> float:
        return 3.0

    def __eq__(self, other: object) -> bool:
        return other == 3

    def __hash__(self) -> int:
        return 3


ODD: list[Any] = [
    None, "6", b"6", math.nan, math.inf, -1, 2**63, 2**70, 1.5, Decimal("NaN"), Decimal(2), Fraction(1, 2), 1j, True,
    Scalar(), [], object(), -(2**63), float(2**62),
]  # fmt: skip


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_visit_takes_any_value(telemetry: Telemetry, value: Any) -> None:
    shared: dict[str, Any] = {"quality_control": {"revision_count": value}, "task_requirements": {"platforms": value}}
    with workflow("w", shared=shared), stage("a") as visit:
        assert isinstance(visit, Visit)
        visit.expect(value)
        visit.advance(value)
        visit.advance(1, total=value, failed=value)
        visit.platform(value)
    entry = shared["progress_metrics"]["a"]
    json.dumps(entry, allow_nan=False)
    assert entry["items_total"] is None or 0 <= entry["items_total"] < 2**63
    assert 1 <= entry["items_done"] < 2**64
    assert telemetry.points("otel_progress.stage.duration")
    saved: dict[str, Any] = {
        "progress_run": {"run_id": "x", "workflow": "w", "traceparent": "", "started": ""},
        "progress_metrics": {"a": {**entry, "visits": value, "seconds": value, "result": value, "versions": value}},
    }
    with stage("a", shared=saved):
        pass
    json.dumps(saved["progress_metrics"]["a"], allow_nan=False)


@pytest.mark.parametrize("value", [math.nan, 1.5, 2**63, b"6", True, object()], ids=repr)
def test_what_is_no_count_is_said_once(telemetry: Telemetry, faults: Callable[[], list[str]], value: Any) -> None:
    shared: dict[str, Any] = {"quality_control": {"revision_count": value}, "task_requirements": {"platforms": value}}
    for _ in range(2):
        with workflow("w", shared=shared), stage("a", revision=value, platforms=value) as visit:
            visit.advance(-1)
        entry = shared["progress_metrics"]["a"]
        assert (entry["revisions"], entry["platforms"], entry["items_done"]) == (0, 0, 0)
    assert sorted(faults()) == [
        "a revision count is no whole number, and is ignored",
        "advance(done=...) is no whole number of items, and is ignored",
        "what is given as platforms is no list, text or whole number, and is ignored",
    ]


def test_many_large_counts_end_no_export(telemetry: Telemetry) -> None:
    """Their sum is beyond 64 bits, and so is what a saved store counts, one more."""
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        for _ in range(2):
            with stage("a") as visit:
                for _ in range(2):
                    visit.advance(2**62, failed=2**62)
                visit.expect(2**63 - 1)
    entry = shared["progress_metrics"]["a"]
    assert (entry["items_done"], entry["items_total"]) == (2**63 - 1, 2**63 - 1)
    shared["progress_run"] = {"run_id": "x", "workflow": "w", "traceparent": "", "started": ""}
    entry.update(visits=2**63 - 1, results={"success": 2**63 - 1})
    with stage("a", shared=shared):
        pass
    assert [value for _, value in telemetry.points("otel_progress.stage.items")] == [float(2**64), float(2**64)]
    for span in telemetry.spans("stage a"):
        counts = [value for value in (span.attributes or {}).values() if isinstance(value, int)]
        assert max(counts) < 2**63


# --- classes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def instrumented() -> Iterator[None]:
    PocketFlowInstrumentor().instrument()
    yield
    PocketFlowInstrumentor().uninstrument()


def test_a_node_that_runs_itself_again_is_another_visit(telemetry: Telemetry, instrumented: None) -> None:
    class Deep(Node):
        def exec(self, prep_res: Any) -> None:
            left.pop()
            if left:
                self._run({"another": "store"} if len(left) % 2 else shared)

    shared: dict[str, Any] = {}
    left = [1, 2, 3, 4]
    Deep().run(shared)
    assert len(telemetry.spans("stage Deep")) == 4


@pytest.mark.parametrize("around", [True, False])
def test_a_flow_that_runs_itself_again_is_another_visit(telemetry: Telemetry, instrumented: None, around: bool) -> None:
    """Also inside a `workflow` block with its store, where the outermost makes no span of its own."""

    class Step(Node):
        def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> None:
            left.pop()
            if left:
                flow.run(shared if len(left) % 2 else {"another": "store"})

    class Loop(Flow):
        pass

    flow = Loop(Step())
    left, store = [1, 2, 3], dict[str, Any]()
    with workflow("Loop", shared=store) if around else contextlib.nullcontext():
        flow.run(store)
    assert repr(telemetry.trees()) == "[run Loop[stage Step[stage Loop[stage Step[stage Loop[stage Step]]]]]]"


def test_a_flow_that_awaits_itself_again_is_another_visit(telemetry: Telemetry, instrumented: None) -> None:
    class Step(AsyncNode):
        async def post_async(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> None:
            left.pop()
            if left:
                await flow.run_async(shared)

    class Loop(AsyncFlow):
        async def _run_async(self, shared: Any) -> Any:
            return await super()._run_async(shared)  # Which is no visit.

    flow = Loop(Step())
    left = [1, 2, 3]
    asyncio.run(flow.run_async({}))
    assert repr(telemetry.trees()) == "[run Loop[stage Step[stage Loop[stage Step[stage Loop[stage Step]]]]]]"


def test_a_batch_flow_that_runs_itself_again_is_another_visit(telemetry: Telemetry, instrumented: None) -> None:
    class Step(Node):
        def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> None:
            left.pop()
            if left:
                flow.run({})

    class Loop(BatchFlow):
        def prep(self, shared: Any) -> list[dict[str, int]]:
            return [{"only": 1}]

    flow = Loop(Step())
    left = [1, 2, 3]
    flow.run({})
    assert len(telemetry.spans("stage Loop")) == 2
    assert len(telemetry.spans("stage Step")) == 3


def test_a_borrowed_method_is_the_one_that_was_borrowed(telemetry: Telemetry, instrumented: None) -> None:
    class Lender(Node):
        def exec(self, prep_res: Any) -> str:
            return "lent"

    class Borrower(Node):
        exec = Lender.exec

        def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    @stage("decorated")
    class Inherits(Lender):
        pass

    class FromInheriting(Node):
        exec = Inherits.exec  # type: ignore[assignment]

        def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    assert Borrower().run({}) == "lent"
    assert FromInheriting().run({}) == "lent"


def test_instrumenting_while_flows_run(telemetry: Telemetry) -> None:
    class Step(Node):
        def exec(self, prep_res: Any) -> int:
            return 1

        def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> Any:
            shared["done"] = exec_res

    stop, faults = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            while not stop.is_set():
                shared: dict[str, Any] = {}
                Flow(Step()).run(shared)
                assert shared["done"] == 1
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        PocketFlowInstrumentor().instrument()
        PocketFlowInstrumentor().uninstrument()
    stop.set()
    for thread in threads:
        thread.join(10)
    assert faults == []


class Frozen(type):
    """A metaclass that lets nothing be changed."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise TypeError("frozen")


class Forbidding(type):
    """The same, in an odd way."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise Own


@pytest.mark.parametrize("kind", [Frozen, Forbidding])
def test_a_class_that_cannot_be_changed_is_left_alone(
    telemetry: Telemetry, faults: Callable[[], list[str]], instrumented: None, kind: type[type]
) -> None:
    @stage("frozen")
    class Cold(Node, metaclass=kind):
        def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> str:
            return "done"

    assert Cold().run({}) == "done"
    assert faults() == ["Cold cannot be recorded"]
