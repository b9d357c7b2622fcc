"""`otel-progress run` on a terminal: the program runs in a child, and this process holds the terminal.

The child has a session of its own, on a pseudo-terminal. What is typed goes there byte for byte, so that Ctrl-C, Ctrl-D
and the editing of lines are the pseudo-terminal's business. What the program says comes from there as it was written.
Signals are passed on, and how the child ends is how this process ends. When this process ends first, so does the child.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .beneath import Beneath

_PASSED_ON = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_NOTED = ("SIGCHLD", "SIGWINCH", "SIGTSTP", "SIGCONT")
_PIECE = 1024  # Written to a terminal at once, so that one that takes no more does not hold us up.
_MOST_WAITING = 65_536
_MOST_AT_ONCE = 1_048_576
_COOKED = termios.ICANON | termios.ECHO
_LOOK_AGAIN = 0.3  # Nothing tells a process in the background that it is in the foreground now.
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6


def is_there() -> bool:
    """Whether standard output and error are one terminal, and this process is in its foreground."""
    try:
        os.fstat(0)  # Where it is closed, the next file that is opened would be standard input.
        return _same_terminal(1, 2) and os.tcgetpgrp(1) == os.getpgrp()
    except OSError:
        return False


def run_in_child(beneath: Callable[[tuple[int, int]], Beneath]) -> int | None:
    """Fork: None in the child, which goes on; in this process the child's exit code, when it has ended.

    `beneath` gives, in this process, what is shown beneath the output of the program, by the columns and rows of the
    terminal. None too where there are no pseudo-terminals: then this process goes on.
    """
    try:
        master, slave = os.openpty()
    except OSError:
        return None
    has_input = _same_terminal(0, 1)
    attributes = termios.tcgetattr(1)
    attributes[_OFLAG] &= ~termios.OPOST  # The real terminal processes what is put out.
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    lifeline, held_open = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(master)
        os.close(held_open)
        _enter(slave, (0, 1, 2) if has_input else (1, 2))
        threading.Thread(target=_die_with_parent, args=(lifeline,), name="otel-progress-parent", daemon=True).start()
        return None
    os.close(lifeline)
    status = _Parent(child, master, slave, beneath, has_input=has_input).wait()
    return _exit_code(status)


def _same_terminal(one: int, other: int) -> bool:
    return os.isatty(one) and os.isatty(other) and os.fstat(one).st_rdev == os.fstat(other).st_rdev


def _enter(slave: int, descriptors: tuple[int, ...]) -> None:
    """Make the pseudo-terminal the terminal of this process."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for descriptor in descriptors:
        os.dup2(slave, descriptor)
    os.close(slave)


def _die_with_parent(lifeline: int) -> None:
    """Kill the program and its children when the parent has gone: the hang-up that they get then may be ignored."""
    with contextlib.suppress(OSError):  # The program may have closed it.
        if os.read(lifeline, 1) == b"":
            os.killpg(os.getpgrp(), signal.SIGKILL)


def _exit_code(status: int) -> int:
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    # The core, if there is to be one, is the child's.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):  # SIGKILL has no handler.
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


