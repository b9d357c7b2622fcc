"""A report for other programs: Markdown for a pull request, trace events for Perfetto, CSV for a table."""

from __future__ import annotations

import csv
import heapq
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..insight import RunFigures, WorkflowReport, to_records
from ..recording.times import duration
from ..recording.visible import visible
from ..runs.model import Run, Visit

_MICRO = 1000
_ESCAPED = str.maketrans({sign: f"\\{sign}" for sign in "\\|*_`<>[]#"})


def markdown(reports: Iterable[WorkflowReport]) -> Iterator[str]:
    """The lines of a comment: what is worth saying, and the stages in a table."""
    for number, report in enumerate(reports):
        if number:
            yield ""
        figures = report.figures
        runs = "1 run" if figures.runs == 1 else f"{figures.runs} runs"
        took = f", {duration(figures.seconds.p50)} in the middle" if figures.seconds else ""
        yield f"### {_text(figures.workflow) or '(no name)'}: {runs}{took}"
        yield ""
        for each in report.insights:
            rests_on = "1 run" if each.runs == 1 else f"{each.runs} runs"
            yield f"- {_text(each.text)}: {_text(each.advice)}. *({rests_on}, {each.confidence} confidence)*"
        if not figures.stages:
            continue
        yield ""
        yield "| stage | visits | p50 | p90 | own | critical path | rework | retries |"
        yield "|---|--:|--:|--:|--:|--:|--:|--:|"
        for stage in figures.stages:
            share = "-" if stage.critical_share is None else f"{stage.critical_share:.0%}"
            own = "-" if stage.own is None else duration(stage.own / max(1, stage.runs))
            rework = duration(stage.rework / max(1, stage.runs)) if stage.rework else "-"
            cells = [stage.visits, duration(stage.seconds.p50), duration(stage.seconds.p90), own, share, rework]
            yield f"| {_text(stage.stage)} | {' | '.join(map(str, cells))} | {stage.retries} |"


def _text(text: str) -> str:
    return visible(text).replace("\n", " ").translate(_ESCAPED)


def comma_separated(runs: Iterable[RunFigures]) -> str:
    """One line for each stage of each run, with a head. What a spreadsheet would take for a formula is none."""
    records = to_records(runs)
    out = io.StringIO()
    if records:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(map(_cell, records[0]))  # Reasons and results are names of columns.
        writer.writerows(map(_cell, record.values()) for record in records)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{visible(value)}" if value[:1] in {"=", "+", "-", "@"} else visible(value)
    return json.dumps(value) if isinstance(value, dict) else value


class Trace:
    """Trace events of runs, as Chrome's tracing, Perfetto and speedscope read them: a process for each run."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._runs = 0
        self._begun: int | None = None

    def add(self, run: Run, figures: RunFigures) -> None:
        """Add a run."""
        self._runs += 1
        segments = figures.path.segments
        began = segments[0].started if segments else run.started or 0
        ends = segments[-1].ended if segments else began
        self._begun = began if self._begun is None else min(self._begun, began)
        self._named("process_name", f"{visible(run.workflow)} {visible(run.id[:8])}")
        self._named("thread_name", "critical path", 0)
        for each in segments:
            name = each.stage or "(no stage)"
            self._span(name, 0, each.started, each.ended, {} if each.visit is None else {"visit": each.visit})
        for visit, lane in _lanes(run.visits, ends):
            told = {"visit": visit.number, "result": visit.result, "error": visit.error, "revision": visit.revision}
            known = {key: value for key, value in told.items() if value is not None}
            ended = visit.ended if visit.ended is not None else ends
            self._span(visit.stage, lane + 1, visit.started, max(visit.started, ended), known)

    def dump(self) -> str:
        """All of it, times from the start of the first run on."""
        begun = self._begun or 0
        for event in self._events:
            if "ts" in event:
                event["ts"] = (event["ts"] - begun) / _MICRO
        return json.dumps({"traceEvents": self._events, "displayTimeUnit": "ms"})

    def _named(self, what: str, name: str, thread: int = 0) -> None:
        self._events.append({"ph": "M", "name": what, "pid": self._runs, "tid": thread, "args": {"name": name}})

    def _span(self, name: str, thread: int, started: int, ended: int, told: dict[str, Any]) -> None:
        self._events.append(
            {
                "ph": "X",
                "name": visible(name),
                "cat": "stage" if thread else "critical path",
                "ts": started,
                "dur": (ended - started) / _MICRO,
                "pid": self._runs,
                "tid": thread,
                "args": told,
            }
        )


def _lanes(visits: Iterable[Visit], ends: int) -> Iterator[tuple[Visit, int]]:
    """Visits with the rows that they are drawn in: in one row one lies wholly in another, or behind it.

    That of what is around it, if there is room; else the first that is free. Rows are asked for by heaps: where all
    goes on at once there are as many of them as visits.
    """
    rows: list[list[int]] = []
    """Of each the ends of what is open in it, the outermost first, which is the last to end."""
    free: list[int] = []
    """Those with nothing open in them, and some that were taken since by what lies in the same row."""
    taken: list[tuple[int, int]] = []
    """When each of the others is free."""
    row_of: dict[str, int] = {}
    for visit in sorted(visits, key=lambda each: (each.started, -(each.ended or ends), each.id)):
        ended = visit.ended if visit.ended is not None else ends
        while taken and taken[0][0] <= visit.started:
            row = heapq.heappop(taken)[1]
            rows[row].clear()
            heapq.heappush(free, row)
        row = row_of.get(visit.parent or "", -1)
        inside = rows[row] if row >= 0 else []
        while inside and inside[-1] <= visit.started:
            inside.pop()
        if row < 0 or (inside and inside[-1] < ended):
            while free and rows[free[0]]:
                heapq.heappop(free)
            row = heapq.heappop(free) if free else len(rows)
        if row == len(rows):
            rows.append([])
        if not rows[row]:
            heapq.heappush(taken, (ended, row))
        rows[row].append(ended)
        row_of[visit.id] = row
        yield visit, row
