"""`otel-progress bench`: what it runs, keeps and compares, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_progress.runs import read

from . import otlp

PROGRAM = """
import os, sys
from otel_progress import stage, workflow
with workflow("made", shared={}):
    with stage("draft"):
        pass
    with stage("edit"):
        pass
print("this goes nowhere")
with open(os.environ["TOLD"], "a") as file:
    file.write(" ".join([os.path.basename(os.getcwd()), os.path.basename(sys.executable), *sys.argv]) + "\\n")
"""

WAITS = """
if len(open(os.environ["TOLD"]).readlines()) == 5:
    open("there", "w").close()
    __import__("signal").pause()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOLD", str(tmp_path / "told.txt"))
    (tmp_path / "app.py").write_text(PROGRAM)
    return tmp_path


def bench(*arguments: str, code: int = 0) -> tuple[str, str]:
    """What it says, on standard output and on standard error."""
    command = [sys.executable, "-m", "otel_progress", "bench", *arguments]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def environment() -> dict[str, str]:
    return otlp.environment(COLUMNS="80", TOLD=os.environ["TOLD"])


def folder_of(said: str) -> Path:
    found = re.search(r"^Records: ([^,\n]+)", said, re.MULTILINE)
    assert found, said
    return Path(found[1])


def told(here: Path) -> list[str]:
    return (here / "told.txt").read_text().splitlines()


def test_a_set_alone(here: Path) -> None:
    out, err = bench("-n", "3", "--", "app.py", "--its", "option")
    head, *rows = out.splitlines()
    assert head.split() == ["runs", "median", "least", "most", "noise"]
    assert [re.split(" {2,}", row.strip())[:2] for row in rows] == [["the run", "3"], ["draft", "3"], ["edit", "3"]]
    assert told(here) == [f"{here.name} {Path(sys.executable).name} app.py --its option"] * 4  # One to warm up.
    kept = folder_of(err)
    assert [run.workflow for run in read(kept / "new")] == ["made"] * 3
    assert [run.workflow for run in read(kept / "warm-up")] == ["made"]
    assert list((here / ".otel-progress" / "runs").iterdir()) == []
    assert err.startswith("run 1 of 4\n")


def test_another_program_takes_turns(here: Path) -> None:
    (here / "other.py").write_text(PROGRAM)
    out, err = bench("-n", "3", "--warm-up", "0", "--against", "other.py 'a b'", "--format", "json", "--", "app.py")
    names = [line.split()[2] for line in told(here)]
    assert names == ["other.py", "app.py", "app.py", "other.py", "other.py", "app.py"]
    assert told(here)[0].endswith("other.py a b")
    (workflow,) = json.loads(out)["workflows"]
    assert (workflow["order"], workflow["base"]["compared"], workflow["new"]["compared"]) == ("in turn", 3, 3)
    assert {row["verdict"] for row in workflow["rows"]} == {"too few"}
    again = re.search(r"again: otel-progress (compare \S+ \S+)$", err, re.MULTILINE)
    assert again
    command = [sys.executable, "-m", "otel_progress", *again[1].split(), "--format", "json"]
    assert subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout == out


def test_the_same_program_in_another_folder(here: Path) -> None:
    (here / "main").mkdir()
    (here / "main" / "app.py").write_text(PROGRAM)
    bench("-n", "1", "--warm-up", "0", "--against", "main", "--", "app.py", "x")
    assert [line.split()[0] for line in told(here)] == ["main", here.name]


def test_the_same_program_by_another_interpreter(here: Path) -> None:
    other = here / "python3"
    other.write_text(f'#!/bin/sh\nOTHER=1 exec "{sys.executable}" "$@"\n')
    other.chmod(0o755)
    (here / "app.py").write_text(PROGRAM.replace("os.path.basename(os.getcwd())", "os.environ.get('OTHER', '0')"))
    bench("-n", "1", "--warm-up", "0", "--against", "./python3", "--", "app.py")
    assert [line.split()[0] for line in told(here)] == ["1", "0"]


def test_a_module(here: Path) -> None:
    (here / "package").mkdir()
    (here / "package" / "__main__.py").write_text(PROGRAM)
    bench("-n", "1", "--warm-up", "0", "--", "-m", "package", "-n", "7")
    assert [line.split()[-2:] for line in told(here)] == [["-n", "7"]]


def test_the_same_code_twice(here: Path) -> None:
    out, _ = bench("-n", "2", "--warm-up", "0", "--expect-same", "--", "app.py")
    assert "2 runs of BASE, 2 runs of NEW" in out
    assert "Nothing seems to differ, as it should be. The noise of a run is " in out


def test_programs_that_fail_are_told_of(here: Path) -> None:
    (here / "app.py").write_text(PROGRAM + "\nif 'fail' in sys.argv:\n    raise SystemExit('it is broken')\n")
    _, err = bench("-n", "2", "--against", "app.py", "--", "app.py", "fail")
    said = re.search(
        r"^otel-progress: NEW ended with exit code 1 in 2 of 2 runs; what it said: (.*)$", err, re.MULTILINE
    )
    assert said
    assert "it is broken\n" in Path(said[1]).read_text()
    assert "BASE ended" not in err
    _, err = bench("-n", "2", "--", "app.py", "fail")
    assert "otel-progress: app.py fail ended with exit code 1 in 2 of 2 runs; what it said: " in err


