"""The dashboards are what the code makes, and each says what it shows. What Grafana is provisioned with."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest
import yaml

from otel_progress import names

from .panels import (
    DASHBOARDS,
    FOLDER,
    PROVISIONING,
    ROOT,
    RUN,
    STAGE_DETAIL,
    Json,
    data_sources,
    every_dashboard,
    grouped_by,
    panels,
    variables,
)

MIXED = {"type": "datasource", "uid": "-- Mixed --"}
"""Of a panel whose queries name a data source each."""


@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2")  # The classic format is what every Grafana reads.
def test_the_committed_dashboards_are_what_the_code_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk needs Python 3.11")
    monkeypatch.syspath_prepend(str(ROOT))
    from grafana.__main__ import rendered

    assert {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()} == rendered()


def test_the_addresses_of_the_dashboards() -> None:
    assert {uid: dashboard["uid"] for uid, dashboard in DASHBOARDS.items()} == {
        uid: uid
        for uid in (
            "otel-progress-bottlenecks",
            "otel-progress-overview",
            "otel-progress-quality",
            "otel-progress-run",
            STAGE_DETAIL,
        )
    }


@every_dashboard
def test_what_a_dashboard_says(dashboard: Json) -> None:
    assert dashboard["description"]
    assert dashboard["time"] == {"from": "now-6h", "to": "now"}
    assert dashboard["refresh"] == "30s"
    assert {"datasource", "job", "workflow", "stage"} <= {variable["name"] for variable in variables(dashboard)}


@every_dashboard
def test_every_panel_says_what_it_shows_in_which_unit_and_why_it_is_empty(dashboard: Json) -> None:
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"], panel["id"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["noValue"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]


@every_dashboard
def test_data_sources_are_variables(dashboard: Json) -> None:
    kinds = {each["name"]: each["query"] for each in variables(dashboard) if each["type"] == "datasource"}
    asking = [each for each in variables(dashboard) if each["type"] == "query"]
    for panel in panels(dashboard):
        asking += panel["targets"] if panel["datasource"] == MIXED else [panel, *panel["targets"]]
    for each in asking:
        name = re.fullmatch(r"\$(?:(\w+)|\{(\w+)(?::(?:raw|csv|pipe|glob))?\})", each["datasource"]["uid"])
        assert name, each["datasource"]
        assert kinds[name[1] or name[2]] == each["datasource"]["type"]


def test_every_search_of_a_list_of_runs_is_made() -> None:
    """Grafana's data source for Jaeger answers the first query of a request, and Mixed makes a request for each way in
    which the data source is written. The first search needs no other, so that the list is whole in any case.
    """
    mixed = [panel for panel in panels(DASHBOARDS[RUN]) if panel["datasource"] == MIXED]
    assert {panel["title"] for panel in mixed} == {"Recent runs", "Slowest runs"}
    for panel in mixed:
        targets = panel["targets"]
        assert len({target["datasource"]["uid"] for target in targets}) == len(targets)
        assert "tags" not in targets[0]
        marks = [each for each in panel["transformations"] if each["id"] == "calculateField"]
        (words,) = (
            each["value"][0]["options"]
            for override in panel["fieldConfig"]["overrides"]
            for each in override["properties"]
            if each["id"] == "mappings"
        )
        marked = {
            each["filter"]["options"]: words[each["options"]["binary"]["left"]["fixed"]]["text"] for each in marks
        }
        assert {each["refId"]: each["tags"] for each in targets[1:]} == {
            ref: f"{names.RESULT}={result}" for ref, result in marked.items()
        }
        assert sorted(marked.values()) == sorted(get_args(names.Result))
    for dashboard in DASHBOARDS.values():
        for panel in panels(dashboard):
            if panel["datasource"]["type"] == "jaeger":
                assert len(panel["targets"]) == 1, panel["title"]


@every_dashboard
def test_ids_are_unique_and_panels_lie_side_by_side(dashboard: Json) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(set(titles)) == len(titles)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert len(cells) == 24 * (max(y for _, y in cells) + 1), "there is a hole between panels"
    assert max(x for x, _ in cells) == 23


@every_dashboard
def test_every_variable_is_used(dashboard: Json) -> None:
    text = json.dumps(dashboard) + json.dumps(data_sources())  # The link of an exemplar uses variables too.
    for variable in variables(dashboard):
        assert re.search(rf"\$\{{?{variable['name']}\b", text), variable["name"]


@every_dashboard
def test_the_colour_of_a_result_is_the_same_everywhere(dashboard: Json) -> None:
    colours = {"success": "green", "fallback": "yellow", "failure": "red", "cancelled": "purple", "abandoned": "orange"}
    assert set(colours) == set(get_args(names.Result))
    label = names.label(names.RESULT)
    for panel in panels(dashboard):
        if any(target.get("legendFormat") == f"{{{{{label}}}}}" for target in panel["targets"]):
            assert {
                override["matcher"]["options"]: override["properties"][0]["value"]["fixedColor"]
                for override in panel["fieldConfig"]["overrides"]
            } == colours
        for override in panel["fieldConfig"]["overrides"]:
            for each in override["properties"]:
                if each["id"] == "mappings" and override["matcher"]["options"] == "Result":
                    (mapping,) = each["value"]
                    assert {word["text"]: word["color"] for word in mapping["options"].values()} == colours


@every_dashboard
def test_a_table_is_sorted_by_one_of_its_columns(dashboard: Json) -> None:
    for panel in panels(dashboard):
        for transformation in panel.get("transformations", []):
            if transformation["id"] == "organize":
                headings = transformation["options"]["renameByName"]
                (sort,) = panel["options"]["sortBy"]
                assert sort["displayName"] in headings.values(), panel["title"]
                several = len(panel["targets"]) > 1
                refs = {f"Value #{target['refId']}" if several else "Value" for target in panel["targets"]}
                assert {name for name in headings if name.startswith("Value")} == refs, panel["title"]
                labels = {name for name in headings if not name.startswith("Value")}
                for target in panel["targets"]:
                    assert (target["format"], target["instant"]) == ("table", True), panel["title"]
                    assert labels <= grouped_by(target["expr"]), f"rows of {panel['title']} cannot be joined"


# --- provisioning -----------------------------------------------------------------------------------------------------


def test_the_variables_choose_the_provisioned_data_sources() -> None:
    sources = data_sources()
    assert {uid: source["url"] for uid, source in sources.items()} == {
        "prometheus": "$PROMETHEUS_URL",
        "jaeger": "$JAEGER_URL",
    }
    for dashboard in DASHBOARDS.values():
        for variable in variables(dashboard):
            if variable["type"] == "datasource":
                source = sources[variable["current"]["value"]]
                assert (source["type"], source["name"]) == (variable["query"], variable["current"]["text"])


def test_dashboards_come_from_a_folder_and_cannot_be_changed_in_the_browser() -> None:
    text = (PROVISIONING / "dashboards" / "dashboards.yaml").read_text("utf-8")
    (provider,) = yaml.safe_load(text)["providers"]
    assert provider["folder"] == "Workflows"
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    assert provider["disableDeletion"] is True
    assert provider["allowUiUpdates"] is False
