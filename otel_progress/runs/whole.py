"""All runs of a source with all their visits, read in one go where there is room for them in memory."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

from .ahead import LostError, Told, told_ahead
from .assemble import run_of
from .collect import Collector
from .ledger import Ledger
from .listed import Filter
from .model import Run
from .problems import Problems
from .reading import Reading, Source
from .states import Processes

MOST_IN_MEMORY = 400_000
"""Visits; of more the index keeps what is not needed at the moment on disk, which takes longer."""
_EVERY = 1000


class _TooManyError(Exception):
    """There is no room for that much."""


def whole_runs(
    source: Source,
    problems: Problems,
    *,
    visits: int,
    runs: Callable[[str], bool] | None = None,
    tell: Callable[[int], None] | None = None,
    ahead: bool = False,
) -> Iterator[Run]:
    """The runs of `source`, the oldest first, each with at most so many visits.

    Args:
        source: what to read.
        problems: takes what is wrong with the source.
        visits: how many of each run.
        runs: whether a run is wanted, by its id; None: all.
        tell: called now and then with how many spans and events have been read.
        ahead: whether this process is the command's own, so that it may be forked to read with two processors.
    """
    memory = _Memory(visits)
    try:
        try:
            with told_ahead(source.inputs, details=visits > 0) if ahead else nullcontext(source.inputs) as inputs:
                memory.read(inputs, problems, runs, tell)
        except LostError:
            problems.clear()
            memory = _Memory(visits)
            memory.read(source.inputs, problems, runs, tell)
    except _TooManyError:
        memory.ledgers.clear()
        memory.aside.clear()
        problems.clear()
        reading = Reading(source, visits)
        for run in reading:
            if runs is None or runs(run.id):
                yield run
        for problem in reading.problems.found:
            problems.add(problem.source, problem.line, problem.text)
        return
    yield from memory.runs()


def is_wanted(run: Run, wanted: Filter) -> bool:
    """Whether a run is one of those that a filter asks for."""
    started = run.started or 0
    return (
        (wanted.workflow is None or fnmatch.fnmatchcase(run.workflow, wanted.workflow.replace("[", "[[]")))
        and (not wanted.states or run.state in wanted.states or (run.state == "done" and run.result in wanted.states))
        and (wanted.since is None or started >= wanted.since)
        and (wanted.until is None or started < wanted.until)
    )


class _Memory:
    """A shelf for every run, as long as there is room."""

    def __init__(self, visits: int) -> None:
        self.ledgers: dict[str, Ledger] = {}
        self.aside: dict[str, list[Ledger]] = {}
        self._visits = visits
        self._aside = 0
        self._inputs: dict[str, dict[str, Processes]] = {}
        """Of each run the inputs that tell of it, with their processes."""

    def read(
        self,
        inputs: Iterable[Told],
        problems: Problems,
        runs: Callable[[str], bool] | None,
        tell: Callable[[int], None] | None,
    ) -> None:
        """Read all of it."""
        facts, name, processes = 0, "", Processes()

        def is_of_interest(run: str) -> bool:
            nonlocal facts
            facts += 1
            if tell is not None and facts % _EVERY == 0:
                tell(facts)
            if runs is not None and not runs(run):
                return False
            told = self._inputs.get(run)
            if told is None:
                told = self._inputs[run] = {}
            if name not in told:
                told[name] = processes
            return True

        collector = Collector(self, visits=self._visits, wanted=is_of_interest)
        for each in inputs:
            name, processes = each.name, each.processes(problems)
            each.read(collector, problems, growing=processes.live)
        collector.put_away()

    def runs(self) -> Iterator[Run]:
        """Every run; each is forgotten as it is given."""
        for run in sorted(self.ledgers, key=lambda each: (self.ledgers[each].started or 0, each)):
            yield self._run(run)

    def _run(self, run: str) -> Run:
        ledger = self.ledgers.pop(run)
        if ledger.aside:
            ledger.take_back(self.aside.pop(run, []), self._visits)
        inputs = self._inputs.pop(run, {})
        known = Processes()
        for processes in inputs.values():
            known = known.joined(processes)
        return run_of(ledger, ", ".join(inputs), known)

    def get(self, run: str) -> Ledger | None:
        return self.ledgers.get(run)

    def put(self, ledger: Ledger) -> None:
        self.ledgers[ledger.id] = ledger

    def put_aside(self, bulk: Ledger) -> None:
        self._aside += len(bulk.kept)
        if self._aside > MOST_IN_MEMORY:
            raise _TooManyError
        self.aside.setdefault(bulk.id, []).append(bulk)
