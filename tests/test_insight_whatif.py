"""What-if: by hand, against workflows in which a stage is really made faster, and where it must not answer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from otel_progress.insight import Replay
from otel_progress.insight.replay import dependencies_of, replayed
from otel_progress.insight.shape import shape_of
from otel_progress.runs import Attempt, Item, Run, Stage, Visit, Wait

from .conftest import Telemetry
from .test_insight_figures import at, odd_run
from .test_insight_path import SECOND, record, run, visit
from .timed import TimedWorkflow
from .workflows import Part


def chain(*takes: tuple[str, float], behind: float = 0.0) -> Run:
    """Visits one after the other, each a follower of the one before."""
    visits: list[Visit] = []
    now = 0.0
    for number, (name, seconds) in enumerate(takes):
        visits.append(visit(name, now, now + seconds, *([str(number - 1)] if number else []), id=str(number)))
        now += seconds
    return run(*visits, ends=now + behind)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_stage_of_a_sequence() -> None:
    answer = Replay(chain(("a", 2), ("b", 6), ("c", 1), ("b", 1), behind=1)).faster("b")
    assert (answer.what, answer.before, answer.after, answer.saves) == ("b twice as fast", 11.0, 7.5, 3.5)
    assert answer.share == pytest.approx(3.5 / 11)
    assert (answer.refused, answer.inferred) == (None, 0)
    assert Replay(chain(("a", 2), ("b", 6))).faster("b", 3).what == "b 3 times as fast"


def test_beside_something_it_saves_until_that_is_the_slowest() -> None:
    made = run(visit("a", 0, 1), visit("b", 1, 7, "a"), visit("c", 1, 5, "a"), visit("d", 5 + 2, 9, "b", "c"), ends=9)
    assert Replay(made).faster("b").saves == 2.0  # From 6 to 4 seconds, as long as c takes.
    assert Replay(made).faster("c").saves == 0.0
    assert Replay(made).faster("d", 4).saves == 1.5


def test_a_gather_that_nobody_tells_of() -> None:
    made = run(visit("a", 0, 1), visit("b", 1, 7), visit("c", 1, 5), visit("d", 7, 9, "a"), ends=9)
    answer = Replay(made).faster("b")
    assert (answer.saves, answer.inferred) == (2.0, 4)  # Of b and c what was before them, and d of both.


def test_only_the_own_time_of_a_stage_that_holds_others() -> None:
    made = run(visit("outer", 0, 10), visit("x", 2, 5, parent="outer"), visit("y", 6, 8, "x", parent="outer"), ends=10)
    assert Replay(made).faster("outer").saves == 2.5  # Its own are 2 + 1 + 2 seconds.
    assert Replay(made).faster("x").saves == 1.5


def test_what_waits_waits_as_long_where_it_is_faster() -> None:
    waits = (Wait("approval", at(2), at(5)), Wait("quota", at(4), at(6)))
    made = run(visit("a", 0, 2), visit("ask", 2, 10, "a", waits=waits, wait=5.0), ends=10)
    assert Replay(made).faster("ask").saves == 2.0  # Of 8 seconds it waits 4.
    assert Replay(made).faster("ask", 4).saves == 3.0
    assert Replay(made).faster("ask", 0.5).after == 14.0
    failed = (Attempt(1, at(0), at(1)),)
    made = run(visit("a", 0, 5, failed=failed, retries=1, wait=3.0), visit("b", 5, 6, "a"), ends=6)
    assert Replay(made).faster("a").saves == 1.0
    asleep = run(visit("a", 0, 2), visit("ask", 2, 4, "a", waits=(Wait("x", at(2), at(4)),), wait=2.0), ends=4)
    assert Replay(asleep).faster("ask").saves == 0.0


def test_without_retries() -> None:
    failed = (Attempt(1, at(0), at(2)),)
    made = run(visit("a", 0, 5, failed=failed, retries=1, wait=1.0), visit("b", 5, 6, "a"), ends=6)
    answer = Replay(made).without_retries()
    assert (answer.what, answer.saves) == ("no retries", pytest.approx(3.0))
    assert Replay(made).without_retries("b").refused == "nothing was tried again"
    assert Replay(chain(("a", 2))).without_retries().refused == "nothing was tried again"


def test_one_revision_less() -> None:
    edits = [
        visit("edit", 0, 2, revision=0, id="e1"),
        visit("check", 2, 3, "e1", revision=0, id="c1"),
        visit("edit", 3, 5, "c1", revision=1, id="e2", number=2),
        visit("check", 5, 6, "e2", revision=1, id="c2", number=2),
        visit("edit", 6, 10, "c2", revision=2, id="e3", number=3),
        visit("inner", 7, 8, parent="e3", revision=2),
        visit("check", 10, 11, "e3", revision=2, id="c3", number=3),
        visit("publish", 11, 12, "c3", revision=2),
    ]
    answer = Replay(run(*edits, ends=12)).one_revision_less()
    assert (answer.what, answer.after) == ("one revision less", 7.0)
    assert Replay(chain(("a", 2))).one_revision_less().refused == "nothing was worked on again"


def test_items_of_a_batch_flow_two_at_once() -> None:
    """Items of 3, 2, 4 and 1 seconds: one worker does the first and the last, the other those between: 3 + 1, 2 + 4."""
    made = chain(*[("a", 1), ("work", 2), ("check", 1), ("work", 1), ("check", 1), ("work", 3), ("check", 1)])
    visits = [*made.visits, visit("work", 10, 11, "6", id="7"), visit("end", 11, 12, "7", id="8")]
    whole = replace(made, visits=tuple(visits), ended=at(12))
    answer = Replay(whole).more_in_parallel("work")
    assert (answer.what, answer.before, answer.after) == ("two items of work at once", 12.0, 8.0)
    assert Replay(whole).more_in_parallel("end").refused is not None


def test_items_inside_a_visit_two_at_once() -> None:
    items = tuple(Item(at(a), at(b), str(a)) for a, b in ((1, 3), (3, 4), (4, 8)))
    made = run(visit("a", 0, 9, items=items), ends=9)
    assert Replay(made).more_in_parallel("a").saves == pytest.approx(2.0)  # 2, 1 + 4: five in the place of seven.
    at_once = replace(items[1], started=at(2))
    assert Replay(run(visit("a", 0, 9, items=(items[0], at_once)), ends=9)).more_in_parallel("a").after is None


def test_a_factor_is_above_zero() -> None:
    with pytest.raises(ValueError, match="0 is no factor"):
        Replay(chain(("a", 1))).faster("a", 0)


# --- where it must not answer -----------------------------------------------------------------------------------------


def refused(made: Run, stage: str = "work") -> str | None:
    return Replay(made).faster(stage).refused


def test_what_has_not_ended_or_is_not_known() -> None:
    assert refused(run(visit("work", 0, 1))) == "it has not ended"
    assert refused(run(visit("work", 0, None), ends=2)) == "it has not ended"
    assert refused(replace(chain(("work", 1)), visits_left_out=7)) == "7 of its visits are known by their totals only"
    assert refused(chain(("a", 1))) == "there is no visit of work"
    of_totals = Run("r", "w", "here", started=at(0), ended=at(1), stages=(Stage("work", visits=1),))
    assert Replay(of_totals).one_revision_less().refused == "nothing was worked on again"
    assert Replay(replace(of_totals, visits=())).faster("work").refused == "there is no visit of work"


def test_a_pool() -> None:
    waits = [("work", 0, 2), ("work", 0, 3), ("work", 2, 5), ("work", 3, 4), ("work", 4, 6), ("work", 5, 6.5)]
    made = run(*[visit(name, a, b, id=str(number)) for number, (name, a, b) in enumerate(waits)], ends=7)
    assert "never more than 2 at once: a pool or a semaphore" in (refused(made) or "")
    inner = [visit("llm", a, b, id=f"in{number}", parent=str(number)) for number, (_, a, b) in enumerate(waits)]
    assert "never more than 2" in (refused(replace(made, visits=(*made.visits, *inner)), "llm") or "")


def test_what_began_before_1970() -> None:
    """As a record has it whose clock was never set, or whose durations are damaged."""
    made = chain(("work", 2), ("other", 3))
    early = 10 * SECOND
    before = [replace(each, started=each.started - early, ended=(each.ended or 0) - early) for each in made.visits]
    shifted = replace(made, started=before[0].started, ended=before[-1].ended, visits=tuple(before))
    assert Replay(shifted).faster("work").saves == Replay(made).faster("work").saves == 1.0


def test_a_join_while_others_go_on_is_no_pool() -> None:
    made = run(
        visit("a", 0, 1),
        visit("b", 0, 2),
        visit("e", 0, 9),
        visit("work", 2, 5),
        ends=9,
    )
    assert refused(made) is None


def test_threads_that_compute() -> None:
    visits = [visit("work", 0.005 * number, 3 + 0.01 * number, id=str(number)) for number in range(3)]
    assert "compute and share one interpreter" in (refused(run(*visits, ends=4)) or "")
    soon = [visit("work", begun, 3 + begun, id=str(begun)) for begun in (0.0, 0.002, 0.025)]  # One let go by itself.
    assert "started 23 ms apart" in (refused(run(*soon, ends=4)) or "")
    later = [visit("work", begun, 3 + begun, id=str(begun)) for begun in (0.0, 0.0002, 0.025)]
    assert refused(run(*later, ends=4)) is None
    at_once = [visit("work", 0.0002 * number, 3 + 0.01 * number, id=str(number)) for number in range(3)]
    assert refused(run(*at_once, ends=4)) is None


def test_a_semaphore_inside_the_stage() -> None:
    times = [1, 1.02, 2, 2.04, 3.03, 3]
    visits = [visit("work", 0, seconds, id=str(number)) for number, seconds in enumerate(times)]
    assert "took one to 3 times as long" in (refused(run(*visits, ends=4)) or "")
    others = [visit("work", 0, seconds, id=str(number)) for number, seconds in enumerate([1, 1.5, 2.2, 3.4])]
    assert refused(run(*others, ends=4)) is None


def test_waiting_while_others_go_on() -> None:
    waits = (Wait("quota", at(0), at(1)),)
    one, other = visit("work", 0, 3, waits=waits, wait=1.0), visit("work", 0, 2, id="other")
    assert "waits for quota while others go on" in (refused(run(one, other, ends=3)) or "")
    assert refused(run(one, ends=3)) is None


def test_where_the_record_does_not_say_what_waited_for_what() -> None:
    """`beside` ends while the others go on. If `work` were quicker it could be what `end` has to wait for, or not."""
    made = run(visit("work", 0, 8), visit("beside", 0, 7), visit("end", 8, 9, "work"), ends=9)
    assert refused(made) == "the record does not say what waited for beside"
    assert Replay(made).faster("work", 1.1).refused is None  # It makes no difference.


# --- of every run -----------------------------------------------------------------------------------------------------


def test_nothing_otherwise_is_what_was() -> None:
    for seed in range(500):
        shape = shape_of(odd_run(seed))
        assert replayed(dependencies_of(shape), {}) == pytest.approx(shape.wall, abs=2e6), seed


class PlainWorkflow(TimedWorkflow):
    """One of sequences, loops, branches, gathers and flows: what the next step is does not depend on who is first."""

    KINDS: ClassVar[tuple[Callable[[Any, int], Part], ...]] = tuple(
        kind for kind in TimedWorkflow.KINDS if kind.__name__ not in {"_as_completed", "_late_await"}
    )


def test_random_workflows_of_which_a_stage_is_really_made_faster(telemetry: Telemetry) -> None:
    met = Counter[str]()
    for seed in range(120):
        before = record(telemetry, PlainWorkflow(seed, {}), {})
        chance = random.Random(seed)
        stages = sorted({each.stage for each in before.visits})
        for name in chance.sample(stages, min(3, len(stages))):
            factor = chance.choice([1.2, 2.0, 5.0])
            answer = Replay(before).faster(name, factor)
            if answer.after is None:
                met["refused"] += 1
                continue
            really = record(telemetry, PlainWorkflow(seed, {}, {name: 1 / factor}), {}).seconds
            assert answer.after == pytest.approx(really, rel=0.05), (seed, name, factor)
            met["answered"] += 1
            met["saves"] += answer.saves > 0
    print(met)
    assert met["refused"] < 0.05 * met["answered"]
    assert met["saves"] > 100
