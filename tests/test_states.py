"""The state of what has no end: by the file that its process holds, touches, and leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from otel_progress.runs import Problems, Run, read
from otel_progress.runs.pruning import prune
from otel_progress.runs.states import _NETWORK, SILENT, _kind_at, processes_of

from . import otlp
from .records import event, record, shown, visit_event

fcntl = pytest.importorskip("fcntl")
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what a process is, is read from /proc")

HOLD = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(file, fcntl.LOCK_EX)
os.set_inheritable(file, True)
print("held", flush=True)
sys.stdin.read()
"""


class Held:
    """A process that holds a file, as one that records does."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"
        self.told_before = told_of(self.process.pid)

    def told(self, **other: Any) -> dict[str, Any]:
        """What its file says."""
        return told_of(self.process.pid) | other

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def told_of(pid: int) -> dict[str, Any]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {
        "pid": pid,
        "ppid": os.getpid(),
        "start_ticks": int(fields[19]),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid_namespace": os.readlink("/proc/self/ns/pid"),  # noqa: PTH115 - it is no path
        "host": socket.gethostname(),
        "locked": True,
    }


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A record of a run with an open visit, by process 7-abcdef."""
    lines = [event("run.started", span_id="r1"), visit_event("started", "draft", "7-a.1", at=1.0)]
    return record(tmp_path, events=lines)


@pytest.fixture
def held(made: Path) -> Generator[Held]:
    process = Held(made / "process-7-abcdef.json")
    yield process
    process.end()


def say(made: Path, told: Mapping[str, Any], name: str = "7-abcdef") -> None:
    with (made / f"process-{name}.json").open("r+" if (made / f"process-{name}.json").exists() else "w") as file:
        file.write(json.dumps(told).ljust(1023) + "\n")


def state(made: Path) -> tuple[str, str]:
    """State of run and visit, which here are always one, with the reason."""
    run: Run = shown(made)
    (visit,) = run.visits
    assert (run.state, run.note) == (visit.state, visit.note)
    assert run.ended is None
    return run.state, run.note


def test_held_and_alive_is_running(made: Path, held: Held) -> None:
    say(made, held.told())
    assert state(made) == ("running", "")
    say(made, held.told(flavour="of a later version"))
    assert state(made) == ("running", "")


@pytest.mark.parametrize(
    ("reason", "note"), [("approval", "for approval"), ("for the editor", "for the editor"), ("waiting", "")]
)
def test_what_waits_says_what_for(made: Path, held: Held, reason: str, note: str) -> None:
    with (made / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(visit_event("progress", "draft", "7-a.1", at=2.0, wait__reason=reason) + "\n")
    say(made, held.told())
    assert state(made) == ("waiting", note)


def test_killed_is_crashed(made: Path, held: Held) -> None:
    say(made, held.told())
    held.end()
    assert state(made) == ("crashed", f"process {held.process.pid} is gone without a word")


def test_an_id_that_another_process_has_now_is_crashed(made: Path, held: Held) -> None:
    say(made, held.told(start_ticks=held.told()["start_ticks"] - 1))
    assert state(made)[0] == "crashed"


def test_stopped_and_silent_is_stalled(made: Path, held: Held) -> None:
    say(made, held.told())
    held.process.send_signal(signal.SIGSTOP)
    otlp.wait_until(lambda: Path(f"/proc/{held.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    assert state(made) == ("stalled", f"process {held.process.pid} is stopped")
    held.process.send_signal(signal.SIGCONT)
    otlp.wait_until(lambda: state(made) == ("running", ""))
    file = made / "process-7-abcdef.json"
    os.utime(file, (0, file.stat().st_mtime - 14))
    assert SILENT == 10.0
    assert state(made) == ("stalled", f"process {held.process.pid} is silent for 14 s")


def test_held_by_a_child_of_one_that_is_gone_is_crashed_and_names_the_child(made: Path, held: Held) -> None:
    """A forked child keeps the parent's lock; its own file says who its parent was."""
    gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    told = told_of(gone.pid)
    gone.communicate()
    say(made, told)
    child = Held(made / "process-9-abcdef.json")
    try:
        say(made, child.told(ppid=gone.pid), "9-abcdef")
        expected = f"process {gone.pid} is gone without a word; its child {child.process.pid} still runs"
        assert state(made) == ("crashed", expected)
    finally:
        child.end()
    assert state(made) == ("crashed", f"process {gone.pid} is gone without a word")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"exit_code": 3}, "ended with exit code 3"),
        ({"signal": 9}, "was ended by SIGKILL"),
        ({"signal": 4000}, "has ended"),
        ({"exit_code": "x"}, "has ended"),
        ({}, "has ended"),
    ],
)
def test_what_an_ended_process_left_open_is_crashed(made: Path, end: dict[str, Any], words: str) -> None:
    say(made, told_of(os.getpid()) | {"ended": 5} | end)
    assert state(made) == ("crashed", f"process {os.getpid()} {words}")


