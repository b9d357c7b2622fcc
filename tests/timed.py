"""Random workflows that sleep for work, in a time that passes as they sleep; and the model of what was recorded."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from otel_progress import names, stage
from otel_progress.runs import Run
from otel_progress.runs.assemble import run_of
from otel_progress.runs.collect import Collector
from otel_progress.runs.ledger import Ledger
from otel_progress.runs.otlp import SpanFact
from otel_progress.runs.states import Processes

from .conftest import SECOND, START, ManualTime
from .workflows import NOTHING, Before, Part, Workflow, span_id, union


class _Selector(selectors.SelectSelector):
    """Where others wait, time passes at once."""

    def __init__(self, time: ManualTime) -> None:
        super().__init__()
        self.now = 0.0
        self._time = time
        self._begun = time.monotonic - 500 * SECOND

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout > 0:
            self.now += timeout
            passed = self._begun + round(self.now * SECOND)
            self._time.wall, self._time.monotonic = START + passed, 500 * SECOND + passed
            timeout = 0
        return super().select(timeout)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which sleeping takes no time but that of the test."""

    def __init__(self, time: ManualTime) -> None:
        self._virtual = _Selector(time)
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run_in(time: ManualTime, main: Any) -> Any:
    """`asyncio.run` in that time."""
    loop = VirtualLoop(time)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


class TimedWorkflow(Workflow):
    """One of these, of tasks only, as threads sleep in the machine's time. All it does is to sleep in its stages."""

    def __init__(self, seed: int, shared: dict[str, Any], faster: dict[str, float] | None = None) -> None:
        super().__init__(seed, shared)
        self._seed, self._faster = seed, faster or {}
        self._visits: dict[str, int] = {}
        self.inside: dict[int, Before] = {}
        """What the end of each visit depended on; 0: that of the run."""

    async def run(self) -> None:
        part = self._sequence(3)
        ends = await part(NOTHING)
        while self._late:
            late, self._late = self._late, []
            ends |= union(await asyncio.gather(*late))
        self.inside[0] = ends
        self.pool.shutdown()

    async def nap(self, name: str, item: int = 0) -> None:
        """As long as this visit of a stage takes (for an item), whatever else goes on."""
        key = f"{self._seed}/{name}/{item}"
        number = self._visits[key] = self._visits.get(key, 0) + 1
        takes = random.Random(f"{key}/{number}").uniform(0.5, 10.0)
        await asyncio.sleep(takes * self._faster.get(name, 1.0))

    def _stage(self, inside: Part | None) -> Part:
        name, shared = self.name(), self._shared
        before_and_behind = self.random.random() < 0.5

        @stage(name)
        async def work(shared: dict[str, Any]) -> int:
            this = span_id()
            if inside is None or before_and_behind:
                await self.nap(name)
            if inside is not None:
                self.inside[this] = await inside(NOTHING)
                if before_and_behind:
                    await self.nap(name)
            return this

        async def part(before: Before) -> Before:
            return self.truth.depends(await work(shared), before)

        return part

    async def in_node(self, name: str, item: int) -> None:
        await self.nap(name, item)

    KINDS: ClassVar[tuple[Callable[[Any, int], Part], ...]] = tuple(
        kind for kind in Workflow.KINDS if kind.__name__ not in {"_executor", "_threads", "_callbacks", "_forget"}
    )


class ForgetfulWorkflow(TimedWorkflow):
    """One with tasks that nothing waits for, but the run at its very end; it knows which visits these are."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.forgotten: set[int] = set()

    def _forget_it(self, depth: int) -> Part:
        inside = self._part(depth)

        async def part(before: Before) -> Before:
            async def task() -> Before:
                with stage("forgotten"):
                    self.forgotten.add(span_id())
                    await inside(NOTHING)
                return NOTHING

            self._late.append(asyncio.create_task(task()))
            return before

        return part

    KINDS: ClassVar[tuple[Callable[[Any, int], Part], ...]] = (*TimedWorkflow.KINDS, *[_forget_it] * 4)


class _Shelf:
    def __init__(self) -> None:
        self.ledgers: dict[str, Ledger] = {}

    def get(self, run: str) -> Ledger | None:
        return self.ledgers.get(run)

    def put(self, ledger: Ledger) -> None:
        self.ledgers[ledger.id] = ledger

    def put_aside(self, bulk: Ledger) -> None:
        raise AssertionError


_KINDS: Any = {"run": "run", "stage": "stage", "attempt": "attempt", "wait": "wait", "item": "item"}


def runs_of(spans: Iterable[ReadableSpan]) -> list[Run]:
    """The runs that spans tell of, as the readers make them."""
    shelf = _Shelf()
    collector = Collector(shelf, visits=100_000)
    for span in spans:
        assert span.context
        assert span.start_time
        assert span.end_time
        found = dict(span.attributes or {})
        collector.add(
            SpanFact(
                _KINDS.get(span.name.partition(" ")[0], "other"),
                str(found[names.RUN_ID]),
                f"{span.context.trace_id:032x}",
                f"{span.context.span_id:016x}",
                f"{span.parent.span_id:016x}" if span.parent else "",
                span.start_time,
                max(span.start_time, span.end_time),
                found,
                message=span.status.description if span.status.status_code is StatusCode.ERROR else None,
                links=tuple(
                    (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}", dict(link.attributes or {}))
                    for link in span.links
                ),
            )
        )
    collector.put_away()
    return [run_of(ledger, "spans", Processes()) for ledger in shelf.ledgers.values()]
