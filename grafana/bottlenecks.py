"""Bottlenecks: where does the time go?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from otel_progress import names

from . import frame as f
from . import judged as j
from . import panels as p
from . import queries as q
from . import tables as t

VISITS = q.series(names.STAGE_DURATION, "_count")
TIME = q.series(names.STAGE_DURATION, "_sum")
REPEATED = q.series(names.STAGE_DURATION, "_count", q.REPEAT)
REPEAT_TIME = q.series(names.STAGE_DURATION, "_sum", q.REPEAT)
WAIT = q.series(names.STAGE_WAIT_METRIC)
RETRY_WAIT = q.series(names.STAGE_WAIT_METRIC, "", q.RETRY)
RETRIES = q.series(names.STAGE_RETRIES)
ITEMS = q.series(names.STAGE_ITEMS)
ITEMS_NOT_COMPLETED = q.series(names.STAGE_ITEMS, "", q.NOT_COMPLETED)
PLATFORM_TIME = q.series(names.STAGE_PLATFORM_DURATION, "_sum")
PLATFORM_TIMES = q.series(names.STAGE_PLATFORM_DURATION, "_count")

LAST_HOUR = q.rule("stage", names.STAGE_DURATION, ":p95_1h")
LAST_WEEK = q.rule("stage", names.STAGE_DURATION, ":p95_7d")

OVER_BUDGET = q.rule("stage", names.STAGE_DURATION, ":over_budget_1h")
BUDGET = q.rule("stage", names.STAGE_BUDGET_METRIC, ":max1d")

MOST = 8
"""Stages that are drawn one by one: sixty stripes tell nothing."""

NO_VISIT = "No visit ended in this time range, or no metrics arrive."
NO_PAST = "No stage completed a visit in the last hour and in the days before: there is nothing to compare."
NO_REPEAT = "No visit ended in this time range."
NO_WAIT = "Nothing waited in this time range, neither for another attempt nor for what a stage says."
NO_RETRY = "No attempt was repeated in this time range."
NO_PLATFORM = "No stage worked for a platform in this time range."
NO_ITEM = "No item that names a platform ended in this time range."


def build() -> Dashboard:
    """The dashboard."""
    return f.assemble(
        p.BOTTLENECKS,
        "Where the time goes: by stage, by waiting and retries, by repeats, by platform.",
        f.filters(platforms=True),
        [
            ("Where the time goes", [most_time(10, MOST, height=10), _over_budget(), _by_platform(), _stages()]),
            ("Over time, and against the past", _past()),
            ("Waiting and retries", _waiting()),
            ("Repeats", _repeats()),
            ("Platforms", _platforms()),
        ],
    )


def most_time(width: int, most: int, height: int = 8) -> p.AnyPanel:
    """The bottleneck at a glance."""
    time = q.total(TIME, *q.BY_STAGE)
    return p.gauges(
        "Most time",
        p.Target(f"sort_desc(topk({most}, {time} > 0))", p.legend(q.STAGE, q.WORKFLOW, q.JOB)),
        description="The stages with the longest visits in sum, the bottleneck first.",
        no_data=NO_VISIT,
        unit=p.SECONDS,
        width=width,
        height=height,
        by=q.BY_STAGE,
        names_above=True,
    )


def _stages() -> p.AnyPanel:
    of_stage = q.total(TIME, *q.BY_STAGE)
    return t.rows(
        "Stages",
        q.BY_STAGE,
        [
            t.Column("Total", f"{of_stage} > 0", p.SECONDS),
            t.Column("Share", f"{of_stage} / on () group_left () ({q.total(TIME)} > 0) > 0", p.SHARE, bars=True),
            t.Column("Visits", f"{q.count(VISITS, *q.BY_STAGE)} > 0"),
            t.Column("p50", q.quantile(0.5, names.STAGE_DURATION, *q.BY_STAGE), p.SECONDS),
            t.Column("p95", q.quantile(0.95, names.STAGE_DURATION, *q.BY_STAGE), p.SECONDS),
            t.Column("Max, at most", q.quantile(1, names.STAGE_DURATION, *q.BY_STAGE), p.SECONDS),
        ],
        description=(
            "Visits that ended in the time range, the bottleneck first. Quantiles come from buckets: they are "
            "right to the bucket, and none is above 2 hours. Max is the upper bound of the longest visit's bucket."
        ),
        no_data=NO_VISIT,
        sort="Total",
        height=10,
    )


COMPARED = f"{LAST_HOUR} / ({LAST_WEEK} > 0)"


def slower(width: int) -> p.AnyPanel:
    """What is slower than in the week before, and by how much."""
    by, visits = q.BY_STAGE, q.rule("stage", names.STAGE_DURATION, "_count:increase1h")
    return t.rows(
        "Slower than usual",
        by,
        [
            t.Column("Of usual", q.joined(COMPARED, *by), p.SHARE, j.OF_USUAL),
            t.Column("Last hour", q.joined(f"{LAST_HOUR} and {LAST_WEEK} > 0", *by), p.SECONDS),
            t.Column("7 days", q.joined(f"{LAST_WEEK} > 0 and {LAST_HOUR}", *by), p.SECONDS),
            t.Column(
                "Visits",
                q.joined(f"round({visits}) and {COMPARED}", *by),
            ),
        ],
        description=(
            "p95 of the visits that completed in the hour before the end of the time range, against the p95 of the "
            "seven days before that: 200 % is twice as slow. Visits are those of the hour; a few say little."
        ),
        no_data=NO_PAST,
        sort="Of usual",
        width=width,
    )


def _past() -> list[p.AnyPanel]:
    in_range = f"topk({MOST}, sum by ({', '.join(q.BY_STAGE)}) (increase({TIME}[$__range] @ end())))"
    most = f"({q.amount_per_bar(TIME, *q.BY_STAGE)} and {in_range})"
    return [
        p.bars(
            "Share of time by stage",
            p.Target(most, p.legend(q.STAGE, q.WORKFLOW, q.JOB)),
            p.Target(f"{q.amount_per_bar(TIME)} - sum({most}) > 0.000001", p.OTHERS),
            description=(
                "The part that each of the stages with the most time had of the time that visits took, and the others "
                "together. A visit counts when it ends. A stage inside another counts in both."
            ),
            no_data=NO_VISIT,
            unit=p.SECONDS,
            by=q.BY_STAGE,
            percent=True,
        ),
        p.lines(
            "p95 of the hour against the week",
            [p.Target(COMPARED, p.legend(q.STAGE, q.WORKFLOW, q.JOB))],
            description="100 % is as usual (the green line), from 150 % on (the red line) it is much slower.",
            no_data=NO_PAST,
            unit=p.SHARE,
            drawn=j.USUAL_LINES,
            by=q.BY_STAGE,
        ),
        slower(24),
    ]


def _over_budget() -> p.AnyPanel:
    return t.rows(
        "Over budget",
        q.BY_STAGE,
        [
            t.Column("Visits over budget", q.joined(OVER_BUDGET, *q.BY_STAGE), p.SHARE, j.FAILED_SHARE),
            t.Column("Budget", q.joined(f"{BUDGET} and {OVER_BUDGET}", *q.BY_STAGE), p.SECONDS),
        ],
        description=(
            "Visits that completed in the hour before the end of the time range and took longer than their stage's "
            "budget, as a share of all: those that are so beyond doubt, as durations are known to the bucket."
        ),
        no_data="No stage with a budget completed a visit in the last hour.",
        sort="Visits over budget",
        width=14,
        height=10,
    )


def _waiting() -> list[p.AnyPanel]:
    waited, retried = q.total(RETRY_WAIT, *q.BY_STAGE), q.count(RETRIES, *q.BY_STAGE)
    by = (*q.BY_STAGE, q.REASON)
    return [
        p.bars(
            "Waiting by reason",
            p.Target(q.amount_per_bar(WAIT, *by), p.legend(q.STAGE, q.REASON, q.WORKFLOW, q.JOB)),
            description="Time between failed attempts and the next (retry), and what stages said that they wait for.",
            no_data=NO_WAIT,
            unit=p.SECONDS,
            by=by,
        ),
        p.counts_by_stage("Retries", RETRIES, description="Attempts after the first.", no_data=NO_RETRY),
        t.rows(
            "Cost of retries",
            q.BY_STAGE,
            [
                t.Column("Waiting", f"({q.or_zero(waited, retried)}) and {retried} > 0", p.SECONDS),
                t.Column(
                    "Share of its time",
                    f"({q.or_zero(waited, retried)}) / ({q.total(TIME, *q.BY_STAGE)} > 0) and {retried} > 0",
                    p.SHARE,
                ),
                t.Column("Retries", f"{retried} > 0"),
            ],
            description=(
                "What waiting between attempts took of the stage's time. Items that wait side by side are added up, so "
                "this may be above 100 %."
            ),
            no_data=NO_RETRY,
            sort="Waiting",
        ),
    ]


def _repeats() -> list[p.AnyPanel]:
    by, visits = q.BY_STAGE, q.count(VISITS, *q.BY_STAGE)
    return [
        p.by_workflow(
            "Share of time in repeats",
            q.ratio(q.per_second(REPEAT_TIME, *q.BY_WORKFLOW), q.per_second(TIME, *q.BY_WORKFLOW)),
            description="Time of visits that repeat a stage for the same item, as a share of the time of all visits.",
            no_data=NO_REPEAT,
            width=8,
        ),
        t.rows(
            "Repeats by stage",
            by,
            [
                t.Column("Time", f"({q.or_zero(q.total(REPEAT_TIME, *by), visits)}) and {visits} > 0", p.SECONDS),
                t.Column("Share", q.ratio(q.total(REPEAT_TIME, *by), q.total(TIME, *by)), p.SHARE),
                t.Column("Repeats", f"({q.or_zero(q.count(REPEATED, *by), visits)}) and {visits} > 0"),
                t.Column("Of visits", q.ratio(q.total(REPEATED, *by), q.total(VISITS, *by)), p.SHARE),
            ],
            description=(
                "What is done again costs this much time, and this share of the stage's time and of its visits: the "
                "stage with the most time in repeats first."
            ),
            no_data=NO_REPEAT,
            sort="Time",
            width=16,
        ),
    ]


def _by_platform() -> p.AnyPanel:
    each = (q.PLATFORM, *q.BY_STAGE)
    return t.rows(
        "Time by platform",
        each,
        [
            t.Column("Total", f"{q.total(PLATFORM_TIME, *each)} > 0", p.SECONDS),
            t.Column(
                "Share of its stage",
                f"{q.total(PLATFORM_TIME, *each)} / on ({', '.join(q.BY_STAGE)}) group_left () "
                f"({q.total(PLATFORM_TIME, *q.BY_STAGE)} > 0) > 0",
                p.SHARE,
                bars=True,
            ),
            t.Column("Times", f"{q.count(PLATFORM_TIMES, *each)} > 0"),
            t.Column("p50", q.quantile(0.5, names.STAGE_PLATFORM_DURATION, *each), p.SECONDS),
            t.Column("p95", q.quantile(0.95, names.STAGE_PLATFORM_DURATION, *each), p.SECONDS),
        ],
        description=(
            "Time that stages worked for each platform: for items that name one, in an item of a batch flow, or "
            "after visit.platform(). The platform and stage with the most time first. Items that are worked on "
            "side by side are added up, and a stage inside another counts in both."
        ),
        no_data=NO_PLATFORM,
        sort="Total",
        height=7,
    )


def _platforms() -> list[p.AnyPanel]:
    by = (q.PLATFORM, q.STAGE)
    return [
        t.matrix(
            "Items by platform and stage",
            f"{q.count(ITEMS, *by)} > 0",
            row=q.PLATFORM,
            column=q.STAGE,
            description="Items that ended in the time range. Choose a workflow where several have stages of one name.",
            no_data=NO_ITEM,
            unit=p.COUNT,
        ),
        t.matrix(
            "Failed items by platform and stage",
            q.ratio(q.total(ITEMS_NOT_COMPLETED, *by), q.total(ITEMS, *by)),
            row=q.PLATFORM,
            column=q.STAGE,
            description="Items that ended neither as a success nor as a fallback, as a share of all.",
            no_data=NO_ITEM,
            unit=p.SHARE,
            judgement=j.FAILED_SHARE,
        ),
    ]
