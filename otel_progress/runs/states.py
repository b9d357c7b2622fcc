"""Whether the processes of a record still run, from the file that each of them holds while it lives."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..recording.visible import printable
from .documents import DamagedError, parse
from .model import State
from .problems import Problems
from .processes import files_of_processes, is_copy, namespaces

try:
    import fcntl
except ImportError:  # Not a POSIX system.
    fcntl = None

SILENT = 10.0
"""Seconds without a sign of life from which a process that is there counts as stalled; it gives one every second."""
_LARGEST = 65_536
_NETWORK = re.compile(r"nfs4?|cifs|smb3|smbfs|9p|virtiofs|vboxsf|ceph|lustre|glusterfs|beegfs|gpfs|afs|fuse\..*")
"""Kinds of file systems that others may write to, too; what lies behind `fuse` nobody knows."""
_OCTAL = re.compile(r"\\([0-7]{3})")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NOTHING: tuple[State, str] = ("unknown", "nothing tells whether it still runs")
NO_END: tuple[State, str] = ("unknown", "its end was not recorded")
"""What is known of what no process of a record has begun."""
_NETWORK_TELLS_NOTHING: tuple[State, str] = (
    "unknown",
    "may run or not: its file is on a network file system, where that cannot be known",
)


@dataclass(frozen=True)
class Process:
    """One process of a record, and what became of it."""

    name: str
    """What tells it from every other of its record: its id, and some digits."""
    pid: int
    parent: int | None
    state: State
    """`done`: it has said that it ends. What it had open then is never going to end: that is `crashed`."""
    note: str
    exit_code: int | None = None
    """That a shell would give: of one that a signal has ended 128 and its number. None where nobody knows it."""

    @property
    def lives(self) -> bool:
        """Whether it may still write."""
        return self.state in {"running", "stalled", "unknown"}


class Processes:
    """The processes of one input; none where it has no such files."""

    def __init__(self, found: list[Process] | None = None, *, otherwise: tuple[State, str] = _NOTHING) -> None:
        self._by_name = {process.name: process for process in found or []}
        self._otherwise = otherwise
        """The state of what no process that is known has begun."""

    def __iter__(self) -> Iterator[Process]:
        return iter(self._by_name.values())

    @property
    def live(self) -> bool:
        """Whether one of them may still write."""
        return self._otherwise[0] == "running" or any(process.lives for process in self)

    def joined(self, other: Processes) -> Processes:
        """Those of both."""
        return Processes([*self, *other], otherwise=max(self._otherwise, other._otherwise, key=_certainty))

    def state_of_open(self, name: str | None) -> tuple[State, str]:
        """The state of what a process has begun and not ended."""
        process = self._by_name.get(name or "")
        if process is None:
            return self._otherwise
        if process.state == "done":
            return "crashed", f"process {process.pid} {process.note}"
        if process.state == "crashed":
            children = sorted(each.pid for each in self if each.parent == process.pid and each.lives)
            names = ", ".join(map(str, children))
            left = f"child {names} still runs" if len(children) == 1 else f"children {names} still run"
            return "crashed", f"process {process.pid} {process.note}{f'; its {left}' if children else ''}"
        return process.state, "" if not process.note else f"process {process.pid} {process.note}"


def _certainty(told: tuple[State, str]) -> tuple[bool, bool]:
    return told[0] == "running", told != _NOTHING


def processes_of(record: Path, problems: Problems, now: float | None = None) -> Processes:
    """The processes whose files are in the folder of a record."""
    found = [process_at(path, problems, now) for path in files_of_processes(record)]
    return Processes([process for process in found if process is not None], otherwise=NO_END)


def process_at(path: Path, problems: Problems, now: float | None = None) -> Process | None:
    """The process that has this file. None where it cannot be read, or is being made."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_LINK)
    except OSError as error:
        problems.add(str(path), None, error.strerror or str(error))
        return None
    try:
        if not (data := os.read(descriptor, _LARGEST).strip()):
            return None  # Nothing is written before.
        told = parse(data)
        if type(told.get("pid")) is not int:
            raise DamagedError("it names no pid")
        found = os.fstat(descriptor)
        silent = (_wall() if now is None else now) - found.st_mtime
        return _process(path, told, _Signs(descriptor, path, silent, found))
    except (OSError, DamagedError) as error:
        problems.add(str(path), None, str(error))
        return None
    finally:
        os.close(descriptor)


def _wall(clock: Callable[[], float] = time.time) -> float:
    """The time, also where the program has put another clock into `time`, as its tests may."""
    return clock()


def held_by_any(file: Path) -> Processes:
    """What is known of a record that is one file, of an earlier version: whoever writes to it shares a lock on it."""
    try:
        descriptor = os.open(file, os.O_RDONLY | _NO_LINK)
    except OSError:
        return Processes()
    try:
        return Processes(otherwise=("running", "")) if _held(descriptor, file, alone=True) else Processes()
    finally:
        os.close(descriptor)


def pid_of(name: str | None) -> int | None:
    """The process id in what names a process."""
    digits = (name or "").partition("-")[0]
    return int(digits) if digits.isdecimal() and len(digits) < 18 else None


def is_there(told: dict[str, Any]) -> bool | None:
    """Whether the process that `processes.identity` told of is still there; None where that cannot be known here."""
    if _is_same_start(told) is False:
        return False if told.get("host") == socket.gethostname() else None
    lives = _lives(told)
    return None if lives is None else bool(lives)


@dataclass(frozen=True)
class _Signs:
    """What the file of a process shows beside what stands in it."""

    descriptor: int
    path: Path
    silent: float
    found: os.stat_result

    def held(self, told: dict[str, Any]) -> bool | None:
        """Whether its process holds it; None where a lock says nothing."""
        return None if told.get("locked") is False else _held(self.descriptor, self.path)


