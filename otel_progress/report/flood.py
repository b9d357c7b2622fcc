"""A bound on lines: of very many in a short time a few are said, and the others are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ..recording.times import NANO
from ..recording.visible import visible
from ..runs.happenings import Went
from .said import not_well

Kind = Literal["whole", "failed", "long", "start", "other"]
"""Each has a room of its own, so that what matters more is not crowded out. `whole`: a run, or what holds visits;
`failed`: also what was cancelled."""
AMPLE = 200
"""Lines that are said however quickly they come, and `_RATE` more for each second: a short run is told whole."""
_MOST: dict[Kind, int] = {"whole": 25, "failed": 25, "long": 25, "start": 10, "other": 25}
"""Lines of each kind in a first window."""
_FEW: dict[Kind, int] = {"whole": 10, "failed": 10, "long": 10, "start": 3, "other": 3}
"""The same in one that comes right behind one with too much in it."""
_RATE = 10
"""Lines in a second, of all kinds, above which there is too much."""
_WINDOWS = (1, 2, 5, 10, 30, 60)
"""Seconds. Each that has too much in it is followed by a longer one."""
_MOST_STAGES = 1000
_ASKED = 100
_SHOWN_ERRORS = 2


@dataclass
class Hidden:
    """What is not said one by one."""

    visits: int = 0
    failed: int = 0
    cancelled: int = 0
    runs: int = 0
    runs_failed: int = 0
    runs_cancelled: int = 0
    still: int = 0
    """Visits and runs of which it would have been said that they still run."""
    stages: set[str] = field(default_factory=set[str])
    errors: Counter[str] = field(default_factory=Counter[str])
    """Of what failed."""

    def text(self) -> str:
        """All of it as one line; empty where nothing is hidden."""
        parts: list[str] = []
        if self.runs:
            parts.append(
                ", ".join((f"{_number(self.runs, 'more run')} ended", *not_well(self.runs_failed, self.runs_cancelled)))
            )
        if self.visits:
            stages = sorted(self.stages)
            of = visible(stages[0]) if len(stages) == 1 else _number(len(stages), "stage")
            how = list(not_well(self.failed, self.cancelled))
            if common := ", ".join(visible(error) for error, _ in self.errors.most_common(_SHOWN_ERRORS)):
                how[0] += f" ({common}{', ...' if len(self.errors) > _SHOWN_ERRORS else ''})"
            parts.append(", ".join((f"{_number(self.visits, 'more visit')} of {of} ended", *how)))
        if self.still:
            parts.append(f"{self.still:,} more still run")
        return f"... {'; '.join(parts)}" if parts else ""


class Flood:
    """Decides which lines are said. Time is what the lines themselves say of it."""

    def __init__(self, ample: int = AMPLE) -> None:
        self.hidden = Hidden()
        self._ample = self._left = float(ample)
        """Lines that may be said at once; some of these come back with each second."""
        self._last_asked: int | None = None
        self._opened: int | None = None
        self._level = 0
        self._asked = 0
        self._said = Counter[Kind]()

    @property
    def window(self) -> int:
        """Nanoseconds of the time that is looked at as one: what lasts longer cannot be many."""
        return _WINDOWS[self._level] * NANO

    def takes(self, at: int, kind: Kind) -> bool:
        """Whether one more line may be said."""
        if self._opened is None:
            self._opened = at
        if self._last_asked is not None:
            self._left = min(self._ample, self._left + max(0, at - self._last_asked) / NANO * _RATE)
        self._last_asked = at
        self._asked += 1
        if self._left >= 1 and not self._level:
            self._left -= 1
            return True
        self._said[kind] += 1
        return self._said[kind] <= (_FEW if self._level else _MOST)[kind]

    def closed(self, at: int) -> tuple[int, str] | None:
        """When a window has come to its end by now: its end, and the line that says what it hides, if anything."""
        if self._opened is None:
            return None
        length = _WINDOWS[self._level]
        end = self._opened + length * NANO
        if at < end:
            return None
        much = self._asked > _RATE * length and (self._left < 1 or self._level > 0)
        self._level = min(self._level + 1, len(_WINDOWS) - 1) if much else 0
        self._opened = end if much else None
        self._asked, self._said = 0, Counter[Kind]()
        return end, self.rest()

    def rest(self) -> str:
        """The line that says what is hidden so far; empty where nothing is."""
        text, self.hidden = self.hidden.text(), Hidden()
        return text

    def hide_run(self, went: Went) -> None:
        """Count the end of a run instead of saying it."""
        self.hidden.runs += 1
        self.hidden.runs_failed += went == "failed"
        self.hidden.runs_cancelled += went == "cancelled"

    def hide_visit(self, stage: str, went: Went, error: Callable[[], str | None]) -> None:
        """Count the end of a visit instead of saying it; one that failed has an error, which is asked of a few."""
        hidden = self.hidden
        hidden.visits += 1
        if len(hidden.stages) < _MOST_STAGES:
            hidden.stages.add(stage)
        hidden.cancelled += went == "cancelled"
        if went == "failed":
            hidden.failed += 1
            if hidden.failed <= _ASKED:
                hidden.errors[error() or "?"] += 1


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
