"""The real Jaeger, Prometheus and collector, as users start them, and real programs that export to them."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from otel_progress import names
from otel_progress.runs import read
from otel_progress.stack.run import Stack

from . import otlp
from .servers import get, new_stack, samples, total, trace_of, until

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
WORKFLOW, STAGE = names.label(names.WORKFLOW_NAME), names.label(names.STAGE_NAME)
COUNT = f"{names.STAGE_DURATION.prometheus}_count"
SCRAPE = 5.0
"""Seconds between two scrapes of the collector: what has come since the last one is lost when it ends."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """Everything, up."""
    with new_stack(tmp_path_factory.mktemp("stack")) as up:
        yield up


def last_sample(stack: Stack, series: str) -> float:
    """When `series` was last scraped: at just that moment `increase` has nothing to extrapolate."""
    return max(value for _, value in samples(stack, f"timestamp({series})"))


# --- the example, and every metric ------------------------------------------------------------------------------------


def run_example(stack: Stack, folder: Path, service: str) -> list[dict[str, Any]]:
    """Run the example as the README does; gives the spans of its run file."""
    shutil.copytree(ROOT / "examples", folder / "examples", dirs_exist_ok=True)
    command = ["-m", "otel_progress", "run", "--service-name", service, "examples/pr_campaign.py"]
    done = otlp.run(folder, command, OTEL_EXPORTER_OTLP_ENDPOINT=stack.url("otlp_http"))
    assert done.returncode == 0, done.stderr
    newest = max((folder / ".otel-progress" / "runs").glob("*/spans.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return [
        span
        for line in newest.read_text("utf-8").splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def plain(value: dict[str, Any]) -> str:
    """An attribute's value in OTLP JSON as Jaeger writes it."""
    if "arrayValue" in value:
        return json.dumps([plain(each) for each in value["arrayValue"]["values"]], separators=(",", ":"))
    return re.sub(r"\.0$", "", str(next(iter(value.values()))))


def test_jaeger_has_the_trace_of_the_example_with_all_that_was_recorded(stack: Stack, tmp_path: Path) -> None:
    recorded = {span["spanId"]: span for span in run_example(stack, tmp_path, "jaeger-studio")}
    assert {span["name"].partition(" ")[0] for span in recorded.values()} == {"run", "stage", "attempt"}
    (trace_id,) = {span["traceId"] for span in recorded.values()}
    shown = until(lambda: trace_of(stack, trace_id), lambda spans: len(spans) == len(recorded))
    links = failed = 0
    for span in shown:
        was = recorded[span["spanID"]]
        assert span["operationName"] == was["name"]
        references = {(each["refType"], each["spanID"]) for each in span["references"]}
        expected = {("FOLLOWS_FROM", each["spanId"]) for each in was.get("links", ())}
        links += len(expected)
        assert references == expected | ({("CHILD_OF", was["parentSpanId"])} if was.get("parentSpanId") else set())
        tags = {tag["key"]: str(tag["value"]) for tag in span["tags"]}
        assert {each["key"]: plain(each["value"]) for each in was["attributes"]}.items() <= tags.items()
        is_error = was["status"].get("code") in (2, "STATUS_CODE_ERROR")
        failed += is_error
        assert tags.get("error") == ("True" if is_error else None)
        events = [each["name"] for each in was.get("events", ())]
        assert [field["value"] for log in span["logs"] for field in log["fields"] if field["key"] == "event"] == events
    assert links == 9 + 4  # Each but the first follows one; and two stages, each twice again.
    assert failed == 1


