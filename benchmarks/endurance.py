"""What load is held, which faults are survived, and how many inputs were tried.

    python benchmarks/endurance.py [--quick] [NAME ...]

Each line says what was tried, how often, and how often it went wrong: that has to be 0. Each runs in a process of its
own. The whole takes about a quarter of an hour; `--quick` tries a little of everything. The exit code is 1 where
anything went wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]  # The tests' receiver and tables of odd values.

from faults import collectors, exceptions, forks, instrumenting, kills, signals, stores  # noqa: E402
from load import memory, tasks, threads  # noqa: E402


@dataclass(frozen=True)
class Case:
    """One thing to try."""

    run: Callable[[int], tuple[int, str]]
    """Tries it so often; gives how often it went wrong, and what else there is to say."""
    what: str
    full: int
    quick: int


CASES = {
    "threads": Case(threads, "stages from 200 threads on one store", 100_000, 1_000),
    "tasks": Case(tasks, "tasks on one store", 20_000, 500),
    "memory": Case(memory, "stages, one after the other", 1_000_000, 5_000),
    "signals": Case(signals, "exceptions of a signal's handler, at random instants", 20_000, 60),
    "forks": Case(forks, "forks while four threads record", 500, 5),
    "kills": Case(kills, "SIGKILLs and SIGTERMs of a recorded program", 170, 2),
    "collectors": Case(collectors, "kinds of broken collectors", 100, 2),
    "instrumenting": Case(instrumenting, "flows while instrument() and uninstrument() are called", 100_000, 6_000),
    "exceptions": Case(exceptions, "hostile exceptions in five places", 10_000, 40),
    "stores": Case(stores, "odd values in and around a store", 10_000, 40),
}


def main() -> int:
    """Try everything, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="a little of everything")
    given = parser.parse_args()
    if unknown := set(given.names) - set(CASES):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    wrong = 0
    for name in given.names or CASES:
        case = CASES[name]
        count, begun = case.quick if given.quick else case.full, time.monotonic()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            failed, said = process.submit(case.run, count).result()
        wrong += failed
        print(f"{said:>52}  {failed:>3} wrong  {time.monotonic() - begun:6.1f} s  {case.what}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
