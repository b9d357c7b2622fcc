"""What recording costs, beside the same spans and metrics written by hand.

    python benchmarks/overhead.py [--calls 250] [--rounds 80] [--quick] [--memory] [--check]

Each ratio is taken inside one process: its cases run in turn, many times, and the fastest round of each counts, since
what else a machine does only ever makes a round slower. Rounds are short and many, so that each case has some at the
best where a machine changes its speed within seconds. A case lasts until its last measurement is recorded, in whatever
thread. With `--check` the exit code is 1 where a ratio, by the clock or of processor time, misses its target.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Literal

from cases import unsampled, with_the_sdk, without_sdk
from states import STATES, State, kept, prepare, probe
from timing import MIB, Line, Options, Times

from otel_progress.names import OTEL_PROGRESS_MIRROR


def process() -> ProcessPoolExecutor:
    """A fresh process that does one thing after the other."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def against(state: State, options: Options) -> Line:
    """What a call costs against how much has been, of two processes in turn."""
    few, many = Times(), Times()
    with process() as one, process() as other:
        for worker, count in ((one, 1), (other, options.state)):
            worker.submit(prepare, state, count).result()
        for _ in range(options.rounds):
            few = few.or_less(one.submit(probe).result())
            many = many.or_less(other.submit(probe).result())
    return Line(f"{options.state:,} {state} / 1", few, many, 1.15, None)


def lines_of(options: Options) -> Iterator[list[Line]]:
    """All lines, each group from a process of its own."""
    os.environ.pop(OTEL_PROGRESS_MIRROR, None)
    with process() as worker:
        yield worker.submit(with_the_sdk, options).result()
    with process() as worker:
        yield worker.submit(unsampled, options).result()
    with process() as worker:
        yield worker.submit(without_sdk, options, "no SDK, mirror on / a raw span", 14 / 15, 36 / 15).result()
    os.environ[OTEL_PROGRESS_MIRROR] = "false"  # Read when the package is imported.
    with process() as worker:
        yield worker.submit(without_sdk, options, "no SDK, mirror off / a raw span", 9 / 15, 28 / 15).result()
    del os.environ[OTEL_PROGRESS_MIRROR]
    for state in STATES:
        yield [against(state, options)]


def memory(quick: bool) -> Iterator[list[Line]]:
    """The lines about memory."""
    wholes: tuple[tuple[Literal["visits", "runs"], int], ...] = (("visits", 1_000_000), ("runs", 200_000))
    for what, count in wholes:
        with process() as worker:
            yield [worker.submit(kept, what, count // 100 if quick else count).result()]


def show(line: Line) -> None:
    """Print a line of the table."""
    wall, cpu = line.ratios
    before = "-" if line.before is None else f"{line.before:.2f}"
    by_hand, ours = (
        (f"{each.wall / MIB:.2f}" if line.name.startswith("MiB") else f"{each.wall * 1e6:.1f}")
        for each in (line.by_hand, line.ours)
    )
    end = "  missed" if line.missed else ""
    print(
        f"{line.name:44} {by_hand:>10} {ours:>8} {wall:6.2f} {cpu:6.2f} {line.target:7.2f} {before:>7}{end}", flush=True
    )


def main() -> int:
    """Measure, print and, if asked for, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=250, help="calls in a round (default: 250)")
    parser.add_argument("--rounds", type=int, default=80, help="rounds, of which the fastest counts (default: 80)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and 1,000 in the place of 100,000")
    parser.add_argument("--memory", action="store_true", help="also what is kept in memory: minutes more")
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    given = parser.parse_args()
    options = Options(given.calls, given.rounds, 100_000)
    if given.quick:
        options = replace(options, rounds=min(given.rounds, 28), state=1_000)
    print(f"{'':44} {'by hand us':>10} {'ours us':>8} {'ratio':>6} {'cpu':>6} {'target':>7} {'before':>7}")
    missed: list[str] = []
    groups = [lines_of(options)] + ([memory(given.quick)] if given.memory else [])
    for group in groups:
        for lines in group:
            for line in lines:
                show(line)
                missed += [line.name] if line.missed else []
    if missed:
        print(f"missed: {len(missed)}", file=sys.stderr)
    return 1 if missed and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
