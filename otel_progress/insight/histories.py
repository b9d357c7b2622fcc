"""The earlier runs of a workflow, read beside the program from a folder of records, so that nothing waits for them."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from ..recording.faults import report
from ..runs.index import Index
from ..runs.listed import Filter, Listed
from ..runs.present import RunNow
from ..runs.problems import Problems, SourceError
from ..runs.reading import Source, open_source
from ..runs.sources import Input
from ..runs.whole import whole_runs
from .expected import FEWEST_RUNS, MOST_RUNS, Earlier, Expected
from .pasts import MOST_VISITS, Past, past_of, whole_time

_MOST_BYTES = 64 * 1024 * 1024
"""Of records that are read for one workflow, the newest first."""
_MOST_VISITS = 20_000
"""Visits that are kept of one workflow."""
_MOST_WORKFLOWS = 20
_FINE = ("success", "fallback")


class Histories:
    """What earlier runs in a folder of records tell of those that go on.

    The first question about a workflow starts a thread that reads its runs; until it is done nothing is expected.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder of a project's records, `.otel-progress` or its `runs`. Reads nothing yet."""
        self._folder = folder
        self._known: dict[str, Earlier | None] = {}
        self._wanted: list[tuple[str, str]] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def expected(self, run: RunNow, now_ns: int) -> Expected | None:
        """When `run` will end, as of `now_ns` (nanoseconds since the Unix epoch); None where nothing is known.

        It never waits, and never raises.
        """
        try:
            if run.workflow not in self._known:
                self._ask(run)
            earlier = self._known.get(run.workflow)
            return earlier and earlier.expected(run, now_ns)
        except Exception as error:
            self._known[run.workflow] = None
            report("the end of a run could not be expected", error)
            return None

    def close(self) -> None:
        """Read no more. What is known stays."""
        self._ended.set()

    def wait(self, seconds: float) -> None:
        """Wait until all that was asked for is read, at most so long."""
        if (thread := self._thread) is not None:
            thread.join(seconds)

    def _ask(self, run: RunNow) -> None:
        if len(self._known) >= _MOST_WORKFLOWS or self._ended.is_set():
            return
        self._known[run.workflow] = None
        with self._lock:
            self._wanted.append((run.workflow, run.id))
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, name="otel-progress-histories", daemon=True)
                self._thread.start()

    def _read(self) -> None:
        while True:
            with self._lock:
                if not self._wanted or self._ended.is_set():
                    self._thread = None
                    return
                workflow, besides = self._wanted.pop(0)
            try:
                pasts = [past for past in pasts_in(self._folder, workflow, besides) if not self._ended.is_set()]
                if len(pasts) >= FEWEST_RUNS:
                    self._known[workflow] = Earlier(pasts)
            except Exception as error:
                report("earlier runs could not be read", error)


def pasts_in(folder: Path, workflow: str, besides: str = "") -> list[Past]:
    """The newest runs of a workflow in a folder of records that came to a good end, the oldest first.

    `besides` is the id of a run that is none of them. What is damaged is left out, and of what is too large the whole
    time alone is used.
    """
    try:
        source = open_source(folder)
    except SourceError:
        return []
    with closing(Index(source.index)) as index:
        index.update(source.inputs, Problems())
        listed = [
            each
            for each in index.runs(Filter(_exactly(workflow), _FINE), 2 * MOST_RUNS)
            if each.workflow == workflow and each.id != besides and each.owned
        ][:MOST_RUNS]
        inputs = _small_enough(listed, index, {each.name: each for each in source.inputs})
    ids = {each.id for each in listed if each.id in inputs}
    taken = {each.name: each for of_run in inputs.values() for each in of_run}
    runs = whole_runs(Source(list(taken.values())), Problems(), visits=MOST_VISITS, runs=ids.__contains__)
    found = {run.id: past for run in runs if (past := past_of(run)) is not None}
    whole = {each.id: whole_time(each.seconds) for each in listed if each.id not in ids and each.seconds is not None}
    return [past for each in reversed(listed) if (past := found.get(each.id) or whole.get(each.id)) is not None]


def _small_enough(listed: list[Listed], index: Index, inputs: dict[str, Input]) -> dict[str, list[Input]]:
    """The inputs of those runs, the newest first, that are read visit by visit."""
    size = visits = 0
    found: dict[str, list[Input]] = {}
    sizes: dict[str, int] = {}
    for each in listed:
        own = [inputs[name] for name in index.inputs_of(each.id) if name in inputs]
        more = {one.name: sum(one.extent(file).size for file in one.names) for one in own if one.name not in sizes}
        if (
            each.visits <= MOST_VISITS
            and visits + each.visits <= _MOST_VISITS
            and size + sum(more.values()) <= _MOST_BYTES
        ):
            visits, size = visits + each.visits, size + sum(more.values())
            sizes |= more
            found[each.id] = own
    return found


def _exactly(workflow: str) -> str:
    return "".join("?" if letter in "*?" else letter for letter in workflow)
