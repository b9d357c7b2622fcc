"""compose.yaml as it is, in a Docker engine: all but Grafana, with images that are made from the native servers."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from .containers import OFFICIAL, SERVICES, WITHOUT_SHELL, Engine, engine
from .servers import until

pytestmark = pytest.mark.stack

JAEGER, PROMETHEUS = "http://127.0.0.1:16686", "http://127.0.0.1:9090"
HELLO = "otel_progress.stack.hello"
UNITS = {"m": 2**20, "g": 2**30}

each_server = pytest.mark.parametrize("name", OFFICIAL)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    """All but Grafana, healthy, and a run that was sent to them."""
    with engine(tmp_path_factory.mktemp("engine")) as engine_:
        engine_.up()
        words = ["-m", "otel_progress", "run", "--keep", "1", "-m", HELLO]
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
        sent = engine_.inside("env", f"--chdir={engine_.folder}", sys.executable, *words, check=True, **endpoint)
        assert "Exported: 3 spans to http://127.0.0.1:4318/v1/traces" in sent.stderr
        yield engine_


def samples(running: Engine, query: str) -> list[dict[str, Any]]:
    return running.get(f"{PROMETHEUS}/api/v1/query?query={query}")["data"]["result"]


def stages_in_jaeger(running: Engine) -> int:
    found = running.get(f"{JAEGER}/api/traces?service={HELLO}") or {"data": []}
    return sum(span["operationName"].startswith("stage ") for trace in found["data"] for span in trace["spans"])


def pid_of(running: Engine, name: str) -> int:
    return running.state(name)["State"]["Pid"]


def is_well(running: Engine, name: str) -> bool:
    """Whether its container says so; the collector's image has no program to ask with, so it is asked from outside."""
    state = running.state(name)["State"]
    if name == "collector":
        return (running.get("http://127.0.0.1:13133/") or {}).get("status") == "Server available"
    return state["Running"] and state["Health"]["Status"] == "healthy"


@each_server
def test_each_becomes_healthy(running: Engine, name: str) -> None:
    assert is_well(running, name)
    assert running.state(name)["RestartCount"] == 0
    assert running.state(name)["Config"]["Image"] == SERVICES[name]["image"]


def test_a_run_arrives_through_the_published_ports(running: Engine) -> None:
    assert until(lambda: stages_in_jaeger(running)) == 2
    found = until(lambda: samples(running, 'otel_progress_stage_duration_seconds_count{exemplars=""}'))
    counts = {each["metric"]["otel_progress_stage_name"]: each["value"][1] for each in found}
    assert counts == {"greet": "1", "tell": "1"}


def test_all_targets_are_up_and_all_rules_well(running: Engine) -> None:
    def targets() -> list[tuple[str, str]]:
        active = running.get(f"{PROMETHEUS}/api/v1/targets")["data"]["activeTargets"]
        return sorted((each["labels"]["job"], each["health"]) for each in active)

    jobs = ["otel-collector", "otel-progress-live", "otel-progress-totals"]
    until(targets, lambda found: found == [(job, "up") for job in jobs])

    def rules() -> set[str]:
        groups = running.get(f"{PROMETHEUS}/api/v1/rules")["data"]["groups"]
        return {rule["health"] for group in groups for rule in group["rules"]}

    assert until(rules, lambda found: "unknown" not in found) == {"ok"}
    told = running.get(f"{PROMETHEUS}/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    assert told == [{"url": "http://alertmanager:9093/api/v2/alerts"}]


# --- what holds them --------------------------------------------------------------------------------------------------


def test_nothing_listens_beyond_loopback(running: Engine) -> None:
    published = {int(port.split(":")[1]) for name in OFFICIAL for port in SERVICES[name]["ports"]}
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{running.pid}/net/{table}").read_text("ascii").splitlines()[1:]
    ]
    listening = {tuple(each[1].split(":")) for each in lines if each[3] == "0A"}
    assert {(address, int(port, 16)) for address, port in listening} == {("0100007F", port) for port in published}


