"""Run files: what one program recorded, as OTLP JSON Lines (the format of the OTLP file exporter specification)."""

from __future__ import annotations

import secrets
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from ._configure import QUEUE_SIZE
from ._faults import logger
from ._shared import name_of

FOLDER = Path(".otel-progress")
_SUFFIX = ".jsonl"
_WRITE_EVERY_MS = 500.0  # What a killed process may lose.


class RunFile:
    """A new run file, and the span processor that fills it."""

    def __init__(self, program: str, folder: Path = FOLDER) -> None:
        now = datetime.now(timezone.utc)
        safe = "".join(char if char.isalnum() or char in "-_." else "_" for char in name_of(program))[:60]
        self.path = _writable(folder) / f"{now:%Y%m%dT%H%M%SZ}-{safe}-{secrets.token_hex(3)}{_SUFFIX}"
        self.processor = BatchSpanProcessor(
            FileSpanExporter(self.path), max_queue_size=QUEUE_SIZE, schedule_delay_millis=_WRITE_EVERY_MS
        )

    def finish(self, keep: int) -> bool:
        """Delete the oldest run files beyond `keep`, and this one if nothing was recorded. Whether this one is left."""
        recorded = self.path.exists() and self.path.stat().st_size > 0
        if not recorded:
            self.path.unlink(missing_ok=True)
        files = sorted(self.path.parent.glob(f"*{_SUFFIX}"))  # Their names begin with the time.
        for old in files[: max(0, len(files) - keep)]:
            if old != self.path:
                old.unlink(missing_ok=True)
        return recorded


def _writable(folder: Path) -> Path:
    runs = folder / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        with tempfile.TemporaryFile(dir=runs):
            return runs
    except OSError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="otel-progress-"))
        logger.warning("%s cannot be written (%s): the run is kept in %s", runs, error.strerror or error, elsewhere)
        return elsewhere
