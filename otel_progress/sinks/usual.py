"""The sinks that every recorder of the package has, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..recording.recorder import Recorder
from ..recording.sink import Sink
from .bound import NameBound
from .exceptions import Send
from .metrics import MetricSink
from .mirror import MirrorSink
from .spans import SpanSink

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider


def usual_sinks(
    recorder: Recorder,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    send_exception: Send | None = None,
) -> list[Sink]:
    """Spans, so that the others find them made; metrics; the mirror. The providers are the global ones if left out."""
    bound = NameBound(recorder)
    spans = SpanSink(recorder, bound, tracer_provider)
    if send_exception is not None:
        spans.send_exception = send_exception
    return [spans, MetricSink(recorder, bound, meter_provider), MirrorSink(recorder)]
