"""Where records are kept, so that nobody but the user can read them."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ..recording.faults import logger

FOLDER = Path(".otel-progress")
KEEP = 1000
"""Records that a folder keeps."""
KEEP_DAYS = 30
"""Days for which it keeps them, from the last that was written. So "slower than last week" has an answer."""
_PRIVATE = 0o700


def writable(folder: Path) -> Path | None:
    """The folder of the records, made if need be; the user's own one where it cannot be written; else None."""
    runs = folder / "runs"
    try:
        folder.mkdir(_PRIVATE, parents=True, exist_ok=True)
        _make(runs)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        return runs
    except OSError as error:
        reason = error.strerror
    try:
        elsewhere = _users_own()
    except OSError as error:
        why = f"{runs} cannot be written ({reason}), and no other folder ({error.strerror})"
        logger.warning("%s: no record is kept", why)
        return None
    logger.warning("%s cannot be written (%s): the record is kept in %s", runs, reason, elsewhere)
    return elsewhere


def _make(runs: Path) -> None:
    runs.mkdir(_PRIVATE, exist_ok=True)
    with tempfile.TemporaryFile(dir=runs):
        pass


def _users_own() -> Path:
    """One folder per user in the folder for temporary files, the same for every program. Anybody may make one there."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"otel-progress-{user}"
    folder.mkdir(_PRIVATE, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (os.name == "posix" and (found.st_uid != user or found.st_mode & 0o077)):
        raise OSError(0, f"{folder} is not the user's alone")
    runs = folder / "runs"
    _make(runs)
    return runs
