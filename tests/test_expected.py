"""When a run is expected to end: that it is right as often as it says, and what it is read from."""

from __future__ import annotations

import itertools
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from otel_progress.insight import histories
from otel_progress.insight.expected import MOST_RUNS, Earlier
from otel_progress.insight.histories import Histories, pasts_in
from otel_progress.insight.pace import Pace
from otel_progress.insight.pasts import Past, past_of, standing_of
from otel_progress.recording.times import NANO
from otel_progress.runs.happenings import happenings
from otel_progress.runs.model import Run
from otel_progress.runs.present import Present, RunNow

from .generated import KINDS, START, after_step, as_of, replayed, runs_of
from .histories import did, ran
from .records import RUN, event, record, span, visit_event

SOME = 300


def pasts(*runs: Run) -> list[Past]:
    return [past for run in runs if (past := past_of(run)) is not None]


def steady(seconds: float) -> Run:
    """A run whose two stages always take the same part of it."""
    return ran("w", seconds, did("a", 0, seconds / 4), did("b", seconds / 4, seconds))


def so_far(run: Run, seconds: float) -> tuple[RunNow, int]:
    now = START + round(seconds * NANO)
    return as_of(run, now), now


# --- how often it is right --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_nine_of_ten_runs_end_no_later_and_half_no_later_than_that(kind: str) -> None:
    held = replayed(kind, seed=1, runs=SOME)
    assert held.holds(), held
    assert all(0.4 * SOME <= each <= 0.6 * SOME for each in held.p50.values()), held
    if kind in {"loops", "branching"}:  # Much narrower than by elapsed time alone.
        assert held.ratio <= 0.8, held


@pytest.mark.parametrize("step", [1.6, 1 / 1.6])
def test_a_change_counts_from_the_tenth_run_after_it(step: float) -> None:
    held = after_step(step, seed=1, histories=40)
    assert all(32 <= each <= 39 for each in held.p90.values()), held


def test_runs_before_a_change_are_stretched_to_what_they_would_take_now() -> None:
    chance = random.Random(1)
    pace = Pace()
    runs = [
        ran("w", first + second, did("a", 0, first), did("b", first, first + second))
        for number in range(40)
        for first, second in [(chance.uniform(9, 11), chance.uniform(9, 11) * (3 if number >= 30 else 1))]
    ]
    seen = [number for number, past in enumerate(pasts(*runs)) if pace.add(past)]
    assert 30 <= seen[0] < 40
    before = pace.today()[0]
    assert before[2] == pytest.approx(runs[0].visits[0].seconds, rel=0.1)
    assert before[-1] - before[2] == pytest.approx((runs[0].visits[1].seconds or 0) * 3, rel=0.1)


def test_without_a_change_nothing_is_stretched() -> None:
    pace = Pace()
    known = pasts(*runs_of(KINDS["stationary"], 4, 60))
    assert not any(pace.add(past) for past in known)
    assert pace.today() == [past.at for past in known]


# --- what is asked and answered ---------------------------------------------------------------------------------------


def test_of_fewer_than_five_runs_nothing_is_said() -> None:
    run, now = so_far(steady(20), 4)
    runs = [steady(20 + number) for number in range(5)]
    assert Earlier(pasts(*runs[:4])).expected(run, now) is None
    found = Earlier(pasts(*runs)).expected(run, now)
    assert found is not None
    assert found.p50_seconds == pytest.approx(18, abs=1)
    assert found.p90_seconds == pytest.approx(20 * 1.1, abs=1)  # More than any took: of five, all are too few.
    assert found.longer_than is None


def test_it_says_of_how_many_earlier_runs_it_is_longer() -> None:
    earlier = Earlier(pasts(*(steady(20 + number / 10) for number in range(100))))
    longer = [
        (seconds, found and found.longer_than)
        for seconds in (29.3, 29.55, 35.0)
        for found in [earlier.expected(*so_far(steady(60), seconds))]
    ]
    assert longer == [(29.3, None), (29.55, 0.96), (35.0, 1.0)]


def test_one_that_takes_longer_than_all_before_is_still_expected_to_end() -> None:
    found = Earlier(pasts(*(steady(20) for _ in range(20)))).expected(*so_far(steady(100), 50))
    assert found is not None
    assert 0 < found.p50_seconds <= found.p90_seconds


