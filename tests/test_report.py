"""The table at the end of `otel-progress run`, to the letter."""

# ruff: noqa: E501 - a terminal may be wider than our lines

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pyte
import pytest
from rich.cells import cell_len
from rich.console import Console

from otel_progress import stage
from otel_progress.recording import faults
from otel_progress.recording.times import duration
from otel_progress.recording.visible import visible
from otel_progress.report.fitting import cut
from otel_progress.report.table import show
from otel_progress.report.totals import AGAIN, Failure
from otel_progress.runs.model import Run

from .conftest import Telemetry
from .histories import did, ran, shown, totals

PLATFORMS: dict[str, Any] = {"platform_count": 6}
CAMPAIGN = ran(
    "pr_campaign",
    170,
    did("engagement_manager", 0, 0.0123),
    did(
        "research",
        1,
        40,
        did("search", 1, 13, items_done=4, items_total=4),
        did("search", 1, 21, items_done=3, items_failed=1, items_total=4),
        did("search", 1.5, 33, items_done=4, items_total=4, result="fallback", error="TimeoutError", retries=2, wait=3),
        did("summarize", 33, 39.5),
    ),
    did("content_generation", 40, 131.5, result="fallback", budget=60, **PLATFORMS),
    did("style_editor", 131.5, 140, revision=0, **PLATFORMS),
    did("style_editor", 140, 146, number=2, revision=1, **PLATFORMS),
    did("fact_check", 146, 150, result="failure", error="LookupError", **PLATFORMS),
    did("fact_check", 150, 160, result="failure", error="LookupError", number=2, **PLATFORMS),
    did("fact_check", 160, 169.5, number=3, action="approved", wait=2, **PLATFORMS),
)


def on_terminal(run: Run, width: int) -> list[str]:
    """What a terminal of this width shows of the table of a run, without blanks at the ends of lines."""
    screen = pyte.Screen(width, 100)
    stream = pyte.Stream(screen)
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system="standard", soft_wrap=True)
    show(console, [totals(run)], look="otel-progress show {:.8}".format)
    stream.feed(file.getvalue().replace("\n", "\r\n"))
    return "\n".join(line.rstrip() for line in screen.display).rstrip().split("\n")


HOSTILE = ran(
    "\u202eevil\x1b]0;t\x07",
    5,
    did("訳" * 30, 0, 1),
    did("re\u0301sume\u0301 " * 6, 1, 2),
    did("\x1b[2Jgone\r\n", 2, 3),
    did("한국어 처리", 3, 4, did("名前", 3, 4)),
    did("a" * 200, 4, 5, result="failure", error="Err\x1b[31mor\u2066"),
    result="failure",
    error="Err\x1b[31mor\u2066",
)


