"""Log records other than events: exceptions, and what the program logs. All go to the SDK by a thread.

Nothing here needs the SDK: without it, and where no logger provider is set, they go nowhere.
"""

from __future__ import annotations

import atexit
import time
from typing import Any

from opentelemetry._logs import LoggerProvider, SeverityNumber, get_logger
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from .. import names
from .._version import SCHEMA_URL, __version__
from ..recording.faults import report
from ..recording.later import Later

_LONGEST_DRAIN = 1.0


class Outlet:
    """Where log records of one kind go, without a lock where they are made."""

    def __init__(self, *scope: str) -> None:
        self.provider: LoggerProvider | None = None
        """None: the global one."""
        self._scope = scope
        self._later = Later(self._emit, "log records")
        self._at_exit = False

    def put(self, span: SpanContext, severity: int, scope: str = "", **record: Any) -> None:
        """Have a record sent that was made inside a span."""
        if not self._at_exit:
            self._at_exit = True
            atexit.register(self.drain)  # Before the provider's own, which was there first.
        self._later.put(span, severity, scope, {"observed_timestamp": time.time_ns(), **record})

    def drain(self) -> bool:
        """Hand over all that waits."""
        return self._later.drain(_LONGEST_DRAIN)

    def _emit(self, span: SpanContext, severity: int, scope: str, record: dict[str, Any]) -> None:
        name, *version = (scope,) if scope else self._scope
        logger = get_logger(name, *version[:1], logger_provider=self.provider, schema_url=next(iter(version[1:]), None))
        if self.provider is None and self._scope and not logger.enabled():
            report(
                "there is no logger provider that takes log records: exceptions are told by their spans' status alone"
            )
        context = set_span_in_context(NonRecordingSpan(span), Context())
        logger.emit(context=context, severity_number=SeverityNumber(severity), **record)


exceptions = Outlet(names.SCOPE, __version__, SCHEMA_URL)
"""Of the exceptions that end runs, visits and what is in them."""


def log_exception(span: SpanContext, at: int | None, severity: int, attributes: Any) -> None:
    """Send an exception as a log event."""
    try:
        exceptions.put(span, severity, timestamp=at, attributes=attributes, event_name=names.EVENT_EXCEPTION)
    except RuntimeError as error:  # The interpreter is on its way out.
        report("an exception could not be sent as a log event", error)
