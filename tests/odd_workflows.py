"""Random workflows with odd parts as well: loops and trio in threads, wrapped coroutines, generators, contexts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, ClassVar

import trio

from otel_progress import current_run, gather, stage

from .workflows import NOTHING, Before, Part, Workflow, by, onward, span_id, union


class OddWorkflow(Workflow):
    """One of these. No kind but those of `SURE` has to be known; none may be guessed."""

    def _loops(self, _depth: int) -> Part:
        """An event loop in each thread of an executor, and a gather in each."""
        names = [[self.name() for _ in range(3)] for _ in range(3)]

        async def one(name: str, before: Before) -> Before:
            with stage(name):
                await asyncio.sleep(0)
                return self.truth.depends(span_id(), before)

        async def inside(names: list[str], before: Before) -> Before:
            first, second, last = names
            ends = union(await gather(one(first, before), one(second, before)))
            return await one(last, onward("gather", ends))

        async def part(before: Before) -> Before:
            run, before = current_run(), by("fork", before)
            assert run is not None
            with run.executor(ThreadPoolExecutor(2)) as pool:
                made = [pool.submit(asyncio.run, inside(each, before)) for each in names]
            return by("join", union(each.result() for each in made))

        return part

    def _wrapped_coroutines(self, _depth: int) -> Part:
        """One function that is wrapped once and called by tasks here, and in loops of other threads."""
        names = [self.name() for _ in range(4)]

        async def one(name: str, before: Before) -> Before:
            for _ in range(2):
                with stage(name):
                    await asyncio.sleep(0)
                    before = self.truth.depends(span_id(), before)
            return before

        async def part(before: Before) -> Before:
            run, before = current_run(), by("fork", before)
            assert run is not None
            wrapped, loop = run.wrap(one), asyncio.get_running_loop()
            here = [asyncio.create_task(wrapped(name, before)) for name in names[:2]]
            there = [loop.run_in_executor(self.pool, asyncio.run, wrapped(name, before)) for name in names[2:]]
            ends = [*await asyncio.gather(*here), *await asyncio.gather(*there)]
            return by("join", union(ends))

        return part

    def _executor_of_a_thread(self, _depth: int) -> Part:
        """Threads of a pool, each of which has an executor of its own and waits for that."""
        names = [self.name() for _ in range(3)]

        def one(name: str, before: Before) -> Before:
            with stage(name):
                return self.truth.depends(span_id(), before)

        async def part(before: Before) -> Before:
            run, before = current_run(), by("fork", before)
            assert run is not None

            def outer(name: str) -> Before:
                with run.executor(ThreadPoolExecutor(2)) as pool:
                    return pool.submit(one, name, before).result()

            return by("join", union(await asyncio.gather(*(asyncio.to_thread(outer, name) for name in names))))

        return part

    def _generators(self, _depth: int) -> Part:
        """A generator whose steps two tasks do in turn."""
        name, inner, turns = self.name(), self.name(), self.random.randint(2, 5)

        async def part(before: Before) -> Before:
            before = by("fork", before)

            @stage(name)
            def steps() -> Iterator[int]:
                inside: Before = NOTHING
                for _ in range(turns):
                    with stage(inner):
                        inside = by("fork", self.truth.depends(span_id(), inside))  # Maybe by the other task.
                    yield span_id()

            made, visits = steps(), list[int]()

            async def consume() -> None:
                for each in made:
                    visits.append(each)
                    await asyncio.sleep(0)

            await asyncio.gather(consume(), consume())
            return by("join", self.truth.depends(visits[0], before))

        return part

    def _async_generator(self, _depth: int) -> Part:
        """A loop over what an async generator gives, with stages in both."""
        name, inner, body = self.name(), self.name(), self.name()

        @stage(name)
        async def steps() -> AsyncIterator[int]:
            inside: Before = NOTHING
            for _ in range(3):
                with stage(inner):
                    await asyncio.sleep(0)
                    inside = self.truth.depends(span_id(), inside)
                yield span_id()

        async def part(before: Before) -> Before:
            visits, after = set[int](), before
            async for each in steps():
                visits.add(each)
                with stage(body):
                    after = self.truth.depends(span_id(), after)
            (visit,) = visits
            return after | self.truth.depends(visit, before)

        return part

    def _context(self, depth: int) -> Part:
        """A call in a copy of the context."""
        name = self.name()

        def one(before: Before) -> Before:
            with stage(name):
                return self.truth.depends(span_id(), before)

        async def part(before: Before) -> Before:
            return copy_context().run(one, before)

        return part

    def _trio(self, _depth: int) -> Part:
        """A nursery in a thread of an executor."""
        names = [self.name() for _ in range(2)]

        async def one(name: str, before: Before, ends: list[Before]) -> None:
            for _ in range(2):
                with stage(name):
                    await trio.lowlevel.checkpoint()
                    before = self.truth.depends(span_id(), before)
            ends.append(before)

        async def inside(before: Before, ends: list[Before]) -> None:
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(one, name, before, ends)

        async def part(before: Before) -> Before:
            run, before = current_run(), by("fork", before)
            assert run is not None
            ends = list[Before]()
            with run.executor(ThreadPoolExecutor(1)) as pool:
                pool.submit(trio.run, inside, before, ends).result()
            return by("join", union(ends))

        return part

    KINDS: ClassVar[tuple[Callable[[Any, int], Part], ...]] = (
        *Workflow.KINDS,
        _loops,
        _wrapped_coroutines,
        _executor_of_a_thread,
        _generators,
        _async_generator,
        _context,
        _trio,
    )
