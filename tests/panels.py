"""Reading the dashboards: their panels, and their queries with the variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
PROVISIONING = ROOT / "grafana" / "provisioning"

Json = dict[str, Any]

EVERYTHING: Mapping[str, str] = {
    "__range": "6h",
    "__interval": "1m",
    "__interval_ms": "60000",
    "__rate_interval": "1m5s",
    "job": ".+",
    "workflow": ".+",
    "stage": ".+",
    "platform": ".+",
    "run_job": ".+",
}
"""Values as Grafana fills them in, nothing filtered. `__rate_interval` is an interval and a scrape of 5 seconds."""


@dataclass(frozen=True)
class Query:
    """A query of a dashboard to Prometheus."""

    dashboard: str
    """Its uid."""
    owner: str
    """Title of its panel, or name of its variable."""
    ref: str
    expr: str
    """As committed."""
    filled: str
    """With the variables filled in."""
    kind: Literal["instant", "range", "variable"]
    """A variable asks for the values of a label of the series that `filled` selects."""
    legend: str = ""
    label: str = ""
    """The label that a variable asks for."""

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.owner} / {self.ref}"


def load(path: Path) -> Json:
    """A committed dashboard."""
    return json.loads(path.read_text("utf-8"))


def panels(dashboard: Json) -> list[Json]:
    """The panels of a dashboard, without the titles of its rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def variables(dashboard: Json) -> list[Json]:
    """The variables of a dashboard."""
    return dashboard["templating"]["list"]


def fill(text: str, values: Mapping[str, str] = EVERYTHING) -> str:
    """Replace each `$name` and `${name}`."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: values[found[1] or found[2]], text)


def queries(dashboard: Json, values: Mapping[str, str] = EVERYTHING) -> Iterator[Query]:
    """Every query of every panel and variable to Prometheus, filled in.

    For other values: `queries(dashboard, {**EVERYTHING, "workflow": "pr_campaign", "__range": "15m"})`.
    """
    for panel in panels(dashboard):
        for target in panel["targets"]:
            if "expr" in target:
                yield Query(
                    dashboard["uid"],
                    panel["title"],
                    target["refId"],
                    target["expr"],
                    fill(target["expr"], values),
                    "instant" if target.get("instant") else "range",
                    target.get("legendFormat", ""),
                )
    for variable in variables(dashboard):
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert found, variable["query"]
            filled = fill(found[1], values)
            yield Query(dashboard["uid"], variable["name"], "variable", found[1], filled, "variable", label=found[2])


def searches(dashboard: Json) -> Iterator[tuple[str, Json]]:
    """Every query to Jaeger, with the title of its panel."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            if "expr" not in target:
                yield panel["title"], target


DASHBOARDS = {path.stem: load(path) for path in FILES}
QUERIES = [query for dashboard in DASHBOARDS.values() for query in queries(dashboard)]
STAGE_DETAIL, RUN = "otel-progress-stage", "otel-progress-run"

every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=list(DASHBOARDS))
every_query = pytest.mark.parametrize("query", QUERIES, ids=str)

SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\{([^}]*)\}")
GROUPING = re.compile(r"\b(?:by|on|group_left) \(([^)]*)\)")


def selectors(expr: str) -> list[tuple[str, set[str]]]:
    """The series that an expression selects, with the labels by which it does."""
    return [
        (found[1] or "", set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', found[2]))))
        for found in SELECTOR.finditer(expr)
    ]


def grouped_by(expr: str) -> set[str]:
    """The labels that an expression groups by."""
    return {label for found in GROUPING.findall(expr) for label in re.findall(r"\w+", found)}


def links_of(panel: Json) -> list[str]:
    """Every address that a panel links to."""
    config = panel["fieldConfig"]
    found = [*panel.get("links", []), *config["defaults"].get("links", [])]
    for override in config["overrides"]:
        found += [link for each in override["properties"] if each["id"] == "links" for link in each["value"]]
    return [link["url"] for link in found]


def data_sources() -> dict[str, Json]:
    """The provisioned data sources by uid."""
    text = (PROVISIONING / "datasources" / "datasources.yaml").read_text("utf-8")
    return {source["uid"]: source for source in yaml.safe_load(text)["datasources"]}
