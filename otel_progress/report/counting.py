"""Adds up what this process records, while it does so."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from time import sleep
from typing import Any

from ..recording.live import Recorded, Run
from ..recording.sink import Sink
from ..recording.store import type_name
from ..recording.times import NANO
from ..recording.visits import Attempt, Part, Visit
from ..sinks.exceptions import message_of
from .adding import Adding
from .totals import Ended, Started

_MOST_WAITING = 100
_LONGEST_WAIT = 1000  # Milliseconds.


class CountingSink(Sink):
    """Notes what is told, and adds it up now and then.

    What is told, also by the handler of a signal or a finalizer in the midst of our own code, is one more entry of a
    queue: nothing waits for a lock, and the totals are changed by one at a time.
    """

    def __init__(self) -> None:
        self._adding = Adding()
        self._told: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._adder: dict[None, object] = {}
        """Who adds up at this moment, if anybody does."""
        self._tried: dict[Visit, str] = {}
        """The error of the last failed attempt, of open visits that had one."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def totals(self) -> Adding:
        """All that was told up to now; asked for once, at the end."""
        for _ in range(_LONGEST_WAIT):
            if self._add():
                break
            sleep(0.001)  # Another thread does.
        return self._adding

    def run_started(self, run: Run) -> None:
        """Note it. One that is joined after its end here was counted."""
        more_of = not run.owned and run.recorder.registry.has_ended(run.id)
        self._note(self._adding.run_started, run.id, run.workflow, run.started, more_of)

    def run_ended(self, run: Run) -> None:
        """Note it."""
        result, message = run.result or "success", self._message(run)
        self._note(self._adding.run_ended, run.id, run.ended or 0, result, run.error_type, message)

    def visit_started(self, visit: Visit) -> None:
        """Note it, with its place."""
        around: Recorded | None = visit.parent
        while isinstance(around, Part):
            around = around.owner
        parent = around.serial if isinstance(around, Visit) else None
        follows = tuple([serial for serial, _ in visit.follows]) if visit.follows else ()
        started = Started(visit.serial, visit.run.id, visit.stage, visit.started, parent, follows)
        self._note(self._adding.visit_started, started)

    def visit_ended(self, visit: Visit) -> None:
        """Note what is known of it at its end."""
        error, budget, named = visit.error_type, visit.code.budget, visit.record.own_platforms
        if self._tried and (tried := self._tried.pop(visit, None)) is not None and visit.result == "fallback":
            error = tried
        ended = Ended(
            visit.serial,
            visit.ended or 0,
            visit.result or "success",
            error,
            "" if visit.exception is None else self._message(visit),
            visit.number > 1,
            visit.number > 1 and visit.is_rework,
            visit.action,
            visit.retries,
            int(visit.wait * NANO) if visit.wait else 0,
            None if budget is None else int(budget * NANO),
            visit.items_done,
            visit.items_failed,
            visit.items_total,
            len(named) or visit.platforms.count,
            visit.latest_revision or 0,
        )
        self._note(self._adding.visit_ended, ended)

    def attempt_failed(self, visit: Visit, attempt: Attempt) -> None:
        """Keep with what: a fallback says nothing of it."""
        self._tried[visit] = type_name(attempt.error)

    def dead_end(self, owner: Visit | Run, stage: str, action: str | None) -> None:
        """Note it."""
        self._note(self._adding.dead_end, owner.run.id, stage, action)

    @staticmethod
    def _message(recorded: Recorded) -> str:
        """What the exception says that ended it, if that may be shown."""
        error = recorded.exception
        return message_of(error) if error is not None and recorded.recorder.settings.capture_messages else ""

    def _note(self, method: Callable[..., None], *arguments: Any) -> None:
        told = self._told
        told.append((method, arguments))
        if len(told) > _MOST_WAITING:
            self._add()

    def _add(self) -> bool:
        """Add up what was told; False where somebody does already: another thread, or what a handler interrupts."""
        mine = object()
        try:
            if self._adder.setdefault(None, mine) is not mine:
                return False
            told = self._told
            while told:
                method, arguments = told.popleft()
                method(*arguments)
            return True
        finally:  # No lock: one that is taken is lost where a handler raises before anything can say so.
            if self._adder.get(None) is mine:
                del self._adder[None]

    def _forget(self) -> None:
        """In a forked child nobody asks."""
        self._told = deque(maxlen=0)