EVERYTHING = """
    import sys
    from pocketflow import BatchNode, Flow, Node
    from otel_progress import PocketFlowInstrumentor, configure, stage, workflow

    telemetry = configure("everything")
    PocketFlowInstrumentor().instrument()

    class Craft(BatchNode):
        def prep(self, shared): return ["twitter", "linkedin"]
        def exec(self, item): return item
        def post(self, shared, prep_res, exec_res): return "nowhere"

    class Check(Node):
        tries = 0
        def exec(self, _):
            Check.tries += 1
            if Check.tries == 1: raise ValueError("again")

    check = Check(max_retries=2, wait=0.01)
    check >> Craft()
    check.successors["default"] - "somewhere" >> Check()
    shared = {"task_requirements": {"platforms": ["twitter", "linkedin"]}, "quality_control": {"revision_count": 2}}
    Flow(start=check).run(shared)
    with workflow("bad"):
        try:
            with stage("broken"): raise KeyError("gone")
        except KeyError: pass
    with workflow("open"), stage("waits", budget="90s") as visit, visit.waiting("approval"):
        telemetry.flush()
        print("open", flush=True)
        sys.stdin.read()
"""


def test_prometheus_has_every_metric_under_the_names_that_the_reference_gives(stack: Stack, tmp_path: Path) -> None:
    program = otlp.start(
        tmp_path, [str(otlp.write(tmp_path, EVERYTHING))], OTEL_EXPORTER_OTLP_ENDPOINT=stack.url("otlp_http")
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        for metric in names.METRICS:
            series = metric.prometheus + ("_count" if metric.kind == "histogram" else "")
            query = f'{{__name__="{series}",job="everything",exemplars=""}}'
            found = until(lambda query=query: samples(stack, query))
            said = {label for labels, _ in found for label in labels} - {"__name__", "job", "instance"}
            assert said == {names.label(attribute) for attribute in metric.attributes}, series
            bounds = {labels["le"] for labels, _ in samples(stack, f'{metric.prometheus}_bucket{{job="everything"}}')}
            expected = {math.inf, *metric.buckets} if metric.buckets else set[float]()
            assert {float(bound) for bound in bounds} == expected, series
        waits = f'{{job="everything",{STAGE}="waits"}}'
        assert total(stack, names.STAGE_ACTIVE.prometheus + waits) == 1
        assert total(stack, names.STAGE_BUDGET_METRIC.prometheus + waits) == 90
        assert abs(total(stack, names.STAGE_OLDEST_START.prometheus + waits) - time.time()) < otlp.TIMEOUT
    finally:
        done = otlp.ended(program, "")
    assert done.returncode == 0, done.stderr
    until(lambda: total(stack, f'{COUNT}{{job="everything",{STAGE}="waits",exemplars=""}}'), lambda value: value == 1)


def exemplars(stack: Stack, service: str) -> set[str]:
    """The traces that the exemplars of a service's stages lead to."""
    now = time.time()
    answer = get(
        f"{stack.url('prometheus')}/api/v1/query_exemplars",
        query=f'{names.STAGE_DURATION.prometheus}_bucket{{job="{service}"}}',
        start=now - 600,
        end=now + 60,
    )
    return {each["labels"]["trace_id"] for series in answer["data"] for each in series["exemplars"]}


def test_exemplars_lead_to_the_newest_trace_too(stack: Stack, tmp_path: Path) -> None:
    for _ in range(2):  # The first of a series would come through anyhow.
        trace_id = run_example(stack, tmp_path, "exemplary")[0]["traceId"]
        until(
            lambda trace_id=trace_id: exemplars(stack, "exemplary"), lambda found, trace_id=trace_id: trace_id in found
        )
        until(lambda trace_id=trace_id: trace_of(stack, trace_id))
    # And what carries them counts nothing.
    assert total(stack, f'{COUNT}{{job="exemplary",exemplars="only"}}') == 0
    assert total(stack, f'{COUNT}{{job="exemplary",{STAGE}="fact_check"}}') == 2


def test_jaegers_monitor_has_its_data(stack: Stack, tmp_path: Path) -> None:
    spans = run_example(stack, tmp_path, "monitored")

    def operations(kind: str, quantile: float = 0.95) -> dict[str, float]:
        """The last value of each operation, as the page draws it."""
        answer = get(
            f"{stack.url('jaeger')}/api/metrics/{kind}",
            service="monitored",
            spanKind="internal",
            groupByOperation="true",
            quantile=str(quantile),
            endTs=int(time.time() * 1000),
            lookback=300_000,
            step=5000,
            ratePer=60_000,
        )
        values = {
            label["value"]: [float(point["gaugeValue"]["doubleValue"]) for point in metric["metricPoints"]]
            for metric in answer["metrics"]
            for label in metric["labels"]
            if label["name"] == "operation"
        }
        return {name: points[-1] for name, points in values.items() if any(point > 0 for point in points)}

    until(lambda: operations("calls"), lambda found: {"run pr_campaign", "stage fact_check", "attempt"} <= set(found))
    until(lambda: operations("errors"), lambda found: set(found) == {"attempt"})
    took: dict[str, list[float]] = {}
    for span in spans:
        name = names.SPAN_ATTEMPT if span["name"].startswith("attempt ") else span["name"]  # Together.
        took.setdefault(name, []).append((int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e9)
    for share in (0.5, 0.95):  # In milliseconds, which is what the page takes every value for.
        expected = {name: 1000 * true_quantile(seconds, share) for name, seconds in took.items()}
        until(lambda share=share: operations("latencies", share), pytest.approx(expected, rel=0.01).__eq__)


def test_only_our_metrics_pass(stack: Stack, tmp_path: Path) -> None:
    """A gauge of another library would lose its process, and mean nothing."""
    code = """
        from opentelemetry import metrics
        from otel_progress import configure, stage
        configure("foreign")
        metrics.get_meter("other").create_counter("other.things").add(1)
        with stage("draft"): pass
    """
    otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=stack.url("otlp_http"))
    until(lambda: samples(stack, f'{COUNT}{{job="foreign"}}'))
    until(lambda: samples(stack, '{__name__=~"otel_sdk_exporter_span_exported.*",job="foreign"}'))
    assert samples(stack, '{__name__=~"other_things.*"}') == []


# --- pending spans ----------------------------------------------------------------------------------------------------

PENDING = """
    import sys
    from otel_progress import configure, stage, workflow

    telemetry = configure("pending", pending=True)
    with workflow("campaign"):
        with stage("over"): pass
        with stage("draft"):
            telemetry.flush()
            print("open", flush=True)
            sys.stdin.readline()
"""


def test_a_running_stage_shows_in_jaeger_and_no_metric_counts_it(stack: Stack, tmp_path: Path) -> None:
    def traces() -> list[Any]:
        """As the dashboard of runs searches for them."""
        return get(f"{stack.url('jaeger')}/api/traces", service="pending", operation="run campaign")["data"]

    def shown() -> dict[str, list[bool]]:
        """The spans of the one trace by their names: of each, whether it is pending."""
        found: dict[str, list[bool]] = {}
        for trace in traces():
            for span in trace["spans"]:
                pending = [tag["value"] for tag in span["tags"] if tag["key"] == names.PENDING]
                found.setdefault(span["operationName"], []).append(pending == [True])
        return {name: sorted(each) for name, each in found.items()}

    def counted(series: str, label: str) -> dict[str, float]:
        found = samples(stack, f'{{__name__="{series}",{label}!="",exemplars=""}}')
        return {
            labels[label]: value for labels, value in found if labels.get("service_name", labels["job"]) == "pending"
        }

    def visits() -> dict[str, int]:
        """As our reader tells of the one run."""
        (run,) = read(f"{stack.url('jaeger')}/?service=pending")
        return {each.name: each.visits for each in run.stages}

    def by_span_metrics() -> dict[str, float]:
        return counted("traces_span_metrics_calls_total", "span_name")

    def by_ours() -> dict[str, float]:
        return counted(COUNT, STAGE)

    code = str(otlp.write(tmp_path, PENDING))
    program = otlp.start(tmp_path, [code], OTEL_EXPORTER_OTLP_ENDPOINT=stack.url("otlp_http"))
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        until(
            shown, lambda found: found == {"run campaign": [True], "stage over": [False, True], "stage draft": [True]}
        )
        assert visits() == {"over": 1}
        # What came together with the pending spans is counted, and they are not.
        until(by_span_metrics, lambda found: found.get("stage over", 0) > 0)
        assert by_span_metrics() == {"stage over": 1}
        until(by_ours, lambda found: found == {"over": 1})
        open_now = f'{names.STAGE_ACTIVE.prometheus}{{job="pending"}}'
        assert {labels[STAGE]: value for labels, value in samples(stack, open_now)} == {"over": 0, "draft": 1}
    finally:
        done = otlp.ended(program, "\n")
    assert done.returncode == 0, done.stderr
    both = [False, True]
    until(shown, lambda found: found == {"run campaign": both, "stage over": both, "stage draft": both})
    assert len(traces()) == 1
    assert visits() == {"over": 1, "draft": 1}
    until(by_span_metrics, lambda found: found.get("run campaign", 0) > 0)
    assert by_span_metrics() == {"run campaign": 1, "stage over": 1, "stage draft": 1}
    until(by_ours, lambda found: found == {"over": 1, "draft": 1})


# --- right numbers for short-lived processes --------------------------------------------------------------------------

NUMBERS = """
    import json, sys, time
    from otel_progress import configure, progress, stage, workflow

    name, runs, every, sleeps = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4])
    began, visits = time.time(), []
    with configure("numbers-" + sys.argv[5]):
        for number in range(runs):
            time.sleep(max(0.0, began + number * every - time.time()))
            with workflow(name) as run:
                for stage_name, seconds in sleeps.items():
                    with stage(stage_name): time.sleep(seconds)
            visits += [[entry["seconds"], time.time()] for entry in progress(run).values()]
    print(json.dumps({"began": began, "ended": time.time(), "visits": visits}))
"""
INTERVAL = 1.0
"""Seconds between two exports of the long-lived process."""


@dataclass(frozen=True)
class Done:
    """What a program says it did."""

    began: float
    ended: float
    visits: list[tuple[float, float]]
    """Seconds that each took, and when it was done."""


class Fleet:
    """The programs of one temporality."""

    def __init__(self, stack: Stack, folder: Path, kind: str) -> None:
        self.stack, self.folder, self.kind = stack, folder, kind
        self.script = otlp.write(folder, NUMBERS, f"{kind}.py")
        self.running: list[tuple[str, subprocess.Popen[str]]] = []

    def start(self, name: str, runs: int, every: float, sleeps: dict[str, float]) -> None:
        command = [str(self.script), name, str(runs), str(every), json.dumps(sleeps), self.kind]
        self.running.append(
            (
                name,
                otlp.start(
                    self.folder,
                    command,
                    OTEL_EXPORTER_OTLP_ENDPOINT=self.stack.url("otlp_http"),
                    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=self.kind,
                    OTEL_METRIC_EXPORT_INTERVAL=str(int(INTERVAL * 1000)),
                ),
            )
        )

    def done(self, name: str) -> list[Done]:
        """What the programs of workflow `name` did, when they have ended."""
        found: list[Done] = []
        for started in [each for each in self.running if each[0] == name]:
            self.running.remove(started)
            ended = otlp.ended(started[1])
            assert ended.returncode == 0, ended.stderr
            said = json.loads(ended.stdout)
            found.append(Done(said["began"], said["ended"], [(each[0], each[1]) for each in said["visits"]]))
        return found

    def counted(self, name: str) -> float:
        """The visits of workflow `name` as `increase` has them."""
        series = f'{COUNT}{{job="numbers-{self.kind}",{WORKFLOW}="{name}"}}'
        return total(self.stack, f"sum(increase({series}[20m]))", last_sample(self.stack, series))

    def quantile(self, name: str, q: float) -> float:
        """The quantile of their durations, over all stages."""
        series = f'{names.STAGE_DURATION.prometheus}_bucket{{job="numbers-{self.kind}",{WORKFLOW}="{name}"}}'
        query = f"histogram_quantile({q}, sum by (le) (increase({series}[20m])))"
        return total(self.stack, query, last_sample(self.stack, series))


def true_quantile(durations: Iterable[float], q: float) -> float:
    """As Prometheus interpolates inside a bucket, from the durations themselves.

    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
    """
    bounds = names.DURATION_BUCKETS
    counts = [0] * (len(bounds) + 1)
    for seconds in durations:
        counts[bisect_left(bounds, seconds)] += 1
    rank, below = q * sum(counts), 0
    for index, count in enumerate(counts):
        if below + count >= rank:
            lower = bounds[index - 1] if index else 0.0
            return lower + (bounds[index] - lower) * (rank - below) / count
        below += count
    raise AssertionError("no durations")


SHORT = {"draft": 0.2, "check": 2.0, "publish": 0.03}
LONG = {"draft": 0.03, "check": 0.2, "publish": 0.03}


def test_many_short_lived_processes_are_counted_right(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """40 programs of one run each, overlapping, over two minutes, and one of 200 runs; the collector is started anew
    in the middle. With cumulative and with delta metrics at the same time."""
    fleets = [Fleet(stack, tmp_path, kind) for kind in ("cumulative", "delta")]
    for fleet in fleets:
        fleet.start("long", 200, 0.55, LONG)
    begun = time.monotonic()

    def start_half(name: str, first: int) -> None:
        for number in range(first, first + 20):
            time.sleep(max(0.0, begun + number * 3.0 - time.monotonic()))  # The schedule is what is tested.
            for fleet in fleets:
                fleet.start(name, 1, 0.0, SHORT)

    start_half("short", 0)
    for fleet in fleets:
        durations = [seconds for done in fleet.done("short") for seconds, _ in done.visits]
        assert len(durations) == 60
        until(lambda fleet=fleet: fleet.counted("short"), lambda value: abs(value - 60) <= 1.2)
        for q in (0.5, 0.95):
            assert fleet.quantile("short", q) == pytest.approx(true_quantile(durations, q), rel=0.02)

    begun = time.monotonic() - 60
    stack_down, restarted = restart_amid(stack, lambda: start_half("late", 20))
    for fleet in fleets:
        for name in ("late", "long"):
            programs = fleet.done(name)
            expected = sum(len(done.visits) for done in programs)
            assert expected == (60 if name == "late" else 600)
            at_most = may_be_lost(programs, fleet.kind, stack_down, restarted)
            assert at_most < 0.25 * expected
            series = f'{COUNT}{{job="numbers-{fleet.kind}",{WORKFLOW}="{name}"}}'
            scraped = time.time() + 2 * SCRAPE
            until(lambda series=series: last_sample(stack, series), lambda at, scraped=scraped: at > scraped)
            value = fleet.counted(name)
            with capsys.disabled():
                print(f"\n{fleet.kind} {name}: {value:.1f} of {expected}; at most {at_most} may be lost", end="")
            assert (expected - at_most) * 0.98 <= value <= expected * 1.02
        # As many series as stages since the collector started, however many processes there were.
        assert total(stack, f'count({COUNT}{{job="numbers-{fleet.kind}",exemplars=""}})') == 6


def restart_amid(stack: Stack, work: Callable[[], None]) -> tuple[float, float]:
    """Start the collector anew after a third of `work`; gives when it went and when it was back."""
    moments: list[float] = []

    def restart() -> None:
        moments.append(time.time())
        stack.down("collector")
        stack.up("collector")
        moments.append(time.time())

    timer = threading.Timer(20, restart)
    timer.start()
    try:
        work()
    finally:
        timer.join()
    return moments[0], moments[1]


def may_be_lost(programs: list[Done], kind: str, down: float, up: float) -> int:
    """The visits that a restart of the collector may lose, as docs/deploy.md says.

    Those that came too late for the last scrape, and those that were exported while it was away; with cumulative ones
    also what the first export to the new collector brings, since that cannot know what was counted of it before.
    """
    last = up + INTERVAL if kind == "cumulative" else up
    visits = [(min(at + INTERVAL, done.ended), at) for done in programs for _, at in done.visits]
    return sum(down - SCRAPE <= exported and at <= last for exported, at in visits)


HALVES = """
    import sys
    from otel_progress import configure, stage, workflow
    telemetry = configure("direct")
    for half in (3, 2):
        for _ in range(half):
            with workflow("long"), stage("render"): pass
        telemetry.flush()
        print("half", flush=True)
        sys.stdin.readline()
"""


def test_straight_into_prometheus_the_documented_query_is_right(stack: Stack, tmp_path: Path) -> None:
    """Without a collector every process is a series of its own; the query is the one of docs/deploy.md."""
    page = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    (documented,) = re.findall(r"`(sum by \(otel_progress_stage_name\).*?)`", page)
    variables = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{stack.url('prometheus')}/api/v1/otlp/v1/metrics",
        "OTEL_TRACES_EXPORTER": "none",
    }

    def counted(seconds: float) -> dict[str, float]:
        query = documented.replace(COUNT, f'{COUNT}{{job="direct"}}').replace("1h", f"{seconds * 1000:.0f}ms")
        return {labels[STAGE]: value for labels, value in samples(stack, query)}

    long = otlp.start(tmp_path, [str(otlp.write(tmp_path, HALVES, "long.py"))], **variables)
    assert long.stdin is not None
    assert long.stdout is not None
    assert long.stdout.readline() == "half\n"
    half = time.time() + 0.1
    code = """
        from otel_progress import configure, stage
        configure("direct")
        for name in ("draft", "check"):
            with stage(name): pass
    """
    command = [str(otlp.write(tmp_path, code))]
    for done in [otlp.ended(program) for program in [otlp.start(tmp_path, command, **variables) for _ in range(6)]]:
        assert done.returncode == 0, done.stderr
    long.stdin.write("\n")
    long.stdin.flush()
    assert long.stdout.readline() == "half\n"
    assert counted(3600) == {"render": 5, "draft": 6, "check": 6}
    assert counted(time.time() - half) == {
        "render": 2,
        "draft": 6,
        "check": 6,
    }  # What was before the window is not counted.
    assert otlp.ended(long, "\n").returncode == 0


# --- faults -----------------------------------------------------------------------------------------------------------

TICKS = """
    import sys, time
    from otel_progress import configure, stage, workflow

    service, seconds = sys.argv[1], float(sys.argv[2])
    begun, longest, visits = time.monotonic(), 0.0, 0
    configure(service)
    with workflow("ticks"):
        while time.monotonic() < begun + seconds or not visits:
            start = time.monotonic()
            with stage("tick"): pass
            longest = max(longest, time.monotonic() - start)
            visits += 1
            time.sleep(0.05)
    print(visits, longest, time.time(), flush=True)
"""


@dataclass(frozen=True)
class Ticked:
    """What the program of TICKS did, and what it said."""

    visits: int
    longest: float
    end: float
    """Seconds that its end took, after its last stage."""
    log: list[str]


def ticked(program: subprocess.Popen[str]) -> Ticked:
    done = otlp.ended(program)
    at = time.time()
    assert done.returncode == 0, done.stderr
    visits, longest, last = done.stdout.split()
    log = [line for line in done.stderr.splitlines() if "lost" in line]
    return Ticked(int(visits), float(longest), at - float(last), log)


def start_ticks(stack: Stack, folder: Path, service: str, seconds: float, **variables: str) -> subprocess.Popen[str]:
    command = [str(otlp.write(folder, TICKS)), service, str(seconds)]
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.url("otlp_http"), "OTEL_BSP_SCHEDULE_DELAY": "500"}
    return otlp.start(folder, command, **given, **variables)


