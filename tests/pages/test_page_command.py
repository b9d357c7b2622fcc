"""`otel-progress report --html`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from otel_progress.cli.main import main

from ..records import RUN, campaign, link, record, span

OTHER, THIRD = "b" * 32, "c" * 32


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with two runs of one workflow."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("otel_progress.cli.report.gc.disable", lambda: None)
    folder = tmp_path / ".otel-progress"
    lines = [
        span("stage draft", "s1", "r1", at=0, takes=2.0),
        span("stage check", "s2", "r1", at=2, takes=6.0, links=[link("s1", "follows")], stage__note="kept"),
        span("run campaign", "r1", at=0, takes=10.0),
    ]
    record(folder, "20250828T104500Z-app-0a0a0a", spans=lines)
    record(folder, "20250828T104640Z-app-0b0b0b", spans=campaign(OTHER, at=100))
    return folder


def shown(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a page holds."""
    blocks = re.findall(r'<script type="application/json" id="\w+">(.*?)</script>', file.read_text("utf-8"))
    first, later = map(json.loads, blocks)
    return first, later


def test_the_page_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", RUN[:6], "--html", "run.html"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"otel-progress: run.html shows the run {RUN[:8]} of campaign\n"
    document, later = shown(tmp_path / "run.html")
    assert (document["run"]["id"], document["over"]["runs"]) == (RUN, 1)
    assert [visit["stage"] for visit in document["visits"]] == ["draft", "check"]
    assert later["visits"]["s2"]["otel_progress.stage.note"] == "kept"


def test_of_several_runs_it_is_the_last_with_the_figures_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--html", "run.html"]) == 0
    assert capsys.readouterr().err == f"otel-progress: run.html shows the run {OTHER[:8]} of campaign, the last of 2\n"
    document, _ = shown(tmp_path / "run.html")
    assert (document["run"]["id"], document["over"]["runs"]) == (OTHER, 2)


def test_of_several_workflows_it_is_that_with_the_most_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [span("run nightly", "n1", at=200, run=THIRD, workflow__name="nightly")]
    record(here, "20250828T104900Z-app-0c0c0c", spans=lines)
    assert main(["report", "--html", "run.html"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"otel-progress: run.html shows the run {OTHER[:8]} of campaign, the last of 2",
        "otel-progress: and of 1 more workflow none: --workflow shows nightly",
    ]


def test_where_it_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--html", "nowhere/run.html"]) == 2
    assert capsys.readouterr().err == "otel-progress: nowhere/run.html: No such file or directory\n"


def test_it_takes_no_other_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", "--html", "run.html", "--format", "json"])
    assert ended.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_no_run_no_page(tmp_path: Path) -> None:
    assert main(["report", "--workflow", "nothing*", "--html", "run.html"]) == 1
    assert not (tmp_path / "run.html").exists()
