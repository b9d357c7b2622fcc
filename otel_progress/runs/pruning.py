"""Removing old records: those that we made, that nobody writes to, and nothing else."""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
import time
from datetime import datetime, timezone
from pathlib import Path

from .problems import Problems
from .processes import mark_crashed
from .states import process_at

try:
    import fcntl
except ImportError:  # Not a POSIX system.
    fcntl = None

RECORD_NAME = re.compile(r"\d{8}T\d{6}Z-.*-[0-9a-f]{6}(\.jsonl)?", re.DOTALL)
"""The name of a record's folder; with the ending, that of the one file that a record was before."""
FILE_NAME = re.compile(r"spans\.jsonl|events\.jsonl|logs\.jsonl|exported\.txt|process-\d+-[0-9a-f]{6}\.json")
"""The names of the files in a record."""
_DAY = 86_400
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def records_in(runs: Path) -> list[Path]:
    """The records in a folder, the oldest first. Links are none, and what is named otherwise is not ours."""
    try:
        with os.scandir(runs) as entries:
            names = [
                entry.name
                for entry in entries
                if RECORD_NAME.fullmatch(entry.name)
                and (entry.is_file if entry.name.endswith(".jsonl") else entry.is_dir)(follow_symlinks=False)
            ]
    except OSError:
        return []
    return [runs / name for name in sorted(names)]  # They begin with the time.


def prune(runs: Path, own: str, keep: int, days: float, now: float | None = None) -> None:
    """Remove the oldest records beyond `keep`, and those to which nothing was written for `days`.

    None that is newer than the one named `own`, and none that a program still writes to. What has crashed in those that
    stay is noted, once: who asks later cannot find it out in the same way.

    How old they are is told by when something was written to that one: the program may live by another clock.
    """
    if os.path.islink(runs):  # noqa: PTH114 - a Path raises where it may not look
        return
    records = records_in(runs)
    oldest = max(0.0, (_now(runs / own) if now is None else now) - days * _DAY)
    surplus = len(records) - keep
    for number, record in enumerate(records):
        is_old = number < surplus or _last_written(record, oldest) < oldest
        if not (record.name < own and is_old and not is_in_use(record) and remove(record)):
            _mark_crashed(record)


def _mark_crashed(record: Path) -> None:
    with contextlib.suppress(OSError):
        for file in _files(record) if record.is_dir() else ():
            if not (file.name.startswith("process-") and FILE_NAME.fullmatch(file.name)):
                continue
            process = process_at(file, Problems())
            if process is not None and process.state == "crashed":  # And no copy, nor of another machine.
                mark_crashed(file)


def _last_written(record: Path, oldest: float) -> float:
    """When anything was told in it, in seconds since the Unix epoch; never where it began later than `oldest`."""
    if record.name[:16] > f"{datetime.fromtimestamp(oldest, timezone.utc):%Y%m%dT%H%M%SZ}":
        return math.inf
    try:
        return _written(record)
    except OSError:
        return math.inf


def _now(own: Path) -> float:
    try:
        return _written(own)
    except OSError:  # Nothing was recorded.
        return time.time()


def _written(record: Path) -> float:
    files = _files(record) if record.is_dir() else [record]
    told = [file.lstat().st_mtime for file in files if file.suffix == ".jsonl"]
    return max(told, default=record.lstat().st_mtime)


def is_in_use(record: Path) -> bool:
    """Whether a program that is still running writes to it, as far as that can be known."""
    return any(map(_is_locked, _files(record) if record.is_dir() else [record]))


def remove(record: Path) -> bool:
    """Remove a record. False where it cannot be, or where something is in it that is not ours: then all of it stays."""
    try:
        if record.name.endswith(".jsonl"):
            record.unlink()
            return True
        files = _files(record)
        if not all(FILE_NAME.fullmatch(file.name) and stat.S_ISREG(file.lstat().st_mode) for file in files):
            return False
        _remove_folder(record, [file.name for file in files])
    except OSError:
        return False
    return True


def _remove_folder(folder: Path, names: list[str]) -> None:
    """Remove a folder with these files, even if somebody puts a link in its place meanwhile."""
    if os.unlink in os.supports_dir_fd:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)
        try:
            for name in names:
                os.unlink(name, dir_fd=descriptor)
        finally:
            os.close(descriptor)
    else:
        for name in names:
            (folder / name).unlink()
    folder.rmdir()


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in os.listdir(folder)]  # noqa: PTH208 - it is much quicker


def _is_locked(path: Path) -> bool:
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        # A process holds its own file alone; whoever looks at it must not seem to. The others are shared by all.
        fcntl.flock(descriptor, (fcntl.LOCK_SH if path.suffix == ".json" else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return False