def spans_in_jaeger(stack: Stack, service: str) -> int:
    """How many spans of a service Jaeger has."""
    traces = get(f"{stack.url('jaeger')}/api/traces", service=service, limit=1000)["data"]
    return sum(len(trace["spans"]) for trace in traces)


def test_without_a_collector_the_end_is_bounded_and_the_loss_is_said(stack: Stack, tmp_path: Path) -> None:
    stack.down("collector")
    try:
        done = ticked(start_ticks(stack, tmp_path, "alone", 0))
    finally:
        stack.up("collector")
    assert done.end < 10  # 2 seconds and the end of the interpreter on a busy machine; without a bound it is 29.
    assert len([line for line in done.log if "did not take everything" in line]) == 1


def test_a_collector_that_comes_after_the_program_gets_what_it_did_not_lose(stack: Stack, tmp_path: Path) -> None:
    stack.down("collector")
    try:
        program = start_ticks(stack, tmp_path, "early", 15)
        assert program.stderr is not None
        assert "retrying" in program.stderr.readline()  # It has tried, and will again.
    finally:
        stack.up("collector")
    done = ticked(program)
    lost = sum(int(found) for line in done.log for found in re.findall(r"(\d+) spans were lost", line))
    assert lost < done.visits
    until(lambda: spans_in_jaeger(stack, "early"), lambda found: found == done.visits + 1 - lost)


