"""The dashboards are what the code makes, ask for what exists, link to what is there, and keep the lint's rules."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import pytest
import yaml

from otel_progress import names

from .panels import FILES, FOLDER, ROOT, Json, Query, fill, load, panels, queries, searches, variables
from .servers import binary

DASHBOARDS = {path.stem: load(path) for path in FILES}
QUERIES = [query for dashboard in DASHBOARDS.values() for query in queries(dashboard)]
RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))
PROVISIONING = ROOT / "grafana" / "provisioning"
STAGE_DETAIL, RUN = "otel-progress-stage", "otel-progress-run"

STANDARD_LABELS = {"job", "instance", "le"}
FUNCTIONS = {
    *("sum", "max", "min", "topk", "round", "rate", "increase", "histogram_quantile", "sort_desc", "time"),
    *("by", "on", "group_left", "and", "or", "unless", "count", "clamp_min", "end"),
}
BUILT_IN = {"__url_time_range", "__data", "__field", "__value"}
"""What Grafana itself fills in in links."""

every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=list(DASHBOARDS))
every_query = pytest.mark.parametrize("query", QUERIES, ids=str)


# --- as generated -----------------------------------------------------------------------------------------------------


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
    kinds = {f"${{{each['name']}}}": each["query"] for each in variables(dashboard) if each["type"] == "datasource"}
    asking = [each for each in variables(dashboard) if each["type"] == "query"]
    asking += [each for panel in panels(dashboard) for each in (panel, *panel["targets"])]
    for each in asking:
        assert kinds[each["datasource"]["uid"]] == each["datasource"]["type"]


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


# --- names ------------------------------------------------------------------------------------------------------------


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


# --- links ------------------------------------------------------------------------------------------------------------


def links_of(panel: Json) -> list[str]:
    """Every address that a panel links to."""
    config = panel["fieldConfig"]
    found = [*panel.get("links", []), *config["defaults"].get("links", [])]
    for override in config["overrides"]:
        found += [link for each in override["properties"] if each["id"] == "links" for link in each["value"]]
    return [link["url"] for link in found]


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


# --- provisioning -----------------------------------------------------------------------------------------------------


def data_sources() -> dict[str, Json]:
    """The provisioned data sources by uid."""
    text = (PROVISIONING / "datasources" / "datasources.yaml").read_text("utf-8")
    return {source["uid"]: source for source in yaml.safe_load(text)["datasources"]}


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


def test_an_exemplar_leads_to_its_trace() -> None:
    trace, run = data_sources()["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert (trace["name"], trace["datasourceUid"]) == ("trace_id", "jaeger")
    assert run["name"] == "trace_id"
    url = run["url"].replace("$$", "$")
    assert url.endswith("&${__url_time_range}")
    for dashboard in DASHBOARDS.values():
        if any(target.get("exemplar") for panel in panels(dashboard) for target in panel["targets"]):
            check_link(url, {variable["name"]: variable for variable in variables(dashboard)})


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


def test_dashboards_come_from_a_folder_and_cannot_be_changed_in_the_browser() -> None:
    text = (PROVISIONING / "dashboards" / "dashboards.yaml").read_text("utf-8")
    (provider,) = yaml.safe_load(text)["providers"]
    assert provider["folder"] == "Workflows"
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    assert provider["disableDeletion"] is True
    assert provider["allowUiUpdates"] is False


# --- the rules of Grafana's dashboard-linter --------------------------------------------------------------------------
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
    valid = {"none", "locale", "s", "µs", "percentunit"}  # Of Grafana's list, those that stand here.
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
