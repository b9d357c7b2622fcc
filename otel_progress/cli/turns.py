"""Versions of a program that run by turns, each run in a process of its own, recorded as `otel-progress run` does."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..names import OTEL_PROGRESS_RECORD
from ..recording.times import duration
from .said import say

BASE, NEW = "base", "new"
_WARM_UP = "warm-up"
_RECORD = re.compile(r"^Record: (?!none, )(.+?)(?:, incomplete: .*)?$", re.MULTILINE)
_INTERPRETER = re.compile(r"(python|pypy)[\d.]*(\.exe)?", re.IGNORECASE)
_PATIENCE = 5.0
"""Seconds in which a program that is to end may do so."""
_TELL_EVERY = 10.0
"""Seconds, where standard error is no terminal."""


@dataclass(frozen=True)
class Version:
    """One version of a program."""

    name: str
    """`base` or `new`."""
    python: str
    program: tuple[str, ...]
    """What follows `otel-progress run`."""
    folder: Path

    @property
    def command(self) -> list[str]:
        """What runs it."""
        return [self.python, "-m", "otel_progress", "run", *self.program]


def versions_of(program: Sequence[str], against: str | None, *, twice: bool) -> list[Version]:
    """The versions to run, the base first.

    Args:
        program: a script with its arguments, or `-m` with those of a module.
        against: a folder, a Python or a program; None: there is no other version.
        twice: whether the program itself is the base where nothing else is.

    Raises:
        ValueError: one of them cannot be run.
    """
    here, own = Path.cwd(), tuple(program)
    new = _checked(Version(NEW, sys.executable, own, here))
    if against is None:
        return [Version(BASE, sys.executable, own, here), new] if twice else [new]
    if not against:
        raise ValueError("--against names no version")
    other = Path(against)
    if other.is_dir():
        return [_checked(Version(BASE, sys.executable, own, other.resolve())), new]
    if _INTERPRETER.fullmatch(other.name) and shutil.which(against):
        # Links stay: the interpreter of an environment is one.
        python = os.path.abspath(shutil.which(against) or against)  # noqa: PTH100
        imports = [python, "-c", "import otel_progress"]
        if subprocess.run(imports, check=False, capture_output=True).returncode:  # noqa: S603 - the user names it
            raise ValueError(f"{against}: otel_progress is not installed there")
        return [Version(BASE, python, own, here), new]
    try:
        return [_checked(Version(BASE, sys.executable, tuple(shlex.split(against)), here)), new]
    except ValueError as error:
        raise ValueError(f"--against {against}: {error}, and neither a folder nor a Python") from None


def _checked(version: Version) -> Version:
    script = next(iter(version.program), None)
    if not script or version.program in {("-m",), ("-m", "")}:
        raise ValueError("no program is named")
    if script != "-m" and not (version.folder / script).is_file():
        raise ValueError(f"{version.folder / script}: no such file")
    return version


class Turns:
    """Runs versions by turns, and keeps their records in a folder for each."""

    def __init__(self, versions: Sequence[Version], place: Path) -> None:
        now = datetime.now(timezone.utc)
        self.folder = place / f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}Z"
        """Where the records are, in a folder by the name of each version."""
        self._versions = versions
        self._without: dict[str, str] = {}
        """Versions of which no run has left a record yet, and why."""
        self._recorded: set[str] = set()
        """The others."""
        self._ended: dict[str, Counter[int]] = {version.name: Counter() for version in versions}
        for version in versions:
            (self.folder / version.name / "runs").mkdir(0o700, parents=True)

    def run(self, times: int, warm_up: int) -> bool:
        """Run each version so many times, after the warm-up. False where Ctrl-C ended it before."""
        progress = _Progress((times + warm_up) * len(self._versions))
        try:
            for number in range(-warm_up, times):
                # A, B, B, A: what gets slower all the time slows both alike.
                for version in self._versions if number % 2 == 0 else reversed(self._versions):
                    progress.tell()
                    if not self._run(version, is_warm_up=number < 0) and progress.done < len(self._versions):
                        return True  # The first run of a version: so it would go on.
                    progress.done += 1
        except KeyboardInterrupt:
            return False
        finally:
            progress.end()
        return True

    @property
    def failed(self) -> str:
        """Why there is nothing to be seen of a version, if that is so."""
        return next(iter(self._without.values()), "")

    def times(self, version: Version) -> int:
        """How often it ran, but for the warm-up."""
        return sum(self._ended[version.name].values())

    def ended_badly(self, version: Version) -> dict[str, int]:
        """How often it ended otherwise than with exit code 0, and how."""
        return {_how(code): times for code, times in sorted(self._ended[version.name].items()) if code}

    def _run(self, version: Version, *, is_warm_up: bool) -> bool:
        """Run it once; whether it left a record."""
        told = self.folder / f"{version.name}.txt"
        try:
            code = _waited_for(version, told)
        except BaseException:
            told.unlink()
            raise
        text = told.read_text("utf-8", "replace")
        records = [path for path in _RECORD.findall(text) if (version.folder / path).is_dir()]
        if not is_warm_up:
            self._ended[version.name][code] += 1
        if code:
            told.replace(self.folder / version.name / "stderr.txt")
        else:
            told.unlink()
        if not records:
            if version.name not in self._recorded:
                self._without.setdefault(version.name, _why_there_is_none(version, code, text))
            return False
        self._recorded.add(version.name)
        self._without.pop(version.name, None)
        to = self.folder / (_WARM_UP if is_warm_up else version.name) / "runs"
        to.mkdir(0o700, parents=True, exist_ok=True)
        shutil.move(version.folder / records[-1], to)
        return True


def _waited_for(version: Version, told: Path) -> int:
    """The exit code of a run; what it writes to standard error is in the file `told`."""
    environment = {key: value for key, value in os.environ.items() if key != OTEL_PROGRESS_RECORD}
    with told.open("wb") as errors:
        child = subprocess.Popen(  # noqa: S603 - running the user's program is what this is for
            version.command,
            cwd=version.folder,
            env=environment | {"COLUMNS": "120"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            return child.wait()
        except KeyboardInterrupt:
            _end(child)
            raise


def _end(child: subprocess.Popen[bytes]) -> None:
    """Have a program end: Ctrl-C mostly tells it as well, else it is told, and in the end it is killed."""
    for tell in (lambda: None, child.terminate, child.kill):
        tell()
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            child.wait(_PATIENCE)
            return


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _why_there_is_none(version: Version, code: int, text: str) -> str:
    program = shlex.join(version.program)
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    if code:
        return f"{program} left no record and {_how(code)}: {last}"
    return f"{program} left no record: no stage was recorded. `otel-progress run --help` says what is seen"


class _Progress:
    """How far it is, on standard error."""

    def __init__(self, runs: int) -> None:
        self.done = 0
        self._runs = runs
        self._began = self._told = time.monotonic()
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison]

    def tell(self) -> None:
        """Say it: on a terminal always, elsewhere now and then."""
        now = time.monotonic()
        if not self._is_terminal and self.done and now - self._told < _TELL_EVERY:
            return
        self._told = now
        left = (now - self._began) / self.done * (self._runs - self.done) if self.done else None
        text = f"run {self.done + 1} of {self._runs}" + ("" if left is None else f", about {_whole(left)} left")
        if self._is_terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)  # noqa: T201
        else:
            say(text)

    def end(self) -> None:
        """Take it away."""
        if self._is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201


def _whole(seconds: float) -> str:
    """Seconds for people, none of them broken: it is a guess."""
    return f"{math.ceil(seconds)} s" if seconds < 60 else duration(seconds)
