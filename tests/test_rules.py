"""The rules say names that exist, every alert can be acted on, and promtool and amtool find them right."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_progress import names

from .servers import binary, free_ports, get, until

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus" / "rules"
FILES = sorted(RULES.glob("*.yaml"))
TESTS = sorted(RULES.glob("tests/*.yaml"))
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"

Rule = dict[str, Any]


def groups() -> list[dict[str, Any]]:
    return [group for path in FILES for group in yaml.safe_load(path.read_text("utf-8"))["groups"]]


ALL: list[Rule] = [rule for group in groups() for rule in group["rules"]]
ALERTS: dict[str, Rule] = {rule["alert"]: rule for rule in ALL if "alert" in rule}
RECORDED: dict[str, str] = {rule["record"]: rule["expr"] for rule in ALL if "record" in rule}
THRESHOLDS = {name for name in RECORDED if name.endswith(":threshold")}

every_alert = pytest.mark.parametrize("alert", ALERTS)


def run(*command: str | Path) -> str:
    """Run a tool that must find nothing wrong."""
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- the tools --------------------------------------------------------------------------------------------------------


def test_promtool_finds_the_rules_right() -> None:
    run(binary("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *FILES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_alerts_fire_when_they_should_and_not_else(path: Path) -> None:
    run(binary("promtool"), "test", "rules", path)


def test_amtool_finds_the_routes_right() -> None:
    run(binary("amtool"), "check-config", ALERTMANAGER)


@every_alert
def test_an_alert_reaches_whom_it_should(alert: str) -> None:
    severity = ALERTS[alert]["labels"]["severity"]
    receiver = {"critical": "page", "warning": "notice"}[severity]
    labels = [f"alertname={alert}", f"severity={severity}", "job=studio"]
    command = ["config", "routes", "test", f"--config.file={ALERTMANAGER}", f"--verify.receivers={receiver}"]
    assert run(binary("amtool"), *command, *labels).split() == [receiver]


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the real Alertmanager with our configuration, whose webhook leads nowhere."""
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "webhook-url").write_text("http://127.0.0.1:9/", "utf-8")
    port = free_ports()["alertmanager"]
    command = [binary("alertmanager"), f"--config.file={ALERTMANAGER}", f"--storage.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}/api/v2"

    def answers() -> bool:
        assert process.poll() is None, log.read_text("utf-8")
        with suppress(OSError):
            return bool(get(f"{url}/status"))
        return False

    try:
        until(answers)
        yield url
    finally:
        process.terminate()
        process.wait(10)


OF_A_STAGE = {"job": "studio", names.label(names.STAGE_NAME): "draft"}
OF_ANOTHER = OF_A_STAGE | {names.label(names.STAGE_NAME): "publish"}


@pytest.mark.parametrize(
    ("firing", "quiet"),
    [
        ({"ProcessGone": OF_A_STAGE, "StageStuck": OF_A_STAGE}, {"StageStuck"}),
        ({"ProcessGone": OF_A_STAGE, "StageRunningLong": OF_A_STAGE}, {"StageRunningLong"}),
        ({"ProcessGone": OF_A_STAGE, "StageRunningLong": OF_A_STAGE, "StageStuck": OF_ANOTHER}, {"StageRunningLong"}),
        ({"ProcessGone": OF_A_STAGE, "StageRunningLong": OF_A_STAGE, "StageSlow": OF_A_STAGE}, {"StageRunningLong"}),
        ({"StageStuck": OF_A_STAGE, "StageRunningOverBudget": OF_A_STAGE}, {"StageRunningOverBudget"}),
        ({"StageStuck": OF_A_STAGE, "StageSlow": OF_A_STAGE, "RevisionLoop": OF_A_STAGE}, {"StageSlow"}),
        ({"StageRunningOverBudget": OF_A_STAGE, "StageRunningLong": OF_A_STAGE}, {"StageRunningLong"}),
        ({"StageOverBudget": OF_A_STAGE, "StageSlow": OF_A_STAGE}, {"StageSlow"}),
        (
            {"StageStuck": OF_A_STAGE, "StageOverBudget": OF_A_STAGE, "StageSlow": OF_ANOTHER},
            {"StageOverBudget"},
        ),
        (
            {"StageStuck": OF_A_STAGE, "StageRunningOverBudget": OF_A_STAGE, "StageRunningLong": OF_ANOTHER},
            {"StageRunningOverBudget"},
        ),
        (
            {"CollectorDown": {}, "TelemetryQuiet": {"job": "studio"}, "RunsFailing": {"job": "studio"}},
            {"TelemetryQuiet"},
        ),
    ],
    ids="-".join,
)
def test_the_gravest_alert_quiets_the_others(
    alertmanager: str, firing: dict[str, dict[str, str]], quiet: set[str]
) -> None:
    """Alertmanager hears of one case after the other; what was firing before has ended."""

    def post(ended: bool) -> None:
        end = {"endsAt": "2001-01-01T00:00:00Z", "startsAt": "2000-01-01T00:00:00Z"} if ended else {}
        body = json.dumps([{"labels": {"alertname": name, **own}, **end} for name, own in firing.items()])
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{alertmanager}/alerts", body.encode(), headers)
        with urllib.request.urlopen(request, timeout=10):
            pass

    def inhibited() -> dict[str, bool]:
        found = get(f"{alertmanager}/alerts")
        return {each["labels"]["alertname"]: bool(each["status"]["inhibitedBy"]) for each in found}

    post(ended=False)
    until(inhibited, lambda found: found == {name: name in quiet for name in firing})
    post(ended=True)
    until(inhibited, lambda found: not found)


# --- names ------------------------------------------------------------------------------------------------------------

WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    and or unless on by without group_left offset bool sum min max count scalar vector time
    increase sum_over_time min_over_time max_over_time last_over_time count_over_time
    histogram_quantile label_replace clamp_min
    """,
    )
)
"""What PromQL itself says."""


def words_of(expression: str) -> set[str]:
    """Every name in an expression: of metrics, labels and functions."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"(?<![\w:.])[a-zA-Z_][\w:]*", bare))


def series() -> set[str]:
    """The names that Prometheus has from the collector."""
    found = {"up"}
    for metric in names.METRICS:
        endings = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        found.update(metric.prometheus + ending for ending in endings)
    return found


def labels() -> set[str]:
    own = {names.label(name) for metric in names.METRICS for name in metric.attributes}
    return own | {"job", "instance", "le"}


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_an_expression_says_only_names_that_exist(rule: Rule) -> None:
    assert words_of(str(rule["expr"])) <= WORDS | series() | labels() | set(RECORDED)


@every_alert
def test_an_annotation_asks_only_for_what_is_recorded(alert: str) -> None:
    text = " ".join(ALERTS[alert]["annotations"].values())
    assert set(re.findall(r"[\w:]*:[\w:]*otel_progress[\w:]*", text)) <= set(RECORDED)
    assert set(re.findall(r"\$labels\.(\w+)|(?<=,)(\w+)(?==%q)", text)) <= {
        pair for name in labels() for pair in ((name, ""), ("", name))
    }


@pytest.mark.parametrize(
    "name",
    [
        "stage:otel_progress_stage_duration_seconds:p95_1h",
        "stage:otel_progress_stage_duration_seconds:p95_7d",
        "stage:otel_progress_stage_duration_seconds_count:increase1h",
        "stage:otel_progress_stage_duration_seconds_count:increase7d",
        "stage:otel_progress_stage_active:sum",
        "stage:otel_progress_stage_oldest_start_seconds:min",
        "stage:otel_progress_stage_budget_seconds:max1d",
        "workflow:otel_progress_run_active:sum",
        "workflow:otel_progress_run_duration_seconds_count:increase1h",
    ],
)
def test_what_dashboards_share_is_recorded(name: str) -> None:
    assert name in RECORDED


def test_nothing_is_recorded_that_nobody_reads() -> None:
    texts = [str(rule["expr"]) for rule in ALL] + [str(alert["annotations"]) for alert in ALERTS.values()]
    texts += [path.read_text("utf-8") for path in ROOT.glob("grafana/**/*.json")]
    read = {word for text in texts for word in re.findall(r"[\w:]+", text)}
    shared = {"workflow:otel_progress_run_duration_seconds_count:increase1h"}
    assert set(RECORDED) - read <= shared


def test_thresholds_are_numbers_and_stand_in_one_file() -> None:
    (group,) = yaml.safe_load((RULES / "thresholds.yaml").read_text("utf-8"))["groups"]
    assert {rule["record"] for rule in group["rules"]} == THRESHOLDS
    for name in THRESHOLDS:
        assert float(RECORDED[name]) > 0, name


# --- alerts and their pages -------------------------------------------------------------------------------------------


@every_alert
def test_an_alert_says_what_one_needs(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "dashboard_url", "jaeger_url", "runbook_url"}
    assert annotations["dashboard_url"].startswith("{{ $externalLabels.grafana_url }}/d/otel-progress-")
    assert annotations["jaeger_url"].startswith("{{ $externalLabels.jaeger_url }}/search")
    assert annotations["runbook_url"] == f"{{{{ $externalLabels.runbook_url }}}}/{alert}.md"


@every_alert
def test_an_alert_has_its_page(alert: str) -> None:
    page = (RUNBOOKS / f"{alert}.md").read_text("utf-8")
    assert page.startswith(f"# {alert}\n")
    assert re.findall(r"^\*\*Severity:\*\* (\w+)", page, flags=re.MULTILINE) == [ALERTS[alert]["labels"]["severity"]]
    headings = re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
    assert [heading for heading in headings if heading not in {"Limits", "Afterwards"}] == [
        "Look at first",
        "Usual causes",
        "Do",
        "Tune",
    ]
    tune = page.partition("\n## Tune\n")[2]
    for name in re.findall(r"`([a-z\d_]+)`", tune):
        assert f"otel_progress:{name}:threshold" in THRESHOLDS


def test_the_index_lists_every_alert_with_its_severity() -> None:
    index = (RUNBOOKS / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \|", index, flags=re.MULTILINE)
    assert sorted(rows) == sorted((alert, alert, rule["labels"]["severity"]) for alert, rule in ALERTS.items())
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*ALERTS, "README"}


@every_alert
def test_an_alert_is_tested_both_ways(alert: str) -> None:
    expected = [
        case["exp_alerts"]
        for path in TESTS
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == alert
    ]
    assert [] in expected
    for found in (each for cases in expected for each in cases):
        assert found["exp_labels"]["severity"] == ALERTS[alert]["labels"]["severity"]
        assert set(found["exp_annotations"]) == set(ALERTS[alert]["annotations"])
    assert any(expected)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_the_tests_evaluate_what_is_read_first(path: Path) -> None:
    loaded = yaml.safe_load(path.read_text("utf-8"))
    assert {(path.parent / name).resolve() for name in loaded["rule_files"]} == set(FILES)
    order = loaded["group_eval_order"]
    assert sorted(order) == sorted(group["name"] for group in groups())
    assert order.index("otel-progress-thresholds") == 0


def test_routes_and_inhibitions_say_names_that_exist() -> None:
    config = yaml.safe_load(ALERTMANAGER.read_text("utf-8"))
    stage = ["job", names.label(names.WORKFLOW_NAME), names.label(names.STAGE_NAME)]
    for rule in config["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            said = re.fullmatch(r'alertname=~?"([\w|]+)"', matcher)
            assert said is not None, matcher
            assert set(said[1].split("|")) <= set(ALERTS)
        assert rule.get("equal", stage) == stage
    assert config["route"]["group_by"] == stage