def test_a_program_that_is_killed_is_told_of(here: Path) -> None:
    (here / "app.py").write_text(PROGRAM + "\nos.kill(os.getpid(), 9)\n")
    _, err = bench("-n", "1", "--warm-up", "0", "--", "app.py", code=2)
    assert "was ended by SIGKILL" in err


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('no stage')", "app.py left no record: no stage was recorded."),
        ("1 / 0", "app.py left no record and ended with exit code 1: "),
        ("def broken(:", "app.py left no record and ended with exit code 1: "),
    ],
)
def test_what_leaves_no_record_is_run_once(program: str, said: str, here: Path) -> None:
    (here / "app.py").write_text(f"open('once.txt', 'x')\n{program}\n")
    out, err = bench("-n", "5", "--", "app.py", code=2)
    assert said in err
    assert out == ""


@pytest.mark.parametrize("warm_up", ["0", "1"])
def test_where_the_other_version_leaves_no_record_that_is_said_at_once(warm_up: str, here: Path) -> None:
    (here / "old.py").write_text("print('no stage')\n")
    out, err = bench("-n", "5", "--warm-up", warm_up, "--against", "old.py", "--", "app.py", code=2)
    assert err.splitlines()[-1].startswith("otel-progress: old.py left no record: no stage was recorded.")
    assert "there is no run" not in err
    assert "again: " not in err
    assert out == ""
    assert (here / "told.txt").exists() == (warm_up == "1")  # Of the warm-up the program itself is the first.


def test_one_run_without_a_record_ends_nothing(here: Path) -> None:
    third = "with open('starts', 'a') as file: number = file.write('.') and file.tell()\n"
    (here / "old.py").write_text(f"{third}if number == 3: raise SystemExit('no stage')\n{PROGRAM}")
    out, err = bench("-n", "3", "--against", "old.py", "--", "app.py")
    assert "BASE ended with exit code 1 in 1 of 3 runs" in err
    assert "2 runs of BASE, 3 runs of NEW" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--"], "no program is named"),
        (["--", "-m"], "no program is named"),
        (["--", "none.py"], "none.py: no such file"),
        (["--against", "none", "--", "app.py"], "none: no such file, and neither a folder nor a Python"),
        (["--against", "'", "--", "app.py"], "No closing quotation"),
        (["--against", "empty", "--", "app.py"], "app.py: no such file"),
        (["--against", "./python", "--", "app.py"], "./python: otel_progress is not installed there"),
        (["-n", "0", "--", "app.py"], "'0' is no number from 1 to 100000"),
        (["-n", "x", "--", "app.py"], "'x' is no number from 1 to 100000"),
        (["--warm-up", "-1", "--", "app.py"], "--warm-up"),
    ],
)
def test_wrong_input(arguments: list[str], said: str, here: Path) -> None:
    (here / "empty").mkdir()
    (here / "python").write_text("#!/bin/sh\nexit 1\n")
    (here / "python").chmod(0o755)
    out, err = bench(*arguments, code=2)
    assert said in err
    assert out == ""
    assert not (here / "told.txt").exists()


@contextmanager
def started(*arguments: str) -> Generator[subprocess.Popen[str]]:
    """It runs, in a group of its own, as the job of a shell does."""
    command = [sys.executable, "-m", "otel_progress", "bench", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("group", [True, False], ids=["Ctrl-C", "kill -INT"])
def test_ctrl_c_compares_what_was_run_until_then(group: bool, here: Path) -> None:
    """The fifth run says that it is there, and waits for the signal."""
    reader = here / "there"
    os.mkfifo(reader)
    (here / "app.py").write_text(PROGRAM + WAITS)
    with started("-n", "9", "--warm-up", "0", "--expect-same", "--", "app.py") as process:
        reader.open().close()
        (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=otlp.TIMEOUT)
    assert process.returncode == 130
    assert "made: 2 runs of BASE, 2 runs of NEW\n" in out
    assert "Traceback" not in err
    assert len(list((folder_of(err) / "base" / "runs").iterdir())) == 2
    assert len(told(here)) == 5


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_a_set_alone_in_other_forms(form: str, here: Path) -> None:
    out, _ = bench("-n", "1", "--warm-up", "0", "--format", form, "--", "app.py")
    if form == "json":
        found = json.loads(out)
        assert found["version"] == 1
        assert [(each["stage"], each["runs"]) for each in found["summaries"]] == [(None, 1), ("draft", 1), ("edit", 1)]
    else:
        head, _, *rows = out.splitlines()
        assert head == "| | runs | median | least | most | noise |"
        assert [row.split(" | ")[:2] for row in rows] == [["| the run", "1"], ["| draft", "1"], ["| edit", "1"]]
