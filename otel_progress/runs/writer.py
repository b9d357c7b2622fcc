"""This process's part in a record: its events, and the file that says that it lives."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from time import perf_counter, sleep

from opentelemetry.semconv.attributes import service_attributes

from .. import names
from ..recording.faults import logger, report
from ..recording.recorder import Recorder
from ..sinks.events import EventSink
from ..sinks.keeper import Keeper
from ..sinks.texts import head_of
from .appending import SLOW, Appending
from .processes import ProcessFile, files_of_processes

EVENTS = "events.jsonl"
_SLOW_WRITES = 3  # One after the other: on a machine with much to do, one may seem so.
_MOST_WAITING = 65_536
_MOSTLY = 4
_LOOKS = 3
_STUCK = 1.0  # Seconds without a line written, after which nobody else tries it.
_EXIT_TIMEOUT = 2.0


class Writer:
    """Writes what a recorder tells into the folder of a record, in the frame that tells it.

    Where a write takes long, a thread goes on, until a write is quick again.
    """

    def __init__(self, folder: Path, service_name: Callable[[], str]) -> None:
        self.process = self.head = ""
        self._service_name = service_name
        self._folder = folder
        self.file = Appending(folder / EVENTS, self._look_whether_it_is_slow)
        self.write: Callable[[bytes], None] = self.file.append
        """Writes a line, or leaves it to the thread."""
        self.sink = EventSink(self)
        self._keeper = Keeper(self._soon, self._touch)
        self._own: ProcessFile | None = None
        self._forget()
        if hasattr(os, "register_at_fork"):
            forked, has_child = weakref.WeakMethod(self._forked), weakref.WeakMethod(self._look_again)
            os.register_at_fork(
                after_in_child=lambda: (method := forked()) and method(),
                after_in_parent=lambda: (method := has_child()) and method(forked=True),
            )

    def attach(self, recorder: Recorder) -> None:
        """Have the recorder tell it, right after the spans are made."""
        self.sink.attach(recorder)

    def begin(self) -> bool:
        """Make this process's file. False where that cannot be."""
        try:
            self._folder.mkdir(0o700, exist_ok=True)
            own = ProcessFile(self._folder)
        except OSError as error:
            self.file.fail(error)
            return False
        self._own, self.process = own, own.name
        # No more than readers need, and no blanks: it stands in every line, and what is written costs by its length.
        self.head = head_of({service_attributes.SERVICE_NAME: self._service_name(), names.PROCESS: own.name})
        self._keeper.start()
        self._look_again()
        return True

    def _look_whether_it_is_slow(self, took: float) -> None:
        """Have a thread write from now on, if it is the disk that takes long, and does so again."""
        self._slow_writes = self._slow_writes + 1 if _is_slow(took) else 0
        self.file.told_from = -1.0 if self._slow_writes else SLOW  # One that is quick ends it.
        if self._slow_writes >= _SLOW_WRITES and not self.is_behind and self._saying.acquire(blocking=False):
            try:  # First, so that nothing that waits can be lost before it is said.
                report(
                    f"{self.file.path} takes long to write: a thread writes what is recorded, until it is quick again"
                )
                self._fall_behind()
            finally:
                self._saying.release()

    def soon(self) -> None:
        """Have what waits written soon."""
        self._keeper.wake()

    def finish(self, timeout: float = _EXIT_TIMEOUT, **known: int) -> None:
        """Write what waits, and note that this process has come to its end, and how as far as that is `known`."""
        for _ in range(round(timeout / 0.01)):
            if not self._waiting:
                break
            self._keeper.wake()
            sleep(0.01)
        if lost := self._dropped + len(self._waiting):
            self.file.fault = self.file.fault or "it takes too long to write"
            logger.warning("%d events were not written to %s: it takes too long", lost, self.file.path)
        if self._own is not None:
            self._own.end(**known)

    @property
    def is_behind(self) -> bool:
        """Whether a thread writes."""
        return self.write != self.file.append

    def _fall_behind(self) -> None:
        self._written_at = perf_counter()
        self.write = self._later

    def _later(self, line: bytes) -> None:
        """Leave a line to the thread. Where too many wait, which the thread is still working at, it is written here."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(line)
            self._keeper.wake()
        elif perf_counter() - self._written_at < _STUCK:
            self.file.append(line)
        else:
            self._dropped += 1

    def _soon(self) -> None:
        self.sink.flush()
        waiting = self._waiting
        while waiting:
            begun = perf_counter()
            self.file.append(waiting[0])
            waiting.popleft()
            self._written_at = perf_counter()
            if not waiting and not _is_slow(self._written_at - begun):
                self.write = (
                    self.file.append
                )  # What was put there meanwhile, by somebody who had come to that, comes next.

    def _touch(self) -> None:
        if self._own is not None:
            self._own.touch()
            self._look_again()

    def _look_again(self, *, forked: bool = False) -> None:
        """Find out whether other processes write to the file too."""
        self._has_forked = self._has_forked or forked
        alone = not self._has_forked and len(files_of_processes(self._folder)) == 1
        self.file.look_again(alone=alone)

    def _forget(self) -> None:
        self._waiting: deque[bytes] = deque()
        self.write = self.file.append
        self._saying = Lock()
        self._slow_writes = self._dropped = 0
        self._has_forked = False
        self._written_at = 0.0

    def _forked(self) -> None:
        """Begin anew in a child: what waits is its parent's to write, and what is open its parent's to end."""
        if self._own is not None:
            self._own.let_go()
            self._own = None
        self._keeper.forget()
        self.sink.forget()
        self._forget()
        self._has_forked = True
        self.file.look_again(alone=False)


def _is_slow(took: float) -> bool:
    """Whether it is the disk that took long, and not the wait for the interpreter, which other threads keep busy."""
    if took <= SLOW:
        return False
    for _ in range(_LOOKS):
        begun = perf_counter()
        sleep(0)  # Lets go of the interpreter, as a write does, and does nothing else.
        if took <= _MOSTLY * (perf_counter() - begun):
            return False
    return True