@pytest.mark.parametrize(
    ("run", "width", "expected"),
    [
        pytest.param(
            CAMPAIGN,
            132,
            """\
                                                                           over       failed         plat- revi-
stage               visits       time share       longest waiting rework budget items  items retries forms sions result
engagement_manager       1 12.3 ms      0% ░░░░░░       -       -      -      -     -      -       -     -     - success
research                 1 39.00 s     23% █░░░░░       -       -      -      -     -      -       -     -     - success
 search                  3  1m 04s ∥3  18% █░░░░░ 31.50 s  3.00 s      -      - 11/12      1       2     -     - 2 success
                                                                                                                 1 fallback
                                                                                                                  TimeoutError
 summarize               1  6.50 s      4% ░░░░░░       -       -      -      -     -      -       -     -     - success
content_generation       1  1m 32s     54% ███░░░       -       -      -    1/1     -      -       -     6     - fallback
style_editor             2 14.50 s      8% █░░░░░  8.50 s       - 6.00 s      -     -      -       -     6     1 success
fact_check               3 23.50 s     14% █░░░░░ 10.00 s  2.00 s      -      -     -      -       -     6     - 2 failure
                                                                                                                  LookupError
                                                                                                                 1 success
outside stages              1.49 s      1% ░░░░░░
pr_campaign (1 run)     12  2m 50s    100%              -  5.00 s 6.00 s      1 11/12      1       2     6     1 success
First failure in fact_check: LookupError (the run went on)
Ended after fact_check with "approved"
Of the time: repeats 25.50 s (15%), rework 6.00 s (4%), failed visits 14.00 s (8%)
∥3: up to 3 at once. Shares are of the wall time, on the path that took it.
Next: otel-progress show 1f1f1f1f (content_generation took longer than its budget)""",
            id="campaign in 132",
        ),
        pytest.param(
            CAMPAIGN,
            80,
            """\
                                                             over
stage               visits       time share waiting rework budget result
engagement_manager       1 12.3 ms       0%       -      -      - success
research                 1 39.00 s      23%       -      -      - success
 search                  3  1m 04s ∥3   18%  3.00 s      -      - 2 success
                                                                  1 fallback
                                                                   TimeoutError
 summarize               1  6.50 s       4%       -      -      - success
content_generation       1  1m 32s      54%       -      -    1/1 fallback
style_editor             2 14.50 s       8%       - 6.00 s      - success
fact_check               3 23.50 s      14%  2.00 s      -      - 2 failure
                                                                   LookupError
                                                                  1 success
outside stages              1.49 s       1%
pr_campaign (1 run)     12  2m 50s     100%  5.00 s 6.00 s      1 success
First failure in fact_check: LookupError (the run went on)
Ended after fact_check with "approved"
Of the time: repeats 25.50 s (15%), rework 6.00 s (4%), failed visits 14.00 s
(8%)
∥3: up to 3 at once. Shares are of the wall time, on the path that took it.
Next: otel-progress show 1f1f1f1f (content_generation took longer than its
budget)""",
            id="campaign in 80",
        ),
        pytest.param(
            CAMPAIGN,
            40,
            """\
stage                    time result
engagement_manager 12.3 ms    success
research           39.00 s    success
 search             1m 04s ∥3 1 fallback
 summarize          6.50 s    success
content_generation  1m 32s    fallback
style_editor       14.50 s    success
fact_check         23.50 s    2 failure
outside stages      1.49 s
pr_campai… (1 run)  2m 50s    success
First failure in fact_check: LookupError
(the run went on)
Ended after fact_check with "approved"
Of the time: repeats 25.50 s (15%),
rework 6.00 s (4%), failed visits 14.00
s (8%)
∥3: up to 3 at once. Shares are of the
wall time, on the path that took it.
Next: otel-progress show 1f1f1f1f
(content_generation took longer than its
budget)""",
            id="campaign in 40",
        ),
        pytest.param(
            HOSTILE,
            132,
            """\
stage                                             visits    time  share        result
訳訳訳訳訳訳訳訳訳訳訳訳…訳訳訳訳訳訳訳訳訳訳訳        1  1.00 s   20% █░░░░░  success
résumé résumé résumé résumé résumé résumé              1  1.00 s   20% █░░░░░  success
\\x1b[2Jgone\\x0d\\x0a                                    1  1.00 s   20% █░░░░░  success
한국어 처리                                            1  1.00 s   20% █░░░░░  success
  名前                                                 1  1.00 s   20% █░░░░░  success
aaaaaaaaaaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaaaaaaaaaa       1  1.00 s   20% █░░░░░  failure (Err\\x1b[31mor\\u2066)
\\u202eevil\\x1b]0;t\\x07 (1 run)                         6  5.00 s  100%         failure (Err\\x1b[31mor\\u2066)
Failed in aaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaa: Err\\x1b[31mor\\u2066
Of the time: failed visits 1.00 s (20%)
Next: otel-progress show 1f1f1f1f (what aaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaa did before it failed)""",
            id="hostile in 132",
        ),
        pytest.param(
            HOSTILE,
            80,
            """\
stage                                   visits   time share result
訳訳訳訳訳訳訳訳訳訳…訳訳訳訳訳訳訳訳訳      1 1.00 s   20% success
résumé résumé résum…sumé résumé résumé       1 1.00 s   20% success
\\x1b[2Jgone\\x0d\\x0a                          1 1.00 s   20% success
한국어 처리                                  1 1.00 s   20% success
 名前                                        1 1.00 s   20% success
aaaaaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaaaaaa      1 1.00 s   20% failure
                                                             Err\\x1b[31mor\\u2066
\\u202eevil\\x1b]0;t\\x07 (1 run)               6 5.00 s  100% failure
                                                             Err\\x1b[31mor\\u2066
Failed in aaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaa: Err\\x1b[31mor\\u2066
Of the time: failed visits 1.00 s (20%)
Next: otel-progress show 1f1f1f1f (what aaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaa did
before it failed)""",
            id="hostile in 80",
        ),
        pytest.param(
            HOSTILE,
            40,
            """\
stage                 time share result
訳訳訳訳訳…訳訳訳訳 1.00 s   20% success
résumé ré…é résumé  1.00 s   20% success
\\x1b[2Jgone\\x0d\\x0a 1.00 s   20% success
한국어 처리         1.00 s   20% success
 名前               1.00 s   20% success
aaaaaaaaa…aaaaaaaaa 1.00 s   20% failure
\\u202eevi…7 (1 run) 5.00 s  100% failure
Failed in
aaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaa:
Err\\x1b[31mor\\u2066
Of the time: failed visits 1.00 s (20%)
Next: otel-progress show 1f1f1f1f (what
aaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaa did
before it failed)""",
            id="hostile in 40",
        ),
    ],
)
def test_the_table_on_a_terminal(run: Run, width: int, expected: str) -> None:
    assert on_terminal(run, width) == expected.split("\n")


