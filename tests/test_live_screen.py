"""The display of `otel-progress run`: whole screens, and what a program says above it, byte for byte."""

from __future__ import annotations

import html
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.cells import cell_len

from otel_progress.live.display import Display, Expects
from otel_progress.live.known import Known, known
from otel_progress.live.output import Output
from otel_progress.live.painting import Painter
from otel_progress.live.screen import Ended, Screen
from otel_progress.runs.happenings import Happening
from otel_progress.runs.present import Present, RunNow
from otel_progress.runs.states import Processes

from .records import START, visit_event
from .screens import Emulated, without_blanks
from .test_lines import OTHER_RUN, after, run, told, visit

PLAIN = Known(coloured=False)


@dataclass(frozen=True)
class Remaining:
    p50_seconds: float
    p90_seconds: float
    longer_than: float | None = None


def expecting(p50: float, p90: float, longer_than: float | None = None) -> Expects:
    return lambda run, now: Remaining(p50, p90, longer_than)


def a_campaign() -> list[str]:
    """Sixty stages that have ended, some that failed; a flow with two visits side by side, one with a stage inside."""
    history = [run(0, 100)[0], *visit("outline", "7.1", 0, 2.5)]
    for number in range(60):
        history += visit(f"step {number}", f"8.{number}", 2.5 + number / 10, 2.6 + number / 10)
    return [
        *history,
        *visit("broken", "7.2", 9, 9.2, stage__result="failure", error__type="ValueError"),
        *visit("fact_check", "7.3", 9.2, 12, stage__retries=2, stage__items__done=5, stage__items__failed=1,
               stage__items__total=6),
        *visit("日本語の段階の名前", "7.4", 12, 12.5, stage__result="fallback", error__type="TimeoutError"),
        visit_event("started", "flow", "7.5", at=13),
        visit_event("started", "draft", "7.6", at=14, parent__visit_id="7.5", item__platform="linkedin", stage__visit=3,
                    stage__budget=30.0),
        visit_event("started", "draft", "7.7", at=14.5, parent__visit_id="7.5", item__platform="x", stage__visit=4,
                    stage__budget=5.0),
        visit_event("progress", "draft", "7.6", at=15, item__platform="linkedin", stage__items__done=4,
                    stage__items__total=6, stage__attempts=2, error__type="TimeoutError", stage__revision=2),
        visit_event("started", "rhyme", "7.8", at=15, parent__visit_id="7.6"),
        visit_event("progress", "rhyme", "7.8", at=16, stage__attempts=1, wait__reason="rate limit"),
        visit_event("started", "lookup", "7.9", at=15, parent__visit_id="7.7"),
        visit_event("ended", "lookup", "7.9", at=16, duration=1.0),
        visit_event("started", "re\u0301sume\u0301", "7.10", at=16, stage__platforms=("linkedin", "x")),
    ]  # fmt: skip


def screen(
    history: Iterable[str], until: float, columns: int, rows: int, *, expects: Expects | None = None, **how: str
) -> list[str]:
    """What a terminal shows of this history, so many seconds after its beginning."""
    present, ended = Present(), Ended()
    for happening in told(*history):
        found, _ = present.enter(happening)
        if found.ended is happening:
            ended.count(found, happening.went)
    lines = Screen(expects=expects, **how).lines(list(present.runs.values()), ended, after(until), columns, rows)
    painter = Painter(Output(rows), coloured=False, synchronized=False)
    terminal = Emulated(columns, rows)
    terminal.feed(painter.paint(painter.rendered(lines)))
    return terminal.lines()


