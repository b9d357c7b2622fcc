"""`otel-progress runs` and `otel-progress show`: what they print, and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from otel_progress.cli.main import main
from otel_progress.recording.times import timestamp
from otel_progress.report.tree import tree
from otel_progress.runs.model import Run, Stage, Visit

from .records import RUN, SECOND, START, TRACE, campaign, event, record, span, visit_event, write

FAILED, OPEN = "b" * 32, "c" * 32


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, in a zone of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("otel_progress.cli.output.Console", lambda file: type("Plain", (), {"color_system": None}))
    return tmp_path / ".otel-progress"


@pytest.fixture
def folder(here: Path) -> Path:
    """Three runs: one that went well, one that failed, and one that has no end."""
    record(here, "20250828T104500Z-app-0a0a0a", spans=campaign())
    failed = [
        span(
            "attempt", "at1", "s1", at=101, takes=0.5, run=FAILED, message="no\x1b[2J", error__type="OSError"
        ),
        span(
            "stage fetch", "s1", "r1", at=101, takes=30.0, run=FAILED, stage__result="failure", error__type="OSError",
            stage__attempts=2, stage__retries=1, stage__wait=29.0, stage__revision=2,
        ),
        span("run campaign", "r1", at=100, takes=125.0, run=FAILED, result="failure", error__type="OSError"),
    ]  # fmt: skip
    record(here, "20250828T104640Z-app-0b0b0b", spans=failed)
    going_on = [
        event("run.started", run=OPEN, at=200.0, span_id="r2"),
        visit_event("started", "craft", "7-a.1", run=OPEN, at=201.0, stage__items__total=6),
        visit_event("progress", "craft", "7-a.1", run=OPEN, at=202.0, stage__items__done=2, item__platform="x"),
        visit_event("started", "translate", "7-a.2", run=OPEN, at=203.0, parent__visit_id="7-a.1"),
    ]
    record(here, "20250828T104820Z-app-0c0c0c", events=going_on)
    return here


def run(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as error:
        assert isinstance(error.code, int)
        return error.code


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_the_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("runs") == 0
    out, err = capsys.readouterr()
    assert lines(out) == [
        "run       started              workflow    time  state          stages  visits  revisions  retries",
        "cccccccc  2025-08-28 10:48:20  campaign       -  unknown             2       2          -        0",
        "bbbbbbbb  2025-08-28 10:46:40  campaign  2m 05s  done: failure       1       1          2        1",
        "01234567  2025-08-28 10:45:00  campaign  8.00 s  done: success       2       2          -        0",
    ]
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--state", "failure"], [FAILED]),
        (["--state", "failure", "--state", "unknown"], [OPEN, FAILED]),
        (["--since", "2025-08-28T10:46:00"], [OPEN, FAILED]),
        (["--since", "2025-08-28T12:46:00+02:00", "--until", "2025-08-28T10:47:00Z"], [FAILED]),
        (["--since", "1w"], []),
        (["--until", "1s"], [OPEN, FAILED, RUN]),
        (["--workflow", "camp*"], [OPEN, FAILED, RUN]),
        (["--workflow", "other"], []),
        (["--limit", "1"], [OPEN]),
        (["--limit", "0"], [OPEN, FAILED, RUN]),
    ],
)
def test_what_is_asked_for(
    arguments: list[str], expected: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("runs", "--json", *arguments) == 0
    out, err = capsys.readouterr()
    assert [each["id"] for each in json.loads(out)] == expected
    assert ("there are more of them; --limit 0 shows all" in err) == (arguments == ["--limit", "1"])


def test_the_list_is_cut_and_json_is_not(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(here, spans=[span("run x", f"r{number}", run=f"{number:032x}") for number in range(60)])
    assert run("runs") == 0
    out, err = capsys.readouterr()
    assert len(lines(out)) == 1 + 50
    assert "there are more of them" in err
    for arguments, expected in (([], 60), (["--limit", "0"], 60), (["--limit", "7"], 7)):
        assert run("runs", "--json", *arguments) == 0
        assert len(json.loads(capsys.readouterr().out)) == expected


def test_the_list_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("runs", "--json", "--state", "failure") == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "id": FAILED,
            "workflow": "campaign",
            "started": timestamp(START + 100 * SECOND),
            "ended": timestamp(START + 225 * SECOND),
            "seconds": 125.0,
            "state": "done",
            "note": "",
            "result": "failure",
            "stages": 1,
            "visits": 1,
            "revision": 2,
            "retries": 1,
            "source": "20250828T104640Z-app-0b0b0b",
        }
    ]


def test_the_tree_of_the_newest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show") == 0
    assert lines(capsys.readouterr().out) == [
        "campaign  unknown  -",
        "its end was not recorded",
        f"run {OPEN}, started 2025-08-28 10:48:20, trace {TRACE}, service studio",
        "from 20250828T104820Z-app-0c0c0c",
        "",
        "  after  time  stage",
        "+1.00 s     -  craft  unknown (its end was not recorded); x; 2 of 6 items",
        "+3.00 s     -    translate  unknown (its end was not recorded)",
    ]


def test_the_tree_of_one_that_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "bbb") == 0
    assert lines(capsys.readouterr().out) == [
        "campaign  done: failure, OSError  2m 05s",
        f"run {FAILED}, started 2025-08-28 10:46:40, trace {TRACE}, service studio",
        "from 20250828T104640Z-app-0b0b0b",
        "",
        "  after     time  stage",
        "+1.00 s  30.00 s  fetch  failure OSError; 1 retry after 29.00 s; revision 2",
        "+1.00 s   500 ms    attempt 1 failed: OSError: no\\x1b[2J",
    ]


def test_the_tree_of_one_without_visits(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(here, spans=[span("run campaign", "r1", takes=2.0)])
    assert run("show") == 0
    assert lines(capsys.readouterr().out)[3:] == ["", "no stage was visited"]


def test_the_tree_of_one_of_which_only_totals_are_known() -> None:
    totals = Run("r1", "campaign", "here", state="done", stages=(Stage("a", visits=2, seconds=3.0),))
    assert [text for text, _ in tree(totals, START, 10)][-3:] == ["", "visits    time  stage", "     2  3.00 s  a"]
    assert [text for text, _ in tree(totals, START, 10)].count("") == 1


def test_the_tree_says_for_what_it_waits_behind_that_it_waits() -> None:
    asks = Visit("1", "ask", started=START, state="waiting", note="until noon")
    waits = Run("r1", "campaign", "here", started=START, state="waiting", note="until noon", visits=(asks,))
    said = [text for text, _ in tree(waits, START + 3 * SECOND, 10)]
    assert said[0] == "campaign  waiting until noon  3.00 s so far"
    assert said[-1].endswith("  ask  waiting until noon")
    assert "until noon" not in said
    (first, _), *_ = tree(replace(waits, note=""), START + 3 * SECOND, 10)
    assert first == "campaign  waiting  3.00 s so far"


def test_one_item_is_no_items(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spans = [
        span("stage a", "s1", "r1", takes=0.5, stage__items__done=1),
        span("stage b", "s2", "r1", at=1, takes=0.5, stage__items__done=1, stage__items__total=1),
    ]
    record(here, spans=[*spans, span("run campaign", "r1", takes=2.0)])
    assert run("show") == 0
    assert [line.partition("  ")[2] for line in lines(capsys.readouterr().out)[5:]] == [
        "500 ms  a  1 item",
        "500 ms  b  1 of 1 items",
    ]


def test_the_tree_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "bbb", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["id"], shown["seconds"], shown["retries"]) == (FAILED, 125.0, 1)
    (visit,) = shown["visits"]
    assert (visit["stage"], visit["started"], visit["seconds"]) == ("fetch", timestamp(START + 101 * SECOND), 30.0)
    assert [attempt["error"] for attempt in visit["failed"]] == ["OSError"]


def test_of_many_visits_the_first_are_shown_and_the_stages_with_their_totals(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spans = [span("stage draft", f"s{number}", "r1", at=number, takes=0.5) for number in range(30)]
    record(here, spans=[*spans, span("run campaign", "r1", takes=40.0)])
    assert run("show", "--visits", "2") == 0
    assert lines(capsys.readouterr().out)[4:] == [
        "  after    time  stage",
        "+0.0 ms  500 ms  draft",
        "+1.00 s  500 ms  draft",
        "                 and 28 more visits",
        "",
        "visits     time  stage",
        "    30  15.00 s  draft  30 success",
    ]


def test_in_a_narrow_terminal_the_list_leaves_out_what_matters_least(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert run("runs", "--limit", "1") == 0
    assert lines(capsys.readouterr().out) == [
        "run       started              workflow  time  state    stages  visits",
        "cccccccc  2025-08-28 10:48:20  campaign     -  unknown       2       2",
    ]
    monkeypatch.setenv("COLUMNS", "40")
    assert run("runs") == 0
    assert lines(capsys.readouterr().out) == [
        "run       workflow  state",
        "cccccccc  campaign  unknown",
        "bbbbbbbb  campaign  done: failure",
        "01234567  campaign  done: success",
    ]


def test_in_a_narrow_terminal_the_tree_goes_on_below(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert run("show", "bbb") == 0
    assert lines(capsys.readouterr().out) == [
        "campaign  done: failure, OSError  2m 05s",
        f"run {FAILED},",
        "started 2025-08-28 10:46:40, trace",
        f"{TRACE},",
        "service studio",
        "from 20250828T104640Z-app-0b0b0b",
        "",
        "   time  stage",
        "30.00 s  fetch  failure OSError; 1",
        "           retry after 29.00 s; revision",
        "           2",
        " 500 ms    attempt 1 failed: OSError:",
        "             no\\x1b[2J",
    ]


@pytest.mark.parametrize("width", [12, 20, 40, 60, 80, 200])
@pytest.mark.parametrize("name", ["ж" * 18, "ж" * 198, "訳" * 9, "訳" * 198])
def test_no_part_of_a_name_is_lost_at_any_width(
    name: str, width: int, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named: dict[str, Any] = {"stage__name": name, "workflow__name": name}
    spans = [  # Each inside the one before.
        span("stage x", f"s{number}", f"s{number - 1}" if number else "r1", at=number, **named) for number in range(60)
    ]
    record(here, spans=[*spans, span("run x", "r1", takes=70.0, **named)])
    monkeypatch.setenv("COLUMNS", str(width))
    for arguments, times in ((["runs"], 1), (["show"], 1 + 60), (["show", "--visits", "1"], 1 + 1 + 1)):
        assert run(*arguments) == 0
        out = capsys.readouterr().out
        assert out.count(name[0]) == times * len(name)
        assert max(cell_len(line) for line in out.splitlines()) <= width
        if cell_len(name) <= width - 26:
            assert out.count(name) == times  # In one line.


def test_a_pipe_has_no_margin(here: Path) -> None:
    name = "content_generation" * 11
    record(here, spans=[span("stage x", "s1", "", stage__name=name, workflow__name=name)])
    for command in ("runs", "show"):
        assert name.encode() in in_a_process(command, env={"COLUMNS": ""}).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "zz"], 1, "no run begins with zz"),
        (["show", "zz\x1b[2J"], 1, "no run begins with zz\\x1b[2J"),
        (["show", ""], 2, "otel-progress: no run is named: `otel-progress runs` lists them\n"),
        (["report", ""], 2, "otel-progress: no run is named: `otel-progress runs` lists them\n"),
        (["watch", ""], 2, "otel-progress: no run is named: `otel-progress runs` lists them\n"),
        (["compare", "", "a"], 2, "otel-progress: no run is named: BASE and NEW both name some\n"),
        (["run", ""], 2, "otel-progress: no program is named\n"),
        (["run", "-m", ""], 2, "otel-progress: no program is named\n"),
        (["bench", "--", ""], 2, "otel-progress: no program is named\n"),
        (["bench", "--", "-m", ""], 2, "otel-progress: no program is named\n"),
        (["bench", "--against", "", "--", "foreign.txt"], 2, "otel-progress: --against names no version\n"),
        (["ui", "--host", ""], 2, "argument --host: no address is named\n"),
        (["runs", "--workflow", ""], 0, "no run is recorded there that is asked for"),
        (["report", "--workflow", ""], 1, "no run is there that is asked for"),
        (["show", "--from", "nothing.jsonl"], 2, "nothing.jsonl: No such file or directory"),
        (["runs", "--from", "nothing.jsonl"], 2, "nothing.jsonl: No such file or directory"),
        (["runs", "--state", "odd"], 2, "invalid choice"),
        (["runs", "--since", "soon"], 2, "'soon' is neither a time nor how long ago"),
        (["runs", "--since", "9999999999999w"], 2, "is neither a time nor how long ago"),
        (["runs", "--limit", "-1"], 2, "'-1' is no whole number"),
        (["show", "--visits", "many"], 2, "'many' is no whole number"),
        (["runs", "--workflow", "other"], 0, "no run is recorded there that is asked for"),
        (["runs", "--from", "foreign.txt"], 2, "foreign.txt:1: not JSON: Expecting value at character 1"),
        (["show", "--from", "foreign.txt"], 2, "foreign.txt:1: not JSON: Expecting value at character 1"),
        (["show", "--from", "empty.txt"], 1, "there is no run"),
        (["runs", "--from", "http://127.0.0.1:9"], 2, "http://127.0.0.1:9/api/v3/services: Connection refused"),
        (["runs", "--from", "http://me:secret@127.0.0.1:9?key=secret"], 2, "http://127.0.0.1:9/api/v3/services: "),
        (["runs", "--from", "http://[::1"], 2, "Invalid IPv6 URL"),
        (["runs", "--from", "http://"], 2, "http://"),
    ],
)
def test_what_is_wrong_is_said_and_told_by_the_exit_code(
    arguments: list[str], code: int, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("foreign.txt").write_text("hello\n")
    Path("empty.txt").touch()
    assert run(*arguments) == code
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""
    assert "Traceback" not in err
    assert "secret" not in err


@pytest.mark.parametrize("command", ["show", "report", "watch"])
def test_of_several_runs_that_begin_so_the_ids_are_said(
    command: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["ab" * 16, "ac" * 16]
    for number, each in enumerate(ids):
        record(here, f"20250828T10450{number}Z-app-0a0a0a", spans=campaign(each))
    assert run(command, "a") == 2
    assert capsys.readouterr().err == f"otel-progress: several runs begin with a: {', '.join(ids)}\n"
    assert run(command, "ad") == (2 if command == "watch" else 1)
    assert capsys.readouterr().err == "otel-progress: no run begins with ad: `otel-progress runs` lists them\n"


@pytest.mark.parametrize("width", [40, 60, 200])
@pytest.mark.parametrize("command", ["", "run", "runs", "show", "report", "stack", "ui"])
def test_the_prose_of_help_is_no_wider_than_the_terminal(
    command: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(*filter(None, [command]), "--help") == 0
    usage, *prose = capsys.readouterr().out.partition("\n\noptions:")[0].split("\n\n")
    assert usage.startswith("usage: otel-progress")
    assert prose
    assert all(len(line) <= width for part in prose if "\n  " not in part for line in part.splitlines())


@pytest.mark.parametrize(
    "command", ["", "run", "runs", "show", "watch", "report", "compare", "bench", "ui", "stack", "stack up"]
)
def test_help_fits_into_a_terminal_of_80_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(*command.split(), "--help") == 0
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("command", [["run", "--odd", "app.py"], ["runs", "--odd"], ["report", "--odd"]])
def test_an_option_that_is_not_known_is_told_by_the_command(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"usage: otel-progress {command[0]} ")
    assert err.endswith(f"otel-progress {command[0]}: error: unrecognized arguments: --odd\n")


@pytest.mark.parametrize("command", ["runs", "show", "ui"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(command, "--help") == 0
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert f"examples:\n  otel-progress {command}" in out
    assert "--from SOURCE" in out


@pytest.mark.parametrize("command", ["show", "report", "watch"])
def test_a_run_that_is_named_where_nothing_is_recorded(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "abc") == (2 if command == "watch" else 1)
    assert capsys.readouterr().err == "otel-progress: no run is recorded here: `otel-progress run app.py` records one\n"


@pytest.mark.parametrize("command", ["show", "report"])
def test_a_file_where_a_run_is_to_be_named(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hint = "otel-progress: traces.jsonl is no run, but there is a file or folder of this name: --from reads it\n"
    Path("traces.jsonl").touch()
    assert run(command, "traces.jsonl") == 1
    assert capsys.readouterr().err == hint
    Path(".otel-progress").mkdir()
    assert run(command, "traces.jsonl") == 1
    assert capsys.readouterr().err == hint


def test_where_nothing_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("runs") == 0
    assert "no run is recorded there: `otel-progress run app.py` records one" in capsys.readouterr().err
    assert run("runs", "--json") == 0
    assert capsys.readouterr().out == "[]\n"
    assert run("show") == 1
    assert "no run is recorded here" in capsys.readouterr().err
    assert list(Path().iterdir()) == []  # To look makes nothing.


@pytest.mark.parametrize("option", [["--workflow", "other"], ["--until", "2020-01-01"], ["--state", "stalled"]])
@pytest.mark.parametrize(("command", "code", "said"), [("runs", 0, "is recorded there"), ("report", 1, "is there")])
def test_beside_a_torn_line_what_is_asked_for_may_be_no_run(
    *, command: str, code: int, said: str, option: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with next(folder.glob("runs/*/spans.jsonl")).open("a") as file:
        file.write('{"resourceSpans": [')
    assert run(command, *option) == code
    err = capsys.readouterr().err
    assert "not JSON" in err
    assert f"no run {said} that is asked for" in err


@pytest.mark.parametrize("command", ["runs", "show", "watch", "report", "compare", "bench"])
def test_control_c_while_a_command_is_being_imported_says_nothing(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("otel_progress.cli.main.import_module", interrupted)
    assert main([command]) == 130
    assert capsys.readouterr() == ("", "")


def test_what_is_damaged_is_said_beside_what_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = write(Path("t.jsonl"), ["no", *campaign()])
    assert run("runs", "--from", str(broken)) == 0
    out, err = capsys.readouterr()
    assert len(lines(out)) == 2
    assert err == "otel-progress: t.jsonl:1: not JSON: Expecting value at character 1\n"


def test_names_do_nothing_to_a_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]52;c;cm0=\x07\u202egnp"
    spans = [
        span("stage x", "s1", "r1", stage__name=evil, stage__action=evil, stage__result=evil, item__platform=evil,
             error__type=evil, workflow__name=evil),
        span("run x", "r1", run=RUN, workflow__name=evil, result=evil, error__type=evil),
    ]  # fmt: skip
    record(here, spans=spans, name="20250828T104500Z-\x1b[2J-0a0a0a")
    for arguments in (["runs"], ["show"], ["show", "--visits", "0"], ["runs", "--from", ".otel-progress"]):
        assert run(*arguments) == 0
        out, err = capsys.readouterr()
        assert "\\x1b]52;c;cm0=\\x07\\u202egnp" in out
        assert not {"\x1b", "\x07", "\u202e"} & set(out + err)


def test_a_visit_that_lies_in_itself(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a damaged record. Each is shown once."""
    events = [
        event("run.started", span_id="r1"),
        visit_event("started", "one", "a", parent__visit_id="b"),
        visit_event("started", "two", "b", parent__visit_id="a"),
        visit_event("started", "self", "c", parent__visit_id="c"),
    ]
    record(here, events=events)
    assert run("show") == 0
    out = capsys.readouterr().out
    assert [out.count(f" {name}  unknown") for name in ("one", "two", "self")] == [1, 1, 1]