class _Parent:
    """The process that holds the terminal, while `child` runs."""

    def __init__(
        self, child: int, master: int, slave: int, beneath: Callable[[tuple[int, int]], Beneath], *, has_input: bool
    ) -> None:
        self._child = child
        self._make_beneath = beneath
        self._master = master
        self._slave = slave
        """Kept open, so that a program that closes its own is not taken for one that has hung up."""
        self._has_input = has_input
        self._attributes = termios.tcgetattr(1)
        self._is_raw = False
        self._typed = b""
        """Not yet taken by the pseudo-terminal."""
        self._said = b""
        """Not yet taken by the terminal."""
        self._noted, noter = os.pipe()
        for descriptor in (master, self._noted, noter):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(noter, warn_on_full_buffer=False)
        self._handled = [
            number
            for name in (*_PASSED_ON, *_NOTED)
            if signal.getsignal(number := signal.Signals[name]) != signal.SIG_IGN
        ]

    def wait(self) -> int:
        """Serve the child until it has ended; gives its status as `waitpid` does."""
        for number in self._handled:
            signal.signal(number, _note)
        try:
            self._pass_size_on()
            self._take_terminal()
            self._beneath = self._make_beneath(_size())  # It takes time, in which signals are noted by now.
            self._display = self._beneath.display
            while (status := self._ended()) is None:
                self._serve()
        finally:
            self._give_terminal_back()
            for number in self._handled:  # So that what the terminal does not take can be left.
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
        self._say_the_rest()
        self._said += self._display.finish()
        if os.WIFSIGNALED(status):
            self._said += self._display.put_back()
        self._write_all()
        self._beneath.ended(self._child, os.waitstatus_to_exitcode(status))
        return status

    def _ended(self) -> int | None:
        """The status of the child, if it has ended. If it has stopped, so does this process, until it is continued."""
        pid, status = os.waitpid(self._child, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            return None
        if not os.WIFSTOPPED(status):
            return status
        self._stop_too()
        return None

    def _serve(self) -> None:
        """Wait for something to do, and do it."""
        sources = [self._noted, *self._beneath.sources]
        if len(self._said) < _MOST_WAITING:
            sources.append(self._master)
        if self._is_raw and len(self._typed) < _MOST_WAITING:
            sources.append(0)
        targets = [1] if self._said else []
        if self._typed:
            targets.append(self._master)
        waits_for_terminal = self._has_input and not self._is_raw
        longest = self._longest(_LOOK_AGAIN if waits_for_terminal else None)
        readable, writable, _ = select.select(sources, targets, (), longest)
        if waits_for_terminal:
            self._take_terminal()
        if self._noted in readable:
            for number in os.read(self._noted, 512):
                self._signalled(number)
        self._show(readable)
        if 0 in readable:
            self._type(_read(0))
        if self._master in writable:
            self._typed = _written(self._master, self._typed)
        if 1 in writable:
            self._said = _written(1, self._said)

    def _longest(self, wait: float | None) -> float | None:
        """The seconds to wait at most; the display is drawn when the terminal has taken what was said before."""
        until = None if self._said else self._display.wake(monotonic())
        return wait if until is None else until if wait is None else min(wait, until)

    def _show(self, readable: list[int]) -> None:
        """Pass on what the program says, and draw what stands beneath it."""
        if any(source in readable for source in self._beneath.sources):
            self._said += self._beneath.hear()
        now, busy = monotonic(), bool(self._said)
        if self._master in readable:
            self._said += self._display.said(_read(self._master), now, aside=self._is_elsewhere(), busy=busy)
        if not self._said and self._display.wake(now) == 0:
            self._said += self._display.tick(now, aside=self._is_elsewhere())

    def _is_elsewhere(self) -> bool:
        """Whether the terminal is for something else now: the program reads keys, or this is in the background."""
        try:
            usual = self._attributes[_LFLAG] & _COOKED
            return termios.tcgetattr(self._slave)[_LFLAG] & _COOKED != usual or os.tcgetpgrp(1) != os.getpgrp()
        except (OSError, termios.error):
            return True

    def _signalled(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._pass_size_on()
            self._said += self._beneath.resize(_size())
        elif number == signal.SIGTSTP:
            self._stop_child()
        elif number == signal.SIGCONT:
            self._said += self._display.hide()
            self._is_raw = False  # Who knows what the shell did to the terminal while this process was stopped.
            self._take_terminal()
        elif number in (signal.SIGINT, signal.SIGQUIT) and not self._has_input:
            os.killpg(self._child, number)  # Typed, and the terminal would have told the whole group.
        elif number != signal.SIGCHLD:
            os.kill(self._child, number)

    def _type(self, typed: bytes) -> None:
        """Pass on what was typed, but for Ctrl-Z: a group that no shell watches over ignores it."""
        if not typed:  # The terminal has gone.
            self._has_input = self._is_raw = False
        attributes = termios.tcgetattr(self._slave)
        suspend = attributes[_CC][termios.VSUSP] if attributes[_LFLAG] & termios.ISIG else b"\0"
        if suspend != b"\0" and suspend in typed:
            typed = typed.replace(suspend, b"")
            self._stop_child()
        self._typed += typed

    def _stop_child(self) -> None:
        if signal.SIGTSTP in self._handled:
            os.killpg(self._child, signal.SIGSTOP)

    def _stop_too(self) -> None:
        """Stop as the child has, with the group that a shell takes for one job; then let the child go on."""
        self._say_the_rest()
        self._said += self._display.hide()
        self._write_all()
        self._give_terminal_back()
        if signal.SIGTSTP in self._handled:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.killpg(0, signal.SIGTSTP)  # Returns when this process is continued.
            signal.signal(signal.SIGTSTP, _note)
        self._pass_size_on()
        self._said += self._beneath.resize(_size())
        self._take_terminal()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child, signal.SIGCONT)

    def _take_terminal(self) -> None:
        """Have all that is typed come as it is, if this process is in the foreground."""
        if not self._has_input or self._is_raw or not _in_foreground():
            return
        raw = list(self._attributes)
        raw[_IFLAG] &= ~(termios.BRKINT | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.ISTRIP | termios.IXON)
        raw[_LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN | termios.ISIG)
        raw[_CC] = list(raw[_CC])
        raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSANOW, raw)
            self._is_raw = True

    def _give_terminal_back(self) -> None:
        if self._is_raw and _in_foreground():
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, self._attributes)
        self._is_raw = False

    def _pass_size_on(self) -> None:
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def _say_the_rest(self) -> None:
        """Say what the program has said so far."""
        read = 0
        while read < _MOST_AT_ONCE and (piece := _read(self._master)):  # What it has left behind may go on for ever.
            self._said += self._display.said(piece, monotonic(), aside=True)
            read += len(piece)
        self._write_all()

    def _write_all(self) -> None:
        while self._said:
            self._said = _written(1, self._said)


def _size() -> tuple[int, int]:
    """Columns and rows of the terminal; 0 where it does not know."""
    try:
        return os.get_terminal_size(1)
    except OSError:
        return 0, 0


def _note(_number: int, _frame: object) -> None:
    """Nothing: the number is in the pipe by now."""


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _read(descriptor: int) -> bytes:
    """What there is to read; nothing where the terminal has gone."""
    try:
        return os.read(descriptor, _MOST_WAITING)
    except OSError:
        return b""


def _written(descriptor: int, data: bytes) -> bytes:
    """What is left when a piece of `data` is written; nothing where the terminal has gone."""
    try:
        return data[os.write(descriptor, data[:_PIECE]) :]
    except BlockingIOError:
        return data
    except OSError:
        return b""
