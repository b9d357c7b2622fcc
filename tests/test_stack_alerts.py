"""Alerts end to end: real programs, the real servers with all their times shortened, and a webhook that is told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from otel_progress import names
from otel_progress.stack.run import Stack

from . import otlp
from .servers import get, new_stack, samples, until

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[1]
WORKFLOW, STAGE = names.label(names.WORKFLOW_NAME), names.label(names.STAGE_NAME)
SERVICE = "alerts"

# --- the same configuration, only faster ------------------------------------------------------------------------------

SECONDS = {"1m": 1, "2m": 2, "5m": 3, "30m": 25, "1h": 15, "3h": 20, **{f"{days}d": 20 * days for days in range(1, 8)}}
"""What the windows, offsets and waits of the rules become."""

THRESHOLDS = {
    "slow_floor_seconds": "0.3",
    "running_over_budget_seconds": "4",
    "stuck_floor_seconds": "8",
    "stuck_unknown_seconds": "12",
}


def rewrite(path: Path, *changes: tuple[str, str | Callable[[re.Match[str]], str]]) -> None:
    """Replace patterns in a file; each must be there."""
    text = path.read_text("utf-8")
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        assert count, (path, pattern)
    path.write_text(text, "utf-8")


def shorten(deploy: Path) -> None:
    """Make everything fast in a copy of `deploy`; what is computed, said and routed stays as it is."""

    def shorter(match: re.Match[str]) -> str:
        return re.sub(r"\d+[mhd]", lambda time: f"{SECONDS[time[0]]}s", match[0])

    rules = deploy / "prometheus" / "rules"
    rewrite(rules / "recording.yaml", (r"\[\d+[mhd](:\d+[mhd])?\]|offset \d+[mhd]", shorter))
    rewrite(rules / "alerts.yaml", (r"offset \d+[mhd]|\bfor: \d+[mhd]", shorter))
    rewrite(
        rules / "thresholds.yaml",
        *((rf'({name}:threshold\n +expr: )".+"', rf'\1"{value}"') for name, value in THRESHOLDS.items()),
    )
    rewrite(deploy / "prometheus" / "prometheus.yaml", (r"((?:scrape|evaluation)_interval: )\d+s", r"\g<1>1s"))
    rewrite(deploy / "collector" / "config.yaml", (r"(metric_expiration: )2m", r"\g<1>5s"))
    rewrite(
        deploy / "alertmanager" / "alertmanager.yaml",
        (r"(group_wait: )\w+", r"\g<1>1s"),
        (r"(group_interval: )\w+", r"\g<1>2s"),
    )


# --- who is told ------------------------------------------------------------------------------------------------------

Key = tuple[str, str, str]
"""Name of an alert, workflow and stage."""


@dataclass(frozen=True)
class Told:
    """An alert in a notification."""

    receiver: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def key(self) -> Key:
        return self.labels["alertname"], self.labels.get(WORKFLOW, ""), self.labels.get(STAGE, "")


@dataclass
class Webhook:
    """Keeps what Alertmanager posts."""

    told: list[Told] = field(default_factory=list[Told])
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, notification: dict[str, Any]) -> None:
        with self.changed:
            for each in notification["alerts"]:
                self.told.append(Told(notification["receiver"], each["status"], each["labels"], each["annotations"]))
            self.changed.notify_all()

    def of(self, workflow: str, stage: str) -> dict[str, list[str]]:
        """What each alert of a stage was told to be, one after the other."""
        states: dict[str, list[str]] = {}
        with self.changed:
            for told in self.told:
                if told.key[1:] == (workflow, stage):
                    before = states.setdefault(told.key[0], [])
                    if told.status not in before[-1:]:
                        before.append(told.status)
        return states

    def wait(self, status: str, *key: str) -> Told:
        """The alert `key` as soon as it is told with this status."""

        def found() -> Told | None:
            return next((t for t in self.told if t.key == key and t.status == status), None)

        with self.changed:
            told = self.changed.wait_for(found, otlp.TIMEOUT)
            assert told is not None, f"not told that {key} is {status}, but: {[(t.key, t.status) for t in self.told]}"
            return told


@pytest.fixture(scope="module")
def webhook() -> Generator[tuple[Webhook, str]]:
    """A webhook and its address."""
    kept = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield kept, f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


# --- what happens -----------------------------------------------------------------------------------------------------

WORKS = """
    import sys, threading
    from otel_progress import configure, stage, workflow

    name, pace, end = sys.argv[1], 0.05, threading.Event()

    def listen():
        global pace
        for line in sys.stdin:
            pace = float(line)
        end.set()

    threading.Thread(target=listen).start()
    configure("alerts")
    while not end.is_set():
        with workflow(name):
            with stage("write & draw", budget=0.4): end.wait(pace)
            with stage("check"): end.wait(pace)
"""
"""Works at a pace that can be changed, until its input ends."""

WAITS = """
    import sys
    from otel_progress import configure, stage, workflow

    configure("alerts")
    budget = float(sys.argv[2]) if len(sys.argv) > 2 else None
    with workflow(sys.argv[1]), stage("render", budget=budget):
        sys.stdin.read()