def test_what_another_program_has_found_to_be_crashed_is(made: Path) -> None:
    say(made, told_of(os.getpid()) | {"boot_id": "other", "host": "far", "crashed": 5})
    assert state(made) == ("crashed", f"process {os.getpid()} is gone without a word")


def test_on_another_machine_it_cannot_be_known(made: Path) -> None:
    say(made, told_of(os.getpid()) | {"boot_id": "other", "host": "far"})
    assert state(made) == ("unknown", f"process {os.getpid()} runs on far, or did: that cannot be known here")


def test_after_the_machine_was_started_anew_it_is_crashed(made: Path, held: Held) -> None:
    say(made, held.told(boot_id="an earlier one"))
    assert state(made)[0] == "crashed"
    assert "the machine was started anew" in state(made)[1]


def test_in_another_namespace_the_lock_alone_counts(made: Path, held: Held) -> None:
    say(made, held.told(pid_namespace="pid:[1]", pid=1))
    assert state(made) == ("running", "")
    held.end()
    assert state(made)[0] == "crashed"


def test_on_a_network_file_system_the_process_counts_else_nothing(
    made: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_progress.runs.states._is_on_network", lambda path: True)
    say(made, held.told())
    assert state(made) == ("running", "")
    say(made, held.told(pid_namespace="pid:[1]"))
    assert state(made)[0] == "unknown"
    assert "network file system" in state(made)[1]


def test_a_program_that_closes_everything_is_not_crashed_at_once(made: Path) -> None:
    say(made, told_of(os.getpid()))
    assert state(made) == ("running", "")
    os.utime(made / "process-7-abcdef.json", (0, (made / "process-7-abcdef.json").stat().st_mtime - 14))
    assert state(made) == ("crashed", f"process {os.getpid()} has let go of the record")


def test_two_who_look_do_not_see_each_other(made: Path) -> None:
    say(made, told_of(os.getpid()) | {"pid_namespace": "pid:[1]"})
    with (made / "process-7-abcdef.json").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert state(made)[0] == "crashed"


@pytest.mark.parametrize("text", ["{", "[]", "", "\0" * 100, '{"pid": "x"}', '{"pid": null}', "{}"])
def test_a_damaged_file_is_said(made: Path, text: str) -> None:
    file = made / "process-7-abcdef.json"
    file.write_text(text)
    problems = Problems()
    assert processes_of(made, problems).state_of_open("7-abcdef") == ("unknown", "its end was not recorded")
    assert [each.source for each in problems.found] == ([str(file)] if text else [])


def test_a_link_is_not_followed(made: Path, held: Held) -> None:
    (made / "process-8-abcdef.json").symlink_to(made / "process-7-abcdef.json")
    problems = Problems()
    processes_of(made, problems)
    assert [each.source for each in problems.found if each.source.endswith("8-abcdef.json")] == [
        str(made / "process-8-abcdef.json")
    ]


def test_a_pipe_in_its_place_does_not_stop_the_reader(made: Path) -> None:
    os.mkfifo(made / "process-8-abcdef.json")
    problems = Problems()
    processes_of(made, problems)


def test_what_goes_on_tells_of_the_run(tmp_path: Path) -> None:
    """One process of it is gone, another lives: the run goes on, and the visit of the first is crashed."""
    lines = [
        event("run.started", span_id="r1", process="7-abcdef"),
        visit_event("started", "draft", "7-a.1", at=1.0, process="7-abcdef"),
        visit_event("started", "check", "8-a.1", at=2.0, process="8-abcdef"),
    ]
    made = record(tmp_path, events=lines)
    say(made, told_of(os.getpid()))
    say(made, told_of(os.getpid()) | {"ended": 5, "exit_code": 1}, "8-abcdef")
    run = shown(made)
    assert (run.state, [visit.state for visit in run.visits]) == ("running", ["running", "crashed"])


def test_an_end_that_is_written_is_done_whatever_the_process(tmp_path: Path) -> None:
    lines = [event("run.started", span_id="r1"), event("run.ended", at=1.0, span_id="r1", result="cancelled")]
    made = record(tmp_path, events=lines)
    say(made, told_of(os.getpid()) | {"ended": 5, "signal": 15})
    run = shown(made)
    assert (run.state, run.result) == ("done", "cancelled")


MOUNTS = r"""sysfs /sys sysfs rw 0 0
/dev/vda1 / ext4 rw 0 0
server:/home /mnt/the\040home nfs4 rw 0 0
systemd-1 /mnt/share autofs rw 0 0
/dev/vdb1 /mnt/over ext4 rw 0 0
//server/share /mnt/over cifs rw 0 0
rclone: /mnt/over/cloud fuse.rclone rw 0 0
tmpfs /mnt/shared tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/a", "ext4"),
        ("/mnt/the home/a/b", "nfs4"),
        ("/mnt/the", "ext4"),
        ("/mnt/over/a", "cifs"),
        ("/mnt/over/cloud", "fuse.rclone"),
        ("/mnt/share/d", "autofs"),
        ("/mnt/shared/d", "tmpfs"),
    ],
)
def test_the_file_system_of_a_place(place: str, kind: str) -> None:
    """Blanks are escaped there; of several at one place the last one counts."""
    assert _kind_at(place, MOUNTS.split("\n")) == kind
    assert (_NETWORK.fullmatch(kind) is not None) == (kind in {"nfs4", "cifs", "fuse.rclone"})


@pytest.mark.parametrize(
    "field", ["start_ticks", "boot_id", "pid_namespace", "host", "ppid", "locked", "ended", "signal"]
)
@pytest.mark.parametrize("value", [[], [1], {}, {"a": 1}, 2**70, -1, 1e308, "", "x", "\ud800", None], ids=repr)
def test_a_field_of_another_kind_costs_no_reader_its_work(made: Path, field: str, value: Any) -> None:
    say(made, told_of(os.getpid()) | {"exit_code": value, field: value})
    assert state(made)[0] != "done"


def test_a_copy_of_a_record_tells_nothing_of_its_process(made: Path, held: Held, tmp_path: Path) -> None:
    """Whether it still runs, or came to a good end behind the copy: nobody holds a copy, or brings it up to date."""
    file = made / "process-7-abcdef.json"
    told = held.told(inode=file.stat().st_ino, device=file.stat().st_dev)
    say(made, told)
    assert state(made) == ("running", "")
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    note = f"process {held.process.pid} may run or not: this is a copy of its file, where that cannot be known"
    assert state(copy) == ("unknown", note)
    held.end()
    assert state(copy) == ("unknown", note)
    assert state(made)[0] == "crashed"
    say(copy, told | {"ended": 5, "exit_code": 3})
    assert state(copy) == ("crashed", f"process {held.process.pid} ended with exit code 3")


def test_a_file_that_is_seen_past_its_file_system_tells_nothing(made: Path, held: Held) -> None:
    """As a container's from outside, where the lock is not seen; a device may be another when a machine starts anew."""
    file = made / "process-7-abcdef.json"
    say(made, held.told(inode=file.stat().st_ino, device=file.stat().st_dev + 1))
    assert state(made)[0] == "unknown"
    held.end()
    say(made, held.told_before | {"inode": file.stat().st_ino, "device": file.stat().st_dev + 1, "boot_id": "other"})
    assert state(made) == ("crashed", f"process {held.process.pid} is gone: the machine was started anew since")


def test_no_copy_is_marked(made: Path, held: Held) -> None:
    say(made, held.told_before | {"inode": 1, "device": 1})
    held.end()
    before = (made / "process-7-abcdef.json").read_text()
    prune(made.parent, "20990101T000000Z-app-ffffff", 10, 100_000)
    assert (made / "process-7-abcdef.json").read_text() == before


def test_without_proc_the_lock_alone_counts(made: Path, held: Held) -> None:
    say(made, held.told(boot_id=None, pid=held.process.pid + 4_000_000))  # Only a part of it is there.
    assert state(made) == ("running", "")
    say(made, held.told(boot_id=None, pid_namespace=None, start_ticks=None, pid=1))
    assert state(made) == ("running", "")
    held.end()
    assert state(made) == ("crashed", "process 1 is gone without a word")
    say(made, held.told_before | {"boot_id": None, "host": "far"})
    assert state(made)[0] == "unknown"


def test_starts_count_only_in_the_same_namespace_of_times(made: Path, held: Held) -> None:
    say(made, held.told(time_namespace="time:[1]", start_ticks=1))
    assert state(made) == ("running", "")
    held.end()
    assert state(made)[0] == "crashed"


def test_a_container_with_another_name_for_the_start_of_the_machine(made: Path, held: Held) -> None:
    say(made, held.told(boot_id="of the container", pid_namespace="pid:[1]", pid=1))
    assert state(made) == ("running", "")
    held.end()
    assert state(made) == ("crashed", "process 1 is gone: the machine was started anew since")


def test_a_proc_that_hides_processes_of_others(made: Path, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mounted with `hidepid`; a program that became another user's is one of them."""
    say(made, held.told())
    read_bytes = Path.read_bytes

    def hidden(path: Path) -> bytes:
        if path.name == "stat":
            raise FileNotFoundError
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", hidden)
    assert state(made) == ("running", "")
    held.end()
    assert state(made)[0] == "crashed"


def test_a_proc_that_is_of_another_namespace(made: Path, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a namespace of process ids has none mounted of its own: its numbers are those of others."""
    say(made, held.told(pid=held.process.pid + 4_000_000))
    assert state(made)[0] == "crashed"
    readlink = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: "999999" if path == "/proc/self" else readlink(path))
    assert state(made) == ("running", "")


def test_a_host_that_is_no_text_of_unicode_costs_no_list(made: Path) -> None:
    say(made, told_of(os.getpid()) | {"boot_id": "other", "host": "\ud800far"})
    (run,) = read(made.parent)
    assert (run.state, run.note) == (
        "unknown",
        f"process {os.getpid()} runs on ?far, or did: that cannot be known here",
    )


def test_a_program_whose_clock_is_another_changes_no_state(
    made: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a library does that stops the time for tests: `otel-progress run` reads the record in that process."""
    say(made, held.told())
    monkeypatch.setattr(time, "time", lambda: 5e9)
    assert state(made) == ("running", "")


def test_what_has_become_another_program_is_crashed_at_once(made: Path, held: Held) -> None:
    """By `os.exec`: the same process, which has let go of its file, and has another one where it records on."""
    say(made, held.told())
    say(made, held.told(), f"{held.process.pid}-bbbbbb")
    assert state(made) == ("running", "")  # Which is held.
    held.end()
    say(made, told_of(os.getpid()))
    say(made, told_of(os.getpid()) | {"start_ticks": 1}, f"{os.getpid()}-bbbbbb")
    assert state(made) == ("running", "")  # It may have closed it, and opens it again; the other had its id before.
    os.mkfifo(made / f"process-{os.getpid()}-aaaaaa.json")
    say(made, told_of(os.getpid()) | {"ppid": 1}, f"{os.getpid()}-cccccc")
    processes = processes_of(made, Problems())
    assert processes.state_of_open("7-abcdef") == ("crashed", f"process {os.getpid()} went on as another program")
