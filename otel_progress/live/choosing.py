"""Which rows of a run there is room for: what runs before what has ended, and each below what it lies in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..runs.present import RunNow, StageNow, VisitNow

_MOST_TOLD = 100
"""Open visits of a run that have rows of their own, if there is room."""
_DEEPEST = 50


@dataclass
class Row:
    """A stage that has ended, or open visits of it."""

    stage: StageNow
    depth: int
    visit: VisitNow | None = None
    """The one that is open; None where there is none."""
    together: int = 0
    """How many open visits it stands for, where they are several; `visit` is the oldest."""


def chosen(run: RunNow, most: int) -> tuple[list[Row], int, list[StageNow]]:
    """The rows that there is room for; how many visits run beside them, and the stages that have ended beside them."""
    done = [stage for stage in run.stages.values() if not stage.open and stage.visits]
    rows = list(_tree(run) if len(run.open) <= min(most, _MOST_TOLD) else _by_stage(run))
    going_on = [row for row in rows if row.visit is not None]
    more = 0
    if len(going_on) > most:
        kept = going_on[: max(0, most - 1)]
        more = sum(max(1, row.together) for row in going_on[len(kept) :])
        going_on = kept
    left = most - len(going_on) - (more > 0)
    if len(done) <= left:
        wanted = {id(stage) for stage in done}
    else:
        # What has failed, and else what ended last.
        ranked = sorted(done, key=lambda stage: (stage.failed > 0, stage.last.at if stage.last else 0), reverse=True)
        wanted = {id(stage) for stage in ranked[: max(0, left - 1)]}
    shown = {id(row) for row in going_on}
    rows = [row for row in rows if (id(row) in shown if row.visit is not None else id(row.stage) in wanted)]
    left_out = [stage for stage in done if id(stage) not in wanted] if left > 0 else []
    return rows, more, left_out


def _tree(run: RunNow) -> Iterator[Row]:
    """Every open visit below the one around it, and what has ended, in the order in which the stages began first."""
    order = {name: number for number, name in enumerate(run.stages)}
    inside: dict[str | None, list[VisitNow]] = {}
    for visit in run.open.values():
        inside.setdefault(visit.parent if visit.parent in run.open else None, []).append(visit)
    ended: dict[str | None, list[StageNow]] = {}
    for stage in run.stages.values():
        if not stage.open and stage.visits:
            ended.setdefault(stage.around if stage.around in run.stages else None, []).append(stage)
    seen: set[str] = set()

    def below(visits: list[VisitNow], stages: list[StageNow], depth: int) -> Iterator[Row]:
        if depth > _DEEPEST:
            return
        entries: list[tuple[int, VisitNow | StageNow]] = [
            *((order.get(visit.began.stage or "", len(order)), visit) for visit in visits),
            *((order[stage.name], stage) for stage in stages),
        ]
        for _, entry in sorted(entries, key=lambda each: each[0]):
            if isinstance(entry, StageNow):
                yield Row(entry, depth)
                yield from below([], ended.pop(entry.name, []), depth + 1)
            elif entry.began.visit not in seen:
                seen.add(entry.began.visit)
                stage = run.stage(entry.began.stage or "")
                yield Row(stage, depth, entry)
                others = sum(
                    1 for each in visits if each.began.stage == entry.began.stage and each.began.visit not in seen
                )
                stages = [] if others else ended.pop(stage.name, [])
                yield from below(inside.get(entry.began.visit, []), stages, depth + 1)

    yield from below(inside.get(None, []), ended.pop(None, []), 0)
    for stages in list(ended.values()):
        yield from (Row(stage, 0) for stage in stages)


def _by_stage(run: RunNow) -> Iterator[Row]:
    """A row for every stage, with its open visits together."""
    oldest: dict[str, VisitNow] = {}
    wanted = sum(1 for stage in run.stages.values() if stage.open)
    for visit in run.open.values():
        oldest.setdefault(run.stage(visit.began.stage or "").name, visit)
        if len(oldest) >= wanted:
            break
    for stage in run.stages.values():
        visit = oldest.get(stage.name)
        if visit is not None:
            yield Row(stage, run.depth(visit), visit, stage.open if stage.open > 1 else 0)
        elif stage.visits and not stage.open:
            yield Row(stage, 0)
