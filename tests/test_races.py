"""What one thread finds changes before it acts on it: another does something else at exactly that moment.

Each test has something happen there that another thread might do at any time: a store, a sink, a clock or a number
that is asked in between begins, ends or changes it.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_progress import ProgressTrackerNode, Run, Sink, Visit, add_sink, progress, remove_sink, stage, workflow
from otel_progress.recording.recorder import Recorder
from otel_progress.recording.settings import Settings
from otel_progress.sinks.bound import NameBound
from otel_progress.sinks.metrics import MetricSink
from otel_progress.sinks.mirror import MirrorSink
from otel_progress.sinks.usual import usual_sinks
from otel_progress.ways.classes import class_of, forget_classes

from . import otlp
from .conftest import OwnMapping, Telemetry, using

Shared = dict[str, Any]


def elsewhere(work: Callable[[], object]) -> None:
    """Do `work` in another thread, and wait for it."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=30)
    assert not thread.is_alive()


def visit(name: str, shared: Any = None) -> None:
    with stage(name, shared=shared):
        pass


def at(name: str) -> Shared:
    return {"workflow_state": {"current_stage": name}}


def result(telemetry: Telemetry, name: str) -> list[Any]:
    return [(span.attributes or {})["otel_progress.stage.result"] for span in telemetry.spans(f"stage {name}")]


class Meanwhile(Sink):
    """Does something once, before the sinks behind it are told of an event."""

    def __init__(self, telemetry: Telemetry, event: str, work: Callable[[Any], object]) -> None:
        self.work: Callable[[Any], object] | None = work
        setattr(self, event, self._told)
        telemetry.recorder.change(lambda sinks: [self, *sinks])

    def _told(self, recorded: Any, *_: object) -> None:
        work, self.work = self.work, None
        if work is not None:
            work(recorded)


class Told(Sink):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        add_sink(self)

    def visit_started(self, visit: Visit) -> None:
        self.events.append(f"{visit.stage} started")

    def visit_ended(self, visit: Visit) -> None:
        self.events.append(f"{visit.stage} ended")

    def run_ended(self, run: Run) -> None:
        self.events.append(f"{run.workflow} ended")


def at_next_start(telemetry: Telemetry, work: Callable[[], object]) -> None:
    """Do `work` in another thread when the time of the next start is taken."""
    recorder: Any = telemetry.recorder
    wall = recorder._wall

    def asked() -> int:
        recorder._wall = wall
        elsewhere(work)
        return wall()

    recorder._wall = asked


# --- runs -------------------------------------------------------------------------------------------------------------


def test_stages_may_be_new_while_progress_is_asked_for(telemetry: Telemetry) -> None:
    with workflow("w") as run:
        visit("a")

        class Results(dict[Any, int]):
            def copy(self) -> dict[Any, int]:
                run.stage("b", loose=False)
                return {**self}

        run.stages["a"].results = Results(success=1)
        assert list(progress(run)) == ["a"]
        visit("b")
        assert list(progress(run)) == ["a", "b"]


def over_its_store(shared: Shared) -> None:
    with workflow("w", shared=shared):
        pass


def over_256_others(_: Shared) -> None:
    for _number in range(256):
        visit("a", {})


@pytest.mark.parametrize("end", [over_its_store, over_256_others, ProgressTrackerNode(final=True).run])
def test_an_idle_run_in_which_a_visit_begins_before_it_ends_goes_on(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, end: Callable[[Shared], object]
) -> None:
    shared: Shared = {}
    visit("a", shared)
    later, context, end_idle = stage("b", shared=shared), contextvars.Context(), telemetry.recorder.end_idle

    def meanwhile(run: Run) -> None:
        monkeypatch.undo()
        elsewhere(lambda: context.run(later.__enter__))
        end_idle(run)

    monkeypatch.setattr(telemetry.recorder, "end_idle", meanwhile)
    end(shared)
    context.run(later.__exit__, None, None, None)
    assert result(telemetry, "b") == ["success"]
    telemetry.recorder.close()
    assert "run tests[stage a, stage b]" in map(repr, telemetry.trees())


def test_a_run_whose_first_visit_is_about_to_begin_is_not_idle(telemetry: Telemetry) -> None:
    shared: Shared = {}
    Meanwhile(telemetry, "run_shown", lambda _: elsewhere(lambda: over_its_store(shared)))
    visit("a", shared)
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run tests[stage a], run w]"


def test_a_workflow_that_begins_while_the_one_before_is_ended_is_a_new_run(telemetry: Telemetry) -> None:
    shared: Shared = {}
    Meanwhile(telemetry, "run_ended", lambda _: elsewhere(lambda: over_its_store(shared)))
    over_its_store(shared)
    assert repr(telemetry.trees()) == "[run w, run w]"
    first, second = [(span.attributes or {})["otel_progress.run.id"] for span in telemetry.spans("run")]
    assert first != second


