"""The two sets of runs that are compared, as people name them."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable

from ..compare import Sample, sample_of
from ..compare.chosen import Chosen, chosen, matches
from ..runs import Filter, Problems, Run, SourceError
from ..runs.attributes import attributes_of
from ..runs.place import FOLDER
from ..runs.reading import STANDARD_INPUT, Reading, Source, is_address, open_source
from ..runs.whole import whole_runs

_VISITS = 1000
"""Of a run, for the times of platforms."""
_ALL_VISITS = 1_000_000
"""Of a run that is drawn."""
SETS_HELP = """\
BASE and NEW each name runs:
  .otel-progress, ci/base        a folder of records, or a record
  spans.jsonl, shared.json       a collector's file, a saved `shared`; - is
                                 standard input, http://... a Jaeger
  'ci/base-*.jsonl'              all files and folders that match, in quotes
  91a85411                       a run, by how its id begins
  since=2026-11-01,until=7d      runs by when they began; also: workflow=NAME,
  service.version=1.4.*          and attributes of the resource or the run; what
                                 is joined by commas must all be so
The last two are looked for in --from."""


class Sets:
    """Reads sets of runs, each source once."""

    def __init__(self, source: str | None, workflow: str | None) -> None:
        self._from = source
        self._workflow = workflow
        self._read: dict[str, tuple[Source, list[Sample]]] = {}
        self.problems = Problems()

    def samples(self, named: str) -> list[Sample]:
        """What of the runs that `named` names is compared.

        Raises:
            SourceError: it names nothing that can be read.
        """
        found = self._samples(named)
        if self._workflow is not None:
            found = [each for each in found if matches(each.workflow, self._workflow)]
        return found

    def runs(self, ids: set[str]) -> dict[str, Run]:
        """Runs of what was read, by their ids, with all their visits."""
        return runs_of([source for source, _ in self._read.values()], ids)

    def _samples(self, named: str) -> list[Sample]:
        if not named:
            raise SourceError("no run is named: BASE and NEW both name some")
        if named == STANDARD_INPUT or is_address(named) or os.path.exists(named):  # noqa: PTH110 - of a Path it raises, where it is too long for one
            return self._all(named, lambda: open_source(named))[1]
        if "=" in named:
            return self._chosen(chosen(named))
        if any(sign in named for sign in "*?["):
            return self._all(named, lambda: _matching(named))[1]
        found = [each for each in self._default()[1] if named and each.id.startswith(named)]
        if len(found) != 1:
            what = "no file or folder of this name, and no run begins so" if not found else "several runs begin so"
            raise SourceError(f"{named}: {what}")
        return found

    def _chosen(self, wanted: Chosen) -> list[Sample]:
        source, samples = self._default(wanted.filter)
        known = attributes_of(source.inputs) if wanted.attributes else {}
        return [each for each in samples if wanted.takes(each, known.get(each.id, {}))]

    def _default(self, wanted: Filter = Filter()) -> tuple[Source, list[Sample]]:  # noqa: B008 - it is frozen
        source = self._from or str(FOLDER)
        if self._from is None and not os.path.lexists(FOLDER):
            raise SourceError("no run is recorded here: `otel-progress run app.py` records one")
        if is_address(source):  # It is asked for no more than is wanted.
            return self._all(f"{source} {wanted}", lambda: open_source(source, wanted))
        return self._all(source, lambda: open_source(source))

    def _all(self, name: str, opened: Callable[[], Source]) -> tuple[Source, list[Sample]]:
        if name not in self._read:
            source = opened()
            self._read[name] = source, samples_of(source, self.problems)
        return self._read[name]


def samples_of(source: Source, problems: Problems) -> list[Sample]:
    """What is compared of all runs of a source."""
    reading = Reading(source, _VISITS)
    runs: Iterable[Run] = reading
    found = [sample_of(run) for run in runs]
    for problem in reading.problems.found:
        problems.add(problem.source, problem.line, problem.text)
    return found


def runs_of(sources: Iterable[Source], ids: set[str]) -> dict[str, Run]:
    """The runs of these ids, with all their visits. What is wrong with the sources was said before."""
    found: dict[str, Run] = {}
    for source in sources:
        whole = whole_runs(source, Problems(), visits=_ALL_VISITS, runs=ids.__contains__)
        found.update((run.id, run) for run in whole)
    return found


def _matching(pattern: str) -> Source:
    inputs = [
        each
        for name in sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - that of a Path takes no absolute one
        for each in open_source(name).inputs
    ]
    if not inputs:
        raise SourceError(f"{pattern}: nothing matches")
    return Source(list({each.name: each for each in inputs}.values()))
