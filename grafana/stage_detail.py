"""Stage detail: how long does this stage take, and what goes wrong in it?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from otel_progress import names

from . import frame as f
from . import judged as j
from . import panels as p
from . import queries as q
from . import tables as t

VISITS = q.series(names.STAGE_DURATION, "_count")
NOT_COMPLETED = q.series(names.STAGE_DURATION, "_count", q.NOT_COMPLETED)
FAILED = q.series(names.STAGE_DURATION, "_count", q.HAS_ERROR)
REPEATED = q.series(names.STAGE_DURATION, "_count", q.REPEAT)
RETRIES = q.series(names.STAGE_RETRIES)
STARTED = q.rule("stage", names.STAGE_OLDEST_START, ":min")
BUDGET = q.rule("stage", names.STAGE_BUDGET_METRIC, ":max1d")

NO_VISIT = "No visit of the chosen stages ended in this time range, or no metrics arrive."
NO_VISIT_SHORT = "No visit ended."


def build() -> Dashboard:
    """The dashboard."""
    return f.assemble(
        p.STAGE_DETAIL,
        "Durations, results, attempts and errors of the chosen stages.",
        f.filters(platforms=True),
        [
            ("In this time range", _figures()),
            ("Durations", _durations()),
            ("Results and attempts", _results()),
            ("Errors", _errors()),
            ("Platforms", [_platforms()]),
        ],
    )


def _figures() -> list[p.AnyPanel]:
    return [
        p.number(
            "Visits",
            q.count(VISITS),
            description="Visits that ended in the time range, whatever their result.",
            no_data=NO_VISIT_SHORT,
            width=3,
        ),
        p.number(
            "Incomplete",
            q.ratio(q.total(NOT_COMPLETED), q.total(VISITS)),
            description="Visits that failed, were cancelled or abandoned, as a share of all.",
            no_data=NO_VISIT_SHORT,
            unit=p.SHARE,
            width=3,
            judgement=j.FAILED_SHARE,
        ),
        p.number(
            "p50",
            q.quantile(0.5, names.STAGE_DURATION),
            description="Half of the visits took no longer; right to the bucket.",
            no_data=NO_VISIT_SHORT,
            unit=p.SECONDS,
            width=3,
        ),
        p.number(
            "p95",
            q.quantile(0.95, names.STAGE_DURATION),
            description="95 of 100 visits took no longer; right to the bucket.",
            no_data=NO_VISIT_SHORT,
            unit=p.SECONDS,
            width=3,
        ),
        p.number(
            "Budget",
            _of_one_stage(BUDGET),
            description="Time that a visit may take, as the code declares it. Of one stage: choose one.",
            no_data="None, or several.",
            unit=p.SECONDS,
            width=3,
        ),
        p.number(
            "Repeats",
            q.ratio(q.total(REPEATED), q.total(VISITS)),
            description="Visits that repeat the stage for the same item, as a share of all.",
            no_data=NO_VISIT_SHORT,
            unit=p.SHARE,
            width=3,
        ),
        p.number(
            "Running now",
            f"sum({q.rule('stage', names.STAGE_ACTIVE, ':sum')})",
            description="Visits going on now, over all processes.",
            no_data="Nothing runs.",
            width=3,
        ),
        p.number(
            "Running for",
            q.at_least(f"min({STARTED})"),
            description=(
                "For how long the oldest visit that is going on has been so at least. It may be up to 80 seconds more: "
                "programs report every minute by default, and the servers take up to 20 seconds."
            ),
            no_data="Nothing runs.",
            unit=p.SECONDS,
            width=3,
            zero=p.JUST_SEEN,
        ),
    ]


def _of_one_stage(selector: str) -> str:
    """What is recorded of a stage, where it is the only one that the other figures are of."""
    return f"max({selector}) unless on () count({q.total(VISITS, *q.BY_STAGE)} > 0 or {selector}) > 1"


def _durations() -> list[p.AnyPanel]:
    return [
        p.durations_map(
            "Distribution of durations",
            q.series(names.STAGE_DURATION, "_bucket"),
            description=(
                "Visits that ended in each interval, by how long they took. Each row is up to ten times as long as the "
                "one below. A dot is one visit: it leads to its trace."
            ),
            no_data=NO_VISIT,
        ),
        p.lines(
            "p50 and p95",
            [
                p.Target(q.quantile_over_time(0.5, names.STAGE_DURATION), "p50"),
                p.Target(q.quantile_over_time(0.95, names.STAGE_DURATION), "p95", exemplar=True),
                p.Target(_of_one_stage(q.rule("stage", names.STAGE_DURATION, ":p95_7d")), "p95, last 7 days"),
                p.Target(_of_one_stage(BUDGET), "budget"),
            ],
            description=(
                "Of the visits that ended in each interval, on a logarithmic scale; where it is one stage, with its "
                "budget and its p95 of seven days. A diamond is one visit: it leads to its trace."
            ),
            no_data=NO_VISIT,
            unit=p.SECONDS,
            height=10,
            log=True,
            styles=p.LIMITS,
        ),
        p.lines(
            "p95 by stage",
            [
                p.Target(
                    q.quantile_over_time(0.95, names.STAGE_DURATION, *q.BY_STAGE), p.legend(q.STAGE, q.WORKFLOW, q.JOB)
                )
            ],
            description="The chosen stages beside each other, on a logarithmic scale.",
            no_data=NO_VISIT,
            unit=p.SECONDS,
            by=q.BY_STAGE,
            log=True,
        ),
        p.lines(
            "p50 of first visits and repeats",
            [p.Target(q.quantile_over_time(0.5, names.STAGE_DURATION, q.VISIT), p.legend(q.VISIT))],
            description="Whether doing a stage again takes as long as doing it first, on a logarithmic scale.",
            no_data=NO_VISIT,
            unit=p.SECONDS,
            log=True,
        ),
    ]


def _results() -> list[p.AnyPanel]:
    visits, retries = q.per_second(VISITS), q.per_second(RETRIES)
    return [
        p.bars(
            "Visits by result",
            p.Target(q.count_per_bar(VISITS, q.RESULT), p.legend(q.RESULT)),
            description="Visits that ended in each interval.",
            no_data=NO_VISIT,
            width=8,
            by=(q.RESULT,),
        ),
        p.lines(
            "Attempts per visit",
            [p.Target(f"1 + {q.ratio(retries, visits)}", "attempts")],
            description="1 is no retry. Retries of the items of a batch add up in one visit.",
            no_data=NO_VISIT,
            unit=p.NUMBER,
            width=8,
            decimals=2,
        ),
        p.bars(
            "Retries by error",
            p.Target(q.count_per_bar(RETRIES, q.ERROR), p.legend(q.ERROR)),
            description="Attempts after the first, by the error that made them necessary.",
            no_data="No attempt was repeated in this time range.",
            width=8,
            by=(q.ERROR,),
        ),
    ]


def _platforms() -> p.AnyPanel:
    return p.lines(
        "p95 by platform",
        [p.Target(q.quantile_over_time(0.95, names.STAGE_PLATFORM_DURATION, q.PLATFORM), p.legend(q.PLATFORM))],
        description="Time that the chosen stages worked for each platform, on a logarithmic scale.",
        no_data="None of the chosen stages worked for a platform in this time range.",
        unit=p.SECONDS,
        width=24,
        by=(q.PLATFORM,),
        log=True,
    )


def _errors() -> list[p.AnyPanel]:
    by = (*q.BY_STAGE, q.ERROR)
    failed, retried = q.count(FAILED, *by), q.count(RETRIES, *by)
    some = f"({q.or_zero(failed, retried)}) + ({q.or_zero(retried, failed)}) > 0"
    no_error = "No visit failed and no attempt was repeated in this time range."
    return [
        p.bars(
            "Failed visits by error",
            p.Target(q.count_per_bar(FAILED, q.ERROR), p.legend(q.ERROR)),
            description="Visits that an exception left, by its type.",
            no_data="No visit failed in this time range.",
            width=8,
            by=(q.ERROR,),
        ),
        t.rows(
            "Errors by type",
            by,
            [
                t.Column("Failed visits", f"({q.or_zero(failed, retried)}) and {some}", judgement=j.FAILURES),
                t.Column("Retries", f"({q.or_zero(retried, failed)}) and {some}"),
            ],
            description="What failed visits and what retries mended, the most failures first.",
            no_data=no_error,
            sort="Failed visits",
            width=16,
        ),
    ]
