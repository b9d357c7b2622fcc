"""What-if, checked for real: workflows run, one stage is really made faster, and the prediction is held against it.

python benchmarks/whatif.py            # five minutes
python benchmarks/whatif.py --quick    # with a fifth of all times
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketflow import AsyncNode, AsyncParallelBatchFlow, BatchFlow, Flow, Node

from otel_progress import current_run, gather, stage, workflow
from otel_progress.insight import Replay
from otel_progress.runs import Run, read

if TYPE_CHECKING:  # Its stub makes generic what is not when it runs.
    AnyNode = Node[Any, Any, Any]
    AnyAsyncNode = AsyncNode[Any, Any, Any]
else:
    AnyNode, AnyAsyncNode = Node, AsyncNode

FACTOR = 2.0
_TURNS = 5
_UNIT = float(os.environ.get("UNIT", "1.0"))
_FASTER = os.environ.get("FASTER") == "1"


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the time")
    parser.add_argument("--only", default="", help="those whose names begin so")
    parser.add_argument("--case", help="run one of the workflows and nothing else")
    options = parser.parse_args()
    if options.case:
        _CASES[options.case]()
        return
    unit = 0.2 if options.quick else 1.0
    print(f"{'workflow, `work` twice as fast':<44}{'before':>9}{'predicted':>11}{'measured':>10}{'off by':>8}")
    worst = 0.0
    for name in [each for each in _CASES if each.startswith(options.only)]:
        before, after = _record(name, unit)
        answer = Replay(before).faster("work", FACTOR)
        if answer.after is None:
            print(f"{name:<44}{answer.before:>7.2f} s  refused: {answer.refused}", flush=True)
            continue
        measured = after.seconds or 0.0
        off = abs(answer.after - measured) / measured
        worst = max(worst, off)
        print(f"{name:<44}{answer.before:>7.2f} s{answer.after:>9.2f} s{measured:>8.2f} s{off:>8.1%}", flush=True)
    print(f"the worst: {worst:.1%}")


def _record(name: str, unit: float) -> tuple[Run, Run]:
    """As it is and made faster, in turns: of each the quickest, which the rest of the machine has disturbed least."""
    turns = [[_record_once(name, unit, faster=faster) for faster in (False, True)] for _ in range(_TURNS)]
    before, after = (min(runs, key=lambda run: run.seconds or 0.0) for runs in zip(*turns, strict=True))
    return before, after


def _record_once(name: str, unit: float, *, faster: bool) -> Run:
    with tempfile.TemporaryDirectory(prefix="otel-progress-whatif-") as folder:
        command = [sys.executable, "-m", "otel_progress", "run", str(Path(__file__).resolve()), "--case", name]
        environment = {**os.environ, "UNIT": str(unit), "FASTER": "1" if faster else "0"}
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
        (run,) = read(Path(folder) / ".otel-progress")
        return run


# --- the workflows: `work` is made faster -----------------------------------------------------------------------------


def takes(name: str, seconds: float) -> float:
    """How long a stage takes."""
    return seconds * _UNIT / (FACTOR if _FASTER and name == "work" else 1.0)


def work(name: str, seconds: float) -> None:
    """A stage that sleeps."""
    with stage(name):
        time.sleep(takes(name, seconds))


async def work_async(name: str, seconds: float) -> None:
    """The same in a task."""
    with stage(name):
        await asyncio.sleep(takes(name, seconds))


def compute(name: str, seconds: float) -> None:
    """A stage that computes: as much as takes so long where nothing else does."""
    with stage(name):
        _count(round(_per_second() * takes(name, seconds)))


def _count(number: int) -> int:
    total = 0
    for each in range(number):
        total += each
    return total


def _per_second() -> float:
    """How far this machine counts in a second; the same for all that compute."""
    return 12_000_000.0


def sequence() -> None:
    """One after the other, with some code of the workflow's own."""
    with workflow("w"):
        work("plan", 0.5)
        work("work", 1.5)
        time.sleep(0.2 * _UNIT)
        work("publish", 0.5)


def loop() -> None:
    """Revisions, three of them."""
    with workflow("w"):
        for _ in range(3):
            work("work", 0.6)
            work("check", 0.3)


def nested() -> None:
    """A stage that holds stages."""
    with workflow("w"):
        work("plan", 0.3)
        with stage("outer"):
            time.sleep(0.2 * _UNIT)
            work("work", 1.2)
            work("rest", 0.4)