AT_40 = """\
▸ campaign, 20 s, ends in 2 to 5 min
  ✓ 60 more stages done, 8.40 s
  ✓ step 59           100 ms
  ✗ broken            200 ms  failure …
  ✓ fact_check        2.80 s  5/6 items
  ✓ 日本語の…階の名前 500 ms  fallback…
  ▸ flow                 7 s
    ▸ draft #…nkedin)    6 s  4/6 items
      ◦ rhyme            5 s  waits fo…
    ▸ draft #4 (x)       5 s  over bud…
      ✓ lookup        1.00 s
  ▸ résumé               4 s  for link…
"""
AT_80 = """\
▸ campaign, 20 s, ends in 2 to 5 min, 65 stages done, 1 visit failed
  ✓ 60 more stages done, 8.40 s
  ✓ step 59               100 ms
  ✗ broken                200 ms  failure ValueError
  ✓ fact_check            2.80 s  5/6 items, 1 item failed, 2 retries
  ✓ 日本語の段階の名前    500 ms  fallback TimeoutError
  ▸ flow                     7 s
    ▸ draft #3 (linkedin)    6 s  4/6 items, a try failed with TimeoutError
      ◦ rhyme                5 s  waits for rate limit
    ▸ draft #4 (x)           5 s  over budget of 5.00 s
      ✓ lookup            1.00 s
  ▸ résumé                   4 s  for linkedin, x
"""
AT_132 = """\
▸ campaign, 20 s, ends in 2 to 5 min, 65 stages done, 1 visit failed
  ✓ 57 more stages done, 8.10 s
  ✓ step 56               100 ms
  ✓ step 57               100 ms
  ✓ step 58               100 ms
  ✓ step 59               100 ms
  ✗ broken                200 ms  failure ValueError
  ✓ fact_check            2.80 s  5/6 items, 1 item failed, 2 retries
  ✓ 日本語の段階の名前    500 ms  fallback TimeoutError
  ▸ flow                     7 s
    ▸ draft #3 (linkedin)    6 s  4/6 items, a try failed with TimeoutError, 20 % of budget, revision 2
      ◦ rhyme                5 s  waits for rate limit
    ▸ draft #4 (x)           5 s  over budget of 5.00 s
      ✓ lookup            1.00 s
  ▸ résumé                   4 s  for linkedin, x
"""


@pytest.mark.parametrize(
    ("columns", "rows", "expected"), [(40, 24, AT_40), (80, 24, AT_80), (132, 30, AT_132)], ids=["40", "80", "132"]
)
def test_a_whole_screen(columns: int, rows: int, expected: str) -> None:
    shown = screen(a_campaign(), 20, columns, rows, expects=expecting(130, 300))
    assert shown == expected.splitlines()


@pytest.mark.parametrize(("columns", "expected"), [(40, AT_40), (80, AT_80), (132, AT_132)], ids=["40", "80", "132"])
def test_the_pictures_show_it_as_it_is(columns: int, expected: str) -> None:
    drawn = (Path(__file__).parents[1] / "docs" / "live" / f"{columns}.svg").read_text("utf-8")
    texts = re.findall(r'y="([0-9.]+)"[^>]*clip-path[^>]*>([^<]+)</text>', drawn)
    lines: dict[str, str] = {}
    for row, text in texts:
        lines[row] = lines.get(row, "") + html.unescape(text)
    assert ["".join(line.split()) for line in lines.values()] == [
        "".join(line.split()) for line in expected.splitlines()
    ]


def test_only_what_there_is_to_say() -> None:
    begins, ends = run(0, 3)
    opened = visit_event("started", "draft", "7.1", at=1)
    assert screen([], 1, 80, 24) == []
    assert screen([begins], 1, 80, 24) == ["▸ campaign, 1 s, in no stage"]
    assert screen([begins, opened], 71, 80, 24) == ["▸ campaign, 1m 11s", "  ▸ draft 1m 10s"]
    closed = visit_event("ended", "draft", "7.1", at=3, duration=2.0)
    assert screen([begins, opened, closed], 3, 80, 24)[1] == "  ✓ draft 2.00 s"
    assert screen([begins, opened, closed, ends], 9, 80, 24) == ["✓ campaign, 3.00 s, success, 1 visit"]


def test_a_long_name_leaves_room_for_the_time_of_its_run() -> None:
    begins = run(0, 1, workflow__name="the campaign for the ferry to the northern islands")[0]
    assert screen([begins], 71, 40, 24) == ["▸ the campaign f…rthern islands, 1m 11s"]


def test_the_last_of_runs_that_ended_and_how_many_did() -> None:
    history = [*run(0, 2, result="failure"), *run(3, 5, OTHER_RUN)]
    assert screen(history, 6, 80, 24) == ["✓ campaign, 2.00 s, success, 0 visits, 2 runs ended, 1 failed"]
    assert screen(history[:3], 4, 80, 24) == [
        "✗ 1 run ended, 1 failed",
        "▸ campaign, 1 s, in no stage",
    ]


CANCELLED = {"stage__result": "cancelled", "error__type": "GeneratorExit"}


