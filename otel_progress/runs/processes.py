"""The file by which a process of a record says that it lives: it holds a lock on it, and touches it each second."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..recording.descriptors import file_of, high
from ..recording.times import NANO

try:
    import fcntl
except ImportError:  # Not a POSIX system.
    fcntl = None

_LARGEST = 65_536
PROCESS_FILES = "process-*.json"
_ROOM = 1024  # Bytes that it has from the start, so that a full disk does not keep its end out of it.


class ProcessFile:
    """That of this process. A forked child has one of its own."""

    def __init__(self, folder: Path) -> None:
        self.pid = os.getpid()
        self.name = f"{self.pid}-{secrets.token_hex(3)}"
        self._path = folder / f"process-{self.name}.json"
        self._told = {**_who(), "locked": False}
        self._is_over = False
        self._open()

    def touch(self) -> None:
        """Say that it lives. Called each second."""
        with contextlib.suppress(OSError):
            if not self._is_ours():  # The program has closed it, and with it the lock went.
                self._open()
                return
            try:
                os.utime(self._descriptor)
            except PermissionError:  # The program is another user's now, and may write to it as before.
                self._write()

    def end(self, **known: int) -> None:
        """Note that the process has come to its end, with the `exit_code` or the `signal` where that is known."""
        if self.pid == os.getpid() and not self._is_over:
            self._is_over = True
            self._told.update(ended=time.time_ns(), **known)
            with contextlib.suppress(OSError):
                if self._is_ours():
                    self._write()
                else:
                    self._open()

    def let_go(self) -> None:
        """Close it in a forked child, which would hold the parent's lock."""
        if self._is_ours():
            os.close(self._descriptor)

    def _is_ours(self) -> bool:
        """Whether the descriptor is that of the file."""
        return file_of(self._descriptor) == (self._told["device"], self._told["inode"])

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        self._descriptor = high(os.open(self._path, flags, 0o600))
        self._told["device"], self._told["inode"] = file_of(self._descriptor) or (None, None)
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # Readers probe it for a moment.
                self._told["locked"] = True
        self._write()

    def _write(self) -> None:
        _write(self._descriptor, self._told)


def files_of_processes(record: Path) -> list[Path]:
    """Those in the folder of a record; none where it may not be looked into, as of a user that the program was."""
    with contextlib.suppress(OSError):
        return [record / name for name in sorted(os.listdir(record)) if fnmatchcase(name, PROCESS_FILES)]  # noqa: PTH208
    return []


def mark_crashed(file: Path, **known: int) -> None:
    """Note in a process's file that it came to no end of its own, if that is so, and nobody has noted it.

    Whoever has seen it end has `known` its `exit_code` or the `signal`.
    """
    if fcntl is None:
        return
    try:
        descriptor = os.open(file, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return
    try:
        told: Any = json.loads(os.read(descriptor, _LARGEST))
        if not {"ended", "crashed"}.intersection(told) and (known or (told["locked"] and told["host"] == _host())):
            if not known:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Fails where it lives.
            _write(descriptor, {**told, "crashed": time.time_ns(), **known})
    except (OSError, ValueError, LookupError, TypeError):  # One that is in the midst of being made, or damaged.
        pass
    finally:
        os.close(descriptor)


def _write(descriptor: int, told: dict[str, Any]) -> None:
    data = json.dumps(told).encode()
    data += b" " * (_ROOM - len(data) - 1) + b"\n"
    if hasattr(os, "pwrite"):
        os.pwrite(descriptor, data, 0)
    else:
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, data)


def _host() -> str | None:
    return os.uname().nodename if hasattr(os, "uname") else None


def _who() -> dict[str, Any]:
    return {**identity(os.getpid()), "ppid": os.getppid(), "argv0": sys.argv[0][:200] if sys.argv else None}


def identity(pid: int) -> dict[str, Any]:
    """What tells a process, which lives now, from every other that has had, or will have, its id."""
    ticks = _start_ticks(pid)
    return {
        "pid": pid,
        "started": time.time_ns() if ticks is None else _since_boot(ticks),
        "start_ticks": ticks,
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        **namespaces(),
        "host": _host(),
    }


def namespaces() -> dict[str, str | None]:
    """Those in which process ids and starts count here; none where /proc is not there, or is of others."""
    found = {f"{kind}_namespace": _namespace(kind) for kind in ("pid", "time")}
    return found if _own_id() == os.getpid() else dict.fromkeys(found)


def _own_id() -> int | None:
    """The id of this process as /proc has it: another one where it was mounted outside of the namespace."""
    try:
        return int(os.readlink("/proc/self"))  # noqa: PTH115 - it is no path
    except (OSError, ValueError):
        return None


def is_copy(told: dict[str, Any], found: os.stat_result, *, is_same_start: bool) -> bool:
    """Whether a file is not that of the process but a copy, which nobody holds or brings up to date.

    So is one that is seen past the file system that it was made in, such as a container's from outside. When the
    machine is started anew, a file keeps its number, and its device may get another.
    """
    if None in (inode := told.get("inode"), device := told.get("device")):  # Of an earlier version.
        return False
    return inode != found.st_ino or (is_same_start and device != found.st_dev)


def _start_ticks(pid: int) -> int | None:
    stat = _read(f"/proc/{'self' if pid == os.getpid() else pid}/stat")
    try:
        return None if stat is None else int(stat.rpartition(")")[2].split()[19])  # The 22nd field of all.
    except (ValueError, IndexError):
        return None


def _since_boot(ticks: int) -> int:
    try:
        lines = (_read("/proc/stat") or "").splitlines()
        booted = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
        return booted * NANO + ticks * NANO // os.sysconf("SC_CLK_TCK")
    except (ValueError, IndexError, StopIteration, OSError):
        return time.time_ns()


def _namespace(kind: str) -> str | None:
    try:
        return os.readlink(f"/proc/self/ns/{kind}")  # noqa: PTH115 - it is no path
    except OSError:
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return None
