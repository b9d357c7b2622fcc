"""The recorder that the ways in use: one for the process. The package gives it its sinks when it is imported."""

from __future__ import annotations

from .recorder import Recorder
from .settings import Settings
from .sink import Sink

recorder = Recorder(settings=Settings.from_environment())
"""The recorder in use."""


def get() -> Recorder:
    """The same."""
    return recorder


def use(other: Recorder) -> Recorder:
    """Put `other` in its place; gives the one that was there."""
    global recorder
    previous, recorder = recorder, other
    return previous


def add_sink(sink: Sink) -> None:
    """Have `sink` told of every run and visit of this process from now on, after the sinks that are there."""
    recorder.sinks = [*recorder.sinks, sink]


def remove_sink(sink: Sink) -> None:
    """Tell `sink` of nothing more; nothing happens where it was never added."""
    recorder.sinks = [each for each in recorder.sinks if each is not sink]
