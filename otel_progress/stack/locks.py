"""One at a time, among all processes of a machine: a lock that ends with its process, whatever ends that."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Not a POSIX system.
    fcntl = None


class HeldError(Exception):
    """Somebody else has the lock."""


@contextlib.contextmanager
def locked(path: Path, wait: Callable[[], bool] = lambda: False) -> Generator[int]:
    """Hold the lock on `path`, a folder, or a file that is made; gives the descriptor, which holds it in children too.

    `wait` is asked, ten times a second, whether to wait while somebody else has it. Where a file system has no locks,
    nothing is held.

    Raises:
        HeldError: somebody else has it, and `wait` says no.
        OSError: `path` cannot be opened.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        while not _taken(descriptor):
            if not wait():
                raise HeldError(str(path))
            time.sleep(0.1)
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
