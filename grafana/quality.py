"""Quality: how much is done again, and how much is degraded or lost?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from otel_progress import names

from . import frame as f
from . import judged as j
from . import panels as p
from . import queries as q
from . import tables as t

COUNTED = q.series(names.RUN_REVISIONS, "_count")
REVISIONS = q.series(names.RUN_REVISIONS, "_sum")
UNREVISED = q.series(names.RUN_REVISIONS, "_bucket", q.NONE)
BUCKETS = q.series(names.RUN_REVISIONS, "_bucket")
VISITS = q.series(names.STAGE_DURATION, "_count")
FIRST = q.series(names.STAGE_DURATION, "_count", q.FIRST)
CLEAN = q.series(names.STAGE_DURATION, "_count", q.FIRST, q.SUCCESS)
REPEATED = q.series(names.STAGE_DURATION, "_count", q.REPEAT)
TIME = q.series(names.STAGE_DURATION, "_sum")
REVISED_TIME = q.series(names.STAGE_DURATION, "_sum", q.REPEAT, q.REVISED)
FALLBACKS = q.series(names.STAGE_DURATION, "_count", q.FALLBACK)
NOT_COMPLETED = q.series(names.STAGE_DURATION, "_count", q.NOT_COMPLETED)
DEAD_ENDS = q.series(names.DEAD_ENDS)

NO_RUN = "No run that counts revisions ended in this time range."
NO_VISIT = "No visit ended in this time range, or no metrics arrive."
NO_REVISION = "No stage was repeated for a revision in this time range."
SHORT_NO_RUN = "No run counted revisions."
SHORT_NO_VISIT = "No visit ended."


def build() -> Dashboard:
    """The dashboard."""
    return f.assemble(
        p.QUALITY,
        "Revisions, first-pass yield, fallbacks and dead ends.",
        f.filters(),
        [
            ("In this time range", _figures()),
            ("What revisions cost", _cost()),
            ("Revisions", _revisions()),
            ("Fallbacks and dead ends", _degraded()),
        ],
    )


def _figures() -> list[p.AnyPanel]:
    return [
        p.number(
            "First-pass yield",
            q.ratio(q.total(UNREVISED), q.total(COUNTED)),
            description="Runs without a revision, as a share of the runs that count revisions.",
            no_data=SHORT_NO_RUN,
            unit=p.SHARE,
            judgement=j.YIELD,
        ),
        p.number(
            "Revisions per run",
            f"{q.total(REVISIONS)} / ({q.total(COUNTED)} > 0)",
            description="Mean of the runs that count revisions.",
            no_data=SHORT_NO_RUN,
            unit=p.NUMBER,
        ),
        p.number(
            "Clean first visits",
            q.ratio(q.total(CLEAN), q.total(FIRST)),
            description="First visits that succeeded without a fallback, as a share of all first visits.",
            no_data=SHORT_NO_VISIT,
            unit=p.SHARE,
            judgement=j.YIELD,
        ),
        p.number(
            "Time in revisions",
            q.ratio(q.total(REVISED_TIME), q.total(TIME)),
            description="Time of visits that repeated a stage for a revision, as a share of the time of all visits.",
            no_data=SHORT_NO_VISIT,
            unit=p.SHARE,
        ),
        p.number(
            "Fallbacks",
            q.ratio(q.total(FALLBACKS), q.total(VISITS)),
            description="Visits that completed with a fallback in place of the result, as a share of all.",
            no_data=SHORT_NO_VISIT,
            unit=p.SHARE,
            judgement=j.FALLBACKS,
        ),
        p.number(
            "Dead ends",
            q.or_zero(q.count(DEAD_ENDS), q.count(VISITS)),
            description="Actions that a node returned and no edge takes: its flow ended there.",
            no_data=SHORT_NO_VISIT,
            judgement=j.FAILURES,
        ),
    ]


def _cost() -> list[p.AnyPanel]:
    by, time = q.BY_STAGE, q.total(REVISED_TIME, *q.BY_STAGE)
    return [
        t.rows(
            "Time in revisions by stage",
            by,
            [
                t.Column("Total", f"{time} > 0", p.SECONDS),
                t.Column("Share of its time", f"{time} / ({q.total(TIME, *by)} > 0) > 0", p.SHARE),
                *(
                    t.Column(f"Revision {each}", f"{q.total(_revised_time(each), *by)} > 0", p.SECONDS)
                    for each in names.REVISIONS[1:]
                ),
            ],
            description=(
                "What revisions cost: time of visits that repeated the stage for the first, second, third or a later "
                "revision, the most expensive stage first. A stage inside another counts in both."
            ),
            no_data=NO_REVISION,
            sort="Total",
        ),
        p.bars(
            "Time by revision",
            p.Target(q.amount_per_bar(REVISED_TIME, q.REVISION), p.legend(q.REVISION)),
            description="Time of visits that repeated a stage, by the revision that they were for: 1 is the first.",
            no_data=NO_REVISION,
            unit=p.SECONDS,
            by=(q.REVISION,),
        ),
        p.by_workflow(
            "Share of time in revisions",
            q.ratio(q.per_second(REVISED_TIME, *q.BY_WORKFLOW), q.per_second(TIME, *q.BY_WORKFLOW)),
            description="Time of visits that repeated a stage for a revision, as a share of the time of all visits.",
            no_data=NO_VISIT,
        ),
    ]


def _revised_time(revision: str) -> str:
    return q.series(names.STAGE_DURATION, "_sum", q.REPEAT, f'{q.REVISION}="{revision}"')


def _revisions() -> list[p.AnyPanel]:
    by = q.BY_WORKFLOW
    return [
        p.by_workflow(
            "First-pass yield over time",
            q.ratio(q.per_second(UNREVISED, *by), q.per_second(COUNTED, *by)),
            description="Runs without a revision, as a share of those that ended in the interval and count revisions.",
            no_data=NO_RUN,
            width=8,
        ),
        p.by_workflow(
            "Revisions per run over time",
            f"{q.per_second(REVISIONS, *by)} / ({q.per_second(COUNTED, *by)} > 0)",
            description="Mean of the runs that ended in the interval and count revisions.",
            no_data=NO_RUN,
            unit=p.NUMBER,
            width=8,
        ),
        p.gauges(
            "Runs by revisions",
            p.Target(q.count(BUCKETS, "le"), p.legend("le")),
            description="Runs by how often they were revised.",
            no_data=NO_RUN,
            width=8,
            buckets=p.counts(names.COUNT_BUCKETS),
        ),
        t.rows(
            "Revisions by workflow",
            by,
            [
                t.Column("Revisions per run", f"{q.total(REVISIONS, *by)} / ({q.total(COUNTED, *by)} > 0)", p.NUMBER),
                t.Column("First-pass yield", q.ratio(q.total(UNREVISED, *by), q.total(COUNTED, *by)), p.SHARE, j.YIELD),
                t.Column("Most, at most", q.quantile(1, names.RUN_REVISIONS, *by)),
                t.Column("Runs", f"{q.count(COUNTED, *by)} > 0"),
            ],
            description=(
                "Runs that ended in the time range, the most revised workflow first. Most is the upper bound of the "
                "most revised run's bucket, 13 where it is above."
            ),
            no_data=NO_RUN,
            sort="Revisions per run",
        ),
    ]


def _degraded() -> list[p.AnyPanel]:
    by = q.BY_STAGE
    visits = q.count(VISITS, *by)
    return [
        p.bars(
            "Visits by result",
            p.Target(q.count_per_bar(VISITS, q.RESULT), p.legend(q.RESULT)),
            description="Each result's share of the visits that ended in the interval.",
            no_data=NO_VISIT,
            width=24,
            by=(q.RESULT,),
            percent=True,
        ),
        p.counts_by_stage(
            "Fallbacks by stage",
            FALLBACKS,
            description="Visits that completed with a fallback in each interval.",
            no_data="No visit fell back in this time range.",
        ),
        p.counts_by_stage(
            "Dead ends by stage",
            DEAD_ENDS,
            description="Actions that the stage's node returned and no edge takes, so that its flow ended there.",
            no_data="No flow came to a dead end in this time range.",
        ),
        t.rows(
            "Quality by stage",
            by,
            [
                t.Column("Clean first visits", q.ratio(q.total(CLEAN, *by), q.total(FIRST, *by)), p.SHARE, j.YIELD),
                t.Column("Visits", f"{visits} > 0"),
                *(
                    t.Column(
                        heading,
                        f"({q.or_zero(q.count(selector, *by), visits)}) and {visits} > 0",
                        judgement=judgement,
                    )
                    for heading, selector, judgement in (
                        ("Fallbacks", FALLBACKS, j.FALLBACK_COUNT),
                        ("Not completed", NOT_COMPLETED, j.FAILURES),
                        ("Repeats", REPEATED, None),
                        ("Dead ends", DEAD_ENDS, j.FAILURES),
                    )
                ),
            ],
            description=(
                "Visits that ended in the time range. First the stage with the smallest share of first visits that "
                "succeeded without a fallback."
            ),
            no_data=NO_VISIT,
            sort="Clean first visits",
            ascending=True,
        ),
    ]
