"""The figures of one run: computed by hand, and what is so of every run."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otel_progress import names, workflow
from otel_progress.insight import RunFigures, StageFigures, figures_of
from otel_progress.insight.numbers import median, outlying, quantile, spread, trend, union
from otel_progress.insight.shape import shape_of
from otel_progress.insight.sharing import sharing_of
from otel_progress.runs import Attempt, Item, Link, Run, Stage, Version, Visit, Wait

from .conftest import Telemetry
from .odd_workflows import OddWorkflow
from .records import only, span, write
from .test_insight_path import SECOND, run, visit
from .timed import ForgetfulWorkflow, run_in, runs_of
from .workflows import Workflow


def figures(*visits: Visit, ends: float | None = None, **more: Any) -> dict[str, StageFigures]:
    found = figures_of(replace(run(*visits, ends=ends), **more))
    return {stage.stage: stage for stage in found.stages}


def at(seconds: float) -> int:
    return round((seconds + 1) * SECOND)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_quantiles() -> None:
    values = [1.0, 2.0, 3.0, 10.0]
    assert [quantile(values, q) for q in (0, 0.5, 0.9, 1)] == pytest.approx([1.0, 2.5, 7.9, 10.0])
    assert quantile([7.0], 0.99) == 7.0
    assert median([9, 1, 2]) == 2
    assert spread([2.0, 2.0, 4.0, 6.0, 6.0]) == pytest.approx((6 - 2) / (6 + 2))
    assert spread([0.0, 0.0]) == 0.0


def test_a_union() -> None:
    assert union([(5, 6), (0, 2), (1, 3), (2, 2)]) == 4
    assert union([]) == 0


def test_what_stands_out() -> None:
    scores = outlying([1.0, 2.0, 3.0, 4.0, 100.0])  # Median 3, MAD 1.
    assert scores == pytest.approx([-1.349, -0.6745, 0.0, 0.6745, 65.4265])
    assert outlying([5.0, 5.0, 5.0]) == [0.0, 0.0, 0.0]
    assert outlying([5.0, 5.0, 5.0, 9.0])[3] == pytest.approx(4 / (1.253314 * 1.0))  # MAD 0, mean deviation 1.


def test_a_trend() -> None:
    """Six values that only grow: S = 15, var = 6 * 5 * 17 / 18, z = 14 / sqrt(28.33), p = 0.0085."""
    change, chance = trend([1.0, 2.0, 4.0, 5.0, 6.0, 8.0])
    assert change == pytest.approx(5 * 4 / 3, rel=0.05)
    assert chance == pytest.approx(0.00853, rel=0.01)
    assert trend([3.0] * 50) == (0.0, 1.0)
    assert trend([1.0, 2.0, 3.0]) == (0.0, 1.0)
    change, chance = trend([float(number) for number in range(1000)])
    assert change == pytest.approx(975.0)  # From the middle of the first group of 25 to that of the last.
    assert chance < 1e-9


# --- time, by hand ----------------------------------------------------------------------------------------------------


def test_own_time_and_time_in_what_is_inside() -> None:
    """`outer` goes from 1 to 9; `x` and `y` are open in it from 2 to 6; so 4 of its 8 seconds are its own."""
    found = figures(visit("outer", 1, 9), visit("x", 2, 4, parent="outer"), visit("y", 3, 6, parent="outer"), ends=10)
    assert (found["outer"].seconds, found["outer"].own, found["outer"].in_children) == (8.0, 4.0, 4.0)
    assert (found["x"].own, found["y"].own, found["y"].in_children) == (2.0, 3.0, 0.0)


def test_the_wall_time_is_shared_by_what_goes_on_at_once() -> None:
    """x alone from 2 to 3, both from 3 to 4, y alone from 4 to 6; 1 second is nobody's at each end."""
    made = run(visit("outer", 1, 9), visit("x", 2, 4, parent="outer"), visit("y", 3, 6, parent="outer"), ends=10)
    found = figures_of(made)
    stages = {stage.stage: stage for stage in found.stages}
    assert (stages["outer"].wall, stages["x"].wall, stages["y"].wall) == (4.0, 1.5, 2.5)
    assert found.gap == 2.0
    assert (stages["outer"].overlap, stages["x"].overlap) == (0.0, 0.5)
    assert stages["y"].overlap == pytest.approx(1 / 3)
    assert found.parallel == pytest.approx(9 / 8)


