"""The metrics: what dashboards and alerts see of all runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from .. import names
from .._version import SCHEMA_URL, __version__
from ..names import Metric, Result
from ..recording.live import Run
from ..recording.recorder import Recorder
from ..recording.sink import Sink
from ..recording.times import NANO
from ..recording.visits import Visit
from ..recording.waiting import Waiting
from .bound import NameBound
from .measurements import Measurements, Record

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

_Key = tuple[str, ...]
_MILLISECOND = 1_000_000
_MANY = names.REVISIONS[-1]
_MOST_TOLD = len(names.REVISIONS) - 1
_MOST_WHOLE = 2**31
_MOST_BUDGETS = 1000  # Workflow names may be user data.
# Counters have no exemplars: the SDK's reservoir for these draws from the `random` module, and our thread would do so
# at any moment. A program that seeds it relies on the sequence.


class MetricSink(Sink):
    """Measures durations and counts as they come; reads what is going on from the live registry when asked."""

    def __init__(self, recorder: Recorder, bound: NameBound, meter_provider: MeterProvider | None = None) -> None:
        self._recorder = recorder
        self._bound = bound
        self._provider = meter_provider
        self._measured = False
        """Whether anybody takes what is measured: true for ever, once there is a provider."""
        self._asked = 0
        """When a visit asked in vain, by the clock that nobody sets."""
        self._without: object = None
        """A provider that is known to take nothing."""
        self._measurements = Measurements()
        self._put = self._measurements.put
        self.budgets: dict[tuple[str, str], float] = {}
        """Declared budgets in seconds, by workflow and stage."""
        # Said to be 0 when nothing goes on any more: a series that only stops would look like a process that died.
        self._workflows: set[_Key] = set()
        self._stages: dict[tuple[str, str], Mapping[str, str]] = {}
        """The attributes of the stages that are known, by workflow and stage."""
        self._waits: dict[tuple[str, str], dict[str, None]] = {}
        """What visits have waited for, by workflow and stage."""
        self._outcomes: dict[tuple[str, str, Result, bool, str], Mapping[str, str]] = {}
        """The same with the result, whether it was the stage's first visit, and the revision: they are asked for again
        and again."""
        meter = metrics.get_meter(names.SCOPE, __version__, meter_provider, SCHEMA_URL)

        def histogram(metric: Metric) -> Record:
            return meter.create_histogram(
                metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
            ).record

        def counter(metric: Metric) -> Record:
            return meter.create_counter(metric.name, metric.unit, metric.description).add

        def observed(create: Callable[..., object], metric: Metric, read: Callable[[], Iterable[Observation]]) -> None:
            def callback(_options: CallbackOptions) -> Iterable[Observation]:
                self.drain()  # So that what was measured until now is in this very collection.
                return read()

            create(metric.name, [callback], metric.unit, metric.description)

        self._run_duration = histogram(names.RUN_DURATION)
        self._stage_duration = histogram(names.STAGE_DURATION)
        self._run_revisions = histogram(names.RUN_REVISIONS)
        self._run_platforms = histogram(names.RUN_PLATFORMS)
        self._retries = counter(names.STAGE_RETRIES)
        self._wait = counter(names.STAGE_WAIT_METRIC)
        self._items = counter(names.STAGE_ITEMS)
        self._platform_duration = histogram(names.STAGE_PLATFORM_DURATION)
        self._dead_ends = counter(names.DEAD_ENDS)
        observed(meter.create_observable_up_down_counter, names.RUN_ACTIVE, self._active_runs)
        observed(meter.create_observable_up_down_counter, names.STAGE_ACTIVE, self._active_stages)
        observed(meter.create_observable_up_down_counter, names.STAGE_WAITING, self._waiting_stages)
        observed(meter.create_observable_gauge, names.STAGE_OLDEST_START, self._oldest_starts)
        observed(meter.create_observable_gauge, names.STAGE_BUDGET_METRIC, self._budgets)

    def drain(self, timeout: float = 1.0) -> bool:
        """Hand what was measured to the SDK; False where that takes longer than `timeout` seconds."""
        return self._measurements.drain(timeout)

    def run_started(self, run: Run) -> None:
        """From now on the workflow is known."""
        if run.owned:
            self._workflows.add((self._bound.workflow(run.workflow),))

    def run_ended(self, run: Run) -> None:
        """Measure the run."""
        if not run.owned or not self._is_measured():
            return
        put, span = self._put, run.span.get_span_context()
        workflow = {names.WORKFLOW_NAME: self._bound.workflow(run.workflow)}
        put(self._run_duration, run.seconds, {**workflow, names.RESULT: run.result or "success"}, span)
        if run.revision is not None:
            put(self._run_revisions, run.revision, workflow, span)
        put(self._run_platforms, run.platform_count, workflow, span)

    def visit_started(self, visit: Visit) -> None:
        """Its stage may have a budget. That it is open the registry says, when metrics are collected."""
        if visit.code.budget is not None:
            self.stage_changed(visit)

    def stage_changed(self, visit: Visit) -> None:
        """The code that takes a visit over may have a budget."""
        budget, key = visit.code.budget, (visit.run.workflow, visit.stage)
        if budget is not None and (len(self.budgets) < _MOST_BUDGETS or key in self.budgets):
            self.budgets[key] = budget

    def visit_ended(self, visit: Visit) -> None:
        """Measure the visit. The histogram's own count is the count of visits."""
        if not self._measured:  # To ask costs; who sets a provider up takes longer than this.
            now = visit.clock + (visit.ended or 0) - visit.started
            if 0 <= now - self._asked < _MILLISECOND:
                return
            if not self._is_measured():
                self._asked = now  # Only now: other visits that end meanwhile ask too.
                return
        workflow, stage, result = visit.run.workflow, visit.stage, visit.result or "success"
        first = visit.number == 1
        count = visit.revision
        revision = names.REVISION_UNKNOWN if count is None else _MANY if count > _MOST_TOLD else names.REVISIONS[count]
        attributes = self._outcomes.get((workflow, stage, result, first, revision))
        if attributes is None:
            attributes = self._outcome(self._labels(workflow, stage), result, first, revision)
        if result == "failure":
            attributes = {**attributes, names.ERROR_TYPE: self._bound.error_type(visit.error_type or "_OTHER")}
        # With its span, so that an exemplar points at it although it is not current any more.
        seconds = ((visit.ended or 0) - visit.started) / NANO
        self._put(self._stage_duration, seconds, attributes, visit.span_context)

    def retried(self, visit: Visit, error_type: str, wait: float) -> None:
        """Count a retry and the wait before it."""
        labels = self._labels(visit.run.workflow, visit.stage)
        self._count(self._retries, 1, {**labels, names.ERROR_TYPE: self._bound.error_type(error_type)})
        self._count(self._wait, wait, {**labels, names.WAIT_REASON: names.WAIT_RETRY})

    def wait_started(self, visit: Visit, waiting: Waiting) -> None:
        """From now on it is known that one may wait for that."""
        reasons = self._waits.setdefault(self._key(visit), {})
        reasons[self._bound.wait_reason(waiting.reason)] = None

    def wait_ended(self, visit: Visit, waiting: Waiting) -> None:
        """Count the time."""
        seconds = ((waiting.ended or waiting.started) - waiting.started) / NANO
        reason = self._bound.wait_reason(waiting.reason)
        self._count(self._wait, seconds, {**self._labels(visit.run.workflow, visit.stage), names.WAIT_REASON: reason})

    def items_ended(self, visit: Visit, count: int, result: Result, platform: str | None) -> None:
        """Count items."""
        attributes = {**self._labels(visit.run.workflow, visit.stage), names.RESULT: result}
        if platform is not None:
            attributes[names.ITEM_PLATFORM] = self._bound.platform(platform)
        # The SDK's sum of ints may grow beyond 64 bits, which ends every export of metrics; one of floats may not.
        self._count(self._items, count if count < _MOST_WHOLE else float(count), attributes)

    def platform_ended(self, visit: Visit, platform: str, seconds: float) -> None:
        """Measure it."""
        if self._is_measured():
            attributes = {
                **self._labels(visit.run.workflow, visit.stage),
                names.ITEM_PLATFORM: self._bound.platform(platform),
            }
            self._put(self._platform_duration, seconds, attributes, visit.span_context)

    def dead_end(self, owner: Visit | Run, stage: str, action: str | None) -> None:  # noqa: ARG002 - no action on a metric
        """Count it."""
        self._count(self._dead_ends, 1, self._labels(owner.run.workflow, stage))

    def _count(self, add: Record, amount: float, attributes: Mapping[str, str]) -> None:
        if self._is_measured():
            self._put(add, amount, attributes)

    def _is_measured(self) -> bool:
        """Whether there is a provider that may record: those that come with the API never do."""
        if not self._measured:
            provider = metrics.get_meter_provider() if self._provider is None else self._provider
            if provider is not self._without:
                self._measured = not type(provider).__module__.startswith(metrics.__name__)
                self._without = provider
        return self._measured

    def _labels(self, workflow: str, stage: str) -> Mapping[str, str]:
        """The attributes of a stage."""
        labels = self._stages.get((workflow, stage))
        if labels is None:
            key = self._bound.workflow(workflow), self._bound.stage(stage)
            labels = self._stages.get(key)
            if labels is None:
                labels = self._stages.setdefault(key, {names.WORKFLOW_NAME: key[0], names.STAGE_NAME: key[1]})
        return labels

    def _outcome(self, labels: Mapping[str, str], result: Result, first: bool, revision: str) -> Mapping[str, str]:
        """The attributes of visits that ended so; kept by the name that metrics have, as others are not kept at all."""
        key = labels[names.WORKFLOW_NAME], labels[names.STAGE_NAME], result, first, revision
        attributes = self._outcomes.get(key)
        if attributes is None:
            number = names.VISIT_FIRST if first else names.VISIT_REPEAT
            more = {names.RESULT: result, names.VISIT: number, names.REVISION: revision}
            attributes = self._outcomes.setdefault(key, {**labels, **more})
        return attributes

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
            key = self._key(visit)
            count[key] = count.get(key, 0) + 1
        return [Observation(number, self._labels(*key)) for key, number in count.items()]

    def _waiting_stages(self) -> Iterable[Observation]:
        # Lists of keys, here and below: one of pairs is made step by step, and others add to it meanwhile.
        count = {(*stage, reason): 0 for stage in list(self._waits) for reason in list(self._waits[stage])}
        for visit in self._recorder.registry.visits():
            if (reason := visit.waiting_for) is not None:
                key = (*self._key(visit), self._bound.wait_reason(reason))
                count[key] = count.get(key, 0) + 1
        return [
            Observation(number, {**self._labels(workflow, stage), names.WAIT_REASON: reason})
            for (workflow, stage, reason), number in count.items()
        ]

    def _oldest_starts(self) -> Iterable[Observation]:
        oldest: dict[tuple[str, str], int] = {}
        for visit in self._recorder.registry.visits():
            key = self._key(visit)
            oldest[key] = min(visit.started, oldest.get(key, visit.started))
        return [Observation(start / 1e9, self._labels(*key)) for key, start in oldest.items()]

    def _budgets(self) -> Iterable[Observation]:
        budgets = {
            (self._bound.workflow(workflow), self._bound.stage(stage)): self.budgets[workflow, stage]
            for workflow, stage in list(self.budgets)
        }
        return [Observation(seconds, self._labels(*key)) for key, seconds in budgets.items()]

    def _key(self, visit: Visit) -> tuple[str, str]:
        return self._bound.workflow(visit.run.workflow), self._bound.stage(visit.stage)
