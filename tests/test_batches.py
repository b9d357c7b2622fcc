"""Items of a batch that run on when their visit has ended."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pocketflow import AsyncParallelBatchNode

from otel_progress import workflow

from .conftest import Telemetry

Shared = dict[str, Any]
pytestmark = pytest.mark.usefixtures("instrumented")


METRICS = ("stage.items", "stage.duration", "stage.retries", "stage.wait", "stage.active", "run.duration")


def recorded(telemetry: Telemetry, shared: Shared) -> str:
    """Everything there is to see, but for failed attempts: they may have a span whenever they are made."""
    spans = [json.loads(span.to_json()) for span in telemetry.spans() if not span.name.startswith("attempt ")]
    points = [telemetry.points(f"otel_progress.{metric}") for metric in METRICS]
    return json.dumps([spans, points, shared["progress_metrics"]])


class Posts(AsyncParallelBatchNode):
    """The first item fails; the others wait for that, and then end each in a way of its own."""

    def __init__(self, late: str) -> None:
        super().__init__(max_retries=2)
        self.late = late
        self.failed = asyncio.Event()
        self.ended: list[str] = []

    async def prep_async(self, shared: Shared) -> list[str]:
        return ["twitter", "linkedin", "mastodon"]

    async def exec_async(self, prep_res: str) -> str:
        if prep_res == "twitter":
            raise ValueError
        await self.failed.wait()
        if self.late == "fails" or (self.late == "recovers" and prep_res not in self.ended):
            self.ended.append(prep_res)
            raise KeyError
        self.ended.append(prep_res)
        return prep_res


@pytest.mark.parametrize("around", [True, False])
@pytest.mark.parametrize(("late", "calls"), [("succeeds", 2), ("recovers", 4), ("fails", 4)])
def test_items_that_end_after_their_visit_are_abandoned_and_change_nothing(
    telemetry: Telemetry, late: str, calls: int, around: bool
) -> None:
    shared: Shared = {"task_requirements": {"platforms": ["twitter", "linkedin", "mastodon"]}}

    async def use() -> tuple[str, str]:
        posts = Posts(late)
        if around:
            with pytest.raises(ValueError), workflow("w", shared=shared):
                await posts.run_async(shared)
        else:
            with pytest.raises(ValueError):
                await posts.run_async(shared)
        at_the_end = recorded(telemetry, shared)
        posts.failed.set()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 10)
        assert len(posts.ended) == calls
        return at_the_end, recorded(telemetry, shared)

    at_the_end, later = asyncio.run(use())
    assert later == at_the_end
    found = telemetry.span("stage Posts").attributes or {}
    assert found["otel_progress.stage.items.total"] == 3
    assert (found["otel_progress.stage.items.failed"], found["otel_progress.stage.items.done"]) == (3, 0)
    counted = {
        (labels["item.platform"], labels["result"]): count
        for labels, count in telemetry.points("otel_progress.stage.items")
    }
    assert counted == {("twitter", "failure"): 1, ("linkedin", "abandoned"): 1, ("mastodon", "abandoned"): 1}
    assert shared["progress_metrics"]["Posts"]["items_done"] == 0
