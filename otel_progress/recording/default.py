"""The recorder that the ways in use: one for the process. The package gives it its sinks when it is imported."""

from __future__ import annotations

from .recorder import Recorder
from .settings import Settings
from .sink import Sink

_recorder = Recorder(settings=Settings.from_environment())


def get() -> Recorder:
    """The recorder in use."""
    return _recorder


def use(recorder: Recorder) -> Recorder:
    """Put `recorder` in its place; gives the one that was there."""
    global _recorder
    previous, _recorder = _recorder, recorder
    return previous


def add_sink(sink: Sink) -> None:
    """Have `sink` told of every run and visit of this process from now on, after the sinks that are there."""
    _recorder.sinks = [*_recorder.sinks, sink]


def remove_sink(sink: Sink) -> None:
    """Tell `sink` of nothing more; nothing happens where it was never added."""
    _recorder.sinks = [each for each in _recorder.sinks if each is not sink]