def test_gaps_between_stages() -> None:
    found = figures_of(run(visit("a", 1, 2), visit("b", 2, 3), visit("c", 7, 8), ends=8))
    assert [(gap.seconds, gap.after, gap.before) for gap in found.gaps] == [(4.0, "b", "c"), (1.0, None, "a")]
    assert found.gap == found.own == 5.0


def test_the_critical_path_by_stages() -> None:
    found = figures_of(run(visit("a", 0, 1), visit("b", 1, 3, "a"), visit("c", 1, 5, "a"), ends=6))
    assert [(stage.stage, stage.critical) for stage in found.stages] == [("c", 4.0), ("a", 1.0), ("b", 0.0)]
    assert found.own == 1.0


def test_waiting_by_reason() -> None:
    """Two waits for one reason at once count once; between attempts is what `wait` has beyond what the visit said."""
    waits = (
        Wait("approval", at(1), at(3)),
        Wait("approval", at(2), at(4)),
        Wait("quota", at(4), at(5)),
        Wait("quota", at(9), None),
    )
    found = figures(visit("a", 0, 10, waits=waits, wait=7.5, retries=1), ends=10)
    assert found["a"].waiting == {"approval": 3.0, "quota": 2.0, "retry": 2.5}


def test_retries_lose_the_attempts_before_others_and_the_time_between() -> None:
    failed = (
        Attempt(1, at(0), at(2)),
        Attempt(2, at(3), at(4)),
        Attempt(3, at(6), at(7)),
    )
    found = figures(visit("a", 0, 7, failed=failed, retries=2, wait=3.0, result="failure"), ends=7)
    assert (found["a"].retries, found["a"].retry_seconds) == (2, 6.0)  # 2 + 1 in attempts, 3 between.
    assert figures(visit("a", 0, 4, retries=1, wait=99.0), ends=4)["a"].retry_seconds == 4.0
    assert figures(visit("a", 0, 4, failed=failed[:1], result="failure"), ends=4)["a"].retry_seconds == 0.0


# --- visits, by hand --------------------------------------------------------------------------------------------------


def test_rework_is_a_repeat_at_a_higher_revision() -> None:
    found = figures_of(
        run(
            visit("edit", 0, 1, revision=0),
            visit("edit", 1, 2, id="edit2", number=2, revision=0),
            visit("edit", 2, 5, id="edit3", number=3, revision=1),
            visit("check", 3, 4, id="check1", revision=1, parent="edit3"),
            visit("check", 4, 5, id="check2", number=2, revision=2, parent="edit3"),
            visit("edit", 5, 9, id="edit4", number=4, revision=2),
            ends=9,
        )
    )
    edit, check = sorted(found.stages, key=lambda each: each.stage, reverse=True)
    assert (edit.repeats, edit.rework_visits, edit.rework) == (3, 2, 7.0)
    assert edit.rework_by_revision == {1: 3.0, 2: 4.0}
    assert (check.repeats, check.rework_visits, check.rework) == (1, 1, 1.0)
    assert found.rework == 7.0  # The rework of `check` lies inside that of `edit`.
    assert found.rework_by_revision == {1: 3.0, 2: 5.0}


def test_without_a_count_of_revisions_there_is_no_rework() -> None:
    found = figures(visit("a", 0, 1), visit("a", 1, 2, id="again", number=2), ends=2)
    assert (found["a"].repeats, found["a"].rework_visits, found["a"].rework) == (1, 0, 0.0)


def test_first_pass() -> None:
    """Of four items one failed, one was tried again, one was worked on again, and one went through."""

    def item(name: str, started: float, **more: Any) -> Visit:
        return visit("edit", started, started + 1, **dict(more, id=name, revision=more.get("revision", 0)))

    again = Link(names.LINK_REPEATS, visit="reworked")
    found = figures(
        item("failed", 0, result="failure"),
        item("retried", 1, retries=1),
        item("reworked", 2),
        item("good", 3),
        replace(item("again", 4, number=2, revision=1), links=(again,)),
        ends=5,
    )
    assert (found["edit"].first_visits, found["edit"].first_pass) == (4, 1)


