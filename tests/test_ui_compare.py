"""Comparisons that `otel-progress ui` serves: by the words of `compare`, and by nothing that names a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from .ui import Served, serving

RECORDED = Path(__file__).parents[1] / "examples" / "recorded"
VERSIONS = {"base": "service.version=1.3.0", "new": "service.version=1.4.*"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("studio"), "--from", str(RECORDED)) as running:
        yield running


def compared(served: Served, **asked: str) -> dict[str, Any]:
    """What the page shows."""
    answer = served.ask(f"/compare?{urlencode(asked)}")
    assert answer.status == 200
    found = re.search(r'<script type="application/json" id="data">(.*)</script>', answer.text)
    assert found is not None
    return json.loads(found[1])


def test_two_sets_by_an_attribute(served: Served) -> None:
    shown = compared(served, **VERSIONS)
    (workflow,) = shown["workflows"]
    assert (shown["asked"], shown["wrong"]) == (VERSIONS, [])
    assert [workflow[side]["compared"] for side in ("base", "new")] == [12, 12]
    assert {row["stage"]: row["verdict"] for row in workflow["rows"]}["content_generation"] == "faster"
    assert [len(run["visits"]) for run in workflow["typical"]] == [10, 10]


def test_two_runs_and_conditions_together(served: Served) -> None:
    newest, *_, oldest = (run["id"] for run in served.data("/data/list")["runs"])
    shown = compared(served, base=oldest[:12], new=newest)
    assert [run["run"] for run in shown["workflows"][0]["typical"]] == [oldest, newest]
    assert {row["verdict"] for row in shown["workflows"][0]["rows"]} == {"too few"}
    both = compared(served, base="workflow=pr_*,service.version=1.3.0,since=2026-01-01", new="service.version=1.4.0")
    assert both["workflows"][0]["base"]["compared"] == 12


@pytest.mark.parametrize(
    ("base", "new", "why"),
    [
        ("service.version=1.3.0", "", "nothing: no run begins so"),
        ("/etc/passwd", "service.version=1.4.0", "/etc/passwd: no run begins so"),
        ("http://localhost:1", "service.version=1.4.0", "http://localhost:1: no run begins so"),
        ("../*", "x=1", "../*: no run begins so"),
        ("since=whenever", "x=1", "since=whenever: 'whenever' is neither a time nor how long ago, such as 7d"),
        ("service.version=1.3.0", "service.version=9", "there is no run in new"),
        ("service.version=1.3.0", "workflow=pr_*", "12 of the runs are in both: name sets that have none in common"),
        ("=", "x=1", "=: '=' is not a name, = and a value"),
    ],
)
def test_what_cannot_be_compared_is_said(served: Served, base: str, new: str, why: str) -> None:
    shown = compared(served, base=base, new=new)
    assert (shown["wrong"], shown["workflows"]) == ([why], [])
    assert shown["asked"] == {"base": base, "new": new}


def test_nothing_is_compared_unasked(served: Served) -> None:
    assert compared(served) == {
        "workflows": [],
        "left_alone": [],
        "meaning": "",
        "smallest": 0.1,
        "error": 0.05,
        "asked": {"base": "", "new": ""},
        "wrong": [],
    }
