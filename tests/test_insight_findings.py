"""Sentences: each kind where it must speak, and where it must not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from otel_progress.insight import Insight, Report
from otel_progress.runs import Attempt, Item, Run, Stage, Visit, Wait

from .test_insight_figures import at, odd_run
from .test_insight_many import revised
from .test_insight_path import SECOND, run, visit
from .test_insight_whatif import chain


def said(*runs: Run) -> dict[str, Insight]:
    report = Report()
    for number, each in enumerate(runs):
        report.add(replace(each, id=f"r{number}"))
    (found,) = report.workflows()
    kinds = [insight.kind for insight in found.insights]
    assert len(kinds) == len(set(kinds))
    return {insight.kind: insight for insight in found.insights}


def even(*more: Visit, **changed: Any) -> Run:
    """A run in which nothing stands out: five stages of two seconds."""
    made = chain(*[(name, 2.0) for name in "abcde"])
    return replace(made, visits=(*made.visits, *more), **changed)


def items(*takes: tuple[str, float], at_once: bool = True) -> tuple[Item, ...]:
    now, found = 0.0, list[Item]()
    for platform, seconds in takes:
        found.append(Item(at(now), at(now + seconds), platform))
        now += 0.0 if at_once else seconds
    return tuple(found)


def budget(seconds: float, *takes: float) -> Run:
    made = chain(*[("a", taken) for taken in takes], *[(name, 20.0) for name in "bcde"])
    return replace(made, visits=tuple(replace(v, budget=seconds) if v.stage == "a" else v for v in made.visits))


def growing(change: float) -> Iterable[Run]:
    for number in range(12):
        made = chain(("a", 5 + change * number + number % 2 / 10), ("b", 5.0))
        later = number * 3600 * SECOND
        yield replace(
            made,
            started=at(0) + later,
            ended=(made.ended or 0) + later,
            visits=tuple(replace(v, started=v.started + later, ended=(v.ended or 0) + later) for v in made.visits),
        )


def with_stages(made: Run, *stages: Stage) -> Run:
    return replace(made, stages=stages)


def ended(made: Run, results: dict[str, int]) -> Run:
    """The first stage with visits that ended so."""
    return with_stages(made, Stage("a", visits=sum(results.values()), seconds=2.0, results=results))


def waiting(seconds: float) -> Run:
    made = even()
    waits = (Wait("approval", at(0), at(seconds)),)
    first = replace(made.visits[0], waits=waits, wait=seconds)
    return replace(made, visits=(first, *made.visits[1:]))


def retried(seconds: float) -> Run:
    made = even()
    failed = (Attempt(1, at(0), at(seconds)),)
    return replace(made, visits=(replace(made.visits[0], failed=failed, retries=1), *made.visits[1:]))


def with_items(*found: Item) -> Run:
    made = chain(("a", 10.0), ("b", 10.0), ("c", 10.0))
    return replace(made, visits=(replace(made.visits[0], items=found), *made.visits[1:]))


def edited(seconds: float, revision: int = 1) -> Run:
    """Five even stages, and one of them again at a higher revision."""
    made = even()
    again = visit("e", 10, 10 + seconds, "4", id="again", number=2, revision=revision)
    visits = [replace(each, revision=0) for each in made.visits]
    return replace(made, visits=(*visits, again), ended=at(10 + seconds))


FAR = items(("x", 1.0), ("y", 1.1), ("z", 0.9), ("slow", 6.0))
NEAR = items(("x", 1.0), ("y", 1.1), ("z", 0.9), ("slow", 1.3))

CASES: dict[str, tuple[Callable[[], list[Run]], Callable[[], list[Run]]]] = {
    "bottleneck": (
        lambda: [chain(("a", 2), ("edit", 7), ("b", 1))],
        lambda: [chain(("a", 3), ("edit", 4), ("b", 3))],
    ),
    "rework": (lambda: [edited(3.0)], lambda: [edited(3.0, revision=0)]),
    "useless revisions": (
        lambda: [revised(1, "success"), *[revised(number, "failure") for number in (2, 3, 4)]],
        lambda: [revised(3, "success"), *[revised(number, "failure") for number in (2, 3, 4)]],
    ),
    "items one by one": (
        lambda: [with_items(*items(("x", 4.0), ("y", 3.0), ("z", 3.0), at_once=False))],
        lambda: [with_items(*items(("x", 4.0), ("y", 3.0), ("z", 3.0)))],
    ),
    "waits": (lambda: [waiting(1.5)], lambda: [waiting(0.9)]),
    "retries": (lambda: [retried(1.0)], lambda: [retried(0.3)]),
    "outlier": (lambda: [with_items(*FAR)], lambda: [with_items(*NEAR)]),
    "budget": (lambda: [budget(1.0, 2.0, 3.0, 2.5)], lambda: [budget(2.0, 2.0, 3.0, 2.5)]),
    "gaps": (lambda: [replace(even(), ended=at(13))], lambda: [replace(even(), ended=at(10.5))]),
    "slower": (lambda: list(growing(0.5)), lambda: list(growing(0.0))),
    "failures": (
        lambda: [ended(even(), {"success": 8, "failure": 2})],
        lambda: [ended(even(), {"success": 19, "failure": 1})],
    ),
    "fallbacks": (
        lambda: [ended(even(), {"success": 3, "fallback": 1})],
        lambda: [ended(even(), {"success": 30, "fallback": 1})],
    ),
    "dead ends": (
        lambda: [with_stages(even(), Stage("a", visits=1, dead_ends=1))],
        lambda: [with_stages(even(), Stage("a", visits=1))],
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_kind_speaks_where_there_is_ground_and_nowhere_else(kind: str) -> None:
    must, must_not = CASES[kind]
    assert kind in said(*must())
    assert kind not in said(*must_not())


@pytest.mark.parametrize(
    ("kind", "text", "advice"),
    [
        (
            "bottleneck",
            "edit takes 70% of the time that runs wait for (7.00 s of a run)",
            "begin there: edit twice as fast saves 3.50 s, 35% of the run",
        ),
        (
            "rework",
            "revisions take 3.00 s of a run (23%), most of it in e",
            "ask for more at the first visit: one revision less saves 3.00 s, 23% of the run",
        ),
        (
            "useless revisions",
            "of 3 runs that went beyond revision 1 none succeeded: 6.00 s for nothing",
            "end the loop after revision 1: it gains nothing behind it",
        ),
        (
            "items one by one",
            "the items of a come one after the other",
            (
                "they are items of one batch, so work on them at once where none needs another: two at a time saves "
                "4.00 s, 13% of the run"
            ),
        ),
        (
            "waits",
            "a waits for approval more than it works: 1.50 s of its 2.00 s in a run",
            "a quicker a gains little: shorten that wait",
        ),
        (
            "retries",
            "1 retry of a cost 1.00 s of a run (10%)",
            "find out why the first attempt fails, or give up sooner",
        ),
        ("outlier", "slow takes 6.00 s in a, the other platforms 1.05 s", "look at what is special about it"),
        (
            "budget",
            "the budget of a, 1.00 s, is out of reach: the quickest of 3 visits took 2.00 s",
            "set one that can be kept, or make it quicker",
        ),
        (
            "gaps",
            "in 3.00 s of a run (23%) no stage is open, the longest after e (3.00 s)",
            "mark what is done there as a stage, to see what it is",
        ),
        (
            "slower",
            "over 12 runs the time of a run has grown by 5.50 s (p = 0.0001), that of a by 5.50 s",
            "find out what has changed in a",
        ),
        ("failures", "2 of 10 visits of a fail", "find out why: a visit that fails takes time for nothing"),
        ("fallbacks", "1 of 4 visits of a ends with a fallback", "find out why: what that gives is a makeshift"),
        (
            "dead ends",
            "a gave an action that no edge takes once, and its flow ended there",
            "add the edge, or return another action",
        ),
    ],
)
def test_what_it_says(kind: str, text: str, advice: str) -> None:
    found = said(*CASES[kind][0]())[kind]
    assert (found.text, found.advice) == (text, advice)


def test_what_it_says_of_a_stage_rests_on_the_runs_that_visited_it() -> None:
    found = said(*[chain(("a", 5), ("b", 5)) for _ in range(9)], chain(("a", 3), ("rare", 97)))
    assert (found["bottleneck"].stage, found["bottleneck"].runs) == ("rare", 1)
    assert found["bottleneck"].confidence == "low"


def test_a_healthy_run_gets_one_sentence() -> None:
    (found,) = said(even()).values()
    assert (found.kind, found.text) == ("healthy", "it took 10.00 s, and nothing stands out")
    (found,) = said(even(), even(), even()).values()
    assert found.text == "3 runs took, in the middle, 10.00 s, and nothing stands out"
    (found,) = said(replace(run(visit("a", 0, None)), state="running")).values()
    assert (found.kind, found.text, found.runs) == ("healthy", "no run has ended yet", 1)
    (found,) = said(replace(run(visit("a", 0, None)), state="crashed")).values()
    assert (found.text, found.advice, found.runs) == (
        "no run has come to its end: what ran it is gone",
        "look at what was open then",
        1,
    )


def test_where_a_saving_is_not_known_it_says_why() -> None:
    visits = [visit("edit", 0, seconds, id=str(number)) for number, seconds in enumerate([1, 1, 2, 2, 3, 3])]
    made = run(*visits, visit("end", 3, 3.5, *map(str, range(6))), ends=3.5)
    assert "what it would save is not known: visits of edit began together" in said(made)["bottleneck"].advice


def test_confidence_is_how_many_runs() -> None:
    made = chain(("a", 2), ("edit", 7), ("b", 1))
    for number, expected in ((1, "low"), (2, "low"), (3, "medium"), (9, "medium"), (10, "high")):
        found = said(*[made] * number)["bottleneck"]
        assert (found.runs, found.confidence) == (number, expected)
        assert (found.seconds, found.share) == pytest.approx((7.0, 0.7))


def with_more_to_say(made: Run) -> Run:
    """The same run, in which each stage waits for something else, and one has a dead end."""
    visits = [replace(v, waits=tuple(replace(each, reason=v.stage) for each in v.waits)) for v in made.visits]
    return replace(made, visits=tuple(visits), stages=(*made.stages, Stage("a", visits=1, dead_ends=1)))


def test_at_most_seven_the_most_valuable_first() -> None:
    busy = 0
    for seed in range(300):
        report = Report()
        chance = random.Random(seed)
        for number in range(chance.choice([1, 12])):
            report.add(replace(with_more_to_say(odd_run(seed + number)), id=str(number)))
        for each in report.workflows():
            shares = [insight.share for insight in each.insights]
            assert 1 <= len(shares) <= 7
            assert shares == sorted(shares, reverse=True)
            assert all(0 <= share <= 1 for share in shares)
            busy += len(shares) == 7
    assert busy > 10


def stages(count: int, change: Callable[[Visit], Visit], seconds: float = 2.0) -> Run:
    """So many stages in a row, `a` and those behind it, and of each visit something is otherwise."""
    made = chain(*[(name, seconds + number / 10) for number, name in enumerate("abcdefghij"[:count])])
    return replace(made, visits=tuple(map(change, made.visits)))


def that_waits(reason: str) -> Callable[[Visit], Visit]:
    def change(made: Visit) -> Visit:
        waits = (Wait(reason.format(made.stage), made.started, made.ended),)
        return replace(made, waits=waits, wait=((made.ended or 0) - made.started) / SECOND)

    return change


def tried_again(made: Visit) -> Visit:
    return replace(made, failed=(Attempt(1, made.started, made.ended or 0),), retries=1)


def with_far(made: Visit) -> Visit:
    return replace(made, items=tuple(replace(each, started=each.started + made.started - at(0),
                                             ended=each.ended + made.started - at(0)) for each in FAR))  # fmt: skip


def with_result(result: str) -> Callable[[Visit], Visit]:
    return lambda made: replace(made, result=result)


TOGETHER: dict[str, tuple[Callable[[], Run], str, str]] = {
    "waits": (
        lambda: stages(7, that_waits("approval")),
        "g, f, e and 4 more wait for approval more than they work: 16.10 s of their 16.10 s in a run",
        "quicker stages gain little: shorten that wait",
    ),
    "retries": (
        lambda: stages(3, tried_again),
        "3 retries of c, b and a cost 6.30 s of a run (100%)",
        "find out why the first attempt fails, or give up sooner",
    ),
    "outlier": (
        lambda: stages(4, with_far, 10.0),
        "slow takes longer than the other platforms in a, b, c and 1 more: 19.80 s more in a run",
        "look at what is special about it",
    ),
    "budget": (
        lambda: budgets(1.0, "abc"),
        "the budgets of c, b and a are out of reach: none of 9 visits kept them",
        "set some that can be kept, or make the stages quicker",
    ),
    "failures": (
        lambda: stages(5, with_result("failure")),
        "5 of 5 visits of e, d, c and 2 more fail",
        "find out why: a visit that fails takes time for nothing",
    ),
    "fallbacks": (
        lambda: stages(2, with_result("fallback")),
        "2 of 2 visits of b and a end with a fallback",
        "find out why: what that gives is a makeshift",
    ),
    "dead ends": (
        lambda: with_stages(even(), Stage("a", visits=1, dead_ends=1), Stage("b", visits=3, dead_ends=2)),
        "b and a gave actions that no edge takes 3 times, and their flows ended there",
        "add the edge, or return another action",
    ),
}


def budgets(seconds: float, names: str) -> Run:
    made = chain(*[(name, 2.0 + number / 10) for number, name in enumerate(names) for _ in range(3)])
    return replace(made, visits=tuple(replace(each, budget=seconds) for each in made.visits))


@pytest.mark.parametrize("kind", TOGETHER)
def test_what_holds_of_several_stages_is_said_once(kind: str) -> None:
    made, text, advice = TOGETHER[kind]
    found = said(made())[kind]
    assert (found.text, found.advice) == (text, advice)


def test_of_one_kind_two_are_said_while_others_have_something_to_say() -> None:
    report = Report()
    made = stages(7, that_waits("what {} needs"))
    report.add(replace(made, stages=(Stage("a", visits=1, dead_ends=1),)))
    (found,) = report.workflows()
    assert [(each.kind, each.stage) for each in found.insights] == [
        *[("waits", stage) for stage in "gfedcb"],
        ("dead ends", "a"),
    ]
    report = Report()
    failing = tuple(replace(tried_again(each), result="failure", budget=0.1) for each in made.visits)
    report.add(replace(made, visits=failing, stages=(Stage("a", visits=1, dead_ends=1),)))
    (found,) = report.workflows()
    kinds = Counter(each.kind for each in found.insights)
    assert kinds == {"waits": 4, "retries": 1, "failures": 1, "dead ends": 1}


def test_a_stage_that_mostly_waits_is_not_to_be_made_quicker() -> None:
    waits = (Wait("approval", at(2), at(8.5)),)
    made = run(visit("a", 0, 2), visit("ask", 2, 9, "a", waits=waits, wait=6.5), ends=9)
    assert said(made)["bottleneck"].advice == "begin with what it waits for, which is most of its own time"
    short = (Wait("approval", at(2), at(4)),)
    made = run(visit("a", 0, 2), visit("ask", 2, 9, "a", waits=short, wait=2.0), ends=9)
    assert said(made)["bottleneck"].advice == "begin there: ask twice as fast saves 2.50 s, 28% of the run"


def test_the_order_of_the_runs_does_not_matter() -> None:
    runs = [replace(odd_run(seed), id=str(seed)) for seed in range(40)]
    one, other = Report(), Report()
    for each in runs:
        one.add(each)
    for each in reversed(runs):
        other.add(each)
    (first,), (second,) = one.workflows(), other.workflows()
    assert [(each.kind, each.stage, each.text) for each in first.insights] == [
        (each.kind, each.stage, each.text) for each in second.insights
    ]
