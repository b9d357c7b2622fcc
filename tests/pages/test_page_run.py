"""The page of a run, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from otel_progress.insight import Report
from otel_progress.pages import run_page
from otel_progress.runs import Run

from ..test_insight_path import run, visit
from .conftest import Opened

pytestmark = pytest.mark.browser

Opens = Callable[..., Opened]


def html(*runs: Run) -> str:
    """The page of the last of some runs of a workflow."""
    report = Report()
    for each in runs:
        report.add(each)
    (made,) = report.workflows()
    return run_page(made)


def small(**more: Any) -> Run:
    return run(visit("a", 0, 1), visit("b", 1, 3, "a"), visit("c", 1, 5, "a"), visit("d", 5, 6, "b", "c"), ends=6)


def test_it_shows_what_the_run_was(opened: Opens) -> None:
    found = opened(html(small())).page
    assert found.locator("h1").inner_text() == "w"
    assert found.locator("#stages tbody tr").count() == 4
