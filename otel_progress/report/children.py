"""What other processes of a record did, added to the totals of the program that they are children of."""

from __future__ import annotations

from collections.abc import Iterable

from .. import names
from ..runs.others import Told
from .totals import StageTotals, WorkflowTotals, name_within

_Place = tuple[str, str]


class ChildTotals:
    """Adds up what children told, by workflow and stage."""

    def __init__(self, told: Iterable[Told]) -> None:
        self._stages: dict[_Place, StageTotals] = {}
        self._open: dict[str, _Place] = {}
        self._runs: dict[tuple[str, str], tuple[str, float]] = {}
        for event in told:
            self._add(event)
        for place in self._open.values():  # Whoever was at it did not live to end it.
            stage = self._visit(place)
            stage.visits += 1
            stage.results["abandoned"] += 1

    def add_to(self, workflows: dict[str, WorkflowTotals]) -> None:
        """Add it to the totals of the program's own runs."""
        for (workflow, _), (result, seconds) in self._runs.items():
            totals = _of(workflows, workflow)
            totals.runs += 1
            totals.seconds += seconds
            totals.results[result] += 1
        for (workflow, name), stage in self._stages.items():
            totals = _of(workflows, workflow)
            known = name_within(totals.stages, name)
            totals.stages.setdefault(known, StageTotals(known)).add(stage)

    def _add(self, event: Told) -> None:
        said = event.attributes
        workflow, run = str(said.get(names.WORKFLOW_NAME)), str(said.get(names.RUN_ID))
        if names.STAGE_NAME not in said:
            if not said.get(names.RUN_JOINED):
                self._runs[workflow, run] = (said.get(names.RESULT, "abandoned"), said.get(names.DURATION, 0.0))
            return
        place = (workflow, str(said[names.STAGE_NAME]))
        visit = str(said.get(names.STAGE_VISIT_ID))
        if event.name == names.EVENT_STAGE_STARTED:
            self._visit(place)
            self._open[visit] = place
        elif event.name == names.EVENT_STAGE_ENDED and self._open.pop(visit, None) is not None:
            stage = self._visit(place)
            stage.visits += 1
            stage.seconds += said.get(names.DURATION, 0.0)
            stage.platforms = max(stage.platforms, said.get(names.STAGE_PLATFORM_COUNT, 0))
            stage.revisions = max(stage.revisions, said.get(names.STAGE_REVISION, 0))
            stage.retries += said.get(names.STAGE_RETRY_COUNT, 0)
            stage.results[said.get(names.STAGE_RESULT, "abandoned")] += 1

    def _visit(self, place: _Place) -> StageTotals:
        return self._stages.setdefault(place, StageTotals(place[1]))


def _of(workflows: dict[str, WorkflowTotals], name: str) -> WorkflowTotals:
    known = name_within(workflows, name)
    return workflows.setdefault(known, WorkflowTotals(known))
