"""The record of a program: one folder for what it and its children recorded, in OTLP JSON Lines."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, cast

from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from ..names import PENDING
from ..recording.store import name_of
from ..telemetry.ended import EndedSpans
from ..telemetry.exporters import Exporter
from ..telemetry.limits import QUEUE_SIZE
from .appending import Appending, Stream
from .logs import LOGS, log_processor
from .others import Told, told_by_others
from .place import FOLDER, KEEP, KEEP_DAYS, writable
from .problems import Problems
from .pruning import prune
from .states import processes_of
from .writer import EVENTS, Writer

SPANS = "spans.jsonl"
EXPORTED = "exported.txt"
_LONGEST = 60  # Bytes of the program's name.
_BATCH_SIZE = 512
_WRITE_EVERY_MS = 500.0  # What a killed process may lose of the spans.


class Record:
    """A new record. There is none until something is recorded."""

    def __init__(self, program: str, folder: Path = FOLDER) -> None:
        self.path: Path | None = None
        """As it is to be shown; None where nothing can be written anywhere."""
        self.spans: EndedSpans | None = None
        """What writes the spans of this process, once that is set up."""
        self._writer: Writer | None = None
        self._appended: list[Appending] = []
        self._logs: list[LogRecordProcessor] = []
        if (runs := writable(folder)) is not None:
            now = datetime.now(timezone.utc)
            self.path = runs / f"{now:%Y%m%dT%H%M%SZ}-{_safe(program)}-{secrets.token_hex(3)}"
            self.folder = self.path.absolute()  # The program may change its working directory.

    def writer(self, service_name: Callable[[], str]) -> Writer:
        """What writes the events of this process and its forked children into it."""
        self._writer = Writer(self.folder, service_name)
        self._appended.append(self._writer.file)
        return self._writer

    def processor(self) -> EndedSpans:
        """A span processor that fills it."""
        self.spans = span_processor(self._file(SPANS))
        return self.spans

    def log_processor(self) -> LogRecordProcessor:
        """What writes the log records that are made in its runs."""
        self._logs.append(log_processor(self._file(LOGS)))
        return self._logs[-1]

    @property
    def fault(self) -> str | None:
        """Why it is incomplete, if it is."""
        return next((each.fault for each in self._appended if each.fault is not None), None)

    def finish(self, keep: int = KEEP, days: float = KEEP_DAYS, **known: int) -> bool:
        """Write the rest, and delete the oldest records beyond `keep` and those older than `days`. Whether it is there.

        What is `known` of how the process ends, its `exit_code` or a `signal`, is noted.
        """
        if self.spans is not None:
            self.spans.shutdown()
        for logs in self._logs:
            logs.shutdown()
        if self._writer is not None:
            self._writer.finish(**known)
        if self.path is None:
            return False
        prune(self.folder.parent, self.folder.name, keep, days)
        try:
            return self.folder.exists()
        except OSError:  # It may not be looked for, by a program that is another user's now.
            return self._writer is not None and bool(self._writer.process)

    def told_by_others(self) -> Iterator[Told]:
        """What other processes than this one told in it."""
        return iter(()) if self._writer is None else told_by_others(self._writer.file.path, self._writer.head)

    def tells_of(self, run: str) -> bool:
        """Whether anything of a run is in it, which may be nothing where it is incomplete."""
        return self.fault is None or any(_is_in(self.folder / name, run) for name in (EVENTS, SPANS))

    def living(self) -> set[str]:
        """The names of the processes that may write to it still: children that outlive their parent."""
        return {each.name for each in processes_of(self.folder, Problems()) if each.lives} if self.path else set()

    def _file(self, name: str) -> Appending:
        file = Appending(self.folder / name)
        self._appended.append(file)
        return file


def span_processor(file: Appending) -> EndedSpans:
    """A span processor that appends the spans of this process, and of its forked children, to `file`."""
    stream = cast("IO[str]", Stream(file))
    return EndedSpans(
        Exporter(lambda: _Ended(stream=stream)),
        max_queue_size=QUEUE_SIZE,
        max_export_batch_size=_BATCH_SIZE,
        schedule_delay_millis=_WRITE_EVERY_MS,
    )


class _Ended(FileSpanExporter):
    """Leaves out the spans that only say that something began: events say it, and better."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return super().export([span for span in spans if PENDING not in (span.attributes or ())])


def _is_in(file: Path, run: str) -> bool:
    try:
        with file.open("rb") as lines:
            return any(run.encode() in line and line.endswith(b"}\n") for line in lines)  # Else it is torn.
    except OSError:
        return False


def _safe(program: str) -> str:
    """A program's name as a part of a file's, which is bounded in bytes."""
    name = "".join(char if char.isalnum() or char in "-_." else "_" for char in name_of(program))
    try:
        os.fsencode(name)
    except UnicodeError:  # A file system with another encoding.
        name = name.encode("ascii", "replace").decode().replace("?", "_")
    return name.encode()[:_LONGEST].decode("utf-8", "ignore")
