"""Runs as lines, one for each: quick enough for tens of thousands."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from ..recording.visible import visible
from ..runs.listed import Listed
from .tree import Line, moment, state_text, style_of, time_of

_HEADS = ("run", "started", "workflow", "time", "state", "stages", "visits", "revisions", "retries")
_RIGHT = {"time", "stages", "visits", "revisions", "retries"}
_SHORTEST = 8
"""Digits of an id that are always shown."""


def listing(runs: Sequence[Listed], now: int) -> Iterator[Line]:
    """The lines that show `runs`."""
    length = shortest_ids([run.id for run in runs])
    rows = [_row(run, length, now) for run in runs]
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    yield _line(_HEADS, widths), "bold"
    for run, row in zip(runs, rows, strict=True):
        yield _line(row, widths), style_of(run.state, run.result)


def shortest_ids(ids: Sequence[str]) -> int:
    """How many digits tell the ids apart."""
    ordered = sorted(set(ids))
    length = _SHORTEST
    for one, next_one in itertools.pairwise(ordered):
        while one[:length] == next_one[:length] and length < len(next_one):
            length += 1
    return length


def _row(run: Listed, length: int, now: int) -> tuple[str, ...]:
    return (
        visible(run.id[:length]),
        moment(run.started),
        visible(run.workflow) or "-",
        time_of(run.seconds, run.started, run.state, now),
        state_text(run.state, run.result),
        str(run.stages),
        str(run.visits),
        "-" if run.revision is None else str(run.revision),
        str(run.retries),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.rjust(width) if head in _RIGHT else cell.ljust(width)
        for cell, width, head in zip(cells, widths, _HEADS, strict=True)
    )
    return "  ".join(aligned).rstrip()
