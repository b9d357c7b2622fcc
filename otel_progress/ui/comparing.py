"""The document of a comparison of two sets of runs, named as for `otel-progress compare`, but by no file or address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..compare import MissingLibraryError, compare_samples, sample_of
from ..compare.chosen import Chosen, chosen
from ..compare.library import stats
from ..compare.samples import Sample
from ..pages import comparison_document
from ..runs import Filter, Run, SourceError
from ..runs.attributes import attributes_of
from .records import Records

_MOST = 2000
"""Runs of a side that are read: of more the newest."""
_LONGEST = 500
_VISITS = 1000
"""Of a run, for the times of platforms."""
_NOTHING: dict[str, Any] = {"workflows": [], "left_alone": [], "meaning": "", "smallest": 0.1, "error": 0.05}


async def compared(records: Records, base: str, new: str) -> dict[str, Any]:
    """What the page of a comparison shows; where there is none, why: in `wrong`."""
    said = base.strip()[:_LONGEST], new.strip()[:_LONGEST]
    asked = {"asked": {"base": said[0], "new": said[1]}}
    if not any(said):
        return _NOTHING | asked | {"wrong": []}
    try:
        stats()
        sides = [await _side(records, each) for each in said]
        ids = set[str]().union(*(found for _, found in sides))
        names = await records.ask(lambda index: {name for run in ids for name in index.inputs_of(run)})
        return await records.read(lambda: _document(records, sides, names)) | asked | {"wrong": []}
    except (SourceError, MissingLibraryError) as error:
        return _NOTHING | asked | {"wrong": [str(error)]}


async def _side(records: Records, named: str) -> tuple[Chosen, set[str]]:
    """What a set is named by, and the ids of the runs that it may have."""
    if "=" in named:
        wanted = chosen(named)
        return wanted, await records.ask(lambda index: {run.id for run in index.runs(wanted.filter, _MOST)})
    ids = await records.ids(named) if named else []
    if len(ids) != 1:
        raise SourceError(f"{named or 'nothing'}: {'several runs begin' if ids else 'no run begins'} so")
    return Chosen(Filter(), {}), set(ids)


def _document(records: Records, sides: list[tuple[Chosen, set[str]]], names: set[str]) -> dict[str, Any]:
    """For a reading thread."""
    known = attributes_of(records.inputs_of(names)) if any(wanted.attributes for wanted, _ in sides) else {}
    samples = [sample_of(run) for run in records.runs_in(names, set[str]().union(*(ids for _, ids in sides)), _VISITS)]
    base, new = (
        [each for each in samples if each.id in ids and wanted.takes(each, known.get(each.id, {}))]
        for wanted, ids in sides
    )
    _check(base, new)
    comparison = compare_samples(base, new)
    if not comparison.workflows:
        raise SourceError("there is no workflow of which both have runs")

    def runs(ids: set[str]) -> Mapping[str, Run]:
        return {run.id: run for run in records.runs_in(names, ids)}

    return comparison_document(comparison, base, new, runs)


def _check(base: list[Sample], new: list[Sample]) -> None:
    for name, side in (("base", base), ("new", new)):
        if not side:
            raise SourceError(f"there is no run in {name}")
    if both := {each.id for each in base} & {each.id for each in new}:
        raise SourceError(f"{len(both)} of the runs are in both: name sets that have none in common")