def test_a_run_begins_over_a_slow_store_while_others_leave_theirs(telemetry: Telemetry) -> None:
    asked: list[str] = []

    class Slow(OwnMapping):
        def get(self, key: str, default: Any = None) -> Any:
            if key == "progress_run" and len(asked) < 50:
                asked.append(key)
                elsewhere(lambda: visit("other", {}))
            return super().get(key, default)

    visit("a", Slow())
    assert len(asked) < 10


def test_what_takes_a_store_when_its_run_has_ended_does_not_hold_it(telemetry: Telemetry) -> None:
    outer = workflow("w")
    outer.__enter__()

    class Store(OwnMapping):
        def get(self, key: str, default: Any = None) -> Any:
            if key == "progress_run" and telemetry.recorder.registry.visits():
                threading.Thread(target=lambda: outer.__exit__(None, None, None)).start()
                otlp.wait_until(lambda: not telemetry.recorder.registry.visits())
            return super().get(key, default)

    store = Store()
    visit("a", store)
    assert telemetry.recorder.registry.of_store(store) is None
    assert cast("Any", telemetry.recorder.registry)._by_key.get(id(store)) is None


def test_a_visit_is_told_to_begin_before_it_is_told_to_end_with_its_run(telemetry: Telemetry) -> None:
    told = Told()
    outer = workflow("w")
    run = outer.__enter__()
    ending = threading.Thread(target=lambda: outer.__exit__(None, None, None))

    def end_the_run(_: Visit) -> None:
        ending.start()
        otlp.wait_until(lambda: run.ended is not None and not run.open)

    Meanwhile(telemetry, "visit_started", end_the_run)
    visit("a")
    ending.join(timeout=30)
    assert told.events == ["a started", "a ended", "w ended"]
    assert result(telemetry, "a") == ["abandoned"]


def test_the_mirror_lets_go_of_a_run_that_ends_before_its_first_visit_is_shown(telemetry: Telemetry) -> None:
    shared: Shared = {}
    outer = workflow("w", shared=shared)
    outer.__enter__()
    ending = threading.Thread(target=lambda: outer.__exit__(None, None, None))

    def end_the_run(_: Visit) -> None:
        ending.start()
        otlp.wait_until(lambda: "w ended" in told.events)

    told = Told()
    Meanwhile(telemetry, "visit_started", end_the_run)
    visit("a", shared)
    ending.join(timeout=30)
    assert shared["progress_metrics"]["a"]["result"] == "abandoned"
    (mirror,) = (sink for sink in telemetry.recorder.sinks if isinstance(sink, MirrorSink))
    assert mirror._runs == {}
    assert mirror._desks == {}


def test_a_run_is_told_to_end_after_a_visit_that_another_thread_ends(telemetry: Telemetry) -> None:
    outer = workflow("w")
    run = outer.__enter__()
    ending = threading.Thread(target=lambda: outer.__exit__(None, None, None))

    def end_the_run(_: Visit) -> None:
        ending.start()
        otlp.wait_until(lambda: run.ended is not None)

    Meanwhile(telemetry, "visit_ended", end_the_run)
    told = Told()
    visit("a")
    ending.join(timeout=30)
    assert told.events == ["a started", "a ended", "w ended"]


# --- visits -----------------------------------------------------------------------------------------------------------


