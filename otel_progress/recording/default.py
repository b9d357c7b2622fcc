"""The recorder that the ways in use: one for the process."""

from __future__ import annotations

from ..sinks.metrics import MetricSink
from ..sinks.mirror import MirrorSink
from ..sinks.spans import SpanSink
from .recorder import Recorder
from .settings import Settings


def _make() -> Recorder:
    recorder = Recorder(settings=Settings.from_environment())
    recorder.sinks += [SpanSink(recorder), MetricSink(recorder), MirrorSink(recorder)]
    return recorder


_recorder = _make()


def get() -> Recorder:
    """The recorder in use."""
    return _recorder


def use(recorder: Recorder) -> Recorder:
    """Put `recorder` in its place; gives the one that was there."""
    global _recorder
    previous, _recorder = _recorder, recorder
    return previous
