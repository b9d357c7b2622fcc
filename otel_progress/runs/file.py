"""Run files: what one program recorded, as OTLP JSON Lines (the format of the OTLP file exporter specification)."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, cast

from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from ..recording.faults import logger
from ..recording.store import name_of
from ..telemetry.exporters import Exporter
from ..telemetry.limits import QUEUE_SIZE

try:
    import fcntl
except ImportError:  # Not a POSIX system.
    fcntl = None

FOLDER = Path(".otel-progress")
_SUFFIX = ".jsonl"
_BATCH_SIZE = 512
_WRITE_EVERY_MS = 500.0  # What a killed process may lose.


class RunFile:
    """A new run file. There is none until something is recorded."""

    def __init__(self, program: str, folder: Path = FOLDER) -> None:
        self.path: Path | None = None
        """None where nothing can be written anywhere."""
        self._processor: BatchSpanProcessor | None = None
        if (runs := _writable(folder)) is not None:
            now = datetime.now(timezone.utc)
            safe = "".join(char if char.isalnum() or char in "-_." else "_" for char in name_of(program))[:60]
            self.path = runs / f"{now:%Y%m%dT%H%M%SZ}-{safe}-{secrets.token_hex(3)}{_SUFFIX}"
            self._absolute = self.path.absolute()  # The program may change its working directory.

    def processor(self) -> BatchSpanProcessor:
        """A span processor that fills the file."""
        stream = cast("IO[str]", _Appending(self._absolute))
        self._processor = BatchSpanProcessor(
            Exporter(lambda: FileSpanExporter(stream=stream)),
            max_queue_size=QUEUE_SIZE,
            max_export_batch_size=_BATCH_SIZE,
            schedule_delay_millis=_WRITE_EVERY_MS,
        )
        return self._processor

    def finish(self, keep: int) -> bool:
        """Write the rest and delete the oldest run files beyond `keep`. Whether this one is there."""
        if self._processor is not None:
            self._processor.shutdown()
        if self.path is None:
            return False
        files = sorted(self._absolute.parent.glob(f"*{_SUFFIX}"))  # Their names begin with the time.
        for old in files[: max(0, len(files) - keep)]:
            if old != self._absolute and not _in_use(old):
                with contextlib.suppress(OSError):
                    old.unlink()
        return self._absolute.exists()


class _Appending(io.TextIOBase):
    """A file that is opened with the first line, and to which every line is appended at once.

    So a forked child may write to it too, and has nothing of its parent's in a buffer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def write(self, text: str, /) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            if fcntl is not None:
                with contextlib.suppress(OSError):
                    fcntl.flock(self._descriptor, fcntl.LOCK_SH)  # Held until the last process that has it open ends.
        data = text.encode()
        while data:
            data = data[os.write(self._descriptor, data) :]
        return len(text)


def _in_use(path: Path) -> bool:
    """Whether a program that is still running writes to `path`, as far as that can be known."""
    if fcntl is None:
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _writable(folder: Path) -> Path | None:
    """The folder of the run files, made if need be; another one where it cannot be written; None where none can."""
    runs = folder / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        with tempfile.TemporaryFile(dir=runs):
            return runs
    except OSError as error:
        try:
            elsewhere = Path(tempfile.mkdtemp(prefix="otel-progress-"))
        except OSError:
            logger.warning("%s cannot be written (%s), and no other folder: no run file is kept", runs, error.strerror)
            return None
        logger.warning("%s cannot be written (%s): the run file is kept in %s", runs, error.strerror, elsewhere)
        return elsewhere
