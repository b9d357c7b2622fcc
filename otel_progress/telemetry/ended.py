"""Between the spans that have ended and the SDK's batches of them."""

from __future__ import annotations

from functools import partial
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from ..recording.later import Later
from ..recording.undisturbed import undisturbed

_LONGEST_DRAIN = 1.0


class EndedSpans(BatchSpanProcessor):
    """The SDK's own, reached by a thread: it wakes the thread that exports with a plain lock, and counts its losses."""

    def __init__(self, exporter: Any, **options: Any) -> None:
        undisturbed(partial(super().__init__, exporter, **options))
        self._ended = Later(super().on_end, "spans")

    def on_end(self, span: ReadableSpan) -> None:
        """Have it put into the next batch soon."""
        self._ended.put(span)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Export all that has ended."""
        return self._ended.drain(_LONGEST_DRAIN) and super().force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Export all that has ended, and stop."""
        self._ended.drain(_LONGEST_DRAIN)
        super().shutdown()
