"""The table of what runs did: what `otel-progress run` prints when a program has ended."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ..recording.times import NANO, duration
from ..recording.visible import visible
from .fitting import cut, fitted, folded, left_for
from .remarks import Look, remarks
from .said import STYLES
from .shares import Line, lines_of
from .totals import REWORK, Row, WorkflowTotals

_MOST_ROWS = 50
_MOST_WORKFLOWS = 20
_BAR = 6
_LOG = 120
"""Columns where there is no terminal: a log has no margin."""
_DEEPEST = 5
"""Up to what depth a row is set in further than what is around it."""
_LONGEST_ERROR = 24
_LONGEST_NAME = 48
_LEAST_FIRST = (
    "platforms",
    "revisions",
    "failed items",
    "longest",
    "items",
    "retries",
    "waiting",
    "over budget",
    "rework",
    "visits",
    "share",
    "result",
    "time",
)
_NARROW = 60
_LEAST_NAMES = {"share": 16}
"""Of what width the names must be able to be beside a column, where that is less than beside others."""
_LEFT = {"stage", "share", "result"}
_HEADS = {
    "platforms": "plat-\nforms",
    "revisions": "revi-\nsions",
    "over budget": "over\nbudget",
    "failed items": "failed\nitems",
}
"""Those that take two lines where there is little room."""


def console(file: Any) -> Console:
    """A console that prints texts as they are; where it is no terminal, with the room that a log has."""
    made = Console(file=file, markup=False, emoji=False, highlight=False, soft_wrap=True)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _LOG
    return made


def show(console: Console, workflows: Iterable[WorkflowTotals], look: Look | None = None) -> None:
    """Print `lines` of the width that a console has."""
    for line in lines(workflows, console.width, look, unicode=console.encoding.startswith("utf")):
        console.print(line)


def lines(
    workflows: Iterable[WorkflowTotals], room: int, look: Look | None = None, *, unicode: bool = True
) -> Iterator[Text]:
    """A table with a row for every stage of every workflow, and what stands out in it; of very many the slowest.

    A column is there only where it tells something. In a narrow terminal headers and results take several lines, then
    the bars go, then the columns that matter least: the names of the stages stay.

    Args:
        workflows: what is shown.
        room: columns of the terminal.
        look: the command that shows a run, by its id; None where none does.
        unicode: whether more than ASCII can be shown.
    """
    told = list(workflows)
    if not told:
        return
    slowest = _slowest(told)
    blocks = [_block(workflow) for workflow in slowest]
    if len(slowest) < len(told):
        blocks.append(_together([workflow for workflow in told if workflow not in slowest]))
    drawn = _look(blocks, room, unicode=unicode)
    widths = fitted(drawn.widths, "stage", _LEAST_FIRST, room, drawn.gap, least_names=_LEAST_NAMES)
    heads = {column: drawn.heads[column] for column in widths}
    above = "\n" if any("\n" in head for head in heads.values()) else ""
    row = {column: Text(head if "\n" in head else f"{above}{head}") for column, head in heads.items()}
    yield from _laid_out(row, "bold", widths, drawn.gap)
    for number, rows in enumerate(drawn.cells):
        if number:
            yield Text()
        for style, row in rows:
            row["stage"].plain = cut(row["stage"].plain, widths["stage"], "…" if unicode else "..")
            yield from _laid_out(row, style, widths, drawn.gap)
    for text, style in remarks(slowest, look, unicode=unicode):
        yield from (Text(line, style) for line in folded(text, room))


def _laid_out(row: Mapping[str, Text], style: str, widths: Mapping[str, int], gap: int) -> Iterator[Text]:
    """The lines of a row: as many as its highest cell has."""
    columns = [(column, row[column].split("\n", allow_blank=True)) for column in widths]
    for number in range(max(len(cell) for _, cell in columns)):
        line = Text(style=style)
        for column, cell in columns:
            part = cell[number] if number < len(cell) else Text()
            blanks = " " * (widths[column] - cell_len(part.plain))
            line.append_text(part if column in _LEFT else Text(blanks))
            line.append_text(Text(blanks) if column in _LEFT else part)
            line.append(" " * gap)
        line.rstrip()
        yield line


class _Block(NamedTuple):
    """A workflow, as it is shown."""

    workflow: WorkflowTotals
    lines: list[Line]
    outside: int | None
    """Percent; None where there is no row of it."""
    whole: Row


class _Table(NamedTuple):
    """The table with all its columns, in one of the ways in which it can look."""

    heads: dict[str, str]
    cells: list[list[tuple[str, dict[str, Text]]]]
    widths: dict[str, int]
    gap: int


class _Way(NamedTuple):
    """One of these ways."""

    gap: int
    bar: int
    is_short: bool
    """Whether of the results only that is said which is no success, and no type of an error."""
    blocks: tuple[str, str]
    beside: str
    """What marks that several went on at once."""


def _look(blocks: list[_Block], room: int, *, unicode: bool) -> _Table:
    """The first for which there is room, else the narrowest."""
    drawn = ("█", "░") if unicode else ("#", ".")
    beside = "∥" if unicode else "||"
    for gap, bar in ((2, _BAR), (1, _BAR), (1, 0)):
        found = _drawn(blocks, _Way(gap, bar, False, drawn, beside))
        has_room = left_for(found.widths, "stage", room, gap) >= found.widths["stage"]
        if has_room or (not bar and room >= _NARROW):  # There columns go before the types of errors do.
            return found
    return _drawn(blocks, _Way(1, 0, True, drawn, beside))


def _drawn(blocks: list[_Block], way: _Way) -> _Table:
    rows = [row for block in blocks for row in (*(line.row for line in block.lines), block.whole)]
    columns = [name for name in _CELLS if name in _ALWAYS or any(_CELLS[name](row) != "-" for row in rows)]
    heads = {"stage": "stage"} | dict.fromkeys(columns, "") | {"result": "result"}
    heads = {name: _HEADS.get(name, name) if way.gap == 1 else name for name in heads}
    pad = max((len(_beside(line.row, way)) for block in blocks for line in block.lines), default=0)
    cells = [_rows(block, columns, way, pad) for block in blocks]
    widths = {
        column: max(_width(text) for text in (Text(head), *(row[column] for rows in cells for _, row in rows)))
        for column, head in heads.items()
    }
    widths["stage"] = min(widths["stage"], _LONGEST_NAME)
    return _Table(heads, cells, widths, way.gap)


def _rows(block: _Block, columns: list[str], way: _Way, pad: int) -> list[tuple[str, dict[str, Text]]]:
    workflow, whole = block.workflow, block.whole
    own = {line.row: line.row.path - sum(each.path for each in line.row.rows.values()) for line in block.lines}
    most = max(own.values(), default=0)
    found: list[tuple[str, dict[str, Text]]] = []
    wall = whole.time or 1
    for line in block.lines:
        row = line.row
        cells = {name: Text(_CELLS[name](row)) for name in columns}
        cells["time"].append(_beside(row, way).ljust(pad))
        cells["share"] = _share(line.percent, row.path / wall, way)
        cells["result"] = _results(row, way)
        name = f"({line.hidden} more stage{'' if line.hidden == 1 else 's'})" if line.hidden else visible(row.name)
        indent = "  " * min(line.depth, _DEEPEST) if way.gap == 2 else " " * min(line.depth, _DEEPEST)
        cells["stage"] = Text(f"{indent}{name}", style="bold" if row.path and own[row] == most else "")
        found.append(("", cells))
    blank = {name: Text() for name in ("stage", *columns, "result")}
    if block.outside is not None:
        outside = blank | {
            "stage": Text("outside stages"),
            "share": _share(block.outside, workflow.outside / wall, way),
        }
        outside["time"] = Text(duration(workflow.outside / NANO) + " " * pad)
        found.append(("dim", outside))
    cells = {name: Text(_CELLS[name](whole)) for name in columns}
    cells["time"].append(" " * pad)
    cells["share"] = Text((" " * (not way.bar) + "100%") if whole.time else "")
    cells["stage"] = Text(visible(whole.name))
    cells["result"] = _results(whole, way)
    found.append(("bold", cells))
    return found


def _width(text: Text) -> int:
    return max((cell_len(line) for line in text.plain.split("\n")), default=0)


def _beside(row: Row, way: _Way) -> str:
    return f" {way.beside}{row.at_once}" if row.at_once > 1 else ""


def _share(percent: int, share: float, way: _Way) -> Text:
    if not way.bar:
        return Text(f"{percent:4}%")
    text = f"{percent:3}%"
    filled = max(0, min(way.bar, round(share * way.bar)))
    return Text.assemble(f"{text} ", (way.blocks[0] * filled, "cyan"), (way.blocks[1] * (way.bar - filled), "dim"))


def _results(row: Row, way: _Way) -> Text:
    """How the visits of a stage (the runs of a workflow) ended: a word where all did so, else how many did how.

    With the type of the exception that led there most often.
    """
    parts: list[Text] = []
    for result, count in row.results.most_common():
        if way.is_short and result == "success" and len(row.results) > 1:
            continue
        text = visible(result) if len(row.results) == 1 else f"{count} {visible(result)}"
        errors = {error: number for (of, error), number in row.errors.items() if of == result}
        if errors and not way.is_short:
            error = max(errors, key=lambda each: errors[each])
            number = "" if errors[error] == count else f"{errors[error]} "
            cause = f"{number}{cut(visible(error), _LONGEST_ERROR)}"
            text += f" ({cause})" if way.gap == 2 else f"\n {cause}"
        parts.append(Text(text, style=STYLES.get(result, "")))
    return Text(", " if way.gap == 2 else "\n").join(parts)


def _time(nanoseconds: int) -> str:
    return duration(nanoseconds / NANO) if nanoseconds else "-"


def _over_budget(row: Row) -> str:
    of = "" if row.around is None else f"/{row.visits}"  # Not all stages have a budget.
    return f"{row.over_budget}{of}" if row.over_budget else "-"


def _without_end(row: Row) -> int:
    return row.results["abandoned"] + row.results["running"]


def _items(row: Row) -> str:
    if row.items_total is None:
        return str(row.items_done) if row.items_done else "-"
    return f"{row.items_done}/{row.items_total}"


_CELLS: dict[str, Callable[[Row], str]] = {
    "visits": lambda row: str(row.visits),
    "time": lambda row: "-" if not row.time and row.visits == _without_end(row) else duration(row.time / NANO),
    "share": lambda _: "",
    "longest": lambda row: _time(row.longest) if row.visits > 1 else "-",
    "waiting": lambda row: _time(row.wait),
    "rework": lambda row: _time(row.rework),
    "over budget": _over_budget,
    "items": _items,
    "failed items": lambda row: str(row.items_failed or "-"),
    "retries": lambda row: str(row.retries or "-"),
    "platforms": lambda row: str(row.platforms or "-"),
    "revisions": lambda row: str(row.revisions or "-"),
}
"""Between the name and the result. `-`: nothing to tell."""
_ALWAYS = {"visits", "time", "share"}


def _slowest(workflows: list[WorkflowTotals]) -> list[WorkflowTotals]:
    """As many as have rows of their own, in their order."""
    if len(workflows) <= _MOST_WORKFLOWS:
        return workflows
    slowest = set(heapq.nlargest(_MOST_WORKFLOWS - 1, workflows, key=lambda each: each.row.time))
    return [each for each in workflows if each in slowest]


def _block(workflow: WorkflowTotals) -> _Block:
    lines, rest = lines_of(workflow, _MOST_ROWS)
    return _Block(workflow, lines, rest if workflow.outside > 0 and lines else None, _whole(workflow))


def _together(workflows: list[WorkflowTotals]) -> _Block:
    """Workflows as one, without its stages."""
    together = WorkflowTotals(Row(f"{len(workflows)} more workflows"))
    for number, workflow in enumerate(workflows):
        together.runs += workflow.runs
        together.row.time += workflow.row.time
        together.row.results.update(workflow.row.results)
        together.figures.update(workflow.figures)
        together.slowest = max(together.slowest, workflow.slowest)
        together.row.rows[str(number)] = _whole(workflow)
    return _Block(together, [], None, _whole(together))


def _whole(workflow: WorkflowTotals) -> Row:
    """The workflow's own row: its wall time and results, the counts of its stages."""
    whole = Row(f"{workflow.row.name} ({workflow.runs} run{'' if workflow.runs == 1 else 's'})")
    for row in workflow.row.all():
        whole.add(row)
    whole.time, whole.path = workflow.row.time, workflow.row.time
    whole.longest = workflow.slowest[0] if workflow.runs > 1 else 0
    whole.results, whole.errors = workflow.row.results, workflow.row.errors
    whole.rework, whole.at_once = workflow.figures[REWORK], 1
    return whole
