"""What real programs recorded, as their run files say it: the truth that dashboards are held against."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from otel_progress import names

from .panels import Json
from .servers import Labels
from .test_stack import STAGE, WORKFLOW

RESULT, VISIT = names.label(names.RESULT), names.label(names.VISIT)
ERROR, PLATFORM = names.label(names.ERROR_TYPE), names.label(names.ITEM_PLATFORM)
REASON, REVISION = names.label(names.WAIT_REASON), names.label(names.REVISION)
BY_WORKFLOW = ("job", WORKFLOW)
BY_STAGE = ("job", WORKFLOW, STAGE)


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
