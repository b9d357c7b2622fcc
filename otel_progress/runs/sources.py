"""Where runs can be read: the files of one input, and the facts in them one after the other."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from ..recording.visible import printable
from . import saved
from .collect import Taker
from .documents import MOST_BYTES, Document, Lines
from .otlp import take
from .problems import Problems, SourceError
from .states import Processes, held_by_any, processes_of

EVENTS, SPANS, LOGS = "events.jsonl", "spans.jsonl", "logs.jsonl"
_CHUNK = 1024 * 1024
_Given = TypeVar("_Given")
_OTLP_ENDINGS = {".json", ".jsonl"}
_OTLP_BEGINNINGS = (b'{"resourceSpans":', b'{"resourceLogs":', b'{"resourceMetrics":')
_OTLP_BEGINS_IN = 64
"""Bytes."""


@dataclass
class Extent:
    """How far a file was read, and what it was like then."""

    size: int = -1
    changed: int = 0
    """Nanoseconds since the Unix epoch, as the file system says."""
    offset: int = 0
    lines: int = 0


class Input:
    """One input, which tells of any number of runs: a file, or what is like one."""

    def __init__(self, name: str, files: list[tuple[str, Path | IO[bytes]]]) -> None:
        self.name = printable(name)
        self._files = files
        for _, file in files:
            if not isinstance(file, Path):
                weakref.finalize(self, file.close)

    @property
    def names(self) -> list[str]:
        """The names of its files."""
        return [name for name, _ in self._files]

    def processes(self, problems: Problems) -> Processes:
        """The processes that write to it, as far as it tells."""
        _ = problems
        return Processes()

    def logs(self) -> Input | None:
        """What else it has that holds log records alone; the model needs none of them."""
        return None

    def extent(self, name: str) -> Extent:
        """What one of its files is like now; one of no size where it is not there."""
        file = dict(self._files)[name]
        if not isinstance(file, Path):
            return Extent(0)
        try:
            found = os.stat(file, follow_symlinks=False)  # noqa: PTH116 - much quicker, and asked for 20,000 times
        except OSError:
            return Extent(0)
        return Extent(found.st_size, found.st_mtime_ns)

    def size(self) -> int:
        """Bytes that it has."""
        return sum(
            self.extent(name).size if isinstance(file, Path) else os.fstat(file.fileno()).st_size
            for name, file in self._files
        )

    def line_at(self, offset: int) -> Extent | None:
        """Where the next line begins, and how many lines are before it; None where it is not one file that is named."""
        if len(self._files) != 1 or not isinstance(self._files[0][1], Path):
            return None
        try:
            with _opened(self._files[0][1]) as file:
                file.seek(offset)
                if not file.readline(MOST_BYTES).endswith(b"\n"):
                    return None
                place = Extent(offset=file.tell())
                file.seek(0)
                left = place.offset
                while left and (read := file.read(min(_CHUNK, left))):
                    place.lines += read.count(b"\n")
                    left -= len(read)
                return place
        except OSError:
            return None

    def looks(self) -> str:
        """What tells whether anything was written since."""
        return " ".join(f"{each.size} {each.changed}" for each in map(self.extent, self.names))

    def continues(self, before: dict[str, Extent]) -> bool:
        """Whether all that was read before is still there: files grow, unless somebody puts others in their place."""
        return all(self.extent(name).size >= before[name].offset for name in before)

    def read(
        self,
        collector: Taker,
        problems: Problems,
        *,
        only: bytes | None = None,
        since: dict[str, Extent] | None = None,
        until: int = sys.maxsize,
        growing: bool = False,
    ) -> dict[str, Extent]:
        """Give everything to the collector, and tell how far it was read.

        Of the lines only those are parsed that have `only` in them. `since` is where an earlier reading has ended, and
        `until` where another one begins, in each file; a last line that has no end is left for the next reading where
        the input is still `growing`.
        """
        extents: dict[str, Extent] = {}
        for name, file in self._files:
            extents[name] = extent = self.extent(name)
            before = (since or {}).get(name, Extent())
            try:
                with _opened(file) as stream:
                    stream.seek(before.offset)
                    lines = Lines(stream, self._shown(name), problems, only=only, growing=growing)
                    lines.offset, lines.number, lines.until = before.offset, before.lines, until
                    for document in lines:
                        self._enter(document, collector, problems, lines)
                    extent.offset, extent.lines = lines.offset, lines.number
            except FileNotFoundError:
                continue
            except OSError as error:
                problems.add(self._shown(name), None, error.strerror or str(error))
        return extents

    def _shown(self, name: str) -> str:
        return name

    def _enter(self, document: Document, collector: Taker, problems: Problems, lines: Lines) -> None:
        answer: object = document.get("result")
        if isinstance(answer, dict):  # As /api/v3 of Jaeger wraps it.
            document = cast("Document", answer)
        if "resourceSpans" in document or "resourceLogs" in document or "resourceMetrics" in document:
            taken = take(document, details=collector.details, exceptions=collector.exceptions)
            for wrong in taken.wrong:
                problems.add(lines.source, lines.number, wrong)
            for fact in taken.facts:
                collector.add(fact)
            return

        def say(text: str) -> None:
            problems.add(lines.source, lines.number, text)

        if saved.is_store(document):
            collector.replace(saved.ledger_of(document, f"store-{lines.number}", say))
        else:
            say(_what_it_is(document))


class RecordInput(Input):
    """The record of a program: a folder with events, spans and a file for each process."""

    def __init__(self, folder: Path, name: str | None = None) -> None:
        super().__init__(name or folder.name, [(EVENTS, folder / EVENTS), (SPANS, folder / SPANS)])
        self._folder = folder

    def processes(self, problems: Problems) -> Processes:
        """The processes that write to it."""
        return processes_of(self._folder, problems)

    def logs(self) -> Input | None:
        """What the program has logged."""
        return FileInput(self._folder / LOGS)

    def _shown(self, name: str) -> str:
        return str(self._folder / name)


class FileInput(Input):
    """One file: of a collector, of an earlier version's record, or a saved store."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        super().__init__(name or str(path), [(str(path), path)])
        self._path = path

    def processes(self, problems: Problems) -> Processes:
        """Whether somebody holds it: a program of an earlier version."""
        _ = problems
        return held_by_any(self._path)


