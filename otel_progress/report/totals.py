"""A plain model of what runs did: what readers build, and analysis and reports work on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..names import OTHER
from ..recording.live import Run
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
    """How the last visit ended, for each run."""

    def add(self, other: StageTotals) -> None:
        """Add what `other` tells."""
        self.visits += other.visits
        self.seconds += other.seconds
        self.platforms = max(self.platforms, other.platforms)
        self.revisions = max(self.revisions, other.revisions)
        self.retries += other.retries
        self.results.update(other.results)


@dataclass
class WorkflowTotals:
    """One workflow, over all its runs."""

    name: str
    runs: int = 0
    seconds: float = 0.0
    results: Counter[str] = field(default_factory=Counter[str])
    stages: dict[str, StageTotals] = field(default_factory=dict[str, StageTotals])

    def add(self, run: Run) -> None:
        """Add a run that has ended."""
        self.runs += 1
        self.seconds += run.seconds
        self.results[run.result or "success"] += 1
        for name, entry in run.entries().items():
            stage = StageTotals(
                name,
                entry["visits"],
                entry["seconds"],
                entry["platforms"],
                entry["revisions"],
                entry["retries"],
                Counter([entry["result"] or "abandoned"]),
            )
            known = name_within(self.stages, name)
            self.stages.setdefault(known, StageTotals(known)).add(stage)


def name_within(known: Mapping[str, object], name: str) -> str:
    """`name`, or that of all others where as many are known as are told apart."""
    return name if name in known or len(known) < MOST_TOLD_APART else OTHER