def test_a_collector_that_is_away_for_30_seconds_costs_no_time_and_every_span_is_accounted_for(
    stack: Stack, tmp_path: Path
) -> None:
    delta = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}  # Its end is what is asked for below.
    program = start_ticks(stack, tmp_path, "interrupted", 50, **delta)
    until(lambda: spans_in_jaeger(stack, "interrupted"))
    stack.kill("collector")
    time.sleep(30)  # The length of the fault.
    stack.up("collector")
    done = ticked(program)
    assert done.longest < 5
    counts = [int(found) for line in done.log for found in re.findall(r"(\d+) spans were lost", line)]
    assert (
        len([line for line in done.log if "does not take what is exported" in line]) == 1
    )  # Once, however often it failed.
    assert len(counts) == 1
    made = done.visits + 1
    until(lambda: spans_in_jaeger(stack, "interrupted"), lambda found: found == made - counts[0])
    exported = '{__name__=~"otel_sdk_exporter_span_exported.*",job="interrupted",error_type!=""}'
    until(lambda: total(stack, exported), lambda value: value == counts[0])


def test_what_jaeger_did_not_take_survives_a_restart_of_the_collector(stack: Stack, tmp_path: Path) -> None:
    stack.down("jaeger")
    done = ticked(start_ticks(stack, tmp_path, "queued", 1))
    assert done.log == []
    assert done.end < 10
    stack.down("collector")
    stack.up("collector")
    stack.up("jaeger")
    until(lambda: spans_in_jaeger(stack, "queued"), lambda found: found == done.visits + 1)


