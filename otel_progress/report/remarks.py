"""What is said below the table: what failed, where flows ended, what was done again, and what to look at next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..recording.times import NANO, duration
from ..recording.visible import visible
from .fitting import cut
from .said import STYLES, times
from .totals import AGAIN, BADLY, FAILED, REWORK, Failure, Row, WorkflowTotals

Look = Callable[[str], str]
"""The command that shows the run with an id; empty where none does."""
_MOST_SAID_OF = 3
"""Workflows of which is said what stands out."""
_MOST_ENDS = 3
_LONGEST_MESSAGE = 200
_LONGEST_NAME = 32
_VERBS = {
    "failure": ("Failed", "failed"),
    "abandoned": ("Abandoned", "was left"),
    "cancelled": ("Cancelled", "was cancelled"),
}
_FIRST = {"failure": "first failure", "abandoned": "first abandoned visit", "cancelled": "first cancellation"}


def remarks(workflows: Sequence[WorkflowTotals], look: Look | None, *, unicode: bool) -> Iterator[tuple[str, str]]:
    """The lines, each with its style; the first are those that matter most."""
    several = len(workflows) > 1
    for workflow in sorted(workflows, key=_rank)[:_MOST_SAID_OF]:
        of = f"{_name(workflow.row.name)}: " if several else ""
        for text, style in _of(workflow):
            yield f"{of}{text}", style
    at_once = max((row.at_once for workflow in workflows for row in workflow.row.all()), default=1)
    if at_once > 1:
        mark = "∥" if unicode else "||"
        yield f"{mark}{at_once}: up to {at_once} at once. Shares are of the wall time, on the path that took it.", "dim"
    if look is not None and workflows and (found := _next(workflows)) is not None:
        run, why = found
        if command := look(run):
            yield f"Next: {command} ({why})", "bold"


def _of(workflow: WorkflowTotals) -> Iterator[tuple[str, str]]:
    if workflow.failure is not None:
        yield _failed(workflow, workflow.failure)
    for (stage, action), count in workflow.dead_ends.most_common(_MOST_ENDS):
        what = f"the {_quoted(action)} of" if action else "what was returned by"
        yield f"Dead end: no edge takes {what} {_name(stage)}{_often(count)}", "yellow"
    if workflow.ends:
        yield _ends(workflow), "dim"
    if costs := _costs(workflow):
        yield costs, ""
    if workflow.in_children:
        yield f"{times(workflow.in_children, 'visit')} in other processes", "dim"
    if workflow.left_out:
        yield f"{times(workflow.left_out, 'visit')} left out: there are more than were read", "dim"


def _failed(workflow: WorkflowTotals, failure: Failure) -> tuple[str, str]:
    what = visible(failure.error or "") if failure.error else failure.result
    if message := " ".join(failure.message.split()):
        what += f": {cut(visible(message), _LONGEST_MESSAGE)}"
    why = "" if what == failure.result else f": {what}"
    where = f"in {_name(failure.stage)}" if failure.stage else "outside stages"
    first = f"{_FIRST[failure.result]} {where}{why}"
    if not workflow.ended_badly:
        return f"{first[0].upper()}{first[1:]} (the run went on)", "yellow"
    style = f"bold {STYLES.get(failure.result, 'red')}"
    if workflow.runs == 1:
        return f"{_VERBS[failure.result][0]} {where}{why}", style
    told = [_so_many(number, result) for result in BADLY if (number := workflow.row.results[result])]
    lead = told[0].replace(" ", f" of {times(workflow.runs, 'run')} ", 1)
    if len(told) == 1:
        return f"{lead}, the first {where}{why}", style
    return f"{', '.join((lead, *told[1:]))}; {first}", style


def _so_many(number: int, result: str) -> str:
    verb = _VERBS[result][1]
    return f"{number} {verb if number == 1 else verb.replace('was', 'were')}"


def _rank(workflow: WorkflowTotals) -> int:
    """Those of which runs failed come first, then those of which runs were cancelled."""
    if not workflow.ended_badly or workflow.failure is None:
        return 2
    return int(workflow.failure.result == "cancelled")


def _ends(workflow: WorkflowTotals) -> str:
    several = len(workflow.ends) > 1
    found: list[str] = []
    for (stage, action), count in workflow.ends.most_common(_MOST_ENDS):
        returned = "" if action == "default" else f" with {_quoted(action)}"
        found.append(f"{_name(stage)}{returned}{_often(count) if several else ''}")
    more = len(workflow.ends) - len(found)
    return f"Ended after {', '.join(found)}{f' and {more} more' if more else ''}"


def _costs(workflow: WorkflowTotals) -> str:
    wall = workflow.row.time or 1
    figures = workflow.figures
    again, rework, failed = figures[AGAIN], figures[REWORK], figures[FAILED]
    said = {
        "repeats": 0 if again == rework else again,
        "rework": rework,
        "failed visits": failed,
    }
    found = [f"{name} {duration(took / NANO)} ({took / wall:.0%})" for name, took in said.items() if took]
    return f"Of the time: {', '.join(found)}" if found else ""


def _next(workflows: Sequence[WorkflowTotals]) -> tuple[str, str] | None:
    """A run, and why to look at it."""
    failed = min(workflows, key=_rank)
    if failed.ended_badly and failed.failure is not None:
        where = _name(failed.failure.stage) or "the run"
        return failed.failure.run, f"what {where} did before it {_VERBS[failed.failure.result][1]}"
    visited = [each for each in workflows if each.row.rows and each.slowest[1]]
    if not visited:  # Of a run alone there is no more to be shown than the table has.
        return None
    slowest = max(visited, key=lambda each: each.row.time)
    rows, run = list(slowest.row.all()), slowest.slowest[1]
    if not slowest.row.time:
        return run, "each visit"
    over = max(rows, key=lambda row: row.over_budget)
    if over.over_budget:
        return run, f"{_name(over.name)} took longer than its budget"
    most = max(rows, key=_own)
    own = _own(most)
    if own > slowest.outside:
        return run, f"{_name(most.name)} took {own / slowest.row.time:.0%}"
    return run, f"{slowest.outside / slowest.row.time:.0%} of the time is outside stages"


def _own(row: Row) -> int:
    return row.path - sum(each.path for each in row.rows.values())


def _name(name: str) -> str:
    return cut(visible(name), _LONGEST_NAME)


def _quoted(action: str) -> str:
    return f'"{_name(action)}"'


def _often(count: int) -> str:
    return "" if count == 1 else f" ({count} times)"
