"""The document of the list: one page of runs, each beside what its workflow usually takes."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Any

from ..insight.numbers import median
from ..recording.times import NANO
from ..runs import Filter, Listed
from ..runs.index import ORDERS, Index
from .asked import STATES, Asked

PAGE = 50
"""Runs of a page."""
_MOST_WORKFLOWS = 200
ENDED = ("success", "fallback", "failure")
"""Results of the runs of a trend: what was broken off tells nothing of how long it takes."""
_EARLIER = 100
"""Runs before a run whose median is the usual time."""
_FEWEST = 3
"""As many of them there are at least, or nothing is usual yet."""


def list_document(index: Index, asked: Asked) -> dict[str, Any]:
    """What the page of a list shows: plain JSON values, times in seconds since the Unix epoch.

    `usual` of a run is the median of the last hundred runs of its workflow before it that ended with success or
    fallback; None where they are fewer than three.
    """
    total = index.count(asked.wanted)
    pages = max(1, -(-total // PAGE))
    number = min(asked.page, pages)
    skip = (number - 1) * PAGE
    runs = index.runs(asked.wanted, PAGE, skip=skip, order=asked.order, rising=asked.rising)
    usual = _Usual(index)
    workflows = index.workflows(_MOST_WORKFLOWS)
    ended = Filter(asked.wanted.workflow, ENDED, asked.wanted.since, asked.wanted.until)
    newest = index.runs(ended, 1) or runs[:1]
    return {
        "now": time.time(),
        "asked": {**asked.said, "page": number},
        "wrong": list(asked.wrong),
        "states": list(STATES),
        "orders": list(ORDERS),
        "runs": [_row(run, usual) for run in runs],
        "total": total,
        "all": index.count(Filter()) if asked.wanted != Filter() else total,
        "pages": pages,
        "first": skip + 1 if runs else 0,
        "workflows": [{"name": name, "runs": count} for name, count in workflows],
        "trend": newest[0].workflow if asked.trend is None and newest else asked.trend,
    }


def _row(run: Listed, usual: _Usual) -> dict[str, Any]:
    return run.plain() | {"started": run.started / NANO if run.started else None, "usual": usual.before(run)}


class _Usual:
    """What is usual for the workflows of a page; each is asked for once."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._known: dict[str, tuple[list[int], list[float]]] = {}

    def before(self, run: Listed) -> float | None:
        """Seconds that were usual before it."""
        if run.workflow not in self._known:
            found = self._index.durations(run.workflow)
            self._known[run.workflow] = [start for start, _ in found], [seconds for _, seconds in found]
        starts, seconds = self._known[run.workflow]
        end = bisect_left(starts, run.started)
        earlier = seconds[max(0, end - _EARLIER) : end]
        return median(earlier) if len(earlier) >= _FEWEST else None
