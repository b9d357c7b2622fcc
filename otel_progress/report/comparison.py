"""A comparison as lines for a terminal, and as markdown for a comment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from ..compare.model import Change, Comparison, Row, Side, WorkflowComparison
from ..compare.summary import Summary
from ..recording.times import duration
from ..recording.visible import visible
from .fitting import align, fitted, folded
from .said import not_well
from .tree import Line

_HEADS = ("", "base", "new", "change", "interval", "verdict")
_LEFT = {"", "verdict"}
_LEAST_FIRST = ("base", "new", "interval", "change")
_STYLES = {"slower": "red", "faster": "green", "same": "", "too few": "dim"}
_WIDTH = 100
"""Columns of prose where there is no margin."""
_MOST_MORE = 1000
_THE_RUN = "the run"


def comparison_lines(comparison: Comparison, room: int | None, *, same_code: bool = False) -> Iterator[Line]:
    """The lines that show a comparison.

    Args:
        comparison: the comparison.
        room: columns of the terminal; None where there is no margin.
        same_code: whether both sides are the same code, and what is shown is how noisy the machine is.
    """
    width = room or _WIDTH
    for number, each in enumerate(comparison.workflows):
        if number:
            yield "", ""
        for text in folded(f"{_title(each)}: {sides(each)}", width):
            yield text, ""
        yield "", ""
        if each.rows:
            yield from _table(each.rows, room)
            yield "", ""
        said = noise(each, comparison) if same_code else conclusion(each)
        for text in folded(said, width):
            yield text, "bold"
        for change in each.changes:
            for text in folded(change_text(change), width):
                yield text, "" if change.certain else "dim"
        for text in folded(assumption(each), width):
            yield text, "dim"
    for text in (*left_alone(comparison), meaning(comparison)):
        for part in folded(text, width):
            yield part, "dim"


def markdown(comparison: Comparison, *, same_code: bool = False) -> str:
    """The same as markdown."""
    parts: list[str] = []
    for each in comparison.workflows:
        rows = [
            "| | base | new | change | interval | verdict |",
            "|---|--:|--:|--:|--:|---|",
            *(f"| {' | '.join(_escaped(cell) for cell in (_full_name(row), *_cells(row)[1:]))} |" for row in each.rows),
        ]
        said = noise(each, comparison) if same_code else conclusion(each)
        changes = [f"- {_escaped(change_text(change))}" for change in each.changes]
        title = f"### {_escaped(_title(each))}\n\n**{_escaped(said)}**"
        parts += [title, *(["\n".join(rows)] if each.rows else []), *(["\n".join(changes)] if changes else [])]
        parts.append(f"{_escaped(sides(each))}. {_escaped(assumption(each))}")
    return "\n\n".join((*parts, *map(_escaped, left_alone(comparison)), meaning(comparison)))


# --- sentences --------------------------------------------------------------------------------------------------------


def sides(workflow: WorkflowComparison) -> str:
    """How many runs there are, and how many of them are compared."""
    return f"{_side('BASE', workflow.base)}, {_side('NEW', workflow.new)}"


def _side(name: str, side: Side) -> str:
    left_out = list(not_well(side.failed, side.cancelled))
    left_out += [f"{endless} without an end"] if (endless := side.left_out - side.cancelled) else []
    if (rest := side.runs - side.failed - side.left_out) > side.compared:
        left_out.append(f"{side.compared} of the other {rest} compared")
    told = ", ".join(left_out)
    return f"{_runs(side.runs)} of {name}" + (f" ({told})" if told else "")


def conclusion(workflow: WorkflowComparison) -> str:
    """The whole in a sentence; of platforms those that did not change as their stage did."""
    stages = {row.stage: row.verdict for row in workflow.rows if row.platform is None}
    told = [row for row in workflow.rows if row.platform is None or stages.get(row.stage) != row.verdict]
    found = [
        f"{verdict}: " + ", ".join(f"{_full_name(row)} {percent(row.change)}" for row in rows)
        for verdict in ("slower", "faster")
        if (rows := [row for row in told if row.verdict == verdict])
    ]
    if found:
        return f"NEW is {'; '.join(found)}."
    if not workflow.rows:
        return "Nothing can be timed: there is no stage that ended well in runs of both."
    few = [row for row in workflow.rows if row.verdict == "too few"]
    if not few:
        return "NEW is as fast as BASE."
    if len(few) == len(workflow.rows):
        return "There are too few runs to say anything."
    return f"Nothing is known to be slower; for {_listed([_full_name(row) for row in few])} there are too few runs."


def noise(workflow: WorkflowComparison, comparison: Comparison) -> str:
    """How noisy the machine is, as two sets of the same code show it."""
    alarms = len(workflow.alarms)
    said = f"{alarms} of {len(workflow.rows)} seem to differ" if alarms else "Nothing seems to differ, as it should be"
    total = next((row for row in workflow.rows if row.stage is None), None)
    if alarms:
        said += f" though the code is the same: at most {comparison.error:.0%} of such comparisons should say so"
    if total is None:
        return f"{said}."
    spread = max(total.base_spread, total.new_spread)
    seen = (
        "" if total.high is None or total.low is None else f", and changes of the run below {_reach(total)} go unseen"
    )
    return f"{said}. The noise of a run is {spread:.1%}{seen}."


def _reach(row: Row) -> str:
    """Half of the interval: what a change must be, at least, to be told from nothing."""
    low, high = row.low or 0.0, row.high or 0.0
    return f"{((1 + high) / (1 + low)) ** 0.5 - 1:.1%}"


def change_text(change: Change) -> str:
    """What is counted, in a sentence."""
    stage = visible(change.stage or "")
    of = f" of {stage}" if stage else ""
    base, new = (f"{part:.2f}".rstrip("0").rstrip(".") for part in (change.base, change.new))
    more = "more" if change.new > change.base else "fewer"
    maybe = "" if change.certain else ", which may be chance"
    if change.kind in ("new", "vanished"):
        runs, part, side = (
            (change.new_runs, change.new, "NEW") if change.kind == "new" else (change.base_runs, change.base, "BASE")
        )
        seen = f"in {round(part * runs)} of {_runs(runs)}"
        if change.base and change.new:
            times = f"{round(change.new * change.new_runs)} of {change.new_runs}"
            return (
                f"{more} runs with {stage}: {times}, was {round(change.base * change.base_runs)} of {change.base_runs}"
            )
        return f"only in {side}: {stage}, {seen}{maybe}"
    if change.kind == "renamed":
        return f"renamed: {visible(change.renamed_from or '')} is now {stage}, between the same stages"
    if change.kind == "failures":
        failed, before = round(change.new * change.new_runs), round(change.base * change.base_runs)
        return f"{more} runs with a failure{of}: {failed} of {change.new_runs}, was {before} of {change.base_runs}"
    return f"{more} {change.kind}{of}: {new} a run, was {base}"


def assumption(workflow: WorkflowComparison) -> str:
    """What the verdicts rest on, beside the figures."""
    if workflow.order == "in turn":
        paired = sum(row.paired for row in workflow.rows)
        how = f", and in {paired} of {len(workflow.rows)} rows neighbours are compared" if paired else ""
        return f"The sides took turns, so a machine that drifts is no change{how}."
    inflation = max((row.inflation for row in workflow.rows), default=1.0)
    alike = (
        f" Runs resemble those before them, and count for as little as {1 / inflation:.0%}." if inflation > 1.2 else ""
    )
    if workflow.order == "mixed":
        return f"Assumed: the machine was the same for both sides.{alike}"
    return (
        f"Assumed: the machine was the same for both sides, which ran one after the other.{alike} "
        "`otel-progress bench` lets them take turns."
    )


def left_alone(comparison: Comparison) -> list[str]:
    """Workflows that only one side has."""
    found = (("BASE", comparison.only_base), ("NEW", comparison.only_new))
    return [f"Only in {side}: {_listed([visible(name) for name in names])}." for side, names in found if names]


def meaning(comparison: Comparison) -> str:
    """What the words of the verdicts mean."""
    smallest, error = (_whole(part) for part in (comparison.smallest, comparison.error))
    return (
        f"slower, faster: by {smallest} or more, by chance in at most {error} of all comparisons; "
        f"same: shown to be within {smallest}; stages: for each visit; more: runs of each side."
    )


def percent(part: float) -> str:
    """A change: `+12.3 %`."""
    return f"{part:+.1%}" if abs(part) < 10 else f"{part:+,.0%}"


def _whole(part: float) -> str:
    return f"{part * 100:.4g}%"


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _title(workflow: WorkflowComparison) -> str:
    old = workflow.renamed_from
    return visible(workflow.workflow) + (f" (was {visible(old)})" if old is not None else "")


def _full_name(row: Row) -> str:
    return _name(row.stage, row.platform)


def _name(stage: str | None, platform: str | None) -> str:
    if stage is None:
        return _THE_RUN
    return visible(stage) + (f", {visible(platform)}" if platform is not None else "")


def _indented(stage: str | None, platform: str | None) -> str:
    if stage is None:
        return _THE_RUN
    return f"  {visible(stage)}" if platform is None else f"    {visible(platform)}"


# --- the table --------------------------------------------------------------------------------------------------------


def _table(rows: Sequence[Row], room: int | None) -> Iterator[Line]:
    yield from _aligned(_HEADS, _LEAST_FIRST, [(_cells(row), _STYLES[row.verdict]) for row in rows], room)


def summary_lines(summaries: Sequence[Summary], room: int | None) -> Iterator[Line]:
    """The lines that show one set of runs alone."""
    rows = [
        (
            (
                _indented(each.stage, each.platform),
                str(each.runs),
                *map(duration, (each.median, each.least, each.most)),
                f"{each.spread:.1%}",
            ),
            "",
        )
        for each in summaries
    ]
    yield from _aligned(
        ("", "runs", "median", "least", "most", "noise"), ("runs", "most", "least", "noise"), rows, room
    )


def summary_markdown(summaries: Sequence[Summary]) -> str:
    """The same as markdown."""
    head = ["| | runs | median | least | most | noise |", "|---|--:|--:|--:|--:|--:|"]
    return "\n".join(
        head
        + [
            f"| {_escaped(_name(each.stage, each.platform))} | {each.runs} | {duration(each.median)} | "
            f"{duration(each.least)} | {duration(each.most)} | {each.spread:.1%} |"
            for each in summaries
        ]
    )


def _aligned(
    heads: Sequence[str], least_first: Sequence[str], rows: Sequence[tuple[Sequence[str], str]], room: int | None
) -> Iterator[Line]:
    cells = [row for row, _ in rows]
    widths = {head: max(map(cell_len, column)) for head, *column in zip(heads, heads, *cells, strict=True)}
    widths = fitted(widths, "", least_first, room, gap=2)
    yield from _lines(dict(zip(heads, heads, strict=True)), widths, "bold")
    for row, style in rows:
        yield from _lines(dict(zip(heads, row, strict=True)), widths, style)


def _cells(row: Row) -> tuple[str, ...]:
    known = row.low is not None and row.high is not None
    interval = f"{row.low:+.0%} to {row.high:+.0%}" if known else "unknown"
    more = ""
    if row.verdict == "too few" and row.more is not None:
        more = f", {row.more} more" if row.more <= _MOST_MORE else f", >{_MOST_MORE} more"
    return (
        _indented(row.stage, row.platform),
        duration(row.base_seconds),
        duration(row.new_seconds),
        percent(row.change),
        interval,
        f"{row.verdict}{more}",
    )


def _lines(cells: dict[str, str], widths: dict[str, int], style: str) -> Iterator[Line]:
    indent = len(cells[""]) - len(cells[""].lstrip())
    for number, part in enumerate(folded(cells[""].lstrip(), max(1, widths[""] - indent))):
        shown = cells | {"": " " * indent + part} if number == 0 else {"": " " * (indent + 2) + part}
        aligned = (align(shown.get(head, ""), width, right=head not in _LEFT) for head, width in widths.items())
        yield "  ".join(aligned).rstrip(), style


def _escaped(text: str) -> str:
    """`text` with nothing that markdown takes for its own."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in text)
