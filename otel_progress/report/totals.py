"""Totals of what runs did: what the table shows. All times are nanoseconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from ..names import OTHER
from ..recording.store import MOST_TOLD_APART

_MOST_COUNTED = 50
"""Distinct error types, actions and such that are told apart in one count."""
AGAIN, REWORK, FAILED = "again", "rework", "failed"
"""Beside stages, what has its share of a path: repeats, those at a higher revision, and visits that failed."""
BADLY = ("failure", "abandoned", "cancelled")
"""Results that are neither a success nor a fallback."""
_T = TypeVar("_T", bound=Hashable)


class Started(NamedTuple):
    """A visit that starts."""

    visit: Hashable
    """What tells it from every other that is told."""
    run: str
    stage: str
    at: int
    parent: Hashable | None = None
    """The visit that it lies in; None: directly in its run."""
    follows: Sequence[Hashable] = ()
    """Those that it is known to follow."""
    in_child: bool = False


class Ended(NamedTuple):
    """How a visit ended, and what it told."""

    visit: Hashable
    at: int
    result: str = "success"
    error: str | None = None
    """Type of the exception that ended it, or, of a fallback, that led to it."""
    message: str = ""
    is_repeat: bool = False
    is_rework: bool = False
    action: str | None = None
    retries: int = 0
    wait: int = 0
    budget: int | None = None
    items_done: int = 0
    items_failed: int = 0
    items_total: int | None = None
    platforms: int = 0
    revision: int = 0


@dataclass(eq=False)
class Row:
    """One stage at one place: in a workflow, or inside another stage. The first of all is the workflow itself."""

    name: str
    around: Row | None = None
    is_rest: bool = False
    """Whether it is that of all stages beyond those that are told apart, and of what is inside them."""
    started: int = 0
    """When its first visit started, since the Unix epoch."""
    rows: dict[str, Row] = field(default_factory=dict[str, "Row"])
    """What is inside."""
    visits: int = 0
    """That have ended."""
    time: int = 0
    """Sum over its visits; of a workflow, the wall time of its runs."""
    path: int = 0
    """Wall time on the path of the run that took it."""
    longest: int = 0
    at_once: int = 1
    """How many visits went on at once beside each other: of this stage, and of others at the same place."""
    wait: int = 0
    rework: int = 0
    """Sum over its repeats at a higher revision than the stage's first visit."""
    over_budget: int = 0
    retries: int = 0
    items_done: int = 0
    items_failed: int = 0
    items_total: int | None = None
    platforms: int = 0
    """The most that a run had."""
    revisions: int = 0
    """The most that a run had."""
    results: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Results and the types of the exceptions that led to them."""

    def all(self) -> Iterator[Row]:
        """The rows inside, and those inside of them."""
        for row in self.rows.values():
            yield row
            yield from row.all()

    def count(self, took: int, ended: Ended) -> None:
        """Count a visit that has ended."""
        self.visits += 1
        self.time += took
        if took > self.longest:  # noqa: PLR1730 - `max` would be a call, as below
            self.longest = took
        self.results[ended.result] += 1
        if ended.error is not None:
            more(self.errors, (ended.result, ended.error))
        if ended.is_rework:
            self.rework += took
        if ended.budget is not None and took > ended.budget:
            self.over_budget += 1
        self.retries += ended.retries
        self.wait += ended.wait
        self.items_done += ended.items_done
        self.items_failed += ended.items_failed
        if ended.items_total is not None:
            self.items_total = (self.items_total or 0) + ended.items_total
        if ended.platforms > self.platforms:  # noqa: PLR1730
            self.platforms = ended.platforms
        if ended.revision > self.revisions:  # noqa: PLR1730
            self.revisions = ended.revision

    def add(self, other: Row) -> None:
        """Add the counts of another."""
        self.visits += other.visits
        self.time += other.time
        self.path += other.path
        self.longest = max(self.longest, other.longest)
        self.at_once = max(self.at_once, other.at_once)
        self.add_counts(other)

    def add_counts(self, other: Row) -> None:
        """Add what tells of no time but of what was lost."""
        self.wait += other.wait
        self.rework += other.rework
        self.over_budget += other.over_budget
        self.retries += other.retries
        self.items_done += other.items_done
        self.items_failed += other.items_failed
        if other.items_total is not None:
            self.items_total = (self.items_total or 0) + other.items_total
        self.platforms = max(self.platforms, other.platforms)
        self.revisions = max(self.revisions, other.revisions)
        self.results.update(other.results)
        self.errors.update(other.errors)


class Failure(NamedTuple):
    """A visit, or a run, that did not end well, and how."""

    run: str
    stage: str
    result: str
    error: str | None
    message: str = ""


@dataclass(eq=False)
class WorkflowTotals:
    """One workflow, over all its runs."""

    row: Row
    runs: int = 0
    known: int = 0
    """How many rows there are."""
    outside: int = 0
    """Wall time of the path on which no stage was open."""
    figures: Counter[str] = field(default_factory=Counter[str])
    """Wall time of the path in repeats and such, each time once."""
    failure: Failure | None = None
    """How the first run failed or was left, else how one was cancelled; where all went well, the same of visits."""
    ended_badly: bool = False
    """Whether a run failed, was left or was cancelled: else they went on."""
    slowest: tuple[int, str] = (-1, "")
    """The wall time and the id of the slowest run."""
    ends: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """The stages after which flows ended, and the actions that these returned."""
    dead_ends: Counter[tuple[str, str | None]] = field(default_factory=Counter[tuple[str, "str | None"]])
    in_children: int = 0
    """Visits in other processes."""
    left_out: int = 0
    """Visits that are not in what was read."""

    def inside(self, row: Row, stage: str, started: int) -> Row:
        """The row of a stage inside another, for a visit that starts then; beyond so many that of all others there."""
        found = row.rows.get(stage)
        if found is None:
            if row.is_rest:
                return row
            is_rest = self.known >= MOST_TOLD_APART
            if is_rest:
                stage = OTHER
            found = row.rows.get(stage)
            if found is None:
                found = row.rows[stage] = Row(stage, row, is_rest, started)
                self.known += 1
        found.started = min(found.started, started)  # Others told of it later.
        return found


def more(counter: Counter[_T], key: _T, times: int = 1) -> None:
    """Count `key`, in a counter that grows only so far."""
    if key in counter or len(counter) < _MOST_COUNTED:
        counter[key] += times