def test_what_was_cancelled_has_not_failed() -> None:
    history = [*run(0, 2, result="cancelled"), *run(3, 5, OTHER_RUN, result="failure")]
    assert screen(history[:2], 3, 80, 24) == ["⊘ campaign, 2.00 s, cancelled, 0 visits"]
    assert screen(history[:2], 3, 80, 24, encoding="ascii") == ["- campaign, 2.00 s, cancelled, 0 visits"]
    assert screen(history, 6, 80, 24) == ["✗ campaign, 2.00 s, failure, 0 visits, 2 runs ended, 1 failed, 1 cancelled"]
    assert screen(history[:3], 4, 80, 24)[0] == "⊘ 1 run ended, 1 cancelled"
    history = [run(0, 1)[0], *visit("early", "7.1", 0, 1, **CANCELLED), *visit("early", "7.2", 1, 2)]
    for number in range(30):
        history += visit(f"step {number}", f"8.{number}", 1 + number, 2 + number, **(CANCELLED if number < 2 else {}))
    history.append(visit_event("started", "early", "9.1", at=39))
    assert screen(history, 40, 80, 10) == [
        "▸ campaign, 40 s, 30 stages done, 3 visits cancelled",
        "  ⊘ 28 more stages done, 28.00 s, 2 cancelled",
        "  ▸ early      1 s  1 cancelled before",
        "  ✓ step 28 1.00 s",
        "  ✓ step 29 1.00 s",
    ]
    assert screen(history[:5], 3, 80, 10)[1] == "  ✓ early 2.00 s  2 visits, 1 cancelled"
    assert screen(history[:3], 3, 80, 10)[1] == "  ⊘ early 1.00 s  cancelled GeneratorExit"


@pytest.mark.parametrize(
    ("expects", "said"),
    [
        (expecting(1.2, 4.4), "ends in 1 to 4 s"),
        (expecting(0, 0.1), "ends in 1 s"),
        (expecting(32, 54), "ends in 30 to 55 s"),
        (expecting(50, 150), "ends in 50 s to 2 min"),
        (expecting(7_000, 12_000), "ends in 1.9 to 3.3 h"),
        (expecting(5, 9, 0.987), "longer than 98 % of earlier runs"),
        (expecting(5, 9, 0.999), "longer than 99 % of earlier runs"),
        (expecting(5, 9, 1.0), "longer than all earlier runs"),
        (lambda run, now: None, ""),
    ],
)
def test_the_expected_end(expects: Expects, said: str) -> None:
    (line,) = screen([run(0, 1)[0]], 1, 80, 24, expects=expects)
    assert line == f"▸ campaign, 1 s, {f'{said}, ' if said else ''}in no stage"


def test_many_visits_of_a_stage_are_one_row_where_there_is_no_room_for_all() -> None:
    history = [run(0, 1)[0], *(visit_event("started", "fetch", f"7.{number}", at=number) for number in range(30))]
    history += visit("failing", "8.1", 1, 2, stage__result="failure", error__type="KeyError")
    assert screen(history, 40, 60, 24) == [
        "▸ campaign, 40 s, 1 stage done, 1 visit failed",
        "  ▸ fetch     40 s  30 running, the longest",
        "  ✗ failing 1.00 s  failure KeyError",
    ]


def test_more_that_runs_than_there_is_room_for_is_counted() -> None:
    history = [run(0, 1)[0], *(visit_event("started", f"s{number}", f"7.{number}", at=1) for number in range(9))]
    assert screen(history, 2, 60, 10) == [
        "▸ campaign, 2 s",
        *(f"  ▸ s{number} 1 s" for number in range(3)),
        "  ▸ 6 more running",
    ]


def test_a_stage_that_failed_stays_in_sight() -> None:
    history = [run(0, 1)[0], *visit("broken", "7.1", 0, 1, stage__result="failure", error__type="KeyError")]
    for number in range(30):
        history += visit(f"step {number}", f"8.{number}", 1 + number, 2 + number)
    assert screen(history, 40, 60, 10) == [
        "▸ campaign, 40 s, 31 stages done, 1 visit failed",
        "  ✓ 28 more stages done, 28.00 s",
        "  ✗ broken  1.00 s  failure KeyError",
        "  ✓ step 28 1.00 s",
        "  ✓ step 29 1.00 s",
    ]