"""
"""Stays in a stage until its input ends."""


@dataclass(frozen=True)
class Site:
    """Everything that is up."""

    stack: Stack
    webhook: Webhook
    folder: Path
    programs: ExitStack
    healthy: subprocess.Popen[str]
    slow: subprocess.Popen[str]

    def start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        return start(self.stack, self.folder, self.programs, code, *arguments)


def start(stack: Stack, folder: Path, programs: ExitStack, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program that is killed with `programs` if it has not ended."""
    program = otlp.start(
        folder,
        [str(otlp.write(folder, code, f"{arguments[0]}.py")), *arguments],
        OTEL_EXPORTER_OTLP_ENDPOINT=stack.url("otlp_http"),
        OTEL_METRIC_EXPORT_INTERVAL="500",
    )
    programs.enter_context(program)
    programs.callback(program.kill)
    return program


@pytest.fixture(scope="module")
def site(webhook: tuple[Webhook, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """The fast stack, a healthy workflow, and one that is to become slow and needs a past until then."""
    folder = tmp_path_factory.mktemp("alerts")
    shorten(shutil.copytree(ROOT / "deploy", folder / "deploy"))
    stack = new_stack(folder / "stack", deploy=folder / "deploy")
    stack.folder.mkdir()
    (stack.folder / "webhook-url").write_text(webhook[1], "utf-8")
    try:
        stack.up("jaeger", "alertmanager", "collector")
        stack.up("prometheus")  # The last: it would miss the collector.
        with ExitStack() as programs:
            healthy = start(stack, folder, programs, WORKS, "healthy")
            slow = start(stack, folder, programs, WORKS, "slow")
            yield Site(stack, webhook[0], folder, programs, healthy, slow)
    finally:
        stack.down()


def end(program: subprocess.Popen[str]) -> None:
    done = otlp.ended(program, "")
    assert done.returncode == 0, done.stderr


def check(site: Site, told: Told, severity: str, summary: str, operation: str | None = None) -> str:
    """Hold everything but the figures against what it should be; gives the description."""
    alert, workflow, stage = told.key
    labels = {"alertname": alert, "severity": severity, "job": SERVICE, WORKFLOW: workflow, STAGE: stage}
    assert told.labels == labels
    assert told.receiver == {"critical": "page", "warning": "notice"}[severity]
    assert told.annotations["summary"] == summary.format(stage=stage, workflow=workflow)
    assert told.annotations.keys() == {"summary", "description", "dashboard_url", "jaeger_url", "runbook_url"}

    dashboard = urlsplit(told.annotations["dashboard_url"])
    assert dashboard[:3] == ("http", "localhost:3000", "/d/otel-progress-stage")
    assert parse_qs(dashboard.query) == {"var-job": [SERVICE], "var-workflow": [workflow], "var-stage": [stage]}

    jaeger = urlsplit(told.annotations["jaeger_url"])
    assert jaeger[:3] == ("http", site.stack.address("jaeger"), "/search")
    query = {name: value for name, (value,) in parse_qs(jaeger.query).items()}
    tags = {names.WORKFLOW_NAME: workflow, **({} if operation else {names.STAGE_NAME: stage})}
    assert json.loads(query.pop("tags")) == tags
    assert query == {"service": SERVICE, **({"operation": operation} if operation else {})}

    runbooks = site.stack.servers()["prometheus"].environment["RUNBOOK_URL"]
    assert told.annotations["runbook_url"] == f"{runbooks}/{alert}.md"
    return told.annotations["description"]


ONCE = ["firing", "resolved"]


def test_a_stage_that_hangs_is_told_of_twice_and_forgotten_when_it_ends(site: Site) -> None:
    program = site.start(WAITS, "hangs", "1")
    over = site.webhook.wait("firing", "StageRunningOverBudget", "hangs", "render")
    said = check(site, over, "warning", "Stage {stage} of {workflow} is running over its budget")
    assert re.fullmatch(r"The oldest open visit has been running for [\d.]+s\. The budget is 1s\.", said)
    stuck = site.webhook.wait("firing", "StageStuck", "hangs", "render")
    said = check(site, stuck, "critical", "Stage {stage} of {workflow} is stuck")
    assert re.fullmatch(
        r"The oldest open visit has been running for 1\d[\d.]*s\. "
        r"By its budget and its past it should take 1s at most\.",
        said,
    )
    assert site.webhook.of("hangs", "render") == {"StageRunningOverBudget": ["firing"], "StageStuck": ["firing"]}
    end(program)
    site.webhook.wait("resolved", "StageStuck", "hangs", "render")
    site.webhook.wait("resolved", "StageRunningOverBudget", "hangs", "render")
    assert site.webhook.of("hangs", "render") == {"StageRunningOverBudget": ONCE, "StageStuck": ONCE}


def inhibited(site: Site, *key: str) -> bool:
    """Whether Alertmanager holds an alert back because of another one."""
    filters = [f'{name}="{value}"' for name, value in zip(("alertname", WORKFLOW, STAGE), key, strict=True)]
    found = get(f"{site.stack.url('alertmanager')}/api/v2/alerts", filter=filters)
    return [len(each["status"]["inhibitedBy"]) for each in found] == [1]


def test_a_process_that_is_killed_is_told_of_and_no_other_alert_of_its_stage(site: Site) -> None:
    until(lambda: samples(site.stack, "otel_progress:live:watched30m == 1"))
    killed, hangs = (site.start(WAITS, "killed") for _ in range(2))
    active = f'stage:otel_progress_stage_active:sum{{{WORKFLOW}="killed"}}'
    until(lambda: samples(site.stack, f"{active} == 2"))
    killed.kill()
    gone = site.webhook.wait("firing", "ProcessGone", "killed", "render")
    said = check(site, gone, "critical", "A process has gone with stage {stage} of {workflow} open")
    assert "none of them was said to have ended: 1 in all." in said

    until(lambda: inhibited(site, "StageStuck", "killed", "render"))
    assert site.webhook.of("killed", "render") == {"ProcessGone": ["firing"]}
    site.webhook.wait("resolved", "ProcessGone", "killed", "render")
    stuck = site.webhook.wait("firing", "StageStuck", "killed", "render")  # The other one hangs indeed.
    said = check(site, stuck, "critical", "Stage {stage} of {workflow} is stuck")
    assert said.endswith(" It has no budget and no past to compare with.")
    end(hangs)
    site.webhook.wait("resolved", "StageStuck", "killed", "render")
    assert site.webhook.of("killed", "render") == {"ProcessGone": ONCE, "StageStuck": ONCE}


def test_a_stage_that_has_become_slow_is_told_of_until_it_is_fast_again(site: Site) -> None:
    past = f'stage:otel_progress_stage_duration_seconds:p95_7d_known{{{WORKFLOW}="slow"}}'
    until(lambda: samples(site.stack, past), lambda found: len(found) == 2)
    assert site.webhook.of("slow", "check") == site.webhook.of("slow", "write & draw") == {}

    def pace(seconds: float) -> None:
        assert site.slow.stdin is not None
        site.slow.stdin.write(f"{seconds}\n")
        site.slow.stdin.flush()

    pace(0.9)
    over = site.webhook.wait("firing", "StageOverBudget", "slow", "write & draw")
    summary = "Stage {stage} of {workflow} takes more than its budget"
    said = check(site, over, "warning", summary, "stage write & draw")
    assert re.fullmatch(
        r"The budget is 400ms\. The visits that completed in the last hour took [\d.]+m?s on average, and at least "
        r"[\d.]+% of them took longer than the budget\.",
        said,
    )
    slower = site.webhook.wait("firing", "StageSlow", "slow", "check")
    summary = "Stage {stage} of {workflow} is slower than in the past week"
    said = check(site, slower, "warning", summary, "stage check")
    assert re.fullmatch(
        r"The last hour's p95 is [\d.]+m?s, the past week's [\d.]+ms\. "
        r"On average a visit took [\d.]+m?s instead of [\d.]+ms\.",
        said,
    )
    for told in (over, slower):  # The link finds the visits.
        link = urlsplit(told.annotations["jaeger_url"])
        assert get(f"{site.stack.url('jaeger')}/api/traces?{link.query}")["data"]
    until(lambda: inhibited(site, "StageSlow", "slow", "write & draw"))
    pace(0.05)
    site.webhook.wait("resolved", "StageOverBudget", "slow", "write & draw")
    site.webhook.wait("resolved", "StageSlow", "slow", "check")
    assert site.webhook.of("slow", "check") == {"StageSlow": ONCE}
    assert site.webhook.of("slow", "write & draw")["StageOverBudget"] == ONCE


DESERVED = {
    ("StageRunningOverBudget", "hangs", "render"),
    ("StageStuck", "hangs", "render"),
    ("ProcessGone", "killed", "render"),
    ("StageStuck", "killed", "render"),
    ("StageSlow", "slow", "check"),
    ("StageSlow", "slow", "write & draw"),  # Until it is over its budget too.
    ("StageOverBudget", "slow", "write & draw"),
}


def test_of_what_is_healthy_nothing_was_told(site: Site) -> None:
    stage = f'{{job="{SERVICE}",{WORKFLOW}="healthy",{STAGE}="write & draw"}}'
    until(lambda: samples(site.stack, f"stage:otel_progress_stage_duration_seconds_count:increase1h{stage} > 20"))
    until(lambda: samples(site.stack, f"stage:otel_progress_stage_budget_seconds:max1d{stage} == 0.4"))
    end(site.healthy)
    end(site.slow)
    assert samples(site.stack, f'count_over_time(ALERTS{{alertstate="firing",{WORKFLOW}="healthy"}}[1h])') == []
    with site.webhook.changed:
        assert {told.key for told in site.webhook.told} <= DESERVED
