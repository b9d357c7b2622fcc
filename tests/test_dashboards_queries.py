"""The dashboards ask for what exists: names and labels, as promtool writes them, and of a Prometheus with no data."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from otel_progress import names

from .panels import (
    GROUPING,
    QUERIES,
    ROOT,
    SELECTOR,
    Json,
    Query,
    data_sources,
    every_dashboard,
    every_query,
    fill,
    grouped_by,
    searches,
    selectors,
)
from .servers import binary

RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))

STANDARD_LABELS = {"job", "instance", "le"}
FUNCTIONS = {
    *("sum", "max", "min", "topk", "round", "rate", "increase", "histogram_quantile", "sort_desc", "time"),
    *("by", "on", "group_left", "and", "or", "unless", "count", "clamp_min", "end"),
}


def known_series() -> dict[str, set[str]]:
    """Every name that may be asked for, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in names.METRICS:
        labels = {names.label(attribute) for attribute in metric.attributes} | {"job", "instance"}
        if metric.kind == "histogram":
            found[f"{metric.prometheus}_bucket"] = labels | {"le"}
            found[f"{metric.prometheus}_sum"] = found[f"{metric.prometheus}_count"] = labels
        else:
            found[metric.prometheus] = labels
    workflow = {"job", names.label(names.WORKFLOW_NAME)}
    levels = {"workflow": workflow, "stage": workflow | {names.label(names.STAGE_NAME)}}
    for path in RULES:
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                level = rule.get("record", "").partition(":")[0]
                if level in levels:
                    found[rule["record"]] = levels[level]
    stage = levels["stage"]
    return {**found, "ALERTS": {"alertname", "alertstate", "severity", *stage}}


def check_names(expr: str) -> None:
    """Fail on a name that nothing has."""
    known = known_series()
    for series, labels in selectors(expr):
        if series:
            assert series in known, series
            assert labels <= known[series], f"{series} has no {labels - known[series]}"
        else:
            (alternatives,) = re.findall(r'__name__=~"([^"]*)"', expr)
            assert set(alternatives.split("|")) <= set(known)
    every_label = STANDARD_LABELS.union(*known.values())
    assert grouped_by(expr) <= every_label
    rest = re.sub(r"\[[^]]*\]", "", GROUPING.sub("", SELECTOR.sub("", expr)))
    assert set(re.findall(r"[a-zA-Z_][\w:]*", rest)) <= FUNCTIONS, "a series without a selector, or a new function"


@every_query
def test_every_name_in_a_query_exists(query: Query) -> None:
    check_names(query.filled)
    if query.kind == "variable":
        assert query.label in {label for labels in known_series().values() for label in labels}


@every_query
def test_the_labels_of_a_legend_are_grouped_by(query: Query) -> None:
    used = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    recorded = "stage:" in query.filled and not re.search(r"\b(?:sum|max|min)(?: by)? ?\(", query.filled)
    assert used <= (known_series()["stage:otel_progress_stage_active:sum"] if recorded else grouped_by(query.filled))


@every_query
def test_every_query_parses_and_is_formatted(query: Query) -> None:
    command = [binary("promtool"), "--experimental", "promql", "format", query.filled]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert without_space(made.stdout) == without_space(query.filled)


def without_space(text: str) -> str:
    """All but white space: the formatter breaks lines, and a line of JSON cannot."""
    return re.sub(r"\s", "", text)


@every_dashboard
def test_what_jaeger_is_asked(dashboard: Json) -> None:
    for title, target in searches(dashboard):
        if target.get("queryType") == "search":
            assert target["service"] == "$job", title
            assert target["operation"] == f"{names.SPAN_RUN} $workflow", title
        else:
            assert target["query"] == "$traceId", title
    assert bool(list(searches(dashboard))) == (dashboard["uid"] == "otel-progress-run")


# --- an empty server --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with the rules and no data."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"rule_files": [str(path) for path in RULES]}), "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [binary("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with subprocess.Popen(
        [*command, f"--web.listen-address={address}"], stderr=subprocess.PIPE, text=True, errors="replace"
    ) as server:
        assert server.stderr is not None
        said: list[str] = []
        for line in server.stderr:
            said.append(line)
            if "ready to receive web requests" in line:
                break
        else:
            pytest.fail("".join(said))
        yield f"http://{address}"
        server.terminate()
        server.communicate(timeout=30)


def ask(server: str, query: Query) -> Any:
    """What the server answers to a query of a panel or a variable."""
    if query.kind == "variable":
        path, arguments = f"label/{query.label}/values", {"match[]": query.filled}
    elif query.kind == "instant":
        path, arguments = "query", {"query": query.filled}
    else:
        path, arguments = "query_range", {"query": query.filled, "start": "0", "end": "21600", "step": "300"}
    with urllib.request.urlopen(f"{server}/api/v1/{path}?{urllib.parse.urlencode(arguments)}", timeout=30) as answer:
        return json.load(answer)


def test_an_empty_server_answers_every_query_without_an_error(empty_server: str) -> None:
    for query in QUERIES:
        answer = ask(empty_server, query)
        assert answer["status"] == "success", query
        assert not answer.get("warnings"), (query, answer["warnings"])
        assert not answer.get("infos"), (query, answer["infos"])
        found = answer["data"] if query.kind == "variable" else answer["data"]["result"]
        assert found == [], query


def test_filling_in_leaves_no_variable() -> None:
    assert all("$" not in query.filled for query in QUERIES)
    with pytest.raises(KeyError):
        fill("$unknown")


def test_a_trace_leads_back_to_the_metrics() -> None:
    back = data_sources()["jaeger"]["jsonData"]["tracesToMetrics"]
    assert back["datasourceUid"] in data_sources()
    tags = {tag["key"]: tag["value"] for tag in back["tags"]}
    assert tags == {"service.name": "job"} | {
        name: names.label(name) for name in (names.WORKFLOW_NAME, names.STAGE_NAME)
    }
    for query in back["queries"]:
        matchers = ", ".join(f'{label}="x"' for label in tags.values())
        expr = query["query"].replace("$$__tags", matchers)
        assert "$" not in expr
        check_names(expr)
