"""The one recorder of the process, which every way in uses. The package gives it its sinks when it is imported."""

from __future__ import annotations

from collections.abc import Callable

from .live import Run
from .recorder import Recorder
from .settings import Settings
from .sink import Sink
from .visits import Visit

recorder = Recorder(settings=Settings.from_environment())
"""The recorder in use."""


def _no_display(on: bool) -> None:
    """Nothing: the package puts what shows progress in its place."""


show: Callable[[bool], None] = _no_display
"""Shows the progress of this process while it goes on, from now on, or shows it no more."""


def use(other: Recorder) -> Recorder:
    """Put `other` in its place; gives the one that was there."""
    global recorder
    previous, recorder = recorder, other
    return previous


def current_run() -> Run | None:
    """The run that this code is part of; None outside of one. For log lines, prompts, error reports."""
    recorded = recorder.current()
    return None if recorded is None or recorded.run.ended is not None else recorded.run


def current_stage() -> Visit | None:
    """The visit that this code is part of; None outside of a stage. What a node, or a function it calls, asks for.

    if (visit := current_stage()) is not None:
        visit.advance(1, total=6)
    """
    recorded = recorder.current()
    while recorded is not None and not isinstance(recorded, Visit):
        recorded = recorded.parent
    return recorded


def add_sink(sink: Sink) -> None:
    """Have `sink` told of every run and visit of this process from now on, after the sinks that are there."""
    recorder.change(lambda sinks: [*sinks, sink])


def remove_sink(sink: Sink) -> None:
    """Tell `sink` of nothing more; nothing happens where it was never added."""
    recorder.change(lambda sinks: [each for each in sinks if each is not sink])
