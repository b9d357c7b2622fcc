"""`otel-progress compare`: which runs it takes, what it prints, and how it ends."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from otel_progress.cli.main import main
from otel_progress.compare import library

from .records import attributes, record, span, write


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("otel_progress.cli.output.Console", lambda file: type("Plain", (), {"color_system": None}))
    return tmp_path


def runs_of(
    name: str, stages: Mapping[str, Sequence[float]], *, at: float = 0.0, every: float = 100.0, failed: int = 0
) -> list[str]:
    """The spans of runs with these stages, one after the other; the last ones failed."""
    lines: list[str] = []
    times = len(next(iter(stages.values())))
    for number in range(times):
        run = f"{name}{number:03}".encode().hex().ljust(32, "0")[:32]
        begin = at + number * every
        after = begin
        for place, (stage, seconds) in enumerate(stages.items()):
            lines.append(
                span(
                    f"stage {stage}",
                    f"{run[:12]}{place:04x}",
                    f"{run[:12]}ffff",
                    at=after,
                    takes=seconds[number],
                    run=run,
                )
            )
            after += seconds[number]
        result = "failure" if number >= times - failed else "success"
        lines.append(span("run campaign", f"{run[:12]}ffff", at=begin, takes=after - begin, run=run, result=result))
    return lines


def noisy(seconds: float, times: int, seed: int, noise: float = 0.03) -> list[float]:
    drawn = random.Random(seed)
    return [seconds * drawn.lognormvariate(0, noise) for _ in range(times)]


def base(times: int = 12) -> dict[str, list[float]]:
    return {"draft": noisy(2, times, 1), "check": noisy(4, times, 2), "publish": noisy(1, times, 3)}


def new(times: int = 12, slower: float = 1.0) -> dict[str, list[float]]:
    return {"draft": noisy(2, times, 4), "check": noisy(4 * slower, times, 5), "publish": noisy(1, times, 6)}


def run(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as error:
        assert isinstance(error.code, int)
        return error.code


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


@pytest.fixture
def files(here: Path) -> Path:
    """Runs of a base, of a version whose check is slower, and of one that is as fast and took turns with the base."""
    write(here / "base.jsonl", runs_of("b", base()))
    write(here / "slower.jsonl", runs_of("s", new(slower=1.3), at=5000))
    write(here / "same.jsonl", runs_of("n", new(), at=50))
    return here


SLOWER = """\
campaign: 12 runs of BASE, 12 runs of NEW

             base     new  change      interval  verdict
the run    7.03 s  8.22 s  +16.4%  +14% to +19%  slower
  draft    2.01 s  2.00 s   -0.9%    -4% to +3%  same
  check    4.02 s  5.23 s  +29.6%  +25% to +33%  slower
  publish  1.01 s  1.00 s   -0.9%    -5% to +4%  same

NEW is slower: the run +16.4%, check +29.6%.
Assumed: the machine was the same for both sides, which ran one after the other.
Runs resemble those before them, and count for as little as 50%. `otel-progress
bench` lets them take turns.
slower, faster: by 10% or more, by chance in at most 5% of all comparisons;
same: shown to be within 10%; stages: for each visit; more: runs of each side.
"""
SAME = """\
campaign: 12 runs of BASE, 12 runs of NEW

             base     new  change    interval  verdict
the run    7.03 s  7.02 s   -0.5%  -3% to +1%  same
  draft    2.01 s  2.00 s   -0.9%  -3% to +1%  same
  check    4.02 s  4.02 s   -0.3%  -3% to +1%  same
  publish  1.01 s  1.00 s   -0.9%  -4% to +2%  same

NEW is as fast as BASE.
The sides took turns, so a machine that drifts is no change.
slower, faster: by 10% or more, by chance in at most 5% of all comparisons;
same: shown to be within 10%; stages: for each visit; more: runs of each side.
"""
MARKDOWN = """\
### campaign

**NEW is slower: the run +16.4%, check +29.6%.**