def record_at(path: Path, name: str | None = None) -> Input:
    """The record at `path`: a folder, or the one file that it was in earlier versions."""
    return FileInput(path, name) if path.suffix == ".jsonl" else RecordInput(path, name)


def is_record(folder: Path) -> bool:
    """Whether a folder is the record of a program."""
    return any((folder / name).is_file() for name in (EVENTS, SPANS)) or any(folder.glob("process-*.json"))


def collector_files(folder: Path) -> Input | None:
    """The files that a collector has written into a folder, as one input; None where there are none.

    They are one, as a run may begin in a file and end in the one that came after it, or have its spans in one and its
    events in another. What else lies there is passed over.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix in _OTLP_ENDINGS and _begins_as_otlp(path)]
    return Input(str(folder), [(str(path), path) for path in files]) if files else None


def _begins_as_otlp(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(_OTLP_BEGINS_IN).lstrip().startswith(_OTLP_BEGINNINGS)
    except FileNotFoundError:  # It was rotated away at this moment.
        return False
    except OSError:
        return True  # It may, and whoever reads it is told why that cannot be.


def opened_input(path: Path) -> Input:
    """The one input at `path`.

    Raises:
        SourceError: there is none that can be read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode) and is_record(path):
            return RecordInput(path, path.resolve().name)
        if stat.S_ISREG(mode):
            with path.open("rb"):
                return FileInput(path)
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            with path.open("rb") as stream:
                return spooled(stream, str(path))
    except (OSError, ValueError) as error:  # A name that no file can have.
        raise SourceError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    raise SourceError(f"{path}: not a record, and not a file")


def spooled(stream: IO[bytes], name: str) -> Input:
    """What a stream holds, as an input: on disk, for as long as it is needed, so that it may be of any length.

    Raises:
        SourceError: it cannot be read, or there is no room for it.
    """
    try:
        return kept(iter(lambda: stream.read(_CHUNK), b""), name)
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror or error}") from None


def kept(pieces: Iterable[bytes], name: str) -> Input:
    """What comes in pieces, as an input: in a file without a name, which another process may read.

    Raises:
        SourceError: there is no room for it.
    """
    import tempfile  # noqa: PLC0415 - only here

    spool = _kept(tempfile.TemporaryFile, name)
    try:
        for piece in pieces:
            _kept(functools.partial(spool.write, piece), name)
        _kept(spool.flush, name)
    except BaseException:
        with contextlib.suppress(OSError):  # What did not fit is still to be written.
            spool.close()
        raise
    return Input(name, [(name, spool)])


def _kept(keep: Callable[[], _Given], name: str) -> _Given:
    try:
        return keep()
    except OSError as error:
        why = f"it cannot be kept in the folder for temporary files ({error.strerror or error})"
        raise SourceError(f"{name}: {why}") from None


class _opened:  # noqa: N801 - used as a function
    """A file to read; one that is open already stays so."""

    def __init__(self, file: Path | IO[bytes]) -> None:
        self._file = file
        self._own: IO[bytes] | None = None

    def __enter__(self) -> IO[bytes]:
        if not isinstance(self._file, Path):
            return self._file
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        number = os.open(self._file, flags)
        if not stat.S_ISREG(os.fstat(number).st_mode):  # A device has no end, and a pipe is somebody else's.
            os.close(number)
            raise OSError("not a file")
        self._own = os.fdopen(number, "rb", _CHUNK)
        return self._own

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.close()


def _what_it_is(document: dict[str, Any]) -> str:
    """Why a document tells of no run, for people who took the wrong file."""
    if "error" in document:
        return f"an error in the place of an answer: {str(document['error'])[:200]}"
    if "data" in document or "traceID" in document:
        return "Jaeger's own JSON: its address, or an answer of its /api/v3/traces, can be read"
    if "resource_spans" in document or "resource_logs" in document:
        return "OTLP with the names of its fields in snake case, which OTLP does not allow"
    if not document:
        return "an empty object"
    keys = ", ".join(map(repr, list(document)[:3]))
    return f"neither OTLP nor a saved store: an object with {keys}{', ...' if len(document) > 3 else ''}"
