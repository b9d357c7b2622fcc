"""`ProgressTrackerNode` in real PocketFlow flows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pocketflow import AsyncFlow, AsyncNode, Flow, Node

from otel_progress import ProgressTrackerNode, stage, workflow

from .conftest import Telemetry, linked

Shared = dict[str, Any]


class Go(Node):
    """Does its work, then says which stage comes next, as workflows do."""

    def __init__(self, work: Callable[[Shared], Any], action: str = "default") -> None:
        super().__init__()
        self.work = work
        self.action = action

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> str:
        self.work(shared)
        return self.action


def at(stage_name: Any, **more: Any) -> Shared:
    return {"workflow_state": {"current_stage": stage_name}, **more}


def passed(shared: Any, **arguments: Any) -> None:
    assert ProgressTrackerNode(**arguments).run(shared) == "default"


def test_its_three_steps_return_what_they_say() -> None:
    tracker = ProgressTrackerNode()
    shared = at("draft", task_requirements={"platforms": ["a", "b"]}, quality_control={"revision_count": 2})
    found = tracker.prep(shared)
    assert found == {key: shared[key] for key in ("workflow_state", "task_requirements", "quality_control")}
    made = tracker.exec(found)
    assert list(made) == ["stage_start", "platforms_processed", "revision_count", "current_stage"]
    assert (made["platforms_processed"], made["revision_count"], made["current_stage"]) == (2, 2, "draft")
    assert made["stage_start"].endswith("+00:00")
    assert tracker.prep({}) == {"workflow_state": {}, "task_requirements": {}, "quality_control": {}}
    assert tracker.exec(tracker.prep({}))["current_stage"] is None


def test_passing_it_opens_one_stage_and_completes_the_others(telemetry: Telemetry) -> None:
    shared: Shared = {}
    with workflow("w", shared=shared):
        shared["workflow_state"] = {"current_stage": "plan"}
        passed(shared)
        telemetry.time.passes(2)
        assert shared["progress_metrics"]["plan"]["completed"] is False
        assert "end_time" not in shared["progress_metrics"]["plan"]
        shared["workflow_state"] = {"current_stage": "write"}
        shared["task_requirements"] = {"platforms": "twitter, linkedin"}
        passed(shared)
        telemetry.time.passes(3)
    plan, write = shared["progress_metrics"]["plan"], shared["progress_metrics"]["write"]
    assert plan == {
        "start_time": "2025-08-28T10:45:00+00:00",
        "end_time": "2025-08-28T10:45:02+00:00",
        "platforms": 2,
        "revisions": 0,
        "completed": True,
        "visits": 1,
        "seconds": 2.0,
        "result": "success",
        "results": {"success": 1},
        "retries": 0,
        "items_done": 0,
        "items_total": None,
        "versions": [],
        "error": None,
        "trace_id": f"{1:032x}",
        "waiting": None,
    }
    assert (write["platforms"], write["seconds"], write["completed"]) == (2, 3.0, True)
    assert repr(telemetry.trees()) == "[run w[stage plan, stage write]]"


def test_an_open_stage_is_only_brought_up_to_date(telemetry: Telemetry) -> None:
    shared = at("write", task_requirements={"platforms": 3})
    with workflow("w", shared=shared):
        passed(shared)
        shared["task_requirements"] = {"platforms": ["a"]}
        shared["quality_control"] = {"revision_count": 4}
        passed(shared)
        entry = shared["progress_metrics"]["write"]
        assert (entry["visits"], entry["platforms"], entry["revisions"]) == (1, 1, 4)
    assert len(telemetry.spans("stage")) == 1


def test_a_completed_stage_is_visited_again(telemetry: Telemetry) -> None:
    shared: Shared = {}
    with workflow("w", shared=shared):
        for name in ("edit", "check", "edit"):
            shared["workflow_state"] = {"current_stage": name}
            passed(shared)
            telemetry.time.passes(1)
    assert shared["progress_metrics"]["edit"]["visits"] == 2
    assert shared["progress_metrics"]["edit"]["seconds"] == 2.0
    first, _, third = telemetry.spans("stage")
    assert (third.attributes or {})["otel_progress.stage.visit"] == 2
    assert linked(third, "repeats") == [first.context]


@pytest.mark.parametrize(
    "shared",
    [{}, at(None), at(""), {"workflow_state": None}, {"workflow_state": 7}, {"workflow_state": {}}, None, [], 5],
)
def test_no_current_stage_opens_nothing_and_raises_nothing(telemetry: Telemetry, shared: Any) -> None:
    passed(shared)
    assert telemetry.spans() == []


@pytest.mark.parametrize("name", [7, ("a", 1), 2.5, b"raw"])
def test_a_stage_name_may_be_anything(telemetry: Telemetry, name: Any) -> None:
    shared = at(name)
    passed(shared)
    assert list(shared["progress_metrics"]) == [str(name)]


@pytest.mark.parametrize(
    ("platforms", "count", "names"),
    [
        (["a", "b", "a"], 2, ("a", "b")),
        (("a",), 1, ("a",)),
        ({"b", "a"}, 2, ("a", "b")),
        ({"a": {}, "b": {}}, 2, ("a", "b")),
        ("a, b ,,c", 3, ("a", "b", "c")),
        ("", 0, ()),
        (6, 6, ()),
        (-1, 0, ()),
        (True, 0, ()),
        (2.0, 2, ()),
        (float("nan"), 0, ()),
        (None, 0, ()),
        ([{"name": "a"}, {"platform": "b"}, {"other": "c"}, object()], 4, ("a", "b")),
        (object(), 0, ()),
        (b"abc", 0, ()),
        ([], 0, ()),
    ],
)
def test_platforms_of_every_shape(telemetry: Telemetry, platforms: Any, count: int, names: tuple[str, ...]) -> None:
    shared = at("x", task_requirements={"platforms": platforms})
    passed(shared)
    passed(shared, final=True)
    assert shared["progress_metrics"]["x"]["platforms"] == count
    attributes = telemetry.span("stage x").attributes or {}
    assert attributes["otel_progress.stage.platform_count"] == count
    assert attributes.get("otel_progress.stage.platforms", ()) == names


def test_a_generator_of_platforms_is_not_used_up(telemetry: Telemetry) -> None:
    platforms = (name for name in ("a", "b"))
    shared = at("x", task_requirements={"platforms": platforms})
    passed(shared)
    assert list(platforms) == ["a", "b"]


@pytest.mark.parametrize(
    ("more", "revisions"),
    [
        ({"quality_control": {"revision_count": 3}}, 3),
        ({"workflow_state": {"current_stage": "x", "revision_count": 2}}, 2),
        ({"quality_control": {}, "workflow_state": {"current_stage": "x", "revision_count": "4"}}, 4),
        ({"quality_control": None}, 0),
        ({"quality_control": {"revision_count": None}}, 0),
        ({"quality_control": {"revision_count": -2}}, 0),
        ({"quality_control": {"revision_count": "many"}}, 0),
    ],
)
def test_revisions_of_every_shape(telemetry: Telemetry, more: Shared, revisions: int) -> None:
    shared = {**at("x"), **more}
    passed(shared)
    assert shared["progress_metrics"]["x"]["revisions"] == revisions


def test_final_closes_what_is_open_and_opens_nothing(telemetry: Telemetry) -> None:
    shared = at("x")
    passed(shared)
    passed(shared, final=True)
    shared["workflow_state"]["current_stage"] = "y"
    passed(shared, final=True)
    assert list(shared["progress_metrics"]) == ["x"]
    assert shared["progress_metrics"]["x"]["completed"] is True
    assert repr(telemetry.trees()) == "[run tests[stage x]]"


def test_the_end_of_a_failed_run_fails_what_is_open(telemetry: Telemetry) -> None:
    shared = at("x")
    with pytest.raises(ValueError, match="boom"), workflow("w", shared=shared):
        passed(shared)
        raise ValueError("boom")
    entry = shared["progress_metrics"]["x"]
    assert (entry["completed"], entry["result"], entry["error"]) == (False, "failure", "ValueError")


def decorated() -> type[Node]:
    @stage("craft")
    class Craft(Node):
        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
            shared.setdefault("order", []).append("craft")

    return Craft


def test_a_stage_that_its_own_code_takes_over_is_one_visit(telemetry: Telemetry) -> None:
    shared = at("craft")
    start = ProgressTrackerNode()
    start >> decorated()() >> ProgressTrackerNode()
    with workflow("w", shared=shared):
        Flow(start).run(shared)
    assert repr(telemetry.trees()) == "[run w[stage craft]]"
    assert shared["progress_metrics"]["craft"]["visits"] == 1
    assert [count for _, (_, count) in telemetry.points("otel_progress.stage.duration")] == [1]


def test_a_stage_that_its_own_code_has_recorded_is_not_counted_again(telemetry: Telemetry) -> None:
    craft, other = decorated()(), Go(lambda shared: None)

    def next_up(shared: Shared) -> None:
        shared["workflow_state"] = {"current_stage": "craft"}
        shared["task_requirements"] = {"platforms": 5}

    craft >> other >> Go(next_up) >> ProgressTrackerNode()
    shared: Shared = {}
    with workflow("w", shared=shared):
        Flow(craft).run(shared)
    assert repr(telemetry.trees()) == "[run w[stage craft]]"
    entry = shared["progress_metrics"]["craft"]
    assert (entry["visits"], entry["platforms"], entry["completed"]) == (1, 5, True)


def test_a_tracker_inside_an_open_stage_only_updates_it(telemetry: Telemetry) -> None:
    shared = at("craft", task_requirements={"platforms": 2})
    with stage("craft", shared=shared):
        shared["quality_control"] = {"revision_count": 1}
        passed(shared)
        entry = shared["progress_metrics"]["craft"]
        assert (entry["visits"], entry["revisions"], entry["completed"]) == (1, 1, False)
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run tests[stage craft]]"


def test_several_trackers_in_a_loop(telemetry: Telemetry) -> None:
    def to(name: str) -> Callable[[Shared], None]:
        def say(shared: Shared) -> None:
            shared["workflow_state"] = {"current_stage": name}

        return say

    def check(shared: Shared) -> None:
        control = shared.setdefault("quality_control", {"revision_count": 0})
        control["revision_count"] += 1
        shared["workflow_state"] = {"current_stage": "edit" if control["revision_count"] < 3 else "done"}
        judge.action = "again" if control["revision_count"] < 3 else "default"

    class Judge(Go):
        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> str:
            check(shared)
            return judge.action

    first, editor, second, judge = (
        ProgressTrackerNode(),
        Go(to("check")),
        ProgressTrackerNode(),
        Judge(lambda shared: None),
    )
    first >> editor >> second >> judge
    judge - "again" >> first
    judge >> ProgressTrackerNode(final=True)
    shared = at("edit")
    Flow(first).run(shared)
    metrics = shared["progress_metrics"]
    assert {name: (entry["visits"], entry["revisions"]) for name, entry in metrics.items()} == {
        "edit": (3, 2),
        "check": (3, 3),
    }
    assert all(entry["completed"] for entry in metrics.values())


def test_in_an_async_flow_and_in_several_flows_at_once(telemetry: Telemetry) -> None:
    class Think(AsyncNode):
        async def post_async(self, shared: Shared, prep_res: Any, exec_res: Any) -> str:
            await asyncio.sleep(0)
            shared["workflow_state"] = {"current_stage": "b"}
            return "default"

    start = ProgressTrackerNode()
    start >> Think() >> ProgressTrackerNode() >> ProgressTrackerNode(final=True)
    flow = AsyncFlow(start)
    stores = [at("a") for _ in range(20)]

    async def use() -> None:
        await asyncio.gather(*(flow.run_async(store) for store in stores))

    asyncio.run(use())
    for store in stores:
        assert {name: entry["visits"] for name, entry in store["progress_metrics"].items()} == {"a": 1, "b": 1}
    assert len({store["progress_run"]["run_id"] for store in stores}) == 20
    assert [repr(tree) for tree in telemetry.trees()] == ["run tests[stage a, stage b]"] * 20


def test_actions_lead_to_it(telemetry: Telemetry) -> None:
    node = Go(lambda shared: None, action="track")
    node - "track" >> ProgressTrackerNode()
    shared = at("a")
    Flow(node).run(shared)
    assert list(shared["progress_metrics"]) == ["a"]


def test_a_subclass_may_know_better(telemetry: Telemetry) -> None:
    class Own(ProgressTrackerNode):
        def exec(self, prep_res: dict[str, Any]) -> dict[str, Any]:
            return {**super().exec(prep_res), "current_stage": "own", "platforms_processed": 9, "revision_count": 3}

    shared = at("a")
    assert Own().run(shared) == "default"
    entry = shared["progress_metrics"]["own"]
    assert (entry["platforms"], entry["revisions"]) == (9, 3)


def test_a_tracker_that_cannot_mark_says_so_and_goes_on(telemetry: Telemetry, faults: Callable[[], list[str]]) -> None:
    class Broken(ProgressTrackerNode):
        def exec(self, prep_res: dict[str, Any]) -> dict[str, Any]:
            return {}

    assert Broken().run({}) == "default"
    assert faults() == ["ProgressTrackerNode could not mark the stage; the workflow goes on"]
