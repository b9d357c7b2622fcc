"""Every query of every dashboard, asked of the real Prometheus and Jaeger about real programs.

What is expected is computed from the programs' run files: from spans, which take another way than the metrics that the
dashboards ask for. All queries are asked for one moment, that of a scrape, while a visit of one program was open: there
`increase` has nothing to extrapolate, and the answers stay the same however long the questions take.
"""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.parse
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from otel_progress import names
from otel_progress.stack.run import Stack

from . import otlp
from .panels import EVERYTHING, FILES, Json, Query, fill, load, queries, searches
from .servers import Labels, get, new_stack, samples, total, trace_of, until
from .test_stack import COUNT, SCRAPE, STAGE, WORKFLOW, last_sample, true_quantile

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[1]
RESULT, VISIT = names.label(names.RESULT), names.label(names.VISIT)
ERROR, PLATFORM = names.label(names.ERROR_TYPE), names.label(names.ITEM_PLATFORM)
REASON, REVISION = names.label(names.WAIT_REASON), names.label(names.REVISION)
BY_WORKFLOW = ("job", WORKFLOW)
BY_STAGE = ("job", WORKFLOW, STAGE)
RANGE = 900
INTERVALS = (60, 300)
"""Seconds of a bar: in the longer one everything falls into the last bar."""
CLOCKS = 0.01
"""A span and a metric are timed one after the other, which is a part of a short visit. It is less than one count."""

MIXED = """
    import sys, time
    from opentelemetry import metrics, trace
    from pocketflow import BatchNode, Flow, Node
    from otel_progress import stage, workflow

    class Draft(Node):
        def exec(self, _):
            if self.cur_retry < 2: raise (TimeoutError, ConnectionError)[self.cur_retry]("again")

    class Polish(Node):
        def exec(self, _): raise OSError("away")
        def exec_fallback(self, prep_res, exc): return "as it was"
        def post(self, shared, prep_res, exec_res):
            control = shared["quality_control"]
            if control["revision_count"] < shared["wanted"]:
                control["revision_count"] += 1
                return "revise"

    class Count(BatchNode):
        def prep(self, shared): return [1, 2, 3]

    class Publish(BatchNode):
        def prep(self, shared): return [{"platform": name} for name in shared["task_requirements"]["platforms"]]
        def exec(self, item):
            if item["platform"] == "broken": raise ValueError("refused")
            if item["platform"] == "linkedin" and self.cur_retry == 0: raise ConnectionError("again")
        def post(self, shared, prep_res, exec_res): return "nowhere"

    def flow():
        draft, polish = Draft(max_retries=3, wait=0.1), Polish(max_retries=2, wait=0.05)
        publish = Publish(max_retries=2)
        draft >> polish >> Count() >> publish
        polish - "revise" >> draft
        publish - "somewhere" >> Draft()
        return Flow(start=draft)

    for platforms, wanted in ((["twitter", "linkedin"], 5), (["twitter"], 0), (["linkedin", "broken"], 1)):
        requirements, control = {"platforms": platforms}, {"revision_count": 0}
        shared = {"task_requirements": requirements, "quality_control": control, "wanted": wanted}
        try:
            with workflow("loop", shared=shared): flow().run(shared)
        except ValueError: pass
    with workflow("bad"):
        for error in (KeyError, KeyError, KeyboardInterrupt):
            try:
                with stage("broken") as visit, visit.waiting("approval"):
                    time.sleep(0.02)
                    raise error("gone")
            except (KeyError, KeyboardInterrupt): pass
    with workflow("open"), stage("waits", budget="90s"):
        metrics.get_meter_provider().force_flush()
        trace.get_tracer_provider().force_flush()
        print("open", flush=True)
        sys.stdin.read()
"""


# --- what was recorded ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fact:
    """Something that was recorded once, under the labels that it has in Prometheus."""

    labels: Labels
    value: float = 1
    trace_id: str = ""


