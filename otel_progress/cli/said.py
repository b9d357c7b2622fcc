"""What the command itself says: on standard error, or nowhere."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Print `text`. Where standard error is closed `print` would take standard output, which is the program's."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
