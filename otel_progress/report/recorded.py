"""Totals of runs that are read again, so that they are shown as those of a program that has just ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .. import names
from ..recording.times import NANO
from ..runs.model import Run, State, Visit
from .adding import Adding
from .totals import Ended, Started, WorkflowTotals


def totals_of(runs: Iterable[Run], now: int | None = None) -> list[WorkflowTotals]:
    """The totals of `runs`, by workflow, in the order in which these come first.

    Args:
        runs: as a reader gives them, with as many of their visits as the totals are to tell of.
        now: nanoseconds since the Unix epoch, up to which what goes on is counted, with its state as its result. If
            left out, up to the last time that was told.
    """
    adding = Adding()
    for run in runs:
        _add(adding, run, now)
    return list(adding.workflows.values())


def _add(adding: Adding, run: Run, now: int | None) -> None:
    times = [time for visit in run.visits for time in (visit.started, visit.ended) if time is not None]
    started = min(times, default=0) if run.started is None else run.started
    last = max(times, default=started) if now is None else now
    adding.run_started(run.id, run.workflow, started)
    revisions: dict[str, int] = {}
    platforms: dict[str, set[str]] = {}
    for _, visit, ends in sorted(_moments(run.visits, last), key=lambda moment: moment[0]):
        if ends:
            if visit.item_platform is not None:
                platforms.setdefault(visit.stage, set()).update(visit.platforms)
            named = len(platforms.get(visit.stage, ()))
            adding.visit_ended(_ended(visit, last, revisions[visit.stage], named))
        else:
            revisions.setdefault(visit.stage, visit.revision or 0)
            follows = tuple(link.visit for link in visit.links if link.kind == names.LINK_FOLLOWS)
            adding.visit_started(Started(visit.id, run.id, visit.stage, visit.started, visit.parent, follows))
    for stage in run.stages:
        for action, times in stage.dead_end_actions.items():
            adding.dead_end(run.id, stage.name, action, times)
    adding.workflow(run.workflow).left_out += run.visits_left_out
    result = run.result or "success" if run.ended is not None else _result_of(run.state)
    adding.run_ended(run.id, last if run.ended is None else run.ended, result, run.error)


def _moments(visits: Sequence[Visit], last: int) -> Iterator[tuple[tuple[int, int, int, int], Visit, bool]]:
    """Starts and ends, each with its place among all of them.

    At one moment first what was open ends, the innermost first, and what is inside another starts behind it.
    """
    depths = _depths(visits)
    for number, visit in enumerate(visits):
        ended, depth = max(visit.started, last if visit.ended is None else visit.ended), depths[visit.id]
        yield (visit.started, 1, depth, number), visit, False
        yield (ended, 0 if visit.started < ended else 2, -depth, -number), visit, True


def _depths(visits: Sequence[Visit]) -> dict[str, int]:
    """How many visits lie around each: one inside another may have started in the same moment."""
    around = {visit.id: visit.parent for visit in visits}
    depths: dict[str, int] = {}
    for visit in visits:
        path: list[str] = []
        above: str | None = visit.id
        while above is not None and above in around and above not in depths:
            path.append(above)
            depths[above] = 0  # So that it ends where a record says that visits lie in each other.
            above = around[above]
        depth = -1 if above is None else depths.get(above, -1)
        for each in reversed(path):
            depth += 1
            depths[each] = depth
    return depths


def _ended(visit: Visit, last: int, first_revision: int, named: int) -> Ended:
    over, revision = visit.ended is not None, visit.revision or 0
    result = visit.result or "success" if over else _result_of(visit.state)
    tried = visit.failed[-1] if visit.failed else None
    return Ended(
        visit.id,
        max(visit.started, visit.ended if visit.ended is not None else last),
        result,
        tried.error if tried is not None and result == "fallback" else visit.error,
        "" if tried is None or result == "fallback" else tried.message or "",
        visit.number > 1,
        visit.number > 1 and revision > first_revision,
        visit.action,
        visit.retries,
        int(visit.wait * NANO),
        None if visit.budget is None else int(visit.budget * NANO),
        visit.items_done,
        visit.items_failed,
        visit.items_total,
        named or visit.platform_count,
        revision,
    )


def _result_of(state: State) -> str:
    return "abandoned" if state == "crashed" else state
