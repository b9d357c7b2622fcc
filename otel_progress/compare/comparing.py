"""`compare`: two sets of runs, and a verdict for the run, its stages and their platforms."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..runs.model import Run
from .counting import changes_of, renamed_stages
from .levels import of_run, rejected
from .library import bound_of, chance_above, numpy, stats
from .model import Comparison, Order, Row, Side, Verdict, WorkflowComparison
from .ranks import Differences, evened, far_apart, inflation_of, likeness_of_pairs
from .samples import TOTAL, Key, Sample, one_after_the_other, pairs_of, sample_of, thinned
from .summary import spread_of

SMALLEST = 0.1
ERROR = 0.05
MOST = 300
"""Runs of a side that are compared; of more so many, evenly spread. Their pairs are held in memory, for each stage."""
_OF_TIMES = 0.8
"""The part of the error that durations have; counts have the rest."""
_OF_TOTAL = 0.5
"""The part of that which the total has before the stages."""
_OF_PLATFORMS = 0.2
"""The part of a stage's share that its platforms have, where it is shown that nothing has changed."""
_ALIKE = 0.25
"""How much the runs of pairs must resemble each other for the pairs to be compared."""
_MOST_MORE = 100_000
_MOST_REACH = 100
"""Runs of a side, with which every level can be reached."""
_POWER = 0.8
_EFFICIENCY = 3 / math.pi
"""Of ranks beside means, where the noise is normal; elsewhere it is hardly lower, and mostly higher."""


def compare(base: Iterable[Run], new: Iterable[Run], *, smallest: float = SMALLEST, error: float = ERROR) -> Comparison:
    """What has changed from the runs of `base` to those of `new`, of the same workflows.

    Args:
        base: runs of one side, as a reader gives them; only those that ended well are timed.
        new: the runs of the other side.
        smallest: the smallest change that matters, above 0: 0.1 is 10 %, and as much the other way (1 / 1.1).
        error: how likely it may be that the same code raises any alarm, above 0 and below 1.

    Raises:
        MissingLibraryError: SciPy is not installed.
        ValueError: `smallest` or `error` is out of its range.
    """
    return compare_samples(map(sample_of, base), map(sample_of, new), smallest=smallest, error=error)


def compare_samples(
    base: Iterable[Sample], new: Iterable[Sample], *, smallest: float = SMALLEST, error: float = ERROR
) -> Comparison:
    """The same of what `sample_of` has kept of the runs.

    Raises:
        MissingLibraryError: SciPy is not installed.
        ValueError: `smallest` or `error` is out of its range.
    """
    if not (0 < smallest < math.inf and 0 < error < 1):
        raise ValueError("the smallest change must be above 0, and the error between 0 and 1")
    stats()  # What is missing is said before anything else.
    before, after = _by_workflow(base), _by_workflow(new)
    names = [(name, name) for name in after if name in before]
    if not names and len(before) == len(after) == 1:
        names = [(*before, *after)]
    return Comparison(
        smallest,
        error,
        tuple(
            _Workflow((old, name), before[old], after[name], smallest, error / len(names)).compared()
            for old, name in names
        ),
        tuple(name for name in before if name not in {old for old, _ in names}),
        tuple(name for name in after if name not in {name for _, name in names}),
    )


def _by_workflow(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.workflow, []).append(sample)
    return found


@dataclass(frozen=True)
class _Measured:
    """What is known of one row before it is judged among the others."""

    key: Key
    base: list[float]
    new: list[float]
    paired: bool
    differences: Differences


