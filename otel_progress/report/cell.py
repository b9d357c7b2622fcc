"""What goes on as one output that is shown again and again, in a notebook: a small table for every run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len

from .. import names
from ..recording.times import NANO
from ..recording.visible import visible
from ..runs.otlp import text
from ..runs.present import RunNow, StageNow, VisitNow
from .lines import how_long, progress_of, rough, seconds_text
from .said import not_well

_MOST_ROWS = 40
_HEADS = ("stage", "visits", "time", "items", "retries", "revision", "state")
_RIGHT = {"visits", "time", "items", "retries", "revision"}
_ALWAYS = {"stage", "visits", "time", "state"}

Row = dict[str, str]


def as_text(runs: Iterable[RunNow], now: int, before: int = 0) -> str:
    """The runs as plain text; `before` is how many more there were, and `now` nanoseconds since the Unix epoch."""
    parts = [_before(before)] if before else []
    for run in runs:
        parts.append(_heading(run, now))
        rows = _rows(run, now)
        heads = _heads(rows)
        widths = {head: max(cell_len(row[head]) for row in rows) for head in heads}
        for row in rows:
            cells = (_aligned(row[head], widths[head], right=head in _RIGHT) for head in heads)
            parts.append("  ".join(cells).rstrip())
    return "\n".join(parts)


def _before(number: int) -> str:
    return f"{number:,} run{'' if number == 1 else 's'} ended before"


def _heading(run: RunNow, now: int) -> str:
    name = visible(run.workflow) or "(no name)"
    if run.ended is None:
        return (
            f"{name} {run.state}{f' for {rough(max(0, now - run.began.at) // NANO)}' if run.open else ', in no stage'}"
        )
    return f"{name} ended in {how_long(run.ended, run.began)}: {_result(run.ended.attributes, names.RESULT)}"


def _result(attributes: dict[str, object], result: str) -> str:
    told, error = text(attributes.get(result)) or "ended", text(attributes.get(names.ERROR_TYPE))
    return visible(f"{told}, {error}" if error and told not in ("success", error) else told)


def _heads(rows: Sequence[Row]) -> list[str]:
    """The columns that say something."""
    return [head for head in _HEADS if head in _ALWAYS or any(row[head] for row in rows[1:])]


def _rows(run: RunNow, now: int) -> list[Row]:
    going_on: dict[str, list[VisitNow]] = {}
    for visit in run.open.values():
        going_on.setdefault(run.stage(visit.began.stage or "").name, []).append(visit)
    rows = [{head: head for head in _HEADS}]
    stages = list(run.stages.values())
    rows += [_row(stage, going_on.get(stage.name, []), now) for stage in stages[:_MOST_ROWS]]
    if len(stages) > _MOST_ROWS:
        rows.append(dict.fromkeys(_HEADS, "") | {"stage": f"and {len(stages) - _MOST_ROWS} more stages"})
    return rows


def _row(stage: StageNow, going_on: list[VisitNow], now: int) -> Row:
    seconds = stage.seconds + sum(max(0, now - visit.began.at) for visit in going_on) / NANO
    items = f"{stage.items_done:,}" if stage.items_total is None else f"{stage.items_done:,}/{stage.items_total:,}"
    return {
        "stage": visible(stage.name),
        "visits": f"{stage.visits + len(going_on):,}",
        "time": seconds_text(seconds),
        "items": items if stage.items_done or stage.items_total else "",
        "retries": f"{stage.retries:,}" if stage.retries else "",
        "revision": f"{stage.revision}" if stage.revision else "",
        "state": _state(stage, going_on, now),
    }


def _state(stage: StageNow, going_on: list[VisitNow], now: int) -> str:
    failed = ", ".join(not_well(stage.failed, stage.cancelled))
    if going_on:
        oldest = min(going_on, key=lambda visit: visit.began.at)
        since = rough(max(0, now - oldest.began.at) // NANO)
        if len(going_on) > 1:
            return _joined(f"{len(going_on):,} running", f"the longest for {since}", failed)
        return _joined(f"running for {since}", *progress_of(oldest), failed)
    if stage.last is None:
        return failed
    return _joined(_result(stage.last.attributes, names.STAGE_RESULT), failed if stage.visits > 1 else "")


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _aligned(cell: str, width: int, *, right: bool) -> str:
    blanks = " " * (width - cell_len(cell))
    return f"{blanks}{cell}" if right else f"{cell}{blanks}"
