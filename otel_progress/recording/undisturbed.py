"""Starting threads of our own, which leave the signals that end the program to the program's."""

from __future__ import annotations

import signal
from collections.abc import Callable

_set_mask = getattr(signal, "pthread_sigmask", None)  # Not on Windows.


def undisturbed(start: Callable[..., object], *args: object) -> None:
    """Call `start`, which starts a thread that then never takes SIGTERM.

    Where the main thread has no processor just then, the system lets a thread take the signal that begins meanwhile,
    and before that is a thread of Python's nothing is written of it: whoever watches for the signal would not be told.
    """
    if _set_mask is None:
        start(*args)
        return
    before = _set_mask(signal.SIG_BLOCK, ())
    try:
        # In here: it calls the handlers of signals, which may raise, when it has set the mask.
        _set_mask(signal.SIG_BLOCK, {signal.SIGTERM})
        start(*args)
    finally:
        _set_mask(signal.SIG_SETMASK, before)
