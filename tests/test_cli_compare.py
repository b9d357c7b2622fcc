"""`otel-progress compare`: which runs it takes, what it prints, and how it ends."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from otel_progress.cli.main import main
from otel_progress.compare import library

from .records import START, TRACE, attributes, record, span, write

SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("otel_progress.cli.output.Console", lambda file: type("Plain", (), {"color_system": None}))
    return tmp_path


def runs_of(
    name: str, stages: Mapping[str, Sequence[float]], *, at: float = 0.0, every: float = 100.0, failed: int = 0
) -> list[str]:
    """The spans of runs with these stages, one after the other; the last ones failed."""
    lines: list[str] = []
    times = len(next(iter(stages.values())))
    for number in range(times):
        run = f"{name}{number:03}".encode().hex().ljust(32, "0")[:32]
        begin = at + number * every
        after = begin
        for place, (stage, seconds) in enumerate(stages.items()):
            lines.append(
                span(f"stage {stage}", f"{run[:12]}{place:04x}", f"{run[:12]}ffff", at=after, takes=seconds[number], run=run)
            )
            after += seconds[number]
        result = "failure" if number >= times - failed else "success"
        lines.append(span("run campaign", f"{run[:12]}ffff", at=begin, takes=after - begin, run=run, result=result))
    return lines


def noisy(seconds: float, times: int, seed: int, noise: float = 0.03) -> list[float]:
    drawn = random.Random(seed)
    return [seconds * drawn.lognormvariate(0, noise) for _ in range(times)]


def base(times: int = 12) -> dict[str, list[float]]:
    return {"draft": noisy(2, times, 1), "check": noisy(4, times, 2), "publish": noisy(1, times, 3)}


def new(times: int = 12, slower: float = 1.0) -> dict[str, list[float]]:
    return {"draft": noisy(2, times, 4), "check": noisy(4 * slower, times, 5), "publish": noisy(1, times, 6)}


def run(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as error:
        assert isinstance(error.code, int)
        return error.code


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]