def test_another_way_is_told_by_the_stages_that_have_begun() -> None:
    short = [ran("w", 10, did("a", 0, 2), did("short", 2, 10)) for _ in range(20)]
    long = [ran("w", 100, did("a", 0, 2), did("long", 2, 100)) for _ in range(20)]
    earlier = Earlier(pasts(*itertools.chain(*zip(short, long, strict=True))))
    assert [
        round(found.p50_seconds)
        for run in (short[0], long[0])
        if (found := earlier.expected(*so_far(run, 3))) is not None
    ] == [7, 97]


def test_platforms_and_revision_tell_runs_apart() -> None:
    def with_platforms(count: int) -> Run:
        first, second = did("a", 0, 2, platform_count=count), did("b", 2, 2 + 10 * count)
        return ran("w", 2 + 10 * count, first, second)

    runs = [with_platforms(1 + number % 3) for number in range(60)]
    earlier = Earlier(pasts(*runs))
    found = [earlier.expected(*so_far(runs[number], 3)) for number in range(3)]
    assert [each and round(each.p50_seconds) for each in found] == [9, 19, 29]


def test_a_stage_that_never_ran_before_is_answered_by_the_whole_time() -> None:
    earlier = Earlier(pasts(*(steady(20) for _ in range(20))))
    found = earlier.expected(*so_far(ran("w", 20, did("new", 0, 20)), 5))
    assert found is not None
    assert found.p50_seconds == pytest.approx(15)


def test_only_the_newest_runs_are_kept_and_all_of_the_others_is_forgotten() -> None:
    runs = [ran("w", 10 + number / 100, did(f"s{number}", 0, 10)) for number in range(MOST_RUNS + 50)]
    earlier = Earlier(pasts(*runs))
    kept = {known.past for table in earlier._where for moments in table.values() for known, _ in moments}
    assert len(kept) == len(earlier._runs) == MOST_RUNS


# --- where a run stands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stands_where_it_is_later_known_to_have_stood(kind: str) -> None:
    chance = random.Random(3)
    for run in runs_of(KINDS[kind], 3, 20):
        (past,) = pasts(run)
        for _ in range(20):
            run_now, now = so_far(run, chance.random() * past.seconds)
            then, later = standing_of(run_now, now), past.standing((now - START) / NANO)
            assert then.keys == later.keys
            assert (then.elapsed, then.age) == pytest.approx((later.elapsed, later.age), abs=1e-6)


def test_what_a_display_knows_of_a_record_is_where_the_run_stands(tmp_path: Path) -> None:
    lines = [
        event("run.started", at=0.0, span_id="f" * 16),
        visit_event("started", "flow", "1", at=1.0),
        visit_event("started", "draft", "2", at=1.5, parent__visit_id="1"),
        visit_event("ended", "draft", "2", at=2.5, stage__revision=2, stage__platform_count=3),
        visit_event("started", "check", "3", at=3.0, parent__visit_id="1"),
        visit_event("ended", "check", "3", at=5.0, duration=2.0),
        visit_event("ended", "flow", "1", at=6.0, duration=5.0),
        event("run.ended", at=7.0, span_id="f" * 16, result="success", duration=7.0),
    ]
    record(tmp_path, events=lines, spans=[span("run campaign", "f" * 16, takes=7.0)])
    (past,) = pasts_in(tmp_path, "campaign")
    present, found = Present(), list[tuple[float, object, object]]()
    for line, until in zip(lines[:-1], (0.5, 1.2, 2.0, 2.7, 4.0, 5.5, 6.5), strict=True):
        for happening in happenings(f"{line}\n".encode()):
            present.enter(happening)
        then = standing_of(present.runs[RUN], START + round(until * NANO))
        later = past.standing(until)
        found.append((until, then.keys == later.keys, then.age == pytest.approx(later.age)))
    assert found == [(until, True, True) for until in (0.5, 1.2, 2.0, 2.7, 4.0, 5.5, 6.5)]


@pytest.mark.parametrize("told", [{"result": "failure"}, {"result": "cancelled"}, {"result": None}])
def test_runs_without_a_good_end_are_none_to_compare_with(told: dict[str, Any]) -> None:
    assert past_of(ran("w", 20, did("a", 0, 20))) is not None
    assert past_of(ran("w", 20, did("a", 0, 20), **told)) is None
    assert past_of(ran("w", None, did("a", 0, 20))) is None


