"""An earlier run as what it was in the middle of, moment after moment; and the same of a run that goes on.

The two are compared by a few numbers that tell where a run stands, from the most that is known to the least. They are
sums of what ended and what is open, so each is kept up to date by what happens, however many visits there are.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from ..recording.times import NANO
from ..runs.model import Run
from ..runs.present import RunNow

MOST_VISITS = 5_000
"""Visits of an earlier run, of more of which only its whole time is used."""
_FINE = ("success", "fallback")
_BITS = (1 << 61) - 1
_START, _END, _END_AT_ONCE = 1, 0, 2
Keys = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands at a moment."""

    keys: Keys
    """What tells earlier runs that stood there too: from the most to the least that they have in common."""
    elapsed: float
    """Seconds since the run began."""
    age: float
    """Seconds since the oldest visit began that is open and holds no other; since anything ended where there is none,
    or where it has held others."""


class Past:
    """An earlier run that came to its end: its moments, each from one start or end of a visit to the next."""

    __slots__ = ("anchors", "at", "ends", "keys", "of", "seconds", "worked")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at = array("d", [0.0])
        """When each moment begins, in seconds from the start of the run."""
        self.keys: list[Keys] = []
        self.anchors = array("l")
        """Of each moment the one in which the visit began from whose start its age is counted."""
        self.of: list[str] = []
        """Of each moment the stage of that visit; empty where none is open."""
        self.worked: dict[str, tuple[int, float]] = {}
        """Visits and seconds of each stage."""

    def standing(self, elapsed: float, at: Sequence[float] | None = None) -> Standing:
        """Where it stood so long after its start; `at` is when its moments began, where they are stretched."""
        at = self.at if at is None else at
        number = max(0, min(bisect_right(at, elapsed), len(self.keys)) - 1)
        return Standing(self.keys[number], elapsed, elapsed - at[self.anchors[number]])


@dataclass(slots=True)
class _Open:
    stage: str
    parent: str | None
    moment: int
    inside: int = 0
    held: bool = False


def past_of(run: Run) -> Past | None:
    """An earlier run, where it can be compared with: it came to its end, with success, and its visits are known."""
    if run.seconds is None or run.started is None or run.result not in _FINE or run.seconds < 0:
        return None
    if run.visits_left_out or len(run.visits) > MOST_VISITS or any(visit.ended is None for visit in run.visits):
        return whole_time(run.seconds)
    past = Past(run.seconds)
    _walk(past, run, run.started)
    return past


def whole_time(seconds: float) -> Past:
    """An earlier run of which nothing else is known."""
    past = Past(seconds)
    past.keys.append(keys_of(0, 0, 0, 0, ""))
    past.anchors.append(0)
    past.of.append("")
    past.at.append(seconds)
    return past


def _walk(past: Past, run: Run, began: int) -> None:
    happened: list[tuple[int, int, int]] = []
    for number, visit in enumerate(run.visits):
        ended = visit.ended or 0
        happened.append((visit.started, _START, number))
        happened.append((ended, _END if ended > visit.started else _END_AT_ONCE, number))
    happened.sort()
    now_open: dict[str, _Open] = {}
    over = opened = revision = platforms = anchor = 0
    last = stage = ""
    for at, kind, number in happened:
        past.keys.append(keys_of(over, opened, revision, platforms, last))
        past.anchors.append(anchor)
        past.of.append(stage)
        past.at.append(min(past.seconds, max(past.at[-1], (at - began) / NANO)))
        visit = run.visits[number]
        if kind == _START:
            now_open[visit.id] = _Open(visit.stage, visit.parent, len(past.keys))
            opened += open_part(visit.stage)
            if (around := now_open.get(visit.parent or "")) is not None:
                around.inside, around.held = around.inside + 1, True
        else:
            now_open.pop(visit.id, None)
            if (around := now_open.get(visit.parent or "")) is not None:
                around.inside -= 1
            opened -= open_part(visit.stage)
            over += over_part(visit.stage)
            revision, platforms = max(revision, visit.revision or 0), max(platforms, visit.platform_count)
            last = visit.stage
            visits, seconds = past.worked.get(visit.stage, (0, 0.0))
            past.worked[visit.stage] = visits + 1, seconds + (visit.seconds or 0.0)
        leaf = next((each for each in now_open.values() if not each.inside), None)
        stage = "" if leaf is None else leaf.stage
        anchor = len(past.keys) if leaf is None or leaf.held else leaf.moment
    past.keys.append(keys_of(over, opened, revision, platforms, last))
    past.anchors.append(anchor)
    past.of.append(stage)
    past.at.append(max(past.seconds, past.at[-1]))


def standing_of(run: RunNow, now: int) -> Standing:
    """Where a run that goes on stands at `now`, in nanoseconds since the Unix epoch."""
    over = opened = revision = platforms = 0
    last, ended = "", run.began.at
    for stage in run.stages.values():
        if stage.visits:
            over += stage.visits * over_part(stage.name)
        if stage.open:
            opened += stage.open * open_part(stage.name)
        revision, platforms = max(revision, stage.revision or 0), max(platforms, stage.platforms)
        if stage.last is not None and stage.last.at >= ended:
            last, ended = stage.name, stage.last.at
    leaf = next((visit for key, visit in run.open.items() if key not in run.inside), None)
    since = ended if leaf is None or leaf.holds_others else leaf.began.at
    elapsed = max(0.0, (now - run.began.at) / NANO)
    age = min(elapsed, max(0.0, (now - since) / NANO))
    return Standing(keys_of(over, opened, revision, platforms, last), elapsed, age)


def keys_of(over: int, opened: int, revision: int, platforms: int, last: str) -> Keys:
    """The numbers that tell where a run stands.

    The first: the same visits ended and open, with the same revision and as many platforms. The second: without these
    two. The third: the same are open after the same stage, however often. The fourth: the same are open.
    """
    return (
        hash((over, opened, revision, platforms)),
        hash((over, opened)),
        hash((opened, last)),
        opened,
    )


def over_part(stage: str) -> int:
    """What a visit that ended adds to the sum of these."""
    return hash(("over", stage)) & _BITS


def open_part(stage: str) -> int:
    """What an open visit adds to the sum of these."""
    return hash(("open", stage)) & _BITS
