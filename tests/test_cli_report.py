"""`otel-progress report`: what it prints in each format, and how it ends."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import pty
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from rich.cells import cell_len

from otel_progress.cli.main import main
from otel_progress.insight import Report, figures_of, to_json, to_records
from otel_progress.report.bottlenecks import screen
from otel_progress.report.formats import Trace, comma_separated, markdown
from otel_progress.runs import Run, Wait

from .records import RUN, campaign, link, record, span, write
from .test_insight_figures import at, odd_run
from .test_insight_path import run as run_of
from .test_insight_path import visit

OTHER = "b" * 32
SCHEMA = Path(__file__).parents[1] / "otel_progress" / "insight" / "report.schema.json"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, in a zone of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("otel_progress.cli.output.Console", lambda file: type("Plain", (), {"color_system": None}))
    monkeypatch.setattr("otel_progress.cli.report.gc.disable", lambda: None)
    return tmp_path / ".otel-progress"


@pytest.fixture
def folder(here: Path) -> Path:
    """Two runs of one workflow: drafts and checks, of which the second is edited once more."""
    follows = [link("s1", "follows")]
    lines = [
        span("stage draft", "s1", "r1", at=0, takes=2.0),
        span("stage check", "s2", "r1", at=2, takes=6.0, links=follows),
        span("run campaign", "r1", at=0, takes=10.0),
    ]
    record(here, "20250828T104500Z-app-0a0a0a", spans=lines)
    record(here, "20250828T104640Z-app-0b0b0b", spans=campaign(OTHER, at=100))
    return here


def run(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as error:
        assert isinstance(error.code, int)
        return error.code


def report_of(*runs: Run) -> Report:
    made = Report()
    for each in runs:
        made.add(each)
    return made


# --- the terminal -----------------------------------------------------------------------------------------------------


def test_one_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", RUN[:6]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"campaign  success  10.00 s  run {RUN}",
        "",
        (
            "1. check takes 60% of the time that runs wait for (6.00 s of a run): begin there: check twice as fast "
            "saves 3.00 s, 30% of the run. (1 run, low confidence)"
        ),
        (
            "2. in 2.00 s of a run (20%) no stage is open, the longest after check (2.00 s): mark what is done there "
            "as a stage, to see what it is. (1 run, low confidence)"
        ),
        "",
        "stage  visits    time     own  path  pass",
        "check       1  6.00 s  6.00 s   60%  100%",
        "draft       1  2.00 s  2.00 s   20%  100%",
        "",
        "the run: █ the critical path; ░ beside it",
        f"draft {'█' * 17}{' ' * 70} 2.00 s",  # Of 87 columns a tenth for each second.
        f"check {' ' * 17}{'█' * 53}{' ' * 17} 6.00 s",
    ]
    assert err == ""


def test_many_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report") == 0
    out, _ = capsys.readouterr()
    head, *_ = lines = out.splitlines()
    assert head == "campaign  2 runs (2 success)  p50 9.00 s, p90 9.80 s, p99 9.98 s, spread 6%"
    assert "stage  visits  runs     p50     p90     p99     own  path  pass  often" in lines
    assert "check       2     2  5.00 s  5.80 s  5.98 s  5.00 s   56%  100%   100%" in lines
    assert "the last run, bbbbbbbb: █ the critical path, 2 of its 2 steps inferred from times; ░ beside it" in lines


def odd_names() -> Run:
    """A run whose names are what a program may have: wide, long, and with what a terminal obeys."""
    names = ["草稿" * 8, "a\x1b[2Jb", "x" * 90, "plain"]
    visits = [
        visit(name, number, number + 1.5, id=str(number), parent=str(number - 1) if number == 3 else None)
        for number, name in enumerate(names)
    ]
    return replace(run_of(*visits, ends=9), workflow="w\x1b]0;x\x07" + "y" * 60)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("width", [40, 57, 80, 120, 200])
def test_it_fits(width: int, several: bool) -> None:
    runs = [odd_names(), *[replace(odd_run(seed), id=str(seed)) for seed in range(12)]]
    for group in [runs] if several else [[each] for each in runs]:
        for report in report_of(*group).workflows():
            lines = [text for text, _ in screen(report, width)]
            assert max(map(cell_len, lines)) <= width
            assert not any(sign in text for text in lines for sign in "\x1b\x07\n")
            assert len(lines) < 80


def test_the_bars_show_the_path_and_what_was_beside_it() -> None:
    made = run_of(
        visit("outer", 0, 8),
        visit("x", 0, 4, parent="outer"),
        visit("y", 0, 8, parent="outer"),
        visit("z", 8, 10, "outer"),
        ends=10,
    )
    (report,) = report_of(made).workflows()
    bars = [text for text, _ in screen(report, 30)][-4:]
    assert [line.count("█") > 0 for line in bars] == [False, False, True, True]
    assert all(cell_len(line) <= 30 for line in bars)
    outer, x, y, z = bars
    assert outer.count("░") == y.count("█") > x.count("░") > z.count("█") > 0


def test_of_many_visits_the_longest_are_shown() -> None:
    visits = [visit(f"s{number}", number, number + (3 if number == 40 else 1), id=str(number)) for number in range(60)]
    (report,) = report_of(run_of(*visits, ends=61)).workflows()
    lines = [text for text, _ in screen(report, 80)]
    assert any(line.startswith("s40 ") for line in lines[-15:])
    assert lines[-1] == "and 46 more visits"
    assert "and 48 more stages" in lines


# --- for other programs -----------------------------------------------------------------------------------------------


def test_json_is_as_the_schema_has_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert run("report", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    validator.validate(found)
    (campaign_of,) = found["workflows"]
    assert (found["version"], campaign_of["runs"], campaign_of["seconds"]["p50"]) == (1, 2, 9.0)
    assert campaign_of["stages"][0]["stage"] == "check"
    for seed in range(60):
        runs = [replace(odd_run(seed + number), id=str(number)) for number in range(1 + seed % 3)]
        validator.validate(json.loads(json.dumps(to_json(report_of(*runs).workflows(), "here"))))
    found["workflows"][0]["more"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(found)


def test_markdown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", RUN, "--format", "markdown") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "### campaign: 1 run, 10.00 s in the middle"
    assert lines[2].startswith("- check takes 60% of the time that runs wait for (6.00 s of a run): begin there")
    assert lines[-2] == "| check | 1 | 6.00 s | 6.00 s | 6.00 s | 60% | - | 0 |"
    odd = replace(run_of(visit("a|b", 0, 1), visit("<img>\n", 1, 9), ends=9), workflow="*x*")
    text = list(markdown(report_of(odd).workflows()))
    assert text[0].startswith("### \\*x\\*: ")
    assert any(line.startswith("| a\\|b |") for line in text)
    assert not any("<img" in line.replace("\\<", "") for line in text)


def test_of_a_run_without_visits_there_is_no_table() -> None:
    (report,) = report_of(Run("r", "w", "here", started=at(0), ended=at(1), state="done")).workflows()
    assert [text for text, _ in screen(report, None)][1:] == [
        "",
        "1. it took 1.00 s, and nothing stands out: there is nothing to do. (1 run, low confidence)",
    ]
    assert list(markdown([report]))[-1].startswith("- it took 1.00 s")


def test_csv(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["run"][:4], row["stage"], row["own"]) for row in rows] == [
        ("0123", "check", "6.0"),
        ("0123", "draft", "2.0"),
        ("bbbb", "check", "4.0"),
        ("bbbb", "draft", "2.0"),
    ]
    formula = figures_of(run_of(visit("=1+1", 0, 1), ends=1))
    assert next(csv.DictReader(io.StringIO(comma_separated([formula]))))["stage"] == "'=1+1"
    assert comma_separated([]) == ""


def test_no_column_of_csv_moves_a_cursor() -> None:
    """A reason to wait and a result are names of columns, and whatever the program says."""
    said = "\x1b[31mred\u202e\r"
    waits = (Wait(said, 2 * 10**9, 3 * 10**9),)
    text = comma_separated([figures_of(run_of(visit("a", 0, 5, waits=waits, result=said), ends=5))])
    (row,) = csv.DictReader(io.StringIO(text))
    assert not set("\x1b\u202e\r") & set(text)
    assert (row["waiting.\\x1b[31mred\\u202e\\x0d"], row["results.\\x1b[31mred\\u202e\\x0d"]) == ("1.0", "1")


def test_records_have_plain_values_and_the_same_columns() -> None:
    figures = [figures_of(replace(odd_run(seed), id=str(seed))) for seed in range(30)]
    of_runs = to_records(figures)
    of_all = to_records(each.figures for each in report_of(*map(odd_run, range(30))).workflows())
    for records in (of_runs, of_all):
        assert len({tuple(each) for each in records}) == 1
        assert {type(value) for each in records for value in each.values()} <= {str, int, float, bool, type(None)}
    assert "waiting.x" in of_runs[0]
    assert "seconds.p90" in of_all[0]


def test_trace_events() -> None:
    """In each row one span lies wholly in another or behind it: else Perfetto draws them over each other."""
    for seed in range(200):
        trace = Trace()
        made = [replace(odd_run(seed + number), id=str(number)) for number in range(2)]
        for each in made:
            trace.add(each, figures_of(each))
        found = json.loads(trace.dump())
        spans: list[dict[str, Any]] = [event for event in found["traceEvents"] if event["ph"] == "X"]
        assert len([each for each in spans if each["cat"] == "stage"]) == sum(len(each.visits) for each in made)
        rows: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for each in spans:
            assert each["dur"] >= 0
            begun = round(each["ts"] * 1000)
            rows.setdefault((each["pid"], each["tid"]), []).append((begun, begun + round(each["dur"] * 1000)))
        for row in rows.values():
            open_until: list[int] = []
            for begun, ends in sorted(row, key=lambda each: (each[0], -each[1])):
                while open_until and open_until[-1] <= begun:
                    open_until.pop()
                assert not open_until or ends <= open_until[-1], seed
                open_until.append(ends)


def test_the_command_gives_trace_events(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", RUN, "--format", "chrome") == 0
    events = json.loads(capsys.readouterr().out)["traceEvents"]
    found = [(event["cat"], event["name"], event["ts"], event["dur"]) for event in events if event["ph"] == "X"]
    assert found == [
        ("critical path", "draft", 0.0, 2e6),
        ("critical path", "check", 2e6, 6e6),
        ("critical path", "(no stage)", 8e6, 2e6),
        ("stage", "draft", 0.0, 2e6),
        ("stage", "check", 2e6, 6e6),
    ]


# --- what is asked for, and how it ends -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        ([], 2),
        ([RUN[:4], "bbb"], 2),
        (["--since", "2025-08-28T10:46"], 1),
        (["--until", "2025-08-28T10:46"], 1),
        (["--workflow", "camp*"], 2),
        (["--state", "success"], 2),
        (["--from", ".otel-progress/runs/20250828T104500Z-app-0a0a0a"], 1),
    ],
)
def test_which_runs(arguments: list[str], runs: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", "--format", "json", *arguments) == 0
    assert sum(each["runs"] for each in json.loads(capsys.readouterr().out)["workflows"]) == runs


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["zz"], 1, "no run begins with zz"),
        ([""], 2, "no run is named"),
        (["--workflow", "other"], 1, "no run is there that is asked for"),
        (["--from", "nothing.jsonl"], 2, "nothing.jsonl: No such file or directory"),
        (["--from", "foreign.txt"], 2, "foreign.txt:1: not JSON"),
        (["--format", "xml"], 2, "invalid choice: 'xml'"),
        (["--since", "soon"], 2, "'soon' is neither a time nor how long ago"),
        (["--state", "odd"], 2, "invalid choice: 'odd'"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], code: int, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("foreign.txt").write_text("hello\n")
    assert run("report", *arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_where_nothing_was_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report") == 1
    assert "`otel-progress run app.py` records one" in capsys.readouterr().err


def test_a_saved_store(capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"start_time": "2025-08-28T10:45:00", "end_time": "2025-08-28T10:47:30", "platforms": 6, "revisions": 0}
    write(Path("shared.json"), [json.dumps({"progress_metrics": {"draft": {**entry, "completed": True}}})])
    assert run("report", "--from", "shared.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "its visits were not recorded one by one: only totals are known" in lines
    assert any(line.startswith("draft") and "2m 30s" in line for line in lines)


def test_standard_input() -> None:
    text = "\n".join(campaign()) + "\n"
    command = [sys.executable, "-m", "otel_progress", "report", "--from", "-", "--format", "json"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["workflows"][0]["stages"][0]["stage"] == "check"


def test_control_c_ends_it_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "otel_progress", "report", "--from", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        for _ in range(2000):  # More than a pipe holds: so it reads, when all of it is written.
            process.stdin.write((campaign()[0] + "\n").encode())
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        assert process.stdout
        assert process.stderr
        out, err = process.stdout.read(), process.stderr.read()
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_line_says_how_far_it_is_on_a_terminal_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = itertools.count()
    monkeypatch.setattr("otel_progress.cli.report.time", SimpleNamespace(monotonic=lambda: float(next(now))))
    assert run("report") == 0
    assert capsys.readouterr().err == ""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert run("report") == 0
    shown = ""
    with contextlib.suppress(OSError):  # As Linux says that nothing more comes.
        while piece := os.read(ours, 10_000):
            shown += piece.decode()
    os.close(ours)
    assert "\r\x1b[Kotel-progress: 1 runs" in shown
    assert shown.endswith("\r\x1b[K")


def test_the_order_of_the_lines_does_not_matter(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [*campaign(), *campaign(OTHER, at=100)]
    said: set[str] = set()
    for seed in range(5):
        write(Path("spans.jsonl"), random.Random(seed).sample(lines, len(lines)))
        assert run("report", "--from", "spans.jsonl") == 0
        said.add(capsys.readouterr().out)
    assert len(said) == 1


@pytest.mark.parametrize(("workflows", "said"), [(4, "and 1 more workflow; "), (7, "and 4 more workflows; ")])
def test_workflows_that_are_not_shown_are_named_within_the_terminal(
    workflows: int, said: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(workflows):
        name = f"a campaign of number {number}"
        spans = [span("run campaign", "r1", at=number * 10.0, takes=5.0, run=f"{number}" * 32, workflow__name=name)]
        record(here, f"20250828T10450{number}Z-app-0a0a0a", spans=spans)
    monkeypatch.setenv("COLUMNS", "60")
    assert run("report") == 0
    out = capsys.readouterr().out
    assert said in out
    assert max(map(cell_len, out.splitlines())) <= 60
