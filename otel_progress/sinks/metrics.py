"""The metrics: what dashboards and alerts see of all runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from .. import names
from .._version import SCHEMA_URL, __version__
from ..names import Metric, Result
from ..recording.live import Run, Visit
from ..recording.recorder import Recorder, Sink
from .bound import NameBound

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

_Key = tuple[str, ...]


class MetricSink(Sink):
    """Records durations and counts as they come; reads what is going on from the live registry when asked."""

    def __init__(self, recorder: Recorder, meter_provider: MeterProvider | None = None) -> None:
        self._recorder = recorder
        self._bound = NameBound(recorder)
        # Said to be 0 when nothing goes on any more: a series that only stops would look like a process that died.
        self._workflows: set[_Key] = set()
        self._stages: set[_Key] = set()
        meter = metrics.get_meter(names.SCOPE, __version__, meter_provider, SCHEMA_URL)

        def histogram(metric: Metric) -> metrics.Histogram:
            return meter.create_histogram(
                metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
            )

        def counter(metric: Metric) -> metrics.Counter:
            return meter.create_counter(metric.name, metric.unit, metric.description)

        def observed(create: Callable[..., object], metric: Metric, read: Callable[[], Iterable[Observation]]) -> None:
            def callback(_options: CallbackOptions) -> Iterable[Observation]:
                return read()

            create(metric.name, [callback], metric.unit, metric.description)

        self._run_duration = histogram(names.RUN_DURATION)
        self._stage_duration = histogram(names.STAGE_DURATION)
        self._run_revisions = histogram(names.RUN_REVISIONS)
        self._run_platforms = histogram(names.RUN_PLATFORMS)
        self._retries = counter(names.STAGE_RETRIES)
        self._wait = counter(names.STAGE_WAIT_METRIC)
        self._items = counter(names.STAGE_ITEMS)
        self._dead_ends = counter(names.DEAD_ENDS)
        observed(meter.create_observable_up_down_counter, names.RUN_ACTIVE, self._active_runs)
        observed(meter.create_observable_up_down_counter, names.STAGE_ACTIVE, self._active_stages)
        observed(meter.create_observable_gauge, names.STAGE_OLDEST_START, self._oldest_starts)
        observed(meter.create_observable_gauge, names.STAGE_BUDGET_METRIC, self._budgets)

    def run_started(self, run: Run) -> None:
        """From now on the workflow is known."""
        if run.owned:
            self._workflows.add((self._bound.workflow(run.workflow),))

    def run_ended(self, run: Run) -> None:
        """Record the run."""
        if not run.owned:
            return
        workflow = {names.WORKFLOW_NAME: self._bound.workflow(run.workflow)}
        result = {**workflow, names.RESULT: run.result or "success"}
        self._run_duration.record(run.seconds, result, run.context)
        if run.revision is not None:
            self._run_revisions.record(run.revision, workflow, run.context)
        self._run_platforms.record(run.platform_count, workflow, run.context)

    def visit_started(self, visit: Visit) -> None:
        """From now on the stage is known."""
        self._stages.add(self._key(visit.run.workflow, visit.stage))

    def visit_ended(self, visit: Visit) -> None:
        """Record the visit. The histogram's own count is the count of visits."""
        attributes = self._labels(visit)
        attributes[names.RESULT] = visit.result or "success"
        attributes[names.VISIT] = names.VISIT_FIRST if visit.number == 1 else names.VISIT_REPEAT
        if visit.result == "failure":
            attributes[names.ERROR_TYPE] = visit.error_type or "_OTHER"
        # The context, so that an exemplar points at the visit's span although it is not current any more.
        self._stage_duration.record(visit.seconds, attributes, visit.context)

    def retried(self, visit: Visit, error_type: str, wait: float) -> None:
        """Count a retry and the wait before it."""
        labels = self._labels(visit)
        self._retries.add(1, {**labels, names.ERROR_TYPE: error_type}, visit.context)
        self._wait.add(wait, labels, visit.context)

    def items_ended(self, visit: Visit, count: int, result: Result, platform: str | None) -> None:
        """Count items."""
        attributes = {**self._labels(visit), names.RESULT: result}
        if platform is not None:
            attributes[names.ITEM_PLATFORM] = self._bound.platform(platform)
        self._items.add(count, attributes, visit.context)

    def dead_end(self, owner: Visit | Run, stage: str, action: str | None) -> None:  # noqa: ARG002 - no action on a metric
        """Count it."""
        self._dead_ends.add(1, _attributes(self._key(owner.run.workflow, stage)), owner.context)

    # --- read when metrics are collected ------------------------------------------------------------------------------

    def _active_runs(self) -> Iterable[Observation]:
        count = dict.fromkeys(list(self._workflows), 0)
        for run in self._recorder.registry.runs():
            if run.owned and (run.open or not run.implicit):
                key = (self._bound.workflow(run.workflow),)
                count[key] = count.get(key, 0) + 1
        return [Observation(number, {names.WORKFLOW_NAME: key[0]}) for key, number in count.items()]

    def _active_stages(self) -> Iterable[Observation]:
        count = dict.fromkeys(list(self._stages), 0)
        for visit in self._recorder.registry.visits():
            key = self._key(visit.run.workflow, visit.stage)
            count[key] = count.get(key, 0) + 1
        return [Observation(number, _attributes(key)) for key, number in count.items()]

    def _oldest_starts(self) -> Iterable[Observation]:
        oldest: dict[_Key, int] = {}
        for visit in self._recorder.registry.visits():
            key = self._key(visit.run.workflow, visit.stage)
            oldest[key] = min(visit.started, oldest.get(key, visit.started))
        return [Observation(start / 1e9, _attributes(key)) for key, start in oldest.items()]

    def _budgets(self) -> Iterable[Observation]:
        budgets = {self._key(*key): seconds for key, seconds in list(self._recorder.budgets.items())}
        return [Observation(seconds, _attributes(key)) for key, seconds in budgets.items()]

    def _key(self, workflow: str, stage: str) -> _Key:
        return self._bound.workflow(workflow), self._bound.stage(stage)

    def _labels(self, visit: Visit) -> dict[str, str]:
        return _attributes(self._key(visit.run.workflow, visit.stage))


def _attributes(key: _Key) -> dict[str, str]:
    return {names.WORKFLOW_NAME: key[0], names.STAGE_NAME: key[1]}
