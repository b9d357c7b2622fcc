"""When a run that goes on is expected to end, from earlier runs of its workflow. Described in docs/expected.md."""

from __future__ import annotations

from dataclasses import dataclass

from ..runs.present import RunNow


@dataclass(frozen=True)
class Expected:
    """How long a run will still take, from now on."""

    p50_seconds: float
    """As likely less as more."""
    p90_seconds: float
    """Nine of ten runs take no longer."""
    longer_than: float | None = None
    """The share of the earlier runs that took less than this one already did, where that is at least 0.95."""


class Earlier:
    """Earlier runs of one workflow."""

    def expected(self, run: RunNow, now_ns: int) -> Expected | None:
        """When `run` will end, as of `now_ns` (nanoseconds since the Unix epoch); None where there is no ground."""
        _ = run, now_ns
        return None
