"""The stack without containers: the real servers on loopback, with the configuration files of `deploy`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from .build import StackError, deploy_folder, program

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

_READY_TIMEOUT = 60.0
_STOP_TIMEOUT = 15.0
_LOG_LINES = 12


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
            StackError: a port is taken, or a server ends or does not become healthy.
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

    def log(self, name: str) -> Path:
        """The log file of a server."""
        return self.folder / "logs" / f"{name}.log"

    def tail(self, name: str) -> str:
        """The last lines of a server's log."""
        return "\n".join(self.log(name).read_text("utf-8", "replace").splitlines()[-_LOG_LINES:])

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
        if not executable.exists():
            raise StackError(f"{server.program} is not built yet: run `otel-progress stack build`")
        self.log(name).parent.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own words
                [executable, *server.arguments],
                env={**os.environ, **server.environment, **self.environment},
                cwd=self.folder,  # Where Alertmanager looks for the file `webhook-url`.
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we stop them in order.
            )

    def _wait(self, name: str, server: Server, deadline: float) -> None:
        while not _healthy(server.health):
            if self._running[name].poll() is not None:
                raise StackError(f"{name} has ended; the end of {self.log(name)}:\n{self.tail(name)}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{name} is not healthy after {_READY_TIMEOUT:g} s; the end of its log:\n{self.tail(name)}"
                )
            time.sleep(0.1)

    def __enter__(self) -> Stack:
        taken = [str(port) for port in self.ports.values() if _listening(port)]
        if taken:
            raise StackError(f"something listens on {HOST} already, port {', '.join(taken)}: is another stack up?")
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


def _healthy(url: str) -> bool:
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


def run(folder: Path, say: Callable[[str], None]) -> None:
    """Run the stack in the foreground until Ctrl-C or SIGTERM.

    Raises:
        StackError: a server cannot be started, or ends by itself.
    """
    signals = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]

    def leave(*_: object) -> None:
        for each in signals:  # A second one shall not leave servers behind: stopping them takes some seconds.
            signal.signal(each, signal.SIG_IGN)
        say("Stopping ...")
        raise KeyboardInterrupt

    for each in signals:
        signal.signal(each, leave)
    with contextlib.suppress(KeyboardInterrupt), Stack(folder, say=say) as stack:
        say(
            f"""
Jaeger        {stack.url("jaeger")}  (its API: this build has no web page)
Prometheus    {stack.url("prometheus")}  (the same)
Alertmanager  {stack.url("alertmanager")}
OTLP          {stack.url("otlp_http")} (HTTP), {stack.address("otlp_grpc")} (gRPC)
Data, logs    {stack.folder}

Send it something: OTEL_EXPORTER_OTLP_ENDPOINT={stack.url("otlp_http")} otel-progress run app.py
Ctrl-C stops it; the data stays."""
        )
        while (name := stack.ended()) is None:
            time.sleep(0.5)
        raise StackError(f"{name} has ended; the end of its log:\n{stack.tail(name)}")
    say("Stopped.")