# --- reading them -----------------------------------------------------------------------------------------------------


def lines_of(run: str, seconds: float, result: str = "success") -> list[str]:
    mark = run[:8]
    return [
        span("stage draft", f"{mark}00000001", f"{mark}000000ff", takes=1.0, run=run),
        span("stage check", f"{mark}00000002", f"{mark}000000ff", at=1, takes=seconds - 1, run=run),
        span("run campaign", f"{mark}000000ff", takes=seconds, run=run, result=result),
    ]


def written(folder: Path, number: int, seconds: float, result: str = "success") -> None:
    record(folder, f"20250828T1045{number:02}Z-app-{number:06x}", spans=lines_of(f"{number:032x}", seconds, result))


def asked(number: int = 99) -> tuple[RunNow, int]:
    run = ran("campaign", 10, did("draft", 0, 1), did("check", 1, 10), run=f"{number:032x}")
    return so_far(run, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / ".otel-progress"
    for number in range(8):
        written(made, number, 10.0)
    written(made, 20, 50.0, "failure")
    return made


def test_earlier_runs_are_read_beside_the_program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_read, reads = threading.Event(), threading.Event()

    def slow(*asked: str) -> list[Past]:
        reads.set()
        may_read.wait(60)
        return pasts_in(folder, *asked[1:])

    monkeypatch.setattr(histories, "pasts_in", slow)
    known = Histories(folder)
    assert known.expected(*asked()) is None
    assert reads.wait(60)
    assert known.expected(*asked()) is None
    may_read.set()
    known.wait(60)
    found = known.expected(*asked())
    assert found is not None
    assert (found.p50_seconds, found.p90_seconds) == pytest.approx((8, 8 + 10 / 70))  # Of eight, all are too few.


def test_what_is_damaged_is_left_out(folder: Path) -> None:
    broken = folder / "runs" / "20250828T104503Z-app-000003"
    (broken / "spans.jsonl").write_bytes(b'{"resourceSpans": [\xff\x00' * 50)
    record(folder, "20250828T104530Z-app-00001e", spans=["{", "[]", '{"resourceSpans": 7}', "null"])
    assert [past.seconds for past in pasts_in(folder, "campaign")] == [10.0] * 7


def test_only_runs_of_the_workflow_count_whatever_it_is_called(folder: Path) -> None:
    assert [len(pasts_in(folder, name)) for name in ("campaign", "camp*", "campaig?", "[c]ampaign", "")] == [
        8,
        0,
        0,
        0,
        0,
    ]


def test_a_run_is_none_of_its_own_earlier_ones(folder: Path) -> None:
    assert len(pasts_in(folder, "campaign", f"{3:032x}")) == 7


def test_of_what_is_too_large_only_the_whole_time_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "_MOST_VISITS", 5)
    found = pasts_in(folder, "campaign")
    assert [(past.seconds, len(past.keys)) for past in found] == [(10.0, 1)] * 6 + [(10.0, 5)] * 2


def test_of_records_that_are_too_large_together_the_newest_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (folder / "runs" / "20250828T104503Z-app-000003" / "spans.jsonl").stat().st_size
    monkeypatch.setattr(histories, "_MOST_BYTES", 3 * size)
    assert [len(past.keys) for past in pasts_in(folder, "campaign")] == [1] * 5 + [5] * 3


@pytest.mark.parametrize("made", [False, True])
def test_where_nothing_was_recorded_nothing_is_expected(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "runs").mkdir()
    known = Histories(tmp_path / "runs")
    assert known.expected(*asked()) is None
    known.wait(60)
    assert known.expected(*asked()) is None


def test_what_goes_wrong_is_nothing_to_a_display(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = Histories(folder)
    known.expected(*asked())
    known.wait(60)
    run, now = asked()
    run.stages = None  # pyright: ignore[reportAttributeAccessIssue] - what no run has
    assert known.expected(run, now) is None
    assert "the end of a run could not be expected" in caplog.text


def test_nothing_is_read_once_it_is_closed(folder: Path) -> None:
    known = Histories(folder)
    known.close()
    known.expected(*asked())
    known.wait(60)
    assert known.expected(*asked()) is None
