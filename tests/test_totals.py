"""What runs did, added up: every second of wall time once, on the path that took it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pocketflow import BatchFlow, Flow, Node

from otel_progress import PocketFlowInstrumentor, stage, workflow
from otel_progress.names import OTHER
from otel_progress.recording.settings import Settings
from otel_progress.recording.store import MOST_TOLD_APART
from otel_progress.recording.times import NANO
from otel_progress.report.adding import Adding
from otel_progress.report.counting import CountingSink
from otel_progress.report.recorded import totals_of
from otel_progress.report.shares import lines_of, shared_out
from otel_progress.report.table import lines
from otel_progress.report.totals import AGAIN, FAILED, REWORK, Ended, Failure, Started, WorkflowTotals
from otel_progress.runs import read

from . import otlp
from .conftest import Telemetry, make_telemetry, using
from .histories import Did, at, did, paths, ran, totals
from .said import without_lines

# --- the path that took the time --------------------------------------------------------------------------------------


def test_what_ran_at_once_is_counted_once() -> None:
    """Four searches of 0.3 s in a run of 0.9 s are a third of it."""
    searches = [did("search", 0.3, 0.6) for _ in range(4)]
    found = totals(ran("campaign", 0.9, did("prepare", 0, 0.3), *searches, did("publish", 0.6, 0.9)))
    assert paths(found) == {"prepare": 0.3, "search": 0.3, "publish": 0.3, "": 0.0}
    search = found.row.rows["search"]
    assert (search.visits, search.time, search.longest, search.at_once) == (4, 1_200_000_000, 300_000_000, 4)
    assert found.row.rows["prepare"].at_once == found.row.rows["publish"].at_once == 1


def test_a_flow_holds_its_inner_flow() -> None:
    inner = did("review", 1, 5, did("draft", 1, 3), did("check", 3.5, 5))
    assert paths(totals(ran("w", 6, did("load", 0, 1), inner))) == {
        "load": 1,
        "review": 4,
        "review/draft": 2,
        "review/check": 1.5,
        "": 1,
    }


def test_what_starts_in_the_same_moment_as_what_is_around_it_lies_in_it() -> None:
    """As with a coarse clock. A record has what is inside first, as that ends first."""
    told = ran("w", 2, did("outer", 0, 2, did("middle", 0, 1, did("inner", 0, 0)), did("later", 1, 2)))
    found = totals(replace(told, visits=told.visits[::-1]))
    assert paths(found) == {"outer": 2, "outer/middle": 1, "outer/middle/inner": 0, "outer/later": 1, "": 0}


def test_a_record_that_says_that_visits_lie_in_each_other_has_totals() -> None:
    told = ran("w", 1, did("a", 0, 1, name="1"), did("b", 0, 1, name="2"))
    a, b = told.visits
    found = totals(replace(told, visits=(replace(a, parent="2"), replace(b, parent="1"))))
    assert sum(row.visits for row in found.row.all()) == 2


def test_the_path_is_that_of_what_ended_last() -> None:
    one = [did("a", 0, 1), did("b", 1, 2)]
    other = [did("c", 0, 0.5), did("d", 0.5, 3)]
    found = paths(totals(ran("w", 3.5, *one, *other)))
    assert found == {"a": 0, "b": 0, "c": 0.5, "d": 2.5, "": 0.5}


def test_what_is_recorded_tells_what_followed_what() -> None:
    """By times alone, what ended last before `publish` was `watch`, which has nothing to do with it."""
    visits = [did("draft", 0, 2, name="1"), did("watch", 1.5, 2.01), did("publish", 2.02, 5, follows="1")]
    assert paths(totals(ran("w", 5, *visits))) == {"draft": 2, "watch": 0, "publish": 2.98, "": 0.02}
    visits[2] = did("publish", 2.02, 5)
    assert paths(totals(ran("w", 5, *visits))) == {"draft": 0, "watch": 0.51, "publish": 2.98, "": 1.51}


def test_of_several_that_it_follows_the_last_is_on_the_path() -> None:
    visits = [
        did("a", 0, 1, name="a"),
        did("b", 0, 2, name="b"),
        did("watch", 0, 2.5),
        did("join", 2.5, 4, follows="b a"),
    ]
    assert paths(totals(ran("w", 4, *visits))) == {"a": 0, "b": 2, "watch": 0, "join": 1.5, "": 0.5}


def test_an_end_that_is_told_late_is_no_later_end() -> None:
    """Processes write in the order in which they come to it."""
    adding = Adding()
    adding.run_started("r", "w", at(0))
    for name in ("late", "early"):
        adding.visit_started(Started(name, "r", name, at(0)))
    for name, end in (("late", 3), ("early", 2)):
        adding.visit_ended(Ended(name, at(end)))
    adding.visit_started(Started("next", "r", "next", at(3)))
    adding.visit_ended(Ended("next", at(4)))
    adding.run_ended("r", at(4))
    assert paths(adding.workflows["w"]) == {"late": 3, "early": 0, "next": 1, "": 0}


def test_what_waited_for_a_thread_of_a_pool_goes_on_where_that_was() -> None:
    items = [did("item", 1 + number // 2, 2 + number // 2, follows="plan") for number in range(6)]
    found = totals(ran("w", 4.5, did("plan", 0, 1, name="plan"), *items, did("merge", 4, 4.5, follows="#5 #6")))
    assert paths(found) == {"plan": 1, "item": 3, "merge": 0.5, "": 0}
    items = [
        did("long", 1, 3.9, follows="plan"),
        *[did("item", start, start + 1, follows="plan") for start in (1, 2, 3)],
    ]
    found = totals(ran("w", 4, did("plan", 0, 1, name="plan"), *items))
    assert paths(found) == {"plan": 1, "long": 0, "item": 3, "": 0}


def test_of_a_chain_beside_others_each_goes_on_with_its_own() -> None:
    """The other chains end in between, and one of them last before every start."""
    chains = [
        [
            did(f"{chain}{step}", step + number / 100, step + 1 + number / 100, name=f"{chain}{step}", follows=before)
            for step in range(3)
            for before in [f"{chain}{step - 1}" if step else ""]
        ]
        for number, chain in enumerate("abc")
    ]
    visits = [visit for chain in chains for visit in chain]
    found = paths(totals(ran("w", 3.02, *visits)))
    assert {stage for stage, took in found.items() if took} == {"c0", "c1", "c2", ""}


def test_what_outlives_what_it_lies_in_goes_on_beside_it() -> None:
    left = did("left", 0.5, 3)
    found = totals(ran("w", 4, did("spawn", 0, 1, left), did("after", 1, 2)))
    assert paths(found) == {"spawn": 3, "spawn/left": 2, "after": 0, "": 1}


@pytest.mark.parametrize("hours", [0.00001, 8])
def test_a_machine_that_slept_or_a_clock_that_was_set_takes_no_share(hours: float) -> None:
    """Starts are by the wall clock, durations by the monotonic one: the hours lie between two stages."""
    later = hours * 3600
    review = did("review", later + 2, later + 5, did("draft", later + 2, later + 3))
    found = totals(ran("w", 6, did("load", 0, 2), review))
    assert paths(found) == pytest.approx({"load": 2, "review": 3, "review/draft": 1, "": 1})


def test_what_fits_in_no_time_is_made_to_fit() -> None:
    """Clocks of several processes differ: a visit ends after what it lies in, or before it starts."""
    found = totals(ran("w", 2, did("a", 0, 1, did("late", 0.5, 4)), did("b", 1, 3)))
    assert sum(each for name, each in paths(found).items() if "/" not in name) == 2
    assert all(each >= 0 for each in paths(found).values())


def visits_within(started: int, ended: int, depth: int) -> st.SearchStrategy[list[Did]]:
    """Visits in a time, of few stages, beside each other or not, some with visits inside, in whole hundredths."""
    moments = st.tuples(st.integers(started, ended), st.integers(started, ended)).map(sorted)

    def visit(times: list[int]) -> st.SearchStrategy[Did]:
        inside = visits_within(times[0], times[1], depth - 1) if depth else st.just(list[Did]())
        return st.builds(
            lambda stage, inside, number, result: did(
                stage, times[0] / 100, times[1] / 100, *inside, number=number, result=result
            ),
            st.sampled_from("abc"),
            inside,
            st.integers(1, 2),
            st.sampled_from(["success", "failure"]),
        )

    return st.lists(moments.flatmap(visit), max_size=5)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(visits_within(0, 300, 2), st.integers(0, 3))
def test_the_parts_add_up(visits: list[Did], follows: int) -> None:
    for number, visit in enumerate(visits):
        visit.name = f"top {number}"
        visit.follows = tuple(f"top {other}" for other in range(max(0, number - follows), number))
    found = totals(ran("w", 3, *visits))
    row = found.row
    assert row.time == 3 * NANO
    assert sum(each.path for each in row.rows.values()) + found.outside == row.time
    assert found.outside >= 0
    for each in row.all():
        assert 0 <= sum(inner.path for inner in each.rows.values()) <= each.path
        assert each.path <= each.time
    assert all(0 <= found.figures[figure] <= row.time for figure in (AGAIN, REWORK, FAILED))
    shown, outside = lines_of(found, 50)
    assert sum(line.percent for line in shown if line.depth == 0) + outside == 100
    assert all(line.percent >= 0 for line in shown)


@given(st.integers(0, 100), st.lists(st.integers(0, 10**12), min_size=1))
def test_percents_add_up(whole: int, parts: list[int]) -> None:
    shares = shared_out(whole, parts)
    assert sum(shares) == (whole if sum(parts) else 0)
    assert all(abs(share - whole * part / (sum(parts) or 1)) < 1 for share, part in zip(shares, parts, strict=True))


def test_what_is_kept_does_not_grow_with_the_visits() -> None:
    def objects(many: int) -> int:
        adding = Adding()
        adding.run_started("r", "w", 0)
        for number in range(many):
            time = number * 20
            adding.visit_started(Started(f"o{number}", "r", "outer", time, None, (f"o{number - 1}",)))
            for inner in range(3):
                adding.visit_started(Started((number, inner), "r", f"s{inner}", time + inner, f"o{number}"))
            for inner in range(3):  # Beside each other.
                adding.visit_ended(Ended((number, inner), time + inner + 5))
            adding.visit_started(Started((number, "beside"), "r", "beside", time + 1))
            adding.visit_ended(Ended((number, "beside"), time + 14))
            adding.visit_ended(Ended(f"o{number}", time + 15))
        gc.collect()
        before = len(gc.get_objects())
        del adding
        gc.collect()
        return before - len(gc.get_objects())

    few = objects(100)
    assert few > 0
    assert objects(5000) <= few


# --- what is counted --------------------------------------------------------------------------------------------------


def test_the_cost_of_what_was_done_again_and_of_what_failed() -> None:
    """Each second once: what is inside of what was done again was done again."""
    visits = [
        did("style", 0, 10, did("ask", 0, 5), number=1, revision=0),
        did("style", 10, 14, did("ask", 10, 13, number=2, revision=1), number=2, revision=1),
        did("style", 14, 16, did("ask", 14, 15, number=3, revision=1, result="failure"), number=3, revision=1),
        did("check", 16, 19, number=2, revision=0),
        did("check", 19, 20, result="failure", error="KeyError"),
    ]
    found = totals(ran("w", 20, *visits))
    assert found.figures == {AGAIN: 9 * NANO, REWORK: 6 * NANO, FAILED: 2 * NANO}
    assert {row.name: row.rework for row in found.row.all()} == {"style": 6 * NANO, "ask": 4 * NANO, "check": 0}


def test_what_ran_beside_itself_was_no_loop() -> None:
    items = [
        did("item", number, number + 2, did("ask", number, number + 1, number=number + 1), number=number + 1)
        for number in range(5)
    ]
    assert totals(ran("w", 6, *items)).figures == {}


def test_all_that_a_visit_tells() -> None:
    one = did(
        "craft",
        0,
        2,
        budget=1.5,
        items_done=3,
        items_failed=1,
        items_total=6,
        retries=2,
        wait=0.5,
        platform_count=6,
        revision=1,
    )
    other = did("craft", 2, 3, budget=1.5, items_done=2, items_total=2, result="fallback", platform_count=2)
    (row,) = totals(ran("w", 3, one, other)).row.rows.values()
    assert (row.over_budget, row.items_done, row.items_failed, row.items_total) == (1, 5, 1, 8)
    assert (row.retries, row.wait, row.platforms, row.revisions) == (2, NANO // 2, 6, 1)
    assert row.results == {"success": 1, "fallback": 1}


def test_the_first_failure_is_where_it_began() -> None:
    """A tool that failed before, and was caught, is not what the run failed of."""
    caught = did("tool", 0, 1, result="failure", error="TimeoutError")
    parse = did("parse", 1, 2, result="failure", error="ValueError")
    ingest = did("ingest", 1, 3, parse, result="failure", error="ValueError")
    went_on = ran("etl", 4, caught, run="aa")
    failed = ran("etl", 4, caught, ingest, run="bb", result="failure", error="ValueError")
    assert totals(went_on).failure == Failure("aa", "tool", "failure", "TimeoutError")
    found = totals(went_on, failed)
    assert (found.failure, found.ended_badly) == (Failure("bb", "parse", "failure", "ValueError"), True)
    closed = did("tool", 0, 1, result="cancelled", error="GeneratorExit")
    assert totals(ran("etl", 1, closed, run="dd")).failure == Failure("dd", "tool", "cancelled", "GeneratorExit")
    assert totals(ran("etl", 3, closed, did("parse", 1, 2, result="failure"), run="ee")).failure == Failure(
        "ee", "parse", "failure", None
    )
    stopped = ran("etl", 1, run="ff", result="cancelled", error="KeyboardInterrupt")
    assert totals(stopped, failed).failure == Failure("bb", "parse", "failure", "ValueError")
    assert totals(failed, stopped).failure == Failure("bb", "parse", "failure", "ValueError")
    no_type = ran("etl", 4, closed, run="gg", result="failure")
    assert totals(no_type).failure == Failure("gg", "", "failure", None)
    between = ran("etl", 4, caught, run="cc", result="failure", error="KeyError")
    assert totals(between).failure == Failure("cc", "", "failure", "KeyError")


def test_what_goes_on_is_counted_up_to_now() -> None:
    run = ran("w", None, did("draft", 0, 1), did("ask", 1, None), did("dead", 1, None, state="crashed"))
    found = totals(run, now=4)
    assert {row.name: (row.time, dict(row.results)) for row in found.row.all()} == {
        "draft": (NANO, {"success": 1}),
        "ask": (3 * NANO, {"running": 1}),
        "dead": (3 * NANO, {"abandoned": 1}),
    }
    assert (found.row.time, found.row.results) == (4 * NANO, {"running": 1})


def test_so_many_stages_are_told_apart() -> None:
    visits = [did(f"s{number}", number, number + 1, did("inner", number, number + 1)) for number in range(1500)]
    found = totals(ran("w", 1500, *visits))
    rows = list(found.row.all())
    assert len(rows) <= 2 * MOST_TOLD_APART
    assert sum(row.visits for row in rows) == 3000
    rest = found.row.rows[OTHER]
    assert rest.visits == 2 * (1500 - 500)
    assert sum(row.path for row in found.row.rows.values()) == 1500 * NANO
    adding = Adding()
    for number in range(3000):
        adding.run_started(str(number), f"w{number}", 0)
        adding.run_ended(str(number), 1)
    assert len(adding.workflows) == MOST_TOLD_APART + 1


# --- what this process records ----------------------------------------------------------------------------------------


@pytest.fixture
def counting(telemetry: Telemetry) -> CountingSink:
    sink = CountingSink()
    telemetry.recorder.sinks.insert(0, sink)
    return sink


def only(counting: CountingSink) -> WorkflowTotals:
    (found,) = counting.totals().workflows.values()
    return found


def test_totals_add_up_over_runs(telemetry: Telemetry, counting: CountingSink) -> None:
    for revisions, platforms in ((2, "x, y"), (5, "x")):
        shared = {"quality_control": {"revision_count": revisions}, "task_requirements": {"platforms": platforms}}
        with workflow("campaign", shared=shared):
            with stage("draft"):
                telemetry.time.passes(1.5)
            with pytest.raises(ValueError, match="no"), stage("draft"):
                telemetry.time.passes(0.5)
                raise ValueError("no")
            telemetry.time.passes(1.0)
    found = only(counting)
    assert (found.runs, found.row.time, found.row.results, found.outside) == (2, 6 * NANO, {"success": 2}, 2 * NANO)
    row = found.row.rows["draft"]
    assert (row.visits, row.time, row.path, row.longest) == (4, 4 * NANO, 4 * NANO, 1.5 * NANO)
    assert (row.platforms, row.revisions) == (2, 5)
    assert (row.results, row.errors) == ({"success": 2, "failure": 2}, {("failure", "ValueError"): 2})
    assert found.failure is not None
    assert found.failure[1:] == ("draft", "failure", "ValueError", "no")


def test_what_a_run_fails_of_between_its_stages_is_told_too(telemetry: Telemetry, counting: CountingSink) -> None:
    with pytest.raises(RuntimeError), workflow("w"):
        with stage("draft"):
            pass
        raise RuntimeError("no answer")
    failure = only(counting).failure
    assert failure is not None
    assert failure[1:] == ("", "failure", "RuntimeError", "no answer")


def test_messages_that_are_not_captured_are_not_shown() -> None:
    for there in using(make_telemetry(Settings(capture_messages=False))):
        counting = CountingSink()
        there.recorder.sinks.insert(0, counting)
        with contextlib.suppress(ValueError), stage("draft"):
            raise ValueError("secret")
        failure = only(counting).failure
        assert failure is not None
        assert (failure.error, failure.message) == ("ValueError", "")


def test_a_run_that_is_joined_after_its_end_is_counted_once(telemetry: Telemetry, counting: CountingSink) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared), stage("a"):
        telemetry.time.passes(2)
    with contextlib.suppress(ValueError), stage("a", shared=shared):
        telemetry.time.passes(3)
        raise ValueError
    with stage("b", shared=shared):
        telemetry.time.passes(1)
    telemetry.recorder.close()
    found = only(counting)
    assert (found.runs, found.row.time, found.row.results) == (1, 6 * NANO, {"success": 1})
    assert {row.name: (row.visits, row.time) for row in found.row.all()} == {"a": (2, 5 * NANO), "b": (1, NANO)}
    assert shared["progress_metrics"]["a"]["visits"] == 2


def test_of_a_run_from_elsewhere_only_what_was_recorded_here_is_counted(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared), stage("a"), stage("b"):
        telemetry.time.passes(2)
        saved = json.dumps(shared)
    for there in using(make_telemetry()):
        counting = CountingSink()
        there.recorder.sinks.insert(0, counting)
        with workflow("w", shared=json.loads(saved)), stage("a"):
            there.time.passes(1)
        found = only(counting)
        assert (found.runs, found.row.time) == (1, NANO)
        assert {row.name: (row.visits, row.time) for row in found.row.all()} == {"a": (1, NANO)}


def test_rework_is_what_repeats_at_a_higher_revision_take(telemetry: Telemetry, counting: CountingSink) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        for revision, seconds in ((None, 10), (None, 20), (1, 3), (1, 2), (2, 1)):
            if revision is not None:
                shared["quality_control"] = {"revision_count": revision}
            with stage("style"):
                telemetry.time.passes(seconds)
                with stage("inside"):  # Counted once in the whole.
                    telemetry.time.passes(0.5)
        with stage("publish"):  # At a high revision, but for the first time.
            telemetry.time.passes(50)
    found = only(counting)
    assert {row.name: row.rework / NANO for row in found.row.all()} == {"style": 7.5, "inside": 1.5, "publish": 0.0}
    assert (found.figures[REWORK], found.figures[AGAIN]) == (7.5 * NANO, 28 * NANO)


@pytest.fixture
def instrumented() -> Generator[None]:
    PocketFlowInstrumentor().instrument()
    yield
    PocketFlowInstrumentor().uninstrument()


@pytest.mark.usefixtures("instrumented")
def test_other_items_of_a_batch_are_no_rework(telemetry: Telemetry, counting: CountingSink) -> None:
    shared: dict[str, Any] = {"quality_control": {"revision_count": 0}}

    class Each(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            telemetry.time.passes(1)
            shared["quality_control"]["revision_count"] += 1

    class Items(BatchFlow):
        def prep(self, shared: Any) -> list[dict[str, Any]]:
            return [{"platform": "a"}, {"platform": "b"}, {"platform": "a"}]

    with workflow("w", shared=shared):
        Items(Each()).run(shared)
    assert only(counting).figures[REWORK] == NANO  # The third: "a" once more, at revision 2.
    assert only(counting).row.rows["Each"].platforms == 2


@pytest.mark.usefixtures("instrumented")
@pytest.mark.filterwarnings("ignore:Flow ends")
def test_where_flows_end(telemetry: Telemetry, counting: CountingSink) -> None:
    class Review(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return shared["verdict"]

    class Publish(Node): ...

    review = Review()
    review - "approved" >> Publish()
    for verdict in ("approved", "rejected", "rejected"):
        Flow(review).run({"verdict": verdict})
    found = only(counting)
    assert found.ends == {("Publish", "default"): 1, ("Review", "rejected"): 2}
    assert found.dead_ends == {("Review", "rejected"): 2}


@pytest.mark.usefixtures("instrumented")
def test_a_fallback_tells_what_led_to_it(telemetry: Telemetry, counting: CountingSink) -> None:
    class Ask(Node):
        def exec(self, prep_res: Any) -> Any:
            raise TimeoutError

        def exec_fallback(self, prep_res: Any, exc: Exception) -> str:
            return "nothing"

    Flow(Ask(max_retries=2)).run({})
    row = only(counting).row.rows["Ask"]
    assert (row.results, row.errors, row.retries) == ({"fallback": 1}, {("fallback", "TimeoutError"): 1}, 1)


@stage("outer")
class Outer(Node):
    def prep(self, shared: Any) -> None:
        with stage("inner"):
            shared["time"].passes(1)


def test_a_visit_lies_in_a_visit_through_phases_and_items(counting: CountingSink) -> None:
    for there in using(make_telemetry(Settings(detail="all"))):
        there.recorder.sinks.insert(0, counting)
        with workflow("w"):
            Outer().run({"time": there.time})
        assert paths(only(counting)) == {"outer": 1, "outer/inner": 1, "": 0}


def test_what_a_handler_records_in_the_midst_of_adding_up_is_not_lost(
    telemetry: Telemetry, counting: CountingSink
) -> None:
    """As a signal may come at any instruction: here while what was told is added up."""

    def handler() -> None:
        for _ in range(300):  # More than wait.
            with stage("handler", shared={}):
                pass
        raise TimeoutError

    with workflow("w"):
        with stage("before"):
            telemetry.time.passes(1)
        counting._told.append((handler, ()))
        with pytest.raises(TimeoutError):
            counting.totals()
        with stage("after"):
            telemetry.time.passes(2)
    found = counting.totals().workflows["w"]
    assert {row.name: row.visits for row in found.row.all()} == {"before": 1, "handler": 300, "after": 1}
    assert (paths(found), counting._adder) == ({"before": 1, "handler": 0, "after": 2, "": 0}, {})


def test_threads_lose_nothing(telemetry: Telemetry, counting: CountingSink) -> None:
    def work() -> None:
        for _ in range(500):
            with stage("outer"), stage("inner"):
                pass

    with workflow("w") as run:
        threads = [threading.Thread(target=run.wrap(work)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = only(counting)
    outer = found.row.rows["outer"]
    assert (outer.visits, outer.rows["inner"].visits, found.known) == (4000, 4000, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_keeps_nothing(telemetry: Telemetry, counting: CountingSink) -> None:
    child = os.fork()
    if child == 0:
        for _ in range(200):
            with stage("child", shared={}):
                pass
        os._exit(len(counting._told))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- children, and what is read again ---------------------------------------------------------------------------------


def test_what_children_do_lies_where_their_run_itself_did_nothing() -> None:
    """Two workers between two stages of the run, and one beside a stage."""
    adding = Adding()
    adding.run_started("r", "w", at(0))
    for number, (start, end) in enumerate(((0, 1), (5, 8))):
        adding.visit_started(Started(number, "r", "main", at(start)))
        adding.visit_ended(Ended(number, at(end)))
    adding.run_ended("r", at(10))
    adding.run_joined("r", "w")
    told = {"a": (1.5, 3), "b": (1.5, 2.5), "c": (3, 4.5), "d": (6, 7), "e": (4.8, 5.5), "f": (8.5, 9.5)}
    moments = sorted(
        [(start, 1, key) for key, (start, _) in told.items()] + [(end, 0, key) for key, (_, end) in told.items()]
    )
    for time, starts, key in moments:
        if starts:
            adding.visit_started(Started(key, "r", "work", at(time), in_child=True))
        else:
            adding.visit_ended(Ended(key, at(time)))
    adding.visit_started(Started("dies", "r", "work", at(7), in_child=True))
    adding.close()
    found = adding.workflows["w"]
    assert paths(found) == {"main": 4, "work": 4.2, "": 1.8}
    row = found.row.rows["work"]
    assert (row.visits, row.time, row.at_once) == (7, 6.7 * NANO, 2)
    assert row.results == {"success": 6, "abandoned": 1}
    assert (found.runs, found.row.time, found.in_children) == (1, 10 * NANO, 7)


def test_a_child_that_is_killed_leaves_a_run_without_end() -> None:
    adding = Adding()
    adding.run_started("r", "w", at(0))
    adding.visit_started(Started("a", "r", "a", at(0)))
    adding.visit_ended(Ended("a", at(2)))
    adding.visit_started(Started("b", "r", "b", at(2)))
    adding.close()
    found = adding.workflows["w"]
    assert (found.row.time, found.row.results, paths(found)) == (2 * NANO, {"abandoned": 1}, {"a": 2, "b": 0, "": 0})
    assert found.failure == Failure("r", "b", "abandoned", None)


PROGRAM = """
import asyncio, time
from pocketflow import Flow, Node
from otel_progress import stage, workflow

