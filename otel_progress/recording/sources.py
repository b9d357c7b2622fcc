"""Where times, ids, names and results come from."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..names import Result
from .raised import is_a
from .store import name_of


@dataclass(frozen=True)
class Clock:
    """Where time comes from."""

    wall: Callable[[], int] = time.time_ns
    """Nanoseconds since the Unix epoch: when something starts."""
    monotonic: Callable[[], int] = time.perf_counter_ns
    """How long it takes: a wall clock that is set, or a machine that sleeps, changes no duration."""


def new_run_id() -> str:
    """A run id that no other run has: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def program_name() -> str:
    """The running program's name: its module's, else its script's without the ending."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name:
        return name_of(str(spec.name).removesuffix(".__main__"))
    return name_of(Path(sys.argv[0]).stem if sys.argv else "") or "workflow"


def result_of(error: BaseException | None) -> Result:
    """The result of code that was left by `error` (None: it returned).

    A BaseException that is no Exception (KeyboardInterrupt, CancelledError, GeneratorExit) cancels; a SystemExit tells
    by its code.
    """
    if error is None:
        return "success"
    if is_a(error, SystemExit):
        return "success" if _code_of(error) in (None, 0) else "failure"
    return "failure" if is_a(error, Exception) else "cancelled"


def _code_of(error: BaseException) -> object:
    code: object = SystemExit.__dict__["code"].__get__(error)
    return code if code is None or type(code) is int else ""
