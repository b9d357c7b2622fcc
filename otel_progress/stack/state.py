"""What is known of a stack that runs, or has failed: a file in its data folder, for whoever comes later."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from ..recording.times import NANO
from ..runs.processes import identity
from ..runs.states import is_there
from .build import StackError

Phase = Literal["starting", "up", "stopping", "failed"]

_KILL_AFTER = 15.0


@dataclass(frozen=True)
class Started:
    """A process that a stack has started: its id alone may be another's by now."""

    told: Mapping[str, Any]
    """What `identity` told of it then."""
    clock: str | None
    """When it began as `ps` says it, where nothing better is known."""

    @classmethod
    def of(cls, pid: int) -> Started:
        """The process `pid`, which lives."""
        told = identity(pid)
        return cls(told, None if told["start_ticks"] is not None else _clock(pid))

    @property
    def pid(self) -> int:
        """Its id."""
        return self.told["pid"]

    @property
    def since(self) -> float:
        """Seconds since the Unix epoch at which it began."""
        return self.told["started"] / NANO

    @property
    def lives(self) -> bool | None:
        """Whether it is still there; None where that cannot be known here."""
        there = is_there(dict(self.told))
        if there is None and self.clock is not None:
            return _clock(self.pid) == self.clock
        return there

    def end(self) -> bool:
        """Ask it to end, and kill it if it does not; gives whether it had to be killed."""
        for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
            if not self.lives:
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if self.wait(_KILL_AFTER):
                break
        return number != signal.SIGTERM

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; gives whether it has."""
        deadline = time.monotonic() + seconds
        while self.lives:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


@dataclass(frozen=True)
class State:
    """A stack, as its keeper has told of it."""

    phase: Phase
    keeper: Started
    """The process that started the servers and ends them."""
    is_detached: bool
    """Whether it goes on when the command that started it has ended."""
    offset: int
    """How much higher its ports are than the usual ones."""
    servers: Mapping[str, Started] = field(default_factory=dict[str, Started])
    error: str = ""
    """Why it has failed."""

    def left(self) -> dict[str, Started]:
        """The servers that are still there."""
        return {name: each for name, each in self.servers.items() if each.lives}

    def write(self, folder: Path) -> None:
        """Keep it in the data folder, whole or not at all.

        Raises:
            StackError: it cannot be written.
        """
        path, new = folder / _NAME, folder / f"{_NAME}.new"
        try:
            new.write_text(json.dumps(asdict(self), indent=1), "utf-8")
            new.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            raise StackError(f"{path} cannot be written: {error.strerror}") from error

    def now(self, phase: Phase, **changes: Any) -> State:
        """The same in another phase."""
        return replace(self, phase=phase, **changes)


_NAME = "stack.json"


def read(folder: Path) -> State | None:
    """What is told of the stack of a data folder; None where there is none.

    Raises:
        StackError: it cannot be read.
    """
    path = folder / _NAME
    try:
        told: Any = json.loads(path.read_bytes())
        servers = {name: Started(**each) for name, each in told.pop("servers").items()}
        state = State(keeper=Started(**told.pop("keeper")), servers=servers, **told)
        if state.phase not in get_args(Phase) or not all(
            type(each.pid) is int for each in [state.keeper, *servers.values()]
        ):
            raise ValueError(state.phase)
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StackError(
            f"{path} is damaged, or of another version of otel_progress: end what may run there by that, else delete it"
        ) from error
    return state


def is_told(folder: Path) -> bool:
    """Whether anything is told of a stack there."""
    return (folder / _NAME).exists()


def forget(folder: Path) -> None:
    """No stack runs there any more."""
    (folder / _NAME).unlink(missing_ok=True)


def _clock(pid: int) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
        )
    except OSError:
        return None
    how, _, since = done.stdout.strip().partition(" ")
    return None if how.startswith("Z") else since.strip() or None  # Nobody has asked yet how that one ended.
