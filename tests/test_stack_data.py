"""`otel-progress stack` over data folders and disks that are not as it would have them, and over those of others."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from otel_progress.stack import state
from otel_progress.stack.run import HOST, PORTS
from otel_progress.stack.state import Started, State

from . import otlp
from .servers import all_built, command, get, until
from .test_stack_command import SERVERS, told

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what runs is asked of /proc"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Path]:
    """A data folder over which nothing runs at the end."""
    all_built()
    folder = tmp_path / "stack"
    yield folder
    command(folder, "down")


def test_a_folder_of_an_earlier_version_is_opened(folder: Path) -> None:
    """It had neither a lock nor a file that tells of the stack, and a copy of settings that were of its version."""
    assert command(folder, "up", "-d").returncode == 0
    before = told(folder)
    otlp.run(
        folder.parent,
        ["-m", "otel_progress", "run", "-m", "otel_progress.stack.hello"],
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{HOST}:{PORTS['otlp_http'] + before.offset}",
    )
    jaeger = f"http://{HOST}:{PORTS['jaeger'] + before.offset}"
    until(lambda: get(f"{jaeger}/api/services")["data"])
    assert command(folder, "down").returncode == 0
    (folder / "stack.lock").unlink()
    (folder / "logs" / "stack.log").unlink()
    (folder / "prometheus-config" / "rules" / "gone.yaml").write_text("no rules at all")
    assert command(folder, "up", "-d").returncode == 0
    jaeger = f"http://{HOST}:{PORTS['jaeger'] + told(folder).offset}"
    assert until(lambda: get(f"{jaeger}/api/services")["data"]) == ["otel_progress.stack.hello"]


def test_data_that_a_server_cannot_read_is_named_and_what_to_do(folder: Path) -> None:
    assert command(folder, "up", "-d").returncode == 0
    assert command(folder, "down").returncode == 0
    manifest = folder / "jaeger" / "keys" / "MANIFEST"
    data = bytearray(manifest.read_bytes())
    assert data[:8] == b"Bdgr\0\0\0\x08"
    data[7] = 7  # What the Badger of earlier Jaegers wrote.
    manifest.write_bytes(data)
    up = command(folder, "up", "-d")
    assert up.returncode == 1
    assert "jaeger has ended with exit code 1" in up.stderr
    assert "manifest has unsupported version: 7" in up.stderr
    assert f"move {folder / 'jaeger'} away" in up.stderr
    (folder / "jaeger").rename(folder / "jaeger-old")
    assert command(folder, "up", "-d").returncode == 0


DISK = """
import json, os, subprocess, sys
folder = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "test", folder], check=True)
def stack(*words):
    done = subprocess.run([sys.executable, "-m", "otel_progress", "stack", *words, "--data", f"{folder}/data"],
                          capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
def fill():
    file = os.open(f"{folder}/fill", os.O_WRONLY | os.O_CREAT)
    try:
        while True: os.write(file, bytes(4096))
    except OSError: os.close(file)
said = []
try:
    os.makedirs(f"{folder}/data/logs")
    fill()
    said.append(stack("up", "-d"))
    os.unlink(f"{folder}/fill")
    said.append(stack("up", "-d"))
    fill()
    said.append(stack("status"))
    said.append(stack("down"))
    os.unlink(f"{folder}/fill")
    said.append(stack("up", "-d"))
finally:
    said.append(stack("down"))
print(json.dumps(said))
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode != 0,
    reason="no disk of its own can be mounted here",
)
def test_a_full_disk(folder: Path, tmp_path: Path) -> None:
    """In a namespace of its own, where a small one is full, then has room, then is full once more."""
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", DISK, str(tmp_path / "disk")],
        env=otlp.environment(PYTHONPATH=str(Path(__file__).parents[1])),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (code, refused), (up, _), (unwell, status), (down, _), (again, said), _ = json.loads(done.stdout)
    assert (code, up, unwell, down, again) == (1, 0, 1, 0, 0), done.stdout
    assert re.fullmatch(r"otel-progress: \S+/stack.json cannot be written: No space left on device\n", refused)
    assert "has only 0 MB left: what comes when it is full is not kept." in status
    assert "Send it a run" in said


# --- processes that are not the stack's -------------------------------------------------------------------------------


def test_a_process_that_has_the_number_of_one_that_has_ended_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as other:
        theirs = Started.of(other.pid)
        then = Started({**theirs.told, "start_ticks": theirs.told["start_ticks"] - 1}, None)
        State("up", then, True, 0, dict.fromkeys(SERVERS, then)).write(folder)
        assert command(folder, "status").returncode == 1
        assert "nothing is left of it" in command(folder, "status").stdout
        down = command(folder, "down")
        assert (down.returncode, down.stderr) == (0, "Stopped.\n")
        assert theirs.lives
        other.communicate("\n")
    assert other.returncode == 0  # Nobody has ended it.


def test_a_stack_in_another_container_or_on_another_machine_is_named(folder: Path) -> None:
    folder.mkdir()
    here = Started.of(os.getpid())
    there = Started({**here.told, "boot_id": "another", "host": "elsewhere"}, None)
    State("up", there, True, 0).write(folder)
    for words in (["up", "-d"], ["down"]):
        done = command(folder, *words)
        assert done.returncode == 1
        assert "on elsewhere keeps a stack over" in done.stderr
    assert "on elsewhere, or did" in command(folder, "status").stdout
    state.forget(folder)


@pytest.mark.parametrize("text", ["", "{}", '{"phase": "new"}', "[1]", '{"servers": {}, "keeper": {"told": 1}}'])
def test_what_another_version_has_written_is_said_and_left(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "stack.json").write_text(text)
    for words in (["up", "-d"], ["down"], ["status"]):
        done = command(folder, *words)
        assert done.returncode == 1
        assert done.stderr.startswith(f"otel-progress: {folder / 'stack.json'} is damaged, or of another version")
    assert (folder / "stack.json").read_text() == text
    (folder / "stack.json").unlink()


def test_where_there_is_no_proc_ps_tells_one_process_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    mac = {"start_ticks": None, "boot_id": None, "pid_namespace": None}
    monkeypatch.setattr(state, "identity", lambda pid: {"pid": pid, "started": 0, "host": socket.gethostname(), **mac})
    monkeypatch.setattr(state, "is_there", lambda told: None)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as other:
        one = Started.of(other.pid)
        assert one.clock
        assert one.lives
        assert not Started(one.told, "Thu Jan  1 00:00:00 1970").lives
        assert not one.end()
        other.wait(otlp.TIMEOUT)
        assert other.returncode == -signal.SIGTERM
        assert not one.lives
