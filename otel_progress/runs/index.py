"""The index: what is known of every run of a folder, so that a list of 10,000 needs no second reading.

It is only a memory: whatever is wrong with it, it is made anew from the records. It lies beside them where that is our
own folder. Of another input it is a file without a name for as long as it is needed, so that an input may be of any
length.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

from ..recording.times import NANO
from ..recording.visible import printable
from .assemble import run_of
from .collect import Collector
from .ledger import Ledger
from .listed import Filter, Listed, conditions, joined
from .model import Run
from .problems import Problems
from .sources import Extent, Input
from .states import Processes

FILE = "index.sqlite"
_VERSION = 3
_APPLICATION = 0x6F747072
"""Says in the file itself whose it is."""
_LARGEST = 2**63 - 1
_WAIT = 10.0
"""Seconds that another reader may take to bring it up to date."""
_TABLES = """
CREATE TABLE inputs (
    name TEXT PRIMARY KEY, settled INTEGER NOT NULL, looks TEXT NOT NULL, extents TEXT NOT NULL, problems TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE runs (
    id TEXT NOT NULL, workflow TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER, state TEXT NOT NULL,
    note TEXT NOT NULL, result TEXT, stages INTEGER NOT NULL, visits INTEGER NOT NULL, revision INTEGER,
    retries INTEGER NOT NULL, source TEXT NOT NULL, owned INTEGER NOT NULL, input TEXT NOT NULL, ledger TEXT NOT NULL,
    PRIMARY KEY (input, id)
) WITHOUT ROWID;
CREATE INDEX by_start ON runs (started);
CREATE INDEX by_id ON runs (id);
CREATE INDEX by_workflow ON runs (workflow, started, ended, state, result);
"""
_ASIDE = """
CREATE TEMP TABLE aside (input TEXT NOT NULL, run TEXT NOT NULL, ledger TEXT NOT NULL);
CREATE INDEX temp.by_run ON aside (run, input);
"""
"""What is known of visits, of more runs at once than is to be in memory."""
_ORDERS = {
    "started": "started",
    "workflow": "workflow",
    "seconds": "ended - started",
    "state": "CASE state WHEN 'done' THEN result ELSE state END",
    "stages": "stages",
    "visits": "visits",
    "revision": "revision",
    "retries": "retries",
}
ORDERS = tuple(_ORDERS)
"""What runs can be ordered by."""
_LISTED = "id, workflow, started, ended, state, note, result, stages, visits, revision, retries, source, owned"

_KINDS = (str, str, int, (int, type(None)), str, str, (str, type(None)), int, int, (int, type(None)), int, str, int)
"""Of what kinds these are; of others where the file is damaged."""

_SEVERAL = "SELECT id FROM runs GROUP BY id HAVING count(*) > 1"
"""The runs that went on in another program, with a record of its own."""


class _NotOursError(Exception):
    """The file of the index is somebody else's."""


_DAMAGES = (sqlite3.DatabaseError, ValueError, TypeError, KeyError, AttributeError)
"""What is raised where the database is damaged, or what it has kept of a run."""
_OF_DAMAGE = ("no such ", "could not decode ")
_Method = TypeVar("_Method", bound=Callable[..., Any])


def _is_busy(error: Exception) -> bool:
    """Whether it cannot be used at the moment, and nothing else is wrong with it."""
    return isinstance(error, sqlite3.OperationalError) and not str(error).lower().startswith(_OF_DAMAGE)


def _in_spite_of_damage(ask: _Method) -> _Method:
    """`ask`, once more where it shows damage: of a file a part may be damaged that nobody looked at before."""

    @functools.wraps(ask)
    def asked(self: Index, *arguments: Any, **named: Any) -> Any:
        try:
            return ask(self, *arguments, **named)
        except _DAMAGES as error:
            if self.path is None:
                raise
            self.make_anew(error, Problems())
            return ask(self, *arguments, **named)

    return cast("_Method", asked)


class Index:
    """The runs of some inputs, kept at `path`; None: only for now.

    With `visits` it keeps as many visits of each run too, which a list does not need.
    """

    def __init__(self, path: Path | None = None, *, visits: int = 0) -> None:
        self.path = path
        """Where it is kept; None: only for now."""
        self._visits = visits
        self._inputs: list[Input] = []
        self._open()

    def _open(self) -> None:
        try:
            self._database = _opened(self.path)
        except (sqlite3.Error, OSError, _NotOursError):
            self._database, self.path = _opened(None), None  # What lies there stays as it is.

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def update(self, inputs: Iterable[Input], problems: Problems) -> None:
        """Bring it up to date with `inputs`; what is none of them any more is forgotten."""
        self._inputs = list(inputs)
        try:
            self._update(problems)
        except _DAMAGES as error:
            self.make_anew(error, problems)

    def make_anew(self, error: Exception, problems: Problems) -> None:
        """Begin with nothing, after what `error` has shown to be wrong, and read all of the inputs again."""
        self._database.close()
        if _is_busy(error) or self.path is None:
            self._database, self.path = _opened(None), None
        else:
            with contextlib.suppress(OSError):
                self.path.unlink()
            self._open()
        problems.clear()
        self._update(problems)

    @_in_spite_of_damage
    def runs(
        self, wanted: Filter, limit: int | None = None, *, skip: int = 0, order: str = "started", rising: bool = False
    ) -> list[Listed]:
        """The runs that are wanted but for the first `skip`, the newest first or in another of the `ORDERS`.

        What has nothing to be ordered by comes last.
        """
        where, values = conditions(wanted)
        by, way = _ORDERS[order], "ASC" if rising else "DESC"
        last = "" if order == "started" else f"{by} IS NULL, "
        ordered = f"ORDER BY {last}{by} {way}, started DESC, id LIMIT ? OFFSET ?"
        # Of a run that is in several inputs one part stands for all, the run itself if it is wanted.
        wanted_part = f"{where} AND" if where else "WHERE"
        before = "id = this.id AND (owned > this.owned OR owned = this.owned AND input < this.input)"
        first = f"(id NOT IN ({_SEVERAL}) OR NOT EXISTS (SELECT 1 FROM runs {wanted_part} {before}))"  # noqa: S608
        asked = f"SELECT {_LISTED} FROM runs AS this {wanted_part} {first} {ordered}"  # noqa: S608
        most = -1 if limit is None else limit
        rows = [_listed(row) for row in self._database.execute(asked, (*values, *values, most, skip))]
        return joined(rows, {run for (run,) in self._database.execute(_SEVERAL)}, self._parts)

    @_in_spite_of_damage
    def count(self, wanted: Filter) -> int:
        """How many runs are wanted."""
        where, values = conditions(wanted)
        asked = f"SELECT count(*) FROM (SELECT DISTINCT id FROM runs {where})"  # noqa: S608
        return self._database.execute(asked, values).fetchone()[0]

    @_in_spite_of_damage
    def workflows(self, most: int) -> list[tuple[str, int]]:
        """The workflows with the most runs, at most so many, and of each how many."""
        asked = "SELECT workflow, count(*) FROM runs GROUP BY workflow ORDER BY count(*) DESC, workflow LIMIT ?"
        return self._database.execute(asked, (most,)).fetchall()

    @_in_spite_of_damage
    def ended(self, workflow: str, wanted: Filter, most: int) -> list[str]:
        """The ids of the last runs of the workflow with this name, not only with such a one, that are wanted."""
        where, values = conditions(wanted)
        also = f"{where} AND workflow = ?" if where else "WHERE workflow = ?"
        asked = f"SELECT DISTINCT id FROM runs {also} ORDER BY started DESC, id LIMIT ?"  # noqa: S608
        return [run for (run,) in self._database.execute(asked, (*values, workflow, most))]

    @_in_spite_of_damage
    def durations(self, workflow: str) -> list[tuple[int, float]]:
        """Of the runs of a workflow that ended with success or fallback: start, and seconds; the oldest first."""
        asked = (
            "SELECT started, ended FROM runs WHERE workflow = ? AND state = 'done' "
            "AND result IN ('success', 'fallback') AND started > 0 AND ended IS NOT NULL ORDER BY started"
        )
        return [(start, max(0, end - start) / NANO) for start, end in self._database.execute(asked, (workflow,))]

    @_in_spite_of_damage
    def pulse(self) -> tuple[Any, ...]:
        """What is another where a list shows anything else."""
        asked = "SELECT count(*), max(started), max(ended), total(visits), total(retries) FROM runs"
        open_ones = "SELECT id, state, visits, stages, revision FROM runs WHERE state != 'done' ORDER BY input, id"
        return (*self._database.execute(asked).fetchone(), tuple(self._database.execute(open_ones).fetchall()))

    @_in_spite_of_damage
    def ids(self, prefix: str) -> list[str]:
        """The ids that begin with `prefix`, at most a few."""
        prefix = printable(prefix)  # As ids are, whatever stood in them.
        asked = "SELECT DISTINCT id FROM runs WHERE substr(id, 1, ?) = ? ORDER BY id LIMIT 5"
        return [run for (run,) in self._database.execute(asked, (len(prefix), prefix))]

    @_in_spite_of_damage
    def inputs_of(self, run: str) -> set[str]:
        """The names of the inputs that tell of a run."""
        return {name for (name,) in self._database.execute("SELECT input FROM runs WHERE id = ?", (run,))}

    def whole(self, processes: Callable[[str], Processes]) -> Iterator[Run]:
        """Every run, with what was kept of it; the parts of one that stands in several inputs are put together."""
        for (run,) in self._database.execute("SELECT id FROM runs GROUP BY id ORDER BY min(started), id"):
            asked = "SELECT input, ledger FROM runs WHERE id = ? ORDER BY started"
            parts = self._database.execute(asked, (run,)).fetchall()
            ledger, known = Ledger(run), Processes()
            for name, text in parts:
                part = Ledger.load(text)
                if (part.aside or part.inside) and (aside := self._aside(name, run)):
                    part.take_back(aside, self._visits)
                ledger.add(part)
                known = known.joined(processes(name))
            yield run_of(ledger, ", ".join(name for name, _ in parts), known)

    def _aside(self, name: str, run: str) -> list[Ledger]:
        asked = "SELECT ledger FROM aside WHERE input = ? AND run = ? ORDER BY rowid"
        return [Ledger.load(text) for (text,) in self._database.execute(asked, (name, run))]

    def _parts(self, run: str) -> list[tuple[Listed, Ledger]]:
        asked = f"SELECT {_LISTED}, ledger FROM runs WHERE id = ? ORDER BY started"  # noqa: S608
        rows = self._database.execute(asked, (run,)).fetchall()
        return [(_listed(row[:-1]), Ledger.load(row[-1])) for row in rows]

    # --- bringing it up to date ---------------------------------------------------------------------------------------

    def _update(self, problems: Problems) -> None:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        known = {row[0]: row for row in database.execute("SELECT name, settled, looks, extents, problems FROM inputs")}
        for each in self._inputs:
            row, looks = known.pop(each.name, None), each.looks()
            if row is None or not row[1] or row[2] != looks:
                self._read(each, looks, row)
        for name in known:
            database.execute("DELETE FROM inputs WHERE name = ?", (name,))
            database.execute("DELETE FROM runs WHERE input = ?", (name,))
        for (found,) in database.execute("SELECT problems FROM inputs WHERE problems != '' ORDER BY name"):
            problems.load(found)
        database.execute("COMMIT")

    def _read(self, source: Input, looks: str, row: tuple[Any, ...] | None) -> None:
        database = self._database
        before = {} if row is None else {name: Extent(**extent) for name, extent in json.loads(row[3]).items()}
        if not source.continues(before):
            database.execute("DELETE FROM runs WHERE input = ?", (source.name,))
            before, row = {}, None
        problems = Problems()
        processes = source.processes(problems)
        shelf = _Shelf(database, source.name, processes)
        collector = Collector(shelf, visits=self._visits)
        extents = source.read(collector, problems, since=before, growing=processes.live)
        collector.put_away()
        if before:
            shelf.look_again()
        if row is not None:
            problems.load(row[4])
        database.execute(
            "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?, ?)",
            (
                source.name,
                not processes.live,
                looks,
                json.dumps({name: asdict(extent) for name, extent in extents.items()}),
                problems.dump(),
            ),
        )


class _Shelf:
    """The runs of one input, in the index."""

    def __init__(self, database: sqlite3.Connection, name: str, processes: Processes) -> None:
        self._database = database
        self._name = name
        self._processes = processes

    def get(self, run: str) -> Ledger | None:
        """The ledger of a run, if it is there."""
        asked = "SELECT ledger FROM runs WHERE input = ? AND id = ?"
        row = self._database.execute(asked, (self._name, run)).fetchone()
        return None if row is None else Ledger.load(row[0])

    def put(self, ledger: Ledger) -> None:
        """Keep it, with what a list shows of it."""
        dumped = ledger.dump()  # Before its visits are taken out of it.
        listed = Listed.of(run_of(ledger, self._name, self._processes), owned=ledger.owned)
        row = (*(_bounded(getattr(listed, name)) for name in _LISTED.split(", ")), self._name, dumped)
        self._database.execute(f"INSERT OR REPLACE INTO runs VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608

    def put_aside(self, bulk: Ledger) -> None:
        """Keep what was put aside of a run."""
        self._database.execute("INSERT INTO aside VALUES (?, ?, ?)", (self._name, bulk.id, bulk.dump()))

    def look_again(self) -> None:
        """What has not ended may have come into another state, without a word of its own."""
        asked = "SELECT id FROM runs WHERE input = ? AND state != 'done'"
        for (run,) in self._database.execute(asked, (self._name,)).fetchall():
            if (ledger := self.get(run)) is not None:
                self.put(ledger)


def _listed(row: tuple[Any, ...]) -> Listed:
    if not all(map(isinstance, row, _KINDS)):
        raise TypeError("a row is not what was written")
    return Listed(*row)


def _bounded(value: Any) -> Any:
    """`value`, a number no larger than a database takes."""
    return max(-_LARGEST, min(value, _LARGEST)) if type(value) is int else value


def _opened(path: Path | None) -> sqlite3.Connection:
    if path is None:
        database = sqlite3.connect("", isolation_level=None)
    else:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(path, flags, 0o600))
        database = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
    try:
        database.executescript(_ASIDE)
        return _prepared(database)
    except sqlite3.OperationalError:
        database.close()
        raise
    except sqlite3.DatabaseError:  # Damaged: it is ours by its name and place.
        database.close()
        if path is None:
            raise
        path.unlink()
        return _opened(path)


def _prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    """With its tables; those of another version are dropped."""
    (application,), (version,) = (
        database.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if tables and application != _APPLICATION:
        database.close()
        raise _NotOursError
    database.execute("PRAGMA synchronous = OFF")  # What is lost is read again.
    if version != _VERSION or set(tables) != {"inputs", "runs"}:
        database.execute("BEGIN IMMEDIATE")
        for table in tables:
            database.execute(f'DROP TABLE "{table}"')
        for statement in filter(str.strip, _TABLES.split(";")):
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute("COMMIT")
    return database
