"""The file by which a process of a record says that it lives, and how it came to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from otel_progress.runs import read
from otel_progress.runs.processes import ProcessFile
from otel_progress.runs.pruning import is_in_use, remove

from . import otlp

fcntl = pytest.importorskip("fcntl")


def said(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def own(folder: Path) -> Path:
    """The one process's file."""
    (file,) = folder.glob("process-*.json")
    return file


def is_held(file: Path) -> bool:
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def test_what_it_says(tmp_path: Path) -> None:
    process = ProcessFile(tmp_path)
    told = said(own(tmp_path))
    assert own(tmp_path).name == f"process-{process.name}.json"
    assert (told["pid"], told["ppid"], told["locked"]) == (os.getpid(), os.getppid(), True)
    assert abs(told["started"] - time.time_ns()) < 3600 * 10**9
    assert own(tmp_path).stat().st_mode & 0o777 == 0o600
    if sys.platform == "linux":
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        assert told["start_ticks"] == int(fields[19])
        assert told["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert told["pid_namespace"].startswith("pid:[")
    assert is_held(own(tmp_path))
    process.end(exit_code=3)
    assert said(own(tmp_path)) == {**told, "ended": said(own(tmp_path))["ended"], "exit_code": 3}
    process.end(signal=9)
    assert "signal" not in said(own(tmp_path))
    process.let_go()
    assert not is_held(own(tmp_path))


def test_touched_and_taken_again_where_the_program_has_closed_it(tmp_path: Path) -> None:
    process = ProcessFile(tmp_path)
    file = own(tmp_path)
    os.utime(file, (0, 0))
    process.touch()
    assert file.stat().st_mtime > 1e9
    os.close(process._descriptor)
    assert not is_held(file)
    process.touch()
    assert is_held(file)
    process.let_go()


def test_touched_where_the_program_is_another_users_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may write to what it has open, but no more set its times."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    process = ProcessFile(tmp_path)
    file = own(tmp_path)
    told = said(file)
    os.utime(file, (0, 0))
    monkeypatch.setattr(os, "utime", refuse)
    process.touch()
    assert file.stat().st_mtime > 1e9
    assert said(file) == told
    process.let_go()


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can become another user")
def test_a_program_that_becomes_another_user(tmp_path: Path) -> None:
    """As servers do: what is open is written on, what is not is said to be incomplete, and nothing else fails."""
    otlp.write(
        tmp_path,
        """
        import os, sys
        from otel_progress import stage, workflow
        with workflow("w"), stage("a"):
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with stage("b"):
                print("ready", flush=True)
                sys.stdin.readline()
        """,
    )
    with otlp.start(tmp_path, ["-m", "otel_progress", "run", "program.py"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (record,) = (tmp_path / ".otel-progress" / "runs").iterdir()
        os.utime(own(record), (0, 0))
        otlp.wait_until(lambda: own(record).stat().st_mtime > 1e9)
        ended = otlp.ended(process, "\n")
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert "incomplete: Permission denied" in ended.stderr
    (run,) = read(record)
    assert (run.state, run.result, run.visit_count) == ("done", "success", 2)


def test_a_record_is_in_use_while_a_process_holds_its_file(tmp_path: Path) -> None:
    record = tmp_path / "20250101T000000Z-a-00000a"
    record.mkdir()
    process = ProcessFile(record)
    assert is_in_use(record)
    process.let_go()
    assert not is_in_use(record)
    assert remove(record)
    assert not record.exists()


PROGRAM = """
import os, signal, sys, threading, time
from otel_progress import stage, workflow
with workflow("w"), stage("a"):
    print("ready", flush=True)
    sys.stdin.readline()
"""
ENDS = {
    "returns": ("", {"exit_code": 0}),
    "exits": ("sys.exit(3)", {"exit_code": 3}),
    "exits with a text": ("sys.exit('no')", {"exit_code": 1}),
    "raises": ("raise ValueError('no')", {"exit_code": 1}),
    "is interrupted": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", {"signal": signal.SIGINT}),
    "is terminated": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", {"signal": signal.SIGTERM}),
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)", None),
    "exits at once": ("os._exit(4)", None),
}


@pytest.mark.parametrize(("last", "known"), ENDS.values(), ids=ENDS)
def test_held_and_touched_while_it_runs_and_ended_as_far_as_it_is_known(
    tmp_path: Path, last: str, known: dict[str, int] | None
) -> None:
    otlp.write(tmp_path, PROGRAM + f"    {last}\n")
    with otlp.start(tmp_path, ["-m", "otel_progress", "run", "program.py"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (record,) = (tmp_path / ".otel-progress" / "runs").iterdir()
        file = own(record)
        assert said(file)["pid"] == process.pid
        assert is_held(file)
        os.utime(file, (0, 0))
        otlp.wait_until(lambda: file.stat().st_mtime > 1e9)
        ended = otlp.ended(process, "\n")
    assert not is_held(file)
    how = {key: value for key, value in said(file).items() if key in ("exit_code", "signal")}
    assert how == (known or {})
    assert ("ended" in said(file)) == (known is not None)
    if known is not None and "signal" in known:
        assert ended.returncode == -known["signal"]


def test_a_parent_that_is_gone_does_not_hold_its_file_by_its_child(tmp_path: Path) -> None:
    otlp.write(
        tmp_path,
        """
        import os, signal, sys, time
        from otel_progress import stage, workflow
        with workflow("w"), stage("a"):
            parent = os.getpid()
            if os.fork() == 0:
                with stage("b"):
                    print("ready", flush=True)
                    sys.stdin.readline()
                os._exit(0)
            time.sleep(60)
        """,
    )
    with otlp.start(tmp_path, ["-m", "otel_progress", "run", "program.py"]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (record,) = (tmp_path / ".otel-progress" / "runs").iterdir()
        files = {said(file)["pid"]: file for file in record.glob("process-*.json")}
        parent = files.pop(process.pid)
        (child,) = files.values()
        assert is_held(parent)
        assert is_held(child)
        process.kill()
        process.wait()
        assert not is_held(parent)
        assert is_held(child)
        assert is_in_use(record)
        otlp.ended(process, "\n")
    otlp.wait_until(lambda: not is_held(child))


def test_no_file_where_nothing_is_recorded(tmp_path: Path) -> None:
    otlp.write(tmp_path, "import otel_progress, os\nif os.fork(): os.wait()\n")
    subprocess.run([sys.executable, "-m", "otel_progress", "run", "program.py"], cwd=tmp_path, check=True)
    assert list((tmp_path / ".otel-progress" / "runs").iterdir()) == []


def test_what_crashed_is_marked_once_by_a_later_program(tmp_path: Path) -> None:
    otlp.write(tmp_path, PROGRAM + "    os.kill(os.getpid(), signal.SIGKILL)\n")
    crash = ["-m", "otel_progress", "run", "program.py"]
    otlp.run(tmp_path, crash)
    (first,) = tmp_path.glob(".otel-progress/runs/*/process-*.json")
    otlp.write(tmp_path, PROGRAM, "later.py")
    later = ["-m", "otel_progress", "run", "later.py"]
    running = otlp.start(tmp_path, later)
    assert running.stdout is not None
    running.stdout.readline()
    (living,) = [file for file in tmp_path.glob(".otel-progress/runs/*/process-*.json") if file != first]
    assert "crashed" not in said(first)
    otlp.ended(otlp.start(tmp_path, later), "\n")
    marked = said(first)
    assert time.time_ns() - marked["crashed"] < 60 * 10**9
    assert {"ended", "crashed"}.isdisjoint(said(living))
    otlp.ended(running, "\n")
    assert said(first) == marked
    assert "ended" in said(living)


CLOSES_ALL = """
import os, resource, signal, sys, time
from otel_progress import stage, workflow
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
with workflow("w"):
    with stage("a"):
        pass
    time.sleep(0.7)  # Until there are spans.
    os.mkdir("own")
    os.closerange(3, 4096)
    own = [os.open(f"own/{number}", os.O_RDWR | os.O_CREAT, 0o600) for number in range(int(sys.argv[2]))]
    time.sleep(float(sys.argv[1]))
    with stage("b"):
        pass
    if "term" in sys.argv:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["0", "300"],
        ["1.3", "300"],
        ["0", "300", "term"],
        ["1.3", "300", "term"],
        ["1.3", "1300"],  # More than any number of ours: after a second we have looked.
        ["1.3", "1300", "term"],
    ],
    ids=" ".join,
)
def test_nothing_of_ours_gets_into_files_that_the_program_opens_in_the_place_of_what_it_has_closed(
    tmp_path: Path, arguments: list[str]
) -> None:
    """They get the numbers of our descriptors. And nothing of the record is lost."""
    otlp.write(tmp_path, CLOSES_ALL)
    ended = otlp.run(tmp_path, ["-m", "otel_progress", "run", "program.py", *arguments])
    assert [path.name for path in (tmp_path / "own").iterdir() if path.stat().st_size] == []
    assert ended.returncode == (-signal.SIGTERM if "term" in arguments else 0)
    (record,) = (tmp_path / ".otel-progress" / "runs").iterdir()
    assert "ended" in said(own(record))
    (run,) = read(record)
    assert (run.state, run.visit_count) == ("done", 2)
    assert [name for name in sorted(path.name for path in record.iterdir()) if not name.startswith("process")] == [
        "events.jsonl",
        "spans.jsonl",
    ]
    spans = (record / "spans.jsonl").read_text("utf-8")
    assert [spans.count(f'"name":"{name}"') for name in ("stage a", "stage b", "run w")] == [1, 1, 1]


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can change the root")
def test_a_program_that_changes_its_root_ends_as_without_us(tmp_path: Path) -> None:
    """Where nothing can be imported or loaded any more, the process's end did: for a table, and to end threads."""
    otlp.write(
        tmp_path,
        """
        import os, time
        from otel_progress import stage, workflow
        with workflow("w"):
            with stage("a"):
                pass
            os.mkdir("jail")
            os.chroot("jail")
            os.chdir("/")
            time.sleep(0.7)
            with stage("b"):
                pass
        raise SystemExit(3)
        """,
    )
    ended = otlp.run(tmp_path, ["-m", "otel_progress", "run", "program.py"])
    assert ended.returncode == 3
    assert "Traceback" not in ended.stderr
    assert "w (1 run)" in ended.stderr
    (record,) = (tmp_path / ".otel-progress" / "runs").iterdir()
    (run,) = read(record)
    assert (run.state, run.visit_count) == ("done", 2)
