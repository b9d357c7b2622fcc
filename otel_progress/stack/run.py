"""The stack without containers: the real servers on loopback, with the configuration files of `deploy`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from .build import StackError, deploy_folder, is_built, program

HOST = "127.0.0.1"
PORTS = {
    "otlp_grpc": 4317,
    "otlp_http": 4318,
    "jaeger_otlp": 4319,
    "jaeger_telemetry": 8887,
    "collector_telemetry": 8888,
    "totals": 8889,
    "live": 8890,
    "prometheus": 9090,
    "alertmanager": 9093,
    "collector_health": 13133,
    "jaeger_health": 13134,
    "jaeger_query_grpc": 16685,
    "jaeger": 16686,
}
"""Where each server listens, by default. The configuration files and compose.yaml say the same."""
HIGHEST_OFFSET = 65_535 - max(PORTS.values())

_READY_TIMEOUT = 60.0
_STOP_TIMEOUT = 15.0
_LOG_LINES = 6
_LOG_COLUMNS = 300

# A server begins when it is known to whoever shall end it. If we are killed before that it never does.
_GATE = """
import os, signal, sys
if os.read(0, 1):
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execv(sys.argv[1], sys.argv[1:])
    except OSError as error:
        print(error.strerror, flush=True)
        sys.exit(126)
