"""The queue between the workflow and the metrics of the SDK: nothing of these is called where the workflow runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.context import Context

from ..recording.later import Later


class Record(Protocol):
    """`Histogram.record`, `Counter.add`."""

    def __call__(self, amount: int | float, attributes: Any = None, context: Any = None) -> None:
        """Record it."""


class _Ended(trace.NonRecordingSpan):
    """The span that a measurement belongs to, for exemplars: one object that is each of them in turn."""

    def __init__(self) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self.context = trace.INVALID_SPAN_CONTEXT

    def get_span_context(self) -> trace.SpanContext:
        """What it stands for at this moment."""
        return self.context


class Measurements(Later):
    """Measurements that wait: instrument, amount, attributes, and the span for exemplars.

    Not the span's context: what waits would keep whole visits, and with them the caches, busy.
    """

    def __init__(self) -> None:
        super().__init__(self._record, "measurements")
        self._span = _Ended()
        self._context = trace.set_span_in_context(self._span, Context())

    def _record(
        self,
        record: Record,
        amount: int | float,
        attributes: Mapping[str, str],
        span: trace.SpanContext = trace.INVALID_SPAN_CONTEXT,
    ) -> None:
        self._span.context = span  # Only one thread at a time records what waits.
        record(amount, attributes, self._context)
