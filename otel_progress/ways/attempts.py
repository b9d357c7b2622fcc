"""Attempts at exec and what becomes of the items of a batch, seen from the calls alone.

A framework calls exec once or, after a failure, again, and at last exec_fallback. Its own retry counter cannot be
trusted, so the calls are counted here: a call after a failed one, in the same task or thread and with the same
argument, is a retry.
"""

from __future__ import annotations

from collections.abc import Sized
from contextvars import Token
from typing import Any

from opentelemetry.context import get_current

from ..names import SPAN_ITEM, Result
from ..recording.context import attach, detach
from ..recording.faults import Harmless
from ..recording.live import Run
from ..recording.order import worker
from ..recording.raised import is_a
from ..recording.sources import result_of
from ..recording.store import name_of, read, type_name
from ..recording.times import NANO
from ..recording.visits import Attempt, Item, Part, Visit


class _Call(Harmless[None]):
    """One call of exec or exec_fallback on the item of this task or thread, as a context manager."""

    def __init__(self, visit: Visit, subject: Any) -> None:
        self._recorder = visit.recorder
        self._visit = visit
        self._subject = subject
        self._worker = worker()
        self._item: Item | None = None
        self._token: Token[Any] | None = None

    def is_inside(self) -> bool:
        """Whether exec itself calls exec: that is no further attempt."""
        item = self._visit.items.get(self._worker)
        return item is not None and item.running

    def returned(self, value: object) -> None:
        """Nothing: what exec returns is the workflow's."""

    def _attach(self, item: Item) -> None:
        if item.part is not None:
            self._token = attach(item.part.context)

    def _detach(self) -> None:
        if self._token is not None and self._item is not None and self._item.part is not None:
            detach(self._token, self._item.part.context)
            self._token = None

    def _end_item(self, item: Item, result: Result, error: BaseException | None = None) -> None:
        visit = self._visit
        items = visit.items
        if items.get(self._worker) is not item or items.pop(self._worker, None) is None:
            return  # The visit has ended around it.
        if item.part is not None:
            self._recorder.end(item.part, error, result)
        if visit.code.batch and self._recorder.is_open(visit):
            visit.count(1, result, item.platform)
            if item.platform is not None:
                visit.time_item(item, self._recorder.now(visit))
            self._recorder.tell("stage_changed", visit)


class Exec(_Call):
    """One call of exec: an attempt."""

    def enter(self) -> None:
        """Count the attempt, and the retry if it is one."""
        visit, recorder = self._visit, self._recorder
        item = visit.items.get(self._worker)
        if item is not None and item.subject is not self._subject:
            self._end_item(item, "failure")  # Somebody's own loop went on to the next.
            item = None
        if item is None:
            item = Item(self._subject)
            visit.work_on(self._worker, item)
            if visit.code.batch:
                item.platform = _platform_of(visit, self._subject)
                if recorder.settings.items:
                    item.part = recorder.start_part(visit, SPAN_ITEM, item.platform)
        self._started = recorder.now(visit)
        if item.platform is not None:
            item.started = item.started or self._started
        self._item = item
        retry = item.failed_at is not None
        wait = max(0, self._started - (item.failed_at or 0)) / NANO if retry else 0.0
        item.attempts += 1
        item.running = True
        visit.record.attempt(visit, retry, wait)
        if retry:
            recorder.tell("retried", visit, item.error, wait)
            recorder.tell("stage_changed", visit)
        if item.part is not None:
            self._attach(item)

    def leave(self, error: BaseException | None) -> None:
        """Tell of a failed attempt; after a good one the item has ended."""
        if self._token is not None:
            self._detach()
        item, visit = self._item, self._visit
        if item is None:
            return
        item.running = False
        if error is None:
            self._end_item(item, "success")
        elif is_a(error, Exception):
            item.failed_at = max(self._started, self._recorder.now(visit))
            item.error = type_name(error)
            context = get_current() if item.part is None else item.part.context  # Its visit's, also after the end.
            platform = item.platform or visit.item_platform
            attempt = Attempt(item.attempts, self._started, item.failed_at, error, context, platform)
            self._recorder.tell("attempt_failed", visit, attempt)
        else:
            self._end_item(item, result_of(error), error)


class Fallback(_Call):
    """One call of exec_fallback: the end of an item whose attempts all failed."""

    def enter(self) -> None:
        """Run it inside the item."""
        item = self._item = self._visit.items.get(self._worker) or Item(self._subject)
        self._visit.work_on(self._worker, item)
        item.running = True
        self._attach(item)

    def leave(self, error: BaseException | None) -> None:
        """The item has ended."""
        self._detach()
        self._visit.eventful, self._visit.fell_back = True, self._visit.fell_back or error is None
        if self._item is not None:
            self._end_item(self._item, "fallback" if error is None else result_of(error), error)


class Phase(Harmless[None]):
    """prep, exec or post of a visit; a span where `detail` asks for it."""

    def __init__(self, visit: Visit, name: str, *, counts: bool = False) -> None:
        self._recorder = visit.recorder
        self._visit = visit
        self._name = name
        self._counts = counts
        """Whether what it returns are the items of a batch flow."""
        self._part: Part | None = None
        self._token: Token[Any] | None = None

    def enter(self) -> None:
        """Begin it."""
        if self._recorder.settings.phases:
            self._part = self._recorder.start_part(self._visit, self._name)
            self._token = attach(self._part.context)

    def got(self, value: object) -> None:
        """Count the items of a batch flow."""
        if self._counts and isinstance(value, Sized):
            self._visit.expect(len(value))

    def leave(self, error: BaseException | None) -> None:
        """End it."""
        if self._token is not None and self._part is not None:
            detach(self._token, self._part.context)
            self._token = None
        if self._part is not None:
            self._recorder.end(self._part, error)


class FlowItem(Harmless[None]):
    """The run of a batch flow's nodes for one item."""

    def __init__(self, owner: Visit | Run, node: object, params: object, platform: str | None) -> None:
        self._recorder = owner.recorder
        self._owner = owner
        self._node = node
        self._params = params
        self._platform = None if platform is None else name_of(platform)
        self._token: Token[Any] | None = None

    def enter(self) -> None:
        """Begin it; a span only where `detail` asks for it."""
        recorder = self._recorder
        make = recorder.start_part if recorder.settings.items else recorder.make_part
        self._part = make(self._owner, SPAN_ITEM, self._platform)
        self._part.node, self._part.item = self._node, self._params
        self._token = attach(self._part.context)

    def leave(self, error: BaseException | None) -> None:
        """End it, and count it where the flow is a stage."""
        token, self._token = self._token, None
        if token is None:
            return
        detach(token, self._part.context)
        if self._recorder.settings.items:
            self._recorder.end(self._part, error)
        else:
            self._part.ended = self._recorder.now(self._part)
        self._part.node = self._part.item = None
        if isinstance(self._owner, Visit) and self._recorder.is_open(self._owner):
            self._owner.count(1, result_of(error), self._platform)
            if self._platform is not None:
                self._owner.time_item(self._part, self._part.ended or 0)
            self._recorder.tell("stage_changed", self._owner)


def _platform_of(visit: Visit, subject: Any) -> str | None:
    """The platform that an item names: itself, where it is one of the visit's platforms, or its `platform` field."""
    name = subject if isinstance(subject, str) else read(subject, "platform") if isinstance(subject, dict) else None
    if not isinstance(name, str):
        return visit.item_platform
    return name if name in visit.platforms.names or not isinstance(subject, str) else visit.item_platform
