"""The files of `deploy` that need Docker, read as text, and `otel-progress stack` as far as no server is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_progress.stack.run import PORTS, Stack

from .otlp import environment

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = [name for name, service in SERVICES.items() if "restart" in service]

each_lasting = pytest.mark.parametrize("name", LASTING)


def test_all_servers_are_there() -> None:
    assert set(LASTING) == {"collector", "jaeger", "prometheus", "alertmanager", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_and_bounded(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])
    assert SERVICES[name]["mem_limit"]
    assert "privileged" not in SERVICES[name]


@each_lasting
def test_servers_are_watched_and_keep_their_data(name: str) -> None:
    service = SERVICES[name]
    assert "healthcheck" in service or "127.0.0.1:13133:13133" in service["ports"]
    own = [volume.partition(":")[0] for volume in service["volumes"] if not volume.startswith(".")]
    assert own
    assert set(own) <= set(COMPOSE["volumes"])


@each_lasting
def test_only_loopback_is_published(name: str) -> None:
    for port in SERVICES[name]["ports"]:
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


@each_lasting
def test_what_is_mounted_is_there(name: str) -> None:
    for volume in SERVICES[name]["volumes"]:
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert mode == ["ro"], target


def test_no_password_works() -> None:
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert grafana["GF_AUTH_BASIC_ENABLED"] == "false"
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert grafana["GF_USERS_VIEWERS_CAN_EDIT"] == "true"  # Explore, where the links to traces lead.
    assert "PASSWORD" not in (DEPLOY / "compose.yaml").read_text("utf-8")


def test_containers_and_native_servers_are_of_one_version() -> None:
    modules = {
        "prometheus": ("github.com/prometheus/prometheus", r"v0\.(\d)(\d+)\.(\d+)", "v{0}.{1}.{2}"),
        "alertmanager": ("github.com/prometheus/alertmanager", r"(v.*)", "{0}"),
        "collector": ("go.opentelemetry.io/collector/otelcol", r"v(.*)", "{0}"),
    }
    for name, (module, pattern, image) in modules.items():
        text = (DEPLOY / "native" / name / "go.mod").read_text("utf-8")
        (version,) = re.findall(rf"^\s*{re.escape(module)} (\S+)", text, re.MULTILINE)
        found = re.fullmatch(pattern, version)
        assert found is not None
        wanted = image.format(*(str(int(part)) if part.isdecimal() else part for part in found.groups()))
        assert SERVICES[name]["image"].rpartition(":")[2] == wanted
    # Jaeger v2.13.0 and v1.76.0 are one commit; only the second is a Go module.
    assert "jaegertracing/jaeger v1.76.0" in (DEPLOY / "native" / "jaeger" / "go.mod").read_text("utf-8")
    assert SERVICES["jaeger"]["image"].endswith(":2.13.0")


def test_prometheus_keeps_as_much_with_containers_as_without(tmp_path: Path) -> None:
    native = Stack(tmp_path).servers()["prometheus"].arguments
    kept = {flag for flag in SERVICES["prometheus"]["command"] if "retention" in flag}
    assert kept == {flag for flag in native if "retention" in flag}
    page = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    assert "metrics for 30 days or 8 GB" in page
    assert {flag.rpartition("=")[2] for flag in kept} == {"30d", "8GB"}


def test_every_address_is_told_to_each_server(tmp_path: Path) -> None:
    """No variable that a configuration reads is forgotten by compose.yaml or by the native stack, and none is idle."""
    stack = Stack(tmp_path)
    for name in ("collector", "jaeger"):
        text = (DEPLOY / name / "config.yaml").read_text("utf-8")
        read = dict(re.findall(r"\$\{env:(\w+):-([^}]*)\}", text))
        assert text.count("${env:") == len(re.findall(r"\$\{env:\w+:-", text))  # Each has a default.
        native = stack.servers()[name].environment
        assert set(native) <= set(read)
        told: dict[str, str] = SERVICES[name]["environment"]
        inside = {
            "JAEGER_QUERY_GRPC_ADDRESS",
            "JAEGER_TELEMETRY_HOST",
            "JAEGER_TELEMETRY_PORT",
            "COLLECTOR_TELEMETRY_PORT",
        }
        assert set(told) == set(read) - inside  # Those stay as they are: nobody asks there from outside.
        for variable, value in told.items():
            assert value.rpartition(":")[2].strip("/") == read[variable].rpartition(":")[2] or ":" not in value, (
                variable
            )
        for variable, value in native.items():
            if not variable.endswith("_DATA"):
                assert read[variable].rpartition(":")[2] == value.rpartition(":")[2], variable  # The same port.


def test_the_targets_of_compose_are_where_the_collector_shows_them() -> None:
    targets = {name: yaml.safe_load(each["content"])[0]["targets"][0] for name, each in COMPOSE["configs"].items()}
    assert targets == {
        "totals": f"collector:{PORTS['totals']}",
        "live": f"collector:{PORTS['live']}",
        "collector": f"collector:{PORTS['collector_telemetry']}",
        "alertmanager": f"alertmanager:{PORTS['alertmanager']}",
    }
    settings = (DEPLOY / "prometheus" / "prometheus.yaml").read_text("utf-8")
    assert set(re.findall(r"targets/(\w+)\.yaml", settings)) == set(targets)


# --- the command ------------------------------------------------------------------------------------------------------


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "otel_progress", "stack", *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_init_writes_what_compose_needs(tmp_path: Path) -> None:
    done = command("init", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    assert "docker compose up -d" in done.stdout
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert (tmp_path / "new" / "deploy" / path.relative_to(DEPLOY)).read_bytes() == path.read_bytes()
    assert (tmp_path / "new" / "grafana" / "dashboards" / "otel-progress-overview.json").exists()


def test_init_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    done = command("init", str(tmp_path))
    assert done.returncode == 1
    assert "is there already" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "deploy"]
