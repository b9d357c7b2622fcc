"""Descriptors of our own, out of the way of the program's."""

from __future__ import annotations

import os

try:
    import fcntl
except ImportError:  # Not a POSIX system.
    fcntl = None

_HIGH = 1000, 200
"""Below these, as far as the program may have so many, are the descriptors that it closes, and opens again for other
files, without asking whose they are."""


def high(descriptor: int) -> int:
    """The same file by a descriptor that no program closes, or comes to use for another file, by accident."""
    if fcntl is None:
        return descriptor
    for least in _HIGH:
        try:
            other = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)
        except OSError:
            continue
        os.close(descriptor)
        return other
    return descriptor


def file_of(descriptor: int) -> tuple[int, int] | None:
    """What tells the file that a descriptor is of from every other, its device and its number; None if it is of none.

    The program may have closed ours, as daemons do, and opened another file, which got its number: nothing of ours may
    come to be in that.
    """
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino
