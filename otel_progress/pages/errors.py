"""What went wrong in a run: its exceptions with their stack traces, and errors that were told without one."""

from __future__ import annotations

import math
from typing import Any

from ..runs.details import Details, Raised
from ..runs.model import Run, Visit

_EXACT = 2**53
"""JavaScript holds whole numbers up to here."""


def errors_of(run: Run, details: Details) -> tuple[list[dict[str, Any]], list[str]]:
    """The errors in the order of the visits, each with the number of its stack trace, and the stack traces."""
    traces: dict[str, int] = {}
    by_visit: dict[str | None, list[Raised]] = {}
    for each in details.raised:
        by_visit.setdefault(each.visit, []).append(each)
    found = [_raised(each, None, traces) | _how(run.result) for each in by_visit.get(None, ())]
    for visit in sorted(run.visits, key=lambda each: (each.started, each.id)):
        raised = by_visit.get(visit.id, [])
        found += [_raised(each, visit, traces) for each in raised]
        found += _told(visit, {_short(each.type) for each in raised})
    if run.error not in (None, run.result) and _short(run.error) not in {_short(each["type"]) for each in found}:
        found.append(_error(None, None, run.error, None, None) | _how(run.result))
    return found, list(traces)


def _short(name: str | None) -> str:
    return (name or "").rpartition(".")[2]


def _raised(raised: Raised, visit: Visit | None, traces: dict[str, int]) -> dict[str, Any]:
    trace = None if raised.trace is None else traces.setdefault(raised.trace, len(traces))
    return _error(visit, raised.attempt, raised.type, raised.message, trace)


def _told(visit: Visit, known: set[str]) -> list[dict[str, Any]]:
    """What the visit itself tells of errors whose exceptions were not recorded."""
    found = [
        _error(visit, each.number, each.error, each.message, None)
        for each in visit.failed
        if _short(each.error) not in known
    ]
    known = known | {_short(each.error) for each in visit.failed}
    if visit.error not in (None, visit.result) and _short(visit.error) not in known:  # Left open, it raised nothing.
        found.append(_error(visit, None, visit.error, None, None))
    return found


def _error(
    visit: Visit | None, attempt: int | None, kind: str | None, message: str | None, trace: int | None
) -> dict[str, Any]:
    return {
        "visit": None if visit is None else visit.id,
        "stage": None if visit is None else visit.stage,
        "attempt": attempt,
        "type": kind,
        "message": message,
        "trace": trace,
        **_how(None if visit is None or attempt is not None else visit.result),
    }


def _how(result: str | None) -> dict[str, Any]:
    """Whether it cancelled what it left: then nothing has failed by it."""
    return {"cancelled": result == "cancelled"}


def plain(value: Any) -> Any:
    """The value of an attribute as JSON has it and JavaScript reads it: a number that either lacks is a text."""
    if isinstance(value, tuple):
        return [plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if (isinstance(value, float) and not math.isfinite(value)) or (type(value) is int and abs(value) > _EXACT):
        return str(value)
    return value
