"""Lines of what happens, compared whole: a history and a clock of the test's own."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_progress.report import lines as lines_module
from otel_progress.report.cell import as_text
from otel_progress.report.flood import AMPLE
from otel_progress.report.lines import Lines
from otel_progress.runs import present
from otel_progress.runs.happenings import Happening, happenings
from otel_progress.runs.states import Process, Processes

from .records import RUN, SECOND, START, event, visit_event

OTHER_RUN = "fedcba9876543210" * 2


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def told(*lines: str) -> list[Happening]:
    """What these lines of a record tell."""
    return list(happenings("".join(f"{line}\n" for line in lines).encode()))


def after(seconds: float) -> int:
    """The time so many seconds after the first."""
    return START + round(seconds * SECOND)


def process(state: Any, note: str = "") -> Processes:
    """That of the record, which is in this state."""
    return Processes([Process("7-abcdef", 7, None, state, note)])


def visit(stage: str, key: str, started: float, ended: float, *, of: Any = None, **end: Any) -> list[str]:
    """The start and the end of a visit; `of` is what tells of its run."""
    return [
        visit_event("started", stage, key, at=started, **(of or {})),
        visit_event("ended", stage, key, at=ended, duration=ended - started, **(of or {}), **end),
    ]


def run(started: float, ended: float, identity: str = RUN, result: str = "success", **how: Any) -> tuple[str, str]:
    """The start and the end of a run."""
    told = {"run": identity, "span_id": identity[:16], "workflow__name": how.pop("workflow__name", "campaign")}
    return (
        event("run.started", at=started, **told),
        event("run.ended", at=ended, result=result, duration=ended - started, **told, **how),
    )


def lines_of(what: Iterable[str], until: float, ample: int = AMPLE) -> list[str]:
    """The lines for all of it, asked for at once; and what is left."""
    lines = Lines(ample)
    in_order = sorted(told(*what), key=lambda each: each.at)
    return [*lines.tell(in_order, after(until)), *lines.rest(after(until))]


def test_a_run_from_its_start_to_its_end() -> None:
    begins, ends = run(0, 131.5)
    history = [
        begins,
        *visit("draft", "7.1", 0.0, 0.04, stage__revision=2),
        visit_event("started", "check", "7.2", at=1, stage__visit=3, stage__revision=1),
        visit_event("ended", "check", "7.2", at=5, duration=4.0, stage__visit=3, stage__result="failure",
                    error__type="ValueError", stage__items__done=4, stage__items__failed=1, stage__items__total=6,
                    stage__retries=2, stage__revision=1),
        visit_event("started", "flow", "7.3", at=6),
        *visit("render", "7.4", 7, 7.5, item__platform="twitter", stage__items__done=1)[1:],
        visit_event("ended", "flow", "7.3", at=130, duration=124.0, stage__result="fallback", error__type="KeyError"),
        ends,
    ]  # fmt: skip
    assert lines_of(history, 200) == [
        "10:45:00 campaign started, run 01234567",
        "10:45:00   draft started",
        "10:45:00   draft ended in 40.0 ms: success, revision 2",
        "10:45:01   check #3 started, revision 1",
        "10:45:05   check #3 ended in 4.00 s: failure, ValueError, 4/6 items, 1 failed, 2 retries, revision 1",
        "10:45:06   flow started",
        "10:45:07   render (twitter) ended in 500 ms: success, 1 item",
        "10:45:16   flow still running for 10 s",
        "10:45:36   flow still running for 30 s",
        "10:46:06   flow still running for 1 min",
        "10:47:06   flow still running for 2 min",
        "10:47:10   flow ended in 2m 04s: fallback, KeyError",
        "10:47:11 campaign ended in 2m 12s: success, 4 visits, 1 failed, 2 retries, revision 2",
    ]


def test_the_attempts_of_items_are_none_of_the_visit() -> None:
    """Five items of a batch are five attempts."""
    told = {"stage__attempts": 5, "stage__items__done": 4, "stage__items__total": 6}
    history = [
        run(0, 60)[0],
        visit_event("started", "draft", "7.1", at=0),
        visit_event("progress", "draft", "7.1", at=9, **told),
    ]
    assert lines_of(history, 10)[-1] == "10:45:10   draft still running for 10 s, 4/6 items"


def test_the_picture_in_the_docs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "behaviour.md").read_text("utf-8")
    picture = re.findall(r"<!-- picture -->\n```text\n(.*?)```", page, flags=re.DOTALL)
    of_run = {"run": "91a85411" * 4, "workflow__name": "pr_campaign"}
    started, ended = run(0, 14.1, of_run["run"], workflow__name="pr_campaign")
    waits = {"stage__attempts": 1, "error__type": "TimeoutError", "wait__reason": "retry"}
    ends = {"stage__retries": 1, "stage__revision": 2}
    history = [
        started,
        *visit("content_generation", "7.1", 0, 0.0006, of=of_run, stage__items__done=6, stage__items__total=6),
        visit_event("started", "fact_check", "7.2", at=0.08, stage__revision=2, **of_run),
        visit_event("progress", "fact_check", "7.2", at=9, **waits, **of_run),
        visit_event("ended", "fact_check", "7.2", at=14.1, duration=14.02, **ends, **of_run),
        ended,
    ]
    assert lines_of(history, 15) == picture[0].splitlines()


def test_what_still_runs_is_said_at_growing_intervals_of_what_is_innermost() -> None:
    begins, _ = run(0, 0)
    lines = Lines()
    inside = visit_event("started", "inner", "7.2", at=1, parent__visit_id="7.1")
    assert lines.tell(told(begins, visit_event("started", "outer", "7.1", at=1), inside), after(30)) == [
        "10:45:00 campaign started, run 01234567",
        "10:45:01   outer started",
        "10:45:01     inner started",
        "10:45:11     inner still running for 10 s",
    ]
    for passed, said in [
        (31, ["10:45:31     inner still running for 30 s"]),
        (60, []),
        (400, ["10:46:01     inner still running for 1 min", "10:47:01     inner still running for 2 min",
               "10:50:01     inner still running for 5 min"]),
        (4300, ["10:55:01     inner still running for 10 min", *(
            f"{hour}:{minute}:01     inner still running for {long}" for hour, minute, long in (
                (11, "05", "20 min"), (11, 15, "30 min"), (11, 25, "40 min"), (11, 35, "50 min"),
                (11, 45, "1 h"), (11, 55, "1 h 10 min")))]),
    ]:  # fmt: skip
        assert lines.tell((), after(passed)) == said


def test_it_is_said_what_a_visit_waits_for_and_what_it_has_done() -> None:
    lines = Lines()
    begins, _ = run(0, 0)
    lines.tell(told(begins, visit_event("started", "publish", "7.1", at=0)), after(1))
    lines.tell(told(visit_event("progress", "publish", "7.1", at=2, stage__items__done=2, stage__items__total=6,
                                stage__attempts=3, error__type="TimeoutError")), after(3))  # fmt: skip
    assert lines.tell((), after(10)) == [
        "10:45:10   publish still running for 10 s, 2/6 items, a try failed with TimeoutError"
    ]
    lines.tell(
        told(visit_event("progress", "publish", "7.1", at=11, stage__items__done=3, wait__reason="a\nyes")), after(12)
    )
    assert lines.tell((), after(30)) == ["10:45:30   publish still running for 30 s, 3 items, waits for a\\x0ayes"]


def test_a_run_in_no_stage_says_that_it_runs() -> None:
    begins, _ = run(0, 0)
    assert lines_of([begins, *visit("draft", "7.1", 0, 1)], 31) == [
        "10:45:00 campaign started, run 01234567",
        "10:45:00   draft started",
        "10:45:01   draft ended in 1.00 s: success",
        "10:45:10 campaign still running for 10 s, in no stage",
        "10:45:30 campaign still running for 30 s, in no stage",
    ]


def test_several_runs_at_once_are_named() -> None:
    (one, one_ends), (two, two_ends) = run(0, 5), run(1, 3, OTHER_RUN, "failure", error__type="ValueError")
    history = [
        one,
        two,
        visit_event("started", "draft", "7.1", at=1.5),
        visit_event("ended", "draft", "7.1", at=2, duration=0.5),
        two_ends,
        *visit("check", "7.2", 3, 4),
        one_ends,
    ]
    assert lines_of(history, 6) == [
        "10:45:00 campaign started, run 01234567",
        "10:45:01 campaign started, run fedcba98",
        "10:45:01   draft [01234567] started",
        "10:45:02   draft [01234567] ended in 500 ms: success",
        "10:45:03 campaign ended in 2.00 s: failure, ValueError, 0 visits [fedcba98]",
        "10:45:03   check started",
        "10:45:04   check ended in 1.00 s: success",
        "10:45:05 campaign ended in 5.00 s: success, 2 visits",
    ]


def test_a_short_run_is_told_whole_however_quick_it_is() -> None:
    begins, ends = run(0, 1.5)
    quick = [each for number in range(90) for each in visit("score", f"7.{number}", number / 100, number / 100)]
    longer = [visit("render", f"7.10{number}", 0.9 + number / 20, 1.05 + number / 20) for number in range(9)]
    said = lines_of([begins, *quick, *(line for each in longer for line in each), ends], 2)
    assert len(said) == 1 + 2 * 90 + 2 * 9 + 1 == AMPLE
    assert not [line for line in said if "..." in line]


def test_what_is_ample_comes_back_with_time() -> None:
    begins, _ = run(0, 0)
    flood = [each for number in range(300) for each in visit("score", f"7.{number}", number / 1000, number / 1000)]
    later = [each for number in range(40) for each in visit("render", f"7.2{number}", 9, 9)]
    said = lines_of([begins, *flood, *later], 14)
    assert [line for line in said if "..." in line] == ["10:45:01 ... 176 more visits of score ended"]
    assert len([line for line in said if "score ended" in line]) == 1 + 300 - 176
    assert len([line for line in said if "score started" in line]) == 112
    assert len([line for line in said if "render" in line]) == 2 * 40


def test_a_flood_is_counted_and_its_failures_are_said_first() -> None:
    begins, ends = run(0, 6)
    history = [begins]
    for number in range(2000):  # In four seconds: 25 in the first window are said, then 3 in each.
        at, failed = number / 500, number in (700, 1400)
        how = {"stage__result": "failure", "error__type": "ValueError"} if failed else {}
        history += visit(f"score {number % 3}", f"7.{number}", at, at + 0.001, stage__visit=number, **how)
    history += [*visit("publish", "7.9999", 0.5, 5.6), *visit("short", "7.9998", 4, 5.7), ends]
    said = lines_of(history, 7, 0)
    assert said[:3] == [
        "10:45:00 campaign started, run 01234567",
        "10:45:00   score 0 started",
        "10:45:00   score 0 ended in 1.0 ms: success",
    ]
    assert [number for number, line in enumerate(said[:36]) if "started" in line] == [0, *range(1, 20, 2)]
    assert said[35] == "10:45:00   score 0 #24 ended in 1.0 ms: success"
    assert said[36:] == [
        "10:45:01 ... 475 more visits of 3 stages ended",
        "10:45:01   score 2 started",
        "10:45:01   score 2 #500 ended in 1.0 ms: success",
        "10:45:01   score 0 started",
        "10:45:01   score 0 #501 ended in 1.0 ms: success",
        "10:45:01   score 1 started",
        "10:45:01   score 1 #502 ended in 1.0 ms: success",
        "10:45:01   score 1 #700 ended in 1.0 ms: failure, ValueError",
        "10:45:02   score 2 #1400 ended in 1.0 ms: failure, ValueError",
        "10:45:03 ... 995 more visits of 3 stages ended",
        "10:45:03   score 0 started",
        "10:45:03   score 0 #1500 ended in 1.0 ms: success",
        "10:45:03   score 1 started",
        "10:45:03   score 1 #1501 ended in 1.0 ms: success",
        "10:45:03   score 2 started",
        "10:45:03   score 2 #1502 ended in 1.0 ms: success",
        "10:45:05   publish ended in 5.10 s: success",
        "10:45:06 ... 498 more visits of 4 stages ended",
        "10:45:06 campaign ended in 6.00 s: success, 2,002 visits, 2 failed",
    ]


def test_of_many_that_start_at_once_a_few_are_said() -> None:
    begins, _ = run(0, 0)
    around = visit("crawl", "7.around", 0, 0.6)
    starts = [visit_event("started", "fetch", f"7.{number}", at=0, parent__visit_id="7.around") for number in range(60)]
    ends = [visit_event("ended", "fetch", f"7.{number}", at=0.5, duration=0.5) for number in range(30)]
    assert lines_of([begins, *around, *starts, *ends], 1.2, 0) == [
        "10:45:00 campaign started, run 01234567",
        "10:45:00   crawl started",
        *["10:45:00     fetch started"] * 9,
        *["10:45:00     fetch ended in 500 ms: success"] * 25,
        "10:45:00   crawl ended in 600 ms: success",
        "10:45:01 ... 5 more visits of fetch ended",
    ]


def test_a_flood_of_failures_is_bounded_too() -> None:
    begins, _ = run(0, 0)
    how = {"stage__result": "failure", "error__type": "ValueError"}
    history = [each for number in range(200)
               for each in visit("score", f"7.{number}", number / 1000, number / 1000, **how)]  # fmt: skip
    said = lines_of([begins, *history], 0.5, 0)
    assert len(said) == 1 + 10 + 25 + 1
    assert said[-1] == "10:45:00 ... 175 more visits of score ended, 175 failed (ValueError)"


def test_a_flood_of_runs_is_bounded_too() -> None:
    history: list[str] = []
    for number in range(100):
        failed = {"result": "failure"} if number % 10 == 9 else {}
        history += run(number / 1000, number / 1000 + 0.0005, f"{number:032x}", **failed)
    said = lines_of(history, 0.5, 0)
    assert len(said) == 26
    assert said[-1] == "10:45:00 ... 88 more runs ended, 9 failed"


CLOSED = {"stage__result": "cancelled", "error__type": "GeneratorExit"}
FAILED = {"stage__result": "failure", "error__type": "ValueError"}


def as_written(*lines: str) -> list[str]:
    """The lines as a program writes them: in one way, and what did not go well with the severity of an error."""
    found = [json.dumps(json.loads(line), separators=(",", ":")) for line in lines]
    return [
        line.replace('"severityNumber":9', '"severityNumber":13') if "cancelled" in line or "failure" in line else line
        for line in found
    ]


@pytest.mark.parametrize("is_as_written", [False, True])
def test_what_was_cancelled_has_not_failed(is_as_written: bool) -> None:
    begins, ends = run(0, 6, result="cancelled", error__type="KeyboardInterrupt")
    closed = [visit("stream", f"7.{number}", 1, 2, stage__visit=1 + number, **CLOSED) for number in range(2)]
    failed = visit("check", "7.9", 3, 4, **FAILED)
    history = [begins, *(line for each in closed for line in each), *failed, ends]
    assert lines_of(as_written(*history) if is_as_written else history, 7)[-3:] == [
        "10:45:03   check started",
        "10:45:04   check ended in 1.00 s: failure, ValueError",
        "10:45:06 campaign ended in 6.00 s: cancelled, KeyboardInterrupt, 3 visits, 1 failed, 2 cancelled",
    ]


def test_what_was_cancelled_has_not_failed_in_a_flood() -> None:
    begins, _ = run(0, 0)
    history = [line for number in range(200)
               for line in visit("score", f"7.{number}", number / 1000, number / 1000,
                                 **(FAILED if number % 10 == 9 else CLOSED))]  # fmt: skip
    said = lines_of([begins, *history], 0.5, 0)
    assert said[-1] == "10:45:00 ... 175 more visits of score ended, 18 failed (ValueError), 157 cancelled"
    last = run(0.1, 0.1, result="failure")
    runs = [line for number in range(99) for line in run(number / 1000, number / 1000, f"{number:032x}", "cancelled")]
    assert lines_of([*runs, *last], 0.5, 0)[-1] == "10:45:00 ... 88 more runs ended, 1 failed, 87 cancelled"


def test_a_cell_tells_what_was_cancelled_from_what_failed() -> None:
    lines = Lines()
    history = [*visit("draft", "7.1", 0, 1, **CLOSED), *visit("draft", "7.2", 1, 2, **FAILED)]
    lines.tell(told(run(0, 9)[0], *history, *visit("draft", "7.3", 2, 3)), after(7))
    (shown,) = lines.present.runs.values()
    assert as_text([shown], after(8)).splitlines()[2] == "draft       3  3.00 s  success, 1 failed, 1 cancelled"


def test_a_crash_with_many_runs_is_bounded_too() -> None:
    lines = Lines(0)
    lines.catch_up(
        told(*(event("run.started", run=f"{number:032x}", span_id=f"{number + 1:016x}") for number in range(99)))
    )
    assert len(lines.caught_up(process("running"), after(1))) == 25
    crashed = Processes([Process("7-abcdef", 7, None, "crashed", "is gone without a word")])
    said = [*lines.states(crashed, after(2.5)), *lines.rest(after(3))]
    assert said[:2] == ["10:45:02 ... 74 more still run", "10:45:02 campaign crashed: process 7 is gone without a word"]
    assert len(said) == 12
    assert said[-1] == "10:45:03 ... 89 more runs ended, 89 failed"


def test_after_a_flood_each_line_is_said_again() -> None:
    begins, _ = run(0, 0)
    flood = [each for number in range(1000) for each in visit("score", f"7.{number}", number / 500, number / 500)]
    calm = [each for number in range(4) for each in visit("render", f"7.2{number}", 9 + number, 9 + number)]
    assert lines_of([begins, *flood, *calm], 14, 0)[-10:] == [
        "10:45:03 ... 497 more visits of score ended",
        "10:45:09   render started",
        "10:45:09   render ended in under 0.1 ms: success",
        "10:45:10 campaign still running for 10 s, in no stage",
        *(f"10:45:{second}   render {what}" for second in (10, 11, 12)
          for what in ("started", "ended in under 0.1 ms: success")),
    ]  # fmt: skip


def test_what_starts_in_a_flood_is_said_to_run_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "_MOST_STILL", 100)
    begins, _ = run(0, 0)
    flood = [each for number in range(2000) for each in visit("score", f"7.{number}", number / 500, number / 500)]
    long = visit_event("started", "publish", "7.9999", at=2)
    lines = Lines(0)
    lines.tell(sorted(told(begins, *flood, long), key=lambda each: each.at), after(5))
    assert lines.tell((), after(12))[-1] == "10:45:12   publish still running for 10 s"
    assert len(vars(lines)["_still"]) <= 100


def test_a_start_is_said_at_once() -> None:
    lines = Lines()
    begins, _ = run(0, 0)
    assert lines.tell(told(begins, visit_event("started", "draft", "7.1", at=1)), after(1)) == [
        "10:45:00 campaign started, run 01234567",
        "10:45:01   draft started",
    ]


def test_what_its_processes_say_of_a_run() -> None:
    lines = Lines()
    begins, _ = run(0, 0)
    lines.tell(told(begins, visit_event("started", "draft", "7.1", at=0)), after(1))

    def states(state: Any, note: str, at: float = 5) -> list[str]:
        return lines.states(Processes([Process("7-abcdef", 7, None, state, note)]), after(at))

    assert states("running", "") == []
    assert states("stalled", "is silent for 14 s") == ["10:45:05 campaign stalled: process 7 is silent for 14 s"]
    assert states("stalled", "is silent for 15 s") == []
    assert lines.tell((), after(60)) == [
        "10:45:10   draft still running for 10 s, its process is stalled",
        "10:45:30   draft still running for 30 s, its process is stalled",
        "10:46:00   draft still running for 1 min, its process is stalled",
    ]
    assert states("running", "", 61) == ["10:46:01 campaign running again"]
    assert states("crashed", "was ended by SIGKILL", 62) == [
        "10:46:02   draft crashed: process 7 was ended by SIGKILL",
        "10:46:02 campaign crashed: process 7 was ended by SIGKILL",
    ]
    assert states("crashed", "was ended by SIGKILL", 62) == []
    assert lines.tell((), after(4000)) == []


def test_who_comes_later_is_told_what_goes_on() -> None:
    lines = Lines()
    begins, ends = run(0, 200)
    lines.catch_up(told(begins, *visit("draft", "7.1", 0, 3, stage__result="failure"),
                        visit_event("started", "check", "7.2", at=4)))  # fmt: skip
    assert lines.caught_up(process("running"), after(100)) == [
        "10:45:04   check started",
        "10:46:40 campaign running for 1 min 40 s, run 01234567: 1 visit so far, 1 failed",
    ]
    assert lines.tell((), after(125)) == ["10:47:04   check still running for 2 min"]
    assert lines.tell(told(visit_event("ended", "check", "7.2", at=130, duration=126.0), ends), after(201)) == [
        "10:47:10   check ended in 2m 06s: success",
        "10:48:20 campaign ended in 3m 20s: success, 2 visits, 1 failed",
    ]


def test_who_comes_later_is_told_in_the_order_of_times() -> None:
    lines = Lines()
    (one, _), (two, _) = run(0, 9), run(2, 9, OTHER_RUN)
    of_two = {"run": OTHER_RUN}
    of_one = [visit_event("started", name, f"7.{at}", at=at) for name, at in (("a", 1), ("c", 4))]
    lines.catch_up(told(one, two, visit_event("started", "b", "7.2", at=3, **of_two), *of_one))
    assert lines.caught_up(process("running"), after(5)) == [
        "10:45:01   a [01234567] started",
        "10:45:03   b [fedcba98] started",
        "10:45:04   c [01234567] started",
        "10:45:05 campaign running for 5 s, run 01234567: 0 visits so far",
        "10:45:05 campaign running for 3 s, run fedcba98: 0 visits so far",
    ]


def test_who_comes_after_a_crash_is_not_told_that_it_runs() -> None:
    lines = Lines()
    lines.catch_up(told(run(0, 9)[0], visit_event("started", "draft", "7.1", at=1)))
    crashed = process("crashed", "was ended by SIGKILL")
    assert lines.caught_up(crashed, after(6)) == [
        "10:45:06   draft crashed: process 7 was ended by SIGKILL",
        "10:45:06 campaign crashed: process 7 was ended by SIGKILL",
    ]
    assert lines.states(crashed, after(6)) == []
    assert lines.tell((), after(700)) == []


def test_who_comes_after_the_crash_of_a_child_is_told_what_goes_on() -> None:
    lines = Lines()
    of_child = {"process": "8-abcdef"}
    lines.catch_up(told(run(0, 9)[0], visit_event("started", "draft", "7.1", at=1),
                        visit_event("started", "part", "8.1", at=2, **of_child)))  # fmt: skip
    here = Process("7-abcdef", 7, None, "running", "")
    assert lines.caught_up(Processes([here, Process("8-abcdef", 8, 7, "crashed", "is gone")]), after(6)) == [
        "10:45:01   draft started",
        "10:45:06 campaign running for 6 s, run 01234567: 0 visits so far, 1 failed",
        "10:45:06   part crashed: process 8 is gone",
    ]


def test_who_comes_too_late_is_told_how_it_ended() -> None:
    lines = Lines()
    lines.catch_up(told(*run(0, 2)))
    assert lines.caught_up(process("running"), after(100)) == ["10:45:02 campaign ended in 2.00 s: success, 0 visits"]


def test_what_is_joined_ends_with_the_run_itself() -> None:
    begins, ends = run(0, 5)
    joins = event("run.started", at=1, process="8-abcdef", run__joined=True, span_id=RUN[:16])
    leaves = event("run.ended", at=2, process="8-abcdef", run__joined=True, span_id=RUN[:16], result="success")
    assert lines_of([begins, joins, leaves, ends], 6) == [
        "10:45:00 campaign started, run 01234567",
        "10:45:05 campaign ended in 5.00 s: success, 0 visits",
    ]
    assert lines_of([joins, leaves], 6) == [
        "10:45:01 campaign joined, run 01234567",
        "10:45:02 campaign ended in 1.00 s: success, 0 visits",
    ]


def test_names_cannot_forge_a_line() -> None:
    evil, shown = "a\n10:45:00 b\x1b[2J\u202e", "a\\x0a10:45:00 b\\x1b[2J\\u202e"
    begins = event("run.started", at=0, span_id="f" * 16, workflow__name=evil)
    how = {"item__platform": evil, "stage__result": "failure", "error__type": evil}
    assert lines_of([begins, *visit(evil, "7.1", 0, 1, **how)], 2) == [
        f"10:45:00 {shown} started, run 01234567",
        f"10:45:00   {shown} started",
        f"10:45:01   {shown} ({shown}) ended in 1.00 s: failure, {shown}",
    ]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "MOST_OPEN", 100)
    lines = Lines()
    started = [visit_event("started", "draft", f"7.{number}", at=number / 1000) for number in range(300)]
    lines.tell(told(*started), after(1))
    (now,) = lines.present.runs.values()
    assert (len(now.open), lines.present.visits, now.stages["draft"].open) == (100, 100, 300)
    lines.tell(told(*(visit_event("ended", "draft", f"7.{number}", at=2) for number in range(300))), after(3))
    assert (len(now.open), lines.present.visits, now.stages["draft"].open, now.stages["draft"].visits) == (0, 0, 0, 300)


def test_a_cell_of_a_notebook() -> None:
    begins, ends = run(0, 9, result="failure", error__type="KeyError")
    lines = Lines()
    history = [
        begins,
        *visit("draft 文", "7.1", 0, 1, stage__items__done=2, stage__items__total=3, stage__retries=1),
        *visit("draft 文", "7.2", 1, 2, stage__result="failure", error__type="ValueError", stage__revision=1),
        visit_event("started", "check", "7.3", at=3),
        visit_event("progress", "check", "7.3", at=4, wait__reason="approval"),
        visit_event("started", "render", "7.4", at=5),
        visit_event("started", "render", "7.5", at=6),
    ]
    lines.tell(told(*history), after(7))
    (shown,) = lines.present.runs.values()
    assert as_text([shown], after(8), before=3).splitlines() == [
        "3 runs ended before",
        "campaign running for 8 s",
        "stage     visits    time  items  retries  revision  state",
        "draft 文       2  2.00 s    2/3        1         1  failure, ValueError, 1 failed",
        "check          1  5.00 s                            running for 5 s, waits for approval",
        "render         2  5.00 s                            2 running, the longest for 3 s",
    ]
    lines.tell(told(ends), after(9))
    assert as_text([shown], after(99)).splitlines()[0] == "campaign ended in 9.00 s: failure, KeyError"
