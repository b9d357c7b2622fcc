"""The process that owns the servers of a stack: it starts them, and ends them when whoever asked for it is gone.

It is a process of its own so that it outlives the command, however that ends. On standard input it has a pipe of which
the command holds the other end: once that closes it stops the servers, unless the command has written the word `stay`.
On standard output it tells the command what goes on, as JSON Lines, and everybody else by `stack.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from . import state
from .build import StackError, cache
from .locks import HeldError, locked
from .run import Stack, free_offset, shifted
from .state import Started, State

STAY = b"stay"
LOCK = "stack.lock"


class Keeper:
    """Starts the servers over a data folder, watches them and ends them."""

    def __init__(self, folder: Path, offset: int | None, *, is_detached: bool) -> None:
        self._folder = folder
        self._offset = offset
        self._is_detached = is_detached
        self._is_unwanted = False

    def keep(self) -> int:
        """From the start to the end; gives the exit code."""
        for each in (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
            signal.signal(each, self._leave)
        threading.Thread(target=self._hold_on, daemon=True).start()
        try:
            with locked(self._folder / LOCK):
                return self._keep()
        except HeldError:
            _tell(held=True)
        except (StackError, OSError) as error:
            _tell(error=str(error))
        return 1

    def _keep(self) -> int:
        self._state = State("starting", Started.of(os.getpid()), self._is_detached, 0)
        self._note(self._state)
        error = ""
        stack = None
        try:
            stack = self._start()
            self._note(self._state.now("up"))
            _tell(up=True)
            while not self._is_unwanted:
                if (name := stack.ended()) is not None:
                    raise StackError(stack.end_of(name))
                if not state.is_told(self._folder):
                    raise StackError(f"{self._folder} was removed")  # Nobody would find the servers any more.
                time.sleep(0.2)
        except (StackError, OSError) as fault:
            error = "" if self._is_unwanted else str(fault)
            if isinstance(fault, OSError) and fault.filename is None:
                error = f"{error} (in {self._folder})"
        # What follows needs no disk: it may be full.
        with contextlib.suppress(StackError):
            self._note(self._state.now("stopping"))
        _tell(stopping=True)
        if stack is not None:
            stack.down()
        if error:
            with contextlib.suppress(StackError):
                self._note(self._state.now("failed", servers={}, error=error))
            _tell(error=error)
            return 1
        state.forget(self._folder)
        return 0

    def _start(self) -> Stack:
        cache().mkdir(parents=True, exist_ok=True)
        # One stack at a time takes ports: they are not taken before its servers listen.
        with locked(cache().parent / "ports.lock", lambda: not self._is_unwanted):
            offset = free_offset(self._offset, _say)
            stack = Stack(self._folder, shifted(offset), say=_say, is_unwanted=lambda: self._is_unwanted)

            def note() -> None:
                started = {name: Started.of(pid) for name, pid in stack.pids().items()}
                self._note(self._state.now("starting", offset=offset, servers=started))

            stack.on_process = note
            try:
                stack.up()
            except BaseException:
                stack.down()
                raise
        return stack

    def _note(self, now: State) -> None:
        self._state = now
        now.write(self._folder)

    def _leave(self, *_: object) -> None:
        self._is_unwanted = True

    def _hold_on(self) -> None:
        heard = b""
        while part := os.read(0, 100):
            heard += part
        if heard != STAY:
            self._is_unwanted = True


def _say(text: str) -> None:
    _tell(say=text)


def _tell(**told: Any) -> None:
    with contextlib.suppress(OSError):  # The command is gone.
        os.write(1, json.dumps(told).encode() + b"\n")


def main() -> None:
    """Keep the servers that the arguments ask for."""
    folder, offset, detached = json.loads(sys.argv[-1])
    sys.exit(Keeper(Path(folder), offset, is_detached=detached).keep())
