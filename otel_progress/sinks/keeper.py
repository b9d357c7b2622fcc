"""A thread beside the workflow, for what is not done in its time."""

from __future__ import annotations

import _thread
import queue
from collections.abc import Callable
from time import monotonic, sleep  # The program's tests may put others into `time`.

from ..recording.faults import report
from ..recording.undisturbed import undisturbed

GATHER = 0.1
"""Seconds between the first wish that something be done and its being done, with all that was wished meanwhile."""
_SECOND = 1.0
_IDLE = 10.0  # Seconds after which a thread ends that has nothing to do each second.


class Keeper:
    """Calls `soon` a tenth of a second after it was woken, and `each_second` as long as the process lives.

    Both may be called from anywhere at any moment: nothing here takes a lock.
    """

    def __init__(self, soon: Callable[[], object], each_second: Callable[[], object] | None = None) -> None:
        self._soon = soon
        self._each_second = each_second
        self.forget()

    def forget(self) -> None:
        """Begin anew: at first, and in a forked child, which has not the thread."""
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_asked = False
        self._thread: dict[None, object] = {}
        """Something, while there is one: several may ask for it at once."""

    def wake(self) -> None:
        """Have `soon` called soon."""
        if not self._is_asked:
            self._is_asked = True
            self._wake.put(None)
        self.start()

    def start(self) -> None:
        """Start the thread, if there is none."""
        me = object()
        if not self._thread and self._thread.setdefault(None, me) is me:
            try:
                # Not by `threading`, which holds a plain lock of its own while it starts one.
                undisturbed(_thread.start_new_thread, self._work, (self._wake,))
            except RuntimeError:  # The interpreter is on its way out.
                self._thread.clear()

    def _work(self, wake: queue.SimpleQueue[None]) -> None:
        last = monotonic()
        while wake is self._wake:
            try:
                wake.get(timeout=_SECOND if self._each_second else _IDLE)
            except queue.Empty:
                if self._each_second is None:
                    self._thread.clear()
                    if self._is_asked:  # Meanwhile.
                        self.start()
                    return
            else:
                sleep(GATHER)
                self._is_asked = False
                _call(self._soon)
            if self._each_second is not None and monotonic() - last >= _SECOND:
                last = monotonic()
                _call(self._each_second)


def _call(what: Callable[[], object]) -> None:
    try:
        what()
    except Exception as error:
        report("what is done beside the workflow failed", error)
