"""What the command itself says: on standard error, or nowhere."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from ..runs.place import FOLDER


def say(text: str) -> None:
    """Print `text`. Where standard error is closed `print` would take standard output, which is the program's."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def show_command(run: str, record: Path | None) -> str:
    """The command that shows a run of a record."""
    is_found = record is None or record.parent.parent == FOLDER
    return f"otel-progress show {run[:8]}{'' if is_found else f' --from {shlex.quote(str(record))}'}"