class _Workflow:
    """Two sides of one workflow."""

    def __init__(
        self, names: tuple[str, str], base: list[Sample], new: list[Sample], smallest: float, error: float
    ) -> None:
        self._old, self._name = names
        self._given = base, new
        self._base, self._new = (thinned((each for each in side if each.well), MOST) for side in (base, new))
        self._margin = math.log1p(smallest)
        self._error = error
        self._renamed = renamed_stages(self._base, self._new)
        self._pairs = pairs_of(self._base, self._new)

    def compared(self) -> WorkflowComparison:
        """The comparison."""
        measured = {each.key: each for each in self._measured()}
        base, new = ([each for each in side if each.well is not None] for side in self._given)
        changes = changes_of(self._name, base, new, self._error * (1 - _OF_TIMES), self._renamed)
        return WorkflowComparison(
            self._name,
            self._old if self._old != self._name else None,
            _side(self._given[0], len(self._base)),
            _side(self._given[1], len(self._new)),
            self._order(),
            tuple(self._rows(measured)),
            tuple(changes),
        )

    def _order(self) -> Order:
        if self._pairs is not None:
            return "in turn"
        return "one after the other" if one_after_the_other(self._base, self._new) else "mixed"

    # --- measuring ----------------------------------------------------------------------------------------------------

    def _measured(self) -> list[_Measured]:
        keys = self._keys()
        stages = sum(stage is not None and platform is None for stage, platform in keys)
        reached = self._error * _OF_TIMES * (1 - _OF_TOTAL) / max(1, stages)
        found = [self._measure(key, reached) for key in keys]
        inflated = [each for each in found if not each.paired] if self._pairs is None else []
        if not inflated:
            return found
        arrays = [(numpy().array([each.base]), numpy().array([each.new])) for each in inflated]
        inflations = evened(numpy().array([float(inflation_of(*each)[0]) for each in arrays]))
        inflations = [1.0 if far_apart(*sides)[0] else each for sides, each in zip(arrays, inflations, strict=True)]
        return [
            replace(each, differences=Differences.unpaired(*sides, inflation))
            for each, sides, inflation in zip(inflated, arrays, inflations, strict=True)
        ]

    def _keys(self) -> list[Key]:
        """What both sides have, in the order of the new one."""
        before = {self._key(key) for sample in self._base for key in sample.seconds}
        after = dict.fromkeys(key for sample in self._new for key in sample.seconds if key in before)
        stages = dict.fromkeys(stage for stage, _ in after)
        return [key for stage in stages for key in after if key[0] == stage and (stage, None) in after]

    def _key(self, key: Key) -> Key:
        """The key of the new side for one of the base."""
        stage = next((new for new, old in self._renamed.items() if old == key[0]), key[0])
        return stage, key[1]

    def _old_key(self, key: Key) -> Key:
        return (None if key[0] is None else self._renamed.get(key[0], key[0])), key[1]

    def _measure(self, key: Key, reached: float) -> _Measured:
        old = self._old_key(key)
        both = [
            (one.seconds[old], other.seconds[key])
            for one, other in self._pairs or ()
            if old in one.seconds and key in other.seconds
        ]
        base = [each.seconds[old] for each in self._base if old in each.seconds]
        new = [each.seconds[key] for each in self._new if key in each.seconds]
        # Fewer pairs could never be sure enough, while the runs of each side as a whole may be. And pairs that are not
        # alike only add their noise, while to take such runs for independent is on the safe side.
        if both and 2.0 ** (1 - len(both)) <= reached:
            one, other = zip(*both, strict=True)
            if likeness_of_pairs([one], [other])[0] > _ALIKE:
                return _Measured(key, base, new, True, Differences.paired([one], [other]))
        return _Measured(key, base, new, False, Differences.unpaired([base], [new]))

    # --- judging ------------------------------------------------------------------------------------------------------

    def _rows(self, measured: dict[Key, _Measured]) -> list[Row]:
        parts: dict[Key, list[Key]] = {key: [] for key in measured if key[0] is not None and key[1] is None}
        for key in measured:
            if key[1] is not None:
                parts[key[0], None].append(key)
        total = TOTAL if TOTAL in measured else None
        p_different = {key: float(each.differences.p_different[0]) for key, each in measured.items()}
        p_same = {key: float(each.differences.p_same(self._margin)[0]) for key, each in measured.items()}
        different = rejected(of_run(parts, total, _OF_TOTAL), p_different, self._error * _OF_TIMES)
        same = rejected(of_run(parts, total, 1 / (len(parts) + 1), _OF_PLATFORMS), p_same, self._error)
        return [
            self._row(each, p_different[key], p_same[key], different[key], same[key])
            for key, each in measured.items()
            if different[key][1] > 0  # Else it is a platform of a stage of which nothing is known to have changed.
        ]

    def _row(
        self,
        each: _Measured,
        p_different: float,
        p_same: float,
        different: tuple[bool, float],
        same: tuple[bool, float],
    ) -> Row:
        estimate = float(each.differences.estimate[0])
        able = 2 * float(each.differences.least_p()[0]) <= different[1]
        verdict: Verdict = "too few"
        if different[0] and abs(estimate) >= self._margin:
            verdict = "slower" if estimate > 0 else "faster"
        elif same[0] and able:  # Where it could not have been seen to be slower, nothing is said.
            verdict = "same"
        spent = 2 * same[1] if verdict == "same" else different[1]
        low, high = (_part(each) for each in each.differences.interval(0, spent))
        stage, platform = each.key
        return Row(
            workflow=self._name,
            stage=stage,
            platform=platform,
            renamed_from=self._renamed.get(stage or ""),
            base_runs=len(each.base),
            new_runs=len(each.new),
            base_seconds=float(numpy().median(each.base)),
            new_seconds=float(numpy().median(each.new)),
            base_spread=spread_of(each.base),
            new_spread=spread_of(each.new),
            change=math.expm1(estimate),
            low=low,
            high=high,
            confidence=1 - spent,
            p_different=p_different,
            p_same=p_same,
            level=different[1],
            paired=each.paired,
            inflation=float(each.differences.inflation[0]),
            verdict=verdict,
            more=self._more(each, estimate, different[1], same[1]) if verdict == "too few" else None,
        )

    def _more(self, each: _Measured, estimate: float, level: float, level_same: float) -> int:
        """About how many more runs of each side would show one or the other, if both go on as they are."""
        inflation = float(each.differences.inflation[0])
        if abs(estimate) >= self._margin:
            distance, one_sided = abs(estimate), level / 2
        else:
            distance, one_sided = max(self._margin - abs(estimate), self._margin / 20), level_same
        z = float(bound_of(one_sided))
        variance = _variance(each) * inflation / _EFFICIENCY
        enough = variance * (z + float(bound_of(1 - _POWER))) ** 2 / distance**2
        runs = min(len(each.base), len(each.new))
        needed = max(runs + 1, math.ceil(min(enough, _MOST_MORE)))
        raw = float(chance_above(max(z, float(bound_of(level / 2))) * math.sqrt(inflation)))
        while not each.paired and needed < _MOST_REACH and 1 / math.comb(2 * needed, needed) > raw:
            needed += 1
        return needed - runs


def _variance(each: _Measured) -> float:
    """Of the difference between one run of the base and one of the new side, not moved by outliers."""
    values = each.differences.sorted[0]
    spread = _robust(values, float(numpy().median(values)))
    return spread**2 * (2 if each.paired else 1)  # Averages of two differences vary half as much.


def _robust(values: Any, middle: float) -> float:
    return 1.4826 * float(numpy().median(numpy().abs(numpy().asarray(values) - middle)))


def _part(logarithm: float) -> float | None:
    return math.expm1(logarithm) if math.isfinite(logarithm) and logarithm < 700 else None


def _side(given: list[Sample], compared: int) -> Side:
    failed = sum(each.well is False for each in given)
    left_out = sum(each.well is None for each in given)
    return Side(len(given), compared, failed, left_out, sum(each.cancelled for each in given))
