"""What an eye would see of the dashboards, as far as their JSON says it: widths, colours, legends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from otel_progress import names

from .panels import DASHBOARDS, ROOT, STAGE_DETAIL, Json, every_dashboard, links_of, panels

SCREEN, MARGINS, GAP, PADDING = 1280, 32, 8, 18
"""Pixels: a small screen, what a dashboard leaves free beside its panels, between two, and a panel inside."""
CHARACTER, AROUND = 8, 16
"""Pixels of a heading's character at most, and what is free around a cell's text."""
DESCRIBED = 36
"""Pixels of the mark that a panel has a description."""
STAGE, WORKFLOW, PLATFORM = map(names.label, (names.STAGE_NAME, names.WORKFLOW_NAME, names.ITEM_PLATFORM))
JOB, ERROR, RESULT = "job", "error_type", names.label(names.RESULT)


def inside(panel: Json) -> float:
    """Pixels that a panel has for what it shows, on a small screen."""
    return panel["gridPos"]["w"] * (SCREEN - MARGINS + GAP) / 24 - GAP - PADDING


def properties_of(panel: Json, name: str) -> Json:
    """What is overridden for a field by its name."""
    overrides = panel["fieldConfig"]["overrides"]
    matching = [each for each in overrides if each["matcher"] == {"id": "byName", "options": name}]
    return {each["id"]: each["value"] for override in matching for each in override["properties"]}


def tables(dashboard: Json) -> Iterator[tuple[Json, dict[str, str]]]:
    """Its tables of rows by labels, with the headings by their fields."""
    for panel in panels(dashboard):
        for transformation in panel.get("transformations", []):
            if transformation["id"] == "organize":
                yield panel, transformation["options"]["renameByName"]


def test_every_dashboard_has_a_picture() -> None:
    text = (ROOT / "docs" / "dashboards.md").read_text("utf-8")
    shown = re.findall(r"!\[[^]]+\]\((pictures/[a-z]+\.png)\)", text)
    assert sorted(shown) == sorted(f"pictures/{uid.removeprefix('otel-progress-')}.png" for uid in DASHBOARDS)
    pictures = sorted((ROOT / "docs" / "pictures").iterdir())
    pages = "".join((ROOT / "docs" / name).read_text("utf-8") for name in ("page.md", "ui.md"))
    of_pages = re.findall(r"!\[[^]]+\]\((pictures/[a-z-]+\.png)\)", pages)
    assert {path.name for path in pictures} == {"readme.png", *(Path(name).name for name in [*shown, *of_pages])}
    assert all(path.stat().st_size < 300_000 for path in pictures)


@every_dashboard
def test_no_column_of_a_table_is_hidden_on_a_small_screen(dashboard: Json) -> None:
    for panel, headings in tables(dashboard):
        shared = panel["fieldConfig"]["defaults"]["custom"]["minWidth"]
        assert shared >= 140, "names are cut"
        taken = 0
        for field, heading in headings.items():
            own = properties_of(panel, heading).get("custom.width")
            assert (own is not None) == field.startswith("Value"), heading
            assert own is None or own >= CHARACTER * len(heading) + AROUND, heading
            taken += own or shared
        assert taken <= inside(panel), panel["title"]
    for panel in panels(dashboard):
        if panel["type"] == "table" and panel["targets"][0]["datasource"]["type"] == "jaeger":
            widths = {
                name: properties_of(panel, name).get("custom.width") for name in ("startTime", "duration", "Result")
            }
            longest = {"startTime": "2026-01-01 00:00:00", "duration": "1.25 hours", "Result": "cancelled"}
            taken = 0
            for name, width in widths.items():
                assert width or (name == "Result" and panel["title"] == "Failed runs")
                assert not width or width >= CHARACTER * len(longest[name]) + AROUND, name
                taken += width or 0
            assert inside(panel) - taken >= CHARACTER * 32 + AROUND, f"trace IDs of {panel['title']} are cut"


@every_dashboard
def test_no_title_of_a_figure_is_cut_on_a_small_screen(dashboard: Json) -> None:
    for panel in panels(dashboard):
        if panel["type"] == "stat":
            assert CHARACTER * len(panel["title"]) + DESCRIBED <= inside(panel), panel["title"]


NARROWEST = 6
"""Pixels of a character that one can still read, in a text that is made small until it fits."""


@every_dashboard
def test_what_a_figure_says_that_has_no_value_can_be_read(dashboard: Json) -> None:
    for panel in panels(dashboard):
        if panel["type"] == "stat":
            assert NARROWEST * len(panel["fieldConfig"]["defaults"]["noValue"]) <= inside(panel), panel["title"]


def test_a_long_name_beside_a_figure_does_not_make_both_tiny() -> None:
    named = [
        panel
        for dashboard in DASHBOARDS.values()
        for panel in panels(dashboard)
        if panel["type"] == "stat" and panel["options"].get("textMode") == "value_and_name"
    ]
    assert [panel["options"]["text"]["titleSize"] >= 12 for panel in named] == [True]


@every_dashboard
def test_names_of_rows_of_a_matrix_are_not_cut(dashboard: Json) -> None:
    for panel in panels(dashboard):
        for transformation in panel.get("transformations", []):
            if transformation["id"] == "groupingToMatrix":
                options = transformation["options"]
                corner = properties_of(panel, f"{options['rowField']}\\{options['columnField']}")
                assert corner["custom.width"] >= CHARACTER * len(corner["displayName"]) + AROUND


@every_dashboard
def test_sixty_stages_are_no_sixty_stripes(dashboard: Json) -> None:
    """Where parts of a whole are stacked, the biggest are drawn one by one and the others as one."""
    for panel in panels(dashboard):
        stacking = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking", {})
        if stacking.get("mode") == "percent" and STAGE in panel["targets"][0]["legendFormat"]:
            most, others = panel["targets"]
            assert "and topk(8," in most["expr"]
            assert others["legendFormat"] == "others"
            assert most["expr"] in others["expr"]
            assert properties_of(panel, "others")["color"] == {"mode": "fixed", "fixedColor": "#8e8e8e"}


@every_dashboard
def test_what_goes_on_is_judged_by_what_is_sure(dashboard: Json) -> None:
    """A visit that ended since the last report looks as if it went on, until the next has been scraped and recorded."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text("utf-8"))
    live = {each["job_name"]: each for each in config["scrape_configs"]}["otel-progress-live"]
    intervals = (live["scrape_interval"], config["global"]["evaluation_interval"])
    unsure = 60 + sum(int(each.removesuffix("s")) for each in intervals)
    started = f"stage:{names.STAGE_OLDEST_START.prometheus}:min"
    for panel in panels(dashboard):
        headings = dict(next((found for each, found in tables(dashboard) if each is panel), {}))
        for target in panel["targets"]:
            if started in target.get("expr", ""):
                heading = headings.get(f"Value #{target['refId']}", panel["title"])
                assert (f"- {unsure}, 0)" in target["expr"]) == (heading != "Running up to"), heading