def our_gather() -> None:
    """`gather` of otel_progress: `work` is the slowest, and then it is not."""

    async def whole() -> None:
        with workflow("w"):
            await work_async("plan", 0.3)
            await gather(work_async("work", 1.5), work_async("other", 1.0), work_async("third", 0.4))
            await work_async("publish", 0.3)

    asyncio.run(whole())


def asyncio_gather() -> None:
    """`asyncio.gather`, of which no link tells."""

    async def whole() -> None:
        with workflow("w"):
            await work_async("plan", 0.3)
            await asyncio.gather(work_async("work", 1.5), work_async("other", 1.0), work_async("third", 0.4))
            await work_async("publish", 0.3)

    asyncio.run(whole())


class _Work(AnyNode):
    name = "work"

    def exec(self, prep_res: Any) -> None:
        time.sleep(takes("work", 0.4))


class _Check(AnyNode):
    name = "check"

    def exec(self, prep_res: Any) -> None:
        time.sleep(takes("check", 0.2))


class _Platforms(BatchFlow):
    def prep(self, shared: Any) -> Any:
        return [{"platform": name} for name in ("a", "b", "c", "d")]


def batch_flow() -> None:
    """Two nodes for each of four items, one item after the other."""
    first, second = _Work(), _Check()
    first >> second  # pyright: ignore[reportUnusedExpression]
    Flow(start=_Platforms(start=first)).run({})


class _WorkAsync(AnyAsyncNode):
    name = "work"

    async def exec_async(self, prep_res: Any) -> None:
        await asyncio.sleep(takes("work", 1.0 + 0.1 * len(str(self.params["platform"]))))


class _CheckAsync(AnyAsyncNode):
    name = "check"

    async def exec_async(self, prep_res: Any) -> None:
        await asyncio.sleep(takes("check", 0.5))


class _AtOnce(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return [{"platform": "x" * number} for number in range(1, 5)]


def parallel_batch_flow() -> None:
    """Two nodes for each of four items, all items at once."""
    first, second = _WorkAsync(), _CheckAsync()
    first >> second  # pyright: ignore[reportUnusedExpression]
    asyncio.run(_AtOnce(start=first).run_async({}))


def threads() -> None:
    """As many threads as there is work, all of which sleep."""
    with workflow("w") as run:
        work("plan", 0.3)
        with run.executor(ThreadPoolExecutor(3)) as pool:
            pool.submit(work, "work", 1.5)
            pool.submit(work, "other", 1.0)
            pool.submit(work, "third", 0.5)
        work("publish", 0.3)


def computing() -> None:
    """One after the other, all of which compute."""
    with workflow("w"):
        compute("plan", 0.4)
        compute("work", 1.5)
        compute("publish", 0.4)


def computing_tasks() -> None:
    """Tasks that compute: one after the other, though they are gathered."""

    async def one(name: str, seconds: float) -> None:
        compute(name, seconds)

    async def whole() -> None:
        with workflow("w"):
            await gather(one("work", 0.8), one("other", 0.6), one("third", 0.4))

    asyncio.run(whole())


# --- those of which the record does not hold the bound ----------------------------------------------------------------


def pool() -> None:
    """Six times work for two threads."""
    with workflow("w") as run, run.executor(ThreadPoolExecutor(2)) as executor:
        for number in range(6):
            executor.submit(work, "work", 0.3 + 0.07 * number)


def semaphore() -> None:
    """Six tasks, of which a semaphore inside the stage lets two through."""

    async def one(free: asyncio.Semaphore) -> None:
        with stage("work"):
            async with free:
                await asyncio.sleep(takes("work", 0.4))

    async def whole() -> None:
        free = asyncio.Semaphore(2)
        with workflow("w"):
            await gather(*(one(free) for _ in range(6)))

    asyncio.run(whole())


def computing_threads() -> None:
    """Three threads that compute, and one interpreter lock."""
    with workflow("w") as run:
        assert run is current_run()
        with run.executor(ThreadPoolExecutor(3)) as executor:
            for name in ("work", "other", "third"):
                executor.submit(compute, name, 0.6)


def lock() -> None:
    """Threads of which one at a time may work; what they wait for is inside the stage."""
    one_at_a_time = threading.Lock()

    def one() -> None:
        with stage("work"), one_at_a_time:
            time.sleep(takes("work", 0.3))

    with workflow("w") as run, run.executor(ThreadPoolExecutor(4)) as executor:
        for _ in range(4):
            executor.submit(one)


_CASES: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        sequence,
        loop,
        nested,
        our_gather,
        asyncio_gather,
        batch_flow,
        parallel_batch_flow,
        threads,
        computing,
        computing_tasks,
        pool,
        semaphore,
        computing_threads,
        lock,
    )
}


if __name__ == "__main__":
    main()
