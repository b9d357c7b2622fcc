"""The figures of one run, stage by stage. Each is defined in docs/report.md; None is what the record does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..recording.times import NANO
from ..runs.model import Run, Stage, State, Visit
from ..runs.quickly import quickly
from .numbers import OUTLYING, Interval, median, outlying, quantile, union
from .path import Path, path_of
from .shape import Shape, shape_of
from .sharing import Gap, Sharing, sharing_of
from .visits import Piece, Rework, items_of, lost_to_retries, rework_of, waiting_of

MOST_GAPS = 100
_LEAST_PLATFORMS = 4
_MUCH = 1.5
"""As many times the median of all platforms takes an outlier at least."""


@dataclass(frozen=True)
class PlatformFigures:
    """The items of one platform in a stage."""

    platform: str | None
    items: int
    failed: int
    seconds: float
    median: float
    slowest: float
    outlier: bool
    """Whether its median stands out from those of the other platforms."""
    times: tuple[float, ...] = field(default=(), repr=False)
    """Of each item, in seconds."""


@dataclass(frozen=True)
class StageFigures:
    """One stage in one run. Times are seconds, shares are of the run's wall time."""

    stage: str
    visits: int
    open: int
    seconds: float
    """In its visits; of those that are open until the last instant that was told."""
    own: float | None = None
    """As much of that as nothing inside it was open."""
    in_children: float | None = None
    """The rest."""
    waiting: Mapping[str, float] = field(default_factory=dict[str, float])
    """By reason; `retry`: between a failed attempt and the next one."""
    wall: float | None = None
    """Its part of the wall time, which what goes on at once shares in equal parts."""
    critical: float | None = None
    """On the critical path."""
    overlap: float | None = None
    """The part of its own time in which something else went on beside it, from 0 to 1."""
    results: Mapping[str, int] = field(default_factory=dict[str, int])
    repeats: int | None = None
    rework: float | None = None
    """In repeats at a higher revision than its first visit."""
    rework_visits: int | None = None
    rework_by_revision: Mapping[int, float] = field(default_factory=dict[int, float])
    retries: int = 0
    retry_seconds: float | None = None
    """In failed attempts that others followed, and between them."""
    first_visits: int | None = None
    """First visits that have ended: one for each item, or one."""
    first_pass: int | None = None
    """As many of them as succeeded without a retry, and were not worked on again."""
    fallbacks: int = 0
    dead_ends: int = 0
    budget: float | None = None
    """Of the last visit that has one."""
    budget_visits: int = 0
    budget_kept: int = 0
    quickest: float | None = None
    """Its shortest visit that succeeded."""
    platforms: tuple[PlatformFigures, ...] = ()
    """The slowest first."""


_figures = quickly(StageFigures)


@dataclass(frozen=True)
class RunFigures:
    """One run."""

    run: str
    workflow: str
    source: str
    started: int
    """Nanoseconds since the Unix epoch; 0 where nobody told."""
    state: State
    result: str | None
    seconds: float
    """Wall time; of a run that has no end until the last instant that was told."""
    stages: tuple[StageFigures, ...]
    """By their time on the critical path, the longest first."""
    path: Path
    own: float | None
    """Time on the critical path in no stage."""
    gap: float | None
    """Time in which no visit was open."""
    gaps: tuple[Gap, ...]
    """The longest hundred, the longest first."""
    parallel: float | None
    """How many visits went on at once, on average over the time in which any did."""
    rework: float | None
    """As of its stages; what is at once, or inside other rework, is counted once."""
    rework_by_revision: Mapping[int, float]
    retries: int
    retry_seconds: float | None
    revision: int | None
    visits: int
    visits_left_out: int
    """Visits that the figures know only by their totals."""
    notes: tuple[str, ...] = ()
    """What cannot be known of it, and why."""


