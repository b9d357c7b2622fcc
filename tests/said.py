"""What `otel-progress` says while a program runs, without what differs from run to run."""

from __future__ import annotations

import re
import signal
from typing import IO

from .otlp import TIMEOUT

_CLOCK = re.compile(r"^\d\d:\d\d:\d\d ", re.MULTILINE)


def shown(said: str) -> list[str]:
    """Its lines, without times, ids and margins."""
    text = re.sub(r"under 0.1 ms|\b[\d.]+ m?s\b", "T", _CLOCK.sub("", said))
    text = re.sub(r"run [0-9a-f]{8}$", "run ID", text, flags=re.MULTILINE)
    text = re.sub(r"\d{8}T\d{6}Z-program-[0-9a-f]{6}", "RECORD", text)
    return [line.rstrip() for line in text.splitlines()]


def lines_of(said: str) -> list[str]:
    """The lines of what happened, before the table."""
    found = shown(said)
    return found[: next((number for number, line in enumerate(found) if line.startswith("stage ")), len(found))]


def without_lines(said: str) -> str:
    """All but the lines of what happened."""
    return "".join(line for line in said.splitlines(keepends=True) if not _CLOCK.match(line))


def until(file: IO[str], text: str) -> str:
    """What comes up to a line that has `text` in it."""

    def late(*_: object) -> None:
        raise AssertionError(f"{text!r} did not come, but {said!r}")

    said = ""
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(round(TIMEOUT))
    try:
        while text not in said:
            line = file.readline()
            assert line, said
            said += line
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return said
