"""What a real collector's file exporter has written is read: `tests/collector/record.sh` records it again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from otel_progress.runs import Run
from otel_progress.runs.reading import open_source

from . import records
from .records import everything, shown

WRITTEN = Path(__file__).parent / "collector" / "written.jsonl"
KINDS = ("resourceSpans", "resourceLogs", "resourceMetrics")


def told(file: Path) -> dict[str, Run]:
    runs, problems = everything(file)
    assert problems == []
    return {run.workflow: run for run in runs}


@pytest.mark.parametrize("kinds", [KINDS, ("resourceSpans",), ("resourceLogs",), ("resourceLogs", "resourceMetrics")])
def test_what_the_file_exporter_writes(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    lines = [line for line in WRITTEN.read_text("utf-8").splitlines() if set(kinds) & json.loads(line).keys()]
    assert {next(iter(json.loads(line))) for line in lines} == set(kinds)
    file = tmp_path / "some.jsonl"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    runs = told(file)
    assert {name: (run.state, run.result, run.service) for name, run in runs.items()} == dict.fromkeys(
        ("pr_campaign", "nightly"), ("done", "success", "studio")
    )
    campaign, nightly = runs["pr_campaign"], runs["nightly"]
    assert [(visit.stage, visit.number, visit.result, visit.retries) for visit in campaign.visits] == [
        ("draft", 1, "success", 0),
        ("draft", 2, "success", 0),
        ("fact_check", 1, "failure", 0),
        ("publish", 1, "success", 0),
    ]
    assert [(visit.stage, visit.parent is None) for visit in nightly.visits] == [("extract", True), ("load", False)]
    assert campaign.visits[2].error == "ConnectionError"
    assert [visit.revision for visit in campaign.visits] == [0, 1, 1, 1]
    assert [wait.reason for wait in campaign.visits[3].waits] == ["approval"]
    if "resourceSpans" in kinds:
        assert {link.kind for visit in campaign.visits for link in visit.links} == {"repeats", "follows"}


def test_one_that_was_rotated(tmp_path: Path) -> None:
    """A new file begins between two lines; the files are read as one, in any order."""
    lines = WRITTEN.read_text("utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines):
        (tmp_path / f"written-2026-11-26T10-13-5{number}.592-size.jsonl").write_text(line, "utf-8")
    together = b"".join(file.read_bytes() for file in sorted(tmp_path.iterdir(), reverse=True))
    shown = subprocess.run(
        [sys.executable, "-m", "otel_progress", "runs", "--json", "--from", "-"],
        input=together,
        capture_output=True,
        check=True,
    )
    assert [(run["workflow"], run["state"], run["visits"]) for run in json.loads(shown.stdout)] == [
        ("nightly", "done", 2),
        ("pr_campaign", "done", 4),
    ]


def test_a_folder_of_its_files_is_read_as_one(tmp_path: Path) -> None:
    """Spans, events and metrics in a file each, and files of others beside."""
    lines = WRITTEN.read_text("utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines):
        (tmp_path / f"written-{number}.json{'l' * (number % 2)}").write_text(line, "utf-8")
    (tmp_path / "package.json").write_text('{"name": "studio"}', "utf-8")
    (tmp_path / "notes.txt").write_text(lines[0], "utf-8")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "gone")
    assert told(tmp_path) == {name: replace(run, source=str(tmp_path)) for name, run in told(WRITTEN).items()}
    (campaign,) = (run for run in told(tmp_path).values() if run.workflow == "pr_campaign")
    assert shown(tmp_path, campaign.id) == campaign
    assert open_source(tmp_path).index is None  # Nothing is written there.


def test_a_stage_that_began_in_a_file_before_has_ended(tmp_path: Path) -> None:
    started = [records.event("run.started", span_id="1" * 16), records.visit_event("started", "draft", "7.1")]
    ended = [records.visit_event("ended", "draft", "7.1"), records.event("run.ended", span_id="1" * 16, at=1)]
    for name, events in (("logs-2026.jsonl", started), ("logs.jsonl", ended)):
        compact = [json.dumps(json.loads(line), separators=(",", ":")) for line in events]
        records.write(tmp_path / name, compact)
    run = records.only(tmp_path)
    assert (run.state, [visit.state for visit in run.visits]) == ("done", ["done"])


def test_a_folder_with_records_is_one_of_records(tmp_path: Path) -> None:
    records.record(tmp_path, spans=records.campaign())
    (tmp_path / "traces.jsonl").write_bytes(WRITTEN.read_bytes())
    assert list(told(tmp_path)) == ["campaign"]
