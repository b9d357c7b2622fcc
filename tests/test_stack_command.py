"""`otel-progress stack up`, `down`, `status` and `logs`, with the real servers: they end with whoever owns them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from otel_progress.stack import build, state
from otel_progress.stack.locks import locked
from otel_progress.stack.run import HOST, PORTS, free_offset
from otel_progress.stack.state import State

from . import otlp
from .servers import all_built, command, get, until

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what runs is asked of /proc"),
]

SERVERS = {"prometheus", "jaeger", "alertmanager", "collector"}
Commands = list[subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Path]:
    """A data folder over which nothing runs at the end."""
    all_built()
    folder = tmp_path / "stack"
    yield folder
    command(folder, "down")


@pytest.fixture
def started(folder: Path) -> Generator[Callable[..., subprocess.Popen[str]]]:
    """Starts `stack up` in the foreground; the servers are up when it returns."""
    commands: Commands = []

    def start() -> subprocess.Popen[str]:
        commands.append(otlp.start(folder.parent, ["-m", "otel_progress", "stack", "up", "--data", str(folder)]))
        assert commands[-1].stderr is not None
        for line in commands[-1].stderr:
            if line.startswith("Ctrl-C stops it"):
                return commands[-1]
        return pytest.fail("it has ended")

    yield start
    for each in commands:
        each.kill()
        each.communicate()


def typed(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """What a line does that somebody types into a shell."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        line, shell=True, cwd=folder, env=otlp.environment(PATH=path), text=True, capture_output=True, check=False
    )


def told(folder: Path) -> State:
    found = state.read(folder)
    assert found is not None
    return found


def ports_of(found: State) -> set[int]:
    """On what the servers of a stack listen."""
    own = {
        str(each.readlink())
        for server in found.servers.values()
        for each in Path(f"/proc/{server.pid}/fd").iterdir()
        if each.is_symlink()
    }
    lines = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    return {int(each[1].split(":")[1], 16) for each in lines if each[3] == "0A" and f"socket:[{each[9]}]" in own}


def gone(found: State) -> bool:
    return not any(each.lives for each in [found.keeper, *found.servers.values()])


def test_a_detached_stack_from_its_start_to_its_end(folder: Path) -> None:
    up = command(folder, "up", "-d")
    assert up.returncode == 0, up.stderr
    found = told(folder)
    assert set(found.servers) == SERVERS
    assert ports_of(found) == {port + found.offset for port in PORTS.values()}

    # The lines that show that it works, as they are printed.
    send, look = re.findall(r"(?:OTEL_\S+ )?otel-progress (?:run|show) .*", up.stderr)
    sent = typed(folder.parent, send)
    assert sent.stdout == "Hello, stack.\n"
    assert "Exported: 3 spans" in sent.stderr
    shown = until(lambda: typed(folder.parent, look).stdout)
    assert re.search(r"^hello .*done: success", shown, re.MULTILINE)
    assert re.findall(r"s  (greet|tell)", shown) == ["greet", "tell"]
    (page,) = re.findall(r"otel-progress report .*", up.stderr)
    assert typed(folder.parent, page).stderr.startswith("otel-progress: run.html shows the run ")
    assert '"stage":"greet"' in (folder.parent / "run.html").read_text("utf-8")

    # Links lead to where the servers are.
    prometheus, alertmanager, jaeger = (
        f"http://{HOST}:{PORTS[name] + found.offset}" for name in ("prometheus", "alertmanager", "jaeger")
    )
    assert get(f"{prometheus}/api/v1/status/flags")["data"]["web.external-url"] == prometheus
    assert f"jaeger_url: {jaeger}\n" in get(f"{prometheus}/api/v1/status/config")["data"]["yaml"]
    told_of = until(lambda: get(f"{prometheus}/api/v1/alertmanagers")["data"]["activeAlertmanagers"])
    assert told_of == [{"url": f"{alertmanager}/api/v2/alerts"}]

    status = command(folder, "status")
    assert status.returncode == 0
    assert f"The stack over {folder} is up (detached), since 20" in status.stdout
    rows = {line.split()[0]: line for line in status.stdout.splitlines() if line.partition(" ")[0] in SERVERS}
    assert set(rows) == SERVERS
    for name, line in rows.items():
        assert re.search(rf"healthy +{found.servers[name].pid} +\d+-\d+-\d+ \d+:\d+:\d+ +\d+\.\d MB +http", line), line
    assert re.search(rf"Data and logs: {folder}, \d+\.\d MB\n", status.stdout)

    # A second one says where the first is, and starts nothing.
    for again in (command(folder, "up"), command(folder, "up", "-d")):
        assert again.returncode == 0
        assert f"runs over {folder} already, detached (kept by process {found.keeper.pid})" in again.stderr
        assert jaeger in again.stderr
    other = command(folder, "up", "-d", "--port-offset", str(found.offset + 1))
    assert other.returncode == 1
    assert "its ports" in other.stderr
    assert told(folder) == found

    logs = command(folder, "logs")
    assert {f"--- {folder / 'logs' / name}.log" for name in SERVERS} <= set(logs.stdout.splitlines())
    assert "Server is ready to receive web requests" in command(folder, "logs", "prometheus").stdout
    assert command(folder, "logs", "grafana").returncode == 1

    down = command(folder, "down")
    assert (down.returncode, down.stderr) == (0, "Stopping ...\nStopped.\n")
    assert gone(found)
    assert command(folder, "status").returncode == 1
    assert command(folder, "down").stderr == f"No stack runs over {folder}.\n"

    # The data stays.
    assert command(folder, "up", "-d").returncode == 0
    jaeger = f"http://{HOST}:{PORTS['jaeger'] + told(folder).offset}"
    kept = until(lambda: get(f"{jaeger}/api/services")["data"])
    assert set(kept) - {"jaeger"} == {"otel_progress.stack.hello"}  # Jaeger may have traced itself.


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_the_servers_end_with_the_command_whatever_ends_it(
    folder: Path, started: Callable[[], subprocess.Popen[str]], number: signal.Signals
) -> None:
    running = started()
    found = told(folder)
    running.send_signal(number)
    code = running.wait(otlp.TIMEOUT)
    assert code == (-number if number == signal.SIGKILL else 0)
    until(lambda: gone(found))
    assert state.read(folder) is None