GOOD = {"Success ratio", "First-pass yield", "Clean first visits"}
"""What is better the higher it is."""
WORSE = {
    *("Failed", "Failed visits", "Not completed", "Incomplete", "Dead ends", "Fallbacks"),
    *("Of usual", "Of budget", "Visits over budget", "Alerts"),
}
"""And what is worse."""


def colour_at(thresholds: Json, value: float) -> str:
    """The colour that a value has."""
    steps = thresholds["steps"]
    assert steps[0]["value"] is None
    assert steps[0]["color"] in {"text", "transparent"}, "what has no value is judged"
    assert [step["value"] for step in steps[1:]] == sorted(step["value"] for step in steps[1:])
    return [step["color"] for step in steps if step["value"] is None or step["value"] <= value][-1]


def judged(dashboard: Json) -> Iterator[tuple[str, Json]]:
    """The figures and columns of numbers, each with what decides on its colour."""
    for panel in panels(dashboard):
        if panel["type"] == "stat":
            yield panel["title"], panel["fieldConfig"]["defaults"]
    for panel, headings in tables(dashboard):
        for heading in headings.values():
            yield heading, properties_of(panel, heading)


def test_a_colour_is_a_judgement() -> None:
    """Good or bad is what the value says: a share of failures that is 0 is not red, a yield of 44 % is not green."""
    seen: set[str] = set()
    for dashboard in DASHBOARDS.values():
        for name, config in judged(dashboard):
            if name in GOOD | WORSE:
                seen.add(name)
                assert config["color"]["mode"] == "thresholds", name
                thresholds = config["thresholds"]
                at_worst, at_best = (0.44, 1.0) if name in GOOD else (5.0, 0.0)
                assert colour_at(thresholds, at_worst) in {"yellow", "orange", "red"}, name
                assert colour_at(thresholds, at_best) in {"green", "text"}, name
            elif "color" in config:
                assert config["color"] == {"mode": "fixed", "fixedColor": "blue"}, f"{name} looks judged"
    assert seen == GOOD | WORSE


