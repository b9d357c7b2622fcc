"""Every link leads to a dashboard and to variables that are there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from otel_progress import names

from .panels import (
    DASHBOARDS,
    RUN,
    STAGE_DETAIL,
    Json,
    data_sources,
    every_dashboard,
    grouped_by,
    links_of,
    panels,
    variables,
)

BUILT_IN = {"__url_time_range", "__data", "__field", "__value"}
"""What Grafana itself fills in in links."""


def check_link(url: str, own: Mapping[str, Json]) -> None:
    """Fail on a link to a dashboard or a variable that is not there, or with a value that is not there or cannot be
    taken: several values, or All, for a variable that has one.
    """
    address = re.match(r"/d/([a-z-]+)(?:\?|$)", url)
    assert address, url
    there = {variable["name"]: variable for variable in variables(DASHBOARDS[address[1]])}
    assert set(re.findall(r"\$\{(\w+)", url)) <= {*own, *BUILT_IN}, url
    given = {name: name for name in re.findall(r"\$\{(\w+):queryparam\}", url)}
    given |= dict(re.findall(r"var-(\w+)=\$\{(\w+)", url))
    assert set(given) == {*re.findall(r"var-(\w+)=", url), *re.findall(r"\$\{(\w+):queryparam\}", url)}, url
    for name, source in given.items():
        check_taken(own.get(source), there[name])
    if address[1] == RUN:
        assert {"job", "workflow"} <= set(given), url


def check_taken(source: Json | None, target: Json) -> None:
    """Fail where the variable `target` cannot take what `source` may have; a label of what is clicked is one value."""
    assert source is None or target["multi"] or not source["multi"], target["name"]
    assert source is None or target["includeAll"] or not source["includeAll"], target["name"]


@every_dashboard
def test_links_lead_somewhere(dashboard: Json) -> None:
    own = {variable["name"]: variable for variable in variables(dashboard)}
    linked = {link["url"].partition("?")[0]: link for link in dashboard["links"]}
    assert linked.keys() == {f"/d/{uid}" for uid in DASHBOARDS if uid != dashboard["uid"]}
    for address, link in linked.items():
        assert link["keepTime"]
        check_link(link["url"], own)
        if link["includeVars"]:
            there = {each["name"]: each for each in variables(DASHBOARDS[address.removeprefix("/d/")])}
            for name in there.keys() & {name for name, each in own.items() if not each["skipUrlSync"]}:
                check_taken(own[name], there[name])
        else:
            assert address == f"/d/{RUN}"
    for panel in panels(dashboard):
        for url in links_of(panel):
            check_link(url, own)
            labels = set(re.findall(r"\$\{__(?:field\.labels|data\.fields)\.(\w+)", url))
            for target in panel["targets"]:
                if "expr" in target and "stage:" not in target["expr"]:
                    assert labels <= grouped_by(target["expr"]), panel["title"]


@every_dashboard
def test_a_stage_leads_to_its_details(dashboard: Json) -> None:
    label = names.label(names.STAGE_NAME)
    for panel in panels(dashboard):
        shown = " ".join(target.get("legendFormat", "") for target in panel["targets"])
        shown += json.dumps(panel.get("transformations", []))
        if label in shown:
            assert any(url.startswith(f"/d/{STAGE_DETAIL}?") and "var-stage=" in url for url in links_of(panel)), panel[
                "title"
            ]


def test_exemplars_are_asked_for_where_one_looks_for_a_trace() -> None:
    found = {
        (uid, panel["title"])
        for uid, dashboard in DASHBOARDS.items()
        for panel in panels(dashboard)
        if any(target.get("exemplar") for target in panel["targets"])
    }
    assert found == {
        ("otel-progress-overview", "Run duration, p95"),
        ("otel-progress-run", "Run duration"),
        (STAGE_DETAIL, "Distribution of durations"),
        (STAGE_DETAIL, "p50 and p95"),
    }


def test_an_exemplar_leads_to_its_trace() -> None:
    trace, run = data_sources()["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert (trace["name"], trace["datasourceUid"]) == ("trace_id", "jaeger")
    assert run["name"] == "trace_id"
    url = run["url"].replace("$$", "$")
    assert url.endswith("&${__url_time_range}")
    for dashboard in DASHBOARDS.values():
        if any(target.get("exemplar") for panel in panels(dashboard) for target in panel["targets"]):
            check_link(url, {variable["name"]: variable for variable in variables(dashboard)})