def test_jaeger_keeps_its_traces_when_it_starts_anew(stack: Stack, tmp_path: Path) -> None:
    trace_id = run_example(stack, tmp_path, "kept")[0]["traceId"]
    before = until(lambda: trace_of(stack, trace_id))
    stack.down("jaeger")
    stack.up("jaeger")
    assert len(trace_of(stack, trace_id)) == len(before)


def test_jaeger_records_nothing_of_itself(tmp_path: Path) -> None:
    """By default each request that it answers is a trace, which it sends at its end at the latest."""
    with otlp.receiver() as receiver:
        stack = new_stack(tmp_path / "stack", environment={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc})
        try:
            stack.up("jaeger")
            assert get(f"{stack.url('jaeger')}/api/services")["data"] in (None, [])
        finally:
            stack.down()
        assert receiver.begun == []


def test_what_came_while_prometheus_was_down_is_there_when_it_is_back(stack: Stack, tmp_path: Path) -> None:
    stack.down("prometheus")
    done = ticked(start_ticks(stack, tmp_path, "unscraped", 1))
    assert done.log == []
    stack.up("prometheus")
    series = f'{COUNT}{{job="unscraped"}}'
    until(lambda: total(stack, series), lambda value: value == done.visits)


def test_what_a_process_is_doing_is_forgotten_soon_after_its_end(stack: Stack) -> None:
    """Two minutes after its last export no series has a label of it; all that exported before has ended by now."""
    live = names.RUN_ACTIVE.prometheus
    assert samples(stack, f"last_over_time({live}[1h])")
    until(lambda: samples(stack, f"count({live})"), lambda found: found == [], timeout=240)


