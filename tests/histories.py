"""Histories of a test's own: runs with visits at times that it says, in seconds from a start."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from otel_progress.recording.times import NANO
from otel_progress.report.recorded import totals_of
from otel_progress.report.table import lines
from otel_progress.report.totals import Row, WorkflowTotals
from otel_progress.runs.model import Link, Run, Visit

START = 1_756_377_900 * NANO  # 2025-08-28T10:45:00Z


@dataclass
class Did:
    """A visit of a stage, with what it held."""

    stage: str
    started: float
    ended: float | None
    inside: tuple[Did, ...] = ()
    follows: tuple[str, ...] = ()
    """Names of other visits."""
    name: str = ""
    told: dict[str, Any] = field(default_factory=dict[str, Any])


def did(
    stage: str, started: float, ended: float | None, *inside: Did, follows: str = "", name: str = "", **told: Any
) -> Did:
    """A visit; `follows` names others, with blanks between."""
    return Did(stage, started, ended, inside, tuple(follows.split()), name, told)


def ran(workflow: str, seconds: float | None, *visits: Did, run: str = "1f" * 16, **told: Any) -> Run:
    """A run that took so long; None: it goes on."""
    numbers = itertools.count(1)

    def flat(visits: tuple[Did, ...], parent: str | None) -> Iterator[Visit]:
        for each in visits:
            key = each.name or f"#{next(numbers)}"
            over = each.ended is not None
            known: dict[str, Any] = {"result": "success" if over else None, "state": "done" if over else "running"}
            links = tuple(Link("follows", visit=other) for other in each.follows)
            ended = at(each.ended) if each.ended is not None else None
            yield Visit(
                key, each.stage, started=at(each.started), ended=ended, parent=parent, links=links, **known | each.told
            )
            yield from flat(each.inside, key)

    ended = None if seconds is None else at(seconds)
    found = tuple(sorted(flat(visits, None), key=lambda visit: visit.started))
    known: dict[str, Any] = {
        "result": None if ended is None else "success",
        "state": "running" if ended is None else "done",
    }
    return Run(run, workflow, "here", started=START, ended=ended, visits=found, **known | told)


def at(seconds: float) -> int:
    """The moment, in nanoseconds since the Unix epoch."""
    return START + round(seconds * NANO)


def totals(*runs: Run, now: float | None = None) -> WorkflowTotals:
    """The totals of runs of one workflow."""
    (found,) = totals_of(runs, None if now is None else at(now))
    return found


def shown(*runs: Run | WorkflowTotals, width: int = 80, look: Any = None, unicode: bool = True) -> str:
    """The table of runs, or of totals, line by line."""
    known = [each for each in runs if isinstance(each, WorkflowTotals)]
    known += totals_of([each for each in runs if isinstance(each, Run)])
    return "\n".join(line.plain for line in lines(known, width, look, unicode=unicode))


def paths(workflow: WorkflowTotals) -> dict[str, float]:
    """Seconds of the path in each row, nested ones with the names of what is around them; and outside."""
    found: dict[str, float] = {}

    def add(row: Row, before: str) -> None:
        for each in row.rows.values():
            found[f"{before}{each.name}"] = round(each.path / NANO, 9)
            add(each, f"{before}{each.name}/")

    add(workflow.row, "")
    return found | {"": round(workflow.outside / NANO, 9)}