@stage()
async def search(query):
    with stage("ask", budget="1ms"):
        await asyncio.sleep(0.002)

async def campaign():
    shared = {"quality_control": {"revision_count": 0}, "task_requirements": {"platforms": ["x", "y"]}}
    with workflow("campaign", shared=shared):
        await asyncio.gather(*map(search, range(4)))
        for revision in range(3):
            shared["quality_control"]["revision_count"] = revision
            with stage("style") as visit:
                visit.advance(2, total=3)

asyncio.run(campaign())
"""


FLOWS = """
from pocketflow import Flow, Node

class Review(Node):
    def post(self, shared, prep_res, exec_res):
        return shared["verdict"]

review = Review()
review - "approved" >> Node()
for verdict in ("approved", "rejected", "rejected", "a verdict with blanks"):
    Flow(review).run({"verdict": verdict})
"""


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (PROGRAM, []),
        (FLOWS, ['Dead end: no edge takes the "rejected" of Review (2 times)',
                 "Dead end: no edge takes what was returned by Review"]),
    ],
    ids=["a run", "flows"],
)  # fmt: skip
def test_a_run_that_is_read_again_looks_as_it_did(tmp_path: Path, program: str, said: list[str]) -> None:
    command = ["-m", "otel_progress", "run", str(otlp.write(tmp_path, program))]
    done = otlp.run(tmp_path, command, COLUMNS="120", PYTHONWARNINGS="ignore")
    shown = [line.plain for line in lines(totals_of(read(tmp_path)), 120)]
    assert len(shown) == 8
    assert [line for line in shown if "Dead end" in line] == said
    assert without_lines(done.stderr).splitlines()[: len(shown)] == shown
