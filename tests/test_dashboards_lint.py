"""The rules of Grafana's dashboard-linter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from .panels import (
    DASHBOARDS,
    SELECTOR,
    Json,
    every_dashboard,
    panels,
    variables,
)

# Its rules by their names, each giving the places where a dashboard breaks it. Those on panels look at every type of
# panel, which is stricter.

Rule = Callable[[Json], list[str]]


def targets(dashboard: Json) -> Iterator[tuple[str, str]]:
    """Every query of every panel to Prometheus, with its place."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            if "expr" in target:
                yield f"{panel['title']} {target['refId']}", target["expr"]


def template_datasource(dashboard: Json) -> list[str]:
    sources = [each for each in variables(dashboard) if each["type"] == "datasource"]
    broken = [] if sources else ["no data source"]
    for each in sources:
        allowed = {(f"{each['query']}_datasource", f"{each['query'].title()} data source")}
        if len(sources) == 1:
            allowed.add(("datasource", "Data source"))
        if (each["name"], each["label"]) not in allowed:
            broken.append(each["name"])
    return broken


def template_of(dashboard: Json, name: str) -> list[str]:
    found = [each for each in variables(dashboard) if each["name"] == name]
    if not found:
        return [f"no {name}"]
    (each,) = found
    holds = {
        "source": each["datasource"]["uid"] == "${datasource}",
        "type": each["type"] == "query",
        "label": each["label"] == name.title(),
        "multi": each["multi"],
        "allValue": each.get("allValue") == ".+",
    }
    return [what for what, is_so in holds.items() if not is_so]


def template_job(dashboard: Json) -> list[str]:
    return template_of(dashboard, "job")


def template_instance(dashboard: Json) -> list[str]:
    return template_of(dashboard, "instance")


def template_label_promql(dashboard: Json) -> list[str]:
    return [
        each["name"]
        for each in variables(dashboard)
        if each["type"] == "query" and not re.fullmatch(r"label_values\(.+, \w+\)", each["query"])
    ]  # That what is in it parses, `test_every_query_parses_and_is_formatted` says.


def template_on_time_change_reload(dashboard: Json) -> list[str]:
    return [each["name"] for each in variables(dashboard) if each["type"] == "query" and each["refresh"] != 2]


def panel_datasource(dashboard: Json) -> list[str]:
    known = {f"${{{each['name']}}}" for each in variables(dashboard) if each["type"] == "datasource"}
    return [panel["title"] for panel in panels(dashboard) if panel["datasource"]["uid"] not in known]


def panel_title_description(dashboard: Json) -> list[str]:
    return [str(panel["id"]) for panel in panels(dashboard) if not (panel.get("title") and panel.get("description"))]


def panel_units(dashboard: Json) -> list[str]:
    valid = {"none", "locale", "s", "µs", "percentunit", "string"}  # Of Grafana's list, those that stand here.
    broken: list[str] = []
    for panel in panels(dashboard):
        config = panel["fieldConfig"]
        units = [config["defaults"].get("unit", "")]
        units += [each["value"] for one in config["overrides"] for each in one["properties"] if each["id"] == "unit"]
        broken += [panel["title"] for unit in units if unit not in valid]
    return broken


def panel_no_targets(dashboard: Json) -> list[str]:
    return [panel["title"] for panel in panels(dashboard) if not panel.get("targets")]


def target_logql(dashboard: Json) -> list[str]:
    return [
        panel["title"] for panel in panels(dashboard) if panel["datasource"]["type"] not in {"prometheus", "jaeger"}
    ]


def target_promql(dashboard: Json) -> list[str]:
    return [place for place, expr in targets(dashboard) if not expr]  # That it parses, the test above says.


def target_rate_interval(dashboard: Json) -> list[str]:
    ranged = re.compile(r"\bi?rate\([^()]*\[([^]]*)\]")
    return [place for place, expr in targets(dashboard) for each in ranged.findall(expr) if each != "$__rate_interval"]


def target_matcher(dashboard: Json, name: str) -> list[str]:
    return [
        place
        for place, expr in targets(dashboard)
        if not all(f'{name}=~"${name}"' in found[2] for found in SELECTOR.finditer(expr))
    ]


def target_job(dashboard: Json) -> list[str]:
    return target_matcher(dashboard, "job")


def target_instance(dashboard: Json) -> list[str]:
    return target_matcher(dashboard, "instance")


def target_counter_agg(dashboard: Json) -> list[str]:
    counter = re.compile(r"\w+_(?:total|count|sum|bucket)\{")
    grown = re.compile(r"\b(?:rate|irate|increase)\(\w+_(?:total|count|sum|bucket)\{[^}]*\}\[")
    return [place for place, expr in targets(dashboard) if len(counter.findall(expr)) != len(grown.findall(expr))]


def uneditable_dashboard(dashboard: Json) -> list[str]:
    return ["editable"] if dashboard["editable"] else []


LINT: dict[str, Rule] = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": template_job,
    "template-instance-rule": template_instance,
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_on_time_change_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-logql-rule": target_logql,
    "target-promql-rule": target_promql,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": target_job,
    "target-instance-rule": target_instance,
    "target-counter-agg-rule": target_counter_agg,
    "uneditable-dashboard": uneditable_dashboard,
}

NO_INSTANCE = "an instance is one process of many short ones, or the collector: nobody looks for one"
EXCEPTIONS: dict[tuple[str, str], tuple[set[str] | None, str]] = {
    **{("template-instance-rule", uid): ({"no instance"}, NO_INSTANCE) for uid in DASHBOARDS},
    **{("target-instance-rule", uid): (None, NO_INSTANCE) for uid in DASHBOARDS},
    ("target-job-rule", "otel-progress-overview"): (
        {"Alerts A", "Alerts that fire A"},
        "an alert about the servers is of no job, and is shown whatever is chosen",
    ),
    ("template-job-rule", "otel-progress-run"): (
        {"multi", "allValue"},
        "a search in Jaeger is of one service",
    ),
    **{
        (rule, "otel-progress-run"): (
            {"Recent runs", "Slowest runs"},
            "their queries are of the variable, and Mixed makes a request for each of them",
        )
        for rule in ("panel-datasource-rule", "target-logql-rule")
    },
    ("template-datasource-rule", "otel-progress-run"): (
        {"datasource"},
        "the variable has the name that it has elsewhere, so that links carry it over",
    ),
}
"""By rule and dashboard: the places where it is broken (None: at every query), and why."""


@every_dashboard
@pytest.mark.parametrize("rule", LINT)
def test_lint(rule: str, dashboard: Json) -> None:
    excepted, _ = EXCEPTIONS.get((rule, dashboard["uid"]), (set[str](), ""))
    if excepted is None:
        excepted = {place for place, _ in targets(dashboard)}
    assert set(LINT[rule](dashboard)) == excepted, "broken more, or less than the exceptions say"


def test_every_exception_is_of_a_rule_and_a_dashboard_and_says_why() -> None:
    for (rule, uid), (places, reason) in EXCEPTIONS.items():
        assert rule in LINT
        assert uid in DASHBOARDS
        assert places is None or places
        assert reason
