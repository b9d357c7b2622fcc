"""What of a run is compared: how long it took, what its stages took for each visit, and what can be counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..recording.times import NANO
from ..runs.model import Run, Stage

Key = tuple[str | None, str | None]
"""A stage and a platform: (None, None) the run itself, (stage, None) the stage with all its platforms."""
TOTAL: Key = (None, None)
_WELL = {None, "success", "fallback"}
_BADLY = {"failure", "abandoned"}
_IN_TURN = 0.8


@dataclass(frozen=True)
class Counts:
    """What is counted of a stage in one run."""

    visits: int
    retries: int
    failed: int
    """Visits that ended as `failure` or `abandoned`."""


@dataclass(frozen=True)
class Sample:
    """One run, as far as it is compared."""

    id: str
    workflow: str
    started: int
    """Nanoseconds since the Unix epoch."""
    well: bool | None
    """Whether it ended well; None where it has not ended, or was cancelled: then it is left out."""
    seconds: dict[Key, float]
    """Of the run; of each stage for a visit, on average; of each platform of a stage, where it is told."""
    counts: dict[str, Counts]
    """By stage, in the order in which they first started."""
    revision: int | None
    cancelled: bool = False


def sample_of(run: Run) -> Sample:
    """What of `run` is compared."""
    seconds: dict[Key, float] = {} if run.seconds is None else {TOTAL: run.seconds}
    for stage in run.stages:
        ended = stage.visits - stage.open
        if ended > 0:
            seconds[stage.name, None] = stage.seconds / ended
    seconds.update(_platforms(run))
    return Sample(
        run.id,
        run.workflow,
        run.started or 0,
        _ended_well(run),
        seconds,
        {stage.name: _counts(stage) for stage in run.stages},
        run.revision,
        run.state == "done" and run.result == "cancelled",
    )


def _ended_well(run: Run) -> bool | None:
    if run.state == "done":
        return True if run.result in _WELL else False if run.result in _BADLY else None
    return False if run.state == "crashed" else None


def _counts(stage: Stage) -> Counts:
    failed = sum(number for result, number in stage.results.items() if result in _BADLY)
    return Counts(stage.visits, stage.retries, failed)


def _platforms(run: Run) -> dict[Key, float]:
    found: dict[Key, list[float]] = {}
    for visit in run.visits:
        if visit.item_platform is not None and visit.seconds is not None:
            found.setdefault((visit.stage, visit.item_platform), []).append(visit.seconds)
        for item in visit.items:
            if item.platform is not None:
                found.setdefault((visit.stage, item.platform), []).append((item.ended - item.started) / NANO)
    return {key: fmean(each) for key, each in found.items()}


def pairs_of(base: Sequence[Sample], new: Sequence[Sample]) -> list[tuple[Sample, Sample]] | None:
    """The runs of two sides that ran one right after the other, if the sides took turns; else None.

    They did where at least four of five runs have such a neighbour. Only times of starts decide, never how long
    anything took.
    """
    merged = sorted([(each.started, 0, each) for each in base] + [(each.started, 1, each) for each in new], key=_start)
    found: list[tuple[Sample, Sample]] = []
    at = 0
    while at + 1 < len(merged):
        (_, side, one), (_, other_side, other) = merged[at], merged[at + 1]
        if side == other_side:
            at += 1
        else:
            found.append((one, other) if side == 0 else (other, one))
            at += 2
    many = found and len(found) >= _IN_TURN * max(len(base), len(new))
    return found if many and not one_after_the_other(base, new) else None


def one_after_the_other(base: Sequence[Sample], new: Sequence[Sample]) -> bool:
    """Whether all runs of one side began before all of the other."""
    ends = [(min(each.started for each in side), max(each.started for each in side)) for side in (base, new) if side]
    return len(ends) == 2 and (ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0])


def _start(each: tuple[int, int, Sample]) -> tuple[int, int]:
    return each[:2]


def thinned(samples: Iterable[Sample], most: int) -> list[Sample]:
    """The samples by their starts; of very many so many, evenly spread."""
    ordered = sorted(samples, key=lambda each: (each.started, each.id))
    if len(ordered) <= most:
        return ordered
    return [ordered[round(number * (len(ordered) - 1) / (most - 1))] for number in range(most)]