@each_server
def test_limits_hold(running: Engine, name: str) -> None:
    host, service = running.state(name)["HostConfig"], SERVICES[name]
    assert host["Memory"] == int(service["mem_limit"][:-1]) * UNITS[service["mem_limit"][-1]]
    assert host["NanoCpus"] == service["cpus"] * 1e9
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}


@each_server
def test_each_is_a_user_without_rights(running: Engine, name: str) -> None:
    lines = Path(f"/proc/{pid_of(running, name)}/status").read_text("ascii").splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    user = "10001" if name in {"collector", "jaeger"} else "65534"
    assert status["Uid"] == [user] * 4
    assert status["NoNewPrivs"] == ["1"]
    assert {int(status[each][0], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}


@each_server
def test_configuration_is_read_only_and_data_is_not(running: Engine, name: str) -> None:
    mounts = [line.split() for line in Path(f"/proc/{pid_of(running, name)}/mountinfo").read_text().splitlines()]
    modes = {each[4]: each[5].split(",")[0] for each in mounts}
    volumes = [volume.split(":") for volume in SERVICES[name]["volumes"]]
    assert {modes[target] for source, target, *_ in volumes if source.startswith(".")} == {"ro"}
    assert {modes[target] for source, target, *_ in volumes if not source.startswith(".")} == {"rw"}


@pytest.mark.parametrize("name", sorted(set(OFFICIAL) - WITHOUT_SHELL))
def test_each_writes_where_it_must_and_nowhere_else(running: Engine, name: str) -> None:
    volumes = [each.split(":") for each in SERVICES[name]["volumes"]]
    (own,) = (target for source, target, *_ in volumes if not source.startswith("."))
    places = ["/", "/bin", "/etc", *(target for _, target, *_ in volumes)]
    script = 'for place; do if { echo > "$place/new" || echo > "$place"; } 2>/dev/null; then echo "$place"; fi; done'
    container = f"otel-progress-{name}-1"
    assert running.docker("exec", container, "sh", "-c", script, "sh", *places).split() == [own]
    running.docker("exec", container, "/bin/busybox", "rm", f"{own}/new")


# --- what they survive ------------------------------------------------------------------------------------------------


def test_one_that_ends_by_itself_is_started_again(running: Engine) -> None:
    for name in OFFICIAL:
        count = running.state(name)["RestartCount"]
        os.kill(pid_of(running, name), signal.SIGKILL)
        until(lambda name=name, count=count: running.state(name)["RestartCount"] == count + 1)
    for name in OFFICIAL:
        until(lambda name=name: is_well(running, name))


def test_one_that_is_out_of_memory_takes_no_other_along(running: Engine) -> None:
    """What fills its memory is another program in its container; of the two the kernel shall end the server."""
    name = "alertmanager"
    before = {each: running.state(each)["State"]["StartedAt"] for each in OFFICIAL}
    began = str(int(time.time()))
    Path(f"/proc/{pid_of(running, name)}/oom_score_adj").write_text("1000")
    fill = ["/bin/busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"]
    running.docker("exec", f"otel-progress-{name}-1", *fill, check=False)
    until(lambda: running.state(name)["State"]["StartedAt"] != before[name] and is_well(running, name))
    told = running.docker("events", "--since", began, "--until", str(int(time.time()) + 1), "--filter", "event=oom")
    assert f"name=otel-progress-{name}-1" in told
    assert {each for each in OFFICIAL if running.state(each)["State"]["StartedAt"] != before[each]} == {name}


def test_data_survives_down_and_up_and_another_image(running: Engine) -> None:
    counted = "last_over_time(otel_progress_stage_duration_seconds_count[1h])"
    assert until(lambda: samples(running, counted))
    assert until(lambda: stages_in_jaeger(running)) == 2
    running.compose("down")
    assert running.docker("ps", "-aq") == ""
    for name in OFFICIAL:
        running.make_image(name, "LABEL upgraded=yes")
    running.up()
    for name in OFFICIAL:
        assert running.state(name)["Config"]["Labels"]["upgraded"] == "yes"
    assert until(lambda: stages_in_jaeger(running)) == 2
    assert until(lambda: samples(running, counted))
