"""A run as bars over its time: what lies in what, what went on at once, and what the run waited for."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size

from ..insight import RunFigures
from ..recording.times import NANO, duration
from ..recording.visible import visible
from ..runs.model import Run, Visit
from .tree import Line

_NAMES = 28
_CRITICAL, _BESIDE, _NOTHING = "█", "░", " "
_LEAST = 8
"""Columns of the bars."""


def waterfall(run: Run, figures: RunFigures, width: int, most: int) -> Iterator[Line]:
    """The bars of a run, in so many columns and at most so many rows.

    Where there are more visits, those with the longest time are shown, and what is around them.
    """
    shown = _chosen(run, most)
    if not shown or figures.seconds <= 0:
        return
    rows = [(f"{'  ' * min(depth, 6)}{visible(visit.stage)}", visit) for visit, depth in shown]
    took = {visit.id: _took(visit) for _, visit in rows}
    times = max(map(len, took.values()))
    names = min(max(cell_len(name) for name, _ in rows), _NAMES, max(6, width - times - _LEAST - 2))
    room = max(1, width - names - times - 2)
    started = figures.path.segments[0].started if figures.path.segments else (run.started or 0)
    scale = room / (figures.seconds * NANO)
    on_path: dict[str, list[tuple[int, int]]] = {}
    for segment in figures.path.segments:
        if segment.visit in took:
            on_path.setdefault(segment.visit, []).append((segment.started, segment.ended))
    for name, visit in rows:
        ended = visit.ended if visit.ended is not None else started + round(figures.seconds * NANO)
        bar = [_NOTHING] * room
        _paint(bar, visit.started - started, ended - started, scale, _BESIDE)
        critical = on_path.get(visit.id, ())
        for low, high in critical:
            _paint(bar, low - started, high - started, scale, _CRITICAL)
        text = f"{set_cell_size(name, names)} {''.join(bar)} {took[visit.id]:>{times}}"
        yield text, "" if critical else "dim"
    if left := len(run.visits) - len(shown):
        yield f"and {left} more visit{'' if left == 1 else 's'}", "dim"


def _took(visit: Visit) -> str:
    return "-" if visit.seconds is None else duration(max(0.0, visit.seconds))


def _paint(bar: list[str], low: int, high: int, scale: float, sign: str) -> None:
    first = min(max(0, int(low * scale)), len(bar) - 1)
    last = min(max(first + 1, round(high * scale)), len(bar))
    bar[first:last] = [sign] * (last - first)


def _chosen(run: Run, most: int) -> list[tuple[Visit, int]]:
    """The longest visits with what is around them, in the order of their starts, and how deep they lie."""
    by_id = {visit.id: visit for visit in run.visits}
    chosen: dict[str, int] = {}
    last = max((visit.ended or visit.started for visit in run.visits), default=0)
    # Each takes a row of its own, at least: so one more than there are rows is enough of them.
    for visit in heapq.nsmallest(
        most + 1, run.visits, key=lambda each: (each.started - (each.ended or last), each.started, each.id)
    ):
        way = _way_to(visit, by_id)
        if len(chosen.keys() | {each.id for each in way}) > most:
            break
        chosen |= {each.id: depth for depth, each in enumerate(way)}
    found = sorted((by_id[each] for each in chosen), key=lambda each: (each.started, chosen[each.id], each.id))
    inside: dict[str | None, list[Visit]] = {}
    for visit in found:
        inside.setdefault(visit.parent if visit.parent in chosen else None, []).append(visit)
    ordered: list[tuple[Visit, int]] = []
    waiting = list(reversed(inside.get(None, [])))
    while waiting:
        visit = waiting.pop()
        ordered.append((visit, chosen[visit.id]))
        waiting += reversed(inside.get(visit.id, []))
    return ordered


def _way_to(visit: Visit, by_id: dict[str, Visit]) -> list[Visit]:
    """What lies around a visit, the outermost first, and the visit itself."""
    way, seen = [visit], {visit.id}
    while (around := by_id.get(way[-1].parent or "")) is not None and around.id not in seen:
        way.append(around)
        seen.add(around.id)
    return way[::-1]