@dataclass(frozen=True)
class Facts:
    """What the run files say, up to the moment that the queries are asked for."""

    at: float
    visits: list[Fact]
    """With the seconds that each took; so are the runs and the waits."""
    open: list[Fact]
    """With the moment at which each began."""
    budgets: list[Fact]
    runs: list[Fact]
    open_runs: list[Fact]
    revisions: list[Fact]
    """With the number of each run; so are the platforms."""
    platforms: list[Fact]
    retries: list[Fact]
    waits: list[Fact]
    items: list[Fact]
    """With the seconds that each took."""
    dead_ends: list[Fact]

    def chosen(self, view: View) -> Facts:
        """What the variables of a dashboard select; what has no stage is not filtered by it."""

        def chosen(facts: list[Fact]) -> list[Fact]:
            wanted = {"job": view.job, WORKFLOW: view.workflow, STAGE: view.stage, PLATFORM: f"{view.platform}|"}
            return [
                fact
                for fact in facts
                if all(re.fullmatch(regex, fact.labels[name]) for name, regex in wanted.items() if name in fact.labels)
            ]

        lists = {name: chosen(value) for name, value in vars(self).items() if name != "at"}
        return replace(self, **lists)


@dataclass(frozen=True)
class View:
    """Values of a dashboard's variables."""

    job: str = ".+"
    workflow: str = ".+"
    stage: str = ".+"
    platform: str = ".+"


VIEWS = {
    "everything": View(),
    "the example": View("studio"),
    "the mixed one": View("mixed"),
    "a stage with retries": View("mixed", "loop", "Draft"),
    "a stage with a budget": View("studio", "pr_campaign", "content_generation"),
    "two stages": View("mixed", "loop|open", "Publish|waits"),
    "a platform": View("mixed", platform="linkedin"),
}


def attributes_of(span: Json) -> dict[str, Any]:
    """The attributes of a span in OTLP JSON."""
    found: dict[str, Any] = {}
    for each in span.get("attributes", ()):
        (value,) = each["value"].values()
        found[each["key"]] = [next(iter(one.values())) for one in value["values"]] if isinstance(value, dict) else value
    return found


Spans = list[tuple[str, Json]]
"""Each with the service of its program."""


def facts_of(spans: Spans, at: float) -> Facts:
    """What the spans of all services say."""
    retries, dead_ends = retries_in(spans), dead_ends_in(spans)
    facts = Facts(at, [], [], [], [], [], [], [], retries, [], [], dead_ends)
    stages: dict[str, list[dict[str, Any]]] = {}
    waits = [span for _, span in spans if span["name"] == names.SPAN_WAIT]
    for job, span in spans:
        own, kind = attributes_of(span), span["name"].partition(" ")[0]
        start, end = int(span["startTimeUnixNano"]) / 1e9, int(span["endTimeUnixNano"]) / 1e9
        labels = labels_of(job, own)
        if kind == "stage":
            stages.setdefault(own[names.RUN_ID], []).append(own)
            if names.STAGE_BUDGET in own:
                facts.budgets.append(Fact(labels, own[names.STAGE_BUDGET]))
            said = [s for s in waits if s["parentSpanId"] == span["spanId"]]
            between = own.get(names.STAGE_WAIT, 0.0) - sum(seconds_of(each) for each in said)
            if between > 1e-6:
                facts.waits.append(Fact({**labels, REASON: names.WAIT_RETRY}, between))
            if end > at:
                facts.open.append(Fact(labels, start))
                continue
            result = own[names.STAGE_RESULT]
            error = own[names.ERROR_TYPE] if result == "failure" else ""
            visit = "first" if int(own[names.STAGE_VISIT]) == 1 else "repeat"
            counted = int(own[names.STAGE_REVISION]) if names.STAGE_REVISION in own else None
            revision = "none" if counted is None else str(counted) if counted < 4 else "4+"
            labels |= {RESULT: result, VISIT: visit, ERROR: error, REVISION: revision}
            facts.visits.append(Fact(labels, end - start))
        elif kind == "run" and end > at:
            facts.open_runs.append(Fact(labels))
        elif kind == "run":
            facts.runs.append(Fact({**labels, RESULT: own[names.RESULT]}, end - start, span["traceId"]))
            # Its span comes after those of its stages. Where no platform is named, there are 0.
            own_stages = stages[own[names.RUN_ID]]
            revisions = [int(each[names.STAGE_REVISION]) for each in own_stages if names.STAGE_REVISION in each]
            facts.revisions.extend([Fact(labels, max(revisions))] if revisions else [])
            platforms = {name for each in own_stages for name in each.get(names.STAGE_PLATFORMS, ())}
            facts.platforms.append(Fact(labels, len(platforms)))
        elif kind == "wait":
            facts.waits.append(Fact({**labels, REASON: own[names.WAIT_REASON]}, end - start))
        elif kind == "item":
            result = "failure" if names.ERROR_TYPE in own else "success"
            platform = own.get(names.ITEM_PLATFORM, "")
            facts.items.append(Fact({**labels, RESULT: result, PLATFORM: platform}, end - start))
    return facts


