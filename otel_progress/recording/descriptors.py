"""Descriptors of our own, out of the way of the program's."""

from __future__ import annotations

import os

try:
    import fcntl
except ImportError:  # Not a POSIX system.
    fcntl = None

_HIGH = 200  # Below it are the descriptors that a program closes, and opens again, without asking whose they are.


def high(descriptor: int) -> int:
    """The same file by a descriptor that no program closes, or comes to use for another file, by accident."""
    if fcntl is None:
        return descriptor
    try:
        other = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    except OSError:
        return descriptor
    os.close(descriptor)
    return other