def drawn(legends: list[str]) -> list[str]:
    """What series are called."""
    values = {
        f"{{{{{names.label(names.VISIT)}}}}}": [names.VISIT_FIRST, names.VISIT_REPEAT],
        f"{{{{{names.label(names.REVISION)}}}}}": [*names.REVISIONS[1:]],
    }
    return [name for legend in legends for name in values.get(legend, [legend])]


@every_dashboard
def test_series_have_the_colours_of_what_they_are(dashboard: Json) -> None:
    """Errors are shades of red; a stage has one colour and one name in all panels; and the highest stands first."""
    names_of: dict[frozenset[str], set[str]] = {}
    for panel in panels(dashboard):
        config = panel["fieldConfig"]["defaults"]
        legends = [target.get("legendFormat", "") for target in panel["targets"]]
        labels = frozenset(re.findall(r"\{\{(\w+)\}\}", " ".join(legends)))
        if panel["type"] == "bargauge":
            assert panel["options"]["showUnfilled"] is False, "an empty one would be a grey block"
        if panel["type"] != "timeseries":
            continue
        if ERROR in labels:
            assert config["color"] == {"mode": "shades", "fixedColor": "red"}, panel["title"]
        if labels & {STAGE, WORKFLOW, PLATFORM}:
            names_of.setdefault(labels, set()).update(set(legends) - {"others"})
            assert JOB in labels or labels == {PLATFORM}, panel["title"]
            assert config["color"]["mode"] == "palette-classic-by-name", panel["title"]
            legend = panel["options"]["legend"]
            assert (legend["displayMode"], legend["placement"], legend["sortDesc"]) == ("table", "bottom", True)
            assert {"sum": "Total", "lastNotNull": "Last *"}[legend["calcs"][0]] == legend["sortBy"], panel["title"]
        elif not labels & {ERROR, RESULT}:
            assert config["color"] == {"mode": "fixed", "fixedColor": "blue"}, f"{panel['title']} looks judged"
            tones = [properties_of(panel, name)["color"]["fixedColor"] for name in drawn(legends)]
            assert len(set(tones)) == len(tones), f"series of {panel['title']} cannot be told apart"
            for name, tone in zip(drawn(legends), tones, strict=True):
                assert tone.endswith("blue") == (name not in {"budget", "p95, last 7 days"}), name
    assert all(len(legends) == 1 for legends in names_of.values()), names_of


SEEN = 21
"""Rows of the grid that a screen of 1080 pixels shows below the browser's and Grafana's own lines."""
QUESTIONS = {
    "otel-progress-overview": ["Most time", "Slower than usual", "Alerts that fire", "Oldest running stage"],
    "otel-progress-bottlenecks": ["Most time", "Over budget", "Time by platform"],
    "otel-progress-quality": ["Time in revisions by stage", "Time by revision"],
}
"""Panels that answer what one asks first."""


