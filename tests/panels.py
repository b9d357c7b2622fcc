"""Reading the dashboards: their panels, and their queries with the variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))

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