@pytest.mark.parametrize("width", [132, 80, 40])
def test_columns_stand_below_each_other_whatever_a_name_holds(width: int) -> None:
    """By the cells of a terminal, as some characters take two of them and some none."""
    screen = pyte.Screen(width, 100)
    text = shown(HOSTILE, width=width)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    lines = [[screen.buffer[row][column].data for column in range(width)] for row in range(8)]
    start = "".join(lines[0]).index("result")
    assert {"".join(line[start : start + 7]) for line in lines[1:7]} == {"success", "failure"}
    assert {line[start - 1] for line in lines[:7]} == {" "}


def test_what_ran_at_once_is_marked_and_the_parts_add_up() -> None:
    searches = [did("search", 0.3, 0.6) for _ in range(4)]
    run = ran("campaign", 0.9, did("prepare", 0, 0.29), *searches, did("publish", 0.6, 0.9))
    assert (
        shown(run)
        == """\
stage             visits        time  share        longest  result
prepare                1   290 ms      32% ██░░░░        -  success
search                 4   1.20 s ∥4   34% ██░░░░   300 ms  success
publish                1   300 ms      33% ██░░░░        -  success
outside stages            10.0 ms       1% ░░░░░░
campaign (1 run)       6   900 ms     100%               -  success
∥4: up to 4 at once. Shares are of the wall time, on the path that took it."""
    )


def test_without_unicode_it_is_ascii() -> None:
    found = shown(CAMPAIGN, width=132, unicode=False)
    assert " 1m 04s ||3  18% #....." in found
    assert "\n||3: up to 3 at once." in found
    assert "research_..and_more " in shown(
        ran("w", 1, did("research" + "_and_more" * 9, 0, 1)), width=40, unicode=False
    )
    assert found.isascii()


def test_a_console_tells_its_width_and_what_it_can_show() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    show(Console(file=file, width=40), [totals(CAMPAIGN)])
    file.seek(0)
    assert file.read().splitlines() == shown(CAMPAIGN, width=40, unicode=False).splitlines()


