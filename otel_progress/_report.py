"""The table that `otel-progress run` prints when a program has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ._model import WorkflowTotals

_BAR = 6
_STYLES = {"success": "green", "fallback": "yellow", "failure": "red", "cancelled": "yellow", "abandoned": "red"}


def show(console: Console, workflows: Iterable[WorkflowTotals]) -> None:
    """Print one table with a row for every stage of every workflow."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True, overflow="ellipsis")
    for column in ("visits", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("share", no_wrap=True)
    for column in ("platforms", "revisions", "retries"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("result", min_width=7)
    for index, workflow in enumerate(workflows):
        if index:
            table.add_section()
        slowest = max((stage.seconds for stage in workflow.stages.values()), default=0.0)
        for stage in workflow.stages.values():
            table.add_row(
                Text(stage.name, style="bold" if stage.seconds == slowest else ""),
                str(stage.visits),
                duration(stage.seconds),
                _share(stage.seconds, workflow.seconds),
                str(stage.platforms),
                str(stage.revisions),
                str(stage.retries),
                _results(stage.results),
            )
        runs = "1 run" if workflow.runs == 1 else f"{workflow.runs} runs"
        table.add_row(
            Text(f"{workflow.name} ({runs})", style="italic"),
            str(sum(stage.visits for stage in workflow.stages.values())),
            duration(workflow.seconds),
            "",
            "",
            "",
            str(sum(stage.retries for stage in workflow.stages.values())),
            _results(workflow.results),
            style="dim",
        )
    console.print(table)


def duration(seconds: float) -> str:
    """`seconds` for people: `3.2 ms`, `4.51 s`, `2 min 05 s`, `1 h 12 min`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.{1 if seconds < 0.09995 else 0}f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _share(seconds: float, total: float) -> Text:
    """Share of the runs' wall time. Stages that overlap or hold each other add up to more than the whole."""
    share = seconds / total if total else 0.0
    filled = min(_BAR, round(share * _BAR))
    return Text.assemble(f"{share:4.0%} ", ("█" * filled, "cyan"), ("░" * (_BAR - filled), "dim"))


def _results(results: Counter[str]) -> Text:
    if sum(results.values()) == 1:
        (only,) = results
        return Text(only, style=_STYLES.get(only, ""))
    return Text(", ").join(
        Text(f"{count} {name}", style=_STYLES.get(name, "")) for name, count in results.most_common()
    )
