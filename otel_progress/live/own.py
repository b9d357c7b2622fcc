"""The progress of this process, shown by itself: in a notebook in its cells, elsewhere as lines on standard error."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

from .. import names
from ..recording import default
from ..runs.happenings import Happening
from ..sinks.events import EventSink
from ..sinks.texts import head_of
from ..telemetry.signals import in_worker
from .notebook import Notebook
from .telling import Telling
from .waiting import Waiting


class Display(Protocol):
    """What shows it."""

    def add(self, line: bytes) -> None:
        """Take a line of events, in the frame of the program."""
        ...

    def finish(self) -> None:
        """Show the rest."""
        ...


class Own:
    """What this process tells: an `EventSink`, and where it writes to, which a display takes it from."""

    def __init__(self) -> None:
        self.process = self.head = ""
        self.display: Display | None = None
        """None: nothing is shown, as in a forked child: two would write over each other."""
        self.sink = EventSink(self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def begin(self) -> bool:
        """The process tells its first event."""
        self.process = f"{os.getpid()}-{os.urandom(3).hex()}"
        self.head = head_of({names.PROCESS: self.process})
        return self.display is not None

    def write(self, line: bytes) -> None:
        """Hand a line on."""
        if self.display is not None:
            self.display.add(line)

    def soon(self) -> None:
        """Nothing: whoever shows it has the progress told before."""

    def finish(self) -> None:
        """End what is open, and show the rest."""
        if self.display is not None:
            default.recorder.close()
            self.display.finish()

    def _forked(self) -> None:
        self.display = None
        self.sink.forget()


class _OnStandardError:
    """Lines on standard error."""

    def __init__(self, flush: Callable[[], object]) -> None:
        self._flush = flush
        self._waiting = Waiting()
        self._telling = Telling(self)

    def add(self, line: bytes) -> None:
        """Have it told soon."""
        self._waiting.add(line)
        self._telling.start()

    def finish(self) -> None:
        """Tell the rest."""
        self._telling.finish()

    def read(self) -> list[Happening]:
        """What happened since the last time."""
        self._flush()
        return self._waiting.take()

    def processes(self) -> None:
        """It knows of none but this one."""


class _Shown:
    """What is shown now, if anything."""

    own: Own | None = None


def show(on: bool) -> None:
    """Show the progress of this process from now on, or no more.

    Nothing is shown where `otel-progress run` does, nor in the workers of multiprocessing.
    """
    own, shell = _Shown.own, _kernel()
    if own is not None and not on:
        _Shown.own = own.display = None
        default.remove_sink(own.sink)
    is_shown = own is not None or (shell is None and names.OTEL_PROGRESS_RECORD in os.environ)
    if not on or is_shown or in_worker():
        return
    _Shown.own = own = Own()
    flush = own.sink.flush
    own.display = _OnStandardError(flush) if shell is None else Notebook(flush, shell)
    own.sink.attach(default.recorder)
    atexit.register(own.finish)


def _kernel() -> Any:
    """The shell of IPython, where this process is the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return shell if hasattr(shell, "kernel") else None
