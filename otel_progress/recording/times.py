"""Times as people and stores write them."""

from __future__ import annotations

import functools
import re
from datetime import datetime, timezone

NANO = 1_000_000_000
_FRACTION = re.compile(r"\.(\d+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def timestamp(ns: int) -> str:
    """Nanoseconds since the Unix epoch as ISO 8601 in UTC, to the microsecond."""
    second, micros = _second(ns // NANO), str(ns // 1000)[-6:].zfill(6)  # `:06` would take longer.
    return f"{second}.{micros}+00:00" if micros != "000000" else f"{second}+00:00"


@functools.lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None).isoformat()


def now_timestamp() -> str:
    """The present as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat()


def parse_timestamp(value: object) -> int | None:
    """Nanoseconds since the Unix epoch in an ISO 8601 text; one without a zone is taken as UTC; None if it is none."""
    try:
        # Before Python 3.11 a fraction had three digits or six, and no zone was called Z.
        text = _FRACTION.sub(lambda found: f".{found[1][:6]:0<6}", str(value).replace("Z", "+00:00"))
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        since = moment - _EPOCH  # A float of seconds would be off by some hundred nanoseconds.
        return (since.days * 86_400 + since.seconds) * NANO + since.microseconds * 1000
    except (ValueError, OverflowError):
        return None


def duration(seconds: float) -> str:
    """`seconds` for people: `3.2 ms`, `4.51 s`, `2m 05s`, `1h 12m`, `3d 04h`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.{1 if seconds < 0.09995 else 0}f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 48 * 3600:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"
