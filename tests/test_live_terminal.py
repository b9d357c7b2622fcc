"""The display of `otel-progress run` on a real terminal: what its user sees, and what the program finds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from rich.cells import cell_len

from otel_progress.runs import read

from . import otlp
from .records import campaign, record
from .screens import Emulated
from .test_cli import RUN

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

from .shell import Terminal, terminal

HEAD = "import os, signal, subprocess, sys, time\nfrom otel_progress import stage, workflow\n"
WATCH = ["-m", "otel_progress", "watch"]
WAITS = "sys.stdout.flush()\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
"""The program waits for its test."""


class Seen:
    """A terminal, and what stands on it."""

    def __init__(self, shown: Terminal, folder: Path, columns: int, rows: int) -> None:
        self.shown = shown
        self._folder = folder
        self.emulated = Emulated(columns, rows)
        shown.told_of = self.emulated.feed

    def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Wait until what stands on the terminal is so; gives it."""
        while not condition(self.emulated.everything()):
            try:
                self.shown.more()
            except AssertionError:
                raise AssertionError("\n".join(self.emulated.everything())) from None
        return self.emulated.everything()

    def until_drawn(self, *above: str) -> list[str]:
        """Wait until the display stands there, whole, and all this is above it."""
        return self.until(
            lambda lines: any(line.startswith("  ▸ draft") for line in lines[-1:]) and set(above) <= set(lines)
        )

    def until_gone(self, last: str) -> list[str]:
        """Wait until this is the last line, and the terminal is plain."""
        return self.until(lambda lines: lines[-1:] == [last] and self.emulated.is_plain)

    def go(self) -> None:
        """Let the program go on."""
        (self._folder / "go").touch()

    def end(self) -> tuple[str, list[str]]:
        """What the shell tells of the end, and all that was on the terminal then."""
        told = self.shown.told()
        self.shown.rest()
        return told, self.emulated.everything()

    def resize(self, columns: int, rows: int) -> None:
        self.emulated.resize(columns, rows)
        self.shown.resize(rows, columns)


@contextmanager
def seen(
    folder: Path, code: str, *options: str, columns: int = 80, rows: int = 24, run: list[str] = RUN, **environment: str
) -> Generator[Seen]:
    """Run a program, with the display, on a terminal of this size."""
    path = otlp.write(folder, HEAD + otlp.textwrap.dedent(code))
    command = [*run, *options, str(path)]
    with terminal(folder, command, size=(rows, columns), environment={"COLUMNS": "", **environment}) as shown:
        yield Seen(shown, folder, columns, rows)


def in_stage(code: str) -> str:
    """A program that does this in a stage."""
    return "with workflow('campaign'), stage('draft'):\n" + otlp.textwrap.indent(otlp.textwrap.dedent(code), "    ")


def above(lines: list[str]) -> list[str]:
    """What stands above the table."""
    return lines[: next(number for number, line in enumerate(lines) if line.startswith("stage "))]


def test_a_run_from_its_start_to_its_table(tmp_path: Path) -> None:
    code = "print('one')\nwith workflow('campaign'):\n    with stage('outline'): pass\n    with stage('draft'):\n"
    code += otlp.textwrap.indent("print('two')\n" + WAITS, " " * 8)
    with seen(tmp_path, code, NO_COLOR="1") as it:
        lines = it.until_drawn()
        assert lines[:2] == ["one", "two"]
        assert lines[2].startswith("▸ campaign, ")
        assert lines[2].endswith(" s, 1 stage done")
        assert lines[3].startswith("  ✓ outline ")
        assert lines[4].startswith("  ▸ draft ")
        assert lines[5:] == []
        it.go()
        told, lines = it.end()
        assert told == "0, terminal as before"
        assert above(lines) == ["one", "two"]
        assert lines[-1].startswith("Record: .otel-progress/runs/")
        assert it.emulated.is_plain


def with_earlier_runs(folder: Path) -> None:
    """Eight runs of `campaign` that took 8 s each."""
    for number in range(8):
        name = f"20250828T10{number:02}00Z-app-{number:06x}"
        record(folder / ".otel-progress", name, spans=campaign(f"{number:032x}", at=number * 60.0))