def test_what_one_asks_first_is_answered_without_scrolling() -> None:
    for uid, titles in QUESTIONS.items():
        places = {panel["title"]: panel["gridPos"] for panel in panels(DASHBOARDS[uid])}
        for title in titles:
            heading_and_four_rows = 5
            assert places[title]["y"] + min(places[title]["h"], heading_and_four_rows) <= SEEN, title


SMALL, BESIDE = 6.2, 137
"""Pixels of a character of a legend, and what its line has beside the name: the colour, the value and what is free."""


@every_dashboard
def test_a_name_of_sixty_characters_is_not_cut(dashboard: Json) -> None:
    """In a legend a longer one pushes the value out of the panel; beside a bar names have a third of the width."""
    for panel in panels(dashboard):
        longest = max((target.get("legendFormat", "").count("{{") for target in panel["targets"]), default=0)
        if longest < 3:
            continue
        if panel["type"] == "timeseries":
            assert inside(panel) + PADDING >= 60 * SMALL + BESIDE, panel["title"]
        if panel["type"] == "bargauge":
            assert panel["options"]["namePlacement"] == "top", panel["title"]


def test_the_limits_are_drawn() -> None:
    (past,) = [each for each in panels(DASHBOARDS["otel-progress-bottlenecks"]) if "against the week" in each["title"]]
    config = past["fieldConfig"]["defaults"]
    assert config["custom"]["thresholdsStyle"] == {"mode": "dashed"}
    assert [(step["value"], step["color"]) for step in config["thresholds"]["steps"]] == [
        (None, "transparent"),
        (1, "green"),
        (1.5, "red"),
    ]
    (durations,) = [each for each in panels(DASHBOARDS[STAGE_DETAIL]) if each["title"] == "p50 and p95"]
    for name in ("budget", "p95, last 7 days"):
        assert name in {target["legendFormat"] for target in durations["targets"]}
        assert properties_of(durations, name)["custom.lineStyle"]["fill"] == "dash"


@every_dashboard
def test_a_matrix_begins_at_0_and_judges_failures(dashboard: Json) -> None:
    for panel in panels(dashboard):
        if any(each["id"] == "groupingToMatrix" for each in panel.get("transformations", [])):
            assert panel["fieldConfig"]["defaults"]["min"] == 0
            assert panel["fieldConfig"]["defaults"]["custom"]["minWidth"] < 150
            assert all("${job:queryparam}&${workflow:queryparam}" in url for url in links_of(panel))
            (cells,) = [
                {one["id"]: one["value"] for one in each["properties"]}
                for each in panel["fieldConfig"]["overrides"]
                if each["matcher"]["id"] == "byType"
            ]
            if panel["title"].startswith("Failed"):
                assert colour_at(cells["thresholds"], 0) == "transparent"
                assert colour_at(cells["thresholds"], 0.5) == "red"
            else:
                assert cells["color"] == {"mode": "fixed", "fixedColor": "blue"}


def test_counts_of_revisions_are_named_as_one_reads_them() -> None:
    (panel,) = [each for each in panels(DASHBOARDS["otel-progress-quality"]) if each["title"] == "Runs by revisions"]
    patterns = {
        each["matcher"]["options"]: each["properties"][0]["value"] for each in panel["fieldConfig"]["overrides"]
    }
    bounds = [*names.COUNT_BUCKETS, float("inf")]
    for written in (lambda bound: f"{bound:g}", str):  # By the format of the scrape.
        labels = ["+Inf" if bound == bounds[-1] else written(bound) for bound in bounds]
        shown = [[name for pattern, name in patterns.items() if re.search(pattern, label)] for label in labels]
        assert shown == [["none"], ["1"], ["2"], ["3"], ["4-5"], ["6-8"], ["9-13"], ["> 13"]]
