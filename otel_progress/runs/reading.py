"""Reading runs, wherever they are: `read` for programs, and what the command line builds on."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .assemble import run_of
from .collect import Collector
from .index import FILE, Index
from .ledger import Ledger
from .listed import Filter
from .model import Run
from .place import FOLDER
from .problems import Problems, SourceError
from .pruning import records_in
from .sources import Input, collector_files, is_record, opened_input, record_at, spooled
from .states import Processes

STANDARD_INPUT = "-"
MOST_VISITS = 10_000
_WEB = ("http://", "https://")


@dataclass
class Source:
    """Some inputs, and where what is known of them is kept from one time to the next."""

    inputs: list[Input]
    index: Path | None = None

    def run(self, run: str, problems: Problems, *, visits: int = MOST_VISITS, names: set[str] | None = None) -> Run:
        """One run with its visits, from the inputs that tell of it (None: any)."""
        shelf = _Memory()
        collector = Collector(shelf, visits=visits, wanted=lambda each: each == run)
        known = Processes()
        told: list[str] = []
        for each in self.inputs:
            if names is not None and each.name not in names:
                continue
            processes = each.processes(problems)
            # An id that JSON may write in several ways, or that is not in the line, is looked for in every line.
            only = run.encode() if run.isascii() and run.isalnum() else None
            each.read(collector, problems, only=only, growing=processes.live)
            known = known.joined(processes)
            told.append(each.name)
        collector.put_away()
        return run_of(shelf.ledgers.get(run) or Ledger(run), ", ".join(told), known)


class Reading:
    """The runs of a source, one after the other, and what was wrong with it, which is known behind the last."""

    def __init__(self, source: Source, visits: int) -> None:
        self._source = source
        self._visits = visits
        self.problems = Problems()

    def __iter__(self) -> Iterator[Run]:
        index = Index(visits=self._visits)
        try:
            self.problems.clear()
            index.update(self._source.inputs, self.problems)
            inputs = {each.name: each for each in self._source.inputs}

            @functools.lru_cache(1000)
            def processes(name: str) -> Processes:
                return inputs[name].processes(Problems())

            yield from index.whole(processes)
        finally:
            index.close()


def read(source: str | Path = ".otel-progress", *, visits: int = MOST_VISITS) -> Reading:
    """The runs of `source`, the oldest first, each with at most so many of its `visits`.

    `source` is a folder of records, a record, a file or a folder of a collector, a saved `shared` (JSON), the address
    of a Jaeger, or `-` for standard input. It may be of any length: at most 1,000 of its runs are in memory, with a
    bounded number of visits. What cannot be read is in `problems`, and stops nothing.

    Raises:
        SourceError: there is nothing that can be read.
    """
    return Reading(open_source(source), visits)


def open_source(source: str | Path, wanted: Filter = Filter()) -> Source:  # noqa: B008 - it is frozen
    """What `source` names; of a Jaeger no more than is wanted.

    Raises:
        SourceError: there is nothing that can be read.
    """
    if isinstance(source, str) and is_address(source):
        from .jaeger import from_jaeger  # noqa: PLC0415 - a list of records needs nothing of the web

        return Source([from_jaeger(source, wanted)])
    if source == STANDARD_INPUT:
        if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - it is None where it was closed
            raise SourceError("standard input is closed")
        return Source([spooled(sys.stdin.buffer, "standard input")])
    path = Path(source)
    try:
        runs = folder_of_records(path)
        if runs is None:
            return Source([opened_input(path)])
        next(runs.iterdir(), None)  # Says why, where it cannot be read.
        records = records_in(runs)
        collected = None if records else collector_files(path)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    if collected is not None:
        return Source([collected])
    return Source([record_at(each, each.name) for each in records], runs.parent / FILE if runs.name == "runs" else None)


def is_address(source: str) -> bool:
    """Whether a source is named by the address of a Jaeger."""
    return source[:8].lower().startswith(_WEB)


def folder_of_records(path: Path) -> Path | None:
    """The folder that holds the records, where `path` is one, or that of a project; None where it is something else.

    Raises:
        OSError: it may not be looked into.
    """
    if not path.is_dir() or is_record(path):
        return None
    for runs in (path, path / "runs", path / FOLDER / "runs"):
        if runs.name == "runs" and runs.is_dir():
            return runs
    return path


class _Memory:
    """A shelf for one run."""

    def __init__(self) -> None:
        self.ledgers: dict[str, Ledger] = {}

    def get(self, run: str) -> Ledger | None:
        return self.ledgers.get(run)

    def put(self, ledger: Ledger) -> None:
        self.ledgers[ledger.id] = ledger

    def put_aside(self, bulk: Ledger) -> None:
        raise AssertionError(f"of {bulk.id} no more is kept than is asked for")
