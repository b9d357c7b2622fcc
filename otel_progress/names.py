"""Every name that otel_progress gives to the outside world, once.

Span names, attributes, metrics, keys of the shared store and environment variables. The code takes them from here,
and the tests hold docs, dashboards and alert rules against them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from opentelemetry.semconv.attributes import code_attributes, error_attributes

SCOPE: Final = "otel_progress"
"""Name of the tracer, the meter and the logger."""

# --- spans ------------------------------------------------------------------------------------------------------------

SPAN_RUN: Final = "run"
SPAN_STAGE: Final = "stage"
SPAN_ATTEMPT: Final = "attempt"
SPAN_ITEM: Final = "item"
SPAN_WAIT: Final = "wait"
SPAN_PHASES: Final = ("prep", "exec", "post")

EVENT_VERSION: Final = "version"
"""Span event: an entry was added to `version_history` during the visit."""
EVENT_DEAD_END: Final = "dead_end"
"""Span event: a node returned an action that no edge takes, and its flow ended there."""
EVENT_EXCEPTION: Final = "exception"
"""Span event, or log event where `OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN` asks for that: an exception left something."""

EVENT_RUN_STARTED: Final = "otel_progress.run.started"
EVENT_RUN_ENDED: Final = "otel_progress.run.ended"
EVENT_STAGE_STARTED: Final = "otel_progress.stage.started"
EVENT_STAGE_PROGRESS: Final = "otel_progress.stage.progress"
EVENT_STAGE_ENDED: Final = "otel_progress.stage.ended"
EVENTS: Final = (EVENT_RUN_STARTED, EVENT_RUN_ENDED, EVENT_STAGE_STARTED, EVENT_STAGE_PROGRESS, EVENT_STAGE_ENDED)
"""Log events: what happens, told as it happens."""

# --- attributes -------------------------------------------------------------------------------------------------------

WORKFLOW_NAME: Final = "otel_progress.workflow.name"
RUN_ID: Final = "otel_progress.run.id"
STAGE_NAME: Final = "otel_progress.stage.name"
STAGE_PLATFORMS: Final = "otel_progress.stage.platforms"
STAGE_PLATFORM_COUNT: Final = "otel_progress.stage.platform_count"
STAGE_REVISION: Final = "otel_progress.stage.revision"
STAGE_VISIT: Final = "otel_progress.stage.visit"
STAGE_ATTEMPTS: Final = "otel_progress.stage.attempts"
STAGE_RESULT: Final = "otel_progress.stage.result"
STAGE_ACTION: Final = "otel_progress.stage.action"
STAGE_ITEMS_TOTAL: Final = "otel_progress.stage.items.total"
STAGE_ITEMS_DONE: Final = "otel_progress.stage.items.done"
STAGE_ITEMS_FAILED: Final = "otel_progress.stage.items.failed"
STAGE_WAIT: Final = "otel_progress.stage.wait"
WAIT_REASON: Final = "otel_progress.wait.reason"
STAGE_BUDGET: Final = "otel_progress.stage.budget"
ITEM_PLATFORM: Final = "otel_progress.item.platform"
VERSION_ID: Final = "otel_progress.version.id"
VERSION_ACTION: Final = "otel_progress.version.action"
RESULT: Final = "otel_progress.result"
VISIT: Final = "otel_progress.visit"
REVISION: Final = "otel_progress.revision"
PENDING: Final = "otel_progress.pending"
"""Marks a span of no length that only says that a run or a visit has begun."""
RUN_JOINED: Final = "otel_progress.run.joined"
"""On events: whether the run began elsewhere, in another process or before its end here."""
STAGE_VISIT_ID: Final = "otel_progress.stage.visit_id"
"""On events: what tells a visit from every other of a record."""
STAGE_FOLLOWS: Final = "otel_progress.stage.follows"
"""On events: the visits that one is known to follow."""
LINK: Final = "otel_progress.link"
"""On links: what the span that is linked to is to this one."""
STAGE_RETRY_COUNT: Final = "otel_progress.stage.retries"
PARENT_VISIT_ID: Final = "otel_progress.parent.visit_id"
PARENT_SPAN_ID: Final = "otel_progress.parent.span_id"
DURATION: Final = "otel_progress.duration"
PROCESS: Final = "otel_progress.process"
"""On the resource of events: what tells a process from every other of a record, one with the same id too."""
ERROR_TYPE: Final = error_attributes.ERROR_TYPE
CODE_FUNCTION_NAME: Final = code_attributes.CODE_FUNCTION_NAME

WARN: Final = 13
ERROR: Final = 17
"""Severities of log records, as OpenTelemetry numbers them."""

# --- values -----------------------------------------------------------------------------------------------------------

Result = Literal["success", "fallback", "failure", "cancelled", "abandoned"]
"""How a visit or a run ended; see docs/reference.md."""

WAIT_RETRY: Final = "retry"
"""The reason of the wait between a failed attempt and the next."""
LINK_REPEATS: Final = "repeats"
LINK_FOLLOWS: Final = "follows"
VISIT_FIRST: Final = "first"
VISIT_REPEAT: Final = "repeat"
REVISION_UNKNOWN: Final = "none"
"""The revision of a visit whose workflow keeps no count."""
REVISIONS: Final = ("0", "1", "2", "3", "4+")
"""Revisions as metrics tell them apart: a count without end would make series without end."""
ATTEMPTS: Final = ("1", "2", "3", "4", "5+")
"""Numbers of attempts in the names of their spans, for the same reason."""
OTHER: Final = "other"
"""Stands for every name above the bound on distinct names."""

# --- metrics ----------------------------------------------------------------------------------------------------------

DURATION_BUCKETS: Final = (0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
COUNT_BUCKETS: Final = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0)


def label(attribute: str) -> str:
    """An attribute's name as a label of Prometheus."""
    return attribute.replace(".", "_")


