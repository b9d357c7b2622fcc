"""Run: what did one run do?"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import dashboard, table
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue as Property

from otel_progress import names

from . import frame as f
from . import panels as p
from . import queries as q
from . import tables as t

OPERATION = f"{names.SPAN_RUN} $workflow"
NO_RUN = "Jaeger has no run of this job and workflow in this time range. Sampling may have left runs out."


class JaegerQuery(Dataquery, Builder[Dataquery]):
    """A query to Jaeger, which the SDK has no model of: a trace by its id, or a search."""

    def __init__(self, **fields: str | int) -> None:
        self.fields = fields

    def build(self) -> Dataquery:
        """The query itself."""
        return self

    def to_json(self) -> dict[str, Any]:
        """How Grafana stores it."""
        return {"refId": "A", "datasource": p.JAEGER, **self.fields}


def build() -> Dashboard:
    """The dashboard."""
    return f.assemble(
        p.RUN,
        "The trace of one run, and the runs to choose from.",
        _variables(),
        [
            ("Runs to choose from", [_recent(), _failed()]),
            ("The run", [_trace()]),
            ("To compare with", [_slowest(), *_others()]),
        ],
    )


def _variables() -> list[f.Variable]:
    return [
        f.source("datasource", "Data source", "prometheus"),
        f.source("jaeger_datasource", "Jaeger data source", "jaeger"),
        f.choice("job", q.JOB, several=False),
        f.choice("workflow", q.WORKFLOW, f.OF_JOB, several=False),
        f.choice("stage", q.STAGE, f.OF_JOB, f.OF_WORKFLOW),
        dashboard.TextBoxVariable("traceId")
        .label("Trace ID")
        .description("Click on a run to set it.")
        .default_value(""),
        dashboard.TextBoxVariable("slower")
        .label("Slower than")
        .description("Which runs are searched for the slowest: 90s, 5m.")
        .default_value("0s"),
        *f.one_of_each(),
    ]


def _recent() -> table.Panel:
    search = JaegerQuery(queryType="search", service="$job", operation=OPERATION, limit=50)
    return _runs(
        "Recent runs",
        search,
        description="The last 50 runs that Jaeger has, the latest first. A click shows the trace below.",
        sort="Start",
    )


def _failed() -> table.Panel:
    failed = f"{names.RESULT}=failure"
    search = JaegerQuery(queryType="search", service="$job", operation=OPERATION, tags=failed, limit=50)
    return _runs(
        "Failed runs",
        search,
        description="The last 50 runs that failed, the latest first. A click shows the trace below.",
        sort="Start",
    )


def _slowest() -> table.Panel:
    search = JaegerQuery(queryType="search", service="$job", operation=OPERATION, minDuration="$slower", limit=200)
    return _runs(
        "Slowest runs",
        search,
        description=(
            "The last 200 runs that were slower than the variable says, the slowest first. Raise it where there are "
            "more. A click shows the trace above."
        ),
        sort="Duration",
    )


def _runs(title: str, search: JaegerQuery, *, description: str, sort: str) -> table.Panel:
    panel = p.described(table.Panel(), title, description=description, no_data=NO_RUN, unit="µs", size=(12, 8))
    panel = panel.datasource(p.JAEGER).with_target(search)
    chosen = p.link(
        p.RUN,
        "Show this run",
        jaeger_datasource="${jaeger_datasource}",
        job="${job:percentencode}",
        workflow="${workflow:percentencode}",
        slower="${slower:percentencode}",
        traceId="${__value.raw}",
    )
    panel = panel.override_by_name(
        "traceID", [Property("displayName", "Trace ID"), Property("links", [chosen.build()])]
    )
    # Its name is the job and the workflow, which are chosen.
    panel = panel.with_transformation(
        model.DataTransformerConfig("filterFieldsByName", options={"exclude": {"names": ["traceName"]}})
    )
    panel = panel.override_by_name("startTime", [Property("displayName", "Start"), Property("custom.width", 180)])
    panel = panel.override_by_name(
        "duration", [Property("displayName", "Duration"), Property("unit", "µs"), Property("custom.width", 120)]
    )
    return panel.sort_by([t.by_column(sort, descending=True)])


def _trace() -> dashboard.Panel:
    panel = p.described(
        dashboard.Panel().type("traces"),
        "Trace",
        description="The spans of the chosen run. A span's link button leads to the metrics of its stage.",
        no_data="No run is chosen, or Jaeger does not have its trace (any more). Click on a trace ID above.",
        unit=p.NUMBER,
        size=(24, 18),
    )
    panel = panel.datasource(p.JAEGER).with_target(JaegerQuery(query="$traceId"))
    return panel.links(
        [
            p.link(
                p.STAGE_DETAIL,
                "Stages of this workflow",
                job="${job:percentencode}",
                workflow="${workflow:percentencode}",
            )
        ]
    )


def _others() -> list[p.AnyPanel]:
    no_run = "No run of this job and workflow ended in this time range, or no metrics arrive."
    return [
        p.lines(
            "Run duration",
            [
                p.Target(q.quantile_over_time(0.5, names.RUN_DURATION), "p50"),
                p.Target(q.quantile_over_time(0.95, names.RUN_DURATION), "p95", exemplar=True),
            ],
            description=(
                "Of all runs that ended in each interval, on a logarithmic scale. A diamond is one run: it leads to "
                "its trace."
            ),
            no_data=no_run,
            unit=p.SECONDS,
            log=True,
        ),
        p.gauges(
            "Usual time of each stage",
            p.Target(f"sort_desc({q.quantile(0.5, names.STAGE_DURATION, *q.BY_STAGE)})", p.legend(q.STAGE)),
            description="p50 of the visits that ended in the time range, the longest first.",
            no_data=no_run,
            unit=p.SECONDS,
            width=24,
            by=q.BY_STAGE,
        ),
    ]
