"""The figures of many runs: computed by hand, and what is so of any."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from otel_progress.insight import RunFigures, WorkflowFigures, figures_of, figures_over
from otel_progress.runs import Item, Run, Stage

from .test_insight_figures import at, negative, odd_run
from .test_insight_path import SECOND, run, visit


def made(number: int, takes: float, **more: Any) -> RunFigures:
    """A run that began `number` hours after the first, of a stage that takes so long and one that takes 1 s."""
    whole = run(visit("edit", 0, takes), visit("check", takes, takes + 1, "edit"), ends=takes + 1)
    later = number * 3600 * SECOND

    def moved(each: Any) -> Any:
        return replace(each, started=each.started + later, ended=each.ended + later)

    return figures_of(replace(moved(whole), id=f"r{number}", visits=tuple(map(moved, whole.visits)), **more))


def over(*runs: RunFigures) -> WorkflowFigures:
    (found,) = figures_over(runs)
    return found


def test_distribution() -> None:
    found = over(*[made(number, takes) for number, takes in enumerate([1, 2, 3, 4, 10])])
    assert found.seconds is not None
    assert (found.runs, found.seconds.count, found.seconds.total) == (5, 5, 25.0)
    assert (found.seconds.p50, found.seconds.shortest, found.seconds.longest) == (4.0, 2.0, 11.0)
    assert (found.seconds.p90, found.seconds.p99) == pytest.approx((8.6, 10.76))
    assert found.seconds.spread == pytest.approx((5 - 3) / (5 + 3))
    edit, check = found.stages
    assert (edit.stage, edit.critical, edit.critical_share, edit.often_critical) == ("edit", 20.0, 0.8, 1.0)
    assert (check.critical_share, check.seconds.p50, check.seconds.spread) == (0.2, 1.0, 0.0)


def test_how_often_on_the_critical_path() -> None:
    beside = [
        replace(run(visit("slow", 0, 5), visit("quick", 0, quick), ends=max(5, quick)), id=str(quick))
        for quick in (1, 2, 3, 9)
    ]
    found = {stage.stage: stage for stage in over(*map(figures_of, beside)).stages}
    assert (found["slow"].often_critical, found["quick"].often_critical) == (0.75, 0.25)


def test_a_trend_goes_by_the_starts_of_the_runs() -> None:
    grows = [made(number, 1 + number) for number in range(12)]
    found = over(*random.Random(3).sample(grows, len(grows))).seconds
    assert found is not None
    assert found.change == pytest.approx(11.0)
    assert found.chance < 0.001
    steady = over(*[made(number, 5 + number % 2) for number in range(12)]).seconds
    assert steady is not None
    assert steady.chance > 0.3


def test_runs_that_have_not_ended_are_counted_and_have_no_times() -> None:
    found = over(made(0, 1), made(1, 100, state="running", ended=None), made(2, 100, state="crashed", ended=None))
    assert found.results == {"crashed": 1, "running": 1, "success": 1}
    assert found.seconds is not None
    assert (found.seconds.count, found.seconds.longest) == (1, 2.0)
    assert over(made(1, 100, state="running", ended=None)).seconds is None


def test_results_by_revision() -> None:
    found = over(
        *[
            figures_of(replace(each, id=str(number)))
            for number, each in enumerate(
                [
                    revised(0, "success"),
                    revised(2, "success"),
                    revised(2, "failure"),
                    revised(3, "failure"),
                ]
            )
        ]
    )
    assert found.results_by_revision == {0: {"success": 1}, 2: {"success": 1, "failure": 1}, 3: {"failure": 1}}
    assert found.rework_by_revision == {1: 3.0, 2: 3.0, 3: 1.0}
    assert found.rework == 7.0


def revised(revision: int, result: str) -> Run:
    """A run whose one stage is visited once for each revision, a second each."""
    visits = [
        visit("edit", number, number + 1, id=f"edit{number}", number=number + 1, revision=number)
        for number in range(revision + 1)
    ]
    whole = run(*visits, ends=revision + 1, result=result)
    return replace(whole, stages=(Stage("edit", visits=len(visits), revision=revision),))


def test_platforms_are_those_of_all_runs() -> None:
    def with_items(number: int, takes: float) -> RunFigures:
        items = [Item(at(0), at(0.9 + place / 10), name) for place, name in enumerate("abc")] + [
            Item(at(0), at(takes), "slow")
        ]
        return figures_of(replace(run(visit("a", 0, 20, items=tuple(items)), ends=20), id=str(number)))

    (stage,) = over(*[with_items(number, takes) for number, takes in enumerate([1.0, 9.0, 11.0])]).stages
    slow = stage.platforms[0]
    assert (slow.platform, slow.items, slow.median, slow.slowest, slow.outlier) == ("slow", 3, 9.0, 11.0, True)


def test_several_workflows() -> None:
    found = figures_over([made(0, 1, workflow="once"), made(1, 1, workflow="often"), made(2, 1, workflow="often")])
    assert [(each.workflow, each.runs) for each in found] == [("often", 2), ("once", 1)]
    assert figures_over([]) == ()


def test_what_is_so_of_any_runs() -> None:
    runs = [figures_of(replace(odd_run(seed), id=str(seed))) for seed in range(300)]
    (found,) = figures_over(runs)
    turned = figures_over(random.Random(1).sample(runs, len(runs)))
    assert [each.stage for each in turned[0].stages] == [each.stage for each in found.stages]
    for one, other in zip(found.stages, turned[0].stages, strict=True):
        assert vars(one).keys() == vars(other).keys()
        for name, value in vars(one).items():
            assert getattr(other, name) == (pytest.approx(value) if isinstance(value, float) else value) or name in {
                "waiting", "rework_by_revision", "seconds", "platforms",
            }, name  # fmt: skip
        assert not [name for name in negative(one) if name != "change"]  # type: ignore[arg-type]
    whole = [each for each in runs if each.state not in {"running", "crashed"}]
    assert found.seconds is not None
    assert found.seconds.total == pytest.approx(sum(each.seconds for each in whole))
    assert found.own is not None
    assert sum(stage.critical or 0.0 for stage in found.stages) + found.own == pytest.approx(found.seconds.total)
