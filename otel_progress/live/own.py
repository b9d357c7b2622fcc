"""The progress of this process, shown by itself: in a notebook as one output, elsewhere as lines on standard error."""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Protocol

from .. import names
from .._version import __version__
from ..recording import default
from ..recording.faults import report
from ..runs.happenings import Happening, happenings
from ..sinks.events import EventSink
from .notebook import Notebook
from .telling import Telling

_MOST = 20_000
"""Events that wait to be shown, about 1 KB each."""
_AT_ONCE = 1000
_WHEN = attrgetter("at")


class Display(Protocol):
    """What shows it."""

    def start(self) -> None:
        """There is about to be something to show."""
        ...

    def finish(self) -> None:
        """Show the rest."""
        ...


class Own:
    """What this process tells, until it is read: a `Source`, and where an `EventSink` writes to."""

    def __init__(self, before: Callable[[], object]) -> None:
        self.process = self.head = ""
        self._before = before
        """Called before every line, in the frame of the program."""
        self._waiting: deque[bytes] = deque()
        self._is_forked = False
        self.sink = EventSink(self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def begin(self) -> bool:
        """The process tells its first event. A forked child's is not shown: two would write over each other."""
        if self._is_forked:
            return False
        self.process = f"{os.getpid()}-{os.urandom(3).hex()}"
        process = json.dumps([{"key": names.PROCESS, "value": {"stringValue": self.process}}])
        scope = json.dumps({"name": names.SCOPE, "version": __version__})
        self.head = (
            f'{{"resourceLogs":[{{"resource":{{"attributes":{process}}},"scopeLogs":[{{"scope":{scope},"logRecords":['
        )
        return True

    def write(self, line: bytes) -> None:
        """Keep it until it is read."""
        self._before()
        if len(self._waiting) >= _MOST:
            report("more happens than can be shown: some of it is not")
            return
        self._waiting.append(line)

    def soon(self) -> None:
        """Nothing: whoever reads has the progress told before."""

    def read(self) -> list[Happening]:
        """What happened since the last time, in the order of its times."""
        self.sink.flush()
        waiting = self._waiting
        lines = [waiting.popleft() for _ in range(min(_AT_ONCE, len(waiting)))]
        return sorted(happenings(b"".join(lines)), key=_WHEN)

    def processes(self) -> None:
        """It knows of none but this one."""

    def _forked(self) -> None:
        self._is_forked = True
        self._waiting.clear()
        self.sink.forget()


class _Shown:
    """What is shown now, if anything."""

    own: Own | None = None


def show(on: bool) -> None:
    """Show the progress of this process from now on, or no more.

    Nothing is shown where `otel-progress run` does, nor in the workers of multiprocessing.
    """
    if on and _Shown.own is not None:
        return
    own, _Shown.own = _Shown.own, None
    if own is not None:
        recorder = default.get()
        recorder.sinks = [sink for sink in recorder.sinks if sink is not own.sink]
    shell = _kernel()
    is_shown = shell is None and names.OTEL_PROGRESS_RECORD in os.environ
    if not on or is_shown or multiprocessing.parent_process() is not None:
        return
    _Shown.own = own = Own(lambda: display.start())  # noqa: PLW0108 - there is none yet
    display: Any = Telling(own) if shell is None else Notebook(own, shell)
    own.sink.attach(default.get())
    atexit.register(_finish, display)


def _finish(display: Display) -> None:
    default.get().close()
    display.finish()


def _kernel() -> Any:
    """The shell of IPython, where this process is the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return shell if hasattr(shell, "kernel") else None
