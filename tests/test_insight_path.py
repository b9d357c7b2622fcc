"""The critical path: by links where they are, by times where they are not, and it says which."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from otel_progress import gather, names, stage, workflow
from otel_progress.insight import Path
from otel_progress.insight.path import path_of
from otel_progress.insight.shape import RUN, Shape, shape_of
from otel_progress.runs import Link, Run, Visit

from .conftest import Telemetry
from .timed import ForgetfulWorkflow, TimedWorkflow, run_in, runs_of

SECOND = 1_000_000_000


def visit(
    name: str, started: float, ended: float | None, *follows: str, parent: str | None = None, **more: Any
) -> Visit:
    """A visit whose id is its stage's name."""
    more = {"result": "success", "id": name, **more}
    return Visit(
        stage=name,
        started=round(started * SECOND) + SECOND,
        ended=None if ended is None else round(ended * SECOND) + SECOND,
        state="unknown" if ended is None else "done",
        parent=parent,
        links=tuple(Link(names.LINK_FOLLOWS, visit=each) for each in follows),
        **more,
    )


def run(*visits: Visit, ends: float | None = None, result: str = "success") -> Run:
    """A run of them, from second 0 on."""
    return Run(
        "r",
        "w",
        "here",
        started=SECOND,
        ended=None if ends is None else round(ends * SECOND) + SECOND,
        state="unknown" if ends is None else "done",
        result=result,
        visits=visits,
    )


def path(*visits: Visit, ends: float | None = None) -> Path:
    return path_of(shape_of(run(*visits, ends=ends)))


def told(path: Path) -> list[tuple[str | None, float, float]]:
    return [(each.stage, each.started / SECOND - 1, each.ended / SECOND - 1) for each in path.segments]


def steps(path: Path) -> list[str]:
    return [f"{step.stage}{' inferred' if step.inferred else ''}" for step in path.steps]


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_sequence() -> None:
    found = path(visit("a", 1, 3), visit("b", 3, 4, "a"), visit("c", 6, 7, "b"), ends=8)
    assert told(found) == [(None, 0, 1), ("a", 1, 3), ("b", 3, 4), (None, 4, 6), ("c", 6, 7), (None, 7, 8)]
    assert steps(found) == ["a", "b", "c"]
    assert found.inferred == 0
    assert found.seconds_of == {None: 4.0, "a": 2.0, "b": 1.0, "c": 1.0}


def test_of_what_is_gathered_the_slowest() -> None:
    found = path(visit("a", 0, 1), visit("b", 1, 3, "a"), visit("c", 1, 5, "a"), visit("d", 5, 6, "b", "c"), ends=6)
    assert told(found) == [("a", 0, 1), ("c", 1, 5), ("d", 5, 6)]
    assert steps(found) == ["a", "c", "d"]


def test_a_gather_that_nobody_tells_of_is_inferred() -> None:
    found = path(visit("a", 0, 1), visit("b", 1, 3), visit("c", 1, 5), visit("d", 5, 6, "a"), ends=6)
    assert told(found) == [("a", 0, 1), ("c", 1, 5), ("d", 5, 6)]
    assert steps(found) == ["a inferred", "c inferred", "d inferred"]  # Of the end of the run nobody tells either.


def test_a_task_that_nobody_awaits_is_on_no_path_where_there_are_links() -> None:
    found = path(visit("a", 0, 1), visit("forgotten", 1, 2.9995), visit("b", 1, 3, "a"), visit("c", 3, 5, "b"), ends=5)
    assert [step.stage for step in found.steps] == ["a", "b", "c"]


def test_by_times_alone_it_may_be_and_is_said_to_be_inferred() -> None:
    found = path(visit("a", 0, 1), visit("forgotten", 1, 2.9), visit("b", 3, 4), ends=4)
    assert steps(found) == ["a inferred", "forgotten inferred", "b inferred"]


def test_what_the_end_has_cancelled_is_not_what_it_waited_for() -> None:
    left = visit("left", 1, 5.0002, result="cancelled")
    assert steps(path(visit("a", 0, 1), left, visit("b", 1, 5, "a"), ends=5.0003)) == ["a", "b inferred"]
    abandoned = visit("left", 1, 9, result="abandoned")
    assert steps(path(visit("a", 0, 1), abandoned, visit("b", 1, 5, "a"), ends=9)) == ["a", "b inferred"]


def test_a_time_limit_is_waited_for() -> None:
    """One that is cancelled long after everything else has ended was not cancelled by the end."""
    found = path(visit("a", 0, 1), visit("limited", 1, 6, "a", result="cancelled"), ends=6)
    assert told(found) == [("a", 0, 1), ("limited", 1, 6)]


def test_inside_a_visit_it_goes_on() -> None:
    found = path(
        visit("a", 0, 1),
        visit("outer", 1, 8, "a"),
        visit("x", 2, 4, parent="outer"),
        visit("y", 2, 5, parent="outer"),
        visit("z", 5, 7, "x", "y", parent="outer"),
        ends=8,
    )
    assert told(found) == [("a", 0, 1), ("outer", 1, 2), ("y", 2, 5), ("z", 5, 7), ("outer", 7, 8)]


