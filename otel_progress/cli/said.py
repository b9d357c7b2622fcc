"""What the command itself says: on standard error, or nowhere."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..recording.visible import printable, visible
from ..runs.place import FOLDER


def say(text: str) -> None:
    """Print `text`. Where standard error is closed `print` would take standard output, which is the program's."""
    if sys.stderr is not None:
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201


def not_one(prefix: str, found: Sequence[str]) -> str:
    """Why the beginning of an id names no run, or not one alone, of those that were found to begin so."""
    if not prefix:  # A variable of a shell, mostly, that is not set.
        return "no run is named: `otel-progress runs` lists them"
    if not found:
        return f"no run begins with {visible(prefix)}: `otel-progress runs` lists them"
    return f"several runs begin with {visible(prefix)}: {visible(', '.join(found))}"


def nothing_here(*asked: str) -> str:
    """Why there is no run, though some may have been `asked` for by their ids."""
    hints = filter(None, map(if_path, asked))
    return next(hints, "no run is recorded here: `otel-progress run app.py` records one")


def if_path(asked: str) -> str:
    """What to write where a run was asked for by what is a file or a folder; nothing where it is neither."""
    with contextlib.suppress(OSError, ValueError):  # Too long for one, or not to be looked at.
        if asked and Path(asked).exists():
            return f"{visible(asked)} is no run, but there is a file or folder of this name: --from reads it"
    return ""


def show_command(run: str, record: Path | None) -> str:
    """The command that shows a run of a record."""
    is_found = record is None or record.parent.parent == FOLDER
    return f"otel-progress show {run[:8]}{'' if is_found else f' --from {shlex.quote(str(record))}'}"
