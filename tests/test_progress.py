"""What `otel-progress run` says while a program runs, seen as its user sees it: in pipes, files and terminals."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from . import otlp, shell
from .said import lines_of, shown, until

RUN = ["-m", "otel_progress", "run"]
PROGRAM = """
    import sys
    from otel_progress import stage, workflow
    def asked(): return sys.stdin.readline().strip()
    with workflow("campaign", shared={}):
        with stage("draft"):
            asked()
        with stage("check") as visit:
            visit.advance(4, total=6)
        try:
            with stage("publish"):
                if asked() == "fail": raise ValueError
        except ValueError: pass
"""


def test_lines_come_as_it_happens_and_the_table_behind_them(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, PROGRAM)
    process = otlp.start(tmp_path, [*RUN, str(program)])
    assert process.stdin is not None
    assert process.stderr is not None
    said = until(process.stderr, "draft started")  # It waits, and its line is there.
    process.stdin.write("go on\n")
    process.stdin.flush()
    said += until(process.stderr, "publish started")
    ended = otlp.ended(process, "fail\n")
    assert ended.returncode == 0
    assert shown(said + ended.stderr) == [
        "campaign started, run ID",
        "  draft started",
        "  draft ended in T: success",
        "  check started",
        "  check ended in T: success, 4/6 items",
        "  publish started",
        "  publish ended in T: failure, ValueError",
        "campaign ended in T: success, 3 visits, 1 failed",
        *shown(ended.stderr)[-10:],  # The table, and what is said below it.
    ]
    assert shown(ended.stderr)[-1] == "Record: .otel-progress/runs/RECORD"
    assert [line.split()[0] for line in shown(ended.stderr)[-10:-1]] == [
        "stage",
        "draft",
        "check",
        "publish",
        "outside",
        "campaign",
        "First",
        "Of",
        "Next:",
    ]
    assert ended.stdout == ""


def test_a_file_holds_the_same(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, PROGRAM)
    with (tmp_path / "said.txt").open("w") as file:
        command = [sys.executable, *RUN, str(program)]
        done = subprocess.run(command, check=False, cwd=tmp_path, stderr=file, input=b"\n\n", env=otlp.environment())
    assert done.returncode == 0
    assert lines_of((tmp_path / "said.txt").read_text("utf-8")) == [
        "campaign started, run ID",
        "  draft started",
        "  draft ended in T: success",
        "  check started",
        "  check ended in T: success, 4/6 items",
        "  publish started",
        "  publish ended in T: success",
        "campaign ended in T: success, 3 visits",
    ]


def test_quiet_says_only_what_is_wrong(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, PROGRAM)
    process = otlp.start(tmp_path, [*RUN, "--quiet", str(program)])
    assert otlp.ended(process, "\nfail\n").stderr == ""
    assert list((tmp_path / ".otel-progress" / "runs").iterdir())
    with otlp.refusing() as address:
        process = otlp.start(tmp_path, [*RUN, "-q", str(program)], OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=address)
        ended = otlp.ended(process, "\n\n")
    assert ended.stderr.splitlines()[-1] == f"otel-progress: {address} did not take all spans, only 0"
    assert "campaign" not in ended.stderr
    empty = otlp.run(tmp_path, [*RUN, "-q", str(otlp.write(tmp_path, "print(1)", "empty.py"))])
    assert empty.stderr.startswith("otel-progress: no stage was recorded")


def test_a_full_disk_is_said_in_spite_of_quiet(tmp_path: Path) -> None:
    program = otlp.write(
        tmp_path,
        """
        import os, pathlib
        from otel_progress import stage
        with stage("draft"): ...
        events, = pathlib.Path(".otel-progress/runs").glob("*/events.jsonl")
        write, events = os.write, events.stat()
        def full(descriptor, data):
            if os.path.samestat(os.fstat(descriptor), events):
                raise OSError(28, "No space left on device")
            return write(descriptor, data)
        os.write = full
        with stage("check"): ...
        """,
    )
    ended = otlp.run(tmp_path, [*RUN, "-q", str(program)])
    assert "is incomplete: No space left on device" in ended.stderr.splitlines()[-1]


def test_live_without_a_terminal_is_said_once(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, PROGRAM)
    ended = otlp.ended(otlp.start(tmp_path, [*RUN, "--live", str(program)]), "\n\n")
    assert lines_of(ended.stderr)[:2] == [
        "otel-progress: --live: there is no terminal here, so what goes on is told in lines",
        "campaign started, run ID",
    ]


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for options, said in [
        (["--live", "--no-live"], "argument --no-live: not allowed with argument --live"),
        (["--live", "--quiet"], "argument -q/--quiet: not allowed with argument --live"),
    ]:
        ended = otlp.run(tmp_path, [*RUN, *options, "program.py"])
        assert ended.returncode == 2
        assert said in ended.stderr


@pytest.mark.parametrize("options", [["--no-live"], [], ["--live"], ["--quiet"]], ids=str)
def test_on_a_terminal(tmp_path: Path, options: list[str]) -> None:
    program = otlp.write(tmp_path, "from otel_progress import stage, workflow\n"
                         "with workflow('campaign'), stage('draft'): print(input('name? '))\n")  # fmt: skip
    with shell.terminal(tmp_path, [*RUN, *options, str(program)]) as user:
        said = user.until("name? ")
        user.type("Ada\n")
        said += user.until("Ada\r\nAda\r\n")  # As typed, and as the program has it.
        assert user.told().startswith("0, terminal as before")
        said += user.said
    assert ("draft ended in" in said) == (options == ["--no-live"])
    assert ("Record:" in said) == (options != ["--quiet"])


@pytest.mark.parametrize("how", ["is closed", "is closed by the program", "has gone", "has gone, and SIGPIPE ends it"])
def test_a_program_whose_standard_error_is_of_no_use_goes_on(tmp_path: Path, how: str) -> None:
    ending = "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)" if "SIGPIPE" in how else ""
    closing = "import os; os.close(2)" if "by the program" in how else ""
    program = otlp.write(
        tmp_path,
        f"""
        import os, sys
        {ending}
        {closing}
        from otel_progress import stage, workflow
        with workflow("campaign"):
            for name in "ab":
                with stage(name):
                    print(name, flush=True)
                    sys.stdin.readline()
        print("done", flush=True)
        os._exit(7)
        """,
    )
    reads, writes = os.pipe()
    command = [sys.executable, *RUN, str(program)]
    if how == "is closed":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    with subprocess.Popen(command, cwd=tmp_path, env=otlp.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=writes, text=True) as process:  # fmt: skip
        os.close(writes)
        os.close(reads)
        out, _ = process.communicate("\n\n", otlp.TIMEOUT)
    assert (process.returncode, out) == (7, "a\nb\ndone\n")


def test_a_program_does_not_wait_for_who_reads_its_lines(tmp_path: Path) -> None:
    program = otlp.write(
        tmp_path,
        """
        import sys
        from otel_progress import stage, workflow
        with workflow("campaign"):
            for number in range(20):
                with stage(f"{number} {'x' * 180}"): ...
            print("first", flush=True)
            sys.stdin.readline()
            for number in range(2000):
                with stage("more"): ...
        print("done", flush=True)
        sys.stdin.readline()
        """,
    )
    reads, writes = os.pipe()
    fcntl.fcntl(writes, getattr(fcntl, "F_SETPIPE_SZ", 1031), 4096)
    with subprocess.Popen([sys.executable, *RUN, str(program)], cwd=tmp_path, env=otlp.environment(), text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writes) as process:  # fmt: skip
        os.close(writes)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"  # And nobody has read a line.
        with os.fdopen(reads, encoding="utf-8") as file:
            process.stdin.write("\n")
            process.stdin.flush()
            said = file.read()
    lines = shown(said)
    assert lines[0] == "campaign started, run ID"
    assert [line.split()[0] for line in lines[1:41]] == [str(number) for number in range(20) for _ in "se"]
    assert "campaign ended in T: success, 2,020 visits" in lines


def test_no_line_goes_into_a_file_that_has_the_number_of_standard_error(tmp_path: Path) -> None:
    program = otlp.write(
        tmp_path,
        """
        import os, sys, time
        from otel_progress import stage, workflow
        with stage("draft"): ...
        time.sleep(0)
        os.close(2)
        data = os.open("data.txt", os.O_WRONLY | os.O_CREAT)
        assert data == 2, data
        with workflow("campaign"), stage("check"): os.write(data, b"mine")
        os._exit(0)
        """,
    )
    assert otlp.run(tmp_path, [*RUN, str(program)]).returncode == 0
    assert (tmp_path / "data.txt").read_bytes() == b"mine"


def test_lines_come_again_when_standard_error_is_back(tmp_path: Path) -> None:
    program = otlp.write(
        tmp_path,
        """
        import os, pathlib, time
        from otel_progress import stage, workflow
        kept, other = os.dup(2), os.open("captured", os.O_WRONLY | os.O_CREAT)
        with workflow("campaign"):
            with stage("before"): time.sleep(0.2)
            os.dup2(other, 2)
            with stage("captured"): time.sleep(1)
            os.dup2(kept, 2)
            with stage("behind"): ...
        """,
    )
    said = lines_of(otlp.run(tmp_path, [*RUN, str(program)]).stderr)
    assert (tmp_path / "captured").read_bytes() == b""
    assert said[0] == "campaign started, run ID"
    assert "  captured started" not in said
    assert said[-3:] == ["  behind started", "  behind ended in T: success", "campaign ended in T: success, 3 visits"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_forked_children_are_told_of_once_and_say_nothing(tmp_path: Path) -> None:
    program = otlp.write(
        tmp_path,
        """
        import os
        from otel_progress import stage, workflow
        with workflow("campaign"):
            for number in range(3):
                if os.fork() == 0:
                    with stage(f"child {number}"): ...
                    os._exit(0) if number else exit()
                os.wait()
        """,
    )
    # Since 3.12 Python warns of each fork beside a thread.
    ended = otlp.run(tmp_path, [*RUN, str(program)], PYTHONWARNINGS="ignore::DeprecationWarning")
    said = lines_of(ended.stderr)
    assert sorted(said) == [
        "  child 0 ended in T: success",
        "  child 0 started",
        "  child 1 ended in T: success",
        "  child 1 started",
        "  child 2 ended in T: success",
        "  child 2 started",
        "campaign ended in T: success, 3 visits",
        "campaign started, run ID",
    ]


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver", "subprocess"])
def test_children_of_a_program_that_records_nothing_itself_are_told_of_as_it_happens(tmp_path: Path, way: str) -> None:
    otlp.write(
        tmp_path,
        """
        import sys
        from otel_progress import stage, workflow
        def work(name="child"):
            with workflow("campaign"), stage(name):
                open("told", "rb").read()
        if __name__ == "__main__": work()
        """,
        "work.py",
    )
    os.mkfifo(tmp_path / "told")
    program = otlp.write(
        tmp_path,
        f"""
        import multiprocessing, subprocess, sys
        import work
        if __name__ == "__main__":
            if {way!r} == "subprocess":
                subprocess.run([sys.executable, "work.py"], check=True)
            else:
                child = multiprocessing.get_context({way!r}).Process(target=work.work)
                child.start()
                child.join()
        """,
    )
    process = otlp.start(tmp_path, [*RUN, str(program)])
    assert process.stderr is not None
    until(process.stderr, "child started")
    (tmp_path / "told").write_bytes(b"")
    assert lines_of(otlp.ended(process).stderr) == [
        "  child ended in T: success",
        "campaign ended in T: success, 1 visit",
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_a_child_that_is_killed_has_its_line(tmp_path: Path) -> None:
    program = otlp.write(
        tmp_path,
        """
        import os, sys
        from otel_progress import stage, workflow
        with workflow("campaign"):
            child = os.fork()
            if child == 0:
                with stage("child"):
                    os.kill(os.getpid(), 9)
            os.waitpid(child, 0)
            with stage("parent"): sys.stdin.readline()
        """,
    )
    process = otlp.start(tmp_path, [*RUN, str(program)])
    assert process.stderr is not None
    assert re.search(r"  child crashed: process \d+ is gone without a word\n", until(process.stderr, "crashed"))
    assert lines_of(otlp.ended(process, "\n").stderr)[-1] == "campaign ended in T: success, 1 visit, 1 failed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_last_lines_come_before_the_table_whatever_ends_the_program(tmp_path: Path, number: signal.Signals) -> None:
    process = otlp.start(tmp_path, [*RUN, str(otlp.write(tmp_path, PROGRAM))])
    assert process.stderr is not None
    until(process.stderr, "draft started")
    process.send_signal(number)
    ended = otlp.ended(process)
    assert ended.returncode == -number
    what, so = (
        ("cancelled, KeyboardInterrupt", "cancelled") if number == signal.SIGINT else ("failure, SystemExit", "failed")
    )
    said = lines_of(ended.stderr)
    assert [line for line in said if "ended in" in line] == [
        f"  draft ended in T: {what}",
        f"campaign ended in T: {what}, 1 visit, 1 {so}",
    ]


def test_what_was_said_before_a_sudden_end_stays(tmp_path: Path) -> None:
    process = otlp.start(tmp_path, [*RUN, str(otlp.write(tmp_path, PROGRAM))])
    assert process.stderr is not None
    assert shown(until(process.stderr, "draft started")) == ["campaign started, run ID", "  draft started"]
    process.kill()
    assert otlp.ended(process).stderr == ""


def test_a_program_finds_the_threads_that_it_has_itself(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, "import threading\nfrom otel_progress import stage\nfrom time import sleep\n"
                         "with stage('draft'): print(len(threading.enumerate()))\n")  # fmt: skip
    counts = [otlp.run(tmp_path, [*RUN, *options, str(program)]).stdout for options in ([], ["--quiet"])]
    assert counts[0] == counts[1]


def test_without_a_record_there_are_no_lines(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, PROGRAM)
    (tmp_path / ".otel-progress").write_text("in the way")
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / f"otel-progress-{os.getuid()}").write_text("in the way")
    ended = otlp.ended(otlp.start(tmp_path, [*RUN, str(program)], TMPDIR=str(tmp_path / "tmp")), "\n\n")
    assert ended.returncode == 0
    assert len([line for line in lines_of(ended.stderr) if "draft" in line]) == 0
    assert "no record is kept" in ended.stderr
