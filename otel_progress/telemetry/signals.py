"""SIGTERM: a SystemExit for the program, and its death by the signal within a bound, whatever it makes of that.

A program may catch everything, wait for its threads for ever, or be in C code that does not come back. So a thread that
was started beforehand watches. When the program does not end by itself in the first half of the bound, the thread has
everything exported; at the end of the bound the process dies. A second SIGTERM kills at once.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from ..recording.descriptors import high
from ..recording.undisturbed import undisturbed
from .lifetime import Worker, process

try:
    import ctypes
except ImportError:  # A Python that was built without it.
    ctypes = None

_LOOK_AGAIN = 0.05
_FLUSHED_AFTER = 0.8  # Of the bound. The rest is for what is to be said.


def exit_on_sigterm(
    finish: Callable[[], object], *, at_once: bool = True, before: Callable[[], object] | None = None
) -> bool:
    """Turn SIGTERM into a SystemExit with code 143, and see to it that the process has ended within its exit timeout.

    `finish`, which exports what there is, is called once: at the process's end, or while it ought to end and does not.
    With `at_once` false SIGTERM still kills, and no thread is started, until `watch` is called.
    `before` is an exit handler that is there already, and that is to come before `finish`, but for SIGTERM.

    Children die of SIGTERM as they would without us. False where it cannot be, or where the program handles SIGTERM.
    """
    if in_worker():
        return True
    leaving = _installed()
    if leaving is None:
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            return False
        leaving = _Leaving(finish, before)
        leaving.install()
    if at_once:
        leaving.watch()
    return True


def finish_after(handler: Callable[[], object]) -> None:
    """Have an exit handler called before all that are registered by now."""
    atexit.unregister(handler)
    atexit.register(handler)


def watch() -> None:
    """Begin what `exit_on_sigterm` has put off, from any thread."""
    if (leaving := _installed()) is not None:
        leaving.watch()


def _installed() -> _Leaving | None:
    owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return owner if isinstance(owner, _Leaving) else None


def die_of_sigterm() -> None:
    """End this process by SIGTERM, from any thread."""
    _restore_default()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # Only where the first did not do it.


def in_worker() -> bool:
    """Whether this is a child of multiprocessing. While a spawned one imports the main module, only a mark says so."""
    return multiprocessing.parent_process() is not None or hasattr(multiprocessing.current_process(), "_inheriting")


def _restore_default() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    elif signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        _set_in_c(None)  # Python lets only the main thread do so, and that is in C code.


def _set_in_c(handler: int | None) -> int | None:
    """Put the address of a handler in the place of the one that the system calls, which this gives."""
    if ctypes is None or not hasattr(ctypes.pythonapi, "PyOS_setsig"):
        return None
    put = ctypes.pythonapi.PyOS_setsig
    put.argtypes, put.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    return put(signal.SIGTERM, handler)


def _load_what_ends_threads() -> None:
    """Load what glibc looks for when the process ends while a thread still runs, and aborts it where it is not found.

    The program may have another root by then (`chroot`), where no library is.
    """
    if ctypes is not None and sys.platform == "linux":
        with contextlib.suppress(OSError):
            ctypes.CDLL("libgcc_s.so.1")


def _waited(event: threading.Event, until: float) -> bool:
    """Wait for `event` until that time, with the default action restored again and again.

    The handler that `faulthandler` has puts itself back when it returns, which may be after the first time.
    """
    while (left := until - time.monotonic()) > 0:
        _restore_default()
        if event.wait(min(left, _LOOK_AGAIN)):
            return True
    return event.is_set()


class _Leaving:
    """How this process leaves after SIGTERM."""

    def __init__(self, finish: Callable[[], object], before: Callable[[], object] | None) -> None:
        self._finish = finish
        self._before = before
        self._is_exiting = False
        """Whether exit handlers are called, where a SystemExit would end one of them and nothing else."""
        self._once = threading.Lock()
        self._finishing = threading.Event()
        self._finished = threading.Event()
        self._came_late = False
        """Whether the signal came when there was nothing left that a SystemExit could end."""
        self._is_watched = False

    def install(self) -> None:
        """Have the handler installed, but let SIGTERM still kill: nothing is recorded yet, and nobody watches."""
        atexit.register(self.finish)
        if self._before is not None:
            finish_after(self._before)
            atexit.register(self._exits)
        signal.signal(signal.SIGTERM, self._leave)
        self._in_c = _set_in_c(None)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._in_child)

    def watch(self) -> None:
        """Handle SIGTERM from now on, and start the threads: there may be something to lose."""
        if self._is_watched:
            return
        self._is_watched = True
        _load_what_ends_threads()
        self._worker = Worker("finish")
        self._told, self._teller = map(high, os.pipe())
        os.set_blocking(self._teller, False)  # For a signal handler.
        undisturbed(threading.Thread(target=self._watch, name="otel-progress-watch", daemon=True).start)
        if self._in_c is not None:
            _set_in_c(self._in_c)
        if hasattr(faulthandler, "register"):
            # Python calls a handler when its main thread comes back from C code, which may be never. This one is C
            # itself: it writes something (where the thread is) into the pipe, then goes on to Python's.
            faulthandler.register(signal.SIGTERM, self._teller, all_threads=False, chain=True)

    def finish(self) -> None:
        """Call `finish`, unless that has been done or is being done: then wait for it."""
        self._finishing.set()
        with self._once:
            if not self._finished.is_set():
                try:
                    self._finish()
                finally:
                    self._finished.set()
        if self._came_late:
            die_of_sigterm()

    def _exits(self) -> None:
        self._is_exiting = True
        if process.terminated:  # Then nobody waits for anything.
            self.finish()

    def _leave(self, number: int, _frame: FrameType | None) -> None:
        _restore_default()  # So that a second one kills at once.
        process.terminated = True
        self.watch()  # The program may have put this handler away and back before there was anything to watch for.
        with contextlib.suppress(OSError):
            os.write(self._teller, b".")
        if not self._finishing.is_set():
            if not self._is_exiting:
                sys.exit(128 + number)
            self.finish()
        self._came_late = True
        if self._finished.is_set():
            die_of_sigterm()

    def _watch(self) -> None:
        try:
            told = os.read(self._told, 1)
        except OSError:
            told = b""
        if not told:  # The program has closed every descriptor, ours too, as daemons do: nobody can tell of a signal.
            self._teller = -1  # Another file may have its number by then.
            if hasattr(faulthandler, "unregister") and signal.getsignal(signal.SIGTERM) == self._leave:
                faulthandler.unregister(signal.SIGTERM)
            return
        bound, now = process.exit_timeout, time.monotonic()
        process.terminated = True
        process.flush_by = now + bound * _FLUSHED_AFTER
        if _waited(self._finishing, now + bound / 2):
            _waited(threading.Event(), now + bound)
        else:
            _waited(self._worker.submit(self.finish), now + bound)
        die_of_sigterm()

    def _in_child(self) -> None:
        if signal.getsignal(signal.SIGTERM) == self._leave:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        process.terminated = self._came_late = self._is_exiting = False
        process.flush_by = math.inf