@pytest.mark.parametrize("width", [*range(12, 100, 8), 120, 200])
@pytest.mark.parametrize("name", ["content_generation", "content_generation" * 10, "訳" * 60, "é" * 30])
def test_names_and_nothing_else_are_cut_at_every_width(name: str, width: int) -> None:
    visits = [did(name, 0, 1, did("inner", 0, 1)), *[did("other", 1, 2, result="abandoned")] * 1234]
    lines = shown(ran("pr", 2, *visits, did(name, 2, 3, result="failure", error="E" * 60)), width=width).splitlines()
    assert max(map(cell_len, lines)) <= width
    first = next(line for line in lines if (line[0] in name and "…" in line) or line.startswith(name))
    assert first.split(" ")[0].split("…")[0] == name[: len(first.split(" ")[0].split("…")[0])]
    assert cell_len(first.split(" ")[0]) >= min(cell_len(name), 11 if width > 30 else 1)


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("content", 7, "content"),
        ("content", 6, "con…nt"),
        ("content", 3, "c…t"),
        ("content", 2, "co"),
        ("content", 0, ""),
        ("訳訳訳訳", 7, "訳訳…訳"),
        ("訳訳訳訳", 6, "訳…訳"),
        ("e\u0301a\u0301e\u0301a\u0301", 3, "e\u0301…a\u0301"),
    ],
)
def test_names_are_cut_in_the_middle(text: str, room: int, expected: str) -> None:
    assert cut(text, room) == expected


def test_columns_that_tell_nothing_are_left_out() -> None:
    assert shown(ran("w", 2, did("a", 0, 1), did("b", 1, 2)), width=132).splitlines()[0].split() == [
        "stage",
        "visits",
        "time",
        "share",
        "result",
    ]


def test_several_workflows_and_runs() -> None:
    runs = [ran("nightly", 10, did("extract", 0, 9), run=f"{number:032}") for number in range(11)]
    slow = ran("nightly", 30, did("extract", 0, 20, result="failure", error="OSError"), run="ab" * 16)
    failed = replace(slow, result="failure", error="OSError")
    look = "otel-progress show {:.8}".format
    assert (
        shown(*runs, ran("daily", 1, did("load", 0, 1)), failed, look=look, width=100)
        == """\
stage              visits     time  share        longest  result
extract                12   1m 59s   85% █████░  20.00 s  11 success, 1 failure (OSError)
outside stages             21.00 s   15% █░░░░░
nightly (12 runs)      12   2m 20s  100%         30.00 s  11 success, 1 failure (OSError)

load                    1   1.00 s  100% ██████        -  success
daily (1 run)           1   1.00 s  100%               -  success
nightly: 1 of 12 runs failed, the first in extract: OSError
nightly: Of the time: failed visits 20.00 s (14%)
Next: otel-progress show abababab (what extract did before it failed)"""
    )


def test_of_very_many_stages_the_slowest_are_shown() -> None:
    visits = [did(f"stage {number}", number, number + (1 if number == 150 else 0.25)) for number in range(200)]
    slow = [did("inner", 150, 150.5), did("deep", 150.5, 150.9)]
    visits[150] = did("stage 150", 150, 151, *slow)
    lines = shown(ran("many", 200, *visits)).splitlines()
    assert len(lines) == 1 + 49 + 1 + 1 + 1
    row = next(number for number, line in enumerate(lines) if line.startswith("stage 150 "))
    assert [line.split()[0] for line in lines[row + 1 : row + 3]] == ["inner", "deep"]
    assert lines[50].split()[:5] == ["(153", "more", "stages)", "153", "38.25"]
    assert sum(int(re.findall(r"(\d+)%", line)[0]) for line in lines[1:-1] if line[0] != " ") == 100


def test_of_very_many_stages_those_that_failed_are_shown_too() -> None:
    visits = [did(f"step {number}", number, number + 1) for number in range(60)]
    failed = did("publish", 60, 60.001, result="failure", error="OSError")
    lines = shown(ran("pipeline", 61, *visits, failed, result="failure", error="OSError")).splitlines()
    assert [line.split()[-2:] for line in lines if line.startswith("publish ")] == [["failure", "(OSError)"]]
    assert next(line for line in lines if "more stages" in line).split()[-1] == "success"