"""
_NO_PROGRAM = 126
_LITTLE_ROOM = 100_000_000  # Bytes.


def shifted(offset: int) -> dict[str, int]:
    """The usual ports, each `offset` higher."""
    return {name: port + offset for name, port in PORTS.items()}


def free_offset(offset: int | None, say: Callable[[str], None]) -> int:
    """`offset`, or if that is None the lowest one, in steps of 100, at which nobody listens on any of the ports.

    Raises:
        StackError: somebody listens on one at that `offset`, or at each.
    """
    taken: list[str] = []
    for each in range(0, HIGHEST_OFFSET, 100) if offset is None else [offset]:
        found = [str(port) for port in shifted(each).values() if _listening(port)]
        if not found:
            if taken:
                say(f"Somebody else listens on {_some(taken)}: all ports are {each} higher than usual.")
            return each
        taken = taken or found
    advice = "name another --port-offset" if offset is not None else "is there a stack for every port?"
    raise StackError(f"something listens on {HOST} already, {_some(taken)}: {advice}")


def _some(ports: list[str]) -> str:
    more = f" and {len(ports) - 3} more" if len(ports) > 3 else ""
    return f"port {', '.join(ports[:3])}{more}"


@dataclass(frozen=True)
class Server:
    """How one of the servers is started."""

    program: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    health: str
    """URL that answers 200 when the server is ready."""


@dataclass
class Stack:
    """The servers, their ports and the folder that holds their data and logs.

    A context manager that starts them and waits until they are healthy, and stops them at its end.
    """

    folder: Path
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    deploy: Path = field(default_factory=deploy_folder)
    collector_configs: Sequence[str] = ("config.yaml",)
    """Of `deploy/collector`; a later one adds to those before."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the servers get beside their addresses."""
    say: Callable[[str], None] = lambda _: None
    on_process: Callable[[], None] = lambda: None
    """Called when there is a process for a server, which does not begin before."""
    is_unwanted: Callable[[], bool] = lambda: False
    """Asked while servers start: whether they are to be ended, and not waited for."""
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])

    def address(self, name: str) -> str:
        """Host and port of what listens under `name` in `PORTS`."""
        return f"{HOST}:{self.ports[name]}"

    def url(self, name: str) -> str:
        """The same as a URL."""
        return f"http://{self.address(name)}"

    def servers(self) -> dict[str, Server]:
        """Every server by its name, in the order in which they start."""
        data, settings, address = self.folder.absolute(), self.folder.absolute() / "prometheus-config", self.address
        return {
            "prometheus": Server(
                "prometheus",
                [
                    f"--config.file={settings / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={data / 'prometheus'}",
                    "--storage.tsdb.retention.time=30d",
                    "--storage.tsdb.retention.size=8GB",
                    "--enable-feature=created-timestamp-zero-ingestion,exemplar-storage",
                    f"--web.listen-address={address('prometheus')}",
                    f"--web.external-url={self.url('prometheus')}",
                    "--web.enable-otlp-receiver",
                ],
                {
                    "GRAFANA_URL": "http://localhost:3000",
                    "JAEGER_URL": self.url("jaeger"),
                    "RUNBOOK_URL": (self.deploy.parent / "docs" / "runbooks").as_uri(),
                },
                f"{self.url('prometheus')}/-/ready",
            ),
            "jaeger": Server(
                "jaeger",
                [f"--config={self.deploy / 'jaeger' / 'config.yaml'}"],
                {
                    "JAEGER_DATA": str(data / "jaeger"),
                    "JAEGER_OTLP_ADDRESS": address("jaeger_otlp"),
                    "JAEGER_QUERY_ADDRESS": address("jaeger"),
                    "JAEGER_QUERY_GRPC_ADDRESS": address("jaeger_query_grpc"),
                    "JAEGER_HEALTH_ADDRESS": address("jaeger_health"),
                    "JAEGER_TELEMETRY_PORT": str(self.ports["jaeger_telemetry"]),
                    "PROMETHEUS_URL": self.url("prometheus"),
                },
                f"{self.url('jaeger_health')}/status",
            ),
            "alertmanager": Server(
                "alertmanager",
                [
                    f"--config.file={self.deploy / 'alertmanager' / 'alertmanager.yaml'}",
                    f"--storage.path={data / 'alertmanager'}",
                    f"--web.listen-address={address('alertmanager')}",
                    f"--web.external-url={self.url('alertmanager')}",
                    "--cluster.listen-address=",
                ],
                {},
                f"{self.url('alertmanager')}/-/ready",
            ),
            "collector": Server(
                "collector",
                [f"--config={self.deploy / 'collector' / name}" for name in self.collector_configs],
                {
                    "COLLECTOR_DATA": str(data / "collector"),
                    "OTLP_GRPC_ADDRESS": address("otlp_grpc"),
                    "OTLP_HTTP_ADDRESS": address("otlp_http"),
                    "COLLECTOR_HEALTH_ADDRESS": address("collector_health"),
                    "COLLECTOR_TOTALS_ADDRESS": address("totals"),
                    "COLLECTOR_LIVE_ADDRESS": address("live"),
                    "COLLECTOR_TELEMETRY_PORT": str(self.ports["collector_telemetry"]),
                    "JAEGER_OTLP_ADDRESS": address("jaeger_otlp"),
                },
                self.url("collector_health"),
            ),
        }

    def up(self, *names: str) -> None:
        """Start the servers `names` (none: all) and wait until each is healthy.

        Raises:
            StackError: a server cannot be started, ends, does not become healthy, or is not wanted any more.
        """
        if not self._running:
            self._write_settings()
        servers = {name: server for name, server in self.servers().items() if not names or name in names}
        for name, server in servers.items():
            self._start(name, server)
        deadline = time.monotonic() + _READY_TIMEOUT
        for name, server in servers.items():
            self._wait(name, server, deadline)
            self.say(f"{name} is up")

    def down(self, *names: str) -> None:
        """Stop the servers `names` (none: all), the collector first, so that it can give away what it holds."""
        for name in [each for each in reversed(list(self._running)) if not names or each in names]:
            process = self._running[name]
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.say(f"{name} does not stop: it is killed")
                process.kill()
                process.wait()
            del self._running[name]

    def kill(self, name: str) -> None:
        """End a server as a crash would."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def ended(self) -> str | None:
        """The name of a server that has ended by itself, if there is one."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def pids(self) -> dict[str, int]:
        """The process of each server that was started."""
        return {name: process.pid for name, process in self._running.items()}

    def end_of(self, name: str) -> str:
        """What there is to say of a server that has ended."""
        code = self._running[name].returncode
        if code == _NO_PROGRAM:
            folder = program(self.servers()[name].program).parent
            why = self.tail(name).rpartition("\n")[2]
            return (
                f"{name} cannot be started ({why}): if {folder} is damaged, remove it, and `otel-progress stack build` "
                "builds it anew"
            )
        how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
        full = too_little_room(self.folder)
        return f"{name} has ended {how}.\n{full}The end of {self.log(name)}:\n{self.tail(name)}"

    def log(self, name: str) -> Path:
        """The log file of a server."""
        return self.folder / "logs" / f"{name}.log"

    def tail(self, name: str) -> str:
        """The last lines of a server's log."""
        lines = self.log(name).read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
        return "\n".join(line if len(line) <= _LOG_COLUMNS else f"{line[:_LOG_COLUMNS]} ..." for line in lines)

    def _write_settings(self) -> None:
        """Prometheus takes addresses from files beside its own, so it gets a copy of these to stand beside."""
        settings = self.folder / "prometheus-config"
        shutil.rmtree(settings, ignore_errors=True)  # A rule that a later version lacks must not stay.
        for source in (self.deploy / "prometheus").rglob("*.yaml"):
            target = settings / source.relative_to(self.deploy / "prometheus")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)  # Not its mode: an installation may be read-only.
        (settings / "targets").mkdir()
        targets = {
            "totals": "totals",
            "live": "live",
            "collector": "collector_telemetry",
            "alertmanager": "alertmanager",
        }
        for name, port in targets.items():
            (settings / "targets" / f"{name}.yaml").write_text(f"[{{targets: ['{self.address(port)}']}}]\n", "utf-8")

    def _start(self, name: str, server: Server) -> None:
        executable = program(server.program)
        if not is_built(server.program):
            raise StackError(f"{server.program} is not built yet: run `otel-progress stack build`")
        self.log(name).parent.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            process = self._running[name] = subprocess.Popen(  # noqa: S603 - our own words
                [sys.executable, "-I", "-S", "-c", _GATE, executable, *server.arguments],
                env={**os.environ, **server.environment, **self.environment},
                cwd=self.folder,  # Where Alertmanager looks for the file `webhook-url`.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we stop them in order.
            )
        self.on_process()
        if process.stdin is not None:
            with contextlib.suppress(OSError), process.stdin as gate:
                gate.write(b"1")

    def _wait(self, name: str, server: Server, deadline: float) -> None:
        while not is_healthy(server.health):
            if self.is_unwanted():
                raise StackError(f"{name} is not waited for any more")
            if self._running[name].poll() is not None:
                raise StackError(
                    f"{self.end_of(name)}\nIf it cannot read its data, which another version or a full disk has left, "
                    f"move {self.folder.absolute() / name} away: it begins anew without."
                )
            if time.monotonic() > deadline:
                raise StackError(
                    f"{name} is not healthy after {_READY_TIMEOUT:g} s; the end of its log:\n{self.tail(name)}"
                )
            time.sleep(0.1)

    def __enter__(self) -> Stack:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()


def too_little_room(folder: Path) -> str:
    """What is to be said where the disk of `folder` is full, or soon is: servers stay healthy there."""
    free = shutil.disk_usage(folder).free
    if free >= _LITTLE_ROOM:
        return ""
    return f"The disk of {folder} has only {free / 1e6:.0f} MB left: what comes when it is full is not kept.\n"


def is_healthy(url: str) -> bool:
    """Whether a server answers 200 at `url`."""
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # A proxy cannot reach this machine's loopback.
    with contextlib.suppress(OSError), direct.open(url, timeout=2) as response:
        return response.status == 200
    return False


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def write_files(folder: Path) -> list[Path]:
    """Write `deploy`, `grafana` and the runbooks into `folder`; gives the folders.

    Raises:
        StackError: one of them is there already.
    """
    deploy = deploy_folder()
    pairs = [(deploy.parent / name, folder / name) for name in ("deploy", "grafana", "docs/runbooks")]
    for _, target in pairs:
        if target.exists():
            raise StackError(f"{target} is there already, and is left as it is: name another folder")
    ignore = shutil.ignore_patterns("__pycache__")
    return [shutil.copytree(source, target, ignore=ignore) for source, target in pairs]
