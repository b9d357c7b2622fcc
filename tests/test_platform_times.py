"""How long stages work for each platform: by item where items name one, else from one platform to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pocketflow import AsyncParallelBatchNode, BatchFlow, BatchNode, Flow, Node

from otel_progress import PocketFlowInstrumentor, current_stage, stage, workflow
from otel_progress.recording.settings import Settings

from .conftest import Telemetry

Shared = dict[str, Any]
Times = dict[tuple[str, str], tuple[float, int]]


def times(telemetry: Telemetry) -> Times:
    """Seconds and how often, by stage and platform."""
    return {
        (labels["stage.name"], labels["item.platform"]): value
        for labels, value in telemetry.points("otel_progress.stage.platform.duration")
    }


def test_an_item_of_a_batch_takes_all_its_attempts_and_what_is_between_them(telemetry: Telemetry) -> None:
    @stage("write")
    class Write(BatchNode):
        def prep(self, shared: Shared) -> list[dict[str, str]]:
            return [{"platform": name} for name in ("twitter", "linkedin", "twitter")] + [{"topic": "ferries"}]

        def exec(self, prep_res: dict[str, str]) -> None:
            telemetry.time.passes(2)
            if prep_res.get("platform") == "linkedin" and self.cur_retry == 0:
                raise TimeoutError

    Write(max_retries=2).run({})
    assert times(telemetry) == {("write", "twitter"): (4, 2), ("write", "linkedin"): (4, 1)}


def test_an_item_that_fails_took_its_time_too(telemetry: Telemetry) -> None:
    @stage("write")
    class Write(BatchNode):
        def prep(self, shared: Shared) -> list[dict[str, str]]:
            return [{"platform": "twitter"}]

        def exec(self, prep_res: dict[str, str]) -> None:
            telemetry.time.passes(3)
            raise ValueError

    with pytest.raises(ValueError):
        Write().run({})
    assert times(telemetry) == {("write", "twitter"): (3, 1)}


def test_items_side_by_side_are_timed_one_by_one(telemetry: Telemetry) -> None:
    turn = 0

    @stage("write")
    class Write(AsyncParallelBatchNode):
        async def prep_async(self, shared: Shared) -> list[dict[str, str]]:
            return [{"platform": "twitter"}, {"platform": "linkedin"}]

        async def exec_async(self, prep_res: dict[str, str]) -> None:
            nonlocal turn
            turn += 1
            await asyncio.sleep(0)  # Both have begun.
            telemetry.time.passes(1)

    asyncio.run(Write().run_async({}))
    assert turn == 2
    assert times(telemetry) == {("write", "twitter"): (1, 1), ("write", "linkedin"): (2, 1)}


def test_an_item_that_runs_on_is_timed_up_to_the_end_of_its_visit(telemetry: Telemetry) -> None:
    @stage("write")
    class Write(AsyncParallelBatchNode):
        async def prep_async(self, shared: Shared) -> list[dict[str, str]]:
            return [{"platform": "twitter"}, {"platform": "linkedin"}]

        async def exec_async(self, prep_res: dict[str, str]) -> None:
            if prep_res["platform"] == "linkedin":
                await asyncio.Event().wait()
            await asyncio.sleep(0)  # Both have begun.
            telemetry.time.passes(2)
            raise ValueError

    with pytest.raises(ValueError):
        asyncio.run(Write().run_async({}))
    assert times(telemetry) == {("write", "twitter"): (2, 1), ("write", "linkedin"): (2, 1)}


def test_a_visit_works_for_a_platform_until_it_names_the_next(telemetry: Telemetry) -> None:
    with workflow("w"), stage("publish") as visit:
        telemetry.time.passes(1)  # For none yet.
        visit.platform("twitter")
        telemetry.time.passes(2)
        visit.platform("twitter")
        visit.advance()
        telemetry.time.passes(3)
        visit.platform("linkedin")
        telemetry.time.passes(4)
    visit.platform("late")
    assert times(telemetry) == {("publish", "twitter"): (5, 1), ("publish", "linkedin"): (4, 1)}


def test_an_item_of_a_batch_flow_is_timed_in_the_flow_and_in_its_nodes(telemetry: Telemetry) -> None:
    class Draft(Node):
        def exec(self, prep_res: Any) -> None:
            telemetry.time.passes(2)

    class Check(Node):
        def exec(self, prep_res: Any) -> None:
            telemetry.time.passes(1)

    class PerPlatform(BatchFlow):
        def prep(self, shared: Shared) -> list[dict[str, str]]:
            return [{"platform": "twitter"}, {"platform": "linkedin"}]

    draft = Draft()
    draft >> Check()
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument()
    try:
        Flow(start=PerPlatform(start=draft)).run({})
    finally:
        instrumentor.uninstrument()
    assert times(telemetry) == {
        (name, platform): (seconds, 1)
        for name, seconds in (("PerPlatform", 3), ("Draft", 2), ("Check", 1))
        for platform in ("twitter", "linkedin")
    }


def test_a_visit_whose_items_name_platforms_is_not_counted_beside_them(telemetry: Telemetry) -> None:
    @stage("write")
    class Write(BatchNode):
        def prep(self, shared: Shared) -> list[int]:
            return [1, 2]

        def exec(self, prep_res: int) -> None:
            telemetry.time.passes(1)

    node = Write()
    node.set_params({"platform": "twitter"})
    node.run({})
    assert times(telemetry) == {("write", "twitter"): (2, 2)}


def test_items_of_a_platform_that_the_visit_names_are_not_counted_twice(telemetry: Telemetry) -> None:
    def name(platform: str) -> None:
        visit = current_stage()
        assert visit is not None
        visit.platform(platform)

    @stage("write")
    class Write(BatchNode):
        def prep(self, shared: Shared) -> list[int]:
            name("twitter")
            return [1, 2]

        def exec(self, prep_res: int) -> None:
            telemetry.time.passes(1)

        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
            name("linkedin")
            telemetry.time.passes(1)

    Write().run({})
    assert times(telemetry) == {("write", "twitter"): (2, 2)}


def test_platforms_are_bounded(telemetry_with: Callable[[Settings], Telemetry]) -> None:
    telemetry = telemetry_with(Settings(name_limit=2))
    with workflow("w"), stage("publish") as visit:
        for name in ("a", "b", "c", "d"):
            visit.platform(name)
            telemetry.time.passes(1)
    assert times(telemetry) == {("publish", "a"): (1, 1), ("publish", "b"): (1, 1), ("publish", "other"): (2, 2)}