def test_several_runs_share_the_room() -> None:
    history: list[str] = []
    for number in range(8):
        identity = f"{number}" * 32
        history.append(run(0, 1, identity)[0])
        history.append(visit_event("started", "draft", f"{number}.1", at=1, run=identity))
    shown = screen(history[:4], 3, 60, 24)
    assert shown == [
        "▸ campaign, 3 s, run 00000000",
        "  ▸ draft 2 s",
        "▸ campaign, 3 s, run 11111111",
        "  ▸ draft 2 s",
    ]
    assert screen(history, 3, 60, 12) == [
        *(f"▸ campaign, 3 s, draft, run {str(number) * 8}" for number in range(5)),
        "▸ 3 more runs",
    ]


def test_a_terminal_that_has_only_ascii() -> None:
    history = [run(0, 1)[0], *visit("n\u00e4me " + "x" * 40, "7.1", 1, 2), visit_event("started", "日", "7.2", at=2)]
    assert screen(history, 3, 40, 24, encoding="ascii") == [
        "> campaign, 3 s, 1 stage done",
        "  + n\\xe4me...xxxxxxx 1.00 s",
        "  > \\u65e5               1 s",
    ]


@pytest.mark.parametrize("columns", [*range(2, 30), 40, 80, 200])
@pytest.mark.parametrize("rows", [2, 3, 5, 24, 100])
def test_no_line_is_as_wide_as_the_terminal_and_half_of_it_is_left(columns: int, rows: int) -> None:
    present = Present()
    for happening in told(*a_campaign()):
        present.enter(happening)
    for expects in (None, expecting(5, 9, 0.99)):
        lines = Screen(expects=expects).lines(list(present.runs.values()), Ended(), after(20), columns, rows)
        assert 0 < len(lines) <= max(3, rows // 2) and len(lines) < rows
        assert max(cell_len("".join(text for text, _ in line)) for line in lines) < columns


def test_a_name_obeys_nothing() -> None:
    history = [run(0, 1, workflow__name="a\x1b[2Jb")[0], visit_event("started", "x\ny", "7.1", at=0)]
    assert screen(history, 1, 80, 24) == ["▸ a\\x1b[2Jb, 1 s", "  ▸ x\\x0ay 1 s"]


# --- beneath what a program says --------------------------------------------------------------------------------------


class Told:
    """A record of the test's own."""

    def __init__(self, history: Iterable[str] = ()) -> None:
        self.waits = told(*history)

    def read(self) -> Sequence[Happening]:
        found, self.waits = self.waits, []
        return found

    def processes(self) -> Processes | None:
        return None


class Beneath:
    """A display on a terminal, with a clock of the test's own."""

    def __init__(
        self,
        columns: int = 60,
        rows: int = 12,
        takes: Known = PLAIN,
        history: Iterable[str] = (),
        expects: Expects | None = None,
    ) -> None:
        self.now = 100.0
        self.terminal = Emulated(columns, rows)
        self.written = b""
        self.display = Display((columns, rows), takes, wall=lambda: START + round((self.now - 100) * 1e9))
        self.display.follow(Told([run(0, 1)[0], visit_event("started", "draft", "7.1", at=0), *history]), expects)
        self.aside = False

    def write(self, data: bytes) -> bytes:
        self.written += data
        self.terminal.feed(data)
        return data

    def say(self, data: bytes) -> None:
        self.write(self.display.said(data, self.now, aside=self.aside))

    def wait(self, seconds: float) -> bytes:
        """Let time pass, as the process does that holds the terminal."""
        until, said = self.now + seconds, b""
        while (wait := self.display.wake(self.now)) is not None and self.now + wait <= until:
            self.now += max(wait, 0.001)
            said += self.write(self.display.tick(self.now, aside=self.aside))
        self.now = max(self.now, until)
        return said

    def lines(self) -> list[str]:
        return self.terminal.everything()


DRAWN = ["▸ campaign, 0 s", "  ▸ draft 0 s"]


def test_it_stands_beneath_what_is_said() -> None:
    beneath = Beneath()
    beneath.wait(0.1)
    assert beneath.lines() == DRAWN
    assert beneath.terminal.screen.cursor.hidden
    beneath.say(b"one\ntwo\n")
    beneath.wait(0.1)
    assert beneath.lines() == ["one", "two", *DRAWN]
    beneath.write(beneath.display.finish())
    assert (beneath.lines(), beneath.terminal.is_plain) == (["one", "two"], True)


def test_only_what_has_changed_is_written() -> None:
    running = visit_event("started", "check", "7.2", at=0)
    beneath = Beneath(history=[*visit("outline", "7.3", 0, 0), running])
    beneath.wait(0.2)
    assert beneath.wait(0.7) == b""
    said = beneath.wait(0.3)
    assert len(re.findall(rb"\b1 s\b", said)) == 3  # Of the run and both stages: each line once.
    assert b"outline" not in said
    assert b"\x1b[J" not in said


def test_the_beginning_of_a_line_is_held_for_a_tenth_of_a_second_and_then_stands_alone() -> None:
    beneath = Beneath()
    beneath.wait(0.5)
    beneath.say(b"name? ")
    beneath.wait(0.09)
    assert beneath.lines() == DRAWN
    beneath.wait(0.02)
    assert (beneath.lines(), beneath.terminal.is_plain) == (["name?"], True)
    beneath.say(b"Ada\n")
    beneath.wait(0.1)
    assert beneath.lines() == ["name? Ada"]  # Another question may come.
    beneath.wait(0.3)
    assert beneath.lines() == ["name? Ada", "▸ campaign, 1 s", "  ▸ draft 1 s"]


def test_after_a_question_that_was_there_first_it_waits_too() -> None:
    beneath = Beneath()
    beneath.say(b"first? ")
    beneath.wait(0.5)
    beneath.say(b"yes\n")
    beneath.wait(0.1)
    assert beneath.lines() == ["first? yes"]
    beneath.wait(0.3)
    assert beneath.lines() == ["first? yes", *DRAWN]


def test_a_terminal_that_is_narrower_than_it_says_breaks_no_line() -> None:
    beneath = Beneath()
    beneath.terminal.resize(10, 12)
    beneath.wait(0.3)
    assert [line[:9] for line in beneath.lines()] == [line[:9] for line in DRAWN]


def test_a_line_in_pieces_is_whole() -> None:
    beneath = Beneath()
    beneath.wait(0.5)
    for piece in (b"a", b"b", b"c\n"):
        beneath.say(piece)
        beneath.wait(0.03)
    beneath.wait(0.1)
    assert beneath.lines() == ["abc", *DRAWN]
    assert beneath.written.count(b"abc") == 1


def test_it_steps_aside_at_once_while_the_program_reads_keys() -> None:
    beneath = Beneath()
    beneath.wait(0.3)
    beneath.aside = True
    beneath.wait(0.1)
    assert (beneath.lines(), beneath.terminal.is_plain) == ([], True)
    beneath.say(b"Password: ")
    assert beneath.lines() == ["Password:"]
    beneath.say(b"\n")
    beneath.aside = False
    beneath.wait(0.5)
    assert beneath.lines()[0] == "Password:"
    assert len(beneath.lines()) == 3


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (b"\x1b[?1049h", b"\x1b[?1049l"),
        (b"\x1b[?47h", b"\x1b[?47l"),
        (b"\x1b[3;7r", b"\x1b[r\x1b[2J\x1b[H\x1b[J"),
        (b"\x1b[?2026h", b"\x1b[?2026l"),
        (b"\x1b[2A", b"\n\n\n"),
        (b"\x1b[2A", b"\x1b[J"),
        (b"\x1b7\x1b[1;1H", b"\x1b[2J"),
        (b"\x1b]0;a title", b"\x07"),
        (b"\x1b[1;3", b"1m"),
        (b"\x1bP1;2", b"\x1b\\"),
        (b"50 %\r", b"\x1b[K"),
        (b"\xe6\x97", b"\xa5\n"),
        (b"abc\x1b[1A\n", b"\n"),
        (b"abc\x1b[?1049h\n\x1b[?1049l", b"\n"),
    ],
    ids=repr,
)
def test_nothing_is_drawn_while_the_screen_is_not_clear(begins: bytes, ends: bytes) -> None:
    beneath = Beneath()
    beneath.say(b"one\ntwo\nthree\n")
    beneath.wait(0.3)
    assert DRAWN[1] in beneath.lines()
    beneath.say(begins)
    beneath.wait(0.3)
    before = beneath.written
    assert beneath.written.endswith(begins)
    beneath.wait(3)
    assert beneath.written == before
    beneath.say(ends)
    beneath.wait(0.5)
    assert b"draft" in beneath.written.removeprefix(before)