def test_who_ends_a_visit_as_soon_as_its_beginning_is_told_tells_of_it_alone(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    is_telling, may_go_on = threading.Event(), threading.Event()

    class Slow(Sink):
        def visit_ended(self, visit: Visit) -> None:
            is_telling.set()
            assert may_go_on.wait(30)
            events.append("visit ended")

        def run_ended(self, run: Run) -> None:
            events.append("run ended")

    add_sink(slow := Slow())
    flag, ending = Visit.__dict__["is_told"], list[threading.Thread]()

    class Trap:
        """What `Visit.is_told` is, but that another thread ends the visit as soon as it is true."""

        def __get__(self, visit: Visit, _: type) -> bool:
            return flag.__get__(visit)

        def __set__(self, visit: Visit, value: bool) -> None:
            flag.__set__(visit, value)
            if value and not ending:
                ending.append(threading.Thread(target=telemetry.recorder.end, args=(visit,)))
                ending[0].start()
                assert is_telling.wait(30)

    monkeypatch.setattr(Visit, "is_told", Trap())
    try:
        with stage("draft"):  # It ends a run of its own.
            pass
    finally:
        may_go_on.set()
        ending[0].join(30)
        remove_sink(slow)
    assert events == ["visit ended", "run ended"]


def test_an_item_that_is_told_when_its_visit_has_ended_is_told_nowhere(telemetry: Telemetry) -> None:
    shared: Shared = {}
    with workflow("w", shared=shared):
        block = stage("a")

        class Done(int):
            def __int__(self) -> int:
                elsewhere(lambda: block.__exit__(None, None, None))
                return 1

        block.__enter__().advance(Done(1))
    assert shared["progress_metrics"]["a"]["items_done"] == 0
    assert telemetry.points("otel_progress.stage.items") == []


def test_what_begins_to_wait_while_its_visit_ends_waits_no_more(telemetry: Telemetry) -> None:
    shared: Shared = {}
    asked: list[int] = []

    def platforms(_: Any) -> int:
        asked.append(1)
        if len(asked) == 2:  # At its end.
            elsewhere(lambda: open_visit.waiting("approval").__enter__())
        return 0

    with workflow("w", shared=shared) as run:
        with stage("a", platforms=platforms) as open_visit:
            pass
        with stage("a"):
            assert shared["progress_metrics"]["a"]["waiting"] is None
        assert not run.stages["a"].waits


def test_one_object_that_two_threads_have_entered_ends_the_visit_of_each(telemetry: Telemetry) -> None:
    block, context = stage("a"), contextvars.Context()
    outer = workflow("w")
    outer.__enter__()
    block.__enter__()
    other = context.run(block.__enter__)  # A run of its own.
    elsewhere(lambda: outer.__exit__(None, None, None))  # Ends the first visit.
    block.__exit__(None, None, None)
    assert other.ended is None
    context.run(block.__exit__, None, None, None)
    assert sorted(result(telemetry, "a")) == ["abandoned", "success"]


def test_two_threads_drive_one_node_by_hand_from_the_same_moment(telemetry: Telemetry) -> None:
    @stage("n")
    class Summarize:
        def prep(self, shared: Any) -> Any:
            return shared["text"]

        def exec(self, text: Any) -> Any:
            return text

        def post(self, shared: Any, text: Any, summary: Any) -> None:
            shared["summary"] = summary

    node = Summarize()
    first: Shared = {"text": "a"}
    second: Shared = {"text": "b"}

    def drive(shared: Shared) -> None:
        text = node.prep(shared)
        node.post(shared, text, node.exec(text))

    Meanwhile(telemetry, "visit_started", lambda _: elsewhere(lambda: drive(second)))
    drive(first)
    assert [shared["progress_metrics"]["n"]["results"] for shared in (first, second)] == [{"success": 1}] * 2
    assert telemetry.recorder.registry.of_nodes == {}


def test_what_is_found_out_of_a_class_is_found_anew_when_its_methods_are_wrapped_meanwhile() -> None:
    class Kind(type):
        def __getattr__(cls, name: str) -> Any:
            forget_classes()
            raise AttributeError(name)

    class Node(metaclass=Kind):
        def exec(self, _: object) -> None: ...

    assert class_of(Node()) is not class_of(Node())


# --- trackers ---------------------------------------------------------------------------------------------------------


def test_two_trackers_that_pass_at_once_begin_a_stage_once(telemetry: Telemetry) -> None:
    shared = at("z")
    ProgressTrackerNode().run(shared)
    shared["workflow_state"] = {"current_stage": "a"}
    at_next_start(telemetry, lambda: ProgressTrackerNode().run(shared))
    ProgressTrackerNode().run(shared)
    ProgressTrackerNode(final=True).run(shared)
    assert repr(telemetry.trees()) == "[run tests[stage z, stage a]]"
    assert shared["progress_metrics"]["a"]["completed"] is True


def test_of_two_stages_that_trackers_begin_at_once_one_stays_open(telemetry: Telemetry) -> None:
    shared = at("z")
    ProgressTrackerNode().run(shared)

    def other() -> None:
        shared["workflow_state"] = {"current_stage": "b"}
        ProgressTrackerNode().run(shared)

    shared["workflow_state"] = {"current_stage": "a"}
    at_next_start(telemetry, other)
    ProgressTrackerNode().run(shared)
    assert [visit.stage for visit in telemetry.recorder.registry.visits()] == ["a"]


def test_a_tracker_whose_run_is_ended_meanwhile_begins_its_stage_all_the_same(telemetry: Telemetry) -> None:
    shared = at("z")
    ProgressTrackerNode().run(shared)
    shared["workflow_state"] = {"current_stage": "a"}
    at_next_start(telemetry, telemetry.recorder.close)
    ProgressTrackerNode().run(shared)
    assert [visit.stage for visit in telemetry.recorder.registry.visits()] == ["a"]


def test_code_does_not_take_over_what_a_tracker_is_about_to_complete(telemetry: Telemetry) -> None:
    shared = at("z")
    ProgressTrackerNode().run(shared)
    code, context = stage("z", shared=shared), contextvars.Context()
    recorder: Any = telemetry.recorder
    monotonic = recorder._monotonic

    def meanwhile() -> int:
        recorder._monotonic = monotonic
        elsewhere(lambda: context.run(code.__enter__))
        return monotonic()

    recorder._monotonic = meanwhile
    shared["workflow_state"] = {"current_stage": "a"}
    ProgressTrackerNode().run(shared)
    assert shared["progress_metrics"]["z"]["completed"] is False
    context.run(code.__exit__, None, None, None)
    assert shared["progress_metrics"]["z"]["results"] == {"success": 2}


# --- sinks ------------------------------------------------------------------------------------------------------------


def test_two_threads_add_and_remove_sinks_at_once(telemetry: Telemetry) -> None:
    first, second, third = Sink(), Sink(), Sink()
    add_sink(third)
    others: list[threading.Thread] = []

    class Sinks(list[Sink]):
        def __iter__(self) -> Any:
            if not others:
                others.extend([threading.Thread(target=add_sink, args=(second,)), threading.Thread(target=remove)])
                for each in others:
                    each.start()
                    each.join(timeout=0.2)  # They wait where the sinks are changed meanwhile.
            return super().__iter__()

    def remove() -> None:
        remove_sink(third)

    before = telemetry.recorder.sinks
    telemetry.recorder.sinks = Sinks(before)
    add_sink(first)
    for each in others:
        each.join(timeout=30)
    assert set(telemetry.recorder.sinks) == {*before, first, second} - {third}


def test_what_a_user_prepared_stays_when_another_thread_is_first_to_show_the_run(telemetry: Telemetry) -> None:
    shared: Shared = {"progress_metrics": {"theirs": {"note": 1}}}
    Meanwhile(telemetry, "run_shown", lambda _: elsewhere(lambda: visit("b", shared)))
    visit("a", shared)
    assert sorted(shared["progress_metrics"]) == ["a", "b", "theirs"]


class Limit(int):
    """A limit at which something happens once, as soon as it has been compared with."""

    work: Callable[[], object] | None = None

    def _told(self, answer: bool) -> bool:
        work, self.work = self.work, None
        if work is not None:
            work()
        return answer

    def __le__(self, other: int) -> bool:
        return self._told(int(self) <= other)

    def __gt__(self, other: int) -> bool:
        return self._told(int(self) > other)


def as_a_handler(work: Callable[[], object]) -> None:
    """Do `work` in this thread, where a signal may have it done."""
    work()


@pytest.mark.parametrize("interrupted_by", [elsewhere, as_a_handler])
@pytest.mark.parametrize(
    ("limit", "meanwhile", "passed"),
    [
        (1, ["b"], {"b"}),
        (2, ["b"], {"a", "b"}),
        (3, ["b", "c", "d", "e"], {"b", "c", "d"}),
        (2, ["a"], {"a", "z"}),  # One name is one, however many come with it.
        (2, ["a", "b"], {"a", "b"}),
    ],
)
def test_no_more_names_pass_than_the_limit_when_several_are_new_at_once(
    interrupted_by: Callable[[Callable[[], object]], None], limit: int, meanwhile: list[str], passed: set[str]
) -> None:
    def come() -> None:
        for name in meanwhile:
            bound.stage(name)

    most = Limit(limit)
    bound = NameBound(Recorder(settings=Settings(name_limit=most)))
    most.work = lambda: interrupted_by(come)
    first = bound.stage("a")
    assert most.work is None
    assert first == ("a" if "a" in passed else "other")
    everything = ["a", *meanwhile, "z"]
    for _ in range(2):  # What has once passed, or not, does so again.
        assert {bound.stage(name) for name in everything} - {"other"} == passed


def test_a_visit_that_ends_while_another_asks_for_a_provider_is_measured() -> None:
    recorder, asked = Recorder(), list[int]()

    class Module(str):
        __slots__ = ()

        def startswith(self, *_: Any) -> bool:
            if not asked:
                asked.append(1)
                elsewhere(lambda: visit("b", {}))
            return False

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    recorder.sinks = usual_sinks(recorder, None, provider)
    sink = next(each for each in recorder.sinks if isinstance(each, MetricSink))
    cast("Any", sink)._provider = cast("Any", type("Provider", (), {"__module__": Module("sdk")}))()
    for there in using(Telemetry(recorder, cast("Any", time), cast("Any", None), reader, cast("Any", None))):
        visit("a", {})
        counts = {
            attributes["stage.name"]: count for attributes, (_, count) in there.points("otel_progress.stage.duration")
        }
        assert counts == {"a": 1, "b": 1}