def test_fallbacks_budgets_results() -> None:
    found = figures(
        visit("a", 0, 1, budget=2.0, result="fallback"),
        visit("a", 1, 4, id="a2", budget=2.0),
        visit("a", 4, 6, id="a3", budget=2.0),
        visit("a", 6, None, id="a4", budget=2.0),
        ends=7,
    )["a"]
    assert (found.fallbacks, found.budget, found.budget_visits, found.budget_kept) == (1, 2.0, 3, 2)
    assert (found.visits, found.open, found.quickest) == (4, 1, 2.0)
    assert found.results == {"fallback": 1, "success": 2}


def test_results_are_those_of_all_visits_that_are_known() -> None:
    """Where events lack one visit and spans another there are more visits than either counts."""
    made = run(visit("a", 0, 1), visit("a", 1, 2, id="again"), ends=2)
    (figures,) = figures_of(replace(made, stages=(Stage("a", at(0), at(1), 1, 0, 1.0, {"success": 1}),))).stages
    assert (figures.visits, dict(figures.results)) == (2, {"success": 2})


def test_platforms_and_which_stands_out() -> None:
    takes = {"a": [1.0, 1.2], "b": [1.1, 1.1], "c": [1.0, 1.0], "d": [1.2, 0.8], "slow": [5.0, 6.0]}
    items = tuple(
        Item(at(0), at(seconds), platform, "E" if platform == "a" and seconds > 1 else None)
        for platform, all_of_it in takes.items()
        for seconds in all_of_it
    )
    found = figures(visit("a", 0, 10, items=items), ends=10)["a"].platforms
    slow = found[0]
    assert (slow.platform, slow.items, slow.median, slow.slowest, slow.seconds) == ("slow", 2, 5.5, 6.0, 11.0)
    assert [each.platform for each in found if each.outlier] == ["slow"]
    assert {each.platform: each.failed for each in found}["a"] == 1
    three = figures(
        visit("a", 0, 10, items=tuple(each for each in items if each.platform in ("b", "c", "slow"))), ends=10
    )
    assert not any(each.outlier for each in three["a"].platforms), "too few to tell"


def test_visits_of_a_batch_flow_are_its_items() -> None:
    found = figures(
        visit("a", 0, 1, item_platform="x"), visit("a", 1, 4, id="a2", item_platform="y", result="failure"), ends=4
    )["a"].platforms
    assert [(each.platform, each.seconds, each.failed) for each in found] == [("y", 3.0, 1), ("x", 1.0, 0)]


def test_dead_ends_are_read_from_the_span_of_the_flow(tmp_path: Path) -> None:
    event = {"name": "dead_end", "attributes": [{"key": names.STAGE_NAME, "value": {"stringValue": "decide"}}]}
    action = {"key": names.STAGE_ACTION, "value": {"stringValue": "retry"}}
    told = {**event, "attributes": [*event["attributes"], action]}
    lines = [span("stage decide", "s1", "r1"), span("run x", "r1", events=[event, told])]
    made = only(write(tmp_path / "spans.jsonl", [*lines, lines[-1]]))
    assert [(stage.dead_ends, stage.dead_end_actions) for stage in made.stages] == [(2, {"": 1, "retry": 1})]
    assert [stage.dead_ends for stage in figures_of(made).stages] == [2]


def test_a_run_of_which_only_totals_are_known() -> None:
    made = Run("r", "w", "saved", started=at(0), stages=(Stage("a", at(0), at(5), 2, 0, 5.0, {"success": 2}),))
    found = figures_of(made)
    (stage,) = found.stages
    assert (stage.seconds, stage.visits, stage.own, stage.critical, stage.first_pass) == (5.0, 2, None, None, None)
    assert (found.seconds, found.gap, found.rework, found.parallel) == (5.0, None, None, None)
    assert found.notes == (
        "its visits were not recorded one by one: only totals are known",
        "it has no end that was recorded: times go to the last instant that was",
    )


# --- of every run -----------------------------------------------------------------------------------------------------


