"""Runs come in, one by one, and a report comes out: for each workflow its figures, and what is worth saying."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from ..runs.model import Run
from .figures import RunFigures, figures_in
from .findings import MOST_REPLAYED, Evidence, Insight, insights_of
from .many import Workflow, WorkflowFigures
from .whatif import Replay

_MOST_VISITS = 500_000
"""Of all runs that are kept to be replayed."""


@dataclass(frozen=True)
class WorkflowReport:
    """One workflow."""

    figures: WorkflowFigures
    insights: tuple[Insight, ...]
    last: RunFigures
    """Of the run that began last."""
    run: Run
    """That run."""


@dataclass
class _Kept:
    """What is kept of a workflow while its runs come in."""

    workflow: Workflow
    runs: list[tuple[int, str, int, Replay]]
    """The last ones that have ended: start, id, and which it was that came in."""
    last: tuple[int, str, RunFigures, Run]


class Report:
    """Takes runs in any order, and keeps a few numbers of each, and the last ones of each workflow."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._visits = 0
        self.runs = 0
        """How many have come in."""

    def add(self, run: Run) -> RunFigures:
        """Take in a run; gives its figures."""
        replay = Replay(run)
        figures = figures_in(replay.shape, replay.sharing)
        self.runs += 1
        newest = figures.started, run.id, figures, run
        kept = self._kept.get(run.workflow)
        if kept is None:
            kept = self._kept[run.workflow] = _Kept(Workflow(run.workflow), [], newest)
        kept.workflow.add(figures)
        if newest[:2] > kept.last[:2]:
            kept.last = newest
        if run.ended is not None and run.visits:
            heapq.heappush(kept.runs, (figures.started, run.id, self.runs, replay))
            self._visits += len(run.visits)
            while len(kept.runs) > MOST_REPLAYED or (self._visits > _MOST_VISITS and len(kept.runs) > 1):
                self._visits -= len(heapq.heappop(kept.runs)[3].shape.visits)
        return figures

    def workflows(self) -> tuple[WorkflowReport, ...]:
        """What has come in, those workflows first that have the most runs."""
        found: list[WorkflowReport] = []
        for kept in self._kept.values():
            figures, (_, _, last, run) = kept.workflow.figures(), kept.last
            replays = [replay for *_, replay in sorted(kept.runs, key=lambda each: each[:2])]
            found.append(WorkflowReport(figures, insights_of(Evidence(figures, replays, last.gaps)), last, run))
        return tuple(sorted(found, key=lambda each: (-each.figures.runs, each.figures.workflow)))
