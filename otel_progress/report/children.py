"""What other processes of a record did, added to the totals of the program that they are children of."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from .. import names
from ..recording.times import NANO
from ..runs.others import Told
from .adding import Adding
from .totals import Ended, Started

_ENDS = (names.EVENT_RUN_ENDED, names.EVENT_STAGE_ENDED)


def add_children(adding: Adding, told: Iterable[Told], living: Container[str] = ()) -> set[str]:
    """Add what children told. Gives what goes on: the runs and visits that have no end, of processes that are `living`.

    Whoever was at what else has no end did not live to end it.
    """
    going_on: set[str] = set()
    first: dict[str, dict[str, int]] = {}
    """The revision of the first visit of each stage, by the runs that go on."""
    for event in told:
        said = event.attributes
        run, workflow = str(said.get(names.RUN_ID)), str(said.get(names.WORKFLOW_NAME))
        stage, visit = str(said.get(names.STAGE_NAME)), str(said.get(names.STAGE_VISIT_ID))
        if event.process in living:
            key = visit if names.STAGE_NAME in said else run
            (going_on.discard if event.name in _ENDS else going_on.add)(key)
        if event.name == names.EVENT_RUN_STARTED:
            if said.get(names.RUN_JOINED):
                adding.run_joined(run, workflow)
            else:
                adding.run_started(run, workflow, event.at)
        elif event.name == names.EVENT_STAGE_STARTED:
            first.setdefault(run, {}).setdefault(stage, said.get(names.STAGE_REVISION, 0))
            parent, follows = said.get(names.PARENT_VISIT_ID), said.get(names.STAGE_FOLLOWS, ())
            adding.visit_started(Started(visit, run, stage, event.at, parent, follows, in_child=True))
        elif event.name == names.EVENT_STAGE_ENDED:
            adding.visit_ended(_ended(visit, event.at, said, first.get(run, {}).get(stage, 0)))
        elif event.name == names.EVENT_RUN_ENDED and not said.get(names.RUN_JOINED):
            adding.run_ended(run, event.at, said.get(names.RESULT, "success"), said.get(names.ERROR_TYPE))
            first.pop(run, None)
    return going_on


def _ended(visit: str, at: int, said: dict[str, Any], first_revision: int) -> Ended:
    number, revision = said.get(names.STAGE_VISIT, 1), said.get(names.STAGE_REVISION, 0)
    budget = said.get(names.STAGE_BUDGET)
    return Ended(
        visit,
        at,
        said.get(names.STAGE_RESULT, "abandoned"),
        said.get(names.ERROR_TYPE),
        is_repeat=number > 1,
        is_rework=number > 1 and revision > first_revision,
        action=said.get(names.STAGE_ACTION),
        retries=said.get(names.STAGE_RETRY_COUNT, 0),
        wait=int(said.get(names.STAGE_WAIT, 0.0) * NANO),
        budget=None if budget is None else int(budget * NANO),
        items_done=said.get(names.STAGE_ITEMS_DONE, 0),
        items_failed=said.get(names.STAGE_ITEMS_FAILED, 0),
        items_total=said.get(names.STAGE_ITEMS_TOTAL),
        platforms=said.get(names.STAGE_PLATFORM_COUNT, 0),
        revision=revision,
    )