@pytest.mark.parametrize("by", ["run", "watch"])
def test_it_says_when_the_end_is_expected(tmp_path: Path, by: str) -> None:
    with_earlier_runs(tmp_path)
    path = otlp.write(tmp_path, HEAD + in_stage("print('ready', flush=True)\n" + WAITS))
    command = [*RUN, str(path)] if by == "run" else WATCH
    with ExitStack() as running:
        if by == "watch":
            program = running.enter_context(otlp.start(tmp_path, [*RUN, str(path)]))
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
        shown = running.enter_context(terminal(tmp_path, command, size=(24, 80), environment={"COLUMNS": ""}))
        it = Seen(shown, tmp_path, 80, 24)
        it.until(lambda lines: any(line.startswith("▸ campaign, ") and ", ends in " in line for line in lines))
        it.go()
        assert it.end()[0] == "0, terminal as before"


def test_it_says_that_it_takes_longer_than_earlier_runs(tmp_path: Path) -> None:
    again = "for _ in range(6):\n    with workflow('campaign'), stage('draft'): time.sleep(0.05)\n"
    path = otlp.write(tmp_path, HEAD + again)
    with otlp.start(tmp_path, [*RUN, str(path)]) as program:
        assert program.wait(otlp.TIMEOUT) == 0
    with seen(tmp_path, in_stage(WAITS)) as it:
        lines = it.until(lambda lines: len(lines) == 2 and "longer than all earlier runs" in lines[0])
        assert lines[0].startswith("▸ campaign, ")
        it.go()
        assert it.end()[0] == "0, terminal as before"


def fit(lines: list[str], width: int, height: int) -> bool:
    """Whether a display of so many lines stands there, which is not wider, down to its last line."""
    return len(lines) == height and lines[-1].startswith("    ▸ draft") and max(map(cell_len, lines)) < width


