"""Every query of every dashboard, asked of the real Prometheus and Jaeger about real programs.

What is expected is computed from the programs' run files: from spans, which take another way than the metrics that the
dashboards ask for. All queries are asked for one moment, that of a scrape, while a visit of one program was open: there
`increase` has nothing to extrapolate, and the answers stay the same however long the questions take.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.parse
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from otel_progress import names
from otel_progress.stack.run import Stack

from . import otlp
from .dashboard_answers import CHOICES, EXPECTED, RUNS, Expectation, count, key, no_past, with_platform
from .dashboard_facts import MIXED, RESULT, VIEWS, Facts, View, facts_of, spans_in, visits_in
from .panels import EVERYTHING, FILES, ROOT, Json, Query, fill, load, queries, searches
from .servers import get, new_stack, samples, total, trace_of, until
from .test_stack import COUNT, SCRAPE, last_sample

pytestmark = pytest.mark.stack

RANGE = 900
INTERVALS = (60, 300)
"""Seconds of a bar: in the longer one everything falls into the last bar."""
CLOCKS = 0.01
"""A span and a metric are timed one after the other, which is a part of a short visit. It is less than one count."""


@dataclass(frozen=True)
class Recorded:
    """The servers, and what they were told."""

    stack: Stack
    facts: Facts


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Generator[Recorded]:
    """The servers, when real programs have reported to them."""
    folder = tmp_path_factory.mktemp("programs")
    with new_stack(tmp_path_factory.mktemp("stack")) as stack:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.url("otlp_http"), names.OTEL_PROGRESS_DETAIL: "items"}
        otlp.write(folder, MIXED, "mixed.py")
        shutil.copytree(ROOT / "examples", folder / "examples")
        begun = time.time()
        run = ["-m", "otel_progress", "run", "--service-name"]
        program = otlp.start(folder, [*run, "mixed", "mixed.py"], **variables)
        try:
            for _ in range(3):
                done = otlp.run(folder, [*run, "studio", "examples/pr_campaign.py"], **variables)
                assert done.returncode == 0, done.stderr
            assert program.stdout is not None
            assert program.stdout.readline() == "open\n"
            at = all_is_there(stack, visits_in(spans_in(folder, "pr_campaign")), visits_in(spans_in(folder, "mixed")))
        finally:
            done = otlp.ended(program, "")
        assert done.returncode == 0, done.stderr
        assert at - begun < INTERVALS[-1]
        services = {"studio": "pr_campaign", "mixed": "mixed"}
        spans = [(job, span) for job, name in services.items() for span in spans_in(folder, name)]
        yield Recorded(stack, facts_of(spans, at))


def all_is_there(stack: Stack, studio: int, mixed: int) -> float:
    """Wait for it, and for the rules that are recorded of it; gives the moment of a scrape after that."""
    for job, visits in (("studio", studio), ("mixed", mixed)):
        until(lambda job=job: total(stack, f'{COUNT}{{job="{job}"}}'), lambda value, visits=visits: value == visits)
    budget = f"stage:{names.STAGE_BUDGET_METRIC.prometheus}:max1d"
    for rule, job in (
        (budget, "mixed"),
        (budget, "studio"),
        (f"stage:{names.STAGE_ACTIVE.prometheus}:sum", "mixed"),
        (f"stage:{names.STAGE_ACTIVE.prometheus}:sum", "studio"),
        (f"stage:{names.STAGE_OLDEST_START.prometheus}:min", "mixed"),
        ('ALERTS{alertstate="firing"', "mixed"),
        (f"stage:{names.STAGE_DURATION.prometheus}:over_budget_1h", "studio"),
        (f"workflow:{names.RUN_ACTIVE.prometheus}:sum", "mixed"),
        (f"workflow:{names.RUN_ACTIVE.prometheus}:sum", "studio"),
    ):
        selector = f'{rule}, job="{job}"}}' if "{" in rule else f'{rule}{{job="{job}"}}'
        until(lambda selector=selector: samples(stack, selector))
    now = time.time()
    return until(lambda: last_sample(stack, COUNT), lambda at: at > now)


def values(view: View, interval: int = INTERVALS[-1]) -> dict[str, str]:
    """Values of the variables, with those that Grafana sets."""
    return {
        **EVERYTHING,
        **vars(view),
        "__range": f"{RANGE}s",
        "__interval": f"{interval}s",
        "__interval_ms": str(interval * 1000),
        "__rate_interval": f"{interval + SCRAPE:g}s",
    }


def over_time(stack: Stack, query: str, at: float, interval: int) -> dict[frozenset[tuple[str, str]], list[float]]:
    """The series that Prometheus draws up to `at`, which is the end of the last bar."""
    answer = get(
        f"{stack.url('prometheus')}/api/v1/query_range", query=query, start=at - RANGE, end=at, step=f"{interval}s"
    )
    return {
        key(series["metric"]): [float(value) for _, value in series["values"]] for series in answer["data"]["result"]
    }


def dashboards() -> Iterable[Any]:
    """The dashboards, each with its name as the test's."""
    return [pytest.param(load(path), id=path.stem) for path in FILES]


