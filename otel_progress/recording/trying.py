"""Attempts that the workflow's own code makes: its own loop around a call, or that of a library for retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import get_current

from .faults import AlsoAsync, Harmless
from .order import worker
from .raised import is_a
from .store import type_name
from .times import NANO

if TYPE_CHECKING:
    from .visits import Visit


class Tries:
    """The attempts of one task or thread at one thing, in a visit: until one succeeds."""

    attempts = 0
    next_at: int | None = None
    """When the next attempt begins at the earliest, once one has failed: nanoseconds since the Unix epoch."""
    error = ""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit

    def begin(self, at: int) -> None:
        """An attempt begins."""
        wait = None if self.next_at is None else max(0, at - self.next_at) / NANO
        self.count(wait)

    def count(self, wait: float | None) -> None:
        """Count one more attempt; `wait` seconds after one that failed, or None."""
        self.attempts += 1
        visit = self.visit
        if wait is not None:
            visit.record.attempt(visit, retry=True, wait=wait)
            visit.recorder.tell("retried", visit, self.error, wait)
            visit.recorder.tell("stage_changed", visit)
        elif not visit.attempts:  # A visit is one attempt at least, from its start, but for a node's.
            visit.record.attempt(visit, retry=False, wait=0.0)

    def failed(self, error: BaseException, started: int, ended: int) -> None:
        """An attempt failed."""
        from .visits import Attempt  # noqa: PLC0415 - which imports this

        self.next_at, self.error = ended, type_name(error)
        attempt = Attempt(self.attempts, started, ended, error, get_current(), self.visit.item_platform)
        self.visit.recorder.tell("attempt_failed", self.visit, attempt)


class Trying(AlsoAsync, Harmless[None]):
    """What `visit.attempt()` gives, for `with` and `async with`: one attempt, and a retry after one that failed."""

    _tries: Tries | None = None
    _started = 0

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._who: object = None

    def enter(self) -> None:
        """It begins, if the visit is open."""
        visit = self._visit
        if visit.recorder.is_open(visit):
            self._who = worker()
            self._tries = visit.tries_of(self._who)
            self._started = visit.recorder.now(visit)
            self._tries.begin(self._started)

    def leave(self, error: BaseException | None) -> None:
        """It has failed, or is the last."""
        tries, visit = self._tries, self._visit
        if tries is None or not visit.recorder.is_open(visit):
            return
        if error is not None and is_a(error, Exception):
            tries.failed(error, self._started, visit.recorder.now(visit))
        else:
            visit.tries.pop(self._who, None)