| | base | new | change | interval | verdict |
|---|--:|--:|--:|--:|---|
| the run | 7.03 s | 8.22 s | +16.4% | +14% to +19% | slower |
| draft | 2.01 s | 2.00 s | -0.9% | -4% to +3% | same |
| check | 4.02 s | 5.23 s | +29.6% | +25% to +33% | slower |
| publish | 1.01 s | 1.00 s | -0.9% | -5% to +4% | same |
"""


def test_what_is_slower(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "base.jsonl", "slower.jsonl") == 0
    assert capsys.readouterr() == (SLOWER, "")


def test_what_is_the_same(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "base.jsonl", "same.jsonl") == 0
    assert capsys.readouterr() == (SAME, "")


def test_markdown(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "--format", "markdown", "base.jsonl", "slower.jsonl") == 0
    out = capsys.readouterr().out
    assert out.startswith(MARKDOWN)
    assert "12 runs of BASE, 12 runs of NEW. Assumed: the machine was the same" in out


def test_names_are_no_markdown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, at in (("b", 0), ("n", 5000)):
        write(here / name, runs_of(name, {"a|b*<i>": noisy(1, 2, at)}, at=at))
    assert run("compare", "--format", "markdown", "b", "n") == 0
    assert "| a\\|b\\*\\<i\\> | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("new_side", "options", "expected"),
    [
        ("slower.jsonl", [], 0),
        ("slower.jsonl", ["--fail-above", "10%"], 1),
        ("slower.jsonl", ["--fail-above", "25"], 1),  # check: 29.6 %
        ("slower.jsonl", ["--fail-above", "30%"], 0),
        ("slower.jsonl", ["--fail-above", "10%", "--smallest", "30%"], 0),
        ("slower.jsonl", ["--expect-same"], 1),
        ("same.jsonl", ["--fail-above", "10%"], 0),
        ("same.jsonl", ["--expect-same"], 0),
    ],
)
def test_the_gate(new_side: str, options: list[str], expected: int, files: Path) -> None:
    assert run("compare", "base.jsonl", new_side, *options) == expected


def test_the_smallest_change_is_what_the_gate_asks_about(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "base.jsonl", "slower.jsonl", "--fail-above", "20%") == 1
    out = capsys.readouterr().out
    assert "NEW is slower: check +29.6%." in out  # The run is slower too, but by 16.4 %.
    assert "slower, faster: by 20% or more" in out


def test_more_failures_fail_the_gate(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here / "base.jsonl", runs_of("b", base()))
    write(here / "new.jsonl", runs_of("n", new(), at=5000, failed=8))
    assert run("compare", "base.jsonl", "new.jsonl", "--fail-above", "10%") == 1
    out = capsys.readouterr().out
    assert "more runs with a failure: 8 of 12, was 0 of 12" in out
    assert "12 runs of NEW (8 failed)" in out


def test_where_every_run_fails_there_is_nothing_to_time(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here / "base.jsonl", runs_of("b", base()))
    write(here / "new.jsonl", runs_of("n", new(), at=5000, failed=12))
    assert run("compare", "base.jsonl", "new.jsonl") == 2
    assert capsys.readouterr().out.startswith(
        "campaign: 12 runs of BASE, 12 runs of NEW (12 failed)\n\nNothing can be timed"
    )
    assert run("compare", "--format", "markdown", "base.jsonl", "new.jsonl") == 2
    assert "|" not in capsys.readouterr().out
    assert run("compare", "base.jsonl", "new.jsonl", "--fail-above", "10%") == 1


def test_what_was_cancelled_has_an_end(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of twelve runs one failed, two were cancelled, and one goes on."""
    write(here / "base.jsonl", runs_of("b", base()))
    lines = runs_of("n", new(), at=5000)
    ends = [number for number, line in enumerate(lines) if '"run campaign"' in line]
    for number, result in zip(ends, ("failure", "cancelled", "cancelled"), strict=False):
        lines[number] = lines[number].replace('"success"', f'"{result}"')
    del lines[ends[3]]
    write(here / "new.jsonl", lines)
    run("compare", "base.jsonl", "new.jsonl")
    said = "12 runs of NEW (1 failed, 2 cancelled, 1 without an end)"
    assert said in capsys.readouterr().out.replace("\n", " ")
    run("compare", "--format", "json", "base.jsonl", "new.jsonl")
    (workflow,) = json.loads(capsys.readouterr().out)["workflows"]
    assert workflow["new"] == {"runs": 12, "compared": 8, "failed": 1, "left_out": 3, "cancelled": 2}