def test_a_second_interrupt_leaves_no_server_behind(folder: Path, started: Callable[[], subprocess.Popen[str]]) -> None:
    running = started()
    found = told(folder)
    running.send_signal(signal.SIGINT)
    assert running.stderr is not None
    assert running.stderr.readline() == "Stopping ...\n"
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGTERM)
    assert running.communicate(timeout=otlp.TIMEOUT)[1] == "Stopped.\n"
    assert running.returncode == 0
    assert gone(found)


@pytest.mark.parametrize("of", ["command", "keeper"])
def test_an_end_while_they_are_being_started(folder: Path, of: str) -> None:
    starting = otlp.start(folder.parent, ["-m", "otel_progress", "stack", "up", "-d", "--data", str(folder)])
    until(lambda: (now := state.read(folder)) is not None and bool(now.servers))
    found = told(folder)
    os.kill(starting.pid if of == "command" else found.keeper.pid, signal.SIGKILL)
    starting.communicate()
    if of == "keeper":
        assert starting.returncode == 1
    until(lambda: gone(found) and state.read(folder) is None)


def test_a_foreground_stack_is_ended_from_elsewhere(folder: Path, started: Callable[[], subprocess.Popen[str]]) -> None:
    running = started()
    again = command(folder, "up", "-d")
    assert again.returncode == 0
    assert "already, until the command that started it ends" in again.stderr
    assert "(in the foreground)" in command(folder, "status").stdout
    assert command(folder, "down").returncode == 0
    assert running.wait(otlp.TIMEOUT) == 0


def test_when_the_keeper_is_killed_the_command_ends_the_servers(
    folder: Path, started: Callable[[], subprocess.Popen[str]]
) -> None:
    running = started()
    found = told(folder)
    os.kill(found.keeper.pid, signal.SIGKILL)
    _, said = running.communicate(timeout=otlp.TIMEOUT)
    assert running.returncode == 1
    assert "has ended (-9)" in said
    assert gone(found)
    assert state.read(folder) is None


def test_what_a_killed_stack_has_left_is_found_and_ended(folder: Path) -> None:
    assert command(folder, "up", "-d").returncode == 0
    first = told(folder)
    os.kill(first.keeper.pid, signal.SIGKILL)
    first.keeper.wait(otlp.TIMEOUT)
    status = command(folder, "status")
    assert status.returncode == 1
    assert "was killed: `otel-progress stack down` ends what is left of it" in status.stdout
    assert all(each.lives for each in first.servers.values())

    again = command(folder, "up", "-d")  # It ends them first: the data is one stack's.
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("was left by a stack that was killed: it is ended.") == 4
    assert gone(first)

    second = told(folder)
    os.kill(second.keeper.pid, signal.SIGKILL)
    second.keeper.wait(otlp.TIMEOUT)
    assert command(folder, "down").returncode == 0
    assert gone(second)
    assert state.read(folder) is None