# --- security ---------------------------------------------------------------------------------------------------------


def test_nothing_listens_beyond_loopback(stack: Stack) -> None:
    """None of the sockets that our servers have open, whatever its port."""
    own = {
        str(descriptor.readlink())
        for server in stack._running.values()
        for descriptor in Path(f"/proc/{server.pid}/fd").iterdir()
        if descriptor.is_symlink()
    }
    listening = {
        (address, int(port, 16))
        for table in ("tcp", "tcp6")
        for fields in (line.split() for line in Path("/proc/net", table).read_text("ascii").splitlines()[1:])
        for address, port in [fields[1].split(":")]
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in own
    }
    assert {port for _, port in listening} == set(stack.ports.values())
    assert {address for address, _ in listening} == {"0100007F"}  # 127.0.0.1


def test_tls_and_a_token_keep_others_out(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (tmp_path / "token").write_text("right")
    files = {
        "OTLP_TLS_CERT": str(tmp_path / "cert.pem"),
        "OTLP_TLS_KEY": str(tmp_path / "key.pem"),
        "OTLP_TOKEN_FILE": str(tmp_path / "token"),
    }
    secure = new_stack(tmp_path / "stack", collector_configs=("config.yaml", "secure.yaml"), environment=files)
    code = """
        from otel_progress import configure, stage
        with configure("safe"):
            with stage("draft"): pass
    """

    def run(protocol: str, token: str, **variables: str) -> str:
        address = secure.address("otlp_http" if protocol == "http/protobuf" else "otlp_grpc")
        return otlp.run_code(
            tmp_path,
            code,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"https://{address}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{token}",
            **variables,
        ).stderr

    # The library that sends over HTTP prefers the authorities of these variables, where a machine sets them.
    trusted = {
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca.pem"),
        "REQUESTS_CA_BUNDLE": "",
        "CURL_CA_BUNDLE": "",
    }
    try:
        secure.up("jaeger", "collector")
        for protocol in ("http/protobuf", "grpc"):
            before = spans_in_jaeger(secure, "safe")
            assert "lost" in run(protocol, "wrong", **trusted)
            assert "lost" in run(protocol, "right")  # The certificate is of nobody's that it knows.
            assert "lost" not in run(protocol, "right", **trusted)
            until(
                lambda before=before: spans_in_jaeger(secure, "safe"), lambda found, before=before: found == before + 2
            )
    finally:
        secure.down()


def test_what_is_too_large_is_refused_or_cut(stack: Stack, tmp_path: Path) -> None:
    request = urllib.request.Request(
        f"{stack.url('otlp_http')}/v1/traces", b"x" * (17 << 20), {"Content-Type": "application/x-protobuf"}
    )
    with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as refused:
        urllib.request.urlopen(request, timeout=otlp.TIMEOUT)
    if isinstance(refused.value, urllib.error.HTTPError):
        assert refused.value.code in (400, 413)
        refused.value.close()
    code = """
        from opentelemetry import trace
        from otel_progress import configure, stage
        configure("large")
        with stage("draft"):
            trace.get_current_span().set_attribute("body", "x" * 100_000)
    """
    otlp.run_code(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=stack.url("otlp_http"))
    until(lambda: spans_in_jaeger(stack, "large"))
    (trace,) = get(f"{stack.url('jaeger')}/api/traces", service="large")["data"]
    lengths = [len(tag["value"]) for span in trace["spans"] for tag in span["tags"] if tag["key"] == "body"]
    assert lengths == [4096]
