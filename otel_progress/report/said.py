"""How reports say things: results, numbers."""

from __future__ import annotations

from collections.abc import Iterator

STYLES = {"success": "green", "fallback": "yellow", "failure": "red", "cancelled": "yellow", "abandoned": "red"}


def times(count: int, thing: str) -> str:
    """`1 visit`, `3 visits`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def not_well(failed: int, cancelled: int) -> Iterator[str]:
    """How many failed and how many were cancelled, where any did: `2 failed`, `1 cancelled`."""
    if failed:
        yield f"{failed:,} failed"
    if cancelled:
        yield f"{cancelled:,} cancelled"
