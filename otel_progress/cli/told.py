"""What the process of a program tells the one that holds the terminal: where the record is, when the table comes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..recording.descriptors import high

END = b"\0"
"""Behind each of the two."""


class Told:
    """The end of the pipe that is written to. No other file is written to that comes to have its number."""

    def __init__(self, pipe: int) -> None:
        self._pipe = high(pipe)
        self._identity = os.fstat(self._pipe)

    def folder(self, folder: Path | None) -> None:
        """Say where the record is, or is going to be."""
        self._write(os.fsencode(folder or "") + END)

    def table_comes(self) -> None:
        """Say that the table comes: nothing is to stand beneath it."""
        self._write(END)

    def _write(self, said: bytes) -> None:
        with contextlib.suppress(OSError):  # The program may have closed it.
            if os.path.samestat(os.fstat(self._pipe), self._identity):
                os.write(self._pipe, said)