def test_sixty_stages_have_a_line_each() -> None:
    visits = [did(f"step_{number:02}_of_the_nightly_reconciliation", number, number + 1) for number in range(60)]
    lines = shown(ran("pipeline", 60, *visits), width=40).splitlines()
    assert lines[0] == "stage                 time share result"
    assert lines[1] == "step_00_o…iliation  1.00 s    2% success"
    assert len(lines) == 1 + 49 + 1 + 1
    assert lines[-2:] == ["(11 more stages)   11.00 s   18% success", "pipeline (1 run)    1m 00s  100% success"]


def test_of_very_many_workflows_the_slowest_are_shown() -> None:
    runs = [
        ran(f"w{number}", number % 100 + 1, did("draft", 0, number % 100, retries=1, platform_count=2))
        for number in range(900)
    ]
    lines = shown(*runs, *runs, width=132).splitlines()
    assert len(lines) == 1 + 19 * 4 + 1
    name, *values = re.split(r"\s{2,}", lines[-1])
    time = duration(2 * (sum(number % 100 + 1 for number in range(900)) - 9 * 100 - 9 * 99 - 98))
    assert (name, values) == (
        "881 more workflows (1762 runs)",
        ["1762", time, "100%", "1m 38s", "1762", "2", "success"],
    )


def test_a_workflow_without_stages() -> None:
    assert shown(ran("empty", 1)).splitlines()[1:] == ["empty (1 run)       0  1.00 s  100%   success"]


def test_what_goes_on_says_so() -> None:
    run = ran("w", None, did("ask", 0, None, state="waiting"))
    assert shown(totals(run, now=2)).splitlines()[1:] == [
        "ask             1  2.00 s  100% ██████  waiting",
        "w (1 run)       1  2.00 s  100%         running",
    ]


# --- what is said below -----------------------------------------------------------------------------------------------


def said(run: Run, **changed: object) -> list[str]:
    """What stands below the table of a run whose totals are changed so."""
    found = totals(run)
    for name, value in changed.items():
        setattr(found, name, value)
    text = shown(found, width=100, look="show {:.4}".format)
    return text.partition(" run)")[2].splitlines()[1:]


FAILS: dict[str, Any] = {"result": "failure", "error": "ValueError"}


@pytest.mark.parametrize(
    ("run", "changed", "expected"),
    [
        (
            ran("w", 2, did("a", 0, 1), did("b", 1, 2, **FAILS), **FAILS),
            {"failure": Failure("1f1f", "b", "failure", "ValueError", "no  such\n\x1bthing" + "!" * 400)},
            [
                "Failed in b: ValueError: no such",
                f"\\x1bthing{'!' * 83}…{'!' * 7}",
                "!" * 92,
                "Of the time: failed visits 1.00 s (50%)",
                "Next: show 1f1f (what b did before it failed)",
            ],
        ),
        (
            ran("w", 2, did("a", 0, 1, **FAILS), did("a", 1, 2, number=2)),
            {},
            [
                "First failure in a: ValueError (the run went on)",
                "Of the time: repeats 1.00 s (50%), failed visits 1.00 s (50%)",
                "Next: show 1f1f (a took 100%)",
            ],
        ),
        (
            ran("w", 2, did("a", 0, 1), result="failure", error="KeyError"),
            {},
            ["Failed outside stages: KeyError", "Next: show 1f1f (what the run did before it failed)"],
        ),
        (
            ran("w", 2, did("a", 0, 2, result="cancelled", error="KeyboardInterrupt"), result="cancelled"),
            {},
            ["Cancelled in a: KeyboardInterrupt", "Next: show 1f1f (what a did before it was cancelled)"],
        ),
        (
            ran("w", None, did("a", 0, None, state="crashed"), did("b", 0, 1), state="crashed"),
            {},
            ["Abandoned in a", "∥2: up to 2 at once. Shares are of the wall time, on the path that took it.",
             "Next: show 1f1f (what a did before it was left)"],
        ),
        (
            ran("w", 2, did("a", 0, 1, action="default"), did("b", 1, 2, action="ok", budget=0.5)),
            {"dead_ends": Counter({("a", "x\n"): 2, ("b", ""): 1}), "in_children": 1, "left_out": 3},
            [
                'Dead end: no edge takes the "x\\x0a" of a (2 times)',
                "Dead end: no edge takes what was returned by b",
                'Ended after b with "ok"',
                "1 visit in other processes",
                "3 visits left out: there are more than were read",
                "Next: show 1f1f (b took longer than its budget)",
            ],
        ),
        (
            ran("w", 4, did("a", 0, 1)),
            {"ends": Counter({("a", "default"): 5, ("b", "x"): 3, ("c", "y"): 1, ("d", "z"): 1})},
            [
                'Ended after a (5 times), b with "x" (3 times), c with "y" and 1 more',
                "Next: show 1f1f (75% of the time is outside stages)",
            ],
        ),
        (
            ran("w", 2, did("a", 0, 2, number=2, revision=1)),
            {"figures": Counter({AGAIN: 2 * 10**9})},
            ["Of the time: repeats 2.00 s (100%)", "Next: show 1f1f (a took 100%)"],
        ),
        (ran("w", 0), {}, []),
        (ran("w", 2), {}, []),
        (ran("w", 0, did("a", 0, 0)), {}, ["Next: show 1f1f (each visit)"]),
        (
            ran("w", 2, did("early", 0, 2, result="cancelled", error="GeneratorExit")),
            {},
            ["First cancellation in early: GeneratorExit (the run went on)", "Next: show 1f1f (early took 100%)"],
        ),
        (
            ran("w", 2, did("early", 0, 2, result="abandoned")),
            {},
            ["First abandoned visit in early (the run went on)", "Next: show 1f1f (early took 100%)"],
        ),
    ],
)  # fmt: skip
def test_what_is_said_below(run: Run, changed: dict[str, object], expected: list[str]) -> None:
    assert said(run, **changed) == expected


