"""Telling what goes on as lines on standard error, by a thread beside the program."""

from __future__ import annotations

import _thread
import os
import signal
from collections.abc import Sequence
from time import monotonic, sleep, time_ns  # The program's tests may put others into `time`.
from typing import Protocol

from ..recording.faults import report
from ..recording.undisturbed import undisturbed
from ..report.lines import Lines
from ..runs.happenings import Happening
from ..runs.states import Processes
from .stderr import StandardError

_LOOK = 0.1
"""Seconds between two looks at what happened."""
_LOOK_AT_PROCESSES = 1.0
_LAST = 2.0
"""Seconds that the last lines may take at the end, where standard error takes nothing."""
_LOOK_AGAIN = 0.005
_NEVER = float("inf")


class Source(Protocol):
    """Where it is read what happens."""

    def read(self) -> Sequence[Happening]:
        """What happened since the last time, in the order in which it was told. Nothing: that is all, so far."""
        ...

    def processes(self) -> Processes | None:
        """What became of other processes than this; None where there are none."""
        ...


class Telling:
    """Lines for what a source tells, until `finish`. In a forked child it does nothing."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines = Lines()
        self._out = StandardError()
        self._pid = os.getpid()
        self._started: dict[None, object] = {}
        """Something, once there is a thread: several may ask for it at once."""
        self._works = False
        """Whether the thread does."""
        self._sleep = _thread.allocate_lock()
        self._sleep.acquire()
        self._ends_by = _NEVER
        self._looked = 0.0

    def start(self) -> None:
        """Start the thread, if there is none: when there is about to be something to tell."""
        me = object()
        if os.getpid() != self._pid or not self._out.is_there or self._started.setdefault(None, me) is not me:
            return
        try:
            # Not by `threading`: a program may count its threads, or wait for all.
            undisturbed(_thread.start_new_thread, self._work, ())
        except RuntimeError:  # The interpreter is on its way out.
            pass
        except BaseException:  # A handler of the program's raises: next time.
            self._started.clear()
            raise

    def finish(self) -> None:
        """Tell the rest, within a bound, and stop."""
        if os.getpid() != self._pid or not self._out.is_there or self._ends_by != _NEVER:
            return
        self._ends_by = monotonic() + _LAST
        self._sleep.release()
        while self._works and monotonic() < self._ends_by:
            sleep(_LOOK_AGAIN)
        if not self._works and self._tell():  # Else nobody reads what is said.
            self._put(self._lines.rest(time_ns()))

    def _work(self) -> None:
        self._works = True
        try:
            # A signal shall interrupt the program, not this. And who reads no more must not end it by SIGPIPE.
            if hasattr(signal, "pthread_sigmask"):
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while self._ends_by == _NEVER and self._out.is_there:
                self._tell()
                self._sleep.acquire(timeout=_LOOK)
        except Exception as error:
            report("progress is not told any more", error)
        finally:
            self._works = False

    def _tell(self) -> bool:
        """Tell what happened since the last time. False where there was no time left for all of it."""
        now, processes = time_ns(), None
        if monotonic() - self._looked >= _LOOK_AT_PROCESSES:
            self._looked = monotonic()
            processes = self._source.processes()  # Before what they told is read: then it is all there.
        while happened := self._source.read():
            if not self._put(self._lines.tell(happened, now)):
                return False
        said = self._lines.tell((), now)
        if processes is not None:
            said += self._lines.states(processes, now)
        return self._put(said)

    def _put(self, lines: list[str]) -> bool:
        return self._out.put(lines, lambda: self._ends_by) and monotonic() < self._ends_by
