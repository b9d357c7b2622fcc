"""One run as a tree: its visits in the order of their starts, what lies in what, and what is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from rich.cells import cell_len

from .. import names
from ..recording.times import NANO, duration
from ..recording.visible import visible
from ..runs.model import Attempt, Item, Run, State, Visit, Wait
from ..runs.wording import behind, for_what
from .fitting import folded

Line = tuple[str, str]
"""A text and its style."""
_DEEPEST = 40
_STYLES = {"failure": "red", "cancelled": "yellow", "abandoned": "red", "fallback": "yellow"}
STATE_STYLES: dict[State, str] = {
    "running": "cyan",
    "waiting": "cyan",
    "stalled": "yellow",
    "crashed": "red",
    "unknown": "dim",
    "done": "",
}
_MOST_NAMES = 4
_NAMES = 24
"""Columns that names have before there are others."""
_HANGS = 2
"""How far what goes on below is set in."""


def style_of(state: State, result: str | None) -> str:
    """The style for what is in a state, or is done with a result."""
    return _STYLES.get(result or "", "") if state == "done" else STATE_STYLES.get(state, "")


def state_text(state: State, result: str | None) -> str:
    """A state, with the result of what is done."""
    return f"done: {visible(result)}" if state == "done" and result else state


def moment(ns: int | None) -> str:
    """A time in the local zone, to the second."""
    try:
        return "-" if not ns else f"{datetime.fromtimestamp(ns / NANO).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # No calendar goes that far.
        return "-"


def time_of(seconds: float | None, started: int | None, state: State, now: int) -> str:
    """How long something took, or takes until now; `-` where nobody can know."""
    if seconds is not None:
        return duration(max(0.0, seconds))
    if started and state in {"running", "waiting", "stalled"}:
        return f"{duration(max(0, now - started) / NANO)} so far"
    return "-"


class _Row(NamedTuple):
    """A line of the tree, in its columns."""

    left: str
    """How long after the run's start, or how many visits."""
    time: str
    text: str
    style: str
    depth: int = 0


def tree(run: Run, now: int, most: int, room: int | None = None) -> Iterator[Line]:
    """The lines that show a run, with at most so many visits; what is open is always there.

    Args:
        run: the run.
        now: nanoseconds since the Unix epoch.
        most: visits to show.
        room: columns of the terminal; None where there is no margin.
    """
    for text, style in _head(run, now):
        yield from ((part, style) for part in (folded(text, room) if room else (text,)))
    shown = _shown(run, most)
    inside: dict[str | None, list[Visit]] = {}
    known = {visit.id for visit in shown}
    for visit in shown:
        inside.setdefault(visit.parent if visit.parent in known else None, []).append(visit)
    if not run.visits and not run.stages:
        yield "", ""
        yield "no stage was visited", "dim"
        return
    rows = [_Row("after", "time", "stage", "bold")] if shown else []
    before: dict[str | None, str] = {}
    """Of what each is said to follow, what stands right above it goes without saying."""
    by_id = {visit.id: visit for visit in run.visits}
    for visit, depth in _walk(inside):
        links = _links(visit, by_id, before.get(visit.parent))
        rows += _visit(run, visit, links, depth, now)
        before[visit.parent] = visit.id
    if left := run.visits_left_out + len(run.visits) - len(shown):
        rows.append(_Row("", "", f"and {left} more visit{'' if left == 1 else 's'}", "dim"))
    if rows:
        yield "", ""
        yield from _aligned(rows, room)
    if run.stages and (left or not run.visits):
        yield "", ""
        yield from _aligned([_Row("visits", "time", "stage", "bold"), *_totals(run)], room)


