"""Where times, ids, names and results come from."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4  # Not by its module: a program that replaces it there gives its own ids in their order.

from ..names import OTEL_PROGRESS_RECORD, Result
from .raised import is_a
from .store import name_of

_EVERY = "__main__"  # What every program is called that is a folder's or a package's.
_TEXT = ("-c", "-")


@dataclass(frozen=True)
class Clock:
    """Where time comes from."""

    wall: Callable[[], int] = time.time_ns
    """Nanoseconds since the Unix epoch: when something starts."""
    monotonic: Callable[[], int] = time.perf_counter_ns
    """How long it takes: a wall clock that is set, or a machine that sleeps, changes no duration."""


def new_run_id() -> str:
    """A run id that no other run has: 32 hexadecimal digits."""
    return uuid4().hex


def program_name() -> str:
    """The running program's name: its module's or package's, else its script's without the ending.

    One that is given as text (`python -c`) has none: it is that of the program whose record it writes to, if any.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    name = str(spec.name).removesuffix(".__main__") if spec is not None and spec.name else _EVERY
    return name_of(_script() if name == _EVERY else name) or name_of(_recorded_program()) or "workflow"


def _script() -> str:
    script = Path(sys.argv[0] if sys.argv else "")
    if script.name in _TEXT:
        return ""
    if script.stem != _EVERY:
        return script.stem
    with contextlib.suppress(OSError):  # The folder that we are in may have been removed.
        script = script.absolute()
    return script.parent.name


def _recorded_program() -> str:
    """What a record is named after: its folder says when, what, and a few digits."""
    return Path(os.environ.get(OTEL_PROGRESS_RECORD, "")).name.partition("-")[2].rpartition("-")[0]


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
