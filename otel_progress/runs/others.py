"""What the other processes of a record told in it: children, mostly, some of which did not live to tell more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..names import PROCESS
from ..recording.faults import logger
from .processes import files_of_processes

_START = b'{"resourceLogs":'


@dataclass(frozen=True)
class Told:
    """An event."""

    process: str
    """What names the process that told it."""
    name: str
    at: int
    """Nanoseconds since the Unix epoch."""
    trace_id: str
    span_id: str
    is_sampled: bool
    attributes: dict[str, Any]


def told_by_others(file: Path, head: str) -> Iterator[Told]:
    """The events in `file`, but for those whose line begins with `head`."""
    own = head.encode()
    if own and len(files_of_processes(file.parent)) < 2:
        return
    try:
        with file.open("rb") as lines:
            for line in lines:
                if (not own or not line.lstrip().startswith(own)) and (event := _event(line)) is not None:
                    yield event
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("%s cannot be read: %s", file, error.strerror)


def _event(line: bytes) -> Told | None:
    """The event of a line; None where a full disk or a killed process has torn it."""
    try:
        (of_process,) = json.loads(line[max(0, line.rfind(_START)) :])["resourceLogs"]
        record = of_process["scopeLogs"][0]["logRecords"][0]
        return Told(
            next(
                pair["value"]["stringValue"] for pair in of_process["resource"]["attributes"] if pair["key"] == PROCESS
            ),
            record["eventName"],
            int(record["timeUnixNano"]),
            record.get("traceId", ""),
            record.get("spanId", ""),
            bool(record.get("flags", 0) & 1),
            {pair["key"]: _plain(pair["value"]) for pair in record["attributes"]},
        )
    except (ValueError, LookupError, TypeError, StopIteration):
        return None


def _plain(value: dict[str, Any]) -> Any:
    ((kind, plain),) = value.items()
    if kind == "intValue":
        return int(plain)
    return [_plain(each) for each in cast("dict[str, Any]", plain)["values"]] if kind == "arrayValue" else plain
