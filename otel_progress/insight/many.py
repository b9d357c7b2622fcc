"""The figures of many runs of a workflow: how they are spread, and where they go. Defined in docs/report.md."""

from __future__ import annotations

import operator
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from .figures import PlatformFigures, RunFigures, StageFigures, compared
from .numbers import quantile, spread, trend

GOING_ON = ("running", "waiting", "stalled", "crashed")
"""States of runs whose times are not whole."""


@dataclass(frozen=True)
class Distribution:
    """A time over many runs, in seconds."""

    count: int
    total: float
    p50: float
    p90: float
    p99: float
    shortest: float
    longest: float
    spread: float
    """The quartile coefficient of dispersion: 0.0 where all are the same, towards 1.0 the more they differ."""
    change: float
    """From the first run to the last, by the trend of Theil and Sen."""
    chance: float
    """How likely chance alone makes as much of a trend: the two-sided p of the test of Mann and Kendall."""


@dataclass(frozen=True)
class StageOverRuns:
    """One stage, over the runs of a workflow that have ended; counts are of all its runs."""

    stage: str
    runs: int
    """In which it was visited."""
    seconds: Distribution
    """In its visits, of each run in which it was visited."""
    own: float | None
    """Seconds of all runs together, as the figures below: as those of one run."""
    wall: float | None
    critical: float | None
    critical_share: float | None
    """Of the wall time of all runs."""
    often_critical: float | None
    """The part of all runs on whose critical path it is, from 0 to 1."""
    waiting: Mapping[str, float]
    visits: int
    results: Mapping[str, int]
    repeats: int
    rework: float
    rework_visits: int
    rework_by_revision: Mapping[int, float]
    retries: int
    retry_seconds: float
    first_visits: int
    first_pass: int
    fallbacks: int
    dead_ends: int
    budget: float | None
    budget_visits: int
    budget_kept: int
    quickest: float | None
    platforms: tuple[PlatformFigures, ...]


@dataclass(frozen=True)
class WorkflowFigures:
    """All runs of one workflow."""

    workflow: str
    runs: int
    results: Mapping[str, int]
    """Runs by how they ended; those that did not by their state."""
    first: int
    last: int
    """When the first and the last of them began: nanoseconds since the Unix epoch."""
    seconds: Distribution | None
    """Wall time of the runs that have ended; None: none has."""
    stages: tuple[StageOverRuns, ...]
    """By their time on the critical path, the longest first."""
    own: float | None
    """Seconds on the critical path in no stage, of all runs together."""
    gap: float | None
    rework: float
    retries: int
    retry_seconds: float
    results_by_revision: Mapping[int, Mapping[str, int]]
    """Of the runs whose workflow counts revisions: how they ended, by their highest revision."""
    rework_by_revision: Mapping[int, float]


@dataclass
class _Stage:
    """One stage while runs come in."""

    times: array[float] = field(default_factory=lambda: array("d"))
    begun: array[int] = field(default_factory=lambda: array("q"))
    own: float = 0.0
    wall: float = 0.0
    critical: float = 0.0
    on_path: int = 0
    known: int = 0
    sums: Counter[str] = field(default_factory=Counter[str])
    rework: float = 0.0
    retry_seconds: float = 0.0
    waiting: dict[str, float] = field(default_factory=dict[str, float])
    results: Counter[str] = field(default_factory=Counter[str])
    by_revision: dict[int, float] = field(default_factory=dict[int, float])
    platforms: dict[str | None, tuple[int, list[float]]] = field(
        default_factory=dict[str | None, tuple[int, list[float]]]
    )
    budget: tuple[int, float] | None = None
    quickest: float | None = None

    def add(self, figures: StageFigures, begun: int, *, whole: bool) -> None:
        """What one run tells of it."""
        if whole:
            self.times.append(figures.seconds)
            self.begun.append(begun)
            if figures.own is not None:
                self.known += 1
                self.own += figures.own
                self.wall += figures.wall or 0.0
                self.critical += figures.critical or 0.0
                self.on_path += bool(figures.critical)
        for name, count in zip(_COUNTS, _counts_of(figures), strict=True):
            if count:
                self.sums[name] += count
        self.rework += figures.rework or 0.0
        self.retry_seconds += figures.retry_seconds or 0.0
        for result, count in figures.results.items():
            self.results[result] += count
        _add(self.waiting, figures.waiting)
        _add(self.by_revision, figures.rework_by_revision)
        for each in figures.platforms:
            failed, times = self.platforms.get(each.platform, (0, []))
            times.extend(each.times)
            self.platforms[each.platform] = failed + each.failed, times
        if figures.budget is not None and (self.budget is None or (begun, figures.budget) > self.budget):
            self.budget = begun, figures.budget
        if figures.quickest is not None:
            self.quickest = figures.quickest if self.quickest is None else min(figures.quickest, self.quickest)


