"""Queues, batches and intervals as the `OTEL_*` variables say, with the default where a value is none.

The SDK raises where a number is not positive or a batch is larger than its queue, in the midst of the set-up.
"""

from __future__ import annotations

import os
from typing import Any

from opentelemetry.sdk.environment_variables import OTEL_METRIC_EXPORT_INTERVAL

from ..recording.faults import report

QUEUE_SIZE = 65_536
"""Spans that may wait for export, about 3 KB each. The SDK's own 2,048 lose spans in a burst of stages."""

_BATCH_SIZE = 512
_SPANS_DELAY = 5000
_LOGS_DELAY = 1000
_METRICS_INTERVAL = 60_000


def for_spans() -> dict[str, Any]:
    """Arguments of a `BatchSpanProcessor`."""
    return _batching("OTEL_BSP", QUEUE_SIZE, _SPANS_DELAY)


def for_logs() -> dict[str, Any]:
    """Arguments of a `BatchLogRecordProcessor`, which has to take the events and logs of a burst of stages."""
    return _batching("OTEL_BLRP", QUEUE_SIZE, _LOGS_DELAY)


def metrics_interval() -> float:
    """Milliseconds between two exports of metrics."""
    return _positive(OTEL_METRIC_EXPORT_INTERVAL, _METRICS_INTERVAL)


def _batching(prefix: str, queue_size: int, delay: int) -> dict[str, Any]:
    queue_size = _whole(f"{prefix}_MAX_QUEUE_SIZE", queue_size)
    return {
        "max_queue_size": queue_size,
        "max_export_batch_size": min(queue_size, _whole(f"{prefix}_MAX_EXPORT_BATCH_SIZE", _BATCH_SIZE)),
        "schedule_delay_millis": _whole(f"{prefix}_SCHEDULE_DELAY", delay),
    }


def _positive(variable: str, default: float) -> float:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if number > 0:  # Not so for a NaN.
        return number
    report(f"{variable} is {text!r}, which is not a positive number: {default:g} is used")
    return default


def _whole(variable: str, default: int) -> int:
    number = _positive(variable, default)
    if number == int(min(number, 2**31)):
        return int(number)
    report(f"{variable} is {number:g}, which is not a whole number: {default} is used")
    return default