@pytest.mark.parametrize("hours", [0.002, 8])
def test_a_machine_that_slept_is_on_no_path(hours: float) -> None:
    """Starts are by the wall clock, durations by the monotonic one: the hours are where nothing is told."""
    woke = hours * 3600
    visits = (
        visit("load", 0, 2, process=1),
        visit("review", woke + 2.5, woke + 5.5, "load", process=1),
        visit("check", woke + 3, woke + 4, parent="review", process=1),
    )
    assert told(path(*visits, ends=6)) == [
        ("load", 0, 2),
        (None, 2, 3),
        ("review", 3, 3.5),
        ("check", 3.5, 4.5),
        ("review", 4.5, 6),
    ]
    joined = visit("joined", woke, woke + 2, process=2)  # Another process adds to a run that has ended.
    assert told(path(visits[0], joined, ends=6)) == [("load", 0, 2), (None, 2, 6)]


def test_a_task_that_outlives_the_stage_that_began_it() -> None:
    """The run waits for it; it was begun inside the stage."""
    found = path(visit("a", 0, 1), visit("outer", 1, 3, "a"), visit("task", 2, 9, parent="outer"), ends=9)
    assert told(found) == [("a", 0, 1), ("outer", 1, 2), ("task", 2, 9)]


def test_a_run_that_goes_on() -> None:
    found = path(visit("a", 0, 1), visit("b", 1, None, "a"), visit("c", 1, 4, parent="b"))
    assert told(found) == [("a", 0, 1), ("c", 1, 4)]


def test_nothing_at_all() -> None:
    assert path().segments == ()
    assert told(path(ends=3)) == [(None, 0, 3)]


def test_visits_of_no_length_at_one_instant() -> None:
    found = path(*[visit(f"v{number}", 1, 1) for number in range(50)], ends=2)
    assert told(found) == [(None, 0, 1), (None, 1, 2)]
    assert len(found.steps) == 50


def test_a_record_in_which_things_lie_in_themselves_and_follow_themselves() -> None:
    found = path(visit("a", 0, 2, "b", "a", parent="b"), visit("b", 0, 3, "a", parent="a"), ends=4)
    assert sum(each.ended - each.started for each in found.segments) == 4 * SECOND


# --- against the truth ------------------------------------------------------------------------------------------------


def true_steps(shape: Shape, made: TimedWorkflow) -> list[str]:
    """The visits whose ends something really waited for, from the workflow's own values."""
    numbers = {int(visit.span_id or "0", 16): number for number, visit in enumerate(shape.visits)}
    before: dict[int, list[int]] = {}
    for first, second in made.truth.edges:
        before.setdefault(numbers[second], []).append(numbers[first])
    inside = {
        RUN if span == 0 else numbers[span]: [numbers[each] for each, _ in ends] for span, ends in made.inside.items()
    }
    found: list[int] = []
    place, waited = RUN, inside[RUN]
    while True:
        last = max(waited, key=lambda each: shape.ends[each], default=None)
        if last is not None:
            found.append(last)
            place, waited = last, inside.get(last, [])
        elif place == RUN:
            return [shape.visits[number].id for number in reversed(found)]
        else:
            # What began without any before it was begun by what is around it, at the start of that if nothing else.
            waited, place = before.get(place, []), shape.parents[place]


def record(telemetry: Telemetry, made: TimedWorkflow, shared: dict[str, Any]) -> Run:
    with workflow("random", shared=shared):
        run_in(telemetry.time, made.run())
    (found,) = runs_of(telemetry.exporter.get_finished_spans())
    telemetry.exporter.clear()
    return found


def test_random_workflows(telemetry: Telemetry) -> None:
    known = Counter[str]()
    for seed in range(300):
        shared: dict[str, Any] = {}
        made = TimedWorkflow(seed, shared)
        shape = shape_of(record(telemetry, made, shared))
        found = path_of(shape)
        assert [step.visit for step in found.steps] == true_steps(shape, made), seed
        assert sum(each.ended - each.started for each in found.segments) == shape.wall
        known["inferred"] += found.inferred
        known["recorded"] += len(found.steps) - found.inferred
    print(known)
    assert min(known.values()) > 500


def test_what_nobody_awaits_is_on_no_path_but_as_inferred(telemetry: Telemetry) -> None:
    met = Counter[str]()
    for seed in range(200):
        shared: dict[str, Any] = {}
        made = ForgetfulWorkflow(seed, shared)
        shape = shape_of(record(telemetry, made, shared))
        for step in path_of(shape).steps:
            if int(step.visit, 16) in made.forgotten:
                met["on the path"] += 1
                assert step.inferred, seed
        met["forgotten"] += len(made.forgotten)
    print(met)
    assert met["forgotten"] > 200


def test_the_order_of_the_input_does_not_matter(telemetry: Telemetry) -> None:
    for seed in range(40):
        shared: dict[str, Any] = {}
        found = record(telemetry, TimedWorkflow(seed, shared), shared)
        turned = replace(found, visits=tuple(reversed(found.visits)))
        assert path_of(shape_of(turned)) == path_of(shape_of(found))


@pytest.mark.parametrize("awaited", [True, False])
def test_a_task_beside_a_real_workflow(telemetry: Telemetry, awaited: bool) -> None:
    @stage()
    async def works(name: str, takes: float) -> None:
        with stage(name):
            await asyncio.sleep(takes)

    async def main() -> None:
        with workflow("w"):
            await works("first", 1)
            task = asyncio.create_task(works("beside", 3))
            await works("second", 2)
            if awaited:
                await gather(task)
            await works("third", 2)
            if not awaited:
                task.cancel()

    run_in(telemetry.time, main())
    (found,) = runs_of(telemetry.exporter.get_finished_spans())
    names_of: Sequence[str] = [step.stage for step in path_of(shape_of(found)).steps if step.stage != "works"]
    assert names_of == (["first", "beside", "third"] if awaited else ["first", "second", "third"])