def test_how_noisy_the_machine_is(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "--expect-same", "base.jsonl", "same.jsonl") == 0
    assert "Nothing seems to differ, as it should be. The noise of a run is 2.1%, and\n" in capsys.readouterr().out
    assert run("compare", "--expect-same", "base.jsonl", "slower.jsonl") == 1
    assert "2 of 4 seem to differ though the code is the same" in capsys.readouterr().out


def test_too_few_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here / "base.jsonl", runs_of("b", base(3)))
    write(here / "new.jsonl", runs_of("n", new(3, slower=2), at=5000))
    assert run("compare", "base.jsonl", "new.jsonl", "--fail-above", "10%") == 0
    out = lines(capsys.readouterr().out)
    assert out[2:9] == [
        "             base      new  change  interval  verdict",
        "the run    7.14 s  10.88 s  +52.4%   unknown  too few, 2 more",
        "  draft    2.04 s   1.97 s   -3.6%   unknown  too few, 3 more",
        "  check    4.06 s   7.98 s  +92.0%   unknown  too few, 3 more",
        "  publish  983 ms   994 ms   +0.1%   unknown  too few, 3 more",
        "",
        "There are too few runs to say anything.",
    ]


def test_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "--format", "json", "base.jsonl", "slower.jsonl") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["version"], told["smallest"], told["error"], told["only_base"]) == (1, 0.1, 0.05, [])
    (workflow,) = told["workflows"]
    assert (workflow["workflow"], workflow["order"]) == ("campaign", "one after the other")
    assert workflow["base"] == {"runs": 12, "compared": 12, "failed": 0, "left_out": 0, "cancelled": 0}
    check = next(row for row in workflow["rows"] if row["stage"] == "check")
    assert check["verdict"] == "slower"
    assert check["low"] < 0.3 < check["high"]


# --- which runs -------------------------------------------------------------------------------------------------------


def recorded(folder: Path) -> None:
    """Runs of two versions, in one folder of records."""
    for number, (version, slower, at) in enumerate((("1.3.0", 1.0, 0.0), ("1.4.0", 1.3, 5000.0))):
        stages = base() if number == 0 else new(slower=slower)
        spans = [_of_version(line, version) for line in runs_of(f"v{number}", stages, at=at)]
        record(folder / ".otel-progress", f"20250828T10450{number}Z-app-0a0a0a", spans=spans)


def _of_version(line: str, version: str) -> str:
    told = json.loads(line)
    told["resourceSpans"][0]["resource"]["attributes"] += attributes({"service.version": version})
    return json.dumps(told)


