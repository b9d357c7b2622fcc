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
