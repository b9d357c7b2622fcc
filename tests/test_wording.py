"""What a program says behind words of ours: both together read as a sentence, wherever they are put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otel_progress.cli.main import main
from otel_progress.insight.whatif import Replay
from otel_progress.report.cell import as_text
from otel_progress.report.lines import Lines
from otel_progress.runs import Wait
from otel_progress.runs.present import Present
from otel_progress.runs.wording import behind, for_all, for_what

from .records import event, record, span, visit_event
from .test_insight_whatif import at, run
from .test_insight_whatif import visit as timed_visit
from .test_lines import after, told
from .test_live_screen import screen

REASONS = [
    ("approval", " for approval"),
    ("for the editor", " for the editor"),
    ("For the editor.", " for the editor"),
    ("waiting for the editor", " for the editor"),
    ("waits until noon", " until noon"),
    ("to be approved", " to be approved"),
    ("on the editor...", " on the editor"),
    ("waiting room", " for waiting room"),
    ("forwarding", " for forwarding"),
    ("for-profit bodies", " for for-profit bodies"),
    ("waiting", ""),  # What a visit says that names no reason.
    ("wait for", ""),
    ("for", ""),
    (" . ", ""),
    ("", ""),
]


@pytest.mark.parametrize(("reason", "said"), REASONS)
def test_a_reason_reads_as_one_sentence_behind_waits(reason: str, said: str) -> None:
    assert for_what(reason) == said


def test_a_long_reason_is_cut_where_more_comes_behind_it() -> None:
    assert for_what("for " + "approval " * 20, 20) == " for approval approval a…"
    assert for_what("x" * 20, 20) == f" for {'x' * 20}"


def test_of_several_reasons_for_is_said_once() -> None:
    assert for_all(["approval", "for the editor", "until noon", "to be read", "waiting"]) == (
        "for approval, the editor, until noon and 1 more"
    )
    assert for_all(["until noon", "approval", "for approval"]) == "until noon, for approval"
    assert for_all(["waiting"]) == ""


def test_a_word_stands_once_before_a_text_that_begins_with_it() -> None:
    assert [behind("item", text) for text in ("3", "item 3", "Item", "items", " ", "")] == [
        "item 3",
        "item 3",
        "item",
        "item items",
        "",
        "",
    ]


# --- wherever it is said ----------------------------------------------------------------------------------------------


def waiting(reason: str) -> list[str]:
    return [
        event("run.started"),
        visit_event("started", "publish", "7-abcdef.1", at=0),
        visit_event("progress", "publish", "7-abcdef.1", at=1, wait__reason=reason),
    ]


@pytest.mark.parametrize(("reason", "said"), [("for the editor", "waits for the editor"), ("waiting", "waits")])
def test_what_goes_on_says_what_it_waits_for(reason: str, said: str) -> None:
    lines, present, history = Lines(), Present(), waiting(reason)
    lines.tell(told(*history), after(2))
    assert lines.tell((), after(10))[-1].endswith(f"publish still running for 10 s, {said}")
    for happening in told(*history):
        present.enter(happening)
    assert as_text(present.runs.values(), after(5)).endswith(f"running for 5 s, {said}")
    assert screen(history, 5, 80, 24)[-1].endswith(f"5 s  {said}")


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spans = [
        span("wait", "w1", "s1", at=1.0, takes=6.0, wait__reason="for the editor. ", run="ab" * 16),
        span("attempt", "a1", "s1", at=7.0, takes=0.5, run="ab" * 16),
        span("item", "i1", "s1", at=7.5, takes=0.2, item__platform="Item 3", run="ab" * 16),
        span("stage publish", "s1", "r1", takes=8.0, stage__wait=6.0, run="ab" * 16),
        span("run campaign", "r1", takes=8.0, run="ab" * 16),
    ]
    record(tmp_path / ".otel-progress", spans=spans)


@pytest.mark.usefixtures("recorded")
def test_the_tree_says_what_was_waited_for_and_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show"]) == 0
    texts = [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()]
    assert [text for text in texts if text.startswith(("waited", "attempt", "item"))] == [
        "waited for the editor",
        "attempt 1 failed",
        "item 3",
    ]


@pytest.mark.usefixtures("recorded")
def test_the_report_says_what_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == 0
    assert "publish waits for the editor more than it works: 6.00 s of its 8.00 s" in capsys.readouterr().out


def test_what_cannot_be_replayed_says_what_is_waited_for() -> None:
    waits = (Wait("for a place", at(0), at(1)),)
    one, other = timed_visit("work", 0, 3, waits=waits, wait=1.0), timed_visit("work", 0, 2, id="other")
    refused = Replay(run(one, other, ends=3)).faster("work").refused
    assert refused == (
        "a visit of work waits for a place while others go on, and the record does not hold how many that lets through"
    )


def test_what_was_left_open_is_said_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    left: dict[str, Any] = {"error__type": "abandoned"}
    spans = [
        span("stage draft", "s1", "r1", stage__result="abandoned", **left),
        span("run campaign", "r1", result="abandoned", **left),
    ]
    record(tmp_path / ".otel-progress", spans=spans)
    assert main(["show"]) == 0
    assert capsys.readouterr().out.count("abandoned") == 2  # Of the run, and of its visit.
    history = [
        event("run.started"),
        visit_event("started", "draft", "7.1", at=0),
        visit_event("ended", "draft", "7.1", at=1, stage__result="abandoned", **left),
    ]
    assert Lines().tell(told(*history), after(2))[-1].endswith("draft ended in 1.00 s: abandoned")
    assert screen(history, 2, 80, 24)[-1].endswith("1.00 s  abandoned")
    present = Present()
    for happening in told(*history):
        present.enter(happening)
    assert as_text(present.runs.values(), after(2)).endswith("  abandoned")
