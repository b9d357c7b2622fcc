"""Adds up what this process records, while it does so."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
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


class CountingSink(Sink):
    """Notes what is told, and adds it up now and then.

    What is told, also by the handler of a signal or a finalizer in the midst of our own code, is one more entry of a
    queue: nothing waits for a lock, and the totals are changed by one at a time.
    """

    def __init__(self) -> None:
        self._adding = Adding()
        self._told: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._may_add = threading.Lock()
        self._tried: dict[Visit, str] = {}
        """The error of the last failed attempt, of open visits that had one."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def totals(self) -> Adding:
        """All that was told up to now."""
        with self._may_add:
            self._add()
        return self._adding

    def run_started(self, run: Run) -> None:
        """Note it. One that is joined after its end here was counted."""
        more_of = not run.owned and run.recorder.registry.has_ended(run.id)
        self._note(self._adding.run_started, run.id, run.workflow, run.started, more_of)

    def run_ended(self, run: Run) -> None:
        """Note it."""
        self._note(self._adding.run_ended, run.id, run.ended or 0, run.result or "success", run.error_type)

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
        error, message, budget, named = visit.error_type, "", visit.code.budget, visit.record.own_platforms
        if visit.exception is not None and visit.recorder.settings.capture_messages:
            message = message_of(visit.exception)
        if self._tried and (tried := self._tried.pop(visit, None)) is not None and visit.result == "fallback":
            error = tried
        ended = Ended(
            visit.serial,
            visit.ended or 0,
            visit.result or "success",
            error,
            message,
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

    def _note(self, method: Callable[..., None], *arguments: Any) -> None:
        told = self._told
        told.append((method, arguments))
        if len(told) > _MOST_WAITING and self._may_add.acquire(blocking=False):
            try:
                self._add()
            finally:
                self._may_add.release()

    def _add(self) -> None:
        told = self._told
        while told:
            method, arguments = told.popleft()
            method(*arguments)

    def _forget(self) -> None:
        """In a forked child nobody asks, and who adds may be a thread that is no more."""
        self._told = deque(maxlen=0)
