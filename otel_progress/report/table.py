"""The table that `otel-progress run` prints when a program has ended."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..recording.visible import visible
from .totals import StageTotals, WorkflowTotals

_BAR = 6
_NARROW = 72  # Columns of a terminal below which there is no place for bars.
_OTHERS = 42  # What the columns beside the first and the last take, without bars,
_OTHERS_IN_ONE_LINE = 65  # and with bars and headers in one line.
_REWORK = 9  # What that column takes.
_COLUMNS = ("stage", "visits", "time", "share", "rework", "platforms", "revisions", "retries", "result")
_COLUMNS_IN_TWO_LINES = (
    "\nstage",
    "\nvisits",
    "\ntime",
    "\nshare",
    "\nrework",
    "plat-\nforms",
    "revi-\nsions",
    "\nretries",
    "\nresult",
)
_MOST_ROWS = 50
_MOST_WORKFLOWS = 20
Totals = TypeVar("Totals", StageTotals, WorkflowTotals)
_STYLES = {"success": "green", "fallback": "yellow", "failure": "red", "cancelled": "yellow", "abandoned": "red"}


def show(console: Console, workflows: Iterable[WorkflowTotals]) -> None:
    """Print one table with a row for every stage of every workflow; of very many workflows the slowest.

    What revisions cost has a column only where they did.
    """
    slowest, others = _slowest(list(workflows), _MOST_WORKFLOWS)
    parts = [(workflow, _rows(workflow), _whole(workflow)) for workflow in slowest]
    if others:
        parts.append(_together(others))
    every = [row for _, rows, whole in parts for row in (*rows, whole)]
    longest = max((len(visible(row.name)) for row in every), default=0)
    widest = max((_results(row, ", ").cell_len for row in every), default=0)
    stacked = max((len(line) for row in every for line in _results(row, "\n").plain.splitlines()), default=0)
    beside = _OTHERS + max(stacked, 10)
    rework = _REWORK if any(row.rework for row in every) and console.width >= beside + _REWORK + 12 else 0
    beside += rework
    wide = console.width >= longest + _OTHERS_IN_ONE_LINE + rework + widest
    bar = 0 if console.width < _NARROW + 2 * rework else _BAR  # Names that are whole come first.
    table = Table(box=None, padding=(0, 2 if wide else 1, 0, 0), pad_edge=False, header_style="bold")
    stage, *counts, result = _COLUMNS if wide else _COLUMNS_IN_TWO_LINES
    table.add_column(stage, overflow="fold", min_width=min(longest, max(12, console.width - beside - bar)))
    for name in counts:
        if rework or name.strip() != "rework":
            table.add_column(name, justify="left" if name.strip() == "share" else "right", no_wrap=True)
    table.add_column(result, no_wrap=True)
    blocks = ("█", "░") if console.encoding.startswith("utf") else ("#", ".")
    for workflow, rows, whole in parts:
        if table.row_count:
            table.add_row()
        slowest = max((row.seconds for row in rows), default=0.0)
        for row in (*rows, whole):
            is_whole = row is whole
            share = Text() if is_whole else _share(row.seconds / (workflow.seconds or 1.0), bar, blocks)
            table.add_row(
                Text(visible(row.name), style="italic" if is_whole else "bold" if row.seconds == slowest else ""),
                str(row.visits),
                duration(row.seconds),
                share,
                *([_rework(row)] if rework else []),
                str(row.platforms),
                str(row.revisions),
                str(row.retries),
                _results(row, ", " if wide else "\n"),
                style="dim" if is_whole else "",
            )
    console.print(table)


def duration(seconds: float) -> str:
    """`seconds` for people: `3.2 ms`, `4.51 s`, `2m 05s`, `1h 12m`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.{1 if seconds < 0.09995 else 0}f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def _rows(workflow: WorkflowTotals) -> list[StageTotals]:
    """The stages in the order in which they first started; of very many the slowest, and the others as one."""
    slowest, others = _slowest(list(workflow.stages.values()), _MOST_ROWS)
    if not others:
        return slowest
    together = StageTotals(f"({len(others)} more stages)")
    for stage in others:
        together.add(stage)
    return [*slowest, together]


def _slowest(all_of_them: Sequence[Totals], most: int) -> tuple[list[Totals], list[Totals]]:
    """As many as have a row of their own, in their order, and the others."""
    if len(all_of_them) <= most:
        return list(all_of_them), []
    slowest = {each.name for each in heapq.nlargest(most - 1, all_of_them, key=lambda each: each.seconds)}
    return (
        [each for each in all_of_them if each.name in slowest],
        [each for each in all_of_them if each.name not in slowest],
    )


def _together(workflows: list[WorkflowTotals]) -> tuple[WorkflowTotals, list[StageTotals], StageTotals]:
    """Workflows as one, without its stages."""
    together = WorkflowTotals(f"{len(workflows)} more workflows")
    for workflow in workflows:
        together.runs += workflow.runs
        together.seconds += workflow.seconds
        together.results.update(workflow.results)
        together.rework += workflow.rework
        for stage in workflow.stages.values():
            together.stages.setdefault("", StageTotals("")).add(stage)
    return together, [], _whole(together)


def _whole(workflow: WorkflowTotals) -> StageTotals:
    """The workflow's own row: its wall time and results, the counts of its stages."""
    whole = StageTotals(f"{workflow.name} ({workflow.runs} run{'' if workflow.runs == 1 else 's'})")
    for stage in workflow.stages.values():
        whole.add(stage)
    whole.seconds, whole.results, whole.rework = workflow.seconds, workflow.results, workflow.rework
    return whole


def _rework(row: StageTotals) -> str:
    """What was spent on repeats at higher revisions."""
    return duration(row.rework) if row.rework else "-"


def _share(share: float, bar: int, blocks: tuple[str, str]) -> Text:
    """Share of the runs' wall time. Stages that overlap or hold each other add up to more than the whole."""
    filled = min(bar, round(share * bar))
    return Text.assemble(f"{share:4.0%} ", (blocks[0] * filled, "cyan"), (blocks[1] * (bar - filled), "dim"))


def _results(row: StageTotals, between: str) -> Text:
    """How the visits of a stage (the runs of a workflow) ended: a word where all did so, else how many did how."""
    results = row.results
    if len(results) == 1:
        (only,) = results
        return Text(only, style=_STYLES.get(only, ""))
    return Text(between).join(
        Text(f"{count} {name}", style=_STYLES.get(name, "")) for name, count in results.most_common()
    )
