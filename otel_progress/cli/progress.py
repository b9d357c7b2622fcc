"""The lines by which `otel-progress run` tells what goes on in the program, read from its record."""

from __future__ import annotations

import os
from pathlib import Path

from ..live.telling import Telling
from ..runs.following import Follower
from ..runs.states import Processes


class OwnRecord(Follower):
    """The record that this process writes to. Of processes only others are of interest: this one is there."""

    def processes(self, *, besides: int | None = None) -> Processes:
        """The other processes, and what became of them."""
        return Processes(list(super().processes(besides=besides or os.getpid())))


def telling(record: Path) -> Telling:
    """What tells of a record that this process writes to."""
    return Telling(OwnRecord(record))