@pytest.mark.parametrize(
    "named",
    [
        ["service.version=1.3.0", "service.version=1.4.0"],
        ["service.version=1.3.*,workflow=camp*", "service.version=1.4.?"],
        ["until=2025-08-28T11:30:00", "since=2025-08-28T11:30:00"],
        [".otel-progress/runs/*Z-app-0a0a0a/../20250828T104500Z*", ".otel-progress/runs/20250828T104501Z-app-0a0a0a"],
        ["--from", ".otel-progress", "--workflow", "campaign", "service.version=1.3.0", "service.version=1.4.0"],
    ],
)
def test_sets_of_runs(named: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(here)
    assert run("compare", *named) == 0
    assert capsys.readouterr() == (SLOWER, "")


def test_two_runs_by_their_ids(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (f"{name}000".encode().hex() for name in ("b", "s"))
    whole = (files / "base.jsonl").read_text() + (files / "slower.jsonl").read_text()
    (files / "both.jsonl").write_text(whole)
    assert run("compare", "--from", "both.jsonl", one, other) == 0
    assert "campaign: 1 run of BASE, 1 run of NEW" in capsys.readouterr().out


def test_standard_input(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told = io.BytesIO((files / "slower.jsonl").read_bytes())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=told))
    assert run("compare", "base.jsonl", "-") == 0
    assert capsys.readouterr() == (SLOWER, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["base.jsonl"], "the following arguments are required: NEW"),
        (["base.jsonl", "none.jsonl"], "none.jsonl: no file or folder of this name, and no run begins so"),
        (["base.jsonl", "none-*"], "none-*: nothing matches"),
        (["base.jsonl", "since=yesterday"], "since=yesterday: 'yesterday' is neither a time nor how long ago"),
        (["base.jsonl", "service.version="], "'service.version=' is not a name, = and a value"),
        (["base.jsonl", "since=7d,broken"], "'broken' is not a name, = and a value"),
        (["base.jsonl", "base.jsonl"], "12 of the runs are in both sets"),
        (["base.jsonl", "service.version=9"], "there is no run in NEW"),
        (["base.jsonl", "same.jsonl", "--workflow", "other"], "there is no run in BASE"),
        (["base.jsonl", "same.jsonl", "--fail-above=-3%"], "'-3%' is no percentage above 0"),
        (["base.jsonl", "same.jsonl", "--fail-above", "a lot"], "'a lot' is no percentage above 0"),
        (["base.jsonl", "same.jsonl", "--smallest", "nan"], "'nan' is no percentage above 0"),
        (["base.jsonl", "same.jsonl", "--format", "html"], "invalid choice: 'html'"),
        (["--from", "nowhere", "base.jsonl", "since=7d"], "nowhere: No such file or directory"),
    ],
)
def test_wrong_input(arguments: list[str], said: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(files / ".otel-progress", spans=runs_of("r", base(1)))
    assert run("compare", *arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


def test_other_workflows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def named(name: str, at: float) -> Iterator[str]:
        return (line.replace('"campaign"', f'"{name}"') for line in runs_of(f"{at:.0f}", base(2), at=at))

    write(here / "one.jsonl", [*named("one", 0), *named("two", 1000)])
    write(here / "other.jsonl", [*named("three", 2000), *named("four", 3000)])
    assert run("compare", "one.jsonl", "other.jsonl") == 2
    assert "BASE is of one, two and NEW of three, four: there is no workflow in both" in capsys.readouterr().err
    write(here / "new.jsonl", [*named("two", 4000), *named("four", 5000)])
    assert run("compare", "one.jsonl", "new.jsonl") == 0
    out = capsys.readouterr().out
    assert "Only in BASE: one.\nOnly in NEW: four.\n" in out


def test_damaged_lines_are_said_and_the_rest_is_compared(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (files / "slower.jsonl").open("a") as file:
        file.write("{broken\n")
    assert run("compare", "base.jsonl", "slower.jsonl") == 0
    out, err = capsys.readouterr()
    assert out == SLOWER
    assert "slower.jsonl:49: " in err


def test_without_scipy_the_line_that_installs_it_is_said(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library.stats.cache_clear()
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    assert run("compare", "base.jsonl", "slower.jsonl") == 2
    assert "comparing needs SciPy: pip install 'otel-progress[compare]'\n" in capsys.readouterr().err


def test_a_narrow_terminal_keeps_names_and_verdicts(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert run("compare", "base.jsonl", "slower.jsonl") == 0
    out = lines(capsys.readouterr().out)
    assert all(len(line) <= 40 for line in out)
    assert "  check    +29.6%  +25% to +33%  slower" in out
