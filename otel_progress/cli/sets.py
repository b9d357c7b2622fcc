"""The two sets of runs that are compared, as people name them."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..compare import Sample, sample_of
from ..runs import Filter, Problems, Run, SourceError
from ..runs.attributes import attributes_of
from ..runs.place import FOLDER
from ..runs.reading import STANDARD_INPUT, Reading, Source, open_source
from .runs import moment

_VISITS = 1000
"""Of a run, for the times of platforms."""
_WEB = ("http://", "https://")
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


@dataclass(frozen=True)
class _Wanted:
    """Which runs of a source are asked for."""

    filter: Filter
    attributes: dict[str, str]


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
            found = [each for each in found if _matches(each.workflow, self._workflow)]
        return found

    def _samples(self, named: str) -> list[Sample]:
        if named == STANDARD_INPUT or named.startswith(_WEB) or Path(named).exists():
            return self._all(named, lambda: open_source(named))[1]
        if "=" in named:
            return self._chosen(_wanted(named))
        if any(sign in named for sign in "*?["):
            return self._all(named, lambda: _matching(named))[1]
        found = [each for each in self._default()[1] if named and each.id.startswith(named)]
        if len(found) != 1:
            what = "no file or folder of this name, and no run begins so" if not found else "several runs begin so"
            raise SourceError(f"{named}: {what}")
        return found

    def _chosen(self, wanted: _Wanted) -> list[Sample]:
        source, samples = self._default(wanted.filter)
        known = attributes_of(source.inputs) if wanted.attributes else {}
        return [
            each
            for each in samples
            if (wanted.filter.since is None or each.started >= wanted.filter.since)
            and (wanted.filter.until is None or each.started < wanted.filter.until)
            and (wanted.filter.workflow is None or _matches(each.workflow, wanted.filter.workflow))
            and all(
                key in known.get(each.id, {}) and _matches(str(known[each.id][key]), value)
                for key, value in wanted.attributes.items()
            )
        ]

    def _default(self, wanted: Filter = Filter()) -> tuple[Source, list[Sample]]:  # noqa: B008 - it is frozen
        source = self._from or str(FOLDER)
        if self._from is None and not FOLDER.exists():
            raise SourceError("no run is recorded here: `otel-progress run app.py` records one")
        if source.startswith(_WEB):  # It is asked for no more than is wanted.
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


def _matching(pattern: str) -> Source:
    inputs = [
        each
        for name in sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - that of a Path takes no absolute one
        for each in open_source(name).inputs
    ]
    if not inputs:
        raise SourceError(f"{pattern}: nothing matches")
    return Source(list({each.name: each for each in inputs}.values()))


def _wanted(named: str) -> _Wanted:
    times: dict[str, int] = {}
    workflow: str | None = None
    attributes: dict[str, str] = {}
    for part in named.split(","):
        key, sign, value = (each.strip() for each in part.partition("="))
        if not (key and sign and value):
            raise SourceError(f"{named}: {part!r} is not a name, = and a value")
        if key in ("since", "until"):
            try:
                times[key] = moment(value)
            except argparse.ArgumentTypeError as error:
                raise SourceError(f"{named}: {error}") from None
        elif key == "workflow":
            workflow = value
        else:
            attributes[key] = value
    return _Wanted(Filter(workflow, (), times.get("since"), times.get("until")), attributes)


def _matches(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]"))
