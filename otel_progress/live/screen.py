"""What goes on as lines for a terminal: of each run its line, what runs in it, and what has ended.

Nothing here knows a clock or a terminal: whoever asks says what time it is, and how much room there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.cells import cell_len

from .. import names
from ..recording.times import NANO, duration
from ..recording.visible import visible
from ..report.fitting import beginning, cut
from ..report.lines import how_long, progress_of, seconds_text
from ..report.said import not_well, times
from ..runs.happenings import Went
from ..runs.otlp import count, seconds, text, texts
from ..runs.present import RunNow, StageNow, VisitNow
from ..runs.wording import behind
from .choosing import Row, chosen
from .painting import Line, Part

_ID = 8
_LEAST_ROWS = 3
_MOST_ROWS = 40
_LEAST_NAME, _MOST_NAME = 10, 0.45
_SET_IN = 5
_PLATFORMS = 6
_GAP = "  "
_UNICODE = {"running": "▸", "done": "✓", "failed": "✗", "cancelled": "⊘", "waiting": "◦", "stalled": "!", "cut": "…"}
_ASCII = {"running": ">", "done": "+", "failed": "x", "cancelled": "-", "waiting": "~", "stalled": "!", "cut": "..."}
_COLOURS = {
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "cancelled": "yellow",
    "waiting": "yellow",
    "stalled": "yellow",
}
_SIGN_OF: dict[Went, str] = {"well": "done", "failed": "failed", "cancelled": "cancelled"}


class Remaining(Protocol):
    """How long a run will still take, from now on, by earlier runs."""

    @property
    def p50_seconds(self) -> float: ...  # noqa: D102
    @property
    def p90_seconds(self) -> float: ...  # noqa: D102
    @property
    def longer_than(self) -> float | None:
        """The share of earlier runs that took less than this one already did, where that is much."""
        ...


Expects = Callable[[RunNow, int], "Remaining | None"]
"""What is expected of a run, as of so many nanoseconds since the Unix epoch."""


@dataclass
class Ended:
    """The runs that have ended."""

    number: int = 0
    failed: int = 0
    cancelled: int = 0
    last: RunNow | None = None

    def count(self, run: RunNow, went: Went) -> None:
        """Count one more."""
        self.number += 1
        self.failed += went == "failed"
        self.cancelled += went == "cancelled"
        self.last = run


@dataclass
class _Cells:
    sign: str
    depth: int
    name: str
    time: str
    details: list[Part] = field(default_factory=list[Part])
    style: str = ""


class Screen:
    """Draws runs as lines.

    Args:
        expects: when a run is expected to end; without it nothing is said of that.
        encoding: that of the terminal. What it does not have is not shown.
    """

    def __init__(self, *, expects: Expects | None = None, encoding: str = "utf-8") -> None:
        self._expects = expects
        self._encoding = encoding
        self._signs = _UNICODE
        try:
            "".join(_UNICODE.values()).encode(encoding)
        except (UnicodeEncodeError, LookupError):
            self._signs = _ASCII
        self._size = 0, 0
        self._name_width = self._time_width = 0
        """They only grow, so that columns do not jump."""

    def lines(self, runs: Sequence[RunNow], ended: Ended, now: int, columns: int, rows: int) -> list[Line]:
        """The lines for what goes on `now`, in nanoseconds since the Unix epoch.

        None is as wide as `columns`, and there are no more than half as many as `rows`. Nothing is open and nothing has
        ended: there are none.
        """
        if self._size != (columns, rows):
            self._size, self._name_width, self._time_width = (columns, rows), 0, 0
        room, most = columns - 1, min(_MOST_ROWS, max(_LEAST_ROWS, rows // 2), rows - 1)
        if room < 1 or most < 1:
            return []
        if not runs:
            return [self._ended(ended, room)] if ended.last is not None else []
        found: list[Line] = []
        if ended.number:
            most -= 1
        shown = runs if len(runs) <= most else runs[: max(0, most - 1)]
        several = len(runs) > 1
        left = most - len(shown) - (len(shown) < len(runs))
        for number, run in enumerate(shown):
            share = left // (len(shown) - number)
            body = self._body(run, now, room, share)
            left -= len(body)
            found += [self._head(run, now, room, several=several, alone=not body), *body]
        if ended.number and most > 0:
            what = f"{ended.number:,} run{'' if ended.number == 1 else 's'} ended"
            what = ", ".join((what, *not_well(ended.failed, ended.cancelled)))
            sign = _sign(ended.failed, ended.cancelled)
            found.insert(0, self._line(sign, 0, [(what, "dim")], room))
        if len(shown) < len(runs):
            found.append(self._line("running", 0, [(f"{times(len(runs) - len(shown), 'more run')}", "")], room))
        return found

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _ended(self, ended: Ended, room: int) -> Line:
        run = ended.last
        assert run is not None  # noqa: S101 - whoever asks has looked
        parts: list[Part] = [(self._text(_name(run)), "bold")]
        went: Went = "failed" if run.ended is None else run.ended.went
        colour = "" if went == "well" else _COLOURS[went]
        if run.ended is None:
            parts.append((run.state, colour))
        else:
            result = text(run.ended.attributes.get(names.RESULT)) or "ended"
            parts += [(how_long(run.ended, run.began), ""), (self._text(result), colour)]
        parts.append((times(run.total("visits"), "visit"), ""))
        if ended.number > 1:
            parts.append((f"{ended.number:,} runs ended", ""))
            parts += _not_well(ended.failed, ended.cancelled)
        return self._line(_SIGN_OF[went], 0, parts, room)

    def _head(self, run: RunNow, now: int, room: int, *, several: bool, alone: bool) -> Line:
        done = sum(1 for stage in run.stages.values() if stage.visits and not stage.open)
        passed = _passed(now - run.began.at)
        left = max(_LEAST_NAME, room - len(f"{self._signs['running']} , {passed}"))
        parts: list[Part] = [(cut(self._text(_name(run)), left, self._signs["cut"]), "bold"), (passed, "")]
        if run.state == "stalled":
            parts.append(("stalled", "yellow"))
        if expected := self._expected(run, now):
            parts.append((expected, ""))
        if alone and run.open:
            at = list(run.open.values())[-1]
            parts.append((self._text(at.began.stage or ""), ""))
        if done:
            parts.append((f"{times(done, 'stage')} done", ""))
        bad = ((run.total(what), what) for what in ("failed", "cancelled"))
        parts += [(f"{times(number, 'visit')} {what}", _COLOURS[what]) for number, what in bad if number]
        if several:
            parts.append((f"run {visible(run.id[:_ID])}", "dim"))
        if not run.open:
            parts.append(("in no stage", "dim"))
        sign = "stalled" if run.state == "stalled" else "running"
        return self._line(sign, 0, parts, room)

    def _expected(self, run: RunNow, now: int) -> str:
        found = None if self._expects is None else self._expects(run, now)
        if found is None:
            return ""
        if found.longer_than is not None:
            share = int(found.longer_than * 100)
            return f"longer than {'all' if share >= 100 else f'{share} % of'} earlier runs"
        return f"ends in {_range(found.p50_seconds, found.p90_seconds)}"

    def _body(self, run: RunNow, now: int, room: int, most: int) -> list[Line]:
        if most < 1 or not run.stages:
            return []
        rows, more, left_out = chosen(run, most)
        cells = [self._open(row, row.visit, now) if row.visit else self._done(row.stage, row.depth) for row in rows]
        self._widen(cells, room)
        lines = [self._row(each, room) for each in cells]
        if left_out:
            took = seconds_text(sum(stage.seconds for stage in left_out))
            failed, cancelled = sum(stage.failed for stage in left_out), sum(stage.cancelled for stage in left_out)
            parts: list[Part] = [(f"{times(len(left_out), 'more stage')} done", "dim"), (took, "dim")]
            parts += _not_well(failed, cancelled)
            lines.insert(0, self._line(_sign(failed, cancelled), 1, parts, room))
        if more:
            lines.append(self._line("running", 1, [(f"{more:,} more running", "")], room))
        return lines

    # --- stages -------------------------------------------------------------------------------------------------------

    def _open(self, row: Row, visit: VisitNow, now: int) -> _Cells:
        told, begun = (visit.progress or visit.began).attributes, visit.began.attributes
        number, item = count(begun, names.STAGE_VISIT), text(told.get(names.ITEM_PLATFORM))
        passed = max(0, now - visit.began.at)
        if row.together:
            cells = _Cells("running", row.depth, self._text(row.stage.name), _passed(passed))
            cells.details = [(f"{row.together:,} running, the longest", "")]
        else:
            name = row.stage.name + (f" #{number}" if number > 1 else "") + (f" ({item})" if item else "")
            waits = visit.waits_for is not None
            cells = _Cells("waiting" if waits else "running", row.depth, self._text(name), _passed(passed))
            cells.details = [(self._text(part), "yellow" if waits else "") for part in progress_of(visit) if part]
            cells.details += self._more(visit, passed, item)
        before = _not_well(row.stage.failed, row.stage.cancelled)
        cells.details += [(f"{said} before", colour) for said, colour in before]
        return cells

    def _more(self, visit: VisitNow, passed: int, item: str | None) -> Iterator[Part]:
        told, begun = (visit.progress or visit.began).attributes, visit.began.attributes
        budget = seconds(begun, names.STAGE_BUDGET)
        if budget > 0:
            share = passed / NANO / budget
            if share > 1:
                yield f"over budget of {seconds_text(budget)}", "red"
            else:
                yield f"{int(100 * share)} % of budget", ""
        revision = count(told, names.STAGE_REVISION) or count(begun, names.STAGE_REVISION)
        if revision:
            yield f"revision {revision}", ""
        platforms = () if item else texts(told.get(names.STAGE_PLATFORMS)) or texts(begun.get(names.STAGE_PLATFORMS))
        if platforms:
            more = f" and {len(platforms) - _PLATFORMS} more" if len(platforms) > _PLATFORMS else ""
            yield self._text(behind("for", f"{', '.join(platforms[:_PLATFORMS])}{more}")), ""

    def _done(self, stage: StageNow, depth: int) -> _Cells:
        last = stage.last
        went = "well" if last is None else last.went
        fine = went == "well"
        cells = _Cells(_SIGN_OF[went], depth, self._text(stage.name), seconds_text(stage.seconds))
        cells.style = "dim" if fine else ""
        if last is not None:
            result = text(last.attributes.get(names.STAGE_RESULT)) or ""
            error = text(last.attributes.get(names.ERROR_TYPE))
            if not fine or result == "fallback":
                said = f"{result} {error}" if error and error != result else result
                cells.details.append((self._text(said), "yellow" if fine else _COLOURS[went]))
        if stage.visits > 1:
            cells.details.append((f"{stage.visits:,} visits", cells.style))
            cells.details += _not_well(stage.failed, stage.cancelled)
        if stage.items_done or stage.items_total:
            total = "" if stage.items_total is None else f"/{stage.items_total:,}"
            cells.details.append((f"{stage.items_done:,}{total} items", cells.style))
        if stage.items_failed:
            cells.details.append((f"{times(stage.items_failed, 'item')} failed", "red"))
        if stage.retries:
            cells.details.append(("1 retry" if stage.retries == 1 else f"{stage.retries:,} retries", cells.style))
        if stage.revision:
            cells.details.append((f"revision {stage.revision}", cells.style))
        return cells

    # --- lines --------------------------------------------------------------------------------------------------------

    def _widen(self, cells: Iterable[_Cells], room: int) -> None:
        for each in cells:
            self._name_width = max(self._name_width, 2 * min(each.depth, _SET_IN) + cell_len(each.name))
            self._time_width = max(self._time_width, cell_len(each.time))
        self._name_width = min(self._name_width, max(_LEAST_NAME, int(room * _MOST_NAME)))

    def _row(self, cells: _Cells, room: int) -> Line:
        """A row of stages: its sign, its name, its time, and as much of the rest as there is room for."""
        sign = f"  {self._signs[cells.sign]} "
        set_in = "  " * min(cells.depth, _SET_IN)
        width = max(1, min(self._name_width, room - cell_len(sign) - self._time_width - 1))
        set_in = set_in if width - len(set_in) >= _LEAST_NAME // 2 else ""
        name = cut(cells.name, width - len(set_in), self._signs["cut"])
        blanks = " " * max(0, width - len(set_in) - cell_len(name))
        time = cells.time.rjust(self._time_width)
        parts: list[Part] = [(f"  {set_in}", ""), (f"{self._signs[cells.sign]} ", _COLOURS[cells.sign])]
        parts += [(name, cells.style), (f"{blanks} {time}", cells.style)]
        left = room - sum(cell_len(part) for part, _ in parts)
        return (
            (*_cut(parts, room), *self._joined(cells.details, left, _GAP, _LEAST_NAME))
            if left >= 0
            else _cut(parts, room)
        )

    def _line(self, sign: str, depth: int, parts: Sequence[Part], room: int) -> Line:
        """A line without columns; the last parts go where there is no room."""
        lead = [("  " * depth, ""), (f"{self._signs[sign]} ", _COLOURS[sign])]
        left = room - sum(cell_len(part) for part, _ in lead)
        if left < 1:
            return _cut(lead, room)
        return (*lead, *self._joined(parts, left, ""))

    def _joined(self, parts: Sequence[Part], room: int, lead: str, least: int = 999) -> Iterator[Part]:
        """Parts with commas between them, as many as there is room for.

        Of the first it is what there is room for, and so of another one where that is `least` columns.
        """
        for number, (part, style) in enumerate(parts):
            before = lead if number == 0 else ", "
            room -= len(before) + cell_len(part)
            if room < 0:
                if (left := room + cell_len(part)) >= (least if number else 1):
                    yield before, ""
                    yield beginning(part, left, self._signs["cut"]), style
                return
            yield before, ""
            yield part, style

    def _text(self, said: str) -> str:
        said = visible(said)
        if said.isascii():
            return said
        return said.encode(self._encoding, "backslashreplace").decode(self._encoding)


def _sign(failed: int, cancelled: int) -> str:
    return "failed" if failed else "cancelled" if cancelled else "done"


def _not_well(failed: int, cancelled: int) -> list[Part]:
    return [(said, _COLOURS[said.rpartition(" ")[2]]) for said in not_well(failed, cancelled)]


def _cut(parts: Sequence[Part], room: int) -> Line:
    found: list[Part] = []
    for part, style in parts:
        found.append((beginning(part, max(0, room), ""), style))
        room -= cell_len(found[-1][0])
    return tuple(found)


def _name(run: RunNow) -> str:
    return run.workflow or "(no name)"


def _passed(passed: int) -> str:
    """How long something runs, in whole seconds: it changes once a second."""
    seconds = max(0, passed) // NANO
    return f"{seconds} s" if seconds < 60 else duration(seconds)


def _range(least: float, most: float) -> str:
    """A range of time, as exact as it can be known."""
    first, last = _about(max(0.0, least)), _about(max(least, most, 0.0))
    if first == last:
        return " ".join(first)
    return f"{first[0]} to {last[0]} {last[1]}" if first[1] == last[1] else f"{' '.join(first)} to {' '.join(last)}"


def _about(seconds: float) -> tuple[str, str]:
    if seconds < 9.5:
        return f"{max(1, round(seconds))}", "s"
    if seconds < 57.5:
        return f"{round(seconds / 5) * 5}", "s"
    minutes = max(1, round(seconds / 60))
    if minutes < 100:
        return f"{minutes}", "min"
    return f"{round(seconds / 3600, 1):g}", "h"
