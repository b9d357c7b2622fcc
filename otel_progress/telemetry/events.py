"""The events by OTLP logs."""

from __future__ import annotations

import json
import os
import weakref
from collections import deque
from time import sleep
from typing import Any, cast

from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from .. import names
from .._version import SCHEMA_URL, __version__
from ..recording import default
from ..recording.faults import logger, report
from ..sinks.events import EventSink
from ..sinks.keeper import Keeper

MOST = 65_536
"""Events that may wait, about 1 KB each."""


class EventLogs:
    """Sends every event of this process as a log record. What the SDK does of it, a thread does."""

    process = ""
    head = '{"resourceLogs":[{"scopeLogs":[{"logRecords":['  # The rest is the SDK's to say.

    def __init__(self, provider: LoggerProvider) -> None:
        self._provider = provider
        self._logger = provider.get_logger(names.SCOPE, __version__, SCHEMA_URL)
        self.sink = EventSink(self)
        self._keeper = Keeper(self._send)
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self.sink.attach(default.recorder)
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    def begin(self) -> bool:
        """The process tells its first event."""
        self.process = f"{os.getpid()}-{os.urandom(3).hex()}"
        return True

    def write(self, line: bytes) -> None:
        """Have an event sent."""
        if len(self._waiting) >= MOST:
            self._dropped += 1
            report("more happens than can be sent as log records: events are dropped, and counted")
            return
        self._waiting.append(line)
        self._keeper.wake()

    def soon(self) -> None:
        """Have what waits sent soon."""
        self._keeper.wake()

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Send what waits."""
        for _ in range(timeout_millis // 10):
            if not self._waiting:
                break
            self._keeper.wake()
            sleep(0.01)
        return self._provider.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Send what waits, and nothing more."""
        self.force_flush()
        if self._dropped:
            logger.warning("%d events were dropped: more happened than could be sent as log records", self._dropped)
        self._provider.shutdown()

    def _send(self) -> None:
        self.sink.flush()
        while self._waiting:
            self._emit(json.loads(self._waiting[0])["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0])
            self._waiting.popleft()

    def _emit(self, event: dict[str, Any]) -> None:
        context = None
        if "traceId" in event:
            span = SpanContext(int(event["traceId"], 16), int(event["spanId"], 16), False, TraceFlags(0))
            context = set_span_in_context(NonRecordingSpan(span))
        self._logger.emit(
            timestamp=int(event["timeUnixNano"]),
            context=context,
            severity_number=SeverityNumber(event["severityNumber"]),
            attributes={pair["key"]: _plain(pair["value"]) for pair in event["attributes"]},
            event_name=event["eventName"],
        )

    def _forked(self) -> None:
        """Begin anew in a child: what waits is its parent's to send."""
        self._waiting = deque()
        self._dropped = 0
        self._keeper.forget()
        self.sink.forget()


def _plain(value: dict[str, Any]) -> Any:
    ((kind, plain),) = value.items()
    if kind == "intValue":
        return int(plain)
    return [_plain(each) for each in cast("dict[str, Any]", plain)["values"]] if kind == "arrayValue" else plain