@pytest.mark.parametrize("columns", [40, 80, 132])
def test_it_fits_while_the_terminal_changes(tmp_path: Path, columns: int) -> None:
    code = f"""
        with workflow("campaign"):
            for number in range(60):
                with stage(f"a step with a long name, number {{number}}"): pass
            with stage("日本語の段階"), stage("draft"):
                {WAITS.replace(chr(10), chr(10) + " " * 16)}
        """
    with seen(tmp_path, code, columns=columns) as it:
        for width, height in ((columns, 24), (30, 24), (200, 50), (60, 9)):
            it.resize(width, height)
            lines = it.until(lambda lines, fits=(width, height // 2): fit(lines, *fits))
            assert lines[0].startswith("▸ campaign, ")
            assert lines[1].startswith("  ✓ ")
            assert lines[-2].startswith("  ▸ 日本語の段階")
        it.go()
        assert it.end()[0] == "0, terminal as before"


def test_a_question_is_asked_beneath_nothing(tmp_path: Path) -> None:
    code = in_stage("print('before')\nname = input('name? ')\nprint('got', name)\n" + WAITS)
    with seen(tmp_path, code) as it:
        it.until_gone("name?")
        it.shown.type("Ada\r")
        lines = it.until_drawn("got Ada")
        assert lines[:3] == ["before", "name? Ada", "got Ada"]
        it.go()
        assert above(it.end()[1]) == ["before", "name? Ada", "got Ada"]


def test_a_password_is_asked_for(tmp_path: Path) -> None:
    code = in_stage("import getpass\nprint('before')\n" + WAITS + "os.unlink('go')\n"
                    "print(len(getpass.getpass()))\n" + WAITS)  # fmt: skip
    with seen(tmp_path, code) as it:
        it.until_drawn()
        it.go()
        it.until_gone("Password:")
        it.shown.type("secret\r")
        assert it.until_drawn("6")[:3] == ["before", "Password:", "6"]
        it.go()
        assert above(it.end()[1]) == ["before", "Password:", "6"]


def test_a_program_that_has_the_whole_screen(tmp_path: Path) -> None:
    code = in_stage(
        "import tty, termios\nprint('before')\n" + WAITS + "os.unlink('go')\n"
        "was = termios.tcgetattr(0)\ntty.setraw(0)\n"
        "print('\\x1b[?1049h\\x1b[2J\\x1b[5;5Hfull', end='', flush=True)\n"
        "key = os.read(0, 1)\nprint('\\x1b[?1049l', end='', flush=True)\n"
        "termios.tcsetattr(0, termios.TCSADRAIN, was)\nprint('key', key)\n" + WAITS
    )
    with seen(tmp_path, code) as it:
        it.until_drawn()
        it.go()
        # pyte has no alternate screen: what was written before it was cleared is gone.
        it.until_gone("    full")
        it.shown.type("q")
        it.until_drawn()
        assert b"\x1b[?1049hdraft" not in it.shown.bytes_
        within = it.shown.bytes_.partition(b"\x1b[?1049h")[2].partition(b"\x1b[?1049l")[0]
        assert within == b"\x1b[2J\x1b[5;5Hfull"
        it.go()
        assert it.end()[0] == "0, terminal as before"


def test_what_children_and_c_write_and_a_last_line_without_an_end(tmp_path: Path) -> None:
    code = in_stage(
        "print('\\x1b[31mpython\\x1b[0m', flush=True)\nsubprocess.run(['sh', '-c', 'echo child'])\n"
        "import ctypes\nctypes.CDLL(None).puts(b'from c')\nctypes.CDLL(None).fflush(None)\n"
        "os.write(2, b'descriptor\\n')\nfor number in range(300): print('line', number)\n" + WAITS
    )
    with seen(tmp_path, code + "print('last', end='')\n") as it:
        it.until_drawn()
        it.go()
        told, lines = it.end()
        expected = ["python", "child", "from c", "descriptor", *(f"line {number}" for number in range(300))]
        assert lines[: len(expected)] == expected
        assert lines[len(expected)].startswith("last")
        assert told == "0, terminal as before"


def test_where_nothing_is_to_be_seen_no_byte_is_ours(tmp_path: Path) -> None:
    code = "print('only \\x1b[1mthis\\x1b[0m')\nsys.stdout.flush()\nos._exit(0)\n"
    with seen(tmp_path, code) as it:
        told, _ = it.end()
        assert (told, it.shown.bytes_) == ("0, terminal as before", b"only \x1b[1mthis\x1b[0m\r\n")


ENDS = {
    "Ctrl-C": (lambda it: it.shown.type("\x03"), -signal.SIGINT),
    "SIGTERM": (lambda it: os.kill(it.shown.job, signal.SIGTERM), -signal.SIGTERM),
    "SIGHUP": (lambda it: os.kill(it.shown.job, signal.SIGHUP), -signal.SIGHUP),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_an_end_from_outside_leaves_a_sane_terminal_and_the_table(tmp_path: Path, end: str) -> None:
    act, code = ENDS[end]
    with seen(tmp_path, in_stage("print('before')\n" + WAITS)) as it:
        it.until_drawn()
        act(it)
        told, lines = it.end()
        assert told == f"{code}, terminal as before"
        assert lines[0] == "before"
        assert any(line.startswith("draft ") for line in lines)
        assert lines[-1].startswith(("Record: .otel-progress/runs/", "KeyboardInterrupt"))
        assert not any("▸" in line for line in lines)
        assert it.emulated.is_plain


DEATHS = {
    "SIGKILL": ("os.kill(os.getpid(), 9)", -9),
    "a fault": ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    "os._exit": ("os._exit(3)", 3),
}


@pytest.mark.parametrize("end", DEATHS)
def test_a_death_leaves_a_sane_terminal_and_the_table(tmp_path: Path, end: str) -> None:
    act, code = DEATHS[end]
    with seen(tmp_path, in_stage(WAITS + "print('cut \\x1b[31moff\\x1b[?1000h', end='', flush=True)\n" + act)) as it:
        it.until_drawn()
        it.go()
        told, lines = it.end()
        assert told == f"{code}, terminal as before"
        assert any(line.startswith("draft ") and "abandoned" in line for line in lines)
        assert lines[-1].startswith("Record: .otel-progress/runs/")
        assert "▸" not in "".join(lines)
        if code < 0:
            assert lines[0] == "cut off"
            assert it.emulated.is_plain
            assert b"\x1b[?1000l" in it.shown.bytes_


@pytest.mark.parametrize("way", ["typed", "sent"])
def test_ctrl_z_and_fg(tmp_path: Path, way: str) -> None:
    with seen(tmp_path, in_stage("print('before')\n" + WAITS)) as it:
        it.until_drawn()
        if way == "typed":
            it.shown.type("\x1a")
        else:
            os.kill(it.shown.job, signal.SIGTSTP)
        assert it.shown.told() == "stopped, terminal as before"
        assert (it.emulated.everything(), it.emulated.is_plain) == (["before"], True)
        it.shown.ask("fg")
        it.until_drawn()
        it.go()
        told, lines = it.end()
        assert (told, above(lines)) == ("0, terminal as before", ["before"])


def test_a_fault_of_the_display_is_said_and_the_program_goes_on(tmp_path: Path) -> None:
    broken = """
        import sys
        from otel_progress.live.screen import Screen
        def lines(*_): raise ZeroDivisionError("no room")
        Screen.lines = lines
        from otel_progress.cli.main import main
        sys.exit(main())
        """
    path = otlp.write(tmp_path, broken, "broken.py")
    with seen(tmp_path, in_stage("print('one')\n" + WAITS + "print('two')\n"), run=[str(path), "run"]) as it:
        it.until(lambda lines: len(lines) == 2)
        it.go()
        told, lines = it.end()
        said = "otel-progress: the display is off: ZeroDivisionError: no room"
        assert (told, sorted(above(lines)[:2]), above(lines)[2:]) == ("0, terminal as before", ["one", said], ["two"])


def test_on_a_terminal_that_cannot_move_its_cursor_there_are_lines(tmp_path: Path) -> None:
    # At once: where PYTHONUNBUFFERED is set a print is in pieces, and a line may come between them.
    said = "sys.stdout.write(f'one {os.getppid() == os.getsid(0)}\\n')\n"
    with seen(tmp_path, in_stage(said), TERM="dumb") as it:
        told, lines = it.end()
        assert told == "0, terminal as before"
        assert "one True" in lines  # It is one process, whose parent is the shell.
        assert any("campaign started, run " in line for line in lines)
        assert b"\x1b[" not in it.shown.bytes_


def test_columns_is_honoured(tmp_path: Path) -> None:
    code = in_stage(WAITS).replace("'draft'", "'draft' + 'x' * 100")
    with seen(tmp_path, code, columns=100) as it:
        it.until(lambda lines: len(lines) == 2 and len(lines[1]) > 40)
        it.go()
        it.end()
    (tmp_path / "go").unlink()
    path = tmp_path / "program.py"
    with terminal(tmp_path, [*RUN, str(path)], size=(24, 100), environment={"COLUMNS": "30"}) as shown:
        it = Seen(shown, tmp_path, 100, 24)
        lines = it.until(lambda lines: len(lines) == 2)
        assert max(map(len, lines)) < 30
        it.go()
        assert it.end()[0] == "0, terminal as before"


@pytest.mark.parametrize("option", ["--no-live", "--quiet"])
def test_without_a_display(tmp_path: Path, option: str) -> None:
    with seen(tmp_path, in_stage("print('one')\n"), option) as it:
        told, _ = it.end()
        assert told == "0, terminal as before"
        assert b"\xe2\x96\xb8" not in it.shown.bytes_
        assert b"\x1b[?25l" not in it.shown.bytes_


@pytest.mark.parametrize("ignored", [True, False])
def test_a_terminal_that_goes_away_ends_the_program_unless_it_ignores_that(tmp_path: Path, ignored: bool) -> None:
    path = otlp.write(tmp_path, HEAD + in_stage(WAITS + "for _ in range(300): print('said to nobody', flush=True)\n"))
    (tmp_path / "leads.py").write_text(
        "import fcntl, os, signal, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        f"signal.signal(signal.SIGHUP, signal.SIG_{'IGN' if ignored else 'DFL'})\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "leads.py", *RUN, str(path)],
        cwd=tmp_path,
        env=otlp.environment(TERM="xterm"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    try:
        os.close(slave)
        said = b""
        while b"draft" not in said:
            said += os.read(master, 65536)
        os.close(master)
        if ignored:
            (tmp_path / "go").touch()
        assert process.wait(otlp.TIMEOUT) == (0 if ignored else -signal.SIGHUP)
    finally:
        process.kill()
        process.wait()
    (run,) = read(tmp_path)
    assert run.state == ("done" if ignored else "crashed")


@pytest.mark.parametrize("end", ["its end", "Ctrl-C"])
def test_watch_on_a_terminal_has_lines_and_the_display_beneath_them(tmp_path: Path, end: str) -> None:
    path = otlp.write(tmp_path, HEAD + in_stage("print('ready', flush=True)\n" + WAITS))
    with otlp.start(tmp_path, [*RUN, str(path)]) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        with terminal(tmp_path, WATCH, size=(24, 80), environment={"COLUMNS": ""}) as shown:
            it = Seen(shown, tmp_path, 80, 24)
            lines = it.until_drawn()
            assert lines[0].endswith(" draft started")
            assert " campaign running for " in lines[1]
            assert lines[-2].startswith("▸ campaign, ")
            shown.type("\x1a")
            assert shown.told() == "stopped, terminal as before"
            shown.rest()
            assert "▸" not in "".join(it.emulated.everything())
            shown.ask("fg")
            it.until_drawn()
            if end == "Ctrl-C":
                shown.type("\x03")
                expected = "130"
            else:
                it.go()
                expected = "0"
            told, lines = it.end()
            assert told == f"{expected}, terminal as before"
            assert "▸" not in "".join(lines)
            assert it.emulated.is_plain
            if end != "Ctrl-C":
                assert any(" campaign ended in " in line for line in lines)
        it.go()
