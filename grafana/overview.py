"""Overview: is everything well, and what is going on now?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from otel_progress import names

from . import bottlenecks
from . import frame as f
from . import judged as j
from . import panels as p
from . import queries as q
from . import tables as t

RUNS = q.series(names.RUN_DURATION, "_count")
SUCCESSFUL = q.series(names.RUN_DURATION, "_count", q.SUCCESS)
NOT_COMPLETED = q.series(names.RUN_DURATION, "_count", q.NOT_COMPLETED)
REVISIONS = q.series(names.RUN_REVISIONS, "_sum"), q.series(names.RUN_REVISIONS, "_count")
STARTED = q.rule("stage", names.STAGE_OLDEST_START, ":min")
BUDGET = q.rule("stage", names.STAGE_BUDGET_METRIC, ":max1d")
USUAL = q.rule("stage", names.STAGE_DURATION, ":p95_7d")
RUNNING = f"{q.rule('stage', names.STAGE_ACTIVE, ':sum')} > 0"

NO_RUN = "No run ended in this time range, or no metrics arrive."
NOTHING_RUNS = "Nothing runs now. Programs report every minute by default: a shorter run may not be seen."


def build() -> Dashboard:
    """The dashboard."""
    figures = [
        p.number(
            "Running now",
            f"sum({q.rule('workflow', names.RUN_ACTIVE, ':sum')})",
            description="Runs going on now, over all processes. Those of a killed process count for two minutes more.",
            no_data="Nothing runs.",
            width=3,
        ),
        p.number(
            "Finished",
            q.count(RUNS),
            description="Runs that ended in the time range, whatever their result.",
            no_data="No run ended.",
            width=3,
        ),
        p.number(
            "Failed",
            q.or_zero(q.count(NOT_COMPLETED), q.count(RUNS)),
            description="Runs that ended as a failure, cancelled or abandoned in the time range.",
            no_data="No run ended.",
            judgement=j.FAILURES,
            width=3,
        ),
        p.number(
            "Alerts",
            f"count({q.firing()})",
            description="Alerts that fire now; what they are stands below.",
            no_data="None fires.",
            judgement=j.FAILURES,
            width=3,
        ),
        p.number(
            "Success ratio",
            q.ratio(q.total(SUCCESSFUL), q.total(RUNS)),
            description="Successful runs as a share of all that ended in the time range.",
            no_data="No run ended.",
            unit=p.SHARE,
            judgement=j.SUCCESS,
        ),
        p.number(
            "Oldest running stage",
            f"clamp_min(topk(1, {q.up_to(STARTED)}) - {q.REPORTED}, 0)",
            description=(
                "For how long the oldest visit that is going on has been so at least. It may be up to 80 seconds more: "
                "programs report every minute by default, and the servers take up to 20 seconds. A click leads to its "
                "stage."
            ),
            no_data="No stage runs now.",
            unit=p.SECONDS,
            width=8,
            by=q.BY_STAGE,
            zero=p.JUST_SEEN,
        ),
    ]
    running = t.rows(
        "Running stages",
        q.BY_STAGE,
        [
            t.Column("Running up to", q.joined(q.up_to(STARTED), *q.BY_STAGE), p.SECONDS),
            t.Column("At least", q.joined(q.at_least(STARTED), *q.BY_STAGE), p.SECONDS),
            t.Column("Visits", q.joined(RUNNING, *q.BY_STAGE)),
            t.Column("Budget", _of_running(BUDGET), p.SECONDS),
            t.Column("Of budget", _of_running(f"{q.at_least(STARTED)} / ({BUDGET} > 0)"), p.SHARE, j.OF_BUDGET),
            t.Column("Usual p95", _of_running(USUAL), p.SECONDS),
            t.Column("Of usual", _of_running(f"{q.at_least(STARTED)} / ({USUAL} > 0)"), p.SHARE, j.OF_USUAL),
        ],
        description=(
            "Stages with visits going on, the longest first. Programs report every minute, and the servers take up to "
            "20 seconds: the first column is right if the oldest visit has not ended since; it has been going on for "
            "80 seconds less at least. That is what is held against the budget and the p95 of the last seven days."
        ),
        no_data=NOTHING_RUNS,
        sort="Running up to",
    )
    alerts = t.rows(
        "Alerts that fire",
        (q.ALERT, q.SEVERITY, *q.BY_STAGE),
        [t.Column("Number", f"count by ({', '.join((q.ALERT, q.SEVERITY, *q.BY_STAGE))}) ({q.firing()})")],
        description="What fires now, by alert and by what it is about. Alertmanager says since when, and to whom.",
        no_data="No alert fires.",
        sort="Severity",
        ascending=True,
        height=6,
    )
    by_workflow = t.rows(
        "Workflows",
        q.BY_WORKFLOW,
        [
            t.Column("Runs", f"{q.count(RUNS, *q.BY_WORKFLOW)} > 0"),
            t.Column(
                "Failed",
                _ended(q.or_zero(q.count(NOT_COMPLETED, *q.BY_WORKFLOW), q.count(RUNS, *q.BY_WORKFLOW))),
                judgement=j.FAILURES,
            ),
            t.Column(
                "Success ratio",
                q.ratio(q.total(SUCCESSFUL, *q.BY_WORKFLOW), q.total(RUNS, *q.BY_WORKFLOW)),
                p.SHARE,
                j.SUCCESS,
            ),
            t.Column("p50", q.quantile(0.5, names.RUN_DURATION, *q.BY_WORKFLOW), p.SECONDS),
            t.Column("p95", q.quantile(0.95, names.RUN_DURATION, *q.BY_WORKFLOW), p.SECONDS),
            t.Column("Total", _ended(q.total(q.series(names.RUN_DURATION, "_sum"), *q.BY_WORKFLOW)), p.SECONDS),
            t.Column("Revisions per run", _per_run(*q.BY_WORKFLOW), p.NUMBER),
        ],
        description=(
            "What ended in the time range, by workflow, the most failures first. Quantiles come from buckets: they are "
            "right to the bucket. Revisions are empty where the workflow keeps no count."
        ),
        no_data=NO_RUN,
        sort="Failed",
    )
    return f.assemble(
        p.OVERVIEW,
        "What runs now, what finished, what failed, and how long runs take.",
        f.filters(platforms=True),
        [
            (
                "Now and in this time range",
                [*figures, bottlenecks.most_time(8, 5), bottlenecks.slower(16), alerts, running],
            ),
            (
                "Runs",
                [
                    p.bars(
                        "Runs by result",
                        p.Target(q.count_per_bar(RUNS, q.RESULT), p.legend(q.RESULT)),
                        description="Runs that ended in each interval.",
                        no_data=NO_RUN,
                        by=(q.RESULT,),
                    ),
                    p.lines(
                        "Run duration, p95",
                        [
                            p.Target(
                                q.quantile_over_time(0.95, names.RUN_DURATION, *q.BY_WORKFLOW),
                                p.legend(q.WORKFLOW, q.JOB),
                                exemplar=True,
                            )
                        ],
                        description=(
                            "95 of 100 runs that ended in the interval took no longer. A diamond is one run: it leads "
                            "to its trace."
                        ),
                        no_data=NO_RUN,
                        unit=p.SECONDS,
                        by=q.BY_WORKFLOW,
                        log=True,
                    ),
                    by_workflow,
                ],
            ),
            (
                "Output",
                [
                    p.bars(
                        "Platforms processed",
                        p.Target(
                            f"{q.count_per_bar(q.series(names.RUN_PLATFORMS, '_sum'), *q.BY_WORKFLOW)} > 0",
                            p.legend(q.WORKFLOW, q.JOB),
                        ),
                        description="Platforms of the runs that ended in each interval.",
                        no_data="No run that ended in this time range worked for platforms.",
                        width=8,
                        by=q.BY_WORKFLOW,
                    ),
                    p.gauges(
                        "Items by platform",
                        p.Target(
                            f"sort_desc({q.count(q.series(names.STAGE_ITEMS), q.PLATFORM)} > 0)",
                            p.legend(q.PLATFORM),
                        ),
                        description="Items of batches that ended in the time range, of the chosen stages, by platform.",
                        no_data="No item that names a platform ended in this time range.",
                        width=8,
                    ),
                    p.by_workflow(
                        "Revisions per run",
                        _per_run_over_time(),
                        description="Mean of the runs that ended in the interval.",
                        no_data="No run that counts revisions ended in this time range.",
                        unit=p.NUMBER,
                        width=8,
                    ),
                ],
            ),
        ],
    )


def _of_running(selector: str) -> str:
    return q.joined(f"{selector} and {RUNNING}", *q.BY_STAGE)


def _ended(expr: str) -> str:
    return f"({expr}) and {q.total(RUNS, *q.BY_WORKFLOW)} > 0"


def _per_run(*by: str) -> str:
    revisions, runs = REVISIONS
    return f"{q.total(revisions, *by)} / ({q.total(runs, *by)} > 0)"


def _per_run_over_time() -> str:
    revisions, runs = REVISIONS
    return f"{q.per_second(revisions, *q.BY_WORKFLOW)} / ({q.per_second(runs, *q.BY_WORKFLOW)} > 0)"
