"""The table that `otel-progress run` prints when a program has ended."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ._model import StageTotals, WorkflowTotals

_BAR = 6
_WIDE = 100  # Columns of a terminal from which the headers fit into one line,
_NARROW = 72  # and below which there is no place for bars.
_MOST_ROWS = 50
_STYLES = {"success": "green", "fallback": "yellow", "failure": "red", "cancelled": "yellow", "abandoned": "red"}


def show(console: Console, workflows: Iterable[WorkflowTotals]) -> None:
    """Print one table with a row for every stage of every workflow."""
    counts = ("platforms", "revisions") if console.width >= _WIDE else ("plat-\nforms", "revi-\nsions")
    table = Table(box=None, padding=(0, 2 if console.width >= _WIDE else 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("stage", overflow="fold", vertical="bottom")
    for column in ("visits", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("share", no_wrap=True)
    for column in (*counts, "retries"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("result", min_width=7)
    blocks = ("█", "░") if console.encoding.startswith("utf") else ("#", ".")
    bar = 0 if console.width < _NARROW else _BAR
    for workflow in workflows:
        rows = _rows(workflow)
        slowest = max((stage.seconds for stage in rows), default=0.0)
        for stage in rows:
            table.add_row(
                Text(stage.name, style="bold" if stage.seconds == slowest else ""),
                str(stage.visits),
                duration(stage.seconds),
                _share(stage.seconds / (workflow.seconds or 1.0), bar, blocks),
                str(stage.platforms),
                str(stage.revisions),
                str(stage.retries),
                _results(stage.results),
            )
        runs = "1 run" if workflow.runs == 1 else f"{workflow.runs} runs"
        table.add_row(
            Text(f"{workflow.name} ({runs})", style="italic"),
            str(sum(stage.visits for stage in rows)),
            duration(workflow.seconds),
            "",
            str(max((stage.platforms for stage in rows), default=0)),
            str(max((stage.revisions for stage in rows), default=0)),
            str(sum(stage.retries for stage in rows)),
            _results(workflow.results),
            style="dim",
            end_section=True,
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
    stages = list(workflow.stages.values())
    if len(stages) <= _MOST_ROWS:
        return stages
    slowest = {stage.name for stage in heapq.nlargest(_MOST_ROWS - 1, stages, key=lambda stage: stage.seconds)}
    others = StageTotals(f"({len(stages) - len(slowest)} more stages)")
    for stage in stages:
        if stage.name not in slowest:
            others.add(stage)
    return [*(stage for stage in stages if stage.name in slowest), others]


def _share(share: float, bar: int, blocks: tuple[str, str]) -> Text:
    """Share of the runs' wall time. Stages that overlap or hold each other add up to more than the whole."""
    filled = min(bar, round(share * bar))
    return Text.assemble(f"{share:4.0%} ", (blocks[0] * filled, "cyan"), (blocks[1] * (bar - filled), "dim"))


def _results(results: Counter[str]) -> Text:
    if sum(results.values()) == 1:
        (only,) = results
        return Text(only, style=_STYLES.get(only, ""))
    return Text(", ").join(
        Text(f"{count} {name}", style=_STYLES.get(name, "")) for name, count in results.most_common()
    )
