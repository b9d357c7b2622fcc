"""Random workflows that know what in them depends on what: the ground truth for what is recorded of that.

A workflow is made of the parts below. Each hands on which visits whatever comes next depends on, and by what kind of
step, so the truth is what the workflow does with its own values. Nothing here looks at times.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry import trace
from pocketflow import AsyncBatchFlow, AsyncFlow, AsyncNode, AsyncParallelBatchFlow

from otel_progress import current_run, gather, stage

if TYPE_CHECKING:
    AnyNode = AsyncNode[Any, Any, Any]
else:
    AnyNode = AsyncNode

Before = frozenset[tuple[int, str]]
"""Visits, by the ids of their spans, and the kind of the step that leads on from them."""
NOTHING: Before = frozenset()
SURE = ("sequence", "branch", "loop", "flow edge", "gather")
"""Kinds of which nothing may be missed."""


def by(kind: str, before: Before) -> Before:
    """The same visits, from which another kind of step leads on."""
    return frozenset((visit, kind) for visit, _ in before)


def onward(kind: str, before: Before) -> Before:
    """The same; a step to or from another task or thread stays one."""
    return frozenset((visit, known if known in ("join", "fork", "gather") else kind) for visit, known in before)


def union(parts: Iterable[Before]) -> Before:
    """All of them."""
    return frozenset().union(*parts)


@dataclass
class Truth:
    """What really depended on what."""

    edges: dict[tuple[int, int], str] = field(default_factory=dict[tuple[int, int], str])

    def depends(self, visit: int, before: Before) -> Before:
        """A visit started after all of `before`."""
        for each, kind in before:
            self.edges[each, visit] = kind
        return frozenset({(visit, "sequence")})

    def is_before(self, first: int, second: int) -> bool:
        """Whether the second depended on the first, directly or not."""
        following: dict[int, list[int]] = {}
        for each, other in self.edges:
            following.setdefault(each, []).append(other)
        waiting, seen = [first], {first}
        while waiting:
            for each in following.get(waiting.pop(), ()):
                if each == second:
                    return True
                if each not in seen:
                    seen.add(each)
                    waiting.append(each)
        return False


def span_id() -> int:
    """That of the span that is current."""
    return trace.get_current_span().get_span_context().span_id


Part = Callable[[Before], Coroutine[Any, Any, Before]]

_ends: ContextVar[tuple[dict[int, Before], bool]] = ContextVar("ends")
"""What the next node of a flow depends on, by item where items go on side by side; -1: what the first one does."""


def _flow_class(kind: type[Any], items: int) -> type[Any]:
    async def prep_async(self: Any, shared: Any) -> list[dict[str, Any]] | None:
        return [{"item": number} for number in range(items)] if items > 1 else None

    return type("Batch", (kind,), {"prep_async": prep_async})


class Workflow:
    """One random workflow over one store."""

    def __init__(self, seed: int, shared: dict[str, Any]) -> None:
        self.random = random.Random(seed)
        self._shared = shared
        self._names = 0
        self.pool = ThreadPoolExecutor(2)
        self._late: list[asyncio.Task[Before]] = []
        self.truth = Truth()

    async def run(self) -> None:
        """Run it."""
        part = self._sequence(3)
        try:
            await part(NOTHING)
            while self._late:  # Of which some begin others. One that is cancelled could not say what it followed.
                late, self._late = self._late, []
                await asyncio.gather(*late)
        finally:
            self.pool.shutdown()

    def name(self) -> str:
        """A new one for a stage."""
        self._names += 1
        return f"s{self._names}"

    def _part(self, depth: int) -> Part:
        if depth <= 0 or self.random.random() < 0.3:
            return self._stage(None)
        return self.random.choice(self.KINDS)(self, depth - 1)

    def _parts(self, depth: int) -> list[Part]:
        return [self._part(depth) for _ in range(self.random.randint(2, 4))]

    # --- the parts ----------------------------------------------------------------------------------------------------

    def _stage(self, inside: Part | None) -> Part:
        name, naps, plain = self.name(), self.random.randint(0, 3), self.random.random() < 0.4
        shared = self._shared

        @stage(name)
        def work(shared: dict[str, Any]) -> int:
            return span_id()

        @stage(name)
        async def work_async(shared: dict[str, Any]) -> int:
            for _ in range(naps):
                await asyncio.sleep(0)
            if inside is not None:
                await inside(NOTHING)
            return span_id()

        async def part(before: Before) -> Before:
            made = work(shared) if plain and inside is None else await work_async(shared)
            return self.truth.depends(made, before)

        return part

    def _nested(self, depth: int) -> Part:
        return self._stage(self._sequence(depth))

    def _sequence(self, depth: int) -> Part:
        parts = self._parts(depth)

        async def part(before: Before) -> Before:
            for each in parts:
                before = await each(before)
            return before

        return part

    def _branch(self, depth: int) -> Part:
        chosen = self.random.choice(self._parts(depth))
        return lambda before: chosen(onward("branch", before))

    def _loop(self, depth: int) -> Part:
        inside, times = self._part(depth), self.random.randint(2, 3)

        async def part(before: Before) -> Before:
            before = await inside(before)
            for _ in range(times - 1):
                before = await inside(onward("loop", before))
            return before

        return part

    def _gather(self, depth: int) -> Part:
        parts = self._parts(depth)

        async def part(before: Before) -> Before:
            return by("join", union(await asyncio.gather(*(each(by("fork", before)) for each in parts))))

        return part

    def _our_gather(self, depth: int) -> Part:
        parts, late = self._parts(depth), self.random.random() < 0.3

        async def part(before: Before) -> Before:
            made = [each(onward("gather", before)) for each in parts]
            if late:  # One that runs on its own before it is waited for.
                task = asyncio.create_task(parts[0](by("fork", before)))
                await asyncio.sleep(0)
                return onward("gather", union(await gather(*made, task)))
            return onward("gather", union(await gather(*made)))

        return part

    def _executor(self, _depth: int) -> Part:
        names, copies = [self.name() for _ in range(3)], self.random.random() < 0.5

        def one(name: str, before: Before) -> Before:
            for _ in range(2):
                with stage(name):
                    before = self.truth.depends(span_id(), before)
            return before

        async def part(before: Before) -> Before:
            run = current_run()
            assert run is not None
            if copies:  # Its end is not waited for.
                wrapped, loop = run.wrap(one), asyncio.get_running_loop()
                made = [loop.run_in_executor(self.pool, wrapped, name, onward("gather", before)) for name in names]
                return by("join", union(await asyncio.gather(*made)))
            with run.executor(ThreadPoolExecutor(2)) as pool:
                futures = [pool.submit(one, name, onward("gather", before)) for name in names]
            return onward("gather", union(each.result() for each in futures))

        return part

    def _wait_for(self, depth: int) -> Part:
        inside = self._part(depth)

        async def part(before: Before) -> Before:
            return by("join", await asyncio.create_task(inside(by("fork", before))))

        return part

    def _task_group(self, depth: int) -> Part:
        parts = self._parts(depth)
        group = getattr(asyncio, "TaskGroup", None)  # Since Python 3.11.
        if group is None:
            return self._gather(depth)

        async def part(before: Before) -> Before:
            async with group() as tasks:
                made = [tasks.create_task(each(by("fork", before))) for each in parts]
            return by("join", union(each.result() for each in made))

        return part

    def _as_completed(self, depth: int) -> Part:
        parts, next_one = self._parts(depth), self._stage(None)

        async def part(before: Before) -> Before:
            for each in asyncio.as_completed([asyncio.ensure_future(each(by("fork", before))) for each in parts]):
                before = await next_one(before | by("join", await each))
            return before

        return part

    def _forget(self, depth: int) -> Part:
        inside = self._part(depth)

        async def part(before: Before) -> Before:
            self._late.append(asyncio.create_task(inside(by("fork", before))))
            return before

        return part

    def _late_await(self, depth: int) -> Part:
        inside, meanwhile = self._part(depth), self._part(depth)

        async def part(before: Before) -> Before:
            task = asyncio.create_task(inside(by("fork", before)))
            before = await meanwhile(before)
            return before | by("join", await task)

        return part

    def _threads(self, _depth: int) -> Part:
        names, copies, shared = [self.name() for _ in range(3)], self.random.random() < 0.5, self._shared

        def one(name: str, before: Before) -> Before:
            def inner(before: Before) -> Before:
                for _ in range(2):
                    with stage(f"{name}-inner"):
                        before = self.truth.depends(span_id(), before)
                return before

            with stage(name, shared=shared):
                inner(NOTHING)
                return self.truth.depends(span_id(), before)

        async def part(before: Before) -> Before:
            before = by("fork", before)
            loop = asyncio.get_running_loop()
            calls = [
                asyncio.to_thread(one, name, before) if copies else loop.run_in_executor(self.pool, one, name, before)
                for name in names
            ]
            return by("join", union(await asyncio.gather(*calls)))

        return part

    def _callbacks(self, _depth: int) -> Part:
        names, shared = [self.name() for _ in range(2)], self._shared

        async def part(before: Before) -> Before:
            loop, before = asyncio.get_running_loop(), by("fork", before)

            def one(name: str, done: asyncio.Future[Before]) -> None:
                with stage(name, shared=shared):
                    done.set_result(self.truth.depends(span_id(), before))

            made = [loop.create_future() for _ in names]
            for name, future in zip(names, made, strict=True):
                loop.call_soon(one, name, future)
            return by("join", union(await asyncio.gather(*made)))

        return part

    def _flow(self, _depth: int) -> Part:
        return self._flow_of(AsyncFlow, 1)

    def _batch_flow(self, _depth: int) -> Part:
        return self._flow_of(AsyncBatchFlow, 2)

    def _parallel_flow(self, _depth: int) -> Part:
        return self._flow_of(AsyncParallelBatchFlow, 2)

    def _node(self, name: str) -> Any:
        workflow = self

        @stage(name)
        class Step(AnyNode):
            async def exec_async(self, prep_res: Any) -> None:
                ends, is_parallel = _ends.get()
                item = int(str(self.params.get("item", 0)))
                of = item if is_parallel else 0
                ends[of] = by("flow edge", workflow.truth.depends(span_id(), ends.get(of, ends[-1])))
                await workflow.in_node(name, item)

        return Step()

    async def in_node(self, name: str, item: int) -> None:
        """What a node of a flow does."""

    def _flow_of(self, kind: type[Any], items: int) -> Part:
        nodes = [self._node(self.name()) for _ in range(self.random.randint(2, 3))]
        for node, after in itertools.pairwise(nodes):
            node >> after
        is_parallel = kind is AsyncParallelBatchFlow
        flow = _flow_class(kind, items)(start=nodes[0])

        async def part(before: Before) -> Before:
            ends: dict[int, Before] = {-1: by("fork", before) if is_parallel else before}
            token = _ends.set((ends, is_parallel))
            await flow.run_async(self._shared)
            _ends.reset(token)
            del ends[-1]
            return by("join" if is_parallel else "sequence", union(ends.values()))

        return part

    KINDS: ClassVar[tuple[Callable[[Any, int], Part], ...]] = (
        _nested,
        _sequence,
        _branch,
        _branch,
        _branch,
        _loop,
        _gather,
        _our_gather,
        _executor,
        _wait_for,
        _task_group,
        _as_completed,
        _forget,
        _late_await,
        _threads,
        _callbacks,
        _flow,
        _batch_flow,
        _parallel_flow,
    )
