"""What followed what: links to what is known, and never a guess."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

import greenlet
import pytest
import trio
from opentelemetry.context import attach, detach

from otel_progress import ProgressTrackerNode, stage, workflow
from otel_progress.recording.order import MOST_FOLLOWED
from otel_progress.recording.settings import Detail, Settings

from .conftest import Telemetry, linked, named, told
from .odd_workflows import OddWorkflow
from .workflows import SURE, Workflow


@stage()
def a(shared: Any = None) -> None:
    """A stage."""


@stage()
def b(shared: Any = None) -> None:
    """Another."""


@stage()
def c(shared: Any = None) -> None:
    """A third."""


# --- against the truth ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [Workflow, OddWorkflow])
def test_random_workflows(telemetry: Telemetry, made: type[Workflow]) -> None:
    true, known = Counter[str](), Counter[str]()
    guesses: list[str] = []
    for seed in range(300):
        telemetry.exporter.clear()
        shared: dict[str, Any] = {}
        random = made(seed, shared)
        with workflow("random", shared=shared):
            asyncio.run(random.run())
        spans = {span.context.span_id: span for span in telemetry.spans("stage") if span.context}
        recorded = {(each.span_id, this) for this, span in spans.items() for each in linked(span, "follows")}
        guesses += [
            f"seed {seed}: {named(spans[this])} did not follow {named(spans[each])}"
            for each, this in recorded
            if not random.truth.is_before(each, this)
        ]
        for (each, this), kind in random.truth.edges.items():
            if spans[each].parent == spans[this].parent:  # Else it is told by what they are in.
                true[kind] += 1
                known[kind] += (each, this) in recorded
    recall = {kind: f"{known[kind]} of {number}" for kind, number in sorted(true.items())}
    print(f"recall by kind: {recall}")
    assert not guesses
    assert {kind: known[kind] for kind in SURE} == {kind: true[kind] for kind in SURE}
    assert min(true[kind] for kind in SURE) > 20


# --- one after the other ----------------------------------------------------------------------------------------------


def test_a_sequence_and_a_loop(telemetry: Telemetry) -> None:
    with workflow("w"):
        a()
        b()
        a()
    assert told(telemetry) == [("a", []), ("b", ["a"]), ("a", ["b"])]
    kinds = [
        [(link.attributes or {})["otel_progress.link"] for link in span.links] for span in telemetry.spans("stage")
    ]
    assert kinds == [[], ["follows"], ["follows", "repeats"]]


def test_a_repeat_of_the_one_that_it_follows_has_one_link_to_it(telemetry: Telemetry) -> None:
    with workflow("w"):
        a()
        a()
    first, second = telemetry.spans("stage a")
    assert [(link.context, link.attributes) for link in second.links] == [
        (first.context, {"otel_progress.link": "follows"})
    ]


def test_what_is_inside_a_stage_has_an_order_of_its_own(telemetry: Telemetry) -> None:
    with workflow("w"):
        a()
        with stage("outer"):
            b()
            c()
        a()
    assert told(telemetry) == [("a", []), ("outer", ["a"]), ("b", []), ("c", ["b"]), ("a", ["outer"])]


def test_a_stage_that_failed_is_followed(telemetry: Telemetry) -> None:
    with workflow("w"):
        with pytest.raises(ValueError, match="no"), stage("fails"):
            raise ValueError("no")
        b()
    assert told(telemetry)[-1] == ("b", ["fails"])


def test_both_that_ended_are_followed_where_neither_follows_the_other(telemetry: Telemetry) -> None:
    @stage("steps")
    def steps() -> Any:
        yield 1

    with workflow("w"):
        made = steps()
        next(made)
        a()
        b()
        list(made)
        c()
        a()
    assert told(telemetry) == [("steps", []), ("a", []), ("b", ["a"]), ("c", ["b", "steps"]), ("a", ["c"])]


def test_what_was_left_open_is_not_followed(telemetry: Telemetry) -> None:
    @stage("steps")
    def steps() -> Any:
        yield 1

    with workflow("w"):
        made = steps()
        next(made)
        telemetry.recorder.end(next(iter(telemetry.recorder.registry.visits())), None, "abandoned")
        a()
    assert told(telemetry) == [("steps", []), ("a", [])]


def test_stages_without_a_workflow(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    a(shared)
    b(shared)
    assert told(telemetry) == [("a", []), ("b", ["a"])]


@types.coroutine
def give_way() -> Any:
    yield


@stage("asked")
async def asked() -> None:
    await give_way()


def test_a_coroutine_that_another_thread_ends_is_in_no_order(telemetry: Telemetry) -> None:
    with workflow("w"):
        for elsewhere in (True, False):
            coroutine: Any = asked()
            coroutine.send(None)
            if elsewhere:
                thread = threading.Thread(target=next, args=(coroutine.__await__(), None))
                thread.start()
                thread.join()
            else:
                next(coroutine.__await__(), None)
            a()
    assert told(telemetry) == [("asked", []), ("a", []), ("asked", ["a"]), ("a", ["asked"])]


def test_a_coroutine_that_another_thread_ends_in_the_same_context_is_in_no_order(telemetry: Telemetry) -> None:
    with workflow("w"):
        context, coroutine = copy_context(), asked()
        context.run(coroutine.send, None)
        thread = threading.Thread(target=context.run, args=(next, coroutine.__await__(), None))
        thread.start()
        thread.join()
        a()
    assert told(telemetry) == [("asked", []), ("a", [])]


def test_code_that_takes_a_visit_over_in_another_thread_is_in_no_order(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"workflow_state": {"current_stage": "draft"}}

    @stage("draft")
    def draft(shared: dict[str, Any]) -> None:
        """Take over what the tracker began."""

    with workflow("w", shared=shared):
        ProgressTrackerNode().run(shared)
        thread = threading.Thread(target=draft, args=(shared,))
        thread.start()
        thread.join()
        with stage("publish"):
            pass
    assert told(telemetry) == [("draft", []), ("publish", [])]


def test_a_tracker(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        for name in ("first", "second"):
            shared["workflow_state"] = {"current_stage": name}
            ProgressTrackerNode().run(shared)
        ProgressTrackerNode(final=True).run(shared)
        c()
    assert told(telemetry) == [("first", []), ("second", ["first"]), ("c", ["second"])]


@pytest.mark.parametrize("detail", ["none", "all"])
def test_whatever_detail_is_recorded(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, detail: Detail) -> None:
    monkeypatch.setattr(telemetry.recorder, "settings", Settings(detail=detail))
    with workflow("w") as run:
        for name in ("first", "second"):
            part = telemetry.recorder.start_part(run, name)
            token = attach(part.context)
            a()
            detach(token)
            telemetry.recorder.end(part)
    assert told(telemetry) == [("a", []), ("a", ["a"])]


def test_no_more_than_can_be_read(telemetry: Telemetry) -> None:
    @stage("steps")
    def steps() -> Any:
        yield 1

    with workflow("w"):
        made = [steps() for _ in range(3 * MOST_FOLLOWED)]
        for each in made:
            next(each)
        for each in made:
            list(each)
        a()
    assert len(told(telemetry)[-1][1]) == MOST_FOLLOWED


# --- at once ----------------------------------------------------------------------------------------------------------


def test_a_thread_of_a_pool_goes_from_one_thing_to_another(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared), ThreadPoolExecutor(1) as pool:
        for function in (a, b, c):
            pool.submit(function, shared)
    assert {tuple(before) for _, before in told(telemetry)} == {()}


def test_a_workflow_in_a_thread_of_a_pool(telemetry: Telemetry) -> None:
    def work() -> None:
        with workflow("w"):
            a()
            b()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)
        pool.submit(work)
    assert told(telemetry) == [("a", []), ("b", ["a"]), ("a", []), ("b", ["a"])]


def test_stages_without_a_workflow_in_threads_of_a_pool(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with ThreadPoolExecutor(1) as pool:
        for function in (a, b):
            pool.submit(function, shared).result()
    assert told(telemetry) == [("a", []), ("b", [])]


def test_a_thread_with_the_number_of_one_that_has_ended(telemetry: Telemetry) -> None:
    numbers: list[int] = []

    def work(function: Any, run: Any) -> None:
        numbers.append(threading.get_ident())
        function(run)

    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        for _ in range(50):
            thread = threading.Thread(target=work, args=(a, shared))
            thread.start()
            thread.join()
    assert len(set(numbers)) < 50, "no number was used again"
    assert {tuple(before) for _, before in told(telemetry)} == {()}


def test_tasks_of_which_one_has_the_place_in_memory_of_another(telemetry: Telemetry) -> None:
    places: list[int] = []

    async def work(function: Any) -> None:
        places.append(id(asyncio.current_task()))
        function()

    async def main() -> None:
        for _ in range(50):
            await asyncio.create_task(work(a))

    with workflow("w"):
        asyncio.run(main())
    assert len(set(places)) < 50, "no place was used again"
    assert {tuple(before) for _, before in told(telemetry)} == {()}


def test_trio(telemetry: Telemetry) -> None:
    async def child(*functions: Any) -> None:
        for function in functions:
            await trio.lowlevel.checkpoint()
            function()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, a, a)
            nursery.start_soon(child, b, b)
        c()

    with workflow("w"):
        trio.run(main)
    assert sorted(told(telemetry)) == [("a", []), ("a", ["a"]), ("b", []), ("b", ["b"]), ("c", [])]


def test_between_the_tasks_of_trio(telemetry: Telemetry) -> None:
    class Looks(trio.abc.Instrument):
        def before_run(self) -> None:
            a()
            b()

    with workflow("w"):
        trio.run(trio.lowlevel.checkpoint, instruments=[Looks()])
    assert told(telemetry) == [("a", []), ("b", [])]


@pytest.mark.parametrize(("library", "before"), [(None, ["a"]), ("curio", [])])
def test_with_a_sniffio_that_knows_no_threads(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, library: str | None, before: list[str]
) -> None:
    old: Any = types.ModuleType("sniffio")
    old.current_async_library_cvar = ContextVar("library")
    old.current_async_library_cvar.set(library)
    monkeypatch.setitem(sys.modules, "sniffio", old)
    with workflow("w"):
        a()
        b()
    assert told(telemetry) == [("a", []), ("b", before)]


def test_greenlets(telemetry: Telemetry) -> None:
    def child(function: Any) -> None:
        function()
        main.switch()
        function()

    main = greenlet.getcurrent()
    with workflow("w"):
        # A greenlet has a context of its own. Where that is a copy, what it does is inside the workflow too.
        made = [greenlet.greenlet(lambda function=function: copies.pop().run(child, function)) for function in (a, b)]
        copies = [copy_context() for _ in made]
        for _ in range(2):
            for each in made:
                each.switch()
        c()
    assert sorted(told(telemetry)) == [("a", []), ("a", []), ("b", []), ("b", []), ("c", [])]


# --- without spans ----------------------------------------------------------------------------------------------------


def test_visits_that_have_no_spans(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder
    recorder.sinks = []
    with workflow("w", shared={}):
        visits: list[Any] = []
        for name in ("a", "b"):
            with stage(name) as visit:
                visits.append(visit)
    assert [[serial for serial, _ in visit.follows] for visit in visits] == [[], [visits[0].serial]]
