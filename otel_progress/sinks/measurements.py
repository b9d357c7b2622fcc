"""The queue between the workflow and the metrics of the SDK: nothing of these is called where the workflow runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.context import Context

from ..recording.later import Later

_NO_SPAN = Context()


class Record(Protocol):
    """`Histogram.record`, `Counter.add`."""

    def __call__(self, amount: int | float, attributes: Any = None, context: Context | None = None) -> None:
        """Record it."""


class Measurements(Later):
    """Measurements that wait: instrument, amount, attributes, and the span for exemplars.

    Not the span's context: what waits would keep whole visits, and with them the caches, busy.
    """

    def __init__(self) -> None:
        super().__init__(_record, "measurements")


def _record(
    record: Record, amount: int | float, attributes: Mapping[str, str], span: trace.SpanContext | None = None
) -> None:
    context = _NO_SPAN if span is None else trace.set_span_in_context(trace.NonRecordingSpan(span), _NO_SPAN)
    record(amount, attributes, context)
