"""The table that `otel-progress run` prints when a program has ended."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..recording.visible import visible
from .fitting import fitted, left_for
from .totals import StageTotals, WorkflowTotals

_COLUMNS = ("stage", "visits", "time", "share", "rework", "platforms", "revisions", "retries", "result")
_IN_TWO_LINES = {"platforms": "plat-\nforms", "revisions": "revi-\nsions"}
_LEAST_FIRST = ("platforms", "revisions", "retries", "rework", "share", "visits", "result", "time")
_BAR = 6
_MOST_ROWS = 50
_MOST_WORKFLOWS = 20
Totals = TypeVar("Totals", StageTotals, WorkflowTotals)
Part = tuple[WorkflowTotals, list[StageTotals], StageTotals]
"""A workflow, the rows of its stages, and its own."""
_STYLES = {"success": "green", "fallback": "yellow", "failure": "red", "cancelled": "yellow", "abandoned": "red"}


def show(console: Console, workflows: Iterable[WorkflowTotals]) -> None:
    """Print one table with a row for every stage of every workflow; of very many workflows the slowest.

    What revisions cost has a column only where they did. In a narrow terminal headers and results take several lines,
    then the bars go, then the columns that matter least: the names of the stages stay.
    """
    slowest, others = _slowest(list(workflows), _MOST_WORKFLOWS)
    parts: list[Part] = [(workflow, _rows(workflow), _whole(workflow)) for workflow in slowest]
    if others:
        parts.append(_together(others))
    look = _look(parts, console)
    widths = fitted(look.widths, "stage", _LEAST_FIRST, console.width, look.gap)
    above = "\n" if any("\n" in look.heads[column] for column in widths) else ""
    table = Table(box=None, padding=(0, look.gap, 0, 0), pad_edge=False, header_style="bold")
    for column, width in widths.items():
        left = column in {"stage", "share", "result"}
        head = look.heads[column]
        table.add_column(
            head if "\n" in head else f"{above}{head}",
            justify="left" if left else "right",
            overflow="fold",
            width=width,
        )
    for rows in look.cells:
        if table.row_count:
            table.add_row()
        for row in rows:
            table.add_row(*(row[column] for column in widths), style="dim" if row is rows[-1] else "")
    console.print(table)


class _Look(NamedTuple):
    """The table with all its columns, in one of the ways in which it can look."""

    heads: dict[str, str]
    cells: list[list[dict[str, Text]]]
    widths: dict[str, int]
    gap: int


def _look(parts: list[Part], console: Console) -> _Look:
    """The first for which there is room, else the narrowest."""
    rework = any(row.rework for _, rows, whole in parts for row in (*rows, whole))
    columns = [column for column in _COLUMNS if rework or column != "rework"]
    blocks = ("█", "░") if console.encoding.startswith("utf") else ("#", ".")
    wide = _drawn(parts, {column: column for column in columns}, ", ", _BAR, blocks)
    if _has_room(wide, console):
        return wide
    heads = {column: _IN_TWO_LINES.get(column, column) for column in columns}
    narrow = _drawn(parts, heads, "\n", _BAR, blocks)
    return narrow if _has_room(narrow, console) else _drawn(parts, heads, "\n", 0, blocks)


def _has_room(look: _Look, console: Console) -> bool:
    return left_for(look.widths, "stage", console.width, look.gap) >= look.widths["stage"]


def _drawn(parts: list[Part], heads: dict[str, str], between: str, bar: int, blocks: tuple[str, str]) -> _Look:
    cells = [
        [
            {
                "stage": Text(visible(row.name), style=_style(row, rows, whole)),
                "visits": Text(str(row.visits)),
                "time": Text(duration(row.seconds)),
                "share": Text() if row is whole else _share(row.seconds / (workflow.seconds or 1.0), bar, blocks),
                "rework": Text(duration(row.rework) if row.rework else "-"),
                "platforms": Text(str(row.platforms)),
                "revisions": Text(str(row.revisions)),
                "retries": Text(str(row.retries)),
                "result": _results(row, between),
            }
            for row in (*rows, whole)
        ]
        for workflow, rows, whole in parts
    ]
    widths = {column: max(map(_width, (Text(head), *_column(cells, column)))) for column, head in heads.items()}
    return _Look(heads, cells, widths, 1 if between == "\n" else 2)


def _style(row: StageTotals, rows: list[StageTotals], whole: StageTotals) -> str:
    if row is whole:
        return "italic"
    return "bold" if row.seconds == max(each.seconds for each in rows) else ""


def _column(cells: list[list[dict[str, Text]]], column: str) -> Iterator[Text]:
    return (row[column] for rows in cells for row in rows)


def _width(text: Text) -> int:
    return max((cell_len(line) for line in text.plain.split("\n")), default=0)


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


def _together(workflows: list[WorkflowTotals]) -> Part:
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


def _share(share: float, bar: int, blocks: tuple[str, str]) -> Text:
    """Share of the runs' wall time. Stages that overlap or hold each other add up to more than the whole."""
    filled = min(bar, round(share * bar))
    text = f"{share:4.0%}"
    return (
        Text.assemble(f"{text} ", (blocks[0] * filled, "cyan"), (blocks[1] * (bar - filled), "dim"))
        if bar
        else Text(text)
    )


def _results(row: StageTotals, between: str) -> Text:
    """How the visits of a stage (the runs of a workflow) ended: a word where all did so, else how many did how."""
    results = row.results
    if len(results) == 1:
        (only,) = results
        return Text(only, style=_STYLES.get(only, ""))
    return Text(between).join(
        Text(f"{count} {name}", style=_STYLES.get(name, "")) for name, count in results.most_common()
    )