WELL, BROKEN = ran("w", 1), ran("w", 1, did("a", 0, 1, **FAILS), run="f2" * 16, **FAILS)
LEFT = ran("w", None, did("b", 0, None, state="crashed"), run="f3" * 16, state="crashed")
STOPPED = ran("w", 1, did("c", 0, 1, result="cancelled"), run="f4" * 16, result="cancelled", error="KeyboardInterrupt")


@pytest.mark.parametrize(
    ("runs", "expected", "looked_at"),
    [
        ([STOPPED, WELL, BROKEN, WELL], "1 of 4 runs failed, 1 was cancelled; first failure in a: ValueError",
         "f2f2 (what a did before it failed)"),
        ([STOPPED, WELL, STOPPED], "2 of 3 runs were cancelled, the first outside stages: KeyboardInterrupt",
         "f4f4 (what the run did before it was cancelled)"),
        ([BROKEN, LEFT, LEFT], "1 of 3 runs failed, 2 were left; first failure in a: ValueError",
         "f2f2 (what a did before it failed)"),
        ([WELL, LEFT], "1 of 2 runs was left, the first in b", "f3f3 (what b did before it was left)"),
        ([WELL, BROKEN, BROKEN], "2 of 3 runs failed, the first in a: ValueError", "f2f2 (what a did before it failed)"),
    ],
)  # fmt: skip
def test_runs_that_failed_were_left_and_were_cancelled_are_told_apart(
    runs: list[Run], expected: str, looked_at: str
) -> None:
    text = shown(totals(*runs), width=200, look="show {:.4}".format)
    said = text.partition(" runs)")[2].splitlines()[1:]
    assert [said[0], said[-1]] == [expected, f"Next: show {looked_at}"]


def test_what_failed_is_looked_at_before_what_was_cancelled() -> None:
    stopped = replace(STOPPED, workflow="v")
    said = shown(stopped, BROKEN, look="show {:.4}".format).splitlines()
    assert [line for line in said if " in a" in line or "outside" in line] == [
        "w: Failed in a: ValueError",
        "v: Cancelled outside stages: KeyboardInterrupt",
    ]
    assert said[-1] == "Next: show f2f2 (what a did before it failed)"


