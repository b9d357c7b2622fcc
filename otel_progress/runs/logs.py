"""The log records that a program makes in its runs, written into its record where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any, cast

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult

from .. import names
from ..recording.faults import report
from ..telemetry.exporters import Exporter, exporter_class
from .appending import Appending, Stream

LOGS = "logs.jsonl"
MOST_BYTES = 64 * 1024 * 1024
"""What a record holds of them."""
_MOST_WAITING = 65_536
_BATCH_SIZE = 512
_WRITE_EVERY_MS = 500.0


def log_processor(file: Appending) -> LogRecordProcessor:
    """A processor that appends the log records of runs to `file`, those of forked children too."""
    exporter = cast("LogRecordExporter", Exporter(lambda: _OfRuns(file)))
    return BatchLogRecordProcessor(
        exporter,
        max_queue_size=_MOST_WAITING,
        max_export_batch_size=_BATCH_SIZE,
        schedule_delay_millis=_WRITE_EVERY_MS,
    )


class _OfRuns(LogRecordExporter):
    """Leaves out what is made outside a run, and the events, which have a file of their own."""

    def __init__(self, file: Appending) -> None:
        make: Any = exporter_class("logs", "otlp_json_file")
        self._file, self._exporter = file, make(stream=cast("IO[str]", Stream(file)))

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        kept = [each for each in batch if _is_told(each.log_record)]
        if kept and self._is_full():
            report(f"{self._file.path} holds {MOST_BYTES} bytes: no more log records are written")
        elif kept:
            return self._exporter.export(kept)
        return LogRecordExportResult.SUCCESS

    def _is_full(self) -> bool:
        try:
            return self._file.path.stat().st_size >= MOST_BYTES
        except OSError:  # Not there yet.
            return False

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 10_000) -> bool:  # noqa: ARG002 - as it is called
        return True


def _is_told(record: LogRecord) -> bool:
    return names.RUN_ID in (record.attributes or ()) and record.event_name not in names.EVENTS
