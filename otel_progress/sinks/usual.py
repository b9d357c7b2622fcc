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
    """Spans, so that the others find them made; metrics; the mirror.

    If left out, the providers are the global ones, and exceptions are sent as the recorder's spans so far send them.
    """
    bound = NameBound(recorder)
    spans = SpanSink(recorder, bound, tracer_provider)
    so_far = next((sink.send_exception for sink in recorder.sinks if isinstance(sink, SpanSink)), None)
    spans.send_exception = send_exception or so_far
    return [spans, MetricSink(recorder, bound, meter_provider), MirrorSink(recorder)]
