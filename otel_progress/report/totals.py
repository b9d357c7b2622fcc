"""A plain model of what runs did: what readers build, and analysis and reports work on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..names import OTHER
from ..recording.live import Run
from ..recording.stages import StageRecord
from ..recording.store import MOST_TOLD_APART


@dataclass
class StageTotals:
    """One stage, over all runs of a workflow."""

    name: str
    visits: int = 0
    seconds: float = 0.0
    platforms: int = 0
    """The most that a run had."""
    revisions: int = 0
    """The most that a run had."""
    retries: int = 0
    results: Counter[str] = field(default_factory=Counter[str])
    """How its visits ended."""
    rework: float = 0.0
    """Seconds of the repeats at a higher revision than the stage's first visit."""

    def add(self, other: StageTotals) -> None:
        """Add what `other` tells."""
        self.visits += other.visits
        self.seconds += other.seconds
        self.platforms = max(self.platforms, other.platforms)
        self.revisions = max(self.revisions, other.revisions)
        self.retries += other.retries
        self.results.update(other.results)
        self.rework += other.rework


@dataclass
class WorkflowTotals:
    """One workflow, over all its runs."""

    name: str
    runs: int = 0
    seconds: float = 0.0
    results: Counter[str] = field(default_factory=Counter[str])
    """How its runs ended."""
    stages: dict[str, StageTotals] = field(default_factory=dict[str, StageTotals])
    rework: float = 0.0
    """As of its stages; what lies inside other rework is counted once."""

    def add(self, run: Run, *, again: bool = False) -> None:
        """Add a run that has ended; `again` for one that was added at its end, and was joined after that."""
        if not again:
            self.runs += 1
            self.results[run.result or "success"] += 1
        self.seconds += run.seconds
        self.rework += run.rework
        for name, record in list(run.stages.items()):
            stage = _own(record)
            if stage.visits:
                known = name_within(self.stages, name)
                self.stages.setdefault(known, StageTotals(known)).add(stage)


def name_within(known: Mapping[str, object], name: str) -> str:
    """`name`, or that of all others where as many are known as are told apart."""
    return name if name in known or len(known) < MOST_TOLD_APART else OTHER


def _own(record: StageRecord) -> StageTotals:
    """What a run has recorded itself: not what it has loaded, which is counted where it was recorded."""
    entry, loaded = record.entry(), record.loaded
    results: Counter[str] = Counter(entry["results"])
    results.subtract(loaded.get("results", {}))
    return StageTotals(
        record.name,
        entry["visits"] - loaded.get("visits", 0),
        entry["seconds"] - loaded.get("seconds", 0.0),
        entry["platforms"],
        entry["revisions"],
        entry["retries"] - loaded.get("retries", 0),
        +results,
        record.rework,
    )
