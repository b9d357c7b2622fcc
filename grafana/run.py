"""Run: what did one run do?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard, table
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue as Property

from otel_progress import names

from . import frame as f
from . import panels as p
from . import queries as q
from . import tables as t

OPERATION = f"{names.SPAN_RUN} $workflow"
RESULT = p.HEADINGS[q.RESULT]
NO_RUN = "Jaeger has no run of this job and workflow in this time range. Sampling may have left runs out."


class JaegerQuery(Dataquery, Builder[Dataquery]):
    """A query to Jaeger, which the SDK has no model of: a trace by its id, or a search."""

    def __init__(self, **fields: str | int) -> None:
        self.ref, self.source, self.fields = "A", p.JAEGER, fields

    def as_query(self, ref: str, source: common_model.DataSourceRef) -> JaegerQuery:
        """The same as another query of its panel, with the data source as that writes it."""
        self.ref, self.source = ref, source
        return self

    def build(self) -> Dataquery:
        """The query itself."""
        return self

    def to_json(self) -> dict[str, Any]:
        """How Grafana stores it."""
        return {"refId": self.ref, "datasource": self.source, **self.fields}


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
    return _with_results(
        "Recent runs",
        description="The last 50 runs that Jaeger has, the latest first. A click shows the trace below.",
        sort="Start",
        limit=50,
    )


def _failed() -> table.Panel:
    return _runs(
        "Failed runs",
        [_search(50, tags=f"{names.RESULT}=failure")],
        description="The last 50 runs that failed, the latest first. A click shows the trace below.",
        sort="Start",
        width=11,
    ).datasource(p.JAEGER)


def _slowest() -> table.Panel:
    return _with_results(
        "Slowest runs",
        description=(
            "The last 200 runs that were slower than the variable says, the slowest first. Raise it where there are "
            "more. A click shows the trace above."
        ),
        sort="Duration",
        limit=200,
        minDuration="$slower",
    )


# --- lists of runs ----------------------------------------------------------------------------------------------------

MIXED = common_model.DataSourceRef(type_val="datasource", uid="-- Mixed --")
SPELLINGS = ("$jaeger_datasource", *(f"${{jaeger_datasource:{name}}}" for name in ("raw", "csv", "pipe", "glob")))
"""The same data source: of one value these formats make the value itself."""


def _search(limit: int, **fields: str) -> JaegerQuery:
    return JaegerQuery(queryType="search", service="$job", operation=OPERATION, limit=limit, **fields)


def _with_results(title: str, *, description: str, sort: str, limit: int, **fields: str) -> table.Panel:
    """A list with the result of each run, which Grafana's data source for Jaeger does not give.

    So there is a search for all runs, and one for each result, which gives what it finds the number of the result.
    Their rows are merged, and the numbers are shown as words. The data source answers only the first query of a
    request; Mixed makes a request for each way in which a data source is written, before it looks which one that is.
    Should it not do so one day, only the search for all runs is made, and the list has no such column.
    """
    searches = [_search(limit, **fields)]
    transformations: list[model.DataTransformerConfig] = []
    words: dict[str, model.ValueMappingResult] = {}
    for number, (result, ref, spelling) in enumerate(zip(q.RESULTS, "BCDEF", SPELLINGS, strict=True), start=1):
        source = common_model.DataSourceRef(type_val="jaeger", uid=spelling)
        searches.append(_search(limit, tags=f"{names.RESULT}={result}", **fields).as_query(ref, source))
        constant = {"left": {"fixed": str(number)}, "operator": "+", "right": {"fixed": "0"}}
        options = {"mode": "binary", "binary": constant, "alias": RESULT}
        found = model.MatcherConfig("byRefId", ref)
        transformations.append(model.DataTransformerConfig("calculateField", filter_val=found, options=options))
        words[str(number)] = model.ValueMappingResult(text=result, color=p.RESULT_COLOURS[result])
    latest = {"sort": [{"field": "startTime", "desc": True}]}
    transformations += [
        model.DataTransformerConfig(each, options=options)
        for each, options in (("merge", {}), ("sortBy", latest), ("limit", {"limitField": limit}))
    ]
    description += " No result: the run goes on, or its process ended without saying so."
    panel = _runs(title, searches, description=description, sort=sort, width=13).datasource(MIXED)
    for each in transformations:
        panel = panel.with_transformation(each)
    return panel.override_by_name(
        RESULT,
        [
            Property("mappings", [model.ValueMap(options=words)]),
            Property("custom.cellOptions", common_model.TableColorTextCellOptions()),
            Property("unit", p.NUMBER),
            Property("noValue", "–"),
            Property("custom.width", 96),
        ],
    )


def _runs(title: str, searches: Sequence[JaegerQuery], *, description: str, sort: str, width: int) -> table.Panel:
    panel = p.described(table.Panel(), title, description=description, no_data=NO_RUN, unit="µs", size=(width, 8))
    for search in searches:
        panel = panel.with_target(search)
    chosen = p.link(
        p.RUN,
        "Show this run",
        jaeger_datasource="${jaeger_datasource}",
        job="${job:percentencode}",
        workflow="${workflow:percentencode}",
        slower="${slower:percentencode}",
        traceId="${__value.raw}",
    )
    # An ID of digits only is no number.
    trace_id = [Property("displayName", "Trace ID"), Property("unit", "string"), Property("links", [chosen.build()])]
    panel = panel.override_by_name("traceID", trace_id)
    # Its name is the job and the workflow, which are chosen.
    panel = panel.with_transformation(
        model.DataTransformerConfig("filterFieldsByName", options={"exclude": {"names": ["traceName"]}})
    )
    panel = panel.override_by_name("startTime", [Property("displayName", "Start"), Property("custom.width", 168)])
    panel = panel.override_by_name(
        "duration", [Property("displayName", "Duration"), Property("unit", "µs"), Property("custom.width", 96)]
    )
    return panel.sort_by([t.by_column(sort, descending=True)])


# --- the run, and what it is compared with ----------------------------------------------------------------------------


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
            width=11,
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