def _aligned(rows: list[_Row], room: int | None) -> Iterator[Line]:
    """Rows as lines. What does not fit goes on below, and the columns on the left go before the names are cut."""
    words = min(_NAMES, max((cell_len(row.text.partition("  ")[0]) for row in rows), default=0)) + _HANGS
    left, time = (
        max(map(len, column), default=0) for column in ([row.left for row in rows], [row.time for row in rows])
    )
    if room and room - left - time - 4 < words:
        left = 0
    if room and room - time - 2 < words:
        time = 0
    for row in rows:
        before = "".join(f"{text:>{width}}  " for text, width in ((row.left, left), (row.time, time)) if width)
        inside = "  " * row.depth
        if room is None:
            yield f"{before}{inside}{row.text}".rstrip(), row.style
            continue
        inside = inside[: max(0, room - len(before) - words) // 2 * 2]
        for number, part in enumerate(folded(row.text, max(1, room - len(before) - len(inside) - _HANGS))):
            yield f"{before if number == 0 else ' ' * (len(before) + _HANGS)}{inside}{part}".rstrip(), row.style


def _head(run: Run, now: int) -> Iterator[Line]:
    took = time_of(run.seconds, run.started, run.state, now)
    error = f", {visible(run.error)}" if run.error and run.error != run.result else ""
    waits = run.state == "waiting" and run.note
    state = _waits(run.note) if waits else f"{state_text(run.state, run.result)}{error}"
    yield f"{visible(run.workflow) or '(no name)'}  {state}  {took}", f"bold {style_of(run.state, run.result)}".strip()
    if run.note and not waits:
        yield visible(run.note), style_of(run.state, run.result)
    said = {"run": run.id, "started": moment(run.started), "trace": run.trace_id, "service": run.service}
    yield ", ".join(f"{name} {visible(value)}" for name, value in said.items() if value and value != "-"), "dim"
    yield f"from {visible(run.source)}", "dim"


def _waits(note: str) -> str:
    """What waits says for what, where it does: `waiting until noon`."""
    return f"waiting {visible(note)}".rstrip()


def _shown(run: Run, most: int) -> list[Visit]:
    ended = [visit for visit in run.visits if visit.ended is not None]
    chosen = {visit.id for visit in ended[: max(0, most)]} | {visit.id for visit in run.open_visits}
    return [visit for visit in run.visits if visit.id in chosen]


def _walk(inside: dict[str | None, list[Visit]]) -> Iterator[tuple[Visit, int]]:
    """Every visit behind the one that it lies in. A visit that lies in itself, by a damaged record, comes last."""
    waiting = [(visit, 0) for visit in reversed(inside.pop(None, []))]
    while waiting or inside:
        if not waiting:
            waiting = [(visit, 0) for visit in reversed(inside.pop(next(iter(inside))))]
        visit, depth = waiting.pop()
        yield visit, depth
        waiting += [(each, min(depth + 1, _DEEPEST)) for each in reversed(inside.pop(visit.id, []))]


def _visit(run: Run, visit: Visit, links: list[str], depth: int, now: int) -> Iterator[_Row]:
    name = visible(visit.stage) + ("" if visit.number == 1 else f" #{visit.number}")
    took = time_of(visit.seconds, visit.started, visit.state, now)
    style = style_of(visit.state, visit.result)
    yield _Row(_after(run, visit), took, f"{name}  {'; '.join((*_details(visit), *links))}".rstrip(), style, depth)
    inner: list[Attempt | Item | Wait] = sorted(
        (*visit.failed, *visit.items, *visit.waits), key=lambda each: each.started
    )
    for each in inner:
        if each.ended is None:  # A wait that goes on: the state of the visit says it.
            continue
        took = duration(max(0, each.ended - each.started) / NANO)
        if isinstance(each, Wait):
            yield _Row(_after(run, each), took, f"waited{for_what(visible(each.reason))}", "cyan", depth + 1)
        elif isinstance(each, Attempt):
            why = visible(": ".join(filter(None, (f"attempt {each.number} failed", each.error, each.message))))
            yield _Row(_after(run, each), took, why, "red", depth + 1)
        else:
            text = behind("item", visible(each.platform or "")) or "item"
            error = f": {visible(each.error)}" if each.error else ""
            yield _Row(_after(run, each), took, f"{text}{error}", "red" if error else "", depth + 1)


def _after(run: Run, what: Visit | Attempt | Item | Wait) -> str:
    return f"+{duration(max(0, what.started - (run.started or what.started)) / NANO)}"


def _details(visit: Visit) -> Iterator[str]:
    if visit.state != "done":
        yield (
            _waits(visit.note)
            if visit.state == "waiting"
            else visit.state + (f" ({visible(visit.note)})" if visit.note else "")
        )
    elif visit.result != "success":
        # Of what was left open the span says so twice, as nothing was raised.
        error = f" {visit.error}" if visit.error and visit.error != visit.result else ""
        yield visible(f"{visit.result or 'ended'}{error}")
    if visit.item_platform:
        yield visible(visit.item_platform)
    if visit.items_done or visit.items_failed or visit.items_total:
        of = "" if visit.items_total is None else f" of {visit.items_total}"
        failed = f", {visit.items_failed} failed" if visit.items_failed else ""
        yield f"{visit.items_done}{of} item{'' if visit.items_done == 1 and not of else 's'}{failed}"
    if visit.retries:
        again = "1 retry" if visit.retries == 1 else f"{visit.retries} retries"
        said = sum((wait.ended or wait.started) - wait.started for wait in visit.waits) / NANO
        yield again + (f" after {duration(visit.wait - said)}" if visit.wait > said else "")
    if visit.revision:
        yield f"revision {visit.revision}"
    if visit.versions:
        ids = [f"{each.id} {each.action}" if each.action else each.id for each in visit.versions[:_MOST_NAMES]]
        yield visible(", ".join(ids)) + (", …" if len(visit.versions) > _MOST_NAMES else "")
    if visit.budget is not None and (visit.seconds or 0.0) > visit.budget:
        yield f"over its budget of {duration(visit.budget)}"


def _links(visit: Visit, by_id: Mapping[str, Visit], before: str | None) -> list[str]:
    """What it points to, but for what stands right above it, and the repeat that its number tells of."""
    said: list[str] = []
    for link in visit.links[:_MOST_NAMES]:
        other = by_id.get(link.visit or "")
        if other is None:
            said.append(visible(f"{link.kind} {link.span_id or link.visit}"))
        elif link.kind == names.LINK_FOLLOWS and other.id != before:
            said.append(visible(f"follows {other.stage}{'' if other.number == 1 else f' #{other.number}'}"))
        elif link.kind == names.LINK_REPEATS and (other.stage, other.number) != (visit.stage, visit.number - 1):
            said.append(visible(f"repeats {other.stage} #{other.number}"))
    return said


def _totals(run: Run) -> Iterator[_Row]:
    """Every stage in one row, for a run of which not every visit is shown."""
    for stage in run.stages:
        results = ", ".join(f"{count} {result}" for result, count in stage.results.items())
        opened = f"{stage.open} open" if stage.open else ""
        said = "; ".join(filter(None, (opened, results, f"retries {stage.retries}" if stage.retries else "")))
        yield _Row(str(stage.visits), duration(stage.seconds), visible(f"{stage.name}  {said}"), "")
