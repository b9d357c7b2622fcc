"""Threads of ours that the program does not see: one that joins all its threads would wait for them for ever."""

from __future__ import annotations

import functools
import threading

_NAMES = ("otel-progress-", "Otel")
"""How the names of ours begin, and of those of the SDK, which also never end by themselves."""


def hide_our_threads() -> None:
    """Leave them out of what `threading` tells of."""
    every = threading.enumerate

    @functools.wraps(every)
    def theirs() -> list[threading.Thread]:
        return [each for each in every() if not (each.daemon and each.name.startswith(_NAMES))]

    @functools.wraps(threading.active_count)
    def count() -> int:
        return len(theirs())

    threading.enumerate, threading.active_count = theirs, count
