"""Names that stages are given, and what is said where a tracker's stage and a node are one visit with two names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pocketflow import BaseNode, Flow, Node

from otel_progress import PocketFlowInstrumentor, ProgressTrackerNode, stage, workflow
from otel_progress.recording.settings import Settings

from .conftest import Telemetry

Shared = dict[str, Any]
Faults = Callable[[], list[str]]


def hint(node: str, name: str) -> str:
    return (
        f"the stage '{name}' of a tracker and the node '{node}' are one visit, recorded as two. To make them one: "
        f"PocketFlowInstrumentor().instrument(stage_names={{'{node}': '{name}'}}), or "
        f"OTEL_PROGRESS_STAGE_NAMES={node}={name}"
    )


def works(telemetry: Telemetry, seconds: float, then: str | None = None) -> type[Node]:
    """A class of nodes that take so long."""

    class Director(Node):
        def exec(self, prep_res: Any) -> None:
            telemetry.time.passes(seconds)

        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
            if then is not None:
                shared["workflow_state"]["current_stage"] = then

    return Director


def run(*nodes: BaseNode, times: int = 1, **options: Any) -> Shared:
    """Run the nodes after a tracker of `agency_director`, with a tracker that ends it behind them."""
    first = last = ProgressTrackerNode()
    for node in (*nodes, ProgressTrackerNode(final=True)):
        last >> node
        last = node
    shared: Shared = {}
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument(**options)
    try:
        for _ in range(times):
            shared = {"workflow_state": {"current_stage": "agency_director"}}
            with workflow("w", shared=shared):
                Flow(first).run(shared)
    finally:
        instrumentor.uninstrument()
    return shared


def test_where_a_trackers_stage_and_a_node_coincide_it_is_said_how_to_make_them_one(
    telemetry: Telemetry, faults: Faults
) -> None:
    shared = run(works(telemetry, 0.167)(), times=3)
    assert list(shared["progress_metrics"]) == ["agency_director", "Director"]
    assert faults() == [hint("Director", "agency_director")]


def test_that_line_makes_them_one(telemetry: Telemetry, faults: Faults) -> None:
    shared = run(works(telemetry, 0.167)(), stage_names={"Director": "agency_director"})
    assert {name: entry["visits"] for name, entry in shared["progress_metrics"].items()} == {"agency_director": 1}
    assert repr(telemetry.trees()) == "[run w[stage agency_director]]"
    assert faults() == []
    assert telemetry.recorder.settings.stage_names == {}


def test_so_does_the_variable(telemetry_with: Callable[[Settings], Telemetry], faults: Faults) -> None:
    telemetry = telemetry_with(
        Settings.from_environment({"OTEL_PROGRESS_STAGE_NAMES": "Director = agency_director,A=b"})
    )
    run(works(telemetry, 0.167)())
    assert repr(telemetry.trees()) == "[run w[stage agency_director]]"
    assert faults() == []


class Slow(Node):
    """Takes a second."""

    time: Any = None

    def exec(self, prep_res: Any) -> None:
        self.time.passes(1)


def slow(telemetry: Telemetry) -> Slow:
    node = Slow()
    node.time = telemetry.time
    return node


@pytest.mark.parametrize(("between", "is_said"), [(0.05, True), (0.06, False)])
def test_a_node_is_another_stage_where_it_is_clearly_shorter(
    telemetry: Telemetry, faults: Faults, between: float, is_said: bool
) -> None:
    @stage()  # Known by its decorator: none that instrument() names, and no node of its own here.
    def before() -> None:
        telemetry.time.passes(between)

    class Late(ProgressTrackerNode):
        def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> str:
            before()
            return super().post(shared, prep_res, exec_res)

    first, node, last = ProgressTrackerNode(), works(telemetry, 1 - between)(), Late(final=True)
    first >> node >> last
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument()
    shared: Shared = {"workflow_state": {"current_stage": "agency_director"}}
    try:
        with workflow("w", shared=shared):
            Flow(first).run(shared)
    finally:
        instrumentor.uninstrument()
    assert bool(faults()) == is_said


@pytest.mark.parametrize("seconds", [(1, 0.001), (0.001, 1)])
def test_two_nodes_in_a_trackers_stage_are_no_twins_of_it(
    telemetry: Telemetry, faults: Faults, seconds: tuple[float, float]
) -> None:
    run(*(works(telemetry, each)() for each in seconds))
    assert faults() == []


def test_what_takes_no_time_to_speak_of_proves_nothing(telemetry: Telemetry, faults: Faults) -> None:
    run(works(telemetry, 0.0009)())
    assert faults() == []


def test_a_flow_around_nodes_is_no_node(telemetry: Telemetry, faults: Faults) -> None:
    class Inner(Flow):
        pass

    run(Inner(slow(telemetry)))
    assert faults() == []


def test_a_node_with_stages_inside_is_still_one(telemetry: Telemetry, faults: Faults) -> None:
    class Director(Node):
        def exec(self, prep_res: Any) -> None:
            slow(telemetry).run({})
            telemetry.time.passes(1)

    run(Director())
    assert faults() == [hint("Director", "agency_director")]


def test_a_decorated_node_is_left_alone(telemetry: Telemetry, faults: Faults) -> None:
    run(stage("sign_off")(works(telemetry, 1))())
    assert faults() == []


@pytest.mark.parametrize("how", ["own name", "hook", "decorator"])
def test_which_names_are_mapped(telemetry: Telemetry, how: str) -> None:
    """A node's own name can be a key; what a hook or a decorator says is the program's last word."""
    cls = works(telemetry, 1)
    node = stage("Editor")(cls)() if how == "decorator" else cls()
    if how == "own name":
        node.name = "Editor"  # pyright: ignore[reportAttributeAccessIssue]
    instrumentor = PocketFlowInstrumentor()
    hook = {"name_hook": lambda _: "Editor"} if how == "hook" else {}
    instrumentor.instrument(stage_names={"Editor": "style_editor", "Director": "agency_director"}, **hook)
    try:
        with workflow("w"):
            node.run({})
    finally:
        instrumentor.uninstrument()
    assert [span.name for span in telemetry.spans("stage")] == [
        "stage style_editor" if how == "own name" else "stage Editor"
    ]


@pytest.mark.parametrize("given", ["Director=agency_director", {"Director": 1}, {"Director": " "}, [("a", "b")]])
def test_what_is_no_map_of_names_is_refused(telemetry: Telemetry, given: Any) -> None:
    with pytest.raises(ValueError, match="stage_names must map names of stages to names"):
        PocketFlowInstrumentor().instrument(stage_names=given)
    with workflow("w"):
        works(telemetry, 1)().run({})
    assert telemetry.spans("stage") == []


def test_a_wrong_part_of_the_variable_is_said_once(faults: Faults) -> None:
    for _ in range(2):
        found = Settings.from_environment({"OTEL_PROGRESS_STAGE_NAMES": "Director, =x, Editor=style_editor,"})
        assert found.stage_names == {"Editor": "style_editor"}
    assert faults() == [
        f"OTEL_PROGRESS_STAGE_NAMES has {part!r}, which is no Name=stage, and is ignored" for part in ("Director", "=x")
    ]