@dataclass(slots=True)
class _Sum:
    """What is added up for a stage, times in nanoseconds but for budgets."""

    visits: list[int] = field(default_factory=list[int])
    ended: int = 0
    seconds: int = 0
    own: int = 0
    beside: int = 0
    wall: float = 0.0
    waiting: dict[str, int] = field(default_factory=dict[str, int])
    lost: int = 0
    pieces: list[Piece] = field(default_factory=list[Piece])
    results: dict[str, int] = field(default_factory=dict[str, int])
    repeats: int = 0
    retries: int = 0
    first_visits: int = 0
    first_pass: int = 0
    fallbacks: int = 0
    budget: float | None = None
    budget_visits: int = 0
    budget_kept: int = 0
    quickest: int | None = None

    def count(self, visit: Visit, *, is_undone: bool) -> None:
        """What a visit tells of itself; the last one comes last."""
        self.repeats += visit.number > 1
        self.retries += visit.retries
        self.fallbacks += visit.result == "fallback"
        if visit.budget is not None:
            self.budget = visit.budget
        if visit.ended is None:
            return
        took, is_good, result = visit.ended - visit.started, visit.result == "success", visit.result or "unknown"
        self.ended += 1
        self.results[result] = self.results.get(result, 0) + 1
        if visit.budget is not None:
            self.budget_visits += 1
            self.budget_kept += took / NANO <= visit.budget
        if is_good and (self.quickest is None or took < self.quickest):
            self.quickest = took
        if visit.number == 1:
            self.first_visits += 1
            self.first_pass += is_good and not visit.retries and not is_undone


def figures_of(run: Run) -> RunFigures:
    """All figures of a run."""
    shape = shape_of(run)
    return figures_in(shape, sharing_of(shape))


def figures_in(shape: Shape, sharing: Sharing) -> RunFigures:
    """All figures of a run that is prepared."""
    run = shape.run
    path, rework = path_of(shape), rework_of(shape)
    sums = _sums(shape, sharing, rework)
    totals = {stage.name: stage for stage in run.stages}
    on_path = path.seconds_of
    of_stages = _Stages(shape, rework, frozenset(rework.visits), on_path)
    stages = [of_stages.of(name, sums.get(name), totals.get(name)) for name in {**totals, **sums}]
    known = _is_known(run)
    by_revision = {
        revision: union(_intervals(shape, visits)) / NANO for revision, visits in sorted(rework.by_revision.items())
    }
    return RunFigures(
        run=run.id,
        workflow=run.workflow,
        source=run.source,
        started=run.started or 0,
        state=run.state,
        result=run.result,
        seconds=shape.wall / NANO,
        stages=tuple(sorted(stages, key=lambda each: (-(each.critical or 0.0), -each.seconds, each.stage))),
        path=path,
        own=on_path.get(None, 0.0) if known else None,
        gap=sharing.gap / NANO if known else None,
        gaps=_longest(sharing.gaps) if known else (),
        parallel=sharing.parallel if known else None,
        rework=union(_intervals(shape, rework.visits)) / NANO if known else None,
        rework_by_revision=by_revision,
        retries=sum(stage.retries for stage in stages),
        retry_seconds=sum(each.retry_seconds or 0.0 for each in stages) if known else None,
        revision=run.revision,
        visits=max(run.visit_count, len(run.visits)),
        visits_left_out=run.visits_left_out if known else 0,
        notes=tuple(_notes(run)),
    )


def _longest(gaps: list[Gap]) -> tuple[Gap, ...]:
    return tuple(sorted(gaps, key=lambda gap: (gap.started - gap.ended, gap.started))[:MOST_GAPS])


def _is_known(run: Run) -> bool:
    """Whether its visits are known one by one, not only the totals of its stages."""
    return bool(run.visits) or not run.stages


def _notes(run: Run) -> list[str]:
    notes: list[str] = []
    if not _is_known(run):
        notes.append("its visits were not recorded one by one: only totals are known")
    elif run.visits_left_out:
        notes.append(f"of its visits {run.visits_left_out} are known by their totals only")
    if run.ended is None:
        notes.append("it has no end that was recorded: times go to the last instant that was")
    return notes


def _sums(shape: Shape, sharing: Sharing, rework: Rework) -> dict[str, _Sum]:
    found: dict[str, _Sum] = {}
    for number, visit in enumerate(shape.visits):
        into = found.get(visit.stage) or found.setdefault(visit.stage, _Sum())
        started, ended = shape.starts[number], shape.ends[number]
        into.visits.append(number)
        into.count(visit, is_undone=number in rework.undone)
        into.seconds += ended - started
        into.own += sharing.own[number]
        into.beside += sharing.beside[number]
        into.wall += sharing.wall[number]
        if visit.waits or visit.retries:
            for reason, waited in waiting_of(visit, started, ended).items():
                into.waiting[reason] = into.waiting.get(reason, 0) + waited
            into.lost += lost_to_retries(visit, started, ended)
        if visit.items or visit.item_platform is not None:
            into.pieces += items_of(visit, started, ended)
    return found


