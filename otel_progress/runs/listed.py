"""A run as a list of runs shows it, and which runs are asked for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ..recording.times import NANO
from .assemble import run_of
from .ledger import Ledger
from .model import Run, State
from .states import Processes

_GOING_ON = ("running", "waiting", "stalled")
_LATEST = 2**63 - 1
"""In 2262: a later time is as good as this one, and no database takes it."""
_HALF = re.compile("[\ud800-\udfff]")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Listed:
    """What a list shows of a run."""

    id: str
    workflow: str
    started: int
    """0 where nobody told."""
    ended: int | None
    state: State
    note: str
    result: str | None
    stages: int
    visits: int
    revision: int | None
    retries: int
    source: str
    owned: bool = True
    """Whether the run itself was told of, not only what joins it."""

    @classmethod
    def of(cls, run: Run, *, owned: bool) -> Listed:
        """What a list shows of `run`."""
        return cls(
            run.id,
            run.workflow,
            run.started or 0,
            run.ended,
            run.state,
            run.note,
            run.result,
            len(run.stages),
            run.visit_count,
            run.revision,
            run.retries,
            run.source,
            owned,
        )

    def plain(self) -> dict[str, Any]:
        """What is a JSON value as it is: all but when, and where."""
        return {
            "id": self.id,
            "workflow": self.workflow,
            "seconds": self.seconds,
            "state": self.state,
            "note": self.note,
            "result": self.result,
            "stages": self.stages,
            "visits": self.visits,
            "revision": self.revision,
            "retries": self.retries,
        }

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it goes on."""
        return None if self.ended is None else max(0, self.ended - self.started) / NANO


@dataclass(frozen=True)
class Filter:
    """Which runs are asked for; nothing: all."""

    workflow: str | None = None
    """A pattern, with `*` and `?` as in file names."""
    states: Sequence[str] = ()
    """States, or results of runs that are done."""
    since: int | None = None
    until: int | None = None
    """Nanoseconds since the Unix epoch, of the start."""


def moment(text: str, now: int | None = None) -> int:
    """Nanoseconds since the Unix epoch of what people write for a time: a date, a time, or how long ago.

    Args:
        text: such as `2026-11-26`, `2026-11-26T14:30` or `7d`.
        now: nanoseconds since the Unix epoch; None: by the clock.

    Raises:
        ValueError: it is neither.
    """
    try:
        if text[-1:] in _UNITS and text[:-1].isdecimal():
            ago = round(timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]]).total_seconds()) * NANO
            return max(1, (time.time_ns() if now is None else now) - ago)
        time_of = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone().timestamp()
        return min(round(time_of * NANO), _LATEST)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is neither a time nor how long ago, such as 7d") from None


def conditions(wanted: Filter) -> tuple[str, list[Any]]:
    """The condition of an SQL query, and its values."""
    found: list[str] = []
    values: list[Any] = []
    if wanted.workflow is not None:
        found.append("workflow GLOB ?")
        # Names have brackets more often than people mean a class, and `?` in the place of half a character.
        values.append(_HALF.sub("[?]", wanted.workflow.replace("[", "[[]")))
    if wanted.states:
        marks = ", ".join("?" * len(wanted.states))
        found.append(f"(state IN ({marks}) OR (state = 'done' AND result IN ({marks})))")
        values += [*wanted.states, *wanted.states]
    for sign, instant in ((">=", wanted.since), ("<", wanted.until)):
        if instant is not None:
            found.append(f"started {sign} ?")
            values.append(instant)
    return (f"WHERE {' AND '.join(found)}" if found else ""), values


def joined(
    rows: Iterable[Listed], several: set[str], parts_of: Callable[[str], list[tuple[Listed, Ledger]]]
) -> list[Listed]:
    """The rows, with one in the place of those of a run that went on in another program, with a record of its own."""
    found: dict[str, Listed] = {}
    for row in rows:
        if row.id not in several:
            found[row.id] = row
        elif row.id not in found:
            found[row.id] = _one(parts_of(row.id))
    return list(found.values())


def _one(parts: list[tuple[Listed, Ledger]]) -> Listed:
    whole = Ledger(parts[0][0].id)
    for _, ledger in parts:
        whole.add(ledger)
    # What goes on tells how the whole is; else the part that is the run itself, the latest where that is carried on.
    teller = max(
        (row for row, _ in parts), key=lambda row: (row.state in _GOING_ON, row.owned, row.ended or row.started)
    )
    summed = Listed.of(run_of(whole, ", ".join(row.source for row, _ in parts), Processes()), owned=whole.owned)
    ended = summed.ended or teller.ended
    return replace(
        summed,
        state=teller.state,
        note=teller.note,
        result=teller.result,
        ended=ended if teller.state == "done" else None,
    )
