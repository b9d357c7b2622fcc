"""JSON documents of a stream, one a line, without ever holding more than one of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from .problems import Problems

MOST_BYTES = 32 * 1024 * 1024
"""Of one document. A batch of a collector is at most 4 MiB by default."""
_CHUNK = 1024 * 1024
_BEGINNINGS = (b'{"resourceLogs":', b'{"resourceSpans":')
_MAGIC = {
    b"\x1f\x8b": "it is compressed by gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "it is compressed by zstd: unpack it first",
    b"PK\x03\x04": "it is a zip archive: unpack it first",
    b"\xff\xfe": "it is UTF-16: JSON Lines are UTF-8",
    b"\xfe\xff": "it is UTF-16: JSON Lines are UTF-8",
    b"SQLite format 3": "it is an SQLite database",
}
Document = dict[str, Any]
_decode: Callable[[str], tuple[Any, int]] = json.JSONDecoder().raw_decode
"""What `json.loads` does, without what it finds out before and behind, which takes as long for a line of one span."""


class Lines:
    """The lines of a stream that are JSON objects, with their numbers, one after the other.

    What is no object is noted and passed over. `offset` is how far the stream was read: to the end of the last line.
    """

    def __init__(
        self, stream: IO[bytes], source: str, problems: Problems, *, only: bytes | None = None, growing: bool = False
    ) -> None:
        self._stream = stream
        self.source = source
        self._only = only
        """What has to be in a line to be of interest."""
        self._problems = problems
        self._growing = growing
        """Whether a last line without its end is one that is being written."""
        self.number = 0
        self.offset = 0
        self.until = sys.maxsize
        """How far to read: to the end of a line."""

    def __iter__(self) -> Iterator[Document]:
        while self.offset < self.until and (line := self._stream.readline(MOST_BYTES)):
            first: Document | None = None
            if self.number == 0 and line.lstrip().startswith(b"{"):
                try:
                    first = parse(line)
                except DamagedError:
                    if (document := self._one_document(line)) is not None:
                        self.number = 1
                        yield document
                        return
            whole = line.endswith(b"\n")
            if not whole and self._growing and len(line) < MOST_BYTES:
                return
            self.number += 1
            self.offset += len(line)
            if not whole and len(line) == MOST_BYTES:
                self._pass_over()
            elif self.number == 1 and (kind := _foreign(line)):
                self._problems.add(self.source, None, kind)
                return
            elif self._only is None or self._only in line:
                try:
                    document = first or parse(line)
                except DamagedError as error:
                    if line.strip(b" \t\r\n"):
                        yield from self._behind_a_tear(line, error, whole=whole)
                else:
                    yield document

    def _one_document(self, first: bytes) -> Document | None:
        """The document that begins in the first line and goes on below, where the stream is one; else it is rewound."""
        if not self._stream.seekable():
            return None
        place = self._stream.tell()
        rest = self._stream.read(MOST_BYTES)
        try:
            document = parse(first + rest) if rest and not self._stream.read(1) else None
        except DamagedError:
            document = None
        if document is None:
            self._stream.seek(place)
        else:
            self.offset += len(first) + len(rest)
        return document

    def _behind_a_tear(self, line: bytes, error: DamagedError, *, whole: bool) -> Iterator[Document]:
        """A full disk or a killed process tore a line, and another process wrote its own behind it."""
        torn = max(map(line.rfind, _BEGINNINGS))
        if torn > 0:
            try:
                yield parse(line[torn:])
            except DamagedError:
                pass
            else:
                self._problems.add(self.source, self.number, "the first part of the line is torn")
                return
        self._problems.add(self.source, self.number, str(error) if whole else f"the last line is torn: {error}")

    def _pass_over(self) -> None:
        self._problems.add(self.source, self.number, f"the line is longer than {MOST_BYTES >> 20} MiB: passed over")
        while line := self._stream.readline(_CHUNK):
            self.offset += len(line)
            if line.endswith(b"\n"):
                return


class DamagedError(ValueError):
    """Bytes that are no JSON object."""


def parse(data: bytes) -> Document:
    """The JSON object in `data`.

    Raises:
        DamagedError: it is none.
    """
    document: Any
    try:
        text = data.decode()
        document, end = _decode(text)
        if type(document) is dict and (end == len(text) or text[end:] == "\n"):
            return document  # pyright: ignore[reportUnknownVariableType] - a cast would be a call for each line
    except (ValueError, RecursionError):
        pass  # In another encoding, with a mark before it, or damaged: then it is said how.
    try:
        value: object = json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except UnicodeDecodeError as error:
        raise DamagedError(f"not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise DamagedError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise DamagedError("not JSON that can be read: it is nested too deeply") from None
    except ValueError as error:  # A number of more digits than Python takes.
        raise DamagedError(f"not JSON that can be read: {error}") from None
    if not isinstance(value, dict):
        raise DamagedError(f"a JSON object is expected, not {_KINDS.get(type(value), 'null')}")
    return cast("Document", value)


_KINDS: dict[type, str] = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a truth value"}


def _foreign(line: bytes) -> str | None:
    return next((kind for magic, kind in _MAGIC.items() if line.startswith(magic)), None)
