"""Batches in parts that a collector takes: over gRPC it refuses whole what is larger than 4 MiB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

MOST_POINTS = 1000
"""Data points of metrics in a request: with exemplars and long names one may have 2 KB."""
_MOST = 3 * 1024 * 1024  # Bytes, as they are guessed here.
_EACH = 16  # Of an attribute beside its text,
_FIXED = 256  # and of a span or log record: ids, times, name.


def in_parts(batch: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The spans or log records of `batch`, in one part or, where they are large, in several."""
    part: list[Any] = []
    size = 0
    for each in batch:
        own = _size_of(each)
        if part and size + own > _MOST:
            yield part
            part, size = [], 0
        part.append(each)
        size += own
    yield part


def _size_of(each: Any) -> int:
    record = getattr(each, "log_record", each)
    size = _FIXED + _size(record.attributes) + _size(getattr(record, "body", None))
    status = getattr(record, "status", None)
    if status is not None:
        size += _size(status.description)
    for event in (*getattr(record, "events", ()), *getattr(record, "links", ())):
        size += _FIXED + _size(event.attributes)
    return size


def _size(value: Any) -> int:
    if isinstance(value, str):
        return _EACH + (len(value) if value.isascii() else 4 * len(value))
    if isinstance(value, bytes):
        return _EACH + len(value)
    if isinstance(value, Mapping):
        return sum(len(str(key)) + _size(part) for key, part in cast("Mapping[Any, Any]", value).items())
    if isinstance(value, Sequence):
        return sum(map(_size, cast("Sequence[Any]", value)))
    return _EACH