def in_a_process(*arguments: str, **how: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONIOENCODING"}
    return subprocess.run(
        [sys.executable, "-m", "otel_progress", *arguments],
        capture_output=True, timeout=60, check=False, env=environment | how.pop("env", {}), **how,
    )  # fmt: skip


def test_where_the_terminal_has_not_every_character(here: Path) -> None:
    record(here, spans=[span("run x", "r1", workflow__name="Übersetzung 訳")])
    done = in_a_process("runs", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert b"\\xdcbersetzung \\u8a33" in done.stdout


def test_a_reader_that_has_seen_enough(here: Path) -> None:
    record(here, spans=[span("run x", f"r{number}", run=f"{number:032x}") for number in range(3000)])
    head = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.readline()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert head.stdin is not None
    done = subprocess.run(
        [sys.executable, "-m", "otel_progress", "runs", "--limit", "0"],
        stdout=head.stdin, stderr=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    head.communicate()
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file on a disk that is full")
@pytest.mark.parametrize("command", [["runs"], ["runs", "--json"], ["show"], ["report", "--format", "json"]])
def test_where_what_is_printed_finds_no_room(command: list[str], folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "otel_progress", *command],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    said = "otel-progress: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_standard_input_that_cannot_be_read(folder: Path) -> None:
    with (folder / "written").open("wb") as written:
        done = in_a_process("show", "--from", "-", stdin=written)
    assert (done.returncode, done.stderr) == (2, b"otel-progress: standard input: Bad file descriptor\n")


def test_from_standard_input(folder: Path) -> None:
    done = in_a_process("show", "--from", "-", input="\n".join(campaign()).encode())
    assert done.returncode == 0
    assert b"campaign  done: success  8.00 s" in done.stdout


def test_a_list_brings_nothing_of_the_sdk(folder: Path) -> None:
    code = "import sys; from otel_progress.cli.main import main; main(['runs']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"opentelemetry.sdk", "pocketflow", "http.client"}.isdisjoint(done.stdout.split())


def test_coloured_on_a_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_progress.cli.output.Console", lambda file: type("Tty", (), {"color_system": "standard"}))
    assert run("runs") == 0
    out = capsys.readouterr().out
    assert "\x1b[31mbbbbbbbb" in out
    assert "\x1b[31m01234567" not in out


@contextlib.contextmanager
def another_user() -> Generator[None]:
    """Root may read everything: then this is somebody else meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="of folders of other users")
@pytest.mark.parametrize("command", [["runs"], ["show"], ["show", "ab"], ["report"], ["watch"], ["watch", "ab"]])
@pytest.mark.parametrize("closed", ["", ".otel-progress", ".otel-progress/runs"])
def test_a_folder_that_may_not_be_looked_into(
    command: list[str], closed: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of another user: it says so, and not that nothing was recorded."""
    with pytest.raises(SystemExit):  # What is imported must be by now: Python may be root's alone.
        main([command[0], "--help"])
    capsys.readouterr()
    place = folder.parent
    place.chmod(0o755)
    (place / closed).chmod(0)
    try:
        with another_user():
            assert main(command) == 2
    finally:
        (place / closed).chmod(0o755)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "otel-progress: .otel-progress: Permission denied\n"


@pytest.mark.parametrize("command", [["show"], ["watch"], ["report"]])
def test_what_is_too_long_for_the_id_of_a_run(
    command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "a" * 300]) in (1, 2)
    assert capsys.readouterr().err.startswith("otel-progress: no run begins with aaa")
    assert main([*command, "--from", str(folder) + "a" * 300]) == 2
    assert capsys.readouterr().err.endswith(": File name too long\n")


@pytest.mark.parametrize("command", [["show", "\udcff"], ["watch", "\udcff"], ["report", "\udcff"]])
def test_an_id_of_no_characters(command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) in (1, 2)
    assert "no run begins with " in capsys.readouterr().err


@pytest.mark.parametrize("time", ["2262-04-12", "9999-12-31"])
def test_a_time_that_is_later_than_any(time: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--until", time]) == 0
    assert capsys.readouterr().out.count("\n") == 4
    assert main(["runs", "--since", time]) == 0
    assert capsys.readouterr().err == "otel-progress: no run is recorded there that is asked for\n"


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="of files of other users")
@pytest.mark.parametrize(("closed", "code"), [(["b"], 0), (["a", "b"], 2)])
def test_files_of_a_collector_that_may_not_be_read(
    closed: list[str], code: int, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What they have in them nobody knows: so they are said, and not passed over as what is foreign is."""
    here.parent.chmod(0o755)
    (here.parent / "collected").mkdir()
    for name, run in (("a", RUN), ("b", OPEN)):
        file = write(here.parent / "collected" / f"{name}.jsonl", [span("run campaign", "r1", run=run)])
        file.chmod(0 if name in closed else 0o644)
    with another_user():
        assert main(["runs", "--from", "collected"]) == code
    said = capsys.readouterr()
    assert said.out.count("\n") == (2 if code == 0 else 0)
    assert said.err == "".join(f"otel-progress: collected/{name}.jsonl: Permission denied\n" for name in closed)
