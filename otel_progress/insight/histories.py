"""The earlier runs of a workflow, read beside the program from a folder of records, so that nothing waits for them."""

from __future__ import annotations

from pathlib import Path

from ..runs.present import RunNow
from .expected import Expected


class Histories:
    """What earlier runs in a folder of records tell of those that go on.

    The first question about a workflow starts a thread that reads its runs; until it is done nothing is expected.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder of a project's records, `.otel-progress` or its `runs`. Reads nothing yet."""
        self._folder = folder

    def expected(self, run: RunNow, now_ns: int) -> Expected | None:
        """When `run` will end, as of `now_ns` (nanoseconds since the Unix epoch); None where nothing is known.

        It never waits, and never raises.
        """
        _ = run, now_ns
        return None

    def close(self) -> None:
        """Stop reading, where it still goes on."""
