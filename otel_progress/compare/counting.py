"""What is counted, not timed: stages that are new or gone, visits, revisions, retries, failures.

Each is cut in two where the runs of both sides together are best divided, which asks nothing of which side is which,
and then it is Fisher's exact test (R. A. Fisher, "The Logic of Inductive Inference", Journal of the Royal Statistical
Society 98, 1935; for counts cut at a common value A. M. Mood's median test).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from .levels import tarone
from .library import stats
from .model import Change, Kind
from .samples import Counts, Sample


@dataclass(frozen=True)
class _Counted:
    """One thing that is counted in every run of both sides that has it."""

    kind: Kind
    stage: str | None
    base: Sequence[float]
    new: Sequence[float]


def changes_of(
    workflow: str, base: Sequence[Sample], new: Sequence[Sample], level: float, renamed: dict[str, str]
) -> list[Change]:
    """What has changed, the certain first; and what is seen on one side only, certain or not.

    Args:
        workflow: its name.
        base: the runs that ended well or badly.
        new: the same of the other side.
        level: the chance that the same code makes any of it seem to have changed.
        renamed: stages of the new side that have another name in the base, with this name.
    """
    counted = list(_counted(base, new, renamed))
    tables = [_table(each.base, each.new) for each in counted]
    p = [_p(*each) for each in tables]
    certain = tarone(p, [_least_p(*each) for each in tables], level)
    found = [
        _change(workflow, each, p[number], certain[number])
        for number, each in enumerate(counted)
        if certain[number] or (each.kind == "new" and each.base and each.new and any(each.base) != any(each.new))
    ]
    for stage, before in renamed.items():
        runs = len(base), len(new)
        found.append(Change(workflow, "renamed", stage, before, 1.0, 1.0, *runs, 0.0, True))
    return sorted(found, key=lambda change: not change.certain)


def renamed_stages(base: Sequence[Sample], new: Sequence[Sample]) -> dict[str, str]:
    """Stages that have another name now, with the one that they had: in every run of their side, in none of the other.

    A stage that is gone and one that is new are taken for one where both stand between the same two stages, and nothing
    else that is gone or new does.
    """
    before, after = _order(base), _order(new)
    common = set(before) & set(after)
    gone, come = (
        {stage: _neighbours(stage, order, common) for stage in order if stage not in common and _in_all(stage, side)}
        for order, side in ((before, base), (after, new))
    )
    lonely = {
        where: [stage for stage, place in (*gone.items(), *come.items()) if place == where]
        for where in (set(gone.values()) & set(come.values()))
    }
    return {
        stage: next(each for each, place in gone.items() if place == where)
        for stage, where in come.items()
        if len(lonely.get(where, ())) == 2
    }


def _order(samples: Sequence[Sample]) -> list[str]:
    """The stages of a side, by their usual place in a run."""
    places: dict[str, list[float]] = {}
    for sample in samples:
        for place, stage in enumerate(sample.counts):
            places.setdefault(stage, []).append(place / len(sample.counts))
    return sorted(places, key=lambda stage: fmean(places[stage]))


def _neighbours(stage: str, order: list[str], common: set[str]) -> tuple[str | None, str | None]:
    at = order.index(stage)
    before = next((each for each in reversed(order[:at]) if each in common), None)
    return before, next((each for each in order[at + 1 :] if each in common), None)


def _in_all(stage: str, samples: Sequence[Sample]) -> bool:
    return all(stage in sample.counts for sample in samples)


def _counted(base: Sequence[Sample], new: Sequence[Sample], renamed: dict[str, str]) -> Iterator[_Counted]:
    well, now_well = ([sample for sample in side if sample.well] for side in (base, new))
    yield _Counted("failures", None, [not each.well for each in base], [not each.well for each in new])
    yield _Counted(
        "revisions", None, *([each.revision for each in side if each.revision is not None] for side in (well, now_well))
    )
    stages = dict.fromkeys(stage for sample in (*new, *base) for stage in sample.counts)
    for stage in stages:
        before = renamed.get(stage, stage)
        if stage in renamed.values():
            continue
        if stage not in renamed:
            yield _Counted(
                "new", stage, [stage in each.counts for each in well], [stage in each.counts for each in now_well]
            )
        for kind, count in _OF_STAGE.items():
            sides = (well, now_well) if kind != "failures" else (base, new)
            yield _Counted(kind, stage, list(_each(sides[0], before, count)), list(_each(sides[1], stage, count)))


_OF_STAGE: dict[Kind, Callable[[Counts], float]] = {
    "visits": lambda counts: counts.visits,
    "retries": lambda counts: counts.retries,
    "failures": lambda counts: counts.failed > 0,
}


def _each(samples: Iterable[Sample], stage: str, count: Callable[[Counts], float]) -> Iterator[float]:
    return (count(sample.counts[stage]) for sample in samples if stage in sample.counts)


Table = tuple[int, int, int, int]
"""Above the cut and runs, of the base and of the new side."""


def _table(base: Sequence[float], new: Sequence[float]) -> Table:
    values = sorted((*base, *new))
    cut = max(
        set(values),
        key=lambda value: min(sum(each <= value for each in values), sum(each > value for each in values)),
        default=0,
    )
    return sum(each > cut for each in base), len(base), sum(each > cut for each in new), len(new)


@functools.lru_cache(10_000)
def _p(above: int, runs: int, new_above: int, new_runs: int) -> float:
    table = [[above, runs - above], [new_above, new_runs - new_above]]
    return float(stats().fisher_exact(table).pvalue)


def _least_p(above: int, runs: int, new_above: int, new_runs: int) -> float:
    """The smallest p that so many above the cut could give, on whatever side they were."""
    both = above + new_above
    least, most = max(0, both - new_runs), min(both, runs)
    return min(_p(each, runs, both - each, new_runs) for each in (least, most))


def _change(workflow: str, counted: _Counted, p: float, certain: bool) -> Change:
    base, new = (fmean(each) if each else 0.0 for each in (counted.base, counted.new))
    kind = counted.kind
    if kind == "new":
        kind = "vanished" if new < base else "new"
    return Change(workflow, kind, counted.stage, None, base, new, len(counted.base), len(counted.new), p, certain)
