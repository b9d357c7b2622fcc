"""`otel_progress.compare`: ranks and levels by hand, verdicts on drawn samples, and what is no duration."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from otel_progress.compare import Comparison, Row, Sample, compare, compare_samples, sample_of
from otel_progress.compare.comparing import MOST
from otel_progress.compare.levels import Graph, of_run, rejected, tarone
from otel_progress.compare.ranks import Differences, inflation_of, paired_tail, unpaired_tail
from otel_progress.compare.samples import TOTAL, Counts, Key
from otel_progress.compare.summary import summaries_of
from otel_progress.report.comparison import conclusion
from otel_progress.runs.model import Run, Stage, Visit

SECOND = 1_000_000_000
STAGES = ("draft", "edit", "check", "publish")
Array = Any


def samples(seconds: Array, starts: Iterable[int], stages: Sequence[str] = STAGES, **known: Any) -> list[Sample]:
    """Runs of stages, from an array of shape (stages, runs)."""
    made: list[Sample] = []
    for number, start in enumerate(starts):
        each = [float(value) for value in seconds[:, number]]
        times: dict[Key, float] = {TOTAL: sum(each)} | {(stage, None): each[at] for at, stage in enumerate(stages)}
        counts = {stage: Counts(1, 0, 0) for stage in stages}
        made.append(replace(Sample(f"run-{start}", "w", start * SECOND, True, times, counts, None), **known))
    return made


def noise(rng: np.random.Generator, times: int, much: float = 0.05) -> Array:
    return np.exp(much * rng.standard_normal((len(STAGES), times)))


def turns(whole: int) -> tuple[list[int], list[int]]:
    """When the runs of two sides began that took turns: A, B, B, A."""
    return [at for at in range(whole) if at % 4 in (0, 3)], [at for at in range(whole) if at % 4 in (1, 2)]


def sides(base: Array, new: Array, *, in_turn: bool, **how: Any) -> Comparison:
    """Two sides that took turns, or one after the other."""
    times, whole = base.shape[1], base.shape[1] + new.shape[1]
    first, second = turns(whole) if in_turn else ([*range(times)], [*range(times, whole)])
    return compare_samples(samples(base, first), samples(new, second), **how)


def verdicts(comparison: Comparison) -> dict[str | None, str]:
    return {row.stage: row.verdict for row in comparison.rows}


either_order = pytest.mark.parametrize("in_turn", [True, False], ids=["in turn", "one after the other"])


# --- the verdicts can be trusted --------------------------------------------------------------------------------------


def normal(rng: np.random.Generator) -> Array:
    return noise(rng, 24, 0.3)


def skewed(rng: np.random.Generator) -> Array:
    return 1 + rng.exponential(1.0, (len(STAGES), 24))


def heavy(rng: np.random.Generator) -> Array:
    return np.exp(0.1 * rng.standard_t(2, (len(STAGES), 24)))


def alike(rng: np.random.Generator) -> Array:
    """Each run resembles the one before, in all stages."""
    drift = rng.standard_normal(24)
    for at in range(1, 24):
        drift[at] = 0.4 * drift[at - 1] + math.sqrt(1 - 0.16) * drift[at]
    return np.exp(0.2 * drift) * noise(rng, 24)


def drifting(rng: np.random.Generator) -> Array:
    """A machine that gets slower, and by jumps."""
    return np.exp(np.cumsum(0.1 * rng.standard_normal(24))) * noise(rng, 24)


@pytest.mark.parametrize(
    ("machine", "in_turn"),
    [(each, turn) for each in (normal, skewed, heavy, alike) for turn in (True, False)] + [(drifting, True)],
)
def test_of_200_comparisons_of_the_same_code_at_most_16_raise_an_alarm(
    machine: Callable[[np.random.Generator], Array], in_turn: bool
) -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        both = machine(rng)
        first, second = turns(24) if in_turn else ([*range(12)], [*range(12, 24)])
        found = compare_samples(samples(both[:, first], first), samples(both[:, second], second))
        alarms += bool(found.alarms)
    assert alarms <= 16


@either_order
def test_it_speaks_with_12_runs_and_5_percent_noise(in_turn: bool) -> None:
    rng = np.random.default_rng(2)
    found = dict.fromkeys(STAGES, 0)
    for _ in range(100):
        new = noise(rng, 12)
        new[1] *= 1.3
        told = verdicts(sides(noise(rng, 12), new, in_turn=in_turn))
        found["edit"] += told["edit"] == "slower"
        for stage in ("draft", "check", "publish"):
            found[stage] += told[stage] == "same"
    assert found["edit"] >= 90
    assert min(found["draft"], found["check"], found["publish"]) >= 80


@either_order
def test_a_stage_that_is_a_tenth_faster_or_slower_is_never_called_the_same(in_turn: bool) -> None:
    """In at most one comparison of twenty."""
    rng = np.random.default_rng(3)
    wrong = 0
    for number in range(100):
        new = noise(rng, 12)
        new[1] *= 1.1 if number % 2 else 1 / 1.1
        wrong += verdicts(sides(noise(rng, 12), new, in_turn=in_turn))["edit"] == "same"
    assert wrong <= 9


@either_order
def test_a_change_that_does_not_matter_is_no_alarm(in_turn: bool) -> None:
    rng = np.random.default_rng(4)
    assert not any(sides(noise(rng, 50), noise(rng, 50) * 1.05, in_turn=in_turn).alarms for _ in range(50))


def test_a_small_stage_is_found_though_the_run_is_the_same() -> None:
    rng = np.random.default_rng(5)
    size = np.array([[1.0], [0.02], [1.0], [1.0]])
    base, new = noise(rng, 12) * size, noise(rng, 12) * size
    new[1] *= 1.5
    told = verdicts(sides(base, new, in_turn=True))
    assert (told[None], told["edit"]) == ("same", "slower")


@either_order
@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_with_too_few_runs_nothing_is_said_whatever_they_are(times: int, in_turn: bool) -> None:
    same = np.ones((4, times))
    for new in (same, same * 10):
        told = sides(same, new, in_turn=in_turn)
        assert set(verdicts(told).values()) == {"too few"}
        assert not told.alarms


def test_what_could_not_have_been_found_slower_is_never_called_the_same() -> None:
    """Five runs reach the level of the run (0.02), not those of four stages (0.005)."""
    told = sides(np.ones((4, 5)), np.ones((4, 5)), in_turn=True)
    assert verdicts(told) == {None: "same"} | dict.fromkeys(STAGES, "too few")
    assert [row.level for row in told.rows] == pytest.approx([0.02, 0.005, 0.005, 0.005, 0.005])


@pytest.mark.parametrize(("times", "effect"), [(4, 1.3), (6, 1.15), (8, 1.0), (12, 1.05)])
def test_so_many_more_runs_do(times: int, effect: float) -> None:
    rng = np.random.default_rng(6)
    asked = decided = 0
    for _ in range(40):
        new = noise(rng, times) * effect
        before = sides(noise(rng, times), new, in_turn=False).rows[1]
        if before.more is not None and before.more < 200:
            after = times + before.more
            asked += 1
            decided += sides(noise(rng, after), noise(rng, after) * effect, in_turn=False).rows[1].verdict != "too few"
    assert asked >= 10
    assert decided >= 0.5 * asked


def test_pairs_see_through_a_drift_that_groups_do_not() -> None:
    drift = np.exp(np.linspace(0, 2, 48))
    rng = np.random.default_rng(7)
    first, second = turns(48)
    base, new = noise(rng, 24, 0.02) * drift[first], noise(rng, 24, 0.02) * drift[second] * 1.2
    told = compare_samples(samples(base, first), samples(new, second))
    assert all(row.paired for row in told.rows)
    assert set(verdicts(told).values()) == {"slower"}
    mixed = compare_samples(samples(base, range(24)), samples(new, range(24, 48)))
    assert not any(row.paired for row in mixed.rows)
    assert mixed.rows[0].inflation > 2


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_the_distribution_of_two_groups_is_that_of_all_orders() -> None:
    orders = list(itertools.combinations(range(8), 3))
    above = [sum(place > other for place in new for other in range(8) if other not in new) for new in orders]
    counted = [sum(each >= u for each in above) / len(orders) for u in range(16)]
    assert unpaired_tail(5, 3) == pytest.approx(counted)


def test_the_distribution_of_pairs_is_that_of_all_signs() -> None:
    sums = [sum(rank for rank, sign in enumerate(signs, 1) if sign) for signs in itertools.product((0, 1), repeat=6)]
    assert paired_tail(6) == pytest.approx([sum(each >= u for each in sums) / 64 for u in range(22)])


@pytest.mark.parametrize("tail", [lambda runs: unpaired_tail(runs, runs), paired_tail])
def test_the_distribution_goes_on_where_it_is_not_exact_any_more(tail: Callable[[int], Array]) -> None:
    exact, normal = tail(50), tail(51)
    for part in (0.5, 0.6, 0.65):
        assert normal[round(part * len(normal))] == pytest.approx(exact[round(part * len(exact))], rel=0.2)


def test_the_estimate_is_the_median_of_all_ratios() -> None:
    found = Differences.unpaired([[1.0, 2.0, 4.0]], [[2.0, 6.0]])
    assert math.exp(found.estimate[0]) == pytest.approx(math.sqrt(2 * 1.5 * 1))  # Of 0.5, 1, 1.5, 2, 3, 6: 1.5 and 2.


@pytest.mark.parametrize("paired", [True, False])
def test_tests_and_intervals_agree(paired: bool) -> None:
    rng = random.Random(8)
    for _ in range(200):
        base = [[rng.lognormvariate(0, 0.2) for _ in range(9)]]
        new = [[rng.lognormvariate(0.2, 0.2) for _ in range(9)]]
        found = Differences.paired(base, new) if paired else Differences.unpaired(base, new, [rng.uniform(1, 3)])
        level = rng.choice([0.01, 0.05, 0.2])
        low, high = found.interval(0, level)
        assert (not low <= 0 <= high) == (found.p_different[0] <= level)
        margin = rng.uniform(0.05, 0.5)
        inside = found.interval(0, 2 * level)
        assert (-margin < inside[0] and inside[1] < margin) == (found.p_same(margin)[0] <= level)


def test_the_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(9)
    base, new = rng.standard_normal((400, 10)), rng.standard_normal((400, 10))
    found = Differences.unpaired(np.exp(base), np.exp(new + 0.7))
    held = sum(low <= 0.7 <= high for low, high in (found.interval(row, 0.1) for row in range(400)))
    assert 0.86 <= held / 400 <= 0.96


def test_equal_durations_are_ties_and_no_change() -> None:
    found = Differences.unpaired([[1.0] * 8], [[1.0] * 8])
    assert (found.p_slower[0], found.p_faster[0]) == (1.0, 1.0)
    assert found.p_same(0.01)[0] < 0.001
    assert found.interval(0, 0.05) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("base", "new", "order"),
    [
        ([0, 3, 4, 7], [1, 2, 5, 6], "in turn"),
        ([0, 2, 4, 6, 8], [1, 3, 5, 7], "in turn"),
        ([0, 1, 2, 3], [4, 5, 6, 7], "one after the other"),
        ([4, 5], [0, 1, 2], "one after the other"),
        ([0], [1], "one after the other"),
        ([0, 1, 2, 6, 7], [3, 4, 5, 8, 9], "mixed"),
        ([0, 2], [1, 3, 4, 5, 6], "mixed"),
    ],
)
def test_the_order_in_which_the_sides_ran(base: list[int], new: list[int], order: str) -> None:
    one, other = (samples(np.ones((4, len(starts))), starts) for starts in (base, new))
    assert compare_samples(one, other).workflows[0].order == order


def test_zero_seconds_have_a_ratio_too() -> None:
    told = sides(np.zeros((4, 12)), np.zeros((4, 12)), in_turn=True)
    assert set(verdicts(told).values()) == {"same"}


def test_what_no_drift_explains_is_found_though_the_machine_drifts() -> None:
    drift = np.exp(np.linspace(0, 0.1, 12)) * np.ones((4, 1))
    assert set(verdicts(sides(drift, drift * 1.5, in_turn=False)).values()) == {"slower"}
    assert set(verdicts(sides(drift, drift * 1.11, in_turn=False)).values()) == {"too few"}


def test_runs_that_resemble_each_other_count_for_fewer() -> None:
    rng = np.random.default_rng(10)
    alone = rng.standard_normal((200, 12))
    slow = np.cumsum(alone, axis=1)
    assert np.median(inflation_of(np.exp(alone[:100]), np.exp(alone[100:]))) < 1.4
    assert np.median(inflation_of(np.exp(slow[:100]), np.exp(slow[100:]))) > 3


# --- levels -----------------------------------------------------------------------------------------------------------


def test_stages_get_what_the_total_had() -> None:
    graph = of_run({"a": [], "b": []}, "total", 0.5)
    assert graph.weights == {"total": 0.5, "a": 0.25, "b": 0.25}
    p = {"total": 0.02, "a": 0.02, "b": 0.04}
    assert {key: found for key, (found, _) in rejected(graph, p, 0.05).items()} == {"total": True, "a": True, "b": True}
    alone = rejected(graph, {**p, "total": 0.5}, 0.05)
    assert {key: found for key, (found, _) in alone.items()} == {"total": False, "a": False, "b": False}
    assert alone["a"][1] == pytest.approx(0.0125)


def test_platforms_come_after_their_stage() -> None:
    graph = of_run({"a": ["x", "y"], "b": []}, None, 0.5)
    never = rejected(graph, {"a": 0.5, "b": 0.5, "x": 0.0, "y": 0.0}, 0.05)
    assert not any(found for found, _ in never.values())
    after = rejected(graph, {"a": 0.001, "b": 0.5, "x": 0.001, "y": 0.5}, 0.05)
    assert [key for key, (found, _) in after.items() if found] == ["a", "x"]
    assert sum(graph.weights.values()) == pytest.approx(1)


def test_equal_shares_are_holm() -> None:
    keys = "abcd"
    graph = Graph(dict.fromkeys(keys, 0.25), {key: {other: 1 / 3 for other in keys if other != key} for key in keys})
    rng = random.Random(11)
    for _ in range(200):
        p = {key: rng.choice([0.001, 0.012, 0.013, 0.016, 0.017, 0.02, 0.04, 0.5]) for key in keys}
        ordered = sorted(keys, key=lambda key: p[key])
        enough = [p[key] <= 0.05 / (4 - place) + 1e-12 for place, key in enumerate(ordered)]
        holm = ordered[: [*enough, False].index(False)]
        assert sorted(key for key, (found, _) in rejected(graph, p, 0.05).items() if found) == sorted(holm)


def test_counts_that_cannot_differ_cost_nothing() -> None:
    assert tarone([0.008, 1.0, 1.0], [0.008, 1.0, 1.0], 0.01) == [True, False, False]
    assert tarone([0.008, 0.008, 0.008], [0.001, 0.001, 0.001], 0.01) == [False, False, False]
    assert tarone([], [], 0.01) == []


# --- what is no duration ----------------------------------------------------------------------------------------------


def counted(name: str, at: int, times: int = 12, **counts: Any) -> list[Sample]:
    """Runs of a stage of this name between two others, with these counts."""
    stages = ("draft", name, "publish") if name else ("draft", "publish")
    made = samples(np.ones((len(stages), times)), range(at, at + times), stages)
    known = {key: counts.pop(key) for key in ("revision",) if key in counts}
    return [replace(each, counts=each.counts | ({name: Counts(**counts)} if counts else {}), **known) for each in made]


def changes(base: list[Sample], new: list[Sample]) -> list[tuple[str, str | None, float, float, bool]]:
    found = compare_samples(base, new)
    return [(each.kind, each.stage, each.base, each.new, each.certain) for each in found.changes]


def test_more_visits_are_not_slower() -> None:
    base = counted("edit", 0, visits=1, retries=0, failed=0, revision=0)
    new = counted("edit", 100, visits=3, retries=2, failed=1, revision=2)
    assert changes(base, new) == [
        ("revisions", None, 0, 2, True),
        ("visits", "edit", 1, 3, True),
        ("retries", "edit", 0, 2, True),
        ("failures", "edit", 0, 1, True),
    ]
    assert set(verdicts(compare_samples(base, new)).values()) == {"same"}


def test_a_stage_is_timed_by_its_visits() -> None:
    run = Run("r", "w", "s", started=SECOND, ended=11 * SECOND, state="done", result="success")
    stage = Stage("edit", visits=4, open=1, seconds=6.0, results={"success": 2, "failure": 1}, retries=5, revision=2)
    sample = sample_of(replace(run, stages=(stage,)))
    assert sample.seconds == {TOTAL: 10.0, ("edit", None): 2.0}
    assert sample.counts == {"edit": Counts(4, 5, 1)}
    assert sample.revision == 2


def test_platforms_are_timed_by_visits_and_items() -> None:
    visits = tuple(
        Visit(str(at), "craft", started=0, ended=at * SECOND, item_platform=name)
        for at, name in ((1, "x"), (3, "x"), (5, "y"))
    )
    assert sample_of(Run("r", "w", "s", visits=visits)).seconds == {("craft", "x"): 2.0, ("craft", "y"): 5.0}


@pytest.mark.parametrize(
    ("state", "result", "well"),
    [
        ("done", "success", True),
        ("done", "fallback", True),
        ("done", None, True),
        ("done", "failure", False),
        ("crashed", None, False),
        ("done", "cancelled", None),
        ("running", None, None),
        ("unknown", None, None),
    ],
)
def test_which_runs_are_compared(state: Any, result: str | None, well: bool | None) -> None:
    assert sample_of(Run("r", "w", "s", state=state, result=result)).well is well


def test_new_vanished_and_renamed_stages() -> None:
    with_edit, without = counted("edit", 0), counted("", 100)
    assert changes(without, with_edit) == [("new", "edit", 0, 1, True)]
    assert changes(with_edit, without) == [("vanished", "edit", 1, 0, True)]
    told = compare_samples(with_edit, counted("polish", 100))
    assert [(each.kind, each.stage, each.renamed_from) for each in told.changes] == [("renamed", "polish", "edit")]
    (polish,) = [row for row in told.rows if row.stage == "polish"]
    assert (polish.renamed_from, polish.verdict) == ("edit", "same")


def test_a_stage_that_some_runs_have_may_be_chance() -> None:
    base, new = counted("", 0), counted("", 100)
    new[3] = counted("edit", 103, 1)[0]
    assert [(kind, stage, certain) for kind, stage, _, _, certain in changes(base, new)] == [("new", "edit", False)]
    assert not compare_samples(base, new).alarms


def test_where_no_run_of_a_side_ended_well_no_stage_is_new_or_gone() -> None:
    broken = [replace(each, well=False) for each in counted("", 100)]
    assert changes(counted("edit", 0), broken) == [("failures", None, 0, 1, True)]
    assert changes(broken, counted("edit", 0)) == [("failures", None, 1, 0, True)]


def test_a_failed_run_is_not_timed() -> None:
    base, new = counted("edit", 0), counted("edit", 100)
    new[0] = replace(new[0], well=False, seconds={TOTAL: 1e6})
    new[1] = replace(new[1], well=None)
    told = compare_samples(base, new)
    (workflow,) = told.workflows
    assert (workflow.new.runs, workflow.new.compared, workflow.new.failed, workflow.new.left_out) == (12, 10, 1, 1)
    assert not told.alarms  # One of twelve is no proof.


# --- the rest ---------------------------------------------------------------------------------------------------------


def platforms(at: int, x: float) -> list[Sample]:
    rng = np.random.default_rng(at)
    made = samples(np.ones((1, 12)), range(at, at + 12), ["craft"])
    for each in made:
        times = {("craft", "x"): x * rng.lognormal(0, 0.02), ("craft", "y"): rng.lognormal(0, 0.02)}
        each.seconds.update(times | {("craft", None): sum(times.values()), TOTAL: sum(times.values())})
    return made


def test_platforms_are_told_apart_where_their_stage_has_changed() -> None:
    slower = compare_samples(platforms(0, 1.0), platforms(100, 1.6)).rows
    assert [(row.stage, row.platform, row.verdict) for row in slower] == [
        (None, None, "slower"),
        ("craft", None, "slower"),
        ("craft", "x", "slower"),
        ("craft", "y", "same"),
    ]
    found = compare_samples(platforms(0, 1.0), platforms(100, 1.6))
    run, craft, x, y = found.rows
    # Of platforms the sentence names those that did not change as their stage did.
    assert conclusion(found.workflows[0]) == f"NEW is slower: the run {run.change:+.1%}, craft {craft.change:+.1%}."
    apart = replace(found.workflows[0], rows=(run, craft, x, replace(y, verdict="faster", change=-0.2)))
    assert conclusion(apart).endswith("; faster: craft, y -20.0%.")
    same = compare_samples(platforms(0, 1.0), platforms(100, 1.0)).rows
    assert [(row.stage, row.platform, row.verdict) for row in same] == [(None, None, "same"), ("craft", None, "same")]


def test_workflows_are_compared_each_with_its_own() -> None:
    def named(name: str, at: int) -> list[Sample]:
        return [replace(each, workflow=name, id=f"{name}{each.id}") for each in counted("edit", at)]

    told = compare_samples(named("one", 0) + named("two", 50), named("two", 100) + named("three", 150))
    assert [each.workflow for each in told.workflows] == ["two"]
    assert (told.only_base, told.only_new) == (("one",), ("three",))
    renamed = compare_samples(named("one", 0), named("two", 100))
    assert [(each.workflow, each.renamed_from) for each in renamed.workflows] == [("two", "one")]


def test_the_order_of_the_input_does_not_matter() -> None:
    rng = np.random.default_rng(12)
    base, new = samples(noise(rng, 12), range(12)), samples(noise(rng, 12), range(12, 24))
    told = compare_samples(base, new)
    random.Random(0).shuffle(base)
    random.Random(1).shuffle(new)
    assert compare_samples(base, new).rows == told.rows


def test_the_other_way_round_what_was_slower_is_faster() -> None:
    rng = np.random.default_rng(13)
    base, new = noise(rng, 12), noise(rng, 12) * 1.3
    there, back = (sides(*each, in_turn=False).rows for each in ((base, new), (new, base)))
    assert [row.verdict for row in there] == ["slower"] * 5
    assert [row.verdict for row in back] == ["faster"] * 5
    assert [1 + row.change for row in there] == pytest.approx([1 / (1 + row.change) for row in back])


def test_of_very_many_runs_some_are_compared() -> None:
    rng = np.random.default_rng(14)
    told = sides(noise(rng, MOST + 500), noise(rng, 40), in_turn=False)
    (workflow,) = told.workflows
    assert (workflow.base.runs, workflow.base.compared) == (MOST + 500, MOST)
    assert {row.base_runs for row in told.rows} == {MOST}


def test_runs_of_the_model_and_records_for_data_frames() -> None:
    def runs(at: int, seconds: float) -> list[Run]:
        return [
            Run(
                f"{at + number}", "w", "s", started=(at + number) * 100 * SECOND, state="done", result="success",
                ended=round(((at + number) * 100 + seconds + number / 100) * SECOND),
                stages=(Stage("edit", visits=1, seconds=seconds / 2 + number / 200),),
            )
            for number in range(12)
        ]  # fmt: skip

    told = compare(runs(0, 10.0), runs(100, 20.0))
    records = told.to_records()
    assert [(each["stage"], each["verdict"]) for each in records] == [(None, "slower"), ("edit", "slower")]
    assert set(records[0]) == set(Row.__dataclass_fields__)
    assert json.loads(json.dumps(told.to_json(), allow_nan=False))["version"] == 1
    assert told.regressions(0.5) == told.rows
    assert told.regressions(1.5) == ()


@pytest.mark.parametrize("wrong", [{"smallest": 0.0}, {"smallest": math.inf}, {"error": 0.0}, {"error": 1.0}])
def test_what_cannot_be_asked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        compare_samples([], [], **wrong)


def test_nothing_is_compared_with_nothing() -> None:
    assert compare_samples([], []).workflows == ()
    assert compare_samples(counted("edit", 0), []).only_base == ("w",)


def test_one_set_alone() -> None:
    made = samples(np.array([[1.0, 2.0, 3.0, 100.0]]), range(4), ["edit"])
    made[3] = replace(made[3], well=False)
    found = summaries_of(made)
    assert [(each.stage, each.runs, each.median, each.least, each.most) for each in found] == [
        (None, 3, 2.0, 1.0, 3.0),
        ("edit", 3, 2.0, 1.0, 3.0),
    ]
    assert found[0].spread == pytest.approx(1.4826 / 2)