def pieces_of(said: bytes, chosen: random.Random) -> list[bytes]:
    cuts = sorted(chosen.randrange(len(said) + 1) for _ in range(len(said) // 7))
    return [said[start:end] for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True)]


SAID = [
    b"plain\n", b"\x1b[31mred\x1b[0m\n", b"\x1b[1;32mstays green\n", b"\x1b[m", "日本語\n".encode(), b"no end", b"\r\n",
    b"50 %\r", b"100 %\n", b"x" * 150 + b"\n", b"\n", b"\t tab\n", b"\x1b]0;title\x07", b"a\x1b[1D\x1b[Kb\n", b"\x07",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_what_is_said_is_there_as_without_it(seed: int) -> None:
    chosen = random.Random(seed)
    said = b"".join(chosen.choice(SAID) for _ in range(60))
    beneath, alone = Beneath(columns=50, rows=15, takes=Known()), Emulated(50, 15)
    alone.feed(said)
    for piece in pieces_of(said, chosen):
        beneath.say(piece)
        beneath.wait(chosen.choice((0, 0, 0.01, 0.06, 0.15, 0.5)))
    drawn = beneath.written.count(b"draft")
    beneath.write(beneath.display.finish())
    assert beneath.lines() == alone.everything()
    there, expected = beneath.terminal.painted(), alone.painted()
    height = max(len(alone.everything()), 1)
    assert there[:height] == expected[:height]
    assert beneath.terminal.screen.cursor.attrs == alone.screen.cursor.attrs
    assert (beneath.terminal.screen.cursor.hidden, drawn > 0) == (False, True)


@pytest.mark.parametrize("seed", range(10))
def test_every_byte_comes_in_its_order_whatever_it_is(seed: int) -> None:
    chosen = random.Random(seed)
    said = bytes(chosen.choice(b"ab\n\r\x1b[]?;0123hlmJKHAr\x07\\PM78\xe6\x97\xa5\x18") for _ in range(1_500))
    beneath = Beneath()
    ours: list[bytes] = []
    erase, paint = beneath.display._painter.erase, beneath.display._painter.paint

    def noted(make: Callable[..., bytes]) -> Callable[..., bytes]:
        def made(*given: list[bytes]) -> bytes:
            ours.append(make(*given))
            return ours[-1]

        return made

    beneath.display._painter.erase, beneath.display._painter.paint = noted(erase), noted(paint)
    for piece in pieces_of(said, chosen):
        beneath.say(piece)
        beneath.wait(chosen.choice((0, 0.06, 0.15, 0.4)))
    beneath.write(beneath.display.finish())
    left = beneath.written
    at = 0
    for each in ours:  # What is ours is taken out where it stands; all else is the program's.
        found = left.index(each, at)
        left, at = left[:found] + left[found + len(each) :], found
    assert left == said


def test_much_that_is_said_at_once_is_not_kept() -> None:
    beneath = Beneath()
    beneath.wait(0.3)
    beneath.say(b"x" * 40_000)
    assert beneath.written.endswith(b"x" * 40_000)
    beneath.say(b"\n")
    written = b""
    for _ in range(2_000):
        beneath.now += 0.001
        written += beneath.display.said(b"line\n" * 100, beneath.now, aside=False)
        assert len(beneath.display._held) < 33_000
    assert written.count(b"line\n") > 190_000
    assert 30 <= written.count(b"draft") <= 40  # At most twenty times in a second.


@pytest.mark.parametrize(("columns", "rows"), [(40, 12), (20, 8), (100, 30)])
def test_it_fits_after_a_resize(columns: int, rows: int) -> None:
    beneath = Beneath(columns=60, rows=12, history=a_campaign())
    beneath.say(b"one\n")
    beneath.wait(0.5)
    beneath.terminal.resize(columns, rows)
    beneath.write(beneath.display.resize(columns, rows))
    beneath.wait(0.5)
    lines = beneath.lines()
    assert lines[0] == "one"
    assert lines[1].startswith("▸ campaign")
    assert len(lines) <= 1 + max(3, rows // 2)
    assert len([line for line in lines if "campaign" in line]) == 1
    assert max(map(cell_len, lines)) < columns


def test_a_program_that_hides_the_cursor_or_breaks_no_lines_finds_it_so() -> None:
    beneath = Beneath()
    beneath.say(b"\x1b[?25l\x1b[?7l\n")
    beneath.wait(0.5)
    beneath.say(b"more\n")
    beneath.wait(0.5)
    beneath.write(beneath.display.finish())
    assert b"?25h" not in beneath.written
    assert b"?7h" not in beneath.written
    beneath.write(beneath.display.put_back())
    assert beneath.terminal.is_plain


def test_what_a_dead_program_has_left_is_put_back() -> None:
    beneath = Beneath()
    beneath.say(b"\x1b[?1049h\x1b[?1002h\x1b[?2004h\x1b=\x1b[31mcut off \x1b[3")
    beneath.write(beneath.display.finish())
    assert beneath.display.put_back() == b"\x18\x1b[?1002l\x1b[?1049l\x1b[?2004l\x1b>\x1b[0m"
    assert beneath.display.put_back() == b""


def test_colours_say_nothing_that_signs_do_not() -> None:
    coloured = Beneath(takes=Known(), history=visit("broken", "7.2", 0, 0, stage__result="failure"))
    plain = Beneath(history=visit("broken", "7.2", 0, 0, stage__result="failure"))
    for each in (coloured, plain):
        each.wait(0.3)
    assert coloured.lines() == plain.lines()
    assert b"\x1b[36m" in coloured.written
    assert b"\x1b[31m" in coloured.written
    assert not re.search(rb"\x1b\[[0-9;]*m", plain.written)


def test_the_terminals_own_progress_and_title_are_put_back() -> None:
    beneath = Beneath(takes=Known(progress=True, title=True))
    beneath.wait(0.3)
    assert beneath.written.count(b"\x1b]9;4;3;0\x1b\\") == 1
    assert beneath.written.count(b"\x1b[22;2t\x1b]2;campaign\x1b\\") == 1
    assert beneath.display.finish().endswith(b"\x1b]9;4;0;0\x1b\\\x1b[23;2t")


def test_the_expected_end_is_asked_for_once_a_second() -> None:
    asked: list[float] = []

    def expects(run: RunNow, now: int) -> Remaining:
        asked.append((now - START) / 1e9)
        return Remaining(30 - asked[-1], 30 - asked[-1])

    beneath = Beneath(takes=Known(coloured=False, progress=True), expects=expects)
    beneath.wait(10.95)
    assert len(asked) == 11
    assert beneath.lines()[0] == "▸ campaign, 10 s, ends in 20 s"
    assert beneath.written.rpartition(b"\x1b]9;4;")[2].startswith(b"1;3")  # A third of its time has passed.


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Known(moves=False, coloured=False)),
        ({"TERM": "dumb"}, Known(moves=False, coloured=False)),
        ({"TERM": "xterm-256color"}, Known()),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, Known(coloured=False)),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, Known()),
        ({"TERM": "xterm-256color", "WT_SESSION": "1"}, Known(synchronized=True, progress=True)),
        ({"TERM": "xterm-ghostty"}, Known(synchronized=True, progress=True)),
        ({"TERM": "xterm-kitty"}, Known(synchronized=True, title=True)),
        ({"TERM": "xterm-kitty", "TMUX": "1"}, Known()),
        ({"TERM": "screen.xterm", "VTE_VERSION": "8000"}, Known()),
        ({"TERM": "xterm", "VTE_VERSION": "8000"}, Known(progress=True)),
        ({"TERM": "xterm", "VTE_VERSION": "7600"}, Known()),
        ({"TERM": "xterm", "XTERM_VERSION": "XTerm(390)"}, Known(title=True)),
        (
            {"TERM": "xterm", "TERM_PROGRAM": "WezTerm", "TERM_PROGRAM_VERSION": "20240203-110809-5046fc22"},
            Known(synchronized=True),
        ),
        (
            {"TERM": "xterm", "TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "3.6.6"},
            Known(synchronized=True, progress=True, title=True),
        ),
    ],
    ids=str,
)
def test_what_a_terminal_is_known_to_take(environment: dict[str, str], expected: Known) -> None:
    assert known(environment) == expected


def test_a_fault_of_the_display_ends_the_display_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> list[str]:
        raise ZeroDivisionError("no room")

    beneath = Beneath(columns=80)
    beneath.wait(0.3)
    beneath.say(b"be")
    monkeypatch.setattr(Screen, "lines", fails)
    beneath.wait(0.5)
    beneath.say(b"fore\nafter\n")
    beneath.wait(5)
    beneath.say(b"\x1b[31m end")
    beneath.write(beneath.display.finish())
    said = "otel-progress: the display is off: ZeroDivisionError: no room"
    assert without_blanks(beneath.lines()) == ["before", "after", said, " end"]
