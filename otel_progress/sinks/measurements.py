"""The queue between the workflow and the metrics of the SDK.

Nothing of the SDK's metrics is called where the workflow runs: its locks are plain ones, and a signal handler, a
finalizer or a forked child that records a stage while one of them is held would wait for ever. So a measurement is only
appended here, and recorded by one thread, or by whoever collects.
"""

from __future__ import annotations

import _thread
import os
import queue
import time
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.context import Context

from ..recording.faults import logger, passes, report

MOST = 131_072
"""Measurements that may wait."""
_GATHER = 0.05  # Seconds: to wake the thread for each measurement would cost the workflow more than recording does.
_NO_SPAN = Context()
_IDLE = 10.0  # Seconds after which the thread ends, until there is something to record again.


class Record(Protocol):
    """`Histogram.record`, `Counter.add`."""

    def __call__(self, amount: int | float, attributes: Any = None, context: Context | None = None) -> None:
        """Record it."""


class Measurements:
    """Measurements that wait to be recorded. Everything but `drain` may be called from anywhere at any moment."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._renew)  # What waits at a fork is the parent's to record.
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    def _renew(self) -> None:
        self._waiting: deque[tuple[Record, int | float, Mapping[str, str], trace.SpanContext | None]] = deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()  # Reentrant, as its documentation says.
        self._recorder: dict[None, int] = {}
        """The thread that records at this moment: one at a time, so that all is recorded when it is free."""
        self._asleep = False
        self._running = False
        self._dropped = 0

    def put(
        self, record: Record, amount: int | float, attributes: Mapping[str, str], span: trace.SpanContext | None = None
    ) -> None:
        """Have `record(amount, attributes, context)` called soon, with the context of `span` for exemplars.

        Not with the context itself: what waits would keep whole visits, and with them the caches, busy.
        """
        if len(self._waiting) >= MOST:
            self._dropped += 1
            report("more is measured than the metrics can take: measurements are dropped, and counted")
            return
        self._waiting.append((record, amount, attributes, span))
        if self._asleep:
            self._asleep = False
            self._wake.put(None)
        elif not self._running:
            self._running = True
            try:
                # Not by `threading`, which holds a plain lock of its own while it starts one.
                _thread.start_new_thread(self._work, ())
            except RuntimeError:  # The interpreter is on its way out: the last collection records what waits.
                self._running = False

    def drain(self, timeout: float = 1.0) -> bool:
        """Record all that waits. False where another thread that is recording takes longer than `timeout` seconds."""
        me = _thread.get_ident()
        end = time.monotonic() + timeout
        while True:
            try:
                holder = self._recorder.setdefault(None, me)
                if holder is me:
                    self._record_all()
                    return True
            finally:
                if self._recorder.get(None) is me:
                    self._recorder.clear()
            if holder == me or time.monotonic() > end:  # The handler of a signal came while this thread recorded.
                return False
            time.sleep(0.001)

    def _record_all(self) -> None:
        waiting = self._waiting
        while waiting:
            record, amount, attributes, span = waiting.popleft()
            try:
                context = (
                    _NO_SPAN if span is None else trace.set_span_in_context(trace.NonRecordingSpan(span), _NO_SPAN)
                )
                record(amount, attributes, context)
            except BaseException as error:
                if passes(error):
                    raise
                report("a measurement could not be recorded", error)
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            logger.warning("%d measurements were dropped: more was measured than the metrics could take", dropped)

    def _work(self) -> None:
        wake = self._wake
        while wake is self._wake:
            time.sleep(_GATHER)
            self.drain()
            self._asleep = True
            if self._waiting:
                self._asleep = False
                continue
            try:
                wake.get(timeout=_IDLE)
            except queue.Empty:
                self._asleep = self._running = False
                if not self._waiting:
                    return
                self._running = True
