"""A shell with job control on a pseudo-terminal, for what only a terminal shows.

The shell runs one job. It tells on a pipe what becomes of it, and is told there to continue it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import otlp

_SHELL = """
import fcntl, os, signal, sys, termios
control, told, keep, background = *map(int, sys.argv[1:4]), sys.argv[4] == "background"
def tell(text): os.write(told, text.encode() + b"\\n")
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
before = termios.tcgetattr(0)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    if not background: os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.close(control), os.close(told)
    os.execv(sys.argv[5], sys.argv[5:])
if keep >= 0: os.close(keep)
tell(str(job))
while True:
    status = os.waitpid(job, os.WUNTRACED)[1]
    state = "as before" if termios.tcgetattr(0) == before else "changed"
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status): break
    tell("stopped, terminal " + state)
    while (asked := os.read(control, 2)) == b"bg": os.killpg(job, signal.SIGCONT)
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
tell(f"{os.waitstatus_to_exitcode(status)}, terminal {state}")
os.read(control, 2)
"""


class Terminal:
    """The terminal, from the side of its user."""

    def __init__(self, master: int, told: int, control: int) -> None:
        self.master = master
        self._told = told
        self._control = control
        self._lines = b""
        self.said = ""
        """All that has come so far."""
        self.bytes_ = b""
        """The same as bytes, from the beginning."""
        self.told_of: Callable[[bytes], object] = _nothing
        """Called with what comes."""
        self.job = int(self.told())
        """Process id of the command."""

    def type(self, typed: str | bytes) -> None:
        os.write(self.master, typed if isinstance(typed, bytes) else typed.encode())

    def until(self, text: str) -> str:
        """Wait for `text`; gives what came since the last wait, up to its end."""
        deadline = time.monotonic() + otlp.TIMEOUT
        while text not in self.said:
            readable, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"{text!r} did not come, but {self.said!r}"
            self._read()
        before, _, self.said = self.said.partition(text)
        return before + text

    def told(self) -> str:
        """The next thing that the shell tells; meanwhile what comes is read."""
        deadline = time.monotonic() + otlp.TIMEOUT
        while b"\n" not in self._lines:
            readable, _, _ = select.select([self._told, self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"the shell told nothing; on the terminal: {self.said!r}"
            if self.master in readable:
                self._read()
            if self._told in readable:
                self._lines += os.read(self._told, 1024)
        line, _, self._lines = self._lines.partition(b"\n")
        return line.decode()

    def more(self) -> None:
        """Wait for something to come."""
        readable, _, _ = select.select([self.master], [], [], otlp.TIMEOUT)
        assert readable, "nothing came"
        self._read()

    def rest(self) -> None:
        """Read what has come already."""
        while select.select([self.master], [], [], 0)[0]:
            self._read()

    def _read(self) -> None:
        data = os.read(self.master, 65536)
        self.bytes_ += data
        self.said += data.decode("utf-8", "replace")
        self.told_of(data)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ask(self, what: str) -> None:
        """`fg` or `bg`."""
        os.write(self._control, what.encode())

    def is_raw(self) -> bool:
        """Whether what is typed goes to a program as it is."""
        return not termios.tcgetattr(self.master)[3] & termios.ICANON


def _nothing(_: bytes) -> None:
    pass


@contextmanager
def terminal(
    folder: Path,
    command: list[str],
    *,
    background: bool = False,
    keep: int = -1,
    size: tuple[int, int] = (0, 0),
    environment: Mapping[str, str] = {},
) -> Generator[Terminal]:
    """Run Python with `command` as the job of a shell, on a terminal of a `size` in rows and columns.

    `keep` is a descriptor that the job inherits.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    control, to_control = os.pipe()
    from_told, told = os.pipe()
    arguments = [
        *map(str, (control, told, keep)),
        "background" if background else "foreground",
        sys.executable,
        *command,
    ]
    shell: subprocess.Popen[Any] = subprocess.Popen(
        [sys.executable, "-c", _SHELL, *arguments],
        cwd=folder,
        env=otlp.environment(**{"TERM": "xterm", "COLUMNS": "100", **environment}),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        pass_fds=[control, told, *([keep] if keep >= 0 else [])],
    )
    for descriptor in (slave, control, told):
        os.close(descriptor)
    started = None
    try:
        started = Terminal(master, from_told, to_control)
        yield started
    finally:
        for process in (started.job if started else None, shell.pid):
            try:
                if process is not None:
                    os.killpg(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        shell.wait()
        for descriptor in (master, from_told, to_control):
            os.close(descriptor)
