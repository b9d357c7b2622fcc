"""Runs as lines, one for each: quick enough for tens of thousands."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len

from ..recording.visible import visible
from ..runs.listed import Listed
from .fitting import align, fitted, folded
from .tree import Line, moment, state_text, style_of, time_of

_HEADS = ("run", "started", "workflow", "time", "state", "stages", "visits", "revisions", "retries")
_RIGHT = {"time", "stages", "visits", "revisions", "retries"}
_LEAST_FIRST = ("retries", "revisions", "visits", "stages", "time", "started", "state", "run")
_SHORTEST = 8
"""Digits of an id that are always shown."""


def listing(runs: Sequence[Listed], now: int, room: int | None = None) -> Iterator[Line]:
    """The lines that show `runs`, in `room` columns; None: as wide as they are."""
    length = shortest_ids([run.id for run in runs])
    rows = [_row(run, length, now) for run in runs]
    widths = {head: max(map(cell_len, column)) for head, *column in zip(_HEADS, _HEADS, *rows, strict=True)}
    widths = fitted(widths, "workflow", _LEAST_FIRST, room, gap=2)
    yield from _lines(_HEADS, widths, "bold")
    for run, row in zip(runs, rows, strict=True):
        yield from _lines(row, widths, style_of(run.state, run.result))


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


def _lines(row: Sequence[str], widths: Mapping[str, int], style: str) -> Iterator[Line]:
    """A row: one line, and more where the name of its workflow is folded."""
    cells = dict(zip(_HEADS, row, strict=True))
    for number, part in enumerate(folded(cells["workflow"], widths["workflow"])):
        shown = cells | {"workflow": part} if number == 0 else {"workflow": part}
        aligned = (align(shown.get(head, ""), width, right=head in _RIGHT) for head, width in widths.items())
        yield "  ".join(aligned).rstrip(), style
