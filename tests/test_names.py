"""What stages and runs are called: which names are one, and where names come from."""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import types
import unicodedata
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

import pytest
from pocketflow import AsyncBatchFlow, AsyncFlow, AsyncParallelBatchFlow, BatchFlow, Flow, Node

from otel_progress import PocketFlowInstrumentor, ProgressTrackerNode, progress, workflow
from otel_progress.recording.sources import program_name
from otel_progress.recording.spelling import spellings

from .conftest import Telemetry

Shared = dict[str, Any]

APART = [
    ("1.1", "11"),
    ("v1.0", "v10", "v1,0"),
    ("C", "C++", "C#", "C*"),
    ("F#", "F", "F!"),
    ("🚀", "🔥", "🚀🚀"),
    ("👍", "👍🏽", "👎"),
    ("_", "-", "__", "--"),
    ("!", "?", "??"),
    ("की", "का", "क"),  # Hindi: vowel signs, which are neither letters nor digits.
    ("दिन", "दीन", "दान"),
    ("น้ำ", "นา", "น่า", "นำ"),  # Thai: tone marks and vowels.
    ("กิน", "กัน", "กน"),
    ("ক", "কা", "কি"),  # Bengali.
    ("க", "கா", "கி"),  # Tamil.
    ("שָׁלוֹם", "שלום"),  # Hebrew points.
    ("résumé", "resume"),
    ("Maße", "Masse"),
    ("sı", "si"),
    ("²", "2"),
    ("①", "1"),
    ("a/b", "ab", "a:b", "a.b"),
    ("draft (de)", "draft de", "draft [de]"),
    ("a–b", "ab"),  # A dash is no hyphen.
    ("anode", "a"),
    ("fact_check", "fact_check_node"),  # A final Node is a class's.
    ("x\u200dy", "xy"),
]
TOGETHER = [
    ("fact_check", "FactCheck", "FACT CHECK", "fact-check", "Fact_check", "__fact__check__"),
    ("résumé", unicodedata.normalize("NFD", "résumé"), "RÉSUMÉ"),
    ("दिन", " दि न "),
    ("Übersetzung", "übersetzung"),
]