@dataclass(frozen=True)
class _Stages:
    """What the figures of every stage of a run are made of."""

    shape: Shape
    rework: Rework
    again: frozenset[int]
    on_path: Mapping[str | None, float]

    def of(self, name: str, known: _Sum | None, totals: Stage | None) -> StageFigures:
        """The figures of one stage: from its visits, where they were recorded one by one, else from its totals."""
        told = Stage(name) if totals is None else totals
        if known is None:
            return _of_totals(told)
        shape = self.shape
        reworked = [number for number in known.visits if number in self.again] if self.again else []
        return _figures(
            stage=name,
            visits=max(len(known.visits), told.visits),
            open=len(known.visits) - known.ended,
            seconds=known.seconds / NANO,
            own=known.own / NANO,
            in_children=(known.seconds - known.own) / NANO,
            waiting={reason: waited / NANO for reason, waited in sorted(known.waiting.items())},
            wall=known.wall / NANO,
            critical=self.on_path.get(name, 0.0),
            overlap=known.beside / known.own if known.own else 0.0,
            results=known.results if known.ended > sum(told.results.values()) else dict(told.results),
            repeats=known.repeats,
            rework=union(_intervals(shape, reworked)) / NANO if reworked else 0.0,
            rework_visits=len(reworked),
            rework_by_revision=self._by_revision(name) if reworked else {},
            retries=max(told.retries, known.retries),
            retry_seconds=known.lost / NANO,
            first_visits=known.first_visits,
            first_pass=known.first_pass,
            fallbacks=max(told.results.get("fallback", 0), known.fallbacks),
            dead_ends=told.dead_ends,
            budget=known.budget,
            budget_visits=known.budget_visits,
            budget_kept=known.budget_kept,
            quickest=None if known.quickest is None else known.quickest / NANO,
            platforms=platforms_of(known.pieces) if known.pieces else (),
        )

    def _by_revision(self, name: str) -> dict[int, float]:
        found: dict[int, float] = {}
        for revision, numbers in sorted(self.rework.by_revision.items()):
            if own := [number for number in numbers if self.shape.visits[number].stage == name]:
                found[revision] = union(_intervals(self.shape, own)) / NANO
        return found


def _of_totals(stage: Stage) -> StageFigures:
    """What is known of a stage none of whose visits is."""
    return StageFigures(
        stage=stage.name,
        visits=stage.visits,
        open=stage.open,
        seconds=stage.seconds,
        results=dict(stage.results),
        retries=stage.retries,
        fallbacks=stage.results.get("fallback", 0),
        dead_ends=stage.dead_ends,
    )


def _intervals(shape: Shape, numbers: list[int]) -> list[Interval]:
    return [(shape.starts[number], shape.ends[number]) for number in numbers]


def platforms_of(pieces: list[Piece]) -> tuple[PlatformFigures, ...]:
    """The items of a stage by platform, and which platforms stand out."""
    found: dict[str | None, tuple[int, list[float]]] = {}
    for piece in pieces:
        failed, times = found.get(piece.platform, (0, []))
        times.append(piece.seconds)
        found[piece.platform] = failed + piece.failed, times
    return compared({platform: (failed, sorted(times)) for platform, (failed, times) in found.items()})


def compared(platforms: Mapping[str | None, tuple[int, list[float]]]) -> tuple[PlatformFigures, ...]:
    """Platforms beside each other: of each how many items failed, and their times in order."""
    if not platforms:
        return ()
    middles = {platform: quantile(times, 0.5) for platform, (_, times) in platforms.items()}
    usual = median(middles.values())
    scores = dict(zip(middles, outlying(list(middles.values())), strict=True))
    found = [
        PlatformFigures(
            platform,
            len(times),
            failed,
            sum(times),
            middles[platform],
            times[-1],
            len(middles) >= _LEAST_PLATFORMS and scores[platform] > OUTLYING and middles[platform] >= _MUCH * usual,
            tuple(times),
        )
        for platform, (failed, times) in platforms.items()
    ]
    return tuple(sorted(found, key=lambda each: (-each.median, each.platform or "")))
