"""One run as a tree: its visits in the order of their starts, what lies in what, and what is open."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ..recording.times import NANO
from ..recording.visible import visible
from ..runs.model import Attempt, Item, Run, State, Visit
from .table import duration

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


def tree(run: Run, now: int, most: int) -> Iterator[Line]:
    """The lines that show a run, with at most so many visits; what is open is always there."""
    yield from _head(run, now)
    shown = _shown(run, most)
    inside: dict[str | None, list[Visit]] = {}
    known = {visit.id for visit in shown}
    for visit in shown:
        inside.setdefault(visit.parent if visit.parent in known else None, []).append(visit)
    if shown:
        yield f"{'after':>10} {'time':>16}  stage", "bold"
    for visit, depth in _walk(inside):
        yield from _visit(run, visit, depth, now)
    if left := run.visits_left_out + len(run.visits) - len(shown):
        yield f"{'':>27}  and {left} more visit{'' if left == 1 else 's'}", "dim"
    if left or not run.visits:
        yield from _totals(run)


def _head(run: Run, now: int) -> Iterator[Line]:
    took = time_of(run.seconds, run.started, run.state, now)
    error = f", {visible(run.error)}" if run.error else ""
    state = f"{state_text(run.state, run.result)}{error}"
    yield f"{visible(run.workflow) or '(no name)'}  {state}  {took}", f"bold {style_of(run.state, run.result)}".strip()
    if run.note:
        yield visible(run.note), style_of(run.state, run.result)
    said = {"run": run.id, "started": moment(run.started), "trace": run.trace_id, "service": run.service}
    yield ", ".join(f"{name} {visible(value)}" for name, value in said.items() if value and value != "-"), "dim"
    yield f"from {visible(run.source)}", "dim"
    yield "", ""


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


def _visit(run: Run, visit: Visit, depth: int, now: int) -> Iterator[Line]:
    name = visible(visit.stage) + ("" if visit.number == 1 else f" #{visit.number}")
    took = time_of(visit.seconds, visit.started, visit.state, now)
    style = style_of(visit.state, visit.result)
    yield _line(run, visit.started, took, depth, f"{name}  {'; '.join(_details(run, visit))}".rstrip()), style
    inner: list[Attempt | Item] = sorted((*visit.failed, *visit.items), key=lambda each: each.started)
    for each in inner:
        took = duration(max(0, each.ended - each.started) / NANO)
        if isinstance(each, Attempt):
            why = visible(each.message or each.error or "")
            yield _line(run, each.started, took, depth + 1, f"attempt {each.number} failed: {why}"), "red"
        else:
            text = f"item{f' {visible(each.platform)}' if each.platform else ''}"
            yield (
                _line(run, each.started, took, depth + 1, text + (f": {visible(each.error)}" if each.error else "")),
                "red" if each.error else "",
            )


def _line(run: Run, started: int, took: str, depth: int, text: str) -> str:
    after = f"+{duration(max(0, started - (run.started or started)) / NANO)}"
    return f"{after:>10} {took:>16}  {'  ' * depth}{text}"


def _details(run: Run, visit: Visit) -> Iterator[str]:
    if visit.state != "done":
        yield visit.state + (f" ({visible(visit.note)})" if visit.note else "")
    elif visit.result != "success":
        yield visible(f"{visit.result or 'ended'}{f' {visit.error}' if visit.error else ''}")
    if visit.item_platform:
        yield visible(visit.item_platform)
    if visit.items_done or visit.items_failed or visit.items_total:
        of = "" if visit.items_total is None else f" of {visit.items_total}"
        failed = f", {visit.items_failed} failed" if visit.items_failed else ""
        yield f"{visit.items_done}{of} items{failed}"
    if visit.retries:
        again = "1 retry" if visit.retries == 1 else f"{visit.retries} retries"
        yield again + (f" after {duration(visit.wait)}" if visit.wait else "")
    if visit.revision:
        yield f"revision {visit.revision}"
    if visit.versions:
        names = [f"{each.id} {each.action}" if each.action else each.id for each in visit.versions[:_MOST_NAMES]]
        yield visible(", ".join(names)) + (", …" if len(visit.versions) > _MOST_NAMES else "")
    by_id = {each.id: each for each in run.visits} if visit.links else {}
    for link in visit.links[:_MOST_NAMES]:
        other = by_id.get(link.visit or "")
        if link.kind == "repeats" and other is not None and other.stage == visit.stage:
            yield f"repeats #{other.number}"
        else:
            yield visible(f"{link.kind} {other.stage if other else link.span_id}")
    if visit.budget is not None and (visit.seconds or 0.0) > visit.budget:
        yield f"over its budget of {duration(visit.budget)}"


def _totals(run: Run) -> Iterator[Line]:
    """Every stage in one line, for a run of which not every visit is shown."""
    yield "", ""
    yield f"{'visits':>10} {'time':>16}  stage", "bold"
    for stage in run.stages:
        results = ", ".join(f"{count} {result}" for result, count in stage.results.items())
        opened = f"{stage.open} open" if stage.open else ""
        said = "; ".join(filter(None, (opened, results, f"retries {stage.retries}" if stage.retries else "")))
        yield f"{stage.visits:>10} {duration(stage.seconds):>16}  {visible(f'{stage.name}  {said}')}", ""
