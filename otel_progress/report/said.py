"""How reports say things: results, numbers."""

from __future__ import annotations

STYLES = {"success": "green", "fallback": "yellow", "failure": "red", "cancelled": "yellow", "abandoned": "red"}


def times(count: int, thing: str) -> str:
    """`1 visit`, `3 visits`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"
