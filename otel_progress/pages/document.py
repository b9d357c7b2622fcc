"""What the page of a run shows, as JSON values. docs/page.md describes it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from ..insight import RunFigures, WorkflowReport
from ..insight.exports import to_json
from ..insight.shape import RUN, shape_of
from ..insight.visits import RETRY, between_attempts
from ..recording.times import NANO, timestamp
from ..runs.details import Details
from ..runs.model import Attempt, Link, Run, Visit, Wait
from .errors import errors_of, plain
from .flow import flow_of

VERSION = 1
"""Of the document: it grows when a field goes or changes its meaning, not when one comes."""


def run_documents(report: WorkflowReport, details: Details | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the page of a run shows, of many runs of the last one; and what it shows when it is asked for.

    Times are whole nanoseconds since `run.zero`, which JavaScript holds exactly; durations are seconds.
    """
    run, figures, known = report.run, report.last, details or Details()
    (told,) = to_json([report], run.source)["workflows"]
    last_run: dict[str, Any] = told.pop("last_run")
    zero, visits = visits_of(run, figures)
    errors, traces = errors_of(run, known)
    document = {
        "version": VERSION,
        "run": _run(run, figures, zero),
        "figures": last_run,
        "over": told,
        "visits": visits,
        "flow": flow_of(run),
        "errors": errors,
    }
    return document, {
        "run": _attributes(known.run),
        "visits": {visit: _attributes(found) for visit, found in known.visits.items()},
        "traces": traces,
    }


def _attributes(found: dict[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in sorted(found.items())}


def _run(run: Run, figures: RunFigures, zero: int) -> dict[str, Any]:
    platforms = dict.fromkeys(name for visit in run.visits for name in _platforms(visit))
    return {
        "id": run.id,
        "workflow": run.workflow,
        "source": run.source,
        "service": run.service,
        "trace_id": run.trace_id,
        "state": run.state,
        "note": run.note,
        "result": run.result,
        "error": run.error,
        "zero": timestamp(zero),
        "started": None if run.started is None else timestamp(run.started),
        "ended": None if run.ended is None else timestamp(run.ended),
        "seconds": figures.seconds,
        "revision": run.revision,
        "retries": figures.retries,
        "visits": figures.visits,
        "platforms": list(platforms),
        "processes": list(run.processes),
        "notes": list(figures.notes),
    }


def _platforms(visit: Visit) -> Iterable[str]:
    items = (item.platform for item in visit.items if item.platform is not None)
    return (*visit.platforms, *((visit.item_platform,) if visit.item_platform is not None else ()), *items)


def visits_of(run: Run, figures: RunFigures) -> tuple[int, list[dict[str, Any]]]:
    """The instant that times are told from, and the visits in the order of the waterfall: each behind what it lies in.

    What lies in the same is in the order of starts, as in a terminal.
    """
    shape = shape_of(run)
    zero = min((shape.started, *(visit.started for visit in shape.visits)))
    critical: dict[str, list[list[int]]] = {}
    for each in figures.path.segments:
        if each.visit is not None:
            critical.setdefault(each.visit, []).append([each.started - zero, each.ended - zero])
    inside: dict[int, list[int]] = {}
    for number in sorted(
        range(len(shape.visits)), key=lambda each: (shape.visits[each].started, shape.visits[each].id)
    ):
        inside.setdefault(shape.parents[number], []).append(number)
    steps = {step.visit: step.inferred for step in figures.path.steps}
    found: list[dict[str, Any]] = []
    waiting = [(number, 0) for number in reversed(inside.get(RUN, []))]
    while waiting:
        number, depth = waiting.pop()
        visit = shape.visits[number]
        ended = visit.ended if visit.ended is not None else max(shape.ended, visit.started)
        told = _visit(visit, zero, ended) | {
            "depth": depth,
            "critical": critical.get(visit.id),
            "step": steps.get(visit.id),
        }
        found.append({name: value for name, value in told.items() if _tells(name, value)})
        waiting += [(each, depth + 1) for each in reversed(inside.get(number, []))]
    return zero, found


_EVEN_NOTHING = {"id", "stage", "at", "end", "depth", "revision", "step"}
"""Fields of a visit in which 0 and False tell something. There are many visits: what tells nothing is left out."""


def _tells(name: str, value: Any) -> bool:
    return value is not None and (bool(value) or name in _EVEN_NOTHING)


def _visit(visit: Visit, zero: int, ended: int) -> dict[str, Any]:
    return {
        "id": visit.id,
        "stage": visit.stage,
        "at": visit.started - zero,
        "end": max(visit.started, ended) - zero,
        "open": visit.ended is None,
        "number": visit.number if visit.number > 1 else None,
        "state": visit.state if visit.state != "done" else None,
        "note": visit.note,
        "result": visit.result,
        "error": visit.error,
        "action": visit.action,
        "revision": visit.revision,
        "platforms": list(visit.platforms),
        "item": visit.item_platform,
        "attempts": visit.attempts if visit.attempts > 1 else None,
        "retries": visit.retries,
        "wait": visit.wait,
        "budget": visit.budget,
        "function": visit.function,
        "items_done": visit.items_done,
        "items_failed": visit.items_failed,
        "items_total": visit.items_total,
        "process": visit.process,
        "span": visit.span_id,
        "failed": [_attempt(each, zero) for each in visit.failed],
        "waits": [_wait(each, zero, ended) for each in (*visit.waits, *_between(visit, ended))],
        "versions": [[each.id, each.action] for each in visit.versions],
        "links": [_link(each) for each in visit.links],
    }


def _attempt(attempt: Attempt, zero: int) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "at": attempt.started - zero,
        "end": max(attempt.started, attempt.ended) - zero,
        "error": attempt.error,
        "message": attempt.message,
    }


def _wait(wait: Wait, zero: int, ended: int) -> dict[str, Any]:
    last = wait.ended if wait.ended is not None else ended
    return {"reason": wait.reason, "at": wait.started - zero, "end": max(wait.started, last) - zero}


def _between(visit: Visit, ended: int) -> list[Wait]:
    """The waiting between attempts, where the failed ones tell when it was: not where those of many items mix."""
    failed = sorted(visit.failed, key=lambda each: each.started)
    if not visit.retries or [each.number for each in failed] != list(range(1, len(failed) + 1)):
        return []
    waits = [Wait(RETRY, one.ended, other.started) for one, other in itertools.pairwise(failed)]
    left = round(between_attempts(visit) * NANO) - sum((each.ended or 0) - each.started for each in waits)
    if len(failed) == visit.retries and left > 0:  # The one that followed the last has not failed.
        waits.append(Wait(RETRY, failed[-1].ended, min(failed[-1].ended + left, ended)))
    return [each for each in waits if (each.ended or 0) > each.started]


def _link(link: Link) -> dict[str, Any]:
    if link.visit is not None:
        return {"kind": link.kind, "visit": link.visit}
    return {"kind": link.kind, "trace": link.trace_id, "span": link.span_id}
