"""How well the end of a run is expected, replayed on histories that are made up; and what it costs to ask.

python benchmarks/expected.py                # ten minutes: each kind of history, 1,000 runs of it
python benchmarks/expected.py --seeds 3 13   # the same for ten other seeds: how often all of it holds
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from time import process_time

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]  # The tests' histories.

from otel_progress.insight.expected import MOST_RUNS, Earlier  # noqa: E402
from otel_progress.insight.pasts import past_of  # noqa: E402
from otel_progress.recording.times import NANO  # noqa: E402
from tests.generated import KINDS, PARTS, START, Course, Held, after_step, as_of, replayed, runs_of  # noqa: E402

RUNS = 1000
NARROW = 0.8
STEPS = {"slower at once": 1.6, "faster at once": 1 / 1.6}
LOOPING = ("loops", "branching")


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs=2, default=(2, 3), help="the first, and the one behind the last")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each history (default: {RUNS})")
    options = parser.parse_args()
    parts = "/".join(f"{part:.0%}" for part in PARTS)
    print(f"{options.runs} runs each, at {parts} of the way")
    print(f"{'history':<18}{'seed':>5}{'p90 held':>20}{'p50 held':>20}{'p50 to p90, s':>20}{'of plain':>10}")
    held = total = 0
    for seed in range(*options.seeds):
        fine = True
        for kind in KINDS:
            found = replayed(kind, seed, options.runs)
            fine &= _shown(kind, seed, found) and (kind not in LOOPING or found.ratio <= NARROW)
        for name, step in STEPS.items():
            fine &= _shown(name, seed, after_step(step, seed, options.runs))
        held, total = held + fine, total + 1
    print(f"all of it holds for {held} of {total} seeds")
    _cost()


def _shown(name: str, seed: int, held: Held) -> bool:
    p90, p50 = (" ".join(f"{each[part] / held.runs:.1%}" for part in PARTS) for each in (held.p90, held.p50))
    width = " ".join(f"{held.width[part] / held.runs:.2f}" for part in PARTS)
    note = "" if held.holds() else "  not held"
    print(f"{name:<18}{seed:>5}{p90:>20}{p50:>20}{width:>20}{held.ratio:>10.2f}{note}", flush=True)
    return held.holds()


def _cost() -> None:
    """What one question costs, with 200 earlier runs of 20 stages."""

    def twenty(course: Course, number: int) -> None:
        for stage in range(20):
            course.visit(f"stage{stage}", course.takes(1.0 + stage % 5))

    *runs, last = runs_of(twenty, 1, MOST_RUNS + 1)
    begun = process_time()
    earlier = Earlier(past for run in runs if (past := past_of(run)) is not None)
    prepared = process_time() - begun
    whole = last.seconds or 0.0
    asked = [START + round(whole * random.Random(number).random() * NANO) for number in range(200)]
    standing = [(as_of(last, now), now) for now in asked]
    took: list[float] = []
    for run, now in standing:
        begun = process_time()
        earlier.expected(run, now)
        took.append(process_time() - begun)
    took.sort()
    print(
        f"{MOST_RUNS} earlier runs of 20 stages, time of the CPU: {prepared * 1e3:.0f} ms to prepare, then "
        f"{took[len(took) // 2] * 1e3:.2f} ms to ask, at most {took[-1] * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main()
