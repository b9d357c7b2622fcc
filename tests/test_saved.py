"""A saved `shared` as a source of runs: what this version writes, what others do, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_progress import stage, workflow
from otel_progress.cli.main import main
from otel_progress.recording.times import parse_timestamp
from otel_progress.runs import Run, to_json

from .conftest import START, Telemetry
from .records import SECOND, everything, only


def saved(folder: Path, store: Any, **how: Any) -> Path:
    file = folder / "shared.json"
    file.write_text(json.dumps(store, **how))
    return file


def test_what_this_version_has_mirrored(telemetry: Telemetry, tmp_path: Path) -> None:
    shared: dict[str, Any] = {"quality_control": {"revision_count": 2}, "task_requirements": {"platforms": "x, y"}}
    with workflow("campaign", shared=shared) as run:
        for fails in (True, False):
            with pytest.raises(ValueError, match="no"), stage("draft") as visit:
                telemetry.time.passes(1.5)
                visit.advance(2, total=3)
                raise ValueError("no" if fails else "no, again")
        with stage("publish"):
            read = only(saved(tmp_path, shared, indent=2))
    assert (read.id, read.workflow, read.started) == (run.id, "campaign", START)
    assert (read.state, read.note, read.ended) == (
        "unknown",
        "a saved store does not tell whether its run goes on",
        None,
    )
    draft, publish = read.stages
    assert (draft.visits, draft.seconds, draft.open, draft.result, draft.error) == (2, 3.0, 0, "failure", "ValueError")
    assert (draft.items_done, draft.items_total, draft.platforms, draft.revision) == (4, 6, 2, 2)
    assert (draft.started, draft.ended) == (START, START + 3 * SECOND)
    assert sum(draft.results.values()) == 2
    assert (publish.open, publish.ended, publish.visits) == (1, None, 1)
    assert [visit.stage for visit in read.open_visits] == ["publish"]
    assert read.trace_id is not None
    assert len(read.trace_id) == 32


FIVE: dict[str, Any] = {
    "engagement_manager": {
        "start_time": "2025-08-28T10:45:00",
        "end_time": "2025-08-28T10:47:30",
        "platforms": 6,
        "revisions": 1,
        "completed": True,
    },
    "fact_check": {
        "start_time": "2025-08-28T10:48:00Z",
        "end_time": "2025-08-28T10:48:01.5+00:00",
        "platforms": 6,
        "revisions": 1,
        "completed": False,
    },
    "publish": {"start_time": "2025-08-28T10:49:00", "platforms": 6, "revisions": 1, "completed": False},
}


@pytest.mark.parametrize("store", [FIVE, {"progress_metrics": FIVE}, {"progress_metrics": FIVE, "draft": "x"}])
def test_the_five_fields_are_enough(store: dict[str, Any], tmp_path: Path) -> None:
    """Of another writer, with times without a zone, and without `progress_run`; also the entries alone."""
    run = only(saved(tmp_path, store))
    assert (run.id, run.workflow, run.started) == ("store-1", "", START)
    manager, check, publish = run.stages
    assert (manager.visits, manager.seconds, manager.result, manager.results) == (1, 150.0, "success", {"success": 1})
    assert (check.seconds, check.result) == (1.5, "failure")
    assert (publish.open, publish.result, publish.results) == (1, None, {})
    assert (manager.platforms, manager.revision) == (6, 1)


def test_visits_by_result(tmp_path: Path) -> None:
    entry = FIVE["engagement_manager"] | {"visits": 10, "results": {"failure": 9, "success": 1, "odd": "x", "none": 0}}
    assert only(saved(tmp_path, {"check": entry})).stages[0].results == {"failure": 9, "success": 1}
    entry.pop("results")
    assert only(saved(tmp_path, {"check": entry})).stages[0].results == {"unknown": 9, "success": 1}


def test_several_stores_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "stores.jsonl"
    first, second = ({"progress_metrics": FIVE, "progress_run": {"run_id": name}} for name in ("a", "b"))
    file.write_text("\n".join(map(json.dumps, (first, FIVE, second))))
    runs, problems = everything(file)
    assert sorted(run.id for run in runs) == ["a", "b", "store-2"]
    assert problems == []


ODD: list[Any] = [
    None,
    5,
    -5,
    2**70,
    1.5,
    float("nan"),
    float("inf"),
    True,
    "",
    "text",
    "\x1b[2J",
    [],
    [1],
    {},
    {"a": 1},
]
FIELDS = (
    *("end_time", "platforms", "revisions", "completed", "visits", "seconds", "result", "results", "retries"),
    *("items_done", "items_total", "versions", "error", "trace_id", "waiting", "new"),
)


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_an_odd_value_of_a_field_counts_as_not_told(value: Any, tmp_path: Path) -> None:
    for field in FIELDS:
        run = only(saved(tmp_path, {"progress_metrics": {"draft": FIVE["fact_check"] | {field: value}}}))
        as_json(run)
        assert run.stages[0].visits >= 1
    everything_odd = only(
        saved(tmp_path, {"draft": {"start_time": "2025-08-28T10:45:00"} | dict.fromkeys(FIELDS, value)})
    )
    as_json(everything_odd)


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_an_odd_value_in_the_place_of_more_is_said(value: Any, tmp_path: Path) -> None:
    for store in (
        {"progress_metrics": value},
        {"progress_metrics": FIVE, "progress_run": value},
        {"progress_metrics": {**FIVE, "odd": value}},
        {"progress_metrics": {**FIVE, "odd": {"start_time": value}}},
        {
            "progress_metrics": FIVE,
            "progress_run": dict.fromkeys(("run_id", "workflow", "traceparent", "started"), value),
        },
    ):
        file = saved(tmp_path, store)
        runs, problems = everything(file)
        (run,) = runs
        as_json(run)
        assert all(problem.startswith(f"{file}:1: progress_") for problem in problems)
        good = isinstance(value, dict) or value is None or parse_timestamp(value) is not None
        if "odd" in (store["progress_metrics"] if isinstance(store["progress_metrics"], dict) else {}):
            assert len(problems) == 1
        elif store.get("progress_run", {}) is value and not good:
            assert problems == [f"{file}:1: progress_run is no object"]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00"])
def test_a_time_that_is_no_number_of_64_bits(
    time: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command takes it."""
    monkeypatch.chdir(tmp_path)
    draft = {"start_time": time, "end_time": time}
    file = saved(tmp_path, {"progress_metrics": {"draft": draft, **FIVE}, "progress_run": {"started": time}})
    run = only(file)
    as_json(run)
    assert sorted(stage.name for stage in run.stages) == ["draft", *sorted(FIVE)]
    for command in (["runs"], ["show"], ["show", "--json"], ["report"], ["report", "--html", "page.html"]):
        assert main([*command, "--from", str(file)]) == 0
    assert "draft" in capsys.readouterr().out


def as_json(run: Run) -> None:
    json.dumps(to_json(run), allow_nan=False)