def test_of_no_workflow_there_is_no_table() -> None:
    assert shown() == ""


def test_a_workflow_without_visits_is_none_to_look_at() -> None:
    assert shown(ran("v", 9), ran("w", 1, did("a", 0, 1)), look="show {:.4}".format).endswith("(a took 100%)")


def test_where_there_is_no_record_nothing_is_to_be_looked_at() -> None:
    assert "Next" not in shown(CAMPAIGN)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 ms"),
        (0.00004, "0.0 ms"),
        (0.0123, "12.3 ms"),
        (0.09996, "100 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (59.994, "59.99 s"),
        (59.996, "1m 00s"),
        (3599.4, "59m 59s"),
        (3599.6, "1h 00m"),
        (90_000.0, "25h 00m"),
        (172_799.0, "47h 59m"),
        (172_799.6, "2d 00h"),
        (273_600.0, "3d 04h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("\x1b[2Jdraft", "\\x1b[2Jdraft"),
        ("\x1b]52;c;cm0=\x07", "\\x1b]52;c;cm0=\\x07"),
        ("two\r\nlines\u2028three", "two\\x0d\\x0alines\\u2028three"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("Übersetzung 訳 👩‍💻", "Übersetzung 訳 👩‍💻"),
    ],
)
def test_what_a_name_holds_does_nothing_to_a_terminal(name: str, expected: str) -> None:
    assert visible(name) == expected
    failed = did(name, 0, 1, action=name, result="failure", error=name)
    run = ran(name, 2, failed, did("later", 1, 2, result=name, action=name), result="failure", error=name)
    file = io.StringIO()
    show(Console(file=file, width=400, force_terminal=True, color_system=None), [totals(run)], look=lambda run: "look")
    # The stage, its error, a result, the workflow, its error; what failed of what; the last action; what is next.
    assert file.getvalue().count(expected) == (9 if len(expected) < 24 else 7)
    assert not set(file.getvalue()) & set("\x1b\x07\r\x00\x7f\x9b\u2028\u202e\u2066")


NASTY = "a\x1b]52;c;aGk=\x07\nWARNING forged\x00\u202eb\ud800"
SHOWN = r"a\x1b]52;c;aGk=\x07\x0aWARNING forged\x00\u202eb?"


class Nasty:
    """An object of the program that is called so."""

    __qualname__ = NASTY

    def __call__(self, shared: object) -> object:
        raise ValueError(NASTY)


def test_what_is_logged_commands_no_terminal_and_forges_no_line(telemetry: Telemetry) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    faults.logger.addHandler(handler)
    try:
        with stage("a", shared={}, platforms=Nasty()):  # Said with a traceback.
            pass
        faults.report(f"{NASTY} is none")
        faults.logger.warning("%s failed: %s", NASTY, ValueError(NASTY))
        faults.logger.warning("nothing of a program, %d times", 2)
    finally:
        faults.logger.removeHandler(handler)
    lines = written.getvalue().splitlines()
    assert not any(
        re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", line) for line in lines
    )
    said = [re.sub(" at 0x[0-9a-f]+>", ">", line) for line in lines if line.startswith("WARNING")]
    assert said == [
        f"WARNING <tests.test_report.{SHOWN} object> failed to read the store",
        f"WARNING {SHOWN} is none",
        f"WARNING {SHOWN} failed: {SHOWN}",
        "WARNING nothing of a program, 2 times",
    ]
    assert "ValueError: a\\x1b]52;c;aGk=\\x07\n    WARNING forged\\x00\\u202eb?\n" in written.getvalue()


def test_what_is_logged_stays_as_it_is_where_nothing_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("usual")
    except ValueError as error:
        faults.logger.warning("%s of %d", "one", 2, exc_info=error)
    (record,) = caplog.records
    assert (record.msg, record.args, record.exc_info is not None) == ("%s of %d", ("one", 2), True)
    caplog.clear()
    faults.logger.warning("long", exc_info=ValueError("m" * 3_000_000))
    (record,) = caplog.records
    assert len(record.exc_text or "") < 11_000
