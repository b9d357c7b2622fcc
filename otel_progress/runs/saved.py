"""The run that a saved `shared` tells of: its `progress_metrics`, and `progress_run` where it has one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from .. import names
from ..recording.times import NANO, parse_timestamp
from ..recording.visible import printable
from .ledger import Ledger, Totals

Say = Callable[[str], None]
_LATEST = 2**63 - 1
_NOTE = "a saved store does not tell whether its run goes on"


def is_store(document: Mapping[str, Any]) -> bool:
    """Whether a document is a saved store, or the `progress_metrics` of one."""
    if names.PROGRESS_METRICS in document or names.PROGRESS_RUN in document:
        return True
    return bool(document) and all(
        isinstance(entry, dict) and "start_time" in cast("dict[str, Any]", entry) for entry in document.values()
    )


def ledger_of(document: Mapping[str, Any], otherwise: str, say: Say) -> Ledger:
    """The run in a saved store, named `otherwise` where it has no id; `say` is told what is wrong in it.

    A field that is missing or odd counts as not told: the five that the mirror always has are enough.
    """
    whole = names.PROGRESS_METRICS in document or names.PROGRESS_RUN in document
    told = _object(document.get(names.PROGRESS_RUN) if whole else None, names.PROGRESS_RUN, say)
    metrics = _object(document.get(names.PROGRESS_METRICS) if whole else document, names.PROGRESS_METRICS, say)
    trace = _text(told.get("traceparent")).split("-")
    ledger = Ledger(
        _text(told.get("run_id")) or otherwise,
        _text(told.get("workflow")),
        trace_id=trace[1] if len(trace) == 4 else None,
        started=_time(told.get("started")),
        note=_NOTE,
    )
    for name, entry in metrics.items():
        if isinstance(entry, dict):
            _add(ledger, printable(name), cast("dict[str, Any]", entry), say)
        else:
            say(f"{names.PROGRESS_METRICS}: {name!r} is no object")
    return ledger


def _object(value: object, name: str, say: Say) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        say(f"{name} is no object")
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _add(ledger: Ledger, name: str, entry: dict[str, Any], say: Say) -> None:
    started = _time(entry.get("start_time"))
    if started is None:
        say(f"{names.PROGRESS_METRICS}: {name!r} has no start_time that is a time")
        return
    ended = _time(entry.get("end_time"))
    visits, revision = max(_count(entry.get("visits")), 1), _count(entry.get("revisions"))
    totals = ledger.by_spans[name] = Totals(
        started,
        ended,
        visits,
        _seconds(entry.get("seconds"), 0.0 if ended is None else max(0, ended - started) / NANO),
        {printable(each): number for each, value in _results(entry).items() if (number := _count(value))},
        error=_text(entry.get("error")) or None,
        retries=_count(entry.get("retries")),
        items_done=_count(entry.get("items_done")),
        items_total=None if entry.get("items_total") is None else _count(entry.get("items_total")),
        platforms=_count(entry.get("platforms")),
        revision=revision,
    )
    ledger.began(started)
    if ended is None:
        totals.visits -= 1
        known = {"stage": name, "number": visits, "revision": revision, "platform_count": totals.platforms}
        ledger.open[name] = known | {"started": started}  # Of the visit that is open nobody knows more.
        return
    totals.result = _text(entry.get("result")) or ("success" if entry.get("completed") is True else "failure")
    if not totals.results:  # Of an older version, which tells how the last visit ended.
        totals.results = {totals.result: 1} if visits == 1 else {"unknown": visits - 1, totals.result: 1}


def _results(entry: dict[str, Any]) -> dict[str, Any]:
    results = entry.get("results")
    return cast("dict[str, Any]", results) if isinstance(results, dict) else {}


def _text(value: object) -> str:
    return printable(value) if isinstance(value, str) else ""


def _time(value: object) -> int | None:
    """`value`, if it is a time; of one that no number of 64 bits has (before 1677, after 2262) the next one."""
    time = parse_timestamp(value)
    return None if time is None else max(-_LATEST, min(time, _LATEST))


def _count(value: object) -> int:
    return value if type(value) is int and 0 < value < 2**63 else 0


def _seconds(value: object, otherwise: float) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            return otherwise
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return otherwise
