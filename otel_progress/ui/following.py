"""Looking whether anything happens in one run, from what its processes tell, of this or of other programs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from ..runs.following import Follower
from .records import Records

REST = 0.25
"""Seconds between two looks."""
_AGAIN = 20
"""Looks after which it is asked whether another program carries the run on, with a record of its own."""


class RunLook:
    """How a run is now: another value wherever its page would show anything else."""

    def __init__(self, records: Records, run: str) -> None:
        self._records = records
        self._run = run
        self._followers: dict[str, Follower] = {}
        self._folders: dict[str, Path] = {}
        """Of the records that tell of it, by their names."""
        self._looks = 0
        self._happened = 0
        self._lock = threading.Lock()
        """Held while it looks."""
        self._is_closed = False

    def close(self) -> None:
        """Look no more, and keep no file open."""
        self._records.later(self._close)

    async def __call__(self) -> Any:
        """Look."""
        if self._looks % _AGAIN == 0:
            names = await self._records.names_of(self._run)
            folders = {name: self._records.folder_of(name) for name in sorted(names)}
            self._folders = {name: folder for name, folder in folders.items() if folder is not None}
        self._looks += 1
        if not self._folders:
            return await self._records.ask(lambda index: index.pulse())  # A file: the index reads what is added.
        return await self._records.read(self._look)

    def _look(self) -> Any:
        states: list[tuple[str, str]] = []
        with self._lock:
            for name in () if self._is_closed else list(self._folders):
                follower = self._follower_of(name)
                # Before what they told is read: then it is all there.
                states += [(process.name, process.state) for process in follower.processes()]
                while happened := follower.read():
                    self._happened += sum(each.run == self._run for each in happened)
        return self._happened, list(self._folders), states

    def _follower_of(self, name: str) -> Follower:
        follower = self._followers.get(name)
        if follower is None:
            follower = self._followers[name] = Follower(self._folders[name])
            follower.skip()  # The page is told of the present when it begins to watch.
        return follower

    def _close(self) -> None:
        with self._lock:
            self._is_closed = True
            for follower in self._followers.values():
                follower.close()


class ListLook:
    """How the list is now."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def __call__(self) -> Any:
        """Look."""
        return await self._records.ask(lambda index: index.pulse())

    def close(self) -> None:
        """Nothing is open."""
