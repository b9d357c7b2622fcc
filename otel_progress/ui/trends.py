"""How the runs of a workflow and its stages went over time: times, first-pass yield, retries."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..insight import StageFigures, figures_of
from ..insight.numbers import median
from ..recording.times import NANO
from ..runs import Filter, Run
from ..runs.index import Index
from ..runs.place import KEEP
from .listing import ENDED
from .records import Records

POINTS = 60
"""Of a line, at the most; of more runs some are put together."""
_MOST_RUNS = KEEP
_MOST_STAGES = 30
_MOST_KEPT = 20_000
_BUDGET = 1.0
"""Seconds after which what was read until then is told: whoever asks again gets more."""


@dataclass(frozen=True)
class _Part:
    """A run, or a stage in a run."""

    run: str
    started: float
    seconds: float
    firsts: int
    passed: int
    retries: int


@dataclass(frozen=True)
class _Told:
    whole: _Part
    stages: dict[str, _Part]


class Trends:
    """The trends of workflows; what was read of a run that is done is kept."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._kept: OrderedDict[str, _Told] = OrderedDict()
        self._reads = threading.Lock()
        """Held by who reads: two would read the same."""

    async def document(self, workflow: str, wanted: Filter) -> dict[str, Any]:
        """The last thousand runs of a workflow that have ended, as far as they were read.

        Where `read` is less than `of` the newest are told; whoever asks again gets more.
        """
        asked = Filter(None, ENDED, wanted.since, wanted.until)

        def of_this(index: Index) -> list[tuple[str, set[str]]]:
            return [(run, index.inputs_of(run)) for run in index.ended(workflow, asked, _MOST_RUNS)]

        runs = await self._records.ask(of_this)
        return await self._records.read(lambda: self._document(workflow, runs))

    def _document(self, workflow: str, runs: Sequence[tuple[str, set[str]]]) -> dict[str, Any]:
        found: list[_Told] = []
        until = time.monotonic() + _BUDGET
        with self._reads:
            for run, names in runs:
                told = self._kept.get(run)
                if told is None:
                    if time.monotonic() > until:
                        break
                    told = self._kept[run] = _told(self._records.run_in(run, names))
                self._kept.move_to_end(run)
                found.append(told)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        found.reverse()
        stages: dict[str, list[_Part]] = {}
        for told in found:
            for name, part in told.stages.items():
                stages.setdefault(name, []).append(part)
        largest = sorted(stages, key=lambda name: -sum(part.seconds for part in stages[name]))
        return {
            "workflow": workflow,
            "read": len(found),
            "of": len(runs),
            "whole": list(_points([told.whole for told in found])),
            "stages": [{"name": name, "points": list(_points(stages[name]))} for name in largest[:_MOST_STAGES]],
            "left_out": max(0, len(largest) - _MOST_STAGES),
        }


def _told(run: Run) -> _Told:
    figures = figures_of(run)
    began = figures.started / NANO
    stages = {stage.stage: _part(run.id, began, stage) for stage in figures.stages if not stage.open}
    firsts, passed = (sum(getattr(each, name) for each in stages.values()) for name in ("firsts", "passed"))
    return _Told(_Part(run.id, began, figures.seconds, firsts, passed, figures.retries), stages)


def _part(run: str, began: float, stage: StageFigures) -> _Part:
    return _Part(run, began, stage.seconds, stage.first_visits or 0, stage.first_pass or 0, stage.retries)


def _points(parts: Sequence[_Part]) -> Iterator[dict[str, Any]]:
    """As many points as a line has: each of one run, or of as many that follow each other."""
    number = min(len(parts), POINTS)
    for each in range(number):
        group = parts[len(parts) * each // number : len(parts) * (each + 1) // number]
        firsts = sum(part.firsts for part in group)
        times = [part.seconds for part in group]
        yield {
            "run": group[0].run if len(group) == 1 else None,
            "runs": len(group),
            "started": group[0].started,
            "until": group[-1].started,
            "seconds": median(times),
            "shortest": min(times),
            "longest": max(times),
            "yield": sum(part.passed for part in group) / firsts if firsts else None,
            "retries": sum(part.retries for part in group) / len(group),
        }
