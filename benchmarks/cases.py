"""What is measured beside the same by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from by_hand import STAGE, WORKFLOW, Attributes, ByHand
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from pocketflow import Flow, Node
from timing import Case, Line, Options, Row, measure, set_up

from otel_progress import PocketFlowInstrumentor, stage, workflow
from otel_progress.recording import default
from otel_progress.runs.writer import Writer

if TYPE_CHECKING:
    AnyNode = Node[Any, Any, Any]
else:
    AnyNode = Node

TASKS = 10_000


@stage(STAGE)
def draft(shared: dict[str, Any]) -> None:
    """Do nothing."""


@stage(STAGE)
async def draft_async(shared: dict[str, Any]) -> None:
    """Do nothing."""


@stage(STAGE)
async def draft_awaiting(shared: dict[str, Any], awaited: Any) -> None:
    """Await something."""
    await awaited


@stage(STAGE)
def draft_failing(shared: dict[str, Any]) -> None:
    """Fail."""
    raise ValueError("no draft")


class Again(AnyNode):
    """A node that does nothing, until it has done so often enough."""

    def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> str:
        """Say whether that is so."""
        shared["left"] -= 1
        return "again" if shared["left"] else "default"


class AgainByHand(Again):
    """The same, recorded by hand."""

    hand: ByHand

    def exec(self, prep_res: Any) -> None:
        """Record a visit."""
        self.hand.visit({}, "again")


def a_store() -> dict[str, Any]:
    """A store with what a stage reads."""
    platforms = ["twitter", "linkedin", "facebook", "instagram", "youtube", "blog"]
    return {"task_requirements": {"platforms": platforms}, "quality_control": {"revision_count": 2}}


def visits(calls: int, make: Callable[[], dict[str, Any]] = dict) -> Case:
    """Visits in one run."""

    def case() -> None:
        shared = make()
        with workflow(WORKFLOW, shared=shared):
            for _ in range(calls):
                draft(shared)

    return case


def visits_by_hand(hand: ByHand, calls: int, make: Callable[[], dict[str, Any]] = dict) -> Case:
    """The same by hand."""

    def case() -> None:
        shared = make()
        with hand.run_around():
            for _ in range(calls):
                hand.visit(shared)

    return case


def events_on(hand: ByHand, calls: int, folder: str) -> list[Row]:
    """The same as the first two rows, with events written into a record."""
    writer = Writer(Path(folder) / "record", lambda: "benchmark")

    @contextmanager
    def around() -> Generator[None]:
        recorder = default.recorder
        before = recorder.sinks
        writer.attach(recorder)
        try:
            yield
        finally:
            recorder.sinks = before

    return [
        Row(
            "@stage on a function, events on",
            0.90,
            None,
            visits_by_hand(hand, calls),
            visits(calls),
            calls,
            around_ours=around,
        ),
        Row(
            "six platforms, a revision, events on",
            1.05,
            None,
            visits_by_hand(hand, calls, a_store),
            visits(calls, a_store),
            calls,
            around_ours=around,
        ),
    ]


def coroutines(hand: ByHand, calls: int) -> Row:
    """A coroutine function."""

    async def ours() -> None:
        shared: dict[str, Any] = {}
        with workflow(WORKFLOW, shared=shared):
            for _ in range(calls):
                await draft_async(shared)

    async def by_hand() -> None:
        shared: dict[str, Any] = {}
        with hand.run_around():
            for _ in range(calls):
                await hand.visit_async(shared)

    return Row(
        "@stage on a coroutine function", 0.80, 1.49, lambda: asyncio.run(by_hand()), lambda: asyncio.run(ours()), calls
    )


def nodes(hand: ByHand, calls: int) -> Row:
    """A PocketFlow node."""

    def flow(again: Again) -> Case:
        again.next(again, "again")
        again.next(AnyNode())
        whole = cast("Any", Flow(again))
        return lambda: whole.run({"left": calls})

    @contextmanager
    def recorded() -> Generator[None]:
        PocketFlowInstrumentor().instrument()
        try:
            yield
        finally:
            PocketFlowInstrumentor().uninstrument()

    node_by_hand = AgainByHand()
    node_by_hand.hand = hand
    flow_by_hand = flow(node_by_hand)

    def by_hand() -> None:
        with hand.run_around():
            flow_by_hand()

    return Row(
        "PocketFlow node, what is added", 1.05, 2.25, by_hand, flow(Again()), calls, flow(Again()), around_ours=recorded
    )


def exceptions(hand: ByHand, calls: int) -> Row:
    """An exception that leaves the stage."""

    def ours() -> None:
        shared: dict[str, Any] = {}
        with workflow(WORKFLOW, shared=shared):
            for _ in range(calls):
                with suppress(ValueError):
                    draft_failing(shared)

    def by_hand() -> None:
        shared: dict[str, Any] = {}
        with hand.run_around():
            for _ in range(calls):
                with suppress(ValueError):
                    hand.failing_visit(shared)

    return Row("an exception leaves the stage", 0.80, 1.02, by_hand, ours, calls)


def tasks(hand: ByHand) -> Row:
    """Many tasks at once, on one store."""

    async def bare(shared: dict[str, Any]) -> None:
        await asyncio.sleep(0)

    async def each(task: Callable[[dict[str, Any]], Any]) -> None:
        shared: dict[str, Any] = {}
        await asyncio.gather(*(task(shared) for _ in range(TASKS)))

    async def recorded() -> None:
        shared: dict[str, Any] = {}
        with workflow(WORKFLOW, shared=shared):
            await asyncio.gather(*(draft_awaiting(shared, asyncio.sleep(0)) for _ in range(TASKS)))

    def by_hand() -> None:
        with hand.run_around():
            asyncio.run(each(lambda shared: hand.visit_awaiting(shared, asyncio.sleep(0))))

    return Row(
        f"{TASKS:,} tasks on one store, what is added",
        0.85,
        1.56,
        by_hand,
        lambda: asyncio.run(recorded()),
        TASKS,
        lambda: asyncio.run(each(bare)),
    )


def runs(hand: ByHand, calls: int) -> Row:
    """A run in which nothing happens."""

    def ours() -> None:
        for _ in range(calls):
            with workflow(WORKFLOW):
                pass

    def by_hand() -> None:
        for _ in range(calls):
            hand.run()

    return Row("`with workflow` around nothing", 1.0, 1.24, by_hand, ours, calls)


def with_the_sdk(options: Options) -> list[Line]:
    """The rows with everything on."""
    set_up()
    hand, calls = ByHand(), options.calls
    rows = [
        Row("@stage on a function, empty dict", 0.80, 1.50, visits_by_hand(hand, calls), visits(calls), calls),
        Row(
            "the same, six platforms, a revision",
            0.95,
            1.73,
            visits_by_hand(hand, calls, a_store),
            visits(calls, a_store),
            calls,
        ),
        coroutines(hand, calls),
        nodes(hand, calls),
        exceptions(hand, calls),
        runs(hand, calls),
    ]
    with TemporaryDirectory() as folder:
        lines = measure(rows + events_on(hand, calls, folder), options.rounds)
    return lines + measure([tasks(hand)], max(options.rounds // 8, 3))


def unsampled(options: Options) -> list[Line]:
    """The row in which no span is sampled."""
    set_up(ALWAYS_OFF)
    hand, calls = ByHand(), options.calls
    row = Row("unsampled, metrics and mirror kept", 0.90, 1.72, visits_by_hand(hand, calls), visits(calls), calls)
    return measure([row], options.rounds)


def without_sdk(options: Options, name: str, target: float, before: float) -> list[Line]:
    """A row in a process whose providers are the API's own; the raw span's provider is known to nobody else."""
    provider = TracerProvider()
    provider.add_span_processor(SpanProcessor())
    tracer = provider.get_tracer("raw")

    def raw() -> None:
        for number in range(options.calls):
            attributes: Attributes = {"a": "a", "b": "b", "c": "c", "d": number}
            with tracer.start_as_current_span("stage", attributes=attributes):
                pass

    return measure([Row(name, target, before, raw, visits(options.calls), options.calls)], options.rounds)
