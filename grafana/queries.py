"""PromQL for the dashboards: every name of a metric or a label comes from `otel_progress.names`.

What is asked decides over which window. A total or a table asks over the whole time range (`$__range`), so that it is
right for one run a day. A bar is the increase of its interval: `rate` over `$__rate_interval`, which reaches one scrape
further back than the interval, so that nothing falls between two bars; times the interval's length that is the count.
"""

from __future__ import annotations

from typing import Literal, get_args

from otel_progress import names

JOB = "job"
WORKFLOW = names.label(names.WORKFLOW_NAME)
STAGE = names.label(names.STAGE_NAME)
RESULT = names.label(names.RESULT)
VISIT = names.label(names.VISIT)
REVISION = names.label(names.REVISION)
PLATFORM = names.label(names.ITEM_PLATFORM)
ERROR = names.label(names.ERROR_TYPE)
REASON = names.label(names.WAIT_REASON)
ALERT, SEVERITY = "alertname", "severity"
FIRING = 'alertstate="firing"'

BY_WORKFLOW = (JOB, WORKFLOW)
BY_STAGE = (JOB, WORKFLOW, STAGE)

RESULTS: tuple[str, ...] = get_args(names.Result)
COMPLETED = "success|fallback"
SUCCESS = f'{RESULT}="success"'
FALLBACK = f'{RESULT}="fallback"'
NOT_COMPLETED = f'{RESULT}!~"{COMPLETED}"'
FIRST = f'{VISIT}="{names.VISIT_FIRST}"'
REPEAT = f'{VISIT}="{names.VISIT_REPEAT}"'
REVISED = f'{REVISION}!~"|{names.REVISION_UNKNOWN}|{names.REVISIONS[0]}"'
"""Of visits of a workflow that counts revisions, those at its first or a later one."""
RETRY = f'{REASON}="{names.WAIT_RETRY}"'
HAS_ERROR = f'{ERROR}!=""'
NONE = 'le=~"0(.0)?"'
"""The bucket of the zeros: Prometheus writes its bound as `0` or as `0.0`, by the format of the scrape."""


def series(metric: names.Metric, part: Literal["", "_bucket", "_sum", "_count"] = "", *matchers: str) -> str:
    """A selector, filtered by the dashboard's variables."""
    of_platform = [f'{PLATFORM}=~"$platform"'] if names.ITEM_PLATFORM in metric.attributes else []
    return _selector(metric.prometheus + part, names.STAGE_NAME in metric.attributes, (*of_platform, *matchers))


def rule(level: Literal["stage", "workflow"], metric: names.Metric, operation: str) -> str:
    """A selector of a recording rule's series, filtered by the dashboard's variables."""
    return _selector(f"{level}:{metric.prometheus}{operation}", level == "stage", ())


def _selector(name: str, has_stage: bool, matchers: tuple[str, ...]) -> str:
    ours = [f'{JOB}=~"$job"', f'{WORKFLOW}=~"$workflow"', *([f'{STAGE}=~"$stage"'] if has_stage else [])]
    return f"{name}{{{', '.join(sorted((*ours, *matchers)))}}}"


def firing() -> str:
    """A selector of the alerts that fire; also of those that are of no job, workflow or stage."""
    chosen = [f'{label}=~"${name}|"' for label, name in ((JOB, "job"), (WORKFLOW, "workflow"), (STAGE, "stage"))]
    return f"ALERTS{{{', '.join(sorted((FIRING, *chosen)))}}}"


def joined(expr: str, *by: str) -> str:
    """A recorded value by its labels alone: rows of a table cannot be joined while each has the name of its rule."""
    return f"max by ({', '.join(by)}) ({expr})"


REPORTED = 80
"""Seconds: programs report every 60 by default, the collector is asked every 5, and rules are evaluated every 15."""


def up_to(started: str) -> str:
    """For how long something has been going on, unless it has ended since the last report."""
    return f"time() - {started}"


def at_least(started: str) -> str:
    """For how long it went on for sure, until the last report."""
    return f"clamp_min({up_to(started)} - {REPORTED}, 0)"


def total(selector: str, *by: str) -> str:
    """By how much counters have grown over the time range."""
    return f"{_sum(by)} (increase({selector}[$__range]))"


def count(selector: str, *by: str) -> str:
    """The same as a whole number: `increase` extrapolates to the edges of the range."""
    return f"round({total(selector, *by)})"


def per_second(selector: str, *by: str) -> str:
    """How fast counters grow, over time."""
    return f"{_sum(by)} (rate({selector}[$__rate_interval]))"


def amount_per_bar(selector: str, *by: str) -> str:
    """By how much counters grow in each interval."""
    return f"{per_second(selector, *by)} * $__interval_ms / 1000"


def count_per_bar(selector: str, *by: str) -> str:
    """The same as a whole number."""
    return f"round({amount_per_bar(selector, *by)})"


def quantile(share: float, metric: names.Metric, *by: str, matchers: tuple[str, ...] = ()) -> str:
    """A quantile over the time range. What saw nothing in it is left out."""
    return f"histogram_quantile({share:g}, {total(series(metric, '_bucket', *matchers), 'le', *by)}) >= 0"


def quantile_over_time(share: float, metric: names.Metric, *by: str, matchers: tuple[str, ...] = ()) -> str:
    """A quantile of each interval."""
    return f"histogram_quantile({share:g}, {per_second(series(metric, '_bucket', *matchers), 'le', *by)}) >= 0"


def ratio(part: str, whole: str) -> str:
    """A share. It is 0 where there is no part, and left out where there is nothing to have a share in."""
    return f"({or_zero(part, whole)}) / ({whole} > 0)"


def or_zero(part: str, whole: str) -> str:
    """A part, or 0 for what has a whole but no such part: a counter that never counted does not exist."""
    return f"{part} or 0 * {whole}"


def _sum(by: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"
