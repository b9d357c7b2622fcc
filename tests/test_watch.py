"""`otel-progress watch`: a run that goes on, seen from another terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from . import otlp, records
from .records import RUN, event, visit_event
from .said import lines_of, shown, until

WATCH = ["-m", "otel_progress", "watch"]
RUN_IT = ["-m", "otel_progress", "run", "-q"]
OTHER = "0123ffff" * 4
PROGRAM = """
    import sys
    from otel_progress import stage, workflow
    with workflow("campaign"):
        with stage("draft"): ...
        with stage("check"): sys.stdin.readline()
        try:
            with stage("publish"): raise ValueError
        except ValueError: pass
    sys.exit(int(sys.stdin.readline() or 0))
"""


def started(folder: Path, code: str = PROGRAM, marks: str = "check") -> subprocess.Popen[str]:
    """A program that is recorded, and waits in a stage."""
    process = otlp.start(folder, [*RUN_IT, str(otlp.write(folder, code))])
    otlp.wait_until(lambda: any(marks in file.read_text("utf-8") for file in folder.rglob("events.jsonl")))
    return process


def type_in(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("how", ["nothing", "folder", "record"])
def test_a_run_that_goes_on_is_followed_to_its_end(tmp_path: Path, how: str, code: int) -> None:
    program = started(tmp_path)
    (record,) = (tmp_path / ".otel-progress" / "runs").iterdir()
    named = {"nothing": [], "folder": [str(tmp_path)], "record": [str(record)]}[how]
    watching = otlp.start(tmp_path, [*WATCH, *named], COLUMNS="300")
    assert watching.stdout is not None
    said = until(watching.stdout, "so far")
    type_in(program, f"\n{code}\n")
    ended = otlp.ended(watching)
    assert otlp.ended(program).returncode == code
    assert (ended.returncode, ended.stderr) == (code, "")
    lines = lines_of(said + ended.stdout)
    table = shown(ended.stdout)[len(lines_of(ended.stdout)) :]
    rows = ["stage", "draft", "check", "publish", "outside", "campaign"]
    assert [line.split()[0] for line in table[:6]] == rows
    assert table[6] == "First failure in publish: ValueError (the run went on)"
    place = "" if how == "nothing" else f" --from {record.parent}/RECORD"
    assert re.fullmatch(rf"Next: otel-progress show [0-9a-f]{{8}}{re.escape(place)} \(check took \d+%\)", table[-1])
    assert [lines[0], re.sub(r" for .*: ", ": ", lines[1]), *lines[2:]] == [
        "  check started",
        "campaign running: 1 visit so far",
        "  check ended in T: success",
        "  publish started",
        "  publish ended in T: failure, ValueError",
        "campaign ended in T: success, 3 visits, 1 failed",
    ]


def test_the_next_run_is_waited_for(tmp_path: Path) -> None:
    watching = otlp.start(tmp_path, WATCH)
    assert watching.stderr is not None
    assert until(watching.stderr, "\n") == (
        "otel-progress: nothing runs in .otel-progress; waiting for the next to start\n"
    )
    program = otlp.start(tmp_path, [*RUN_IT, str(otlp.write(tmp_path, PROGRAM))])
    otlp.ended(program, "\n0\n")
    ended = otlp.ended(watching)
    assert ended.returncode == 0
    assert lines_of(ended.stdout) == [
        "campaign started, run ID",
        "  draft started",
        "  draft ended in T: success",
        "  check started",
        "  check ended in T: success",
        "  publish started",
        "  publish ended in T: failure, ValueError",
        "campaign ended in T: success, 3 visits, 1 failed",
    ]


def test_one_run_of_a_program_is_followed_until_that_has_ended(tmp_path: Path) -> None:
    program = started(
        tmp_path,
        """
        import sys, threading
        from otel_progress import stage, workflow
        def work(name):
            with workflow(name), stage("check"): sys.stdin.readline()
        work("before")
        with workflow("around"):
            other = threading.Thread(target=work, args=("campaign",))
            other.start()
            other.join()
            with stage("last"): sys.stdin.readline()
        """,
    )
    type_in(program, "\n")
    otlp.wait_until(lambda: any("around" in file.read_text("utf-8") for file in tmp_path.rglob("events.jsonl")))
    listed = json.loads(otlp.run(tmp_path, ["-m", "otel_progress", "runs", "--json"]).stdout)
    ids = {run["workflow"]: run["id"] for run in listed}
    around = otlp.start(tmp_path, WATCH)
    assert around.stdout is not None
    until(around.stdout, "running for")
    watching = otlp.start(tmp_path, [*WATCH, ids["campaign"][:12]])
    assert watching.stdout is not None
    until(watching.stdout, "so far")
    type_in(program, "\n")
    ended = otlp.ended(watching)  # The program goes on.
    assert (ended.returncode, lines_of(ended.stdout)) == (0, [
        "  check ended in T: success",
        "campaign ended in T: success, 1 visit",
    ])  # fmt: skip
    table = [line.split()[:2] for line in shown(ended.stdout)[2:]]
    assert table == [["stage", "visits"], ["check", "1"], ["outside", "stages"], ["campaign", "(1"], table[-1]]
    assert table[-1][0] == "Next:"  # The other runs of the program are not in it.
    said = until(around.stdout, "last started")
    assert f"  check [{ids['campaign'][:8]}] ended" in said
    assert "campaign ended in" in said
    assert f", 1 visit [{ids['campaign'][:8]}]\n" in said
    otlp.ended(program, "\n")
    assert otlp.ended(around).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_program_that_is_killed_or_stopped_is_said_to_be(tmp_path: Path, number: signal.Signals) -> None:
    program = started(tmp_path)
    watching = otlp.start(tmp_path, WATCH)
    assert watching.stdout is not None
    until(watching.stdout, "so far")
    program.send_signal(number)
    if number == signal.SIGSTOP:
        assert shown(until(watching.stdout, "stalled")) == [f"campaign stalled: process {program.pid} is stopped"]
        program.send_signal(signal.SIGCONT)
        assert shown(until(watching.stdout, "again")) == ["campaign running again"]
        program.kill()
    ended = otlp.ended(watching)
    program.kill()
    otlp.ended(program)
    assert ended.returncode == 1
    gone = f"crashed: process {program.pid} is gone without a word"
    assert lines_of(ended.stdout) == [f"  check {gone}", f"campaign {gone}"]
    table = [line.split() for line in shown(ended.stdout)[2:]]
    assert [row[0] for row in table] == ["stage", "draft", "check", "outside", "campaign", "Abandoned", "Next:"]
    assert [row[-1] for row in table[1:5]] == ["success", "abandoned", table[3][-1], "abandoned"]


def test_ctrl_c_ends_the_watching_alone(tmp_path: Path) -> None:
    program = started(tmp_path)
    watching = otlp.start(tmp_path, WATCH)
    assert watching.stdout is not None
    until(watching.stdout, "so far")
    watching.send_signal(signal.SIGINT)
    ended = otlp.ended(watching)
    assert (ended.returncode, ended.stderr) == (130, "")
    assert otlp.ended(program, "\n0\n").returncode == 0


def test_who_reads_no_more_ends_it(tmp_path: Path) -> None:
    program = started(tmp_path)
    watching = otlp.start(tmp_path, WATCH)
    assert watching.stdout is not None
    until(watching.stdout, "so far")
    watching.stdout.close()
    type_in(program, "\n")
    assert watching.wait(otlp.TIMEOUT) == 141
    watching.stdout = None
    assert otlp.ended(watching).stderr == ""
    otlp.ended(program, "\n")


# --- records of the test's own ----------------------------------------------------------------------------------------


def watch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return otlp.run(folder, [*WATCH, *arguments, "--from", str(folder)], TZ="UTC")


def process(**told: Any) -> Mapping[str, Any]:
    return {"pid": 7, "ppid": 1, "started": records.START, "host": "elsewhere", **told}


def history(*more: str) -> list[str]:
    return [
        event("run.started", span_id=RUN[:16]),
        visit_event("started", "draft", "7-abcdef.1", at=1, stage__revision=2),
        visit_event("ended", "draft", "7-abcdef.1", at=3, duration=2.0, stage__items__done=2),
        *more,
    ]


ENDS = event("run.ended", at=9, span_id=RUN[:16], result="success", duration=9.0)
FAILS = event("run.ended", at=9, span_id=RUN[:16], result="failure", duration=9.0, error__type="ValueError")


@pytest.mark.parametrize(
    ("told", "events", "code", "said"),
    [
        ({"ended": 1, "exit_code": 0}, [ENDS], 0, "10:45:09 campaign ended in 9.00 s: success, 1 visit"),
        ({"ended": 1, "exit_code": 4}, [ENDS], 4, "10:45:09 campaign ended in 9.00 s: success, 1 visit"),
        ({"ended": 1, "signal": 15}, [FAILS], 143,
         "10:45:09 campaign ended in 9.00 s: failure, ValueError, 1 visit"),
        ({"ended": 1}, [FAILS], 1, "10:45:09 campaign ended in 9.00 s: failure, ValueError, 1 visit"),
        ({"ended": 1}, [ENDS], 0, "10:45:09 campaign ended in 9.00 s: success, 1 visit"),
        ({"crashed": 1, "signal": 11}, [], 139, "campaign crashed: process 7 was ended by SIGSEGV"),
        ({"crashed": 1, "exit_code": 9}, [], 9, "campaign crashed: process 7 ended with exit code 9"),
        ({"crashed": 1}, [], 1, "campaign crashed: process 7 is gone without a word"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("named", [[RUN[:6]], []], ids=["the run", "the program"])
def test_the_exit_code_of_what_has_ended(
    tmp_path: Path, *, named: list[str], told: dict[str, Any], events: list[str], code: int, said: str
) -> None:
    record = records.record(tmp_path, events=history(*events), processes={"7-abcdef": process(**told)})
    ended = otlp.run(
        tmp_path, [*WATCH, *(named or [str(record)]), *(["--from", str(tmp_path)] if named else [])], TZ="UTC"
    )
    assert (ended.returncode, ended.stderr) == (code, "")
    before, table = ended.stdout.split("\nstage ")
    assert before.endswith(said)
    rows = [re.split(r"  +", line) for line in table.splitlines()[1:4]]
    result = "abandoned" if not events else "failure (ValueError)" if events == [FAILS] else "success"
    assert [(row[0], row[2], row[-1]) for row in (rows[0], rows[2])] == [
        ("draft", "2.00 s", "success"),
        ("campaign (1 run)", "9.00 s" if events else "3.00 s", result),
    ]


def test_json_lines_tell_all_from_the_beginning(tmp_path: Path) -> None:
    waits = [
        visit_event("started", "check", "7-abcdef.2", at=4, parent__visit_id="7-abcdef.1"),
        visit_event("progress", "check", "7-abcdef.2", at=5, wait__reason="approval"),
    ]
    records.record(tmp_path, events=history(*waits), processes={"7-abcdef": process(crashed=1, signal=9)})
    ended = watch(tmp_path, RUN[:6], "--json")
    assert ended.returncode == 137
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    for state in found[-2:]:
        assert abs(time.time() - time.mktime(time.strptime(state.pop("at")[:19], "%Y-%m-%dT%H:%M:%S"))) < 1e6
    of_run = {"run": RUN, "workflow": "campaign"}
    of_all = {**of_run, "process": 7}
    at = "2025-08-28T10:45:0{}+00:00"
    assert found == [
        {"event": "run.started", "at": at.format(0), **of_all, "joined": False},
        {"event": "stage.started", "at": at.format(1), **of_all, "visit": "7-abcdef.1", "stage": "draft", "number": 1,
         "revision": 2},
        {"event": "stage.ended", "at": at.format(3), **of_all, "visit": "7-abcdef.1", "stage": "draft", "number": 1,
         "items_done": 2, "result": "success", "wait": 0.0, "retries": 0, "seconds": 2.0},
        {"event": "stage.started", "at": at.format(4), **of_all, "visit": "7-abcdef.2", "stage": "check", "number": 1,
         "parent": "7-abcdef.1"},
        {"event": "stage.progress", "at": at.format(5), **of_all, "visit": "7-abcdef.2", "stage": "check", "number": 1,
         "waits_for": "approval"},
        {"event": "stage.state", **of_run, "visit": "7-abcdef.2", "stage": "check", "state": "crashed",
         "note": "process 7 was ended by SIGKILL"},
        {"event": "run.state", **of_run, "state": "crashed", "note": "process 7 was ended by SIGKILL"},
    ]  # fmt: skip


def test_what_cannot_be_watched_is_said(tmp_path: Path) -> None:
    records.record(tmp_path, events=[*history(ENDS), event("run.started", run=OTHER), event("run.ended", run=OTHER)],
                   processes={"7-abcdef": process(ended=1)})  # fmt: skip
    (tmp_path / "file").write_text("{}")
    for arguments, said in [
        (["ffff"], "no run begins with ffff: `otel-progress runs` lists them"),
        (["0123"], f"several runs begin with 0123: {RUN}, {OTHER}"),
        (["no/such/folder"], "no/such/folder: no such folder"),
        (["a\x1bb"], "no run begins with a\\x1bb: `otel-progress runs` lists them"),
        (["./file"], "file: only a folder can be watched"),
        (["--from", "file"], "file: only a folder can be watched"),
        (["--from", "nowhere", "0123"], "nowhere: no such folder"),
    ]:
        place = ["--from", "."] if "--from" not in arguments and "/" not in arguments[0] else []
        ended = otlp.run(tmp_path, [*WATCH, *arguments, *place])
        assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"otel-progress: {said}\n")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "other" / "runs").mkdir(parents=True)
    (tmp_path / "other" / "runs").chmod(0)
    ended = otlp.run(tmp_path, [*WATCH, "other/"])
    assert (ended.returncode, ended.stderr) == (2, "otel-progress: other: Permission denied\n")
    record = records.record(tmp_path, events=history())
    record.chmod(0)
    ended = otlp.run(tmp_path, [*WATCH, "--from", "."])
    said = f"otel-progress: {record.relative_to(tmp_path)}: it may not be read, so nobody can say whether it goes on\n"
    assert (ended.returncode, ended.stderr) == (2, said)


def test_a_record_that_is_removed_ends_it(tmp_path: Path) -> None:
    here = process(host=os.uname().nodename, pid=os.getpid(), locked=False,
                   boot_id=Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())  # fmt: skip
    record = records.record(tmp_path, events=history(), processes={"7-abcdef": here})
    watching = otlp.start(tmp_path, [*WATCH, str(record)])
    assert watching.stdout is not None
    until(watching.stdout, "running for")
    for file in record.iterdir():
        file.unlink()
    record.rmdir()
    ended = otlp.ended(watching)
    assert (ended.returncode, ended.stderr) == (2, f"otel-progress: {record}: it is not there any more\n")


def test_a_record_without_events_tells_nothing(tmp_path: Path) -> None:
    whole = records.record(tmp_path, spans=records.campaign(), processes={"7-abcdef": process(ended=1)})
    old = records.write(tmp_path / "runs" / "20250828T104500Z-app-0b0b0b.jsonl", records.campaign(OTHER))
    for record, run in ((whole, RUN), (old, OTHER)):
        ended = watch(tmp_path, run)
        said = f"otel-progress: {record}: no event tells of a run there\n"
        assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", said)