def _process(path: Path, told: dict[str, Any], signs: _Signs) -> Process:
    state, note = _state(told, signs)
    parent = told.get("ppid")
    return Process(
        path.stem.removeprefix("process-"),
        told["pid"],
        parent if type(parent) is int else None,
        state,
        printable(note),  # It may name a host.
        None if state in {"running", "stalled"} else _exit_code(told),
    )


def _state(told: dict[str, Any], signs: _Signs) -> tuple[State, str]:
    if told.get("ended") is not None:
        return "done", _end(told, "has ended")
    if told.get("crashed") is not None:  # Another program has found it so, or seen it end.
        return "crashed", _end(told, "is gone without a word")
    is_same_start = _is_same_start(told)
    if is_same_start is not True and told.get("host") != socket.gethostname():
        return "unknown", f"runs on {told.get('host') or 'another machine'}, or did: that cannot be known here"
    if is_copy(told, signs.found, is_same_start=is_same_start is True):
        return "unknown", "may run or not: this is a copy of its file, where that cannot be known"
    held = signs.held(told)
    # What is held may be of a container that has another name for the start of the machine, as those of systemd do.
    if is_same_start is False and not (held and told.get("pid_namespace") != namespaces()["pid_namespace"]):
        return _NETWORK_TELLS_NOTHING if held is None else ("crashed", "is gone: the machine was started anew since")
    return _state_here(told, signs, held)


def _is_another_program(told: dict[str, Any], path: Path) -> bool:
    """Whether the process has another file in the record: from `os.exec` on it is another program, by the same id."""
    for file in path.parent.glob(f"process-{told['pid']}-*.json"):
        with contextlib.suppress(OSError, DamagedError):
            descriptor = os.open(file, os.O_RDONLY | _NO_LINK)
            try:
                other = parse(os.read(descriptor, _LARGEST).strip())
            finally:
                os.close(descriptor)
            same = all(other.get(key) == told.get(key) is not None for key in ("pid", "start_ticks", "boot_id"))
            if same and file.name != path.name:
                return True
    return False


def _is_same_start(told: dict[str, Any]) -> bool | None:
    """Whether the machine was last started when it was for the process; None where that is not known, without /proc."""
    theirs, ours = told.get("boot_id"), _boot_id()
    return None if theirs is None or ours is None else theirs == ours


def _state_here(told: dict[str, Any], signs: _Signs, held: bool | None) -> tuple[State, str]:
    """The state of one that has not said that it ends, on this machine since it was last started."""
    alive, silent = _lives(told), signs.silent
    if alive is False or (held is False and alive is not True):
        return "crashed", "is gone without a word"
    if held is False and _is_another_program(told, signs.path):
        return "crashed", "went on as another program"
    if held is False and silent > SILENT:  # Not at once: a program may close what it finds open, and it opens it again.
        return "crashed", "has let go of the record"
    if held is None and alive is None:
        return _NETWORK_TELLS_NOTHING
    if alive == "stopped" or silent > SILENT:
        return "stalled", "is stopped" if alive == "stopped" else f"is silent for {silent:.0f} s"
    return "running", ""


def _end(told: dict[str, Any], otherwise: str) -> str:
    number, code = told.get("signal"), told.get("exit_code")
    if type(number) is int:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(number).name}"
    return f"ended with exit code {code}" if type(code) is int else otherwise


def _exit_code(told: dict[str, Any]) -> int | None:
    number, code = told.get("signal"), told.get("exit_code")
    if type(number) is int and 0 < number < 128:
        return 128 + number
    return code & 0xFF if type(code) is int else None


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return None


def _lives(told: dict[str, Any]) -> bool | str | None:
    """Whether the process is there (`stopped`: but does not go on); None where its number says nothing here."""
    if not _is_same_start(told):
        return None
    ours = namespaces()
    if told.get("pid_namespace") is None or any(told.get(name, value) != value for name, value in ours.items()):
        return None
    try:
        # Behind the name, which may hold anything: the state, ..., and as the twentieth field from there the start.
        fields = Path(f"/proc/{told['pid']}/stat").read_bytes().rpartition(b")")[2].split()
    except FileNotFoundError:
        return None if _answers(told["pid"]) else False
    except (OSError, ValueError):
        return None
    ticks = told.get("start_ticks")
    if fields[0] in {b"Z", b"X"} or (type(ticks) is int and ticks != int(fields[19])):
        return False
    return "stopped" if fields[0] in {b"T", b"t"} else True


def _answers(pid: int) -> bool:
    """Whether there is a process with this id: /proc may hide those of others (`hidepid`)."""
    try:
        os.kill(max(1, pid), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0


def _held(descriptor: int, path: Path, *, alone: bool = False) -> bool | None:
    """Whether its process holds the file; None where a lock says nothing."""
    if fcntl is None or _is_on_network(path):
        return None
    try:
        # Shared where that is enough, so that two who look do not see each other.
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _is_on_network(path: Path) -> bool:
    try:
        mounts = Path("/proc/mounts").read_text("utf-8", "replace").split("\n")
    except OSError:
        return False
    return _NETWORK.fullmatch(_kind_at(str(path.resolve()), mounts)) is not None


def _kind_at(place: str, mounts: Iterable[str]) -> str:
    """The kind of the file system that has `place`: of those mounted the innermost, and there the last."""
    longest, found = 0, ""
    for _, point, kind, *_ in (line.split(" ") for line in mounts if line):
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), point).rstrip("/") + "/"  # noqa: PLW2901 - a blank is \040
        if len(point) >= longest and f"{place}/".startswith(point):
            longest, found = len(point), kind
    return found
