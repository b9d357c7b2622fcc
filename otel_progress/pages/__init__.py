"""Pages to look at: one HTML document that holds all that it shows, styles and scripts among it.

What a page shows is a JSON document, made here from the model and the figures, which are the report's own: scripts draw
and sort, and compute none. Here is no server and no command.
"""

from __future__ import annotations

from ..insight import WorkflowReport
from ..runs.details import Details
from .comparing import comparison_document
from .document import run_documents
from .html import page

__all__ = ["comparison_document", "page", "run_documents", "run_page"]


def run_page(report: WorkflowReport, details: Details | None = None) -> str:
    """The page of the run that a report is of, or of the last one of many, with what else its record holds."""
    document, later = run_documents(report, details)
    return page("run", document, f"{report.run.workflow or '(no name)'} {report.run.id[:8]}", more={"details": later})
