"""Whether the verdicts of `otel-progress compare` can be trusted: what they find, and how often they are wrong.

python benchmarks/comparing.py              # some ten minutes: the tables of docs/compare.md
python benchmarks/comparing.py --quick      # a tenth of the comparisons
python benchmarks/comparing.py --here       # the same code, on this machine: two minutes more
python benchmarks/comparing.py --processes 50   # nothing but that, with a process for each run: half an hour
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from otel_progress.compare import Sample, compare_samples, sample_of
from otel_progress.compare.samples import TOTAL, Counts, Key
from otel_progress.runs import read

STAGES = ("draft", "edit", "check", "publish")
EFFECTS = (0.05, 0.10, 0.20, 0.50)
TIMES = (5, 10, 20, 50)
SECOND = 1_000_000_000
PROGRAM = """
import sys
from otel_progress import stage, workflow

def work(steps):
    total = 0
    for number in range(steps):
        total += number * number

for _ in range(int(sys.argv[1])):
    with workflow("here", shared={}):
        for name, steps in (("draft", 10_000), ("edit", 20_000), ("check", 15_000), ("publish", 5_000)):
            with stage(name):
                work(steps)
"""
Noise = Callable[[np.random.Generator, tuple[int, ...]], Any]
NOISES: dict[str, Noise] = {
    "5 %": lambda rng, shape: np.exp(0.05 * rng.standard_normal(shape)),
    "5 %, and every tenth run twice as long": lambda rng, shape: (
        np.exp(0.05 * rng.standard_normal(shape)) * np.where(rng.random(shape) < 0.1, 2.0, 1.0)
    ),
    "20 %": lambda rng, shape: np.exp(0.2 * rng.standard_normal(shape)),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the comparisons")
    parser.add_argument("--here", action="store_true", help="compare the same code on this machine, too")
    parser.add_argument("--processes", type=int, metavar="N", help="so many such comparisons, a process for each run")
    options = parser.parse_args()
    if options.processes:
        _processes(options.processes)
        return
    many = 20 if options.quick else 200
    for in_turn in (True, False):
        _power(many, in_turn=in_turn)
    _drift(many)
    if options.here:
        _here(many)


def _power(many: int, *, in_turn: bool) -> None:
    """Four stages of a second each, of which one gets slower: how often that is found."""
    print(f"\n{'The sides take turns' if in_turn else 'One side after the other'}: of {many} comparisons each\n")
    print(f"| noise of a stage | one stage is slower by | {' | '.join(f'{times} runs' for times in TIMES)} |")
    print("|---|--:|" + "--:|" * len(TIMES))
    for name, noise in NOISES.items():
        for effect in EFFECTS:
            found = [f"{_found(many, noise, times, effect, in_turn=in_turn)[0]:.0%}" for times in TIMES]
            print(f"| {name} | {effect:.0%} | {' | '.join(found)} |", flush=True)
        same = [_found(many, noise, times, 0.0, in_turn=in_turn) for times in TIMES]
        print(f"| {name} | nothing: called same | {' | '.join(f'{each[1]:.0%}' for each in same)} |")
        print(f"| {name} | nothing: false alarms | {' | '.join(f'{each[2]:.1%}' for each in same)} |", flush=True)


def _found(many: int, noise: Noise, times: int, effect: float, *, in_turn: bool) -> tuple[float, float, float]:
    """How often the slower stage is found, how often an equal one is called same, and how often anything is said."""
    rng = np.random.default_rng([times, round(effect * 100), in_turn])
    slower = same = alarms = 0.0
    for _ in range(many):
        base, new = noise(rng, (len(STAGES), times)), noise(rng, (len(STAGES), times))
        new[1] *= 1 + effect
        starts = range(2 * times)
        sides = turns(starts) if in_turn else (starts[:times], starts[times:])
        found = compare_samples(*(samples(side, start) for side, start in zip((base, new), sides, strict=True)))
        verdicts = {row.stage: row.verdict for row in found.rows}
        slower += verdicts["edit"] == "slower"
        same += sum(verdicts[stage] == "same" for stage in STAGES if stage != "edit") / (len(STAGES) - 1)
        alarms += bool(found.alarms)
    return slower / many, same / many, alarms / many


def _drift(many: int) -> None:
    """The same code on a machine that drifts: all stages with it, each run resembling the one before by so much."""
    print(f"\nThe same code on a machine that drifts by 20 %: false alarms in {many} comparisons of 12 runs each\n")
    print("| likeness of a run to the one before | in turn | one side after the other |")
    print("|--:|--:|--:|")
    for likeness in (0.0, 0.3, 0.5, 0.7, 0.9):
        rng = np.random.default_rng(round(likeness * 10))
        told: list[float] = []
        for in_turn in (True, False):
            alarms = 0
            for _ in range(many):
                machine = np.exp(0.2 * _series(rng, 24, likeness)) * np.exp(
                    0.05 * rng.standard_normal((len(STAGES), 24))
                )
                alarms += is_alarm(samples(machine, range(24)), in_turn=in_turn)
            told.append(alarms / many)
        print(f"| {likeness} | {told[0]:.1%} | {told[1]:.1%} |", flush=True)


def _series(rng: np.random.Generator, length: int, likeness: float) -> Any:
    steps = rng.standard_normal(length)
    for at in range(1, length):
        steps[at] = likeness * steps[at - 1] + math.sqrt(1 - likeness**2) * steps[at]
    return steps


def _here(many: int) -> None:
    """Runs of a real workflow on this machine, in one process."""
    with tempfile.TemporaryDirectory(prefix="otel-progress-comparing-") as name:
        found = _recorded(Path(name), many * 24)
    print(f"\nThe same code here, {len(found)} runs that deviate by {_spread(found)}: alarms in {many} comparisons\n")
    print("| runs of each side | in turn | one side after the other |\n|--:|--:|--:|")
    parts = [found[at : at + 24] for at in range(0, len(found), 24)]
    alarms = [sum(is_alarm(part, in_turn=in_turn) for part in parts) for in_turn in (True, False)]
    print(f"| 12 | {alarms[0]} | {alarms[1]} |", flush=True)


def _processes(many: int) -> None:
    """The same with a process for each run, as `bench` runs them: a line as each comparison is done."""
    alarms = [0, 0]
    print("| comparisons, of 12 runs of each side | deviation of the 24 | in turn | one side after the other |")
    print("|--:|--:|--:|--:|")
    for number in range(1, many + 1):
        with tempfile.TemporaryDirectory(prefix="otel-progress-comparing-") as name:
            for _ in range(23):
                _recorded(Path(name), 1)
            found = _recorded(Path(name), 1)
        for place, in_turn in enumerate((True, False)):
            alarms[place] += is_alarm(found, in_turn=in_turn)
        print(f"| {number} | {_spread(found)} | {alarms[0]} | {alarms[1]} |", flush=True)


def _recorded(folder: Path, runs: int) -> list[Sample]:
    """So many runs more of the program, by one process; gives all that are in the folder, the oldest first."""
    script = folder / "program.py"
    script.write_text(PROGRAM, "utf-8")
    command = [sys.executable, "-m", "otel_progress", "run", script.name, str(runs)]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    subprocess.run(command, cwd=folder, env=kept | {"PYTHONPATH": paths}, check=True, capture_output=True)
    return sorted(map(sample_of, read(folder / ".otel-progress", visits=0)), key=lambda each: each.started)


def _spread(found: Sequence[Sample]) -> str:
    seconds = [each.seconds[TOTAL] for each in found]
    return f"{statistics.pstdev(seconds) / statistics.fmean(seconds):.0%}"


def is_alarm(both: Sequence[Sample], *, in_turn: bool) -> bool:
    """Whether the same code raises an alarm, its runs taken for two versions."""
    half = len(both) // 2
    sides = turns(range(len(both))) if in_turn else (range(half), range(half, len(both)))
    return bool(compare_samples(*([both[at] for at in side] for side in sides)).alarms)


def turns(starts: Iterable[int]) -> tuple[list[int], list[int]]:
    """The numbers of the two sides: A, B, B, A."""
    return ([at for at in starts if at % 4 in (0, 3)], [at for at in starts if at % 4 in (1, 2)])


def samples(seconds: Any, starts: Iterable[int]) -> list[Sample]:
    """Runs of stages, from an array of shape (stages, runs)."""
    made: list[Sample] = []
    for number, start in enumerate(starts):
        each = [float(value) for value in seconds[:, number]]
        times: dict[Key, float] = {TOTAL: sum(each)}
        times |= {(stage, None): value for stage, value in zip(STAGES, each, strict=True)}
        counts = {stage: Counts(1, 0, 0) for stage in STAGES}
        made.append(Sample(f"run-{start}", "synthetic", start * SECOND, True, times, counts, None))
    return made


if __name__ == "__main__":
    main()
