"""What one writes by hand for the same spans and metrics: the reference of the benchmark.

It records what ours does and no more: a span with the same attributes and the link to the visit before, the same
histograms with the same labels, and an up-down counter in the place of the live registry. No mirror, no tracker.
"""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.trace import Link, Span, SpanContext
from opentelemetry.util.types import AttributeValue

from otel_progress import names

WORKFLOW = "w"
STAGE = "draft"
RUN_SPAN = f"run {WORKFLOW}"
STAGE_SPAN = f"stage {STAGE}"
Attributes = dict[str, AttributeValue]
_FOLLOWS = {names.LINK: names.LINK_FOLLOWS}


class ByHand:
    """Records runs and visits as careful code in a workflow would."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("by_hand")
        meter = metrics.get_meter("by_hand")

        def histogram(name: str, unit: str, buckets: tuple[float, ...]) -> metrics.Histogram:
            return meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=buckets)

        self._run_durations = histogram("by_hand.run.duration", "s", names.DURATION_BUCKETS)
        self._run_platforms = histogram("by_hand.run.platforms", "{platform}", names.COUNT_BUCKETS)
        self._stage_durations = histogram("by_hand.stage.duration", "s", names.DURATION_BUCKETS)
        self._active_runs = meter.create_up_down_counter("by_hand.run.active")
        self._active_stages = meter.create_up_down_counter("by_hand.stage.active")
        self._count = meter.create_counter("by_hand.count")
        self._workflow = {names.WORKFLOW_NAME: WORKFLOW}
        self._stage = {names.WORKFLOW_NAME: WORKFLOW, names.STAGE_NAME: STAGE}
        self._run_id = ""
        self._number = 0
        self._revision = names.REVISION_UNKNOWN
        self._before: SpanContext | None = None

    def run(self) -> None:
        """A run in which nothing happens."""
        self._active_runs.add(1, self._workflow)
        attributes: Attributes = {names.WORKFLOW_NAME: WORKFLOW, names.RUN_ID: uuid.uuid4().hex}
        with self._tracer.start_as_current_span(RUN_SPAN, attributes=attributes) as span:
            started = perf_counter()
            span.set_attribute(names.RESULT, "success")
            labels = {**self._workflow, names.RESULT: "success"}
            self._run_durations.record(perf_counter() - started, labels)
            self._run_platforms.record(0, self._workflow)
            self._count.add(1, labels)
        self._active_runs.add(-1, self._workflow)

    def run_around(self) -> AbstractContextManager[Span]:
        """The span of a run for visits to be in."""
        self._run_id, self._number, self._before = uuid.uuid4().hex, 0, None
        return self._tracer.start_as_current_span(RUN_SPAN)

    def visit(self, shared: dict[str, Any], action: str | None = None) -> None:
        """A visit in which nothing happens."""
        with self._tracer.start_as_current_span(
            STAGE_SPAN, attributes=self._begin(shared), links=self._links()
        ) as span:
            started = perf_counter()
            if action is not None:
                span.set_attribute(names.STAGE_ACTION, action)
            self._end(span, started)
        self._active_stages.add(-1, self._stage)

    async def visit_async(self, shared: dict[str, Any]) -> None:
        """The same in a coroutine."""
        with self._tracer.start_as_current_span(
            STAGE_SPAN, attributes=self._begin(shared), links=self._links()
        ) as span:
            started = perf_counter()
            self._end(span, started)
        self._active_stages.add(-1, self._stage)

    async def visit_awaiting(self, shared: dict[str, Any], awaited: Any) -> None:
        """The same around something that is awaited."""
        with self._tracer.start_as_current_span(
            STAGE_SPAN, attributes=self._begin(shared), links=self._links()
        ) as span:
            started = perf_counter()
            await awaited
            self._end(span, started)
        self._active_stages.add(-1, self._stage)

    def failing_visit(self, shared: dict[str, Any]) -> None:
        """A visit that an exception leaves; `start_as_current_span` records the exception by itself."""
        attributes = self._begin(shared)
        try:
            with self._tracer.start_as_current_span(STAGE_SPAN, attributes=attributes, links=self._links()) as span:
                started = perf_counter()
                try:
                    raise ValueError("no draft")
                except ValueError as error:
                    self._end(span, started, "failure", type(error).__name__)
                    raise
        finally:
            self._active_stages.add(-1, self._stage)

    def _begin(self, shared: dict[str, Any]) -> Attributes:
        self._active_stages.add(1, self._stage)
        self._number += 1
        attributes: Attributes = {
            names.WORKFLOW_NAME: WORKFLOW,
            names.RUN_ID: self._run_id,
            names.STAGE_NAME: STAGE,
            names.STAGE_VISIT: self._number,
            names.STAGE_ATTEMPTS: 1,
            names.STAGE_PLATFORM_COUNT: 0,
            names.CODE_FUNCTION_NAME: "cases.draft",
        }
        if "task_requirements" in shared:
            platforms = shared["task_requirements"]["platforms"]
            attributes[names.STAGE_PLATFORMS] = platforms
            attributes[names.STAGE_PLATFORM_COUNT] = len(platforms)
            revision = shared["quality_control"]["revision_count"]
            attributes[names.STAGE_REVISION] = revision
            self._revision = str(revision)
        else:
            self._revision = names.REVISION_UNKNOWN
        return attributes

    def _links(self) -> list[Link] | None:
        return None if self._before is None else [Link(self._before, _FOLLOWS)]

    def _end(self, span: Span, started: float, result: str = "success", error_type: str | None = None) -> None:
        self._before = span.get_span_context()
        span.set_attribute(names.STAGE_RESULT, result)
        labels = {
            **self._stage,
            names.RESULT: result,
            names.VISIT: "first" if self._number == 1 else "repeat",
            names.REVISION: self._revision,
        }
        if error_type is not None:
            span.set_attribute(names.ERROR_TYPE, error_type)
            labels[names.ERROR_TYPE] = error_type
        self._stage_durations.record(perf_counter() - started, labels)
        self._count.add(1, labels)
