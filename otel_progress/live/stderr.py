"""Standard error as somebody beside the program writes to it: never in its way, and never into another file."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterable
from time import monotonic, sleep  # The program's tests may put others into `time`.

_PIECE = 4096
"""Bytes. A pipe that takes any takes so many at once, and nobody else's come between."""
_LOOK_AGAIN = 50  # Milliseconds.


class StandardError:
    """Lines to standard error as it was when this was made, straight to its descriptor.

    While it is closed, or another file is in its place (as pytest has it, to capture what is said), lines are lost.
    When nobody reads it any more, that is the end.
    """

    def __init__(self) -> None:
        self._is_there, self._encoding = False, "utf-8"
        try:
            self._descriptor = sys.__stderr__.fileno()  # pyright: ignore[reportOptionalMemberAccess] - it raises too
            self._encoding = sys.__stderr__.encoding or "utf-8"  # pyright: ignore[reportOptionalMemberAccess]
            self._identity = self._what_is_there()
            self._is_there = self._identity is not None
        except (AttributeError, OSError, ValueError):
            pass

    @property
    def is_there(self) -> bool:
        """Whether anything can be written."""
        return self._is_there

    def put(self, lines: Iterable[str], ends_by: Callable[[], float]) -> bool:
        """Write lines, however long it takes, until `ends_by` on the monotonic clock. False where that was too short.

        Raises nothing.
        """
        data = "".join(f"{line}\n" for line in lines).encode(
            self._encoding if self._is_there else "utf-8", "backslashreplace"
        )
        while data and self._is_there:
            end = len(data) if len(data) <= _PIECE else data.rfind(b"\n", 0, _PIECE) + 1 or _PIECE
            try:
                if self._what_is_there() != self._identity:
                    return True
                if self._takes():
                    data = data[os.write(self._descriptor, data[:end]) :]
                elif monotonic() >= ends_by():
                    return False
            except BlockingIOError:  # The program has made it so.
                sleep(_LOOK_AGAIN / 1000)
                if monotonic() >= ends_by():
                    return False
            except (OSError, ValueError):
                self._is_there = False
        return not data

    def _what_is_there(self) -> tuple[int, int] | None:
        try:
            found = os.fstat(self._descriptor)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _takes(self) -> bool:
        """Whether it takes something now, or soon. Raises OSError where nobody reads it."""
        if not hasattr(select, "poll"):
            return True
        asked = select.poll()
        asked.register(self._descriptor, select.POLLOUT)
        events = sum(event for _, event in asked.poll(_LOOK_AGAIN))
        if events & (select.POLLERR | select.POLLNVAL):
            raise BrokenPipeError
        return bool(events & select.POLLOUT)
