"""What is read for the pages: the index by one thread, which owns it, and the records of single runs by some others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ..runs import Problems, Run
from ..runs.index import Index
from ..runs.place import FOLDER
from ..runs.reading import Source, folder_of_records, open_source
from ..runs.sources import Input, is_record
from ..runs.whole import whole_runs
from .workers import Workers

T = TypeVar("T")
MOST_VISITS = 50_000
"""Visits of a run that its page has one by one."""
_READERS = 4
_FRESH = 0.3
"""Seconds for which what the index says is taken for the present."""
_RATHER = 4
"""As many times as long as bringing the index up to date takes it rests: so 10,000 records are no load."""


class Records:
    """The runs of a source; a folder is looked through again, and what is not there yet may come.

    Args:
        source: as `--from` names it; None: the records of this folder.

    Raises:
        SourceError: it cannot be read.
    """

    def __init__(self, source: str | None = None) -> None:
        self.name = source or str(FOLDER)
        self.shown = self.name if source is not None and "://" in source else str(Path(self.name).absolute())
        """Where they are, for people."""
        self._place = Path(self.name) if source is None or _has_records(Path(source)) else None
        self._source = self._opened() if self._place is not None else open_source(self.name)
        self._index: Index | None = None
        self._rests_until = 0.0
        self.rest = _FRESH
        """Seconds that the index rests now."""
        self.problems = Problems()
        self._keeper = Workers(1, "otel-progress-index")
        # What came by a pipe or from a server is one file for all: one reads in it at a time.
        is_shared = self._place is None and not (Path(self.name).is_file() or Path(self.name).is_dir())
        self._readers = self._keeper if is_shared else Workers(_READERS, "otel-progress-reader")

    async def ask(self, question: Callable[[Index], T]) -> T:
        """What the index, as it is now, answers to a question."""
        return await self._keeper.do(lambda: question(self._present()))

    async def read(self, what: Callable[[], T]) -> T:
        """What a reading thread finds."""
        return await self._readers.do(what)

    def later(self, what: Callable[[], object]) -> None:
        """Have a reading thread do it some time."""
        self._readers.later(what)

    async def ids(self, prefix: str) -> list[str]:
        """The one run with this id, or the first few whose ids begin so."""
        found = await self.ask(lambda index: index.ids(prefix))
        return [prefix] if prefix in found else found

    async def names_of(self, run: str) -> set[str]:
        """The names of the records that tell of a run; none where there is no such run."""
        return await self.ask(lambda index: index.inputs_of(run))

    async def run(self, run: str) -> Run | None:
        """A run with its visits; None where there is none with this id."""
        names = await self.names_of(run)
        return await self.read(lambda: self.run_in(run, names)) if names else None

    def run_in(self, run: str, names: set[str]) -> Run:
        """A run, from the records that tell of it. For a reading thread."""
        return self._source.run(run, Problems(), visits=MOST_VISITS, names=names)

    def runs_in(self, names: set[str], ids: set[str], visits: int = MOST_VISITS) -> Iterator[Run]:
        """Some runs, from the records that tell of them. For a reading thread."""
        source = Source(self.inputs_of(names))
        return whole_runs(source, Problems(), visits=visits, runs=ids.__contains__)

    def inputs_of(self, names: set[str]) -> list[Input]:
        """The inputs with these names."""
        return [each for each in self._source.inputs if each.name in names]

    def folder_of(self, name: str) -> Path | None:
        """The folder of a record, by a name that the index has given; None where it is no folder."""
        if self._place is None:
            alone = Path(self.name)
            return alone if alone.is_dir() and is_record(alone) else None
        runs = folder_of_records(self._place)
        return None if runs is None else runs / name

    def _opened(self) -> Source:
        return open_source(self._place) if self._place is not None and self._place.exists() else Source([])

    def _present(self) -> Index:
        """The index, brought up to date if that was not done just now."""
        if self._index is not None and time.monotonic() < self._rests_until:
            return self._index
        began = time.monotonic()
        before = self._source.index
        if self._place is not None:
            self._source = self._opened()
        if self._index is None or self._source.index != before:
            if self._index is not None:
                self._index.close()
            self._index = Index(self._source.index)
        problems = Problems()
        self._index.update(self._source.inputs, problems)
        self.problems = problems
        self.rest = max(_FRESH, _RATHER * (time.monotonic() - began))
        self._rests_until = time.monotonic() + self.rest
        return self._index


def _has_records(path: Path) -> bool:
    """Whether it is a folder of records; one that may not be looked into is none, and says so when it is opened."""
    try:
        return folder_of_records(path) is not None
    except OSError:
        return False
