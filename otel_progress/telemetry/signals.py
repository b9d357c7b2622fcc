"""SIGTERM as a SystemExit, so that what is open ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from .lifetime import process


def exit_on_sigterm() -> bool:
    """Turn SIGTERM into a SystemExit with code 143. False where that cannot be or where the program handles it."""
    present = signal.getsignal(signal.SIGTERM)
    if present is not _leave:
        if threading.current_thread() is not threading.main_thread() or present != signal.SIG_DFL:
            return False
        signal.signal(signal.SIGTERM, _leave)
    return True


def die_of_sigterm_in_children() -> None:
    """Let forked children die of SIGTERM as if `exit_on_sigterm` had not been called."""

    def restore() -> None:
        if signal.getsignal(signal.SIGTERM) is _leave:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=restore)


def _leave(number: int, _frame: FrameType | None) -> None:
    process.terminated = True
    sys.exit(128 + number)