_COUNTS = (
    "visits",
    "repeats",
    "rework_visits",
    "retries",
    "first_visits",
    "first_pass",
    "fallbacks",
    "dead_ends",
    "budget_visits",
    "budget_kept",
)
_counts_of = operator.attrgetter(*_COUNTS)


class Workflow:
    """One workflow while its runs come in, in any order; of each a few numbers are kept."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stages: dict[str, _Stage] = {}
        self._times, self._begun = array("d"), array("q")
        self._starts = array("q")
        self._results = Counter[str]()
        self._own = self._gap = self._rework = self._retry_seconds = 0.0
        self._known = self._retries = 0
        self._by_revision: dict[int, Counter[str]] = {}
        self._rework_by_revision: dict[int, float] = {}

    def add(self, run: RunFigures) -> None:
        """Take in a run."""
        whole = run.state not in GOING_ON
        self._starts.append(run.started)
        result = run.result or "unknown" if run.state == "done" else run.state
        self._results[result] += 1
        if run.revision is not None:
            self._by_revision.setdefault(run.revision, Counter())[result] += 1
        if whole:
            self._times.append(run.seconds)
            self._begun.append(run.started)
            if run.own is not None:
                self._known += 1
                self._own += run.own
                self._gap += run.gap or 0.0
        self._rework += run.rework or 0.0
        self._retries += run.retries
        self._retry_seconds += run.retry_seconds or 0.0
        _add(self._rework_by_revision, run.rework_by_revision)
        for each in run.stages:
            stage = self._stages.get(each.stage) or self._stages.setdefault(each.stage, _Stage())
            stage.add(each, run.started, whole=whole)

    def figures(self) -> WorkflowFigures:
        """What is known so far."""
        stages = [self._stage(name, stage) for name, stage in self._stages.items()]
        return WorkflowFigures(
            workflow=self.name,
            runs=len(self._starts),
            results=dict(sorted(self._results.items())),
            first=min(self._starts, default=0),
            last=max(self._starts, default=0),
            seconds=distribution(self._times, self._begun) if self._times else None,
            stages=tuple(sorted(stages, key=lambda each: (-(each.critical or 0.0), -each.seconds.total, each.stage))),
            own=self._own if self._known else None,
            gap=self._gap if self._known else None,
            rework=self._rework,
            retries=self._retries,
            retry_seconds=self._retry_seconds,
            results_by_revision={number: dict(found) for number, found in sorted(self._by_revision.items())},
            rework_by_revision=dict(sorted(self._rework_by_revision.items())),
        )

    def _stage(self, name: str, stage: _Stage) -> StageOverRuns:
        wall, known = sum(self._times), stage.known > 0
        return StageOverRuns(
            stage=name,
            runs=len(stage.times),
            seconds=distribution(stage.times, stage.begun),
            own=stage.own if known else None,
            wall=stage.wall if known else None,
            critical=stage.critical if known else None,
            critical_share=(stage.critical / wall if wall else 0.0) if known else None,
            often_critical=stage.on_path / self._known if known else None,
            waiting=dict(sorted(stage.waiting.items())),
            results=dict(sorted(stage.results.items())),
            rework=stage.rework,
            rework_by_revision=dict(sorted(stage.by_revision.items())),
            retry_seconds=stage.retry_seconds,
            budget=stage.budget[1] if stage.budget else None,
            quickest=stage.quickest,
            platforms=compared({name: (failed, sorted(times)) for name, (failed, times) in stage.platforms.items()}),
            **{count: stage.sums[count] for count in _COUNTS},
        )


def figures_over(runs: Iterable[RunFigures]) -> tuple[WorkflowFigures, ...]:
    """The figures of many runs, workflow by workflow, those with the most runs first."""
    found: dict[str, Workflow] = {}
    for run in runs:
        if run.workflow not in found:
            found[run.workflow] = Workflow(run.workflow)
        found[run.workflow].add(run)
    return in_order(found.values())


def in_order(workflows: Iterable[Workflow]) -> tuple[WorkflowFigures, ...]:
    """Their figures, those with the most runs first."""
    return tuple(sorted((each.figures() for each in workflows), key=lambda each: (-each.runs, each.workflow)))


def distribution(times: Iterable[float], begun: Iterable[int]) -> Distribution:
    """How times are spread, and where they go with the starts of their runs. Of none all is 0.0."""
    by_start = [taken for _, taken in sorted(zip(begun, times, strict=True))]
    ordered = sorted(by_start)
    if not ordered:
        return Distribution(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    change, chance = trend(by_start)
    return Distribution(
        count=len(ordered),
        total=sum(ordered),
        p50=quantile(ordered, 0.5),
        p90=quantile(ordered, 0.9),
        p99=quantile(ordered, 0.99),
        shortest=ordered[0],
        longest=ordered[-1],
        spread=spread(ordered),
        change=change,
        chance=chance,
    )


_Key = TypeVar("_Key", str, int)


def _add(into: dict[_Key, float], more: Mapping[_Key, float]) -> None:
    for key, value in more.items():
        into[key] = into.get(key, 0.0) + value