def of_panels(dashboard: Json, chosen: dict[str, str]) -> list[Query]:
    """The queries of its panels."""
    return [query for query in queries(dashboard, chosen) if query.kind != "variable"]


def expectation(query: Query) -> Expectation:
    """What the table says of a query."""
    return EXPECTED[query.dashboard, query.owner, query.ref]


def is_bars(query: Query) -> bool:
    """Whether it shows amounts of an interval."""
    return "$__interval_ms / 1000" in query.expr


def test_the_table_has_every_query_and_no_other() -> None:
    asked = [query for path in FILES for query in of_panels(load(path), values(View()))]
    assert sorted(EXPECTED) == sorted((query.dashboard, query.owner, query.ref) for query in asked)


def test_the_programs_did_of_everything_something(recorded: Recorded) -> None:
    """Else many an answer above would be empty, and right by that."""
    assert [name for name, facts in vars(recorded.facts).items() if not facts] == []
    assert {fact.labels[RESULT] for fact in recorded.facts.visits} == {"success", "fallback", "failure", "cancelled"}
    assert count(RUNS, "job", RESULT)(recorded.facts) == {
        key({"job": "studio", RESULT: "success"}): 3,
        key({"job": "mixed", RESULT: "success"}): 3,
        key({"job": "mixed", RESULT: "failure"}): 1,
    }
    empty = [
        row
        for row, expected in EXPECTED.items()
        if not any(expected(recorded.facts.chosen(view)) for view in VIEWS.values()) and expected is not no_past
    ]
    assert empty == []


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("dashboard", dashboards())
def test_every_query_gives_what_was_recorded(recorded: Recorded, dashboard: Json, view: View) -> None:
    at, facts = recorded.facts.at, recorded.facts.chosen(view)
    wrong: list[str] = []
    for query in of_panels(dashboard, values(view)):
        if query.kind == "instant":
            found = samples(recorded.stack, query.filled, at)
            answer = {key(labels): value for labels, value in found}
            if query.expr.startswith("sort_desc"):
                assert [value for _, value in found] == sorted((value for _, value in found), reverse=True), query
        else:
            series = over_time(recorded.stack, query.filled, at, INTERVALS[-1])
            answer = {labels: points[-1] for labels, points in series.items()}
        expected = expectation(query)(facts)
        if query.kind == "range" and is_bars(query):  # The first bar of a new series has no scrape before it.
            lower = INTERVALS[-1] / (INTERVALS[-1] + SCRAPE)
            expected = {group: value * lower for group, value in expected.items()}
            if query.expr.startswith("round"):
                expected = {group: round(value) for group, value in expected.items()}
        if answer != pytest.approx(expected, rel=CLOCKS, abs=1e-5):
            wrong.append(f"{query}: {answer}, not {expected}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("interval", INTERVALS)
def test_bars_add_up_to_what_was_recorded(recorded: Recorded, interval: int) -> None:
    """Nothing falls between two bars or is in both."""
    wrong: list[str] = []
    bars = [query for path in FILES for query in of_panels(load(path), values(View(), interval)) if is_bars(query)]
    for query in bars:
        series = over_time(recorded.stack, query.filled, recorded.facts.at, interval)
        expected = expectation(query)(recorded.facts)
        assert series.keys() == expected.keys(), query
        for group, points in series.items():
            rounding = 0.5 * sum(point > 0 for point in points) if query.expr.startswith("round") else 1e-5
            lowest = expected[group] * interval / (interval + SCRAPE) * (1 - CLOCKS) - rounding
            if not lowest <= sum(points) <= expected[group] * (1 + CLOCKS) + rounding:
                wrong.append(f"{query}, {dict(group)}: {points}, not {expected[group]}")
    assert bars
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dashboard", dashboards())
def test_variables_offer_what_was_recorded(recorded: Recorded, dashboard: Json) -> None:
    asked: list[str] = []
    for name, (label, before) in CHOICES.items():
        if name == "platform" and "$platform" not in json.dumps(dashboard):
            continue
        (query,) = [
            each for each in queries(dashboard, values(before)) if each.kind == "variable" and each.owner == name
        ]
        asked.append(str(query))
        assert query.label == label
        offered = get(
            f"{recorded.stack.url('prometheus')}/api/v1/label/{query.label}/values",
            **{"match[]": query.filled, "start": recorded.facts.at - RANGE, "end": recorded.facts.at},
        )["data"]
        facts = recorded.facts.chosen(before)
        seen = with_platform(facts) if name == "platform" else (*facts.visits, *facts.open)
        assert set(offered) == {fact.labels[label] for fact in seen}, query
    assert asked == [str(query) for query in queries(dashboard) if query.kind == "variable"]


@pytest.mark.parametrize("service, workflow", [("studio", "pr_campaign"), ("mixed", "loop")])
def test_the_run_dashboard_finds_the_runs_in_jaeger(recorded: Recorded, service: str, workflow: str) -> None:
    (dashboard,) = [load(path) for path in FILES if path.stem == "otel-progress-run"]
    runs = recorded.facts.chosen(View(service, workflow)).runs
    assert len(runs) == 3
    fastest = min(runs, key=lambda run: run.value)
    slower = {run.trace_id for run in runs if run is not fastest}
    chosen = {"job": service, "workflow": workflow, "slower": f"{fastest.value * 1e6 + 1:.0f}us"}
    failed = {run.trace_id for run in runs if run.labels[RESULT] == "failure"}
    assert bool(failed) == (workflow == "loop")
    expected = {"Recent runs": {run.trace_id for run in runs}, "Slowest runs": slower, "Failed runs": failed}

    def of_result(search: Json, runs_of_list: set[str]) -> set[str]:
        """Those of the runs of a list that a search by result finds."""
        if "tags" not in search:
            return runs_of_list
        result = search["tags"].removeprefix(f"{names.RESULT}=")
        return {run.trace_id for run in runs if run.labels[RESULT] == result} & runs_of_list

    def found(search: Json) -> set[str]:
        asked = {name: fill(str(search[name]), chosen) for name in ("service", "operation", "limit")}
        if "minDuration" in search:
            asked["minDuration"] = fill(search["minDuration"], chosen)
        if "tags" in search:  # The data source makes JSON of them.
            asked["tags"] = json.dumps(dict(tag.split("=") for tag in search["tags"].split()))
        answer = get(f"{recorded.stack.url('jaeger')}/api/traces?{urllib.parse.urlencode(asked)}")
        return {trace["traceID"] for trace in answer["data"]}

    for title, search in searches(dashboard):
        if search.get("queryType") == "search":
            wanted = of_result(search, expected[title])
            until(lambda search=search: found(search), lambda ids, wanted=wanted: ids == wanted)
        else:
            assert title == "Trace"
            assert trace_of(recorded.stack, fill(search["query"], {"traceId": fastest.trace_id}))
