"""A plain model of what runs did: what readers build, and analysis and reports work on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ._record import Run


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


@dataclass
class WorkflowTotals:
    """One workflow, over all its runs."""

    name: str
    runs: int = 0
    seconds: float = 0.0
    results: Counter[str] = field(default_factory=Counter[str])
    stages: dict[str, StageTotals] = field(default_factory=dict[str, StageTotals])
    trace_id: str | None = None
    """Of the last run."""

    def add(self, run: Run) -> None:
        """Add a run that has ended."""
        self.runs += 1
        self.seconds += run.seconds
        self.results[run.result or "success"] += 1
        for name, entry in run.entries().items():
            stage = self.stages.setdefault(name, StageTotals(name))
            stage.visits += entry["visits"]
            stage.seconds += entry["seconds"]
            stage.platforms = max(stage.platforms, entry["platforms"])
            stage.revisions = max(stage.revisions, entry["revisions"])
            stage.retries += entry["retries"]
            stage.results[entry["result"] or "abandoned"] += 1
            self.trace_id = entry["trace_id"] or self.trace_id
