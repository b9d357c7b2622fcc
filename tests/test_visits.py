"""What a visit says of its action, its platforms and its end, in spans, metrics and the mirror."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pocketflow import Flow, Node

from otel_progress import progress, stage, workflow
from otel_progress.recording.settings import Settings

from .conftest import Telemetry

Shared = dict[str, Any]
PLATFORMS = [f"platform {number}" for number in range(100)]


def attributes(telemetry: Telemetry, span: str) -> Any:
    return telemetry.span(span).attributes or {}


# --- actions ----------------------------------------------------------------------------------------------------------


@stage("say")
class Says(Node):
    """Goes on with an action of the test's own."""

    def __init__(self, action: str) -> None:
        super().__init__()
        self.action = action

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> str:
        return self.action


@pytest.mark.parametrize("action", ["approve", "x" * 64])
def test_an_action_of_at_most_64_characters_is_exported(telemetry: Telemetry, action: str) -> None:
    Flow(Says(action)).run({})
    assert attributes(telemetry, "stage say")["otel_progress.stage.action"] == action


@pytest.mark.parametrize("action", ["x" * 65, "two words", "a\ttab", "a\nline", "a\u00a0space"])
def test_what_a_node_returns_may_be_content_and_is_not_exported(telemetry: Telemetry, action: str) -> None:
    node = Says(action)
    node - "other" >> Node()
    with workflow("w"), pytest.warns(UserWarning, match="Flow ends"):
        Flow(node).run({})
    assert "otel_progress.stage.action" not in attributes(telemetry, "stage say")
    exported = [*telemetry.spans(), *(event for span in telemetry.spans() for event in span.events)]
    assert not [each for each in exported if action in map(str, (each.attributes or {}).values())]


def test_an_action_that_is_an_edge_is_exported_however_long(telemetry: Telemetry) -> None:
    action = "x" * 100
    node = Says(action)
    node - action >> Node()
    Flow(node).run({})
    assert attributes(telemetry, "stage say")["otel_progress.stage.action"] == action


# --- platforms --------------------------------------------------------------------------------------------------------


def test_the_first_64_platforms_are_exported_and_all_are_counted(telemetry: Telemetry) -> None:
    shared: Shared = {"task_requirements": {"platforms": PLATFORMS}}
    with workflow("w", shared=shared):
        with stage("stored"):
            pass
        with stage("given", platforms=PLATFORMS):
            pass
        with stage("named") as visit:
            for name in PLATFORMS:
                visit.platform(name)
    for name in ("stored", "given", "named"):
        found = attributes(telemetry, f"stage {name}")
        assert found["otel_progress.stage.platforms"] == tuple(PLATFORMS[:64])
        assert found["otel_progress.stage.platform_count"] == 100
        assert shared["progress_metrics"][name]["platforms"] == 100
    assert telemetry.points("otel_progress.run.platforms") == [({"workflow.name": "w"}, (100, 1))]


def test_platform_names_on_metrics_are_bounded(
    telemetry_with: Callable[[Settings], Telemetry], faults: Callable[[], list[str]]
) -> None:
    telemetry = telemetry_with(Settings(name_limit=3))
    with workflow("w"), stage("publish") as visit:
        for name in ("a", "b", "c", "d", "e", "a"):
            visit.platform(name)
            visit.advance()
    assert {labels["item.platform"]: count for labels, count in telemetry.points("otel_progress.stage.items")} == {
        "a": 2,
        "b": 1,
        "c": 1,
        "other": 2,
    }
    assert attributes(telemetry, "stage publish")["otel_progress.stage.platforms"] == ("a", "b", "c", "d", "e")
    assert ["more than 3 distinct platform names" in fault for fault in faults()] == [True]


@pytest.mark.parametrize("lost", ["task_requirements", "platforms"])
def test_platforms_that_the_store_loses_during_a_visit_are_kept(telemetry: Telemetry, lost: str) -> None:
    shared: Shared = {"task_requirements": {"platforms": ["twitter", "linkedin"]}}

    @stage("craft")
    def craft(shared: Shared) -> None:
        holder: Shared = shared if lost in shared else shared["task_requirements"]
        holder.pop(lost)

    with workflow("w", shared=shared) as run:
        craft(shared)
    found = attributes(telemetry, "stage craft")
    assert found["otel_progress.stage.platforms"] == ("twitter", "linkedin")
    assert found["otel_progress.stage.platform_count"] == 2
    assert shared["progress_metrics"]["craft"]["platforms"] == 2
    assert progress(run)["craft"]["platforms"] == 2


# --- the mirror while a stage is visited again ------------------------------------------------------------------------


def end(shared: Shared) -> tuple[Any, ...]:
    """What the mirror says of the end of the stage."""
    entry = shared["progress_metrics"]["check"]
    return entry.get("end_time", "absent"), entry["result"], entry["error"], entry["completed"]


OPEN = ("absent", None, None, False)


def test_the_end_of_a_failed_visit_is_hidden_while_the_stage_is_visited_again(telemetry: Telemetry) -> None:
    shared: Shared = {}

    def check(error: Exception | None) -> None:
        with stage("check", shared=shared):
            telemetry.time.passes(1)
            seen.append(end(shared))
            if error is not None:
                raise error
        telemetry.time.passes(1)

    seen: list[tuple[Any, ...]] = []
    with workflow("w", shared=shared):
        with pytest.raises(ValueError):
            check(ValueError())
        assert end(shared) == ("2025-08-28T10:45:01+00:00", "failure", "ValueError", False)
        with pytest.raises(KeyError):
            check(KeyError())
        assert end(shared) == ("2025-08-28T10:45:02+00:00", "failure", "KeyError", False)
        check(None)
        assert end(shared) == ("2025-08-28T10:45:03+00:00", "success", None, True)
    assert seen == [OPEN] * 3


def test_the_end_is_hidden_until_the_last_visit_at_once_has_ended(telemetry: Telemetry) -> None:
    shared: Shared = {}
    with workflow("w", shared=shared):
        with stage("check"):
            with pytest.raises(ValueError), stage("check"):
                raise ValueError
            assert end(shared) == OPEN
            telemetry.time.passes(1)
        assert end(shared) == ("2025-08-28T10:45:01+00:00", "success", None, True)