def seconds_of(span: Json) -> float:
    """How long a span took."""
    return (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e9


def labels_of(job: str, attributes: dict[str, Any]) -> Labels:
    """What tells a workflow, and a stage, from others."""
    named = (names.WORKFLOW_NAME, names.STAGE_NAME)
    return {"job": job, **{names.label(name): attributes[name] for name in named if name in attributes}}


def retries_in(spans: Spans) -> list[Fact]:
    """A failed attempt has a span, and was followed by another unless it was the last of what failed in the end."""
    found: list[Fact] = []
    for _, parent in spans:
        own = attributes_of(parent)
        failed = [
            Fact({**labels_of(job, attributes_of(span)), ERROR: attributes_of(span)[names.ERROR_TYPE]})
            for job, span in spans
            if span["name"].startswith("attempt ") and span["parentSpanId"] == parent["spanId"]
        ]
        mended = own.get(names.STAGE_RESULT, "success") == "success" and names.ERROR_TYPE not in own
        found += failed if mended else failed[:-1]
    return found


def dead_ends_in(spans: Spans) -> list[Fact]:
    """The event is on the span of the flow, and names the stage."""
    return [
        Fact({**labels_of(job, attributes_of(span)), STAGE: attributes_of(event)[names.STAGE_NAME]})
        for job, span in spans
        for event in span.get("events", ())
        if event["name"] == names.EVENT_DEAD_END
    ]


def spans_in(folder: Path, program: str) -> list[Json]:
    """The spans of all records of a program."""
    return [
        span
        for path in (folder / ".otel-progress" / "runs").glob(f"*-{program}-*/spans.jsonl")
        for line in path.read_text("utf-8").splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def visits_in(spans: Iterable[Json]) -> int:
    """How many visits have ended."""
    return sum(span["name"].startswith("stage ") for span in spans)


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


# --- what is expected -------------------------------------------------------------------------------------------------

Answer = dict[frozenset[tuple[str, str]], float]
"""Values by labels."""
Select = Callable[[Facts], list[Fact]]
Expectation = Callable[[Facts], Answer]


def key(labels: Labels) -> frozenset[tuple[str, str]]:
    """Labels as Prometheus has them: an empty one is none. The bound of a bucket may be written `1` or `1.0`."""
    return frozenset(
        (name, str(float(value)) if name == "le" else value)
        for name, value in labels.items()
        if value and name != "__name__"
    )


def grouped(facts: Iterable[Fact], by: tuple[str, ...]) -> dict[frozenset[tuple[str, str]], list[float]]:
    """The values of the facts of each group."""
    groups: dict[frozenset[tuple[str, str]], list[float]] = {}
    for fact in facts:
        groups.setdefault(key({name: fact.labels[name] for name in by}), []).append(fact.value)
    return groups


def each(measure: Callable[[list[float]], float], select: Select, *by: str) -> Expectation:
    """A measure of each group of what is selected."""
    return lambda facts: {group: measure(values) for group, values in grouped(select(facts), by).items()}


def count(select: Select, *by: str) -> Expectation:
    return each(len, select, *by)


def amount(select: Select, *by: str) -> Expectation:
    return each(sum, select, *by)


def mean(select: Select, *by: str) -> Expectation:
    return each(lambda values: sum(values) / len(values), select, *by)


def quantile(q: float, select: Select, *by: str) -> Expectation:
    return each(lambda values: true_quantile(values, q), select, *by)


def within(part: Expectation, whole: Expectation) -> Expectation:
    """The part of each group of the whole, 0 where it has none."""
    return lambda facts: {group: part(facts).get(group, 0) for group in whole(facts)}


def share(part: Expectation, whole: Expectation) -> Expectation:
    """The same as a share of the whole."""
    return lambda facts: {group: part(facts).get(group, 0) / value for group, value in whole(facts).items()}


def every(name: str) -> Select:
    """All facts of a kind."""
    return lambda facts: getattr(facts, name)


def only(select: Select, label: str, *values: str) -> Select:
    """Those with one of these values."""
    return lambda facts: [fact for fact in select(facts) if fact.labels[label] in values]


def below(bounds: Iterable[float], select: Select) -> Expectation:
    """The buckets of a histogram: how many are not above each bound."""

    def buckets(facts: Facts) -> Answer:
        values = [fact.value for fact in select(facts)]
        if not values:
            return {}
        return {key({"le": str(bound)}): sum(value <= bound for value in values) for bound in (*bounds, float("inf"))}

    return buckets


def highest_bound(values: list[float]) -> float:
    """The bound of the bucket of the highest number of revisions."""
    return next((bound for bound in names.COUNT_BUCKETS if bound >= max(values)), names.COUNT_BUCKETS[-1])


def no_past(facts: Facts) -> Answer:
    """Nothing: the past, seven days that ended an hour ago, is empty here; the rules have tests of their own."""
    return {}


def with_platform(facts: Facts) -> list[Fact]:
    """The items that name a platform."""
    return [fact for fact in facts.items if fact.labels[PLATFORM]]


def stage_of(group: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """The stage of a group by platform and stage."""
    return frozenset((name, value) for name, value in group if name != PLATFORM)


def unrevised(facts: Facts) -> list[Fact]:
    """The revisions of the runs that had none."""
    return [fact for fact in facts.revisions if fact.value == 0]


def most_time(most: int) -> Expectation:
    """The stages with the most time."""
    by_stage = amount(VISITS, *BY_STAGE)
    return lambda facts: dict(sorted(by_stage(facts).items(), key=lambda item: -item[1])[:most])


def other_time(most: int) -> Expectation:
    """The time of all others."""
    by_stage, biggest = amount(VISITS, *BY_STAGE), most_time(most)

    def others(facts: Facts) -> Answer:
        rest = [value for group, value in by_stage(facts).items() if group not in biggest(facts)]
        return {frozenset(): sum(rest)} if rest else {}

    return others


def alerts(facts: Facts) -> Answer:
    """The alert that fires without a delay: each stage at which a flow came to a dead end."""
    dead_ends = count(DEAD_ENDS, *BY_STAGE)(facts)
    return {group | {("alertname", "DeadEnds"), ("severity", "warning")}: 1 for group in dead_ends}


def completed_within_budget(facts: Facts) -> Answer:
    """The budgets of the stages that completed visits in the hour."""
    completed = count(only(VISITS, RESULT, "success", "fallback"), *BY_STAGE)(facts)
    return {group: budget for group, budget in each(max, BUDGETS, *BY_STAGE)(facts).items() if group in completed}


def over_budget(facts: Facts) -> Answer:
    """How many of these visits took longer: none, as every budget here is minutes."""
    assert all(visit.value < budget.value for visit in facts.visits for budget in facts.budgets)
    return dict.fromkeys(completed_within_budget(facts), 0)


def budgets_of_open(facts: Facts) -> Answer:
    """The budgets of the stages that are going on."""
    going_on = grouped(facts.open, BY_STAGE)
    return {group: values[0] for group, values in grouped(facts.budgets, BY_STAGE).items() if group in going_on}


def age(*by: str) -> Expectation:
    """How long ago the oldest open visit began."""
    return lambda facts: each(lambda starts: facts.at - min(starts), OPEN, *by)(facts)


def at_least(*by: str) -> Expectation:
    """For how long it went on for sure: programs report every 60 seconds and are asked every 5."""
    return lambda facts: {group: max(0, value - 65) for group, value in age(*by)(facts).items()}


def budget_of_one(facts: Facts) -> Answer:
    """The budget, where there is only one stage."""
    stages = grouped([*facts.visits, *facts.budgets], BY_STAGE)
    return each(max, BUDGETS)(facts) if len(stages) < 2 else {}


def of_budget(facts: Facts) -> Answer:
    """How much of its budget the oldest open visit of each stage has taken."""
    ages = at_least(*BY_STAGE)(facts)
    return {group: ages[group] / budget for group, budget in budgets_of_open(facts).items()}


def oldest(facts: Facts) -> Answer:
    """The oldest of all."""
    ages = age(*BY_STAGE)(facts)
    return {group: max(0, value - 65) for group, value in ages.items() if value == max(ages.values())}


VISITS, RUNS, REVISIONS, RETRIES, WAITS, DEAD_ENDS, OPEN, BUDGETS, PLATFORMS = map(
    every, ("visits", "runs", "revisions", "retries", "waits", "dead_ends", "open", "budgets", "platforms")
)
BETWEEN = only(WAITS, REASON, names.WAIT_RETRY)
NOT_COMPLETED = ("failure", "cancelled", "abandoned")
FIRST, REPEATS = only(VISITS, VISIT, "first"), only(VISITS, VISIT, "repeat")
REVISED = only(REPEATS, REVISION, "1", "2", "3", "4+")
CLEAN, FALLBACKS = only(FIRST, RESULT, "success"), only(VISITS, RESULT, "fallback")
LOST, FAILED = only(VISITS, RESULT, *NOT_COMPLETED), only(VISITS, RESULT, "failure")
FAILED_RUNS, GOOD_RUNS = only(RUNS, RESULT, *NOT_COMPLETED), only(RUNS, RESULT, "success")
ALL_ERRORS = count(lambda facts: [*FAILED(facts), *RETRIES(facts)], *BY_STAGE, ERROR)


def rows(uid: str, panels: dict[str, Expectation | list[Expectation]]) -> dict[tuple[str, str, str], Expectation]:
    """The rows of a dashboard: for each panel what is expected of its only query, or of its queries A, B, C."""
    return {
        (f"otel-progress-{uid}", title, ref): expectation
        for title, expected in panels.items()
        for ref, expectation in zip("ABCDEFGH", expected if isinstance(expected, list) else [expected], strict=False)
    }


EXPECTED: dict[tuple[str, str, str], Expectation] = {
    **rows(
        "overview",
        {
            "Running now": lambda facts: {frozenset(): len(facts.open_runs)},
            "Finished": count(RUNS),
            "Failed": within(count(FAILED_RUNS), count(RUNS)),
            "Alerts": lambda facts: {frozenset(): len(alerts(facts))} if alerts(facts) else {},
            "Most time": most_time(5),
            "Alerts that fire": alerts,
            "Slower than usual": [no_past, no_past, no_past, no_past],
            "Success ratio": share(count(GOOD_RUNS), count(RUNS)),
            "Oldest running stage": oldest,
            "Running stages": [
                age(*BY_STAGE),
                at_least(*BY_STAGE),
                count(OPEN, *BY_STAGE),
                budgets_of_open,
                of_budget,
                no_past,
                no_past,
            ],
            "Runs by result": count(RUNS, RESULT),
            "Run duration, p95": quantile(0.95, RUNS, *BY_WORKFLOW),
            "Workflows": [
                count(RUNS, *BY_WORKFLOW),
                within(count(FAILED_RUNS, *BY_WORKFLOW), count(RUNS, *BY_WORKFLOW)),
                share(count(GOOD_RUNS, *BY_WORKFLOW), count(RUNS, *BY_WORKFLOW)),
                quantile(0.5, RUNS, *BY_WORKFLOW),
                quantile(0.95, RUNS, *BY_WORKFLOW),
                amount(RUNS, *BY_WORKFLOW),
                mean(REVISIONS, *BY_WORKFLOW),
            ],
            "Platforms processed": amount(
                lambda facts: [each for each in PLATFORMS(facts) if each.value], *BY_WORKFLOW
            ),
            "Items by platform": count(with_platform, PLATFORM),
            "Revisions per run": mean(REVISIONS, *BY_WORKFLOW),
        },
    ),
    **rows(
        "bottlenecks",
        {
            "Share of time by stage": [most_time(8), other_time(8)],
            "Most time": most_time(8),
            "Stages": [
                amount(VISITS, *BY_STAGE),
                lambda facts: {
                    group: value / sum(amount(VISITS)(facts).values())
                    for group, value in amount(VISITS, *BY_STAGE)(facts).items()
                },
                count(VISITS, *BY_STAGE),
                quantile(0.5, VISITS, *BY_STAGE),
                quantile(0.95, VISITS, *BY_STAGE),
                quantile(1, VISITS, *BY_STAGE),
            ],
            "Slower than usual": [no_past, no_past, no_past, no_past],
            "p95 of the hour against the week": no_past,
            "Over budget": [over_budget, completed_within_budget],
            "Waiting by reason": amount(WAITS, *BY_STAGE, REASON),
            "Retries": count(RETRIES, *BY_STAGE),
            "Cost of retries": [
                within(amount(BETWEEN, *BY_STAGE), count(RETRIES, *BY_STAGE)),
                lambda facts: {
                    group: amount(BETWEEN, *BY_STAGE)(facts).get(group, 0) / amount(VISITS, *BY_STAGE)(facts)[group]
                    for group in count(RETRIES, *BY_STAGE)(facts)
                },
                count(RETRIES, *BY_STAGE),
            ],
            "Share of time in repeats": share(amount(REPEATS, *BY_WORKFLOW), amount(VISITS, *BY_WORKFLOW)),
            "Repeats by stage": [
                within(amount(REPEATS, *BY_STAGE), count(VISITS, *BY_STAGE)),
                share(amount(REPEATS, *BY_STAGE), amount(VISITS, *BY_STAGE)),
                within(count(REPEATS, *BY_STAGE), count(VISITS, *BY_STAGE)),
                share(count(REPEATS, *BY_STAGE), count(VISITS, *BY_STAGE)),
            ],
            "Time by platform": [
                amount(with_platform, PLATFORM, *BY_STAGE),
                lambda facts: {
                    group: value / amount(with_platform, *BY_STAGE)(facts)[stage_of(group)]
                    for group, value in amount(with_platform, PLATFORM, *BY_STAGE)(facts).items()
                },
                count(with_platform, PLATFORM, *BY_STAGE),
                quantile(0.5, with_platform, PLATFORM, *BY_STAGE),
                quantile(0.95, with_platform, PLATFORM, *BY_STAGE),
            ],
            "Items by platform and stage": count(with_platform, PLATFORM, STAGE),
            "Failed items by platform and stage": share(
                count(only(with_platform, RESULT, "failure"), PLATFORM, STAGE), count(with_platform, PLATFORM, STAGE)
            ),
        },
    ),
    **rows(
        "stage",
        {
            "Visits": count(VISITS),
            "Incomplete": share(count(LOST), count(VISITS)),
            "p50": quantile(0.5, VISITS),
            "p95": quantile(0.95, VISITS),
            "Budget": budget_of_one,
            "Repeats": share(count(REPEATS), count(VISITS)),
            "Running now": lambda facts: {frozenset(): len(facts.open)},
            "Running for": at_least(),
            "Distribution of durations": below(names.DURATION_BUCKETS, VISITS),
            "p50 and p95": [
                quantile(0.5, VISITS),
                quantile(0.95, VISITS),
                no_past,
                budget_of_one,
            ],
            "p95 by stage": quantile(0.95, VISITS, *BY_STAGE),
            "p50 of first visits and repeats": quantile(0.5, VISITS, VISIT),
            "p95 by platform": quantile(0.95, with_platform, PLATFORM),
            "Visits by result": count(VISITS, RESULT),
            "Attempts per visit": lambda facts: {
                group: 1 + value for group, value in share(count(RETRIES), count(VISITS))(facts).items()
            },
            "Retries by error": count(RETRIES, ERROR),
            "Failed visits by error": count(FAILED, ERROR),
            "Errors by type": [
                within(count(FAILED, *BY_STAGE, ERROR), ALL_ERRORS),
                within(count(RETRIES, *BY_STAGE, ERROR), ALL_ERRORS),
            ],
        },
    ),
    **rows(
        "quality",
        {
            "First-pass yield": share(count(unrevised), count(REVISIONS)),
            "Revisions per run": mean(REVISIONS),
            "Clean first visits": share(count(CLEAN), count(FIRST)),
            "Time in revisions": share(amount(REVISED), amount(VISITS)),
            "Fallbacks": share(count(FALLBACKS), count(VISITS)),
            "Dead ends": within(count(DEAD_ENDS), count(VISITS)),
            "Time by revision": amount(REVISED, REVISION),
            "Time in revisions by stage": [
                amount(REVISED, *BY_STAGE),
                lambda facts: {
                    group: value / amount(VISITS, *BY_STAGE)(facts)[group]
                    for group, value in amount(REVISED, *BY_STAGE)(facts).items()
                },
                *(amount(only(REPEATS, REVISION, each), *BY_STAGE) for each in ("1", "2", "3", "4+")),
            ],
            "Share of time in revisions": share(amount(REVISED, *BY_WORKFLOW), amount(VISITS, *BY_WORKFLOW)),
            "First-pass yield over time": share(count(unrevised, *BY_WORKFLOW), count(REVISIONS, *BY_WORKFLOW)),
            "Revisions per run over time": mean(REVISIONS, *BY_WORKFLOW),
            "Runs by revisions": below(names.COUNT_BUCKETS, REVISIONS),
            "Revisions by workflow": [
                mean(REVISIONS, *BY_WORKFLOW),
                share(count(unrevised, *BY_WORKFLOW), count(REVISIONS, *BY_WORKFLOW)),
                each(highest_bound, REVISIONS, *BY_WORKFLOW),
                count(REVISIONS, *BY_WORKFLOW),
            ],
            "Visits by result": count(VISITS, RESULT),
            "Fallbacks by stage": count(FALLBACKS, *BY_STAGE),
            "Dead ends by stage": count(DEAD_ENDS, *BY_STAGE),
            "Quality by stage": [
                share(count(CLEAN, *BY_STAGE), count(FIRST, *BY_STAGE)),
                count(VISITS, *BY_STAGE),
                within(count(FALLBACKS, *BY_STAGE), count(VISITS, *BY_STAGE)),
                within(count(LOST, *BY_STAGE), count(VISITS, *BY_STAGE)),
                within(count(REPEATS, *BY_STAGE), count(VISITS, *BY_STAGE)),
                within(count(DEAD_ENDS, *BY_STAGE), count(VISITS, *BY_STAGE)),
            ],
        },
    ),
    **rows(
        "run",
        {
            "Run duration": [quantile(0.5, RUNS), quantile(0.95, RUNS)],
            "Usual time of each stage": quantile(0.5, VISITS, *BY_STAGE),
        },
    ),
}
CHOICES = {
    "job": ("job", View()),
    "workflow": (WORKFLOW, View(job="mixed")),
    "stage": (STAGE, View(job="mixed", workflow="loop|open")),
    "platform": (PLATFORM, View(job="mixed", stage="Publish")),
    "run_job": ("job", View(workflow="loop")),
    "run_workflow": (WORKFLOW, View(workflow="loop|open")),
}
"""For each variable its label, and what has to be chosen before it."""


# --- and what comes ---------------------------------------------------------------------------------------------------


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
            until(lambda search=search: found(search), lambda ids, title=title: ids == expected[title])
        else:
            assert title == "Trace"
            assert trace_of(recorded.stack, fill(search["query"], {"traceId": fastest.trace_id}))