@dataclass(frozen=True)
class Metric:
    """One instrument: what a dashboard or a rule may ask for."""

    name: str
    kind: Literal["histogram", "counter", "observable up-down counter", "observable gauge"]
    unit: str
    """UCUM, as OpenTelemetry writes units: `s`, `{run}`."""
    description: str
    attributes: tuple[str, ...]
    buckets: tuple[float, ...] | None = None
    """Upper bounds of a histogram's buckets, in its unit."""

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus, as OTLP names are translated: dots, unit, and the ending of a counter.

        A histogram has `_bucket`, `_sum` and `_count` behind it.
        """
        unit = "_seconds" if self.unit == "s" else ""
        return label(self.name) + unit + ("_total" if self.kind == "counter" else "")


_STAGE = (WORKFLOW_NAME, STAGE_NAME)

RUN_DURATION: Final = Metric(
    "otel_progress.run.duration", "histogram", "s", "Duration of runs.", (WORKFLOW_NAME, RESULT), DURATION_BUCKETS
)
STAGE_DURATION: Final = Metric(
    "otel_progress.stage.duration",
    "histogram",
    "s",
    "Duration of visits of a stage.",
    (*_STAGE, RESULT, VISIT, REVISION, ERROR_TYPE),
    DURATION_BUCKETS,
)
RUN_ACTIVE: Final = Metric(
    "otel_progress.run.active", "observable up-down counter", "{run}", "Runs going on.", (WORKFLOW_NAME,)
)
STAGE_ACTIVE: Final = Metric(
    "otel_progress.stage.active", "observable up-down counter", "{stage}", "Visits going on.", _STAGE
)
STAGE_OLDEST_START: Final = Metric(
    "otel_progress.stage.oldest_start",
    "observable gauge",
    "s",
    "Start of the oldest visit going on, in seconds since the Unix epoch.",
    _STAGE,
)
STAGE_BUDGET_METRIC: Final = Metric(
    "otel_progress.stage.budget", "observable gauge", "s", "Time that a visit of the stage may take.", _STAGE
)
STAGE_RETRIES: Final = Metric(
    "otel_progress.stage.retries", "counter", "{retry}", "Attempts after the first.", (*_STAGE, ERROR_TYPE)
)
STAGE_WAIT_METRIC: Final = Metric(
    "otel_progress.stage.wait",
    "counter",
    "s",
    "Time that visits waited: for the next attempt after a failed one, or for what they said.",
    (*_STAGE, WAIT_REASON),
)
STAGE_WAITING: Final = Metric(
    "otel_progress.stage.waiting",
    "observable up-down counter",
    "{stage}",
    "Visits going on that wait.",
    (*_STAGE, WAIT_REASON),
)
STAGE_ITEMS: Final = Metric(
    "otel_progress.stage.items", "counter", "{item}", "Items of batches that ended.", (*_STAGE, RESULT, ITEM_PLATFORM)
)
STAGE_PLATFORM_DURATION: Final = Metric(
    "otel_progress.stage.platform.duration",
    "histogram",
    "s",
    "Time that stages worked for one platform.",
    (*_STAGE, ITEM_PLATFORM),
    DURATION_BUCKETS,
)
RUN_REVISIONS: Final = Metric(
    "otel_progress.run.revisions", "histogram", "{revision}", "Revisions of a run.", (WORKFLOW_NAME,), COUNT_BUCKETS
)
RUN_PLATFORMS: Final = Metric(
    "otel_progress.run.platforms", "histogram", "{platform}", "Platforms of a run.", (WORKFLOW_NAME,), COUNT_BUCKETS
)
DEAD_ENDS: Final = Metric(
    "otel_progress.flow.dead_ends", "counter", "{transition}", "Actions returned that no edge takes.", _STAGE
)
METRICS: Final = (
    RUN_DURATION,
    STAGE_DURATION,
    RUN_ACTIVE,
    STAGE_ACTIVE,
    STAGE_OLDEST_START,
    STAGE_BUDGET_METRIC,
    STAGE_RETRIES,
    STAGE_WAIT_METRIC,
    STAGE_WAITING,
    STAGE_ITEMS,
    STAGE_PLATFORM_DURATION,
    RUN_REVISIONS,
    RUN_PLATFORMS,
    DEAD_ENDS,
)

# --- the shared store -------------------------------------------------------------------------------------------------

PROGRESS_METRICS: Final = "progress_metrics"
PROGRESS_RUN: Final = "progress_run"
MIRROR_FIELDS: Final = (
    "start_time",
    "end_time",
    "platforms",
    "revisions",
    "completed",
    "visits",
    "seconds",
    "result",
    "results",
    "retries",
    "items_done",
    "items_total",
    "versions",
    "error",
    "trace_id",
    "waiting",
)
RUN_FIELDS: Final = ("run_id", "workflow", "traceparent", "started", "tracestate")

# --- environment variables --------------------------------------------------------------------------------------------

OTEL_PROGRESS_MIRROR: Final = "OTEL_PROGRESS_MIRROR"
"""Whether visits are written into the shared store. Default: those that the program itself records."""
OTEL_PROGRESS_DETAIL: Final = "OTEL_PROGRESS_DETAIL"
"""Extra child spans: `none`, `phases`, `items` or `all`. Default: `none`."""
OTEL_PROGRESS_CAPTURE_MESSAGES: Final = "OTEL_PROGRESS_CAPTURE_MESSAGES"
"""`false` keeps the messages of exceptions out of telemetry; their types stay. Default: `true`."""
OTEL_PROGRESS_NAME_LIMIT: Final = "OTEL_PROGRESS_NAME_LIMIT"
"""Distinct workflow, stage and platform names (each) before the rest becomes `other`. Default: 200."""
OTEL_PROGRESS_INCLUDE: Final = "OTEL_PROGRESS_INCLUDE"
"""Stages that the instrumentor records: comma-separated names, `*` and `?` as in file names. Default: all."""
OTEL_PROGRESS_EXCLUDE: Final = "OTEL_PROGRESS_EXCLUDE"
"""Stages that the instrumentor leaves out, written in the same way. Default: none."""
OTEL_PROGRESS_STAGE_NAMES: Final = "OTEL_PROGRESS_STAGE_NAMES"
"""Other names for stages that the instrumentor records: comma-separated `Name=stage`. Default: none."""
OTEL_PROGRESS_PLATFORM_KEY: Final = "OTEL_PROGRESS_PLATFORM_KEY"
"""The parameter of a batch flow's item that names its platform. Default: `platform`."""
OTEL_PROGRESS_MODULES: Final = "OTEL_PROGRESS_MODULES"
"""Modules that hold a copy of PocketFlow, comma-separated, beside those that are recognised by their shape."""
OTEL_PROGRESS_EVENTS: Final = "OTEL_PROGRESS_EVENTS"
"""`true` sends events by OTLP logs, where `configure` sets up the SDK. Default: `false`."""
OTEL_PROGRESS_PENDING: Final = "OTEL_PROGRESS_PENDING"
"""`true` makes a pending span at the start of every run and visit. Default: `false`."""
OTEL_PROGRESS_LIVE: Final = "OTEL_PROGRESS_LIVE"
"""`true` shows the progress of the process, in a notebook or on standard error. Default: `false`."""
OTEL_PROGRESS_RECORD: Final = "OTEL_PROGRESS_RECORD"
"""The folder of a record that this process's events go to. `otel-progress run` sets it, for children."""
OTEL_PROGRESS_UI_TOKEN: Final = "OTEL_PROGRESS_UI_TOKEN"  # noqa: S105 - the name of a variable
"""The token that `otel-progress ui` asks for. Default: a new one where other machines are let in, else none."""
ENVIRONMENT: Final = (
    OTEL_PROGRESS_MIRROR,
    OTEL_PROGRESS_DETAIL,
    OTEL_PROGRESS_CAPTURE_MESSAGES,
    OTEL_PROGRESS_NAME_LIMIT,
    OTEL_PROGRESS_INCLUDE,
    OTEL_PROGRESS_EXCLUDE,
    OTEL_PROGRESS_STAGE_NAMES,
    OTEL_PROGRESS_PLATFORM_KEY,
    OTEL_PROGRESS_MODULES,
    OTEL_PROGRESS_EVENTS,
    OTEL_PROGRESS_PENDING,
    OTEL_PROGRESS_LIVE,
    OTEL_PROGRESS_RECORD,
)
"""What settings of recording are read from."""
COMMAND_ENVIRONMENT: Final = (OTEL_PROGRESS_UI_TOKEN,)
"""What commands read, and no program that is recorded does."""
