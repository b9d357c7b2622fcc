"""How reports say things: times, results, numbers."""

from __future__ import annotations

STYLES = {"success": "green", "fallback": "yellow", "failure": "red", "cancelled": "yellow", "abandoned": "red"}


def duration(seconds: float) -> str:
    """`seconds` for people: `3.2 ms`, `4.51 s`, `2m 05s`, `1h 12m`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.{1 if seconds < 0.09995 else 0}f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def times(count: int, thing: str) -> str:
    """`1 visit`, `3 visits`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"
