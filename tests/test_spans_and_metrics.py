"""The exact spans and metrics of a run, against the contract."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanKind, StatusCode

from otel_progress import Sink, Visit, names, stage, workflow
from otel_progress.recording.call import Call, Code
from otel_progress.recording.place import recorded_in
from otel_progress.recording.recorder import Recorder
from otel_progress.sinks import metrics
from otel_progress.sinks.usual import usual_sinks

from .conftest import START, Telemetry, linked


def test_a_whole_run_exactly(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {
        "task_requirements": {"platforms": ["twitter", "linkedin"]},
        "quality_control": {"revision_count": 1},
        "version_history": [{"version_id": "v0"}],
    }
    with workflow("campaign", shared=shared):
        telemetry.time.passes(1)
        with stage("edit", budget="2m"):
            telemetry.time.passes(2)
            shared["version_history"].append({"version_id": "v1", "action": "revised"})
        with pytest.raises(LookupError), stage("edit"):
            telemetry.time.passes(3)
            raise LookupError("no such source")
    run, first, second = telemetry.spans()
    common = {"otel_progress.workflow.name": "campaign", "otel_progress.run.id": "run-1"}
    assert (run.name, run.kind, run.status.status_code) == ("run campaign", SpanKind.INTERNAL, StatusCode.UNSET)
    assert run.attributes == {**common, "otel_progress.result": "success"}
    assert (run.start_time, run.end_time) == (START, START + 6_000_000_000)
    edit = {
        **common,
        "otel_progress.stage.name": "edit",
        "otel_progress.stage.platforms": ("twitter", "linkedin"),
        "otel_progress.stage.platform_count": 2,
        "otel_progress.stage.revision": 1,
        "otel_progress.stage.attempts": 1,
    }
    assert (first.name, first.kind, first.status.status_code) == ("stage edit", SpanKind.INTERNAL, StatusCode.UNSET)
    assert first.attributes == {
        **edit,
        "otel_progress.stage.visit": 1,
        "otel_progress.stage.result": "success",
        "otel_progress.stage.budget": 120.0,
    }
    assert (first.start_time, first.end_time) == (START + 1_000_000_000, START + 3_000_000_000)
    (event,) = first.events
    assert (event.name, event.timestamp, dict(event.attributes or {})) == (
        "version",
        first.end_time,
        {"otel_progress.version.id": "v1", "otel_progress.version.action": "revised"},
    )
    assert second.attributes == {
        **edit,
        "otel_progress.stage.visit": 2,
        "otel_progress.stage.result": "failure",
        "error.type": "LookupError",
    }
    assert (second.status.status_code, second.status.description) == (StatusCode.ERROR, "no such source")
    assert linked(second, "follows") == [first.context]  # One link for both: that it repeats its number says
    assert [event.name for event in second.events] == ["exception"]
    assert {span.parent.span_id if span.parent else None for span in (first, second)} == {
        run.context.span_id if run.context else None
    }
    scope = run.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version, scope.schema_url) == (
        "otel_progress",
        "0.1.0",
        "https://opentelemetry.io/schemas/1.30.0",
    )
    labels = {"workflow.name": "campaign", "stage.name": "edit"}
    assert telemetry.points("otel_progress.run.duration") == [
        ({"workflow.name": "campaign", "result": "success"}, (6.0, 1))
    ]
    assert telemetry.points("otel_progress.stage.duration") == [
        ({**labels, "error.type": "LookupError", "result": "failure", "revision": "1", "visit": "repeat"}, (3.0, 1)),
        ({**labels, "result": "success", "revision": "1", "visit": "first"}, (2.0, 1)),
    ]
    assert telemetry.points("otel_progress.run.revisions") == [({"workflow.name": "campaign"}, (1, 1))]
    assert telemetry.points("otel_progress.run.platforms") == [({"workflow.name": "campaign"}, (2, 1))]
    assert telemetry.points("otel_progress.stage.budget") == [(labels, 120.0)]
    assert telemetry.points("otel_progress.run.active") == [({"workflow.name": "campaign"}, 0)]
    assert telemetry.points("otel_progress.stage.active") == [(labels, 0)]
    assert telemetry.points("otel_progress.stage.oldest_start") == []


def test_the_time_of_each_revision_is_told_apart_up_to_a_bound(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"quality_control": {}}
    with workflow("campaign", shared=shared):
        for revision in (None, 0, 1, 2, 3, 4, 5, 2**62):
            shared["quality_control"]["revision_count"] = revision
            for seconds in (1, 2):
                with stage("edit"):
                    telemetry.time.passes(seconds)
        shared["quality_control"]["revision_count"] = 1
        with pytest.raises(KeyError), stage("edit"):
            telemetry.time.passes(1)
            shared["quality_control"]["revision_count"] = 2  # What was so at the start counts.
            raise KeyError("gone")
    points = telemetry.points("otel_progress.stage.duration")
    by_revision: dict[str, tuple[float, int]] = {}
    for attributes, (seconds, count) in points:
        before = by_revision.get(attributes["revision"], (0.0, 0))
        by_revision[attributes["revision"]] = before[0] + seconds, before[1] + count
    assert by_revision == {
        "none": (3.0, 2),
        "0": (3.0, 2),
        "1": (4.0, 3),
        "2": (3.0, 2),
        "3": (3.0, 2),
        "4+": (9.0, 6),
    }


def test_a_stage_that_is_known_takes_a_new_budget_where_no_more_are_kept(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_MOST_BUDGETS", 1)
    with workflow("w"):
        for name, budget in (("a", 1), ("b", 2), ("a", 3)):
            with stage(name, budget=budget):
                pass
    assert telemetry.points("otel_progress.stage.budget") == [({"workflow.name": "w", "stage.name": "a"}, 3.0)]


def test_what_is_going_on_is_read_when_it_is_asked_for(telemetry: Telemetry) -> None:
    with workflow("w"):
        telemetry.time.passes(5)
        with stage("a"):
            telemetry.time.passes(5)
            with stage("a"), stage("b"):
                labels = {"workflow.name": "w"}
                assert telemetry.points("otel_progress.run.active") == [(labels, 1)]
                assert telemetry.points("otel_progress.stage.active") == [
                    ({**labels, "stage.name": "a"}, 2),
                    ({**labels, "stage.name": "b"}, 1),
                ]
                assert telemetry.points("otel_progress.stage.oldest_start") == [
                    ({**labels, "stage.name": "a"}, START / 1e9 + 5),
                    ({**labels, "stage.name": "b"}, START / 1e9 + 10),
                ]


def test_every_instrument_is_as_its_description_says(telemetry: Telemetry) -> None:
    from pocketflow import BatchNode

    @stage("all", budget=1)
    class All(BatchNode):  # pyright: ignore[reportMissingTypeArgument, reportUntypedBaseClass]
        def prep(self, shared: Any) -> list[int]:
            return [1, 0]

        def exec(self, prep_res: int) -> None:
            if not prep_res and not tries:
                tries.append(1)
                raise ValueError

    tries: list[int] = []
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        All(max_retries=2).run(shared)  # pyright: ignore[reportUnknownMemberType]
        with stage("publish") as named:
            named.platform("twitter")
        with stage("open") as visit, visit.waiting("approval"):
            data = telemetry.reader.get_metrics_data()
    data = data or pytest.fail("no metrics")
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    assert (scope.scope.name, scope.scope.version) == ("otel_progress", "0.1.0")
    found = {metric.name: metric for metric in scope.metrics}
    described = {metric.name: metric for metric in names.METRICS}
    late = {"otel_progress.run.duration", "otel_progress.run.revisions", "otel_progress.run.platforms"}
    assert set(found) == set(described) - late - {"otel_progress.flow.dead_ends"}
    for name, metric in found.items():
        assert (metric.unit, metric.description) == (described[name].unit, described[name].description)
        for point in metric.data.data_points:
            assert set(point.attributes or {}) <= set(described[name].attributes)
            if isinstance(point, HistogramDataPoint):
                assert tuple(point.explicit_bounds) == described[name].buckets


def test_the_buckets_of_the_durations() -> None:
    assert names.DURATION_BUCKETS == (0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
    assert names.COUNT_BUCKETS == (0, 1, 2, 3, 5, 8, 13)


def test_metrics_are_recorded_where_the_span_is_not_sampled() -> None:
    reader = InMemoryMetricReader()
    recorder = Recorder()
    recorder.sinks = usual_sinks(
        recorder,
        TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False),
        MeterProvider([reader], shutdown_on_exit=False),
    )
    run = recorder.start_run(Call(Code("w")))
    visit = recorder.start_visit(Call(Code("a"), {}))
    assert visit.span.is_recording() is False
    recorder.end(visit)
    recorder.end(run)
    data = reader.get_metrics_data() or pytest.fail("no metrics")
    recorded = {metric.name for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert {"otel_progress.stage.duration", "otel_progress.run.duration"} <= recorded


def test_an_exemplar_points_at_the_span_of_its_stage(telemetry: Telemetry) -> None:
    with workflow("w"), stage("a"):
        telemetry.time.passes(1)
    data = telemetry.reader.get_metrics_data() or pytest.fail("no metrics")
    found: dict[str, tuple[int, int]] = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            if isinstance(point, HistogramDataPoint) and metric.name.endswith("duration"):
                (exemplar,) = point.exemplars
                found[metric.name] = (exemplar.trace_id or 0, exemplar.span_id or 0)
    for metric, name in (("otel_progress.stage.duration", "stage a"), ("otel_progress.run.duration", "run w")):
        context = telemetry.span(name).context
        assert context is not None
        assert found[metric] == (context.trace_id, context.span_id)


def test_a_span_of_another_library_says_where_it_belongs(telemetry: Telemetry) -> None:
    other = telemetry.tracer_provider.get_tracer("some.http.client")
    with workflow("w"):
        with other.start_as_current_span("GET outside"):
            pass
        with stage("a"), other.start_as_current_span("GET inside"), other.start_as_current_span("connect"):
            pass
    with other.start_as_current_span("GET elsewhere"):
        pass
    run = {"otel_progress.workflow.name": "w", "otel_progress.run.id": "run-1"}
    assert telemetry.span("GET outside").attributes == run
    assert telemetry.span("GET inside").attributes == {**run, "otel_progress.stage.name": "a"}
    assert telemetry.span("connect").attributes == {**run, "otel_progress.stage.name": "a"}
    assert telemetry.span("GET elsewhere").attributes == {}
    assert repr(telemetry.trees()) == "[run w[GET outside, stage a[GET inside[connect]]], GET elsewhere]"


def test_a_run_belongs_to_the_trace_that_it_starts_in(telemetry: Telemetry) -> None:
    server = telemetry.tracer_provider.get_tracer("server")
    with server.start_as_current_span("POST /campaign"), workflow("w"), stage("a"):
        pass
    assert repr(telemetry.trees()) == "[POST /campaign[run w[stage a]]]"


def test_a_thread_without_context_finds_its_run_by_the_store(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}

    def work() -> None:
        assert trace.get_current_span() is trace.INVALID_SPAN
        with stage("a", shared=shared):
            pass

    with workflow("w", shared=shared):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert repr(telemetry.trees()) == "[run w[stage a]]"


def test_without_an_sdk_the_mirror_still_works() -> None:
    recorder = Recorder()
    recorder.sinks = usual_sinks(recorder, trace.NoOpTracerProvider())
    shared: dict[str, Any] = {}
    run = recorder.start_run(Call(Code("w"), shared))
    visit = recorder.start_visit(Call(Code("a"), shared))
    recorder.end(visit)
    recorder.end(run)
    assert run.run.entries()["a"]["trace_id"] is None


def test_spans_are_made_from_then_on_that_there_is_an_sdk(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = trace.NoOpTracerProvider()
    telemetry.recorder.sinks = usual_sinks(telemetry.recorder, nobody)
    span_sink: Any = telemetry.recorder.sinks[0]
    with workflow("w", shared={}):
        with stage("before"):
            pass
        assert telemetry.spans() == []
        monkeypatch.setattr(span_sink, "_given_provider", telemetry.tracer_provider)
        telemetry.time.passes(0.001)
        with stage("after"):
            pass
    assert repr(telemetry.trees()) == "[stage after]"


def test_without_an_sdk_the_span_around_a_stage_is_handed_on() -> None:
    recorder = Recorder()
    recorder.sinks = usual_sinks(recorder, trace.NoOpTracerProvider())
    remote = trace.NonRecordingSpan(trace.SpanContext(0xA, 0xB, is_remote=True))
    with trace.use_span(remote):
        visit = recorder.start_visit(Call(Code("a"), {}))
    assert trace.get_current_span(visit.context).get_span_context() == remote.get_span_context()
    recorder.end(visit)
    assert visit.run.entries()["a"]["trace_id"] == f"{0xA:032x}"


def test_a_clock_that_is_set_back_hides_no_sdk_that_is_set_up(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry.recorder.sinks = usual_sinks(telemetry.recorder, trace.NoOpTracerProvider())
    span_sink: Any = telemetry.recorder.sinks[0]
    with workflow("w", shared={}):
        with stage("before"):
            pass
        telemetry.time.wall -= 3600 * 10**9
        with stage("set back"):
            pass
        monkeypatch.setattr(span_sink, "_given_provider", telemetry.tracer_provider)
        telemetry.time.passes(0.001)
        with stage("after"):
            pass
    assert repr(telemetry.trees()) == "[stage after]"


def test_a_provider_that_stands_for_one_set_up_later_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, later = Recorder(), TracerProvider(shutdown_on_exit=False)
    recorder.sinks = usual_sinks(recorder, trace.ProxyTracerProvider())
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: later)
    visit = recorder.start_visit(Call(Code("a"), {}))
    assert visit.span.is_recording()
    recorder.end(visit)


class Refusing(Sampler):
    """A sampler that fails."""

    def should_sample(self, *_: Any, **__: Any) -> Any:
        """Fail."""
        raise ValueError

    def get_description(self) -> str:
        """Its name."""
        return "refusing"


def test_where_no_span_can_be_made_a_visit_has_its_place(faults: Any) -> None:
    recorder = Recorder()
    places: list[object] = []

    class Looking(Sink):
        """Looks where a visit is."""

        def visit_started(self, visit: Visit) -> None:
            """Look."""
            places.append(recorded_in(visit.context))

    spans = TracerProvider(sampler=Refusing(), shutdown_on_exit=False)
    recorder.sinks = [*usual_sinks(recorder, spans), Looking()]
    visit = recorder.start_visit(Call(Code("a"), {}))
    assert places == [visit]
    assert [fault for fault in faults() if "SpanSink.visit_started failed" in fault]
    recorder.end(visit)


@pytest.mark.parametrize("interrupted", ["set_attributes", "add_event", "set_status"])
def test_what_is_said_once_more_is_not_on_the_span_twice(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    shared: dict[str, Any] = {}
    with pytest.raises(KeyboardInterrupt), stage("a", shared=shared) as visit:
        shared["version_history"] = [{"version_id": "v1"}, {"version_id": "v2"}]
        says = getattr(visit.span, interrupted)

        def once(*given: Any) -> None:
            monkeypatch.undo()
            says(*given)
            raise KeyboardInterrupt

        monkeypatch.setattr(visit.span, interrupted, once)
        raise ValueError
    span = telemetry.span("stage a")
    assert [event.name for event in span.events] == ["version", "version", "exception"]
    assert (span.attributes or {})["error.type"] == "ValueError"


@pytest.mark.parametrize("eventful", [False, True])
def test_what_a_handler_raises_while_an_end_is_said_takes_nothing_from_the_span(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, eventful: bool
) -> None:
    def interrupted(*_: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), stage("a", shared={}) as visit:
        if eventful:
            visit.advance(2)
        monkeypatch.setattr(visit.span, "set_attributes" if eventful else "set_attribute", interrupted)
    attributes = telemetry.span("stage a").attributes or {}
    assert attributes["otel_progress.stage.result"] == "success"
    assert attributes.get("otel_progress.stage.items.done") == (2 if eventful else None)


def test_a_run_is_told_of_the_platforms_in_its_store_also_after_a_visit_named_its_own(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"task_requirements": {"platforms": ["a", "b"]}}
    with workflow("w", shared=shared):
        for own in ("x", None):
            call = Call(Code("craft"), shared, item=own, item_platform=own)
            telemetry.recorder.end(telemetry.recorder.start_visit(call))
        shared.clear()
    assert telemetry.points("otel_progress.run.platforms") == [({"workflow.name": "w"}, (3, 1))]


def test_a_run_is_told_of_no_platforms_in_the_store_of_a_visit_that_names_its_own(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        shared["task_requirements"] = {"platforms": ["a", "b"]}
        telemetry.recorder.end(telemetry.recorder.start_visit(Call(Code("craft"), shared, item="x", item_platform="x")))
        shared.clear()
    assert telemetry.points("otel_progress.run.platforms") == [({"workflow.name": "w"}, (1, 1))]


def test_what_is_given_as_platforms_is_followed_where_it_comes_to_be_none(telemetry: Telemetry) -> None:
    """What a store says and then no more is kept; this is the user's own word."""
    given: list[str] = ["a", "b"]
    with workflow("w", shared={}), stage("craft", platforms=lambda _: tuple(given)):
        given.clear()
    assert (telemetry.span("stage craft").attributes or {})["otel_progress.stage.platform_count"] == 0


def test_the_mirror_says_the_trace_of_the_last_visit_of_whatever_item(telemetry: Telemetry) -> None:
    tracer = telemetry.tracer_provider.get_tracer("requests")
    spans = [tracer.start_span(name, Context()) for name in ("first", "second")]
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        for item, around in (("A", spans[0]), ("B", spans[1]), ("A", spans[0])):
            with trace.use_span(around):
                telemetry.recorder.end(telemetry.recorder.start_visit(Call(Code("craft"), shared, item=item)))
            expected = trace.format_trace_id(around.get_span_context().trace_id)
            assert shared["progress_metrics"]["craft"]["trace_id"] == expected


def test_what_is_said_at_the_start_is_not_said_again_at_the_end(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        Span, "set_attributes", lambda _, attributes: said.extend(attributes)
    )  # Of `set_attribute` too.
    with workflow("w", shared={}), stage("given", platforms=["x"], revision=2):
        pass
    with workflow("w", shared={"task_requirements": {"platforms": ["x"]}}), stage("read"):
        pass
    assert set(said) <= {names.STAGE_RESULT, names.RESULT}  # The SDK may set one attribute by this, too.