class Named(Node):
    """A node with a name of its own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def by_nodes(*names: str) -> list[str]:
    """The stages of a flow whose nodes have these names."""
    with workflow("w") as run:
        for name in names:
            Named(name).run({})
    return list(progress(run))


def by_trackers(*names: str) -> list[str]:
    """The stages that a tracker marks by these names."""
    shared: Shared = {}
    with workflow("w", shared=shared):
        for name in names:
            shared["workflow_state"] = {"current_stage": name}
            ProgressTrackerNode().run(shared)
    return list(shared["progress_metrics"])


def by_class_and_tracker(*names: str) -> list[str]:
    """The stages where classes have these names, and a tracker marks each after that."""
    with workflow("w", shared=(shared := Shared())):
        for name in names:
            types.new_class(name, (Node,))().run(shared)
        for name in names:
            shared["workflow_state"] = {"current_stage": name}
            ProgressTrackerNode().run(shared)
    return list(shared["progress_metrics"])


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("stages_of", [by_nodes, by_trackers])
@pytest.mark.parametrize("names", APART, ids=repr)
def test_names_that_are_different_words_are_different_stages(
    stages_of: Callable[..., list[str]], names: tuple[str, ...]
) -> None:
    for order in itertools.permutations(names, min(3, len(names))):
        assert stages_of(*order) == list(order)


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("names", [names for names in APART if "fact_check" not in names], ids=repr)
def test_classes_and_trackers_too(names: tuple[str, ...]) -> None:
    assert by_class_and_tracker(*names) == list(names)


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("stages_of", [by_nodes, by_trackers, by_class_and_tracker])
@pytest.mark.parametrize("names", TOGETHER, ids=repr)
def test_case_hyphens_underscores_and_blanks_tell_no_stages_apart(
    stages_of: Callable[..., list[str]], names: tuple[str, ...]
) -> None:
    for first, second in itertools.permutations(names, 2):
        assert stages_of(first, second) == [first.strip()]


def test_nothing_folds_to_nothing() -> None:
    every = ["".join(each) for size in (1, 2, 3) for each in itertools.product("_- \t\u00a0", repeat=size)]
    assert all(spellings(name)[0] == name for name in every)


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize(("of_class", "of_tracker"), [("DraftNode", "draft"), ("Draft", "draft_node")])
def test_a_final_node_of_a_class_s_name_tells_no_stages_apart(of_class: str, of_tracker: str) -> None:
    assert by_class_and_tracker_alone(of_class, of_tracker) == [of_class]


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize(
    ("of_class", "of_tracker"), [("Anode", "a"), ("Node", "_"), ("NodeDraft", "draft"), ("DraftNodes", "draft")]
)
def test_no_other_node_in_a_name_folds(of_class: str, of_tracker: str) -> None:
    assert by_class_and_tracker_alone(of_class, of_tracker) == [of_class, of_tracker]


def by_class_and_tracker_alone(of_class: str, of_tracker: str) -> list[str]:
    shared: Shared = {"workflow_state": {"current_stage": of_tracker}}
    with workflow("w", shared=shared):
        types.new_class(of_class, (Node,))().run(shared)
        ProgressTrackerNode().run(shared)
    return list(shared["progress_metrics"])


# --- a node's own name ------------------------------------------------------------------------------------------------


class ByProperty(Node):
    """Named by a property."""

    language = "de"

    @property
    def name(self) -> str:
        return f"translate {self.language}"


class ByCachedProperty(Node):
    """Named by a property that remembers what it said."""

    language = "de"

    @functools.cached_property
    def name(self) -> str:
        return f"translate {self.language}"

    def prep(self, shared: Any) -> None:
        self.language = "fr"


class ByNodeName(Node):
    """Named by the other attribute, as its name says nothing."""

    name = "  "

    @property
    def node_name(self) -> str:
        return "translate de"


class BySlot(Node):
    """Named by a slot."""

    __slots__ = ("name",)

    def __init__(self) -> None:
        super().__init__()
        self.name = "translate de"


class BrokenProperty(Node):
    """Has a name that cannot be read."""

    @property
    def name(self) -> str:
        raise LookupError


class EmptySlot(Node):
    """Has a slot for its name with nothing in it."""

    __slots__ = ("name",)


class NoText(Node):
    """Has something else under this name."""

    @property
    def name(self) -> int:
        return 3


class Method(Node):
    """Has a method of this name."""

    def name(self) -> str:
        raise AssertionError


class RunsItself(Node):
    """Has to run to know its name."""

    depth = 0

    @property
    def name(self) -> str:
        type(self).depth += 1
        if self.depth < 50:
            self.run({})
        return "translate de"


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("kind", [ByProperty, ByCachedProperty, ByNodeName, BySlot, RunsItself])
def test_a_node_may_tell_its_name_by_a_property(telemetry: Telemetry, kind: type[Node]) -> None:
    with workflow("w"):
        kind().run({})
    assert repr(telemetry.trees()) == "[run w[stage translate de]]"


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("kind", [BrokenProperty, EmptySlot, NoText, Method])
def test_a_node_that_tells_no_name_has_its_class_s(
    telemetry: Telemetry, kind: type[Node], faults: Callable[[], list[str]]
) -> None:
    with workflow("w"):
        kind().run({})
    assert repr(telemetry.trees()) == f"[run w[stage {kind.__name__}]]"
    assert faults() == []


@pytest.mark.usefixtures("instrumented")
def test_a_node_does_not_keep_what_it_was_asked(telemetry: Telemetry) -> None:
    node = ByCachedProperty()
    node.run({})
    assert "name" not in vars(node)
    assert node.name == "translate fr"


# --- a flow's name ----------------------------------------------------------------------------------------------------


class EachFlow(BatchFlow):
    """A flow with a class of its own."""

    def prep(self, shared: Any) -> list[dict[str, Any]]:
        return [{}]


class NightlyFlow(Flow):
    """A flow with a name for all of its class."""

    flow_name = "nightly"


class NightlyByProperty(Flow):
    """A flow whose name is asked."""

    @property
    def flow_name(self) -> str:
        return "nightly"


def named(flow: Any, **own: str) -> Any:
    vars(flow).update(own)
    return flow


def go(flow: Any) -> None:
    if isinstance(flow, AsyncFlow):
        asyncio.run(flow.run_async({}))
    else:
        flow.run({})


@pytest.mark.parametrize(
    ("argv0", "module", "record", "name"),
    [
        ("/app/campaign.py", None, "", "campaign"),
        ("/app/campaign", "__main__", "", "campaign"),  # `python /app/campaign`, a folder or an archive.
        ("/app/campaign/__main__.py", None, "", "campaign"),
        ("/site/campaign/__main__.py", "campaign.__main__", "", "campaign"),
        ("/site/campaign/app.py", "campaign.app", "", "campaign.app"),
        ("-c", None, "", "workflow"),
        ("-", None, "", "workflow"),
        ("", None, "", "workflow"),
        ("-c", None, "/runs/20261123T032555Z-pr-campaign-04ed14", "pr-campaign"),
        ("-c", None, "/elsewhere", "workflow"),
        ("/app/other.py", None, "/runs/20261123T032555Z-pr-campaign-04ed14", "other"),
    ],
)
def test_a_program_is_named_as_people_know_it(
    monkeypatch: pytest.MonkeyPatch, argv0: str, module: str | None, record: str, name: str
) -> None:
    main = types.ModuleType("__main__")
    main.__spec__ = None if module is None else ModuleSpec(module, None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", [argv0])
    monkeypatch.setenv("OTEL_PROGRESS_RECORD", record)
    assert program_name() == name


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("kind", [Flow, AsyncFlow, BatchFlow, AsyncBatchFlow, AsyncParallelBatchFlow])
def test_a_run_whose_flow_has_no_name_but_its_class_s_is_named_after_the_program(
    telemetry: Telemetry, kind: type[Any]
) -> None:
    go(kind(Node()))
    telemetry.recorder.workflow = None
    go(kind(Node()))
    go(named(kind(Node()), flow_name="by flow_name"))
    go(named(kind(Node()), name="by name"))
    runs = [span.name for span in telemetry.spans("run")]
    assert runs == ["run tests", f"run {program_name()}", "run by flow_name", "run by name"]


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize(
    ("flow", "name"),
    [
        (EachFlow(Node()), "EachFlow"),
        (NightlyFlow(Node()), "nightly"),
        (NightlyByProperty(Node()), "nightly"),
        (named(NightlyFlow(Node()), flow_name="weekly"), "weekly"),
        (named(Flow(Node()), node_name="weekly"), "weekly"),
    ],
    ids=repr,
)
def test_a_flow_that_has_a_name_keeps_it(telemetry: Telemetry, flow: Any, name: str) -> None:
    go(flow)
    assert [span.name for span in telemetry.spans("run")] == [f"run {name}"]


@pytest.mark.usefixtures("instrumented")
def test_a_flow_inside_a_flow_is_no_program(telemetry: Telemetry) -> None:
    go(Flow(Flow(Node())))
    go(Flow(named(Flow(Node()), flow_name="inner")))
    inner = [span.name for span in telemetry.spans("stage")]
    assert inner == ["stage Flow", "stage Node", "stage inner", "stage Node"]


def test_a_name_from_a_hook_counts(telemetry: Telemetry) -> None:
    PocketFlowInstrumentor().instrument(name_hook=lambda node: "hooked" if isinstance(node, Flow) else None)
    try:
        go(Flow(Node()))
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert [span.name for span in telemetry.spans("run")] == ["run hooked"]


def test_a_bare_flow_whose_class_is_decorated_by_a_name_has_that(telemetry: Telemetry) -> None:
    kind = types.new_class("Flow", (Flow,))
    workflow("decorated")(kind)
    go(kind(Node()))
    unnamed = types.new_class("Flow", (Flow,))
    workflow()(unnamed)
    go(unnamed(Node()))
    assert [span.name for span in telemetry.spans("run")] == ["run decorated", "run tests"]
