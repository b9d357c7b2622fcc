"""What is done later, by a thread, because where the workflow runs it could wait for a lock for ever.

The locks of the SDK (and of `threading`) are plain ones. A signal handler, a finalizer or a forked child that records a
stage while one of them is held would never get it, and one that raises between two lines there leaves it held. So what
needs them is only appended here, and done by one thread, or by whoever collects or flushes.
"""

from __future__ import annotations

import _thread
import os
import queue
import weakref
from collections import deque
from collections.abc import Callable
from time import sleep  # The program's tests may put another one into `time`.
from typing import Any

from .faults import logger, passes, report
from .undisturbed import undisturbed

MOST = 131_072
"""What may wait."""
_GATHER = 0.05  # Seconds: to wake the thread for each would cost the workflow more than the work does.
_PAUSE = 0.001  # Seconds between two looks whether another thread is done.
_IDLE = 10.0  # Seconds after which the thread ends, until there is something to do again.


class Later:
    """A queue. Everything but `drain` may be called from anywhere at any moment."""

    def __init__(self, do: Callable[..., object], what: str) -> None:
        self._do = do
        self._what = what
        """What waits, for messages."""
        self._renew()
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._renew)  # What waits at a fork is the parent's to do.
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    def _renew(self) -> None:
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()  # Reentrant, as its documentation says.
        self._worker: dict[None, int] = {}
        """The thread that works at this moment: one at a time, so that all is done when it is free."""
        self._asleep = False
        self._running = False
        self._dropped = 0

    def put(self, *one: Any) -> None:
        """Have it done soon with these arguments."""
        if len(self._waiting) >= MOST:
            self._dropped += 1
            report(f"there are more {self._what} than can be taken: they are dropped, and counted")
            return
        self._waiting.append(one)
        if self._asleep:
            self._asleep = False
            self._wake.put(None)
        elif not self._running:
            try:
                self._running = True
                # Not by `threading`, which holds a plain lock of its own while it starts one.
                undisturbed(_thread.start_new_thread, self._work, ())
            except BaseException as error:
                self._running = False
                if not isinstance(error, RuntimeError) or passes(error):
                    raise
                # Else the interpreter is on its way out: the last collection or flush does what waits.

    def drain(self, timeout: float = 1.0) -> bool:
        """Do all that waits. False where another thread that does so takes longer than `timeout` seconds."""
        me = _thread.get_ident()
        for _ in range(max(1, round(timeout / _PAUSE))):  # A clock may stand still, in tests of the program.
            try:
                holder = self._worker.setdefault(None, me)
                if holder is me:
                    self._do_all()
                    return True
            finally:
                try:
                    self._leave(me)
                finally:  # Once more, where the handler of a signal has interrupted that.
                    self._leave(me)
            if holder == me:  # The handler of a signal came while this thread worked.
                return False
            sleep(_PAUSE)
        return False

    def _leave(self, me: int) -> None:
        if self._worker.get(None) is me:
            self._worker.clear()

    def _do_all(self) -> None:
        waiting, do = self._waiting, self._do
        while waiting:
            try:
                do(*waiting.popleft())
            except BaseException as error:
                if passes(error):
                    raise
                report(f"one of the {self._what} could not be taken", error)
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            logger.warning("%d %s were dropped: there were more than could be taken", dropped, self._what)

    def _work(self) -> None:
        wake = self._wake
        while wake is self._wake:
            sleep(_GATHER)
            try:
                self.drain()
            except BaseException as error:  # Nothing of the workflow runs here, to which it could belong.
                report(f"one of the {self._what} could not be taken", error)
            self._asleep = True
            if self._waiting:
                self._asleep = False
                continue
            try:
                wake.get(timeout=_IDLE)
            except queue.Empty:
                self._asleep = self._running = False
                if not self._waiting:
                    return
                self._running = True