def check(made: Run) -> None:
    """What is so of every run: parts add up to the whole, nothing is negative, the order of visits does not matter."""
    found = figures_of(made)
    wall = shape_of(made).wall / SECOND
    stages = found.stages
    assert found.gap is not None
    assert found.own is not None
    assert sum(stage.wall or 0.0 for stage in stages) + found.gap == pytest.approx(wall, abs=1e-6)
    assert sum(stage.critical or 0.0 for stage in stages) + found.own == pytest.approx(wall, abs=1e-6)
    assert sum(gap.seconds for gap in sharing_of(shape_of(made)).gaps) == pytest.approx(found.gap, abs=1e-9)
    for stage in stages:
        assert (stage.own or 0.0) + (stage.in_children or 0.0) == pytest.approx(stage.seconds, abs=1e-9)
        assert (stage.wall or 0.0) <= (stage.own or 0.0) + 1e-6
        assert 0 <= (stage.overlap or 0.0) <= 1
        assert (stage.first_pass or 0) <= (stage.first_visits or 0) <= stage.visits
        assert (stage.rework or 0.0) <= stage.seconds + 1e-9
        assert sum(stage.results.values()) + stage.open == stage.visits
        assert (stage.repeats or 0) + (stage.first_visits or 0) <= stage.visits
        assert not negative(stage)
    assert not negative(found)
    visits = list(made.visits)
    random.Random(1).shuffle(visits)
    assert figures_of(replace(made, visits=tuple(visits))) == found


def negative(figures: RunFigures | StageFigures) -> list[str]:
    return [name for name, value in vars(figures).items() if isinstance(value, (int, float)) and value < 0]


def test_random_workflows(telemetry: Telemetry) -> None:
    for seed in range(100):
        shared: dict[str, Any] = {}
        with workflow("random", shared=shared):
            run_in(telemetry.time, ForgetfulWorkflow(seed, shared).run())
        (made,) = runs_of(telemetry.exporter.get_finished_spans())
        telemetry.exporter.clear()
        check(made)


@pytest.mark.parametrize("kind", [Workflow, OddWorkflow])
def test_random_workflows_of_threads_and_loops(telemetry: Telemetry, kind: type[Workflow]) -> None:
    telemetry.recorder._wall, telemetry.recorder._monotonic = time.time_ns, time.perf_counter_ns
    for seed in range(60):
        shared: dict[str, Any] = {}
        with workflow("random", shared=shared):
            asyncio.run(kind(seed, shared).run())
        for made in runs_of(telemetry.exporter.get_finished_spans()):
            check(made)
        telemetry.exporter.clear()


def odd_run(seed: int) -> Run:
    """A run of random visits, of which nothing fits together: as a damaged record of several clocks might have it."""
    chance = random.Random(seed)
    ids = [f"v{number}" for number in range(chance.randint(0, 25))]
    visits: list[Visit] = []
    for name in ids:
        started = chance.uniform(-2, 12)
        ended = None if chance.random() < 0.1 else started + chance.choice([0.0, 1.0, chance.uniform(0, 6)])
        inner = [(at(a), at(a + chance.uniform(0, 3))) for a in (chance.uniform(-1, 12) for _ in range(3))]
        visits.append(
            visit(
                chance.choice("abcd"),
                started,
                ended,
                *chance.sample(ids, min(len(ids), chance.randint(0, 3))),
                parent=chance.choice([None, "gone", *ids]),
                id=name,
                number=chance.randint(1, 3),
                revision=chance.choice([None, 0, 1, 2]),
                result=None if ended is None else chance.choice(["success", "failure", "cancelled", "abandoned"]),
                retries=chance.randint(0, 2),
                wait=chance.choice([0.0, 1.0, 100.0]),
                budget=chance.choice([None, 1.0]),
                failed=tuple(Attempt(1, *each) for each in inner),
                waits=tuple(Wait("x", *each) for each in inner),
                items=tuple(Item(*each, platform=chance.choice(["p", None])) for each in inner),
                versions=(Version("1"),),
            )
        )
    return run(*visits, ends=chance.choice([None, 0.0, 10.0]))


def test_records_that_are_damaged() -> None:
    for seed in range(1000):
        check(odd_run(seed))