def test_a_server_that_ends_by_itself_ends_the_stack_and_status_says_why(folder: Path) -> None:
    assert command(folder, "up", "-d").returncode == 0
    found = told(folder)
    os.kill(found.servers["jaeger"].pid, signal.SIGKILL)
    until(lambda: told(folder).phase == "failed")
    assert gone(State("failed", found.servers["jaeger"], True, 0, found.servers))
    status = command(folder, "status")
    assert status.returncode == 1
    assert "has ended by itself: jaeger has ended by SIGKILL." in status.stdout
    assert str(folder / "logs" / "jaeger.log") in status.stdout


def test_without_its_data_folder_it_ends(folder: Path) -> None:
    assert command(folder, "up", "-d").returncode == 0
    found = told(folder)
    shutil.rmtree(folder)
    until(lambda: gone(found))


def test_two_at_once_over_one_folder_are_one(folder: Path) -> None:
    words = ["-m", "otel_progress", "stack", "up", "-d", "--data", str(folder)]
    both = [otlp.ended(each) for each in [otlp.start(folder.parent, words) for _ in range(2)]]
    assert [each.returncode for each in both] == [0, 0], [each.stderr for each in both]
    assert sorted("already" in each.stderr for each in both) == [False, True]
    assert command(folder, "status").returncode == 0


def test_two_at_once_over_two_folders_have_ports_of_their_own(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    try:
        words = [["-m", "otel_progress", "stack", "up", "-d", "--data", str(each)] for each in (folder, other)]
        both = [otlp.ended(each) for each in [otlp.start(tmp_path, each) for each in words]]
        assert [each.returncode for each in both] == [0, 0], [each.stderr for each in both]
        assert ports_of(told(folder)).isdisjoint(ports_of(told(other)))
    finally:
        command(other, "down")


def test_one_stack_at_a_time_takes_ports(folder: Path) -> None:
    offset = free_offset(None, lambda _: None)
    with locked(build.cache().parent / "ports.lock", lambda: True):
        starting = otlp.start(folder.parent, ["-m", "otel_progress", "stack", "up", "-d", "--data", str(folder)])
        until(lambda: state.read(folder) is not None)
        taken = socket.create_server((HOST, PORTS["prometheus"] + offset))
        assert told(folder).servers == {}
    with taken:
        done = otlp.ended(starting)
    assert done.returncode == 0, done.stderr
    assert told(folder).offset > offset


OWNER = """
import os, signal, sys
from pathlib import Path
from otel_progress.stack.run import Stack, free_offset, shifted
def die():
    print(*stack.pids().values(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
stack = Stack(Path(sys.argv[1]), shifted(free_offset(None, lambda _: None)), on_process=die)
Path(sys.argv[1]).mkdir()
stack.up("jaeger")
"""


def test_a_server_whose_owner_is_killed_before_it_can_tell_of_it_never_begins(folder: Path) -> None:
    done = otlp.run(folder.parent, ["-c", OWNER, str(folder)])
    assert done.returncode == -signal.SIGKILL, done.stderr
    until(lambda: not Path(f"/proc/{int(done.stdout)}").exists())
    assert (folder / "logs" / "jaeger.log").read_text() == ""


def test_taken_ports_are_left_to_whoever_has_them(folder: Path) -> None:
    assert command(folder, "up", "-d").returncode == 0
    offset = told(folder).offset
    assert command(folder, "down").returncode == 0
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((HOST, PORTS["otlp_http"] + offset))
        other.listen()
        asked = command(folder, "up", "-d", "--port-offset", str(offset))
        assert asked.returncode == 1
        assert f"already, port {PORTS['otlp_http'] + offset}" in asked.stderr
        chosen = command(folder, "up", "-d")
        assert chosen.returncode == 0
        assert told(folder).offset > offset
        assert f"all ports are {told(folder).offset} higher than usual" in chosen.stderr
        assert f"{HOST}:{PORTS['otlp_http'] + told(folder).offset} " in chosen.stderr
