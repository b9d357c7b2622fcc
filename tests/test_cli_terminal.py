"""`otel-progress run` on a terminal: the program sees a terminal, and its user sees the program."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path

import pytest

from otel_progress.runs import read

from . import otlp
from .test_cli import RUN, STAGES, recorded

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

from .shell import Terminal, terminal


def program(folder: Path, code: str) -> list[str]:
    return [*RUN, str(otlp.write(folder, "import os, signal, sys, time\n" + otlp.textwrap.dedent(code)))]


def has_gone(keep: int) -> bool:
    """Whether nobody has the other end of a pipe any more."""
    return bool(select.select([keep], [], [], 0)[0]) and os.read(keep, 1) == b""


def test_the_program_has_a_terminal_of_its_own_and_keeps_its_exit_code(tmp_path: Path) -> None:
    code = """
        print([os.isatty(number) for number in range(3)], os.getpid() == os.getsid(0) == os.tcgetpgrp(0))
        print(os.getpid(), os.getppid())
        """
    with terminal(tmp_path, program(tmp_path, otlp.textwrap.dedent(code) + STAGES + "sys.exit(3)")) as shown:
        shown.until("[True, True, True] True\r\n")
        pid, parent = map(int, shown.until("\r\n").split())
        assert (pid != shown.job, parent) == (True, shown.job)
        assert shown.told() == "3, terminal as before"
        shown.until("Record: .otel-progress/runs/")
    assert recorded(tmp_path) == ["run campaign", "stage draft"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGKILL, signal.SIGABRT])
def test_it_dies_of_the_programs_signal(tmp_path: Path, number: signal.Signals) -> None:
    with terminal(tmp_path, program(tmp_path, f"os.kill(os.getpid(), {int(number)})")) as shown:
        assert shown.told() == f"{-number}, terminal as before"


ENDS = {
    "SIGKILL": ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
    "a fault": ("import ctypes; ctypes.string_at(0)", "was ended by SIGSEGV"),
    "os._exit": ("os._exit(3)", "ended with exit code 3"),
    "SIGTERM": ("os.kill(os.getpid(), 15)", ""),
    "its own end": ("pass", ""),
}


@pytest.mark.parametrize("end", ENDS)
def test_how_it_ended_is_noted_where_it_cannot_say_so_itself(tmp_path: Path, end: str) -> None:
    code, note = ENDS[end]
    lines = f"from otel_progress import stage, workflow\nwith workflow('campaign'), stage('draft'):\n    {code}\n"
    with terminal(tmp_path, program(tmp_path, lines)) as shown:
        assert "terminal as before" in shown.told()
    (run,) = read(tmp_path)
    (visit,) = run.visits
    if note:
        assert (run.state, visit.state) == ("crashed", "crashed")
        assert run.note == visit.note == f"process {run.processes[0]} {note}"
    else:
        assert (run.state, run.note) == ("done", "")
        (file,) = (tmp_path / ".otel-progress" / "runs").glob("*/process-*.json")
        assert "crashed" not in json.loads(file.read_text())


@pytest.mark.parametrize("options", [["--no-live"], []], ids=["--no-live", "in the background"])
def test_where_it_is_one_process(tmp_path: Path, options: list[str]) -> None:
    *run, path = program(tmp_path, "print('pid', os.getpid())")
    with terminal(tmp_path, [*run, *options, path], background=not options) as shown:
        shown.until(f"pid {shown.job}\r\n")
        assert shown.told() == "0, terminal as before"


def test_off_a_terminal_it_is_one_process(tmp_path: Path) -> None:
    with otlp.start(tmp_path, program(tmp_path, "print(os.getpid())")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid}\n"


def test_nothing_that_the_program_says_is_lost(tmp_path: Path) -> None:
    code = """
        for number in range(20_000): print(f"line {number:06}")
        sys.stdout.flush()
        os._exit(0)
        """
    with terminal(tmp_path, program(tmp_path, code)) as shown:
        assert shown.told() == "0, terminal as before"
        shown.until("line 019999\r\n")


def test_what_is_typed_is_edited_and_echoed_once(tmp_path: Path) -> None:
    code = """
        print("got", repr(input("name? ")))
        try: input("more? ")
        except EOFError: print("end of file")
        """
    with terminal(tmp_path, program(tmp_path, code)) as shown:
        shown.until("name? ")
        shown.type("Adb\x7fa\r")
        assert shown.until("got 'Ada'\r\n").count("Ad") == 2  # Its echo, and what the program says.
        shown.until("more? ")
        shown.type("\x04")
        shown.until("end of file")
        assert shown.told() == "0, terminal as before"


def test_every_byte_reaches_a_program_that_wants_them(tmp_path: Path) -> None:
    code = """
        import tty
        tty.setraw(0)
        print("ready", end="", flush=True)
        data = b""
        while len(data) < 256: data += os.read(0, 256)
        print("all" if data == bytes(range(256)) else data, end="", flush=True)
        """
    with terminal(tmp_path, program(tmp_path, code)) as shown:
        shown.until("ready")
        otlp.wait_until(shown.is_raw)
        shown.type(bytes(range(256)))
        shown.until("all")
        assert shown.told() == "0, terminal as before"


def test_much_that_is_typed_and_not_read_does_not_hold_the_program_up(tmp_path: Path) -> None:
    code = """
        import tty
        tty.setraw(0)
        print("ready", end="", flush=True)
        os.read(0, 1)
        print("x" * 300_000, end="", flush=True)
        read = 1
        while read < 30_000: read += len(os.read(0, 65536))
        print("read", read, end="", flush=True)
        """
    with terminal(tmp_path, program(tmp_path, code)) as shown:
        shown.until("ready")
        otlp.wait_until(shown.is_raw)
        for _ in range(10):
            shown.type(b"y" * 3_000)
        shown.until("read 30000")
        assert shown.told() == "0, terminal as before"


WAITS = """
    import threading
    from otel_progress import stage, workflow
    with workflow("campaign"), stage("draft"):
        print("ready", os.getpid(), flush=True)
        threading.Event().wait()
    """


def test_ctrl_c(tmp_path: Path) -> None:
    code = """
        try:
            print("ready", flush=True)
            time.sleep(1000)
        except KeyboardInterrupt:
            print("once", flush=True)
        time.sleep(1000)
        """
    with terminal(tmp_path, program(tmp_path, code)) as shown:
        shown.until("ready")
        otlp.wait_until(shown.is_raw)
        shown.type("\x03")
        shown.until("once")
        shown.type("\x03")
        assert shown.told() == f"{-signal.SIGINT}, terminal as before"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_signals_are_passed_on(tmp_path: Path, number: signal.Signals) -> None:
    with terminal(tmp_path, program(tmp_path, WAITS)) as shown:
        shown.until("ready")
        otlp.wait_until(shown.is_raw)
        os.kill(shown.job, number)
        assert shown.told() == f"{-number}, terminal as before"
        if number in (signal.SIGTERM, signal.SIGINT):
            shown.until("draft ")
            assert recorded(tmp_path) == ["run campaign", "stage draft"]


def test_the_program_is_told_the_window_size(tmp_path: Path) -> None:
    code = """
        def show(*_): print("size", *os.get_terminal_size(0), flush=True)
        signal.signal(signal.SIGWINCH, show)
        print("ready", flush=True)
        while True: time.sleep(1000)
        """
    with terminal(tmp_path, program(tmp_path, code)) as shown:
        shown.until("ready")
        otlp.wait_until(shown.is_raw)
        shown.resize(31, 77)
        shown.until("size 77 31\r\n")


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def started(shown: Terminal) -> int:
    shown.until("ready ")
    otlp.wait_until(shown.is_raw)
    return int(shown.until("\r\n"))


ASKS = """
    print("ready", os.getpid(), flush=True)
    print("got", input(), flush=True)
    print("then", input(), flush=True)
    """


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
@pytest.mark.parametrize("way", ["typed", "sent", "by itself"])
def test_ctrl_z_and_fg(tmp_path: Path, way: str) -> None:
    with terminal(tmp_path, program(tmp_path, ASKS)) as shown:
        pid = started(shown)
        if way == "typed":
            shown.type("\x1a")
        else:
            os.kill(shown.job if way == "sent" else pid, signal.SIGTSTP if way == "sent" else signal.SIGSTOP)
        assert shown.told() == "stopped, terminal as before"
        assert is_stopped(pid)
        shown.ask("fg")
        otlp.wait_until(shown.is_raw)
        shown.type("one\r")
        shown.until("got one")
        shown.type("two\r")
        shown.until("then two")
        assert shown.told() == "0, terminal as before"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_bg_and_then_fg(tmp_path: Path) -> None:
    with terminal(tmp_path, program(tmp_path, ASKS)) as shown:
        pid = started(shown)
        shown.type("\x1a")
        assert shown.told() == "stopped, terminal as before"
        shown.ask("bg")
        otlp.wait_until(lambda: not is_stopped(pid))
        assert not shown.is_raw()
        shown.ask("fg")
        otlp.wait_until(shown.is_raw)
        shown.type("one\rtwo\r")
        shown.until("then two")
        assert shown.told() == "0, terminal as before"


@pytest.mark.parametrize("ignored", ["", "SIGHUP SIGTERM SIGINT"])
def test_a_program_ends_with_its_killed_parent(tmp_path: Path, ignored: str) -> None:
    code = f"""
        for name in {ignored!r}.split(): signal.signal(getattr(signal, name), signal.SIG_IGN)
        os.fork()
        if os.getpid() == os.getsid(0): print("ready", os.getpid(), flush=True)
        while True: time.sleep(1000)
        """
    keep, held = os.pipe()
    command = ["-W", "ignore", *program(tmp_path, code)]
    try:
        with terminal(tmp_path, command, keep=held) as shown:
            os.close(held)
            started(shown)
            assert not has_gone(keep)
            os.kill(shown.job, signal.SIGKILL)
            assert shown.told() == f"{-signal.SIGKILL}, terminal changed"  # Nobody is left to restore it.
            otlp.wait_until(lambda: has_gone(keep))
    finally:
        os.close(keep)


def test_standard_input_may_be_a_pipe(tmp_path: Path) -> None:
    code = """
        print("got", sys.stdin.readline(), os.isatty(0), os.isatty(1), flush=True)
        try:
            print("ready", flush=True)
            time.sleep(1000)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    path = program(tmp_path, code)
    through = f"""
        import os, subprocess, sys
        reader, writer = os.pipe()
        os.write(writer, b"piped\\n")
        os.dup2(reader, 0)
        os.execv(sys.executable, [sys.executable, *{path!r}])
        """
    with terminal(tmp_path, [str(otlp.write(tmp_path, through, "through.py"))]) as shown:
        shown.until("got piped")
        shown.until("False True")
        shown.until("ready")
        shown.type("\x03")
        shown.until("interrupted")
        assert shown.told() == "0, terminal as before"
