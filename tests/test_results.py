"""How the visits of a stage ended: counted by result, in the mirror and over a save and a load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pocketflow import Flow, Node

from otel_progress import ProgressTrackerNode, progress, stage, workflow

from .conftest import Telemetry, make_telemetry, using

Shared = dict[str, Any]
ENDS: dict[str, BaseException | None] = {
    "success": None,
    "failure": ValueError(),
    "cancelled": asyncio.CancelledError(),
}


def visit(shared: Shared, result: str = "success", name: str = "try") -> None:
    error = ENDS[result]
    with contextlib.suppress(ValueError, asyncio.CancelledError), stage(name, shared=shared):
        if error is not None:
            raise error


def entry_of(shared: Shared, name: str = "try") -> dict[str, Any]:
    return shared["progress_metrics"][name]


# --- counted ----------------------------------------------------------------------------------------------------------


def test_visits_are_counted_by_result_and_the_last_one_tells_whether_the_stage_is_completed(
    telemetry: Telemetry,
) -> None:
    shared: Shared = {}
    seen: list[tuple[bool, str, dict[str, int]]] = []
    for result in ("failure", "failure", "success", "cancelled", "success"):
        visit(shared, result)
        entry = entry_of(shared)
        seen.append((entry["completed"], entry["result"], entry["results"]))
    assert seen == [
        (False, "failure", {"failure": 1}),
        (False, "failure", {"failure": 2}),
        (True, "success", {"failure": 2, "success": 1}),
        (False, "cancelled", {"failure": 2, "success": 1, "cancelled": 1}),
        (True, "success", {"failure": 2, "success": 2, "cancelled": 1}),
    ]


def test_an_open_visit_has_no_result_yet(telemetry: Telemetry) -> None:
    shared: Shared = {}
    visit(shared, "failure")
    with stage("try", shared=shared):
        entry = entry_of(shared)
        assert (entry["visits"], entry["results"], entry["completed"]) == (2, {"failure": 1}, False)
        entry["results"]["failure"] = 100  # It is the workflow's copy.
    assert entry_of(shared)["results"] == {"failure": 1, "success": 1}


def test_of_many_at_once_none_hides_the_others(telemetry: Telemetry) -> None:
    shared: Shared = {}

    @stage("try")
    async def attempt(number: int, shared: Shared, gate: asyncio.Event) -> None:
        await gate.wait()
        if number:
            raise ValueError

    async def all_at_once() -> None:
        gate = asyncio.Event()
        tasks = [asyncio.create_task(attempt(number, shared, gate)) for number in range(10)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_at_once())
    assert entry_of(shared)["results"] == {"success": 1, "failure": 9}


def test_in_threads_none_is_lost(telemetry: Telemetry) -> None:
    shared: Shared = {}

    def work() -> None:
        for number in range(50):
            visit(shared, "failure" if number % 2 else "success")

    with workflow("w", shared=shared):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert entry_of(shared)["results"] == {"success": 200, "failure": 200}


def test_a_fallback_and_what_its_run_leaves_are_results_too(telemetry: Telemetry) -> None:
    @stage("try")
    class Falls(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError

        def exec_fallback(self, prep_res: Any, exc: Exception) -> None: ...

    shared: Shared = {}
    with workflow("w", shared=shared) as run:
        Flow(Falls()).run(shared)
        left = stage("try", shared=shared)
        left.__enter__()
    assert entry_of(shared)["results"] == {"fallback": 1, "abandoned": 1}
    assert progress(run) == shared["progress_metrics"]


def test_what_a_tracker_marks_is_counted(telemetry: Telemetry) -> None:
    shared: Shared = {}
    for name in ("a", "b", "a"):
        shared["workflow_state"] = {"current_stage": name}
        ProgressTrackerNode().run(shared)
    assert entry_of(shared, "a")["results"] == {"success": 1}
    ProgressTrackerNode(final=True).run(shared)
    assert entry_of(shared, "a")["results"] == {"success": 2}


# --- over a save and a load -------------------------------------------------------------------------------------------


def loaded(store: Shared, stage_name: str = "other") -> dict[str, Any]:
    """What another process shows of "try" after it has loaded a store and visited a stage."""
    copy: Shared = json.loads(json.dumps(store))
    for _ in using(make_telemetry()):
        visit(copy, name=stage_name)
    return entry_of(copy)


def saved(**fields: Any) -> Shared:
    """A store as it might have been saved, by anybody."""
    entry = {"start_time": "2025-08-28T10:45:00+00:00", "end_time": "2025-08-28T10:47:00+00:00", **fields}
    run = {"run_id": "0" * 32, "workflow": "w", "traceparent": "", "started": ""}
    return {"progress_run": run, "progress_metrics": {"try": entry}}


def test_results_go_on_where_a_store_is_loaded(telemetry: Telemetry) -> None:
    shared: Shared = {}
    for result in ("failure", "failure", "success"):
        visit(shared, result)
    assert loaded(shared)["results"] == {"failure": 2, "success": 1}
    assert loaded(shared, "try")["results"] == {"failure": 2, "success": 2}
    with stage("try", shared=shared):
        open_there = loaded(shared)
    assert open_there["results"] == {"failure": 2, "success": 1, "abandoned": 1}
    assert (open_there["visits"], open_there["result"]) == (4, "abandoned")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (0, "success", {})),
        ({"completed": False}, (0, "failure", {})),
        ({"visits": 1, "result": "failure"}, (1, "failure", {"failure": 1})),
        ({"visits": 3, "result": "success"}, (3, "success", {"success": 1})),  # Of the others nothing is known.
        ({"visits": 3, "result": "success", "results": None}, (3, "success", {"success": 1})),
        ({"visits": 3, "result": "success", "results": {}}, (3, "success", {})),
        (
            {"visits": 1, "result": "success", "results": {"success": 1, "failure": 9}},
            (10, "success", {"success": 1, "failure": 9}),
        ),
        ({"visits": 3.0, "result": "success", "results": {"success": 3.0}}, (3, "success", {"success": 3})),
    ],
)
def test_what_an_entry_does_not_tell_is_not_made_up(
    fields: dict[str, Any], expected: tuple[int, str, dict[str, int]], faults: Callable[[], list[str]]
) -> None:
    entry = loaded(saved(**fields))
    assert (entry["visits"], entry["result"], entry["results"]) == expected
    assert faults() == []


@pytest.mark.parametrize(
    "odd",
    [
        {"results": 3},
        {"results": "success"},
        {"results": ["success"]},
        {"results": True},
        {"results": {"success": 2, "splendid": 1}},
        {"results": {"success": 2, "failure": -1}},
        {"results": {"success": 2, "failure": "one"}},
        {"results": {"success": 2, "failure": 1.5}},
        {"results": {"success": 2, "failure": True}},
        {"results": {"success": 2, "failure": 2**63}},
        {"results": {"success": 2, "failure": float("nan")}},
        {"results": {"success": 2, "failure": [1]}},
        {"results": {"success": 2, "failure": {"a": 1}}},
        {"results": {"success": 2, "": 1}},
        {"results": {"success": 2}, "visits": "two"},
        {"results": {"success": 2}, "retries": -1},
    ],
    ids=repr,
)
def test_odd_values_are_ignored_and_said_once(
    telemetry: Telemetry, odd: dict[str, Any], faults: Callable[[], list[str]]
) -> None:
    for _ in range(2):
        shared = saved(**{"visits": 2, "result": "success", **odd})
        visit(shared, name="other")
        entry = entry_of(shared)
        assert entry["visits"] == 2
        assert entry["results"] in ({"success": 1}, {"success": 2})
        assert entry["retries"] == 0
        json.dumps(entry, allow_nan=False)
    assert len(faults()) == 1


def test_a_store_whose_results_are_no_plain_dict(telemetry: Telemetry, faults: Callable[[], list[str]]) -> None:
    class Broken(dict[str, int]):
        def items(self) -> Any:
            raise RuntimeError

    shared = saved(visits=2, result="success")
    shared["progress_metrics"]["try"]["results"] = Broken(success=2)
    visit(shared, name="other")
    assert entry_of(shared, "other")["results"] == {"success": 1}
    assert faults() == ["what a saved store says of its stages could not be read"]
