"""What a command gives: on standard output, in colours where that is a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import Any

from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from ..recording.visible import visible
from ..runs import Problems
from .said import say


def put(lines: Iterable[tuple[str, str]]) -> bool:
    """Print lines, each in its style. False where nobody reads them any more.

    Raises:
        SystemExit: they cannot be written, as on a full disk; that is said.
    """
    out: Any = sys.stdout
    if out is None:  # It was closed.
        return False
    if hasattr(out, "reconfigure"):
        out.reconfigure(errors="backslashreplace")  # Not every terminal has every character of a name.
    coloured = Console(file=out).color_system is not None
    for text, style in lines:
        painted = Style.parse(style).render(text, color_system=ColorSystem.STANDARD) if coloured and style else text
        if not _is_done(lambda painted=painted: out.write(f"{painted}\n"), out):
            return False
    return _is_done(out.flush, out)


def _is_done(write: Callable[[], object], out: Any) -> bool:
    try:
        write()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # Python would complain once more at its end.
        if isinstance(error, BrokenPipeError):  # `| head` has seen enough.
            return False
        say(f"otel-progress: standard output cannot be written: {error.strerror or error}")
        raise SystemExit(2) from None
    return True


def room() -> int | None:
    """Columns of the terminal that standard output is, or what COLUMNS says; None where there is no margin."""
    out: Any = sys.stdout
    if out is None or not (out.isatty() or os.environ.get("COLUMNS", "").isdecimal()):
        return None
    return shutil.get_terminal_size().columns


def say_problems(problems: Problems) -> None:
    """Say what could not be read, and where."""
    for problem in problems.found:
        say(f"otel-progress: {visible(str(problem))}")
    if problems.left_out:
        say(f"otel-progress: and {problems.left_out} more like these")
