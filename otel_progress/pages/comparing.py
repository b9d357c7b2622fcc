"""What the page of a comparison shows, as JSON values. docs/page.md describes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..compare.comparing import MOST
from ..compare.model import Comparison, Row, WorkflowComparison
from ..compare.samples import TOTAL, Sample, thinned
from ..insight import Report
from ..recording.times import timestamp
from ..report.comparison import assumption, change_text, conclusion, left_alone, meaning, noise, sides
from ..runs.model import Run
from .document import visits_of

VERSION = 1
"""Of the document, as that of a run's."""
_MOST_DRAWN = 3
"""Workflows of which runs are drawn."""


def comparison_document(
    comparison: Comparison,
    base: Sequence[Sample],
    new: Sequence[Sample],
    runs: Callable[[set[str]], Mapping[str, Run]],
    *,
    same_code: bool = False,
) -> dict[str, Any]:
    """What the page of a comparison shows.

    Args:
        comparison: what was found.
        base: the runs that it was found in.
        new: those of the other side.
        runs: gives runs with all their visits, by their ids, as far as they are there.
        same_code: whether both sides are said to be the same code.
    """
    known = [
        (each, _of(base, each.renamed_from or each.workflow), _of(new, each.workflow)) for each in comparison.workflows
    ]
    drawn = [(typical(before), typical(after)) for _, before, after in known[:_MOST_DRAWN]]
    found = runs({sample.id for pair in drawn for sample in pair if sample is not None})
    pairs = [tuple(_drawn(each, found) for each in pair) for pair in drawn]
    return {
        "version": VERSION,
        "smallest": comparison.smallest,
        "error": comparison.error,
        "meaning": meaning(comparison),
        "left_alone": left_alone(comparison),
        "workflows": [
            _workflow(each, before, after, noise(each, comparison) if same_code else conclusion(each))
            | {"typical": pairs[number] if number < len(pairs) else (None, None)}
            for number, (each, before, after) in enumerate(known)
        ],
    }


def typical(samples: Iterable[Sample]) -> Sample | None:
    """The run that took the median time, of those that ended well; of two in the middle the shorter one."""
    ordered = sorted(
        (each for each in samples if TOTAL in each.seconds), key=lambda each: (each.seconds[TOTAL], each.id)
    )
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def _of(samples: Sequence[Sample], workflow: str) -> list[Sample]:
    """The runs of a workflow that are compared."""
    return thinned((each for each in samples if each.workflow == workflow and each.well), MOST)


def _workflow(found: WorkflowComparison, base: list[Sample], new: list[Sample], said: str) -> dict[str, Any]:
    return {
        "workflow": found.workflow,
        "renamed_from": found.renamed_from,
        "said": said,
        "sides": sides(found),
        "assumption": assumption(found),
        "order": found.order,
        "base": asdict(found.base),
        "new": asdict(found.new),
        "rows": [_row(row, base, new) for row in found.rows],
        "changes": [asdict(change) | {"said": change_text(change)} for change in found.changes],
    }


def _row(row: Row, base: list[Sample], new: list[Sample]) -> dict[str, Any]:
    key, old = (row.stage, row.platform), (row.renamed_from or row.stage, row.platform)
    return asdict(row) | {
        "base_each": [each.seconds[old] for each in base if old in each.seconds],
        "new_each": [each.seconds[key] for each in new if key in each.seconds],
    }


def _drawn(sample: Sample | None, runs: Mapping[str, Run]) -> dict[str, Any] | None:
    run = None if sample is None else runs.get(sample.id)
    if run is None:
        return None
    figures = Report().add(run)
    zero, visits = visits_of(run, figures)
    return {"run": run.id, "zero": timestamp(zero), "seconds": figures.seconds, "visits": visits}
