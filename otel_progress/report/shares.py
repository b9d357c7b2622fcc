"""What of a workflow's time each row has, in percent that add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .totals import BADLY, Row, WorkflowTotals


class Line(NamedTuple):
    """A row that is shown, with its place and its share."""

    row: Row
    depth: int
    percent: int
    """Of the workflow's wall time. The outermost rows and what lies outside of them are 100 together, and those inside
    a row at most what the row has."""
    hidden: int = 0
    """Of how many stages it tells that have no row of their own."""


def lines_of(workflow: WorkflowTotals, most: int) -> tuple[list[Line], int]:
    """The rows that are shown, about as many as `most`, in their order; and what lies outside of them, in percent."""
    found: list[Line] = []
    rest = _inside(Line(workflow.row, -1, 100), workflow.row.time, _most_telling(workflow, most), found)
    return found, rest


def _most_telling(workflow: WorkflowTotals, most: int) -> set[Row] | None:
    """Those that ended badly or took most of the time, with what they are inside of; None: all of them."""
    rows = list(workflow.row.all())
    if len(rows) <= most:
        return None
    shown: set[Row] = {workflow.row}
    for row in sorted(rows, key=_weight, reverse=True):
        chain = [row]
        while chain[-1].around is not None and chain[-1].around not in shown:
            chain.append(chain[-1].around)
        if len(shown) + len(chain) <= most:  # One is for the others.
            shown.update(chain)
    return shown


def _weight(row: Row) -> tuple[bool, int, int]:
    return bool([result for result in row.results if result in BADLY]), row.path, row.time


def _inside(line: Line, time: int, shown: set[Row] | None, found: list[Line]) -> int:
    """Add the lines of what is inside a row that has so much time; what is left of it for the row alone, in percent."""
    row, depth = line.row, line.depth + 1
    rows = sorted(row.rows.values(), key=lambda each: each.started)
    own = [each for each in rows if shown is None or each in shown]
    others = [each for each in rows if shown is not None and each not in shown]
    together = Row("", row)
    for each in others:
        together.add(each)
        for further in each.all():
            together.add_counts(further)
            together.visits += further.visits
    together.longest = 0  # Of different ones.
    paths = [each.path for each in own] + [together.path]
    *percents, of_others, rest = shared_out(line.percent, [*paths, max(0, time - sum(paths))])
    for each, part in zip(own, percents, strict=True):
        found.append(Line(each, depth, part))
        _inside(found[-1], each.path, shown, found)
    if others:
        hidden = sum(1 + sum(1 for _ in each.all()) for each in others)
        found.append(Line(together, depth, of_others, hidden))
    return rest


def shared_out(whole: int, parts: Sequence[int]) -> list[int]:
    """`whole`, in whole numbers that are to each other as the parts, as nearly as can be, and add up to it."""
    total = sum(parts)
    if total <= 0:
        return [0] * len(parts)
    shares = [whole * part // total for part in parts]
    largest = sorted(range(len(parts)), key=lambda index: -(whole * parts[index] % total))
    for index in largest[: whole - sum(shares)]:
        shares[index] += 1
    return shares
