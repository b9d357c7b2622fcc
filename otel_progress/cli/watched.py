"""What `otel-progress watch` shows on a terminal: its lines, and beneath them the display."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..insight.histories import Histories
from ..live.display import Display
from ..live.known import known, size_of
from ..runs.happenings import Happening
from ..runs.states import Processes


class Watched:
    """Standard output, which is a terminal. It is told what happens in a record, and shows it beneath the lines."""

    def __init__(self, record: Path) -> None:
        self._out = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding
        self._size = self._size_now()
        # It may be killed: then the cursor is there all the same.
        self._display = Display(self._size, known(os.environ), encoding=self._encoding, hides_cursor=False)
        self._display.follow(self, Histories(record.parent).expected)
        self._processes: Processes | None = None
        self._shall_stop = False
        self._stops = signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL
        if self._stops:
            signal.signal(signal.SIGTSTP, self._note)

    def happened(self, what: Iterable[Happening]) -> None:
        """Take in what happens."""
        self._display.enter(what)

    def became(self, processes: Processes) -> None:
        """Take in what became of the processes, after what they told."""
        self._processes = processes

    def read(self) -> Sequence[Happening]:
        """Nothing: it has been taken in."""
        return ()

    def processes(self) -> Processes | None:
        """What became of the processes."""
        return self._processes

    def put(self, lines: Iterable[str]) -> bool:
        """Say lines. False where nobody reads them."""
        said = "".join(f"{line}\n" for line in lines).encode(self._encoding, "backslashreplace")
        return not said or self._write(self._display.said(said, time.monotonic(), aside=False))

    def pause(self, seconds: float) -> None:
        """Let time pass, and draw."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if self._shall_stop:
                self._stop()
            if (size := self._size_now()) != self._size:
                self._size = size
                self._write(self._display.resize(*size))
            self._write(self._display.tick(now, aside=not self._is_mine()))
            wake = self._display.wake(time.monotonic())
            time.sleep(max(0.005, min(until - now, until - now if wake is None else wake)))

    def close(self) -> None:
        """Leave the lines alone there."""
        self._write(self._display.finish())
        if self._stops:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)

    def _note(self, _number: int, _frame: object) -> None:
        self._shall_stop = True

    def _stop(self) -> None:
        """Stop, as Ctrl-Z has it, when nothing stands there any more."""
        self._shall_stop = False
        self._write(self._display.hide())
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # Returns when it is continued.
        signal.signal(signal.SIGTSTP, self._note)

    def _is_mine(self) -> bool:
        """Whether this is in the foreground."""
        try:
            return os.tcgetpgrp(self._out) == os.getpgrp()
        except OSError:
            return False

    def _size_now(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._out)
        except OSError:
            size = os.terminal_size((0, 0))
        return size_of(size, os.environ)

    def _write(self, said: bytes) -> bool:
        try:
            while said:
                said = said[os.write(self._out, said) :]
        except OSError:
            return False
        return True


def on_terminal(record: Path) -> Watched | None:
    """What shows it where standard output is a terminal whose cursor can be moved."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty() and hasattr(os, "tcgetpgrp")
    return Watched(record) if is_terminal and known(os.environ).moves else None
