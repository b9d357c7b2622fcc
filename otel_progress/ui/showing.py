"""The document of a run as it is now: of one that goes on, what is open lasts until now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..insight import Report, WorkflowReport
from ..pages import run_documents
from ..runs import Run
from ..runs.details import details_of
from ..runs.sources import Input

_GOING_ON = ("running", "waiting", "stalled")


def run_document(run: Run, now: int) -> dict[str, Any]:
    """What the page of a run shows.

    Args:
        run: the run.
        now: nanoseconds since the Unix epoch. A record tells when something happens, not that something still goes on.
    """
    told = _report_of(run)
    if run.state not in _GOING_ON:
        return run_documents(told)[0]
    until = replace(run, ended=max(now, run.started or 0))
    # What would help is said of what is known to have happened: of a time that is not over nothing can be predicted.
    document, _ = run_documents(replace(_report_of(until), insights=told.insights))
    document["run"]["ended"] = None
    return document


def details_document(run: Run, inputs: Iterable[Input]) -> dict[str, Any]:
    """What its page shows when somebody asks for it: attributes as they were recorded, and errors with stack traces."""
    document, details = run_documents(_report_of(run), details_of(inputs, run))
    return details | {"errors": document["errors"]}


def _report_of(run: Run) -> WorkflowReport:
    report = Report()
    report.add(run)
    (found,) = report.workflows()
    return found
