"""What the dashboards share: panels, tables, links, variables, and the frame around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue as Property
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from otel_progress import names

from . import judged as j
from . import queries as q

OVERVIEW = "otel-progress-overview"
BOTTLENECKS = "otel-progress-bottlenecks"
STAGE_DETAIL = "otel-progress-stage"
QUALITY = "otel-progress-quality"
RUN = "otel-progress-run"
TITLES = {
    OVERVIEW: "Overview",
    BOTTLENECKS: "Bottlenecks",
    STAGE_DETAIL: "Stage detail",
    QUALITY: "Quality",
    RUN: "Run",
}

PROMETHEUS = common_model.DataSourceRef(type_val="prometheus", uid="${datasource}")
JAEGER = common_model.DataSourceRef(type_val="jaeger", uid="${jaeger_datasource}")

SECONDS, SHARE, NUMBER = "s", "percentunit", "none"
COUNT = "locale"
"""With all its digits: 1,183 and not 1.18 K."""


RESULT_COLOURS = {
    "success": "green",
    "fallback": "yellow",
    "failure": "red",
    "cancelled": "purple",
    "abandoned": "orange",
}
HEADINGS = {
    q.JOB: "Job",
    q.WORKFLOW: "Workflow",
    q.STAGE: "Stage",
    q.RESULT: "Result",
    q.PLATFORM: "Platform",
    q.ERROR: "Error",
    q.ALERT: "Alert",
    q.SEVERITY: "Severity",
}

MANY = {q.STAGE, q.WORKFLOW, q.PLATFORM}
"""What may have many values, and has one colour for each wherever it is drawn."""

BARS = 72
"""Bars in a panel: few enough to be seen, so 5 minutes each in the default range of 6 hours."""

AnyPanel: TypeAlias = "stat.Panel | table.Panel | timeseries.Panel | heatmap.Panel | bargauge.Panel | dashboard.Panel"
P = TypeVar("P", stat.Panel, table.Panel, timeseries.Panel, heatmap.Panel, bargauge.Panel, dashboard.Panel)


# --- links ------------------------------------------------------------------------------------------------------------


CHOSEN = ("job", "workflow")
"""Variables that a link hands on as they are chosen, where what is clicked has no such label."""


def url(uid: str, kept: Sequence[str] = (), **variables: str) -> str:
    """The address of a dashboard with its variables set, the same data source and the same time range."""
    settings = [f"${{{name}:queryparam}}" for name in kept]
    settings += [f"var-{name}={value}" for name, value in variables.items()]
    return f"/d/{uid}?{'&'.join(('${datasource:queryparam}', *settings, '${__url_time_range}'))}"


class Link(dashboard.DashboardLink):
    """A link where one looks for it. The SDK's own goes into a menu of the controls."""

    def build(self) -> model.DashboardLink:
        """The link itself."""
        made = super().build()
        made.placement = None  # pyright: ignore[reportAttributeAccessIssue] - it may be: then it is left out
        return made


def link(uid: str, title: str, kept: Sequence[str] = (), **variables: str) -> Link:
    """A link from what a panel shows."""
    return Link(title).url(url(uid, kept, **variables))


def link_to_run() -> Link:
    """A link that hands over one job and one workflow: Run can make nothing of several, or of All."""
    chosen = "var-job=${run_job:percentencode}&var-workflow=${run_workflow:percentencode}"
    return Link(TITLES[RUN]).url(f"/d/{RUN}?${{datasource:queryparam}}&{chosen}&${{stage:queryparam}}")


def of_row(label: str) -> str:
    """A label of the table's row that is clicked."""
    return f"${{__data.fields.{label}:percentencode}}"


def of_series(label: str) -> str:
    """A label of the series that is clicked."""
    return f"${{__field.labels.{label}:percentencode}}"


def series_links(by: Iterable[str]) -> list[Link]:
    """Where a click on a series leads: to its stage, or to the bottlenecks of its workflow."""
    if q.STAGE in by:
        labels = {"job": q.JOB, "workflow": q.WORKFLOW, "stage": q.STAGE}
        return [link(STAGE_DETAIL, "Stage detail", **{name: of_series(label) for name, label in labels.items()})]
    if q.WORKFLOW in by:
        labels = {"job": q.JOB, "workflow": q.WORKFLOW}
        return [link(BOTTLENECKS, "Bottlenecks", **{name: of_series(label) for name, label in labels.items()})]
    return []


# --- queries ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    expr: str
    legend: str = "__auto"
    exemplar: bool = False


def over_time(target: Target, ref: str) -> prometheus.Dataquery:
    """A query for every interval of the time range."""
    made = prometheus.Dataquery().expr(target.expr).range().legend_format(target.legend).ref_id(ref)
    return made.datasource(PROMETHEUS).exemplar(target.exemplar)


def now(target: Target, ref: str) -> prometheus.Dataquery:
    """A query at the end of the time range."""
    made = prometheus.Dataquery().expr(target.expr).instant().legend_format(target.legend).ref_id(ref)
    return made.datasource(PROMETHEUS)


def legend(*labels: str) -> str:
    """A series by these labels, what tells most first: names are cut at their end."""
    return " · ".join(f"{{{{{label}}}}}" for label in labels)


# --- panels -----------------------------------------------------------------------------------------------------------


def described(panel: P, title: str, *, description: str, no_data: str, unit: str, size: tuple[int, int]) -> P:
    """What every panel says, and its width and height."""
    panel = panel.title(title).description(description).no_value(no_data).unit(unit).datasource(PROMETHEUS)
    return panel.span(size[0]).height(size[1])


def number(
    title: str,
    expr: str,
    *,
    description: str,
    no_data: str,
    unit: str = COUNT,
    width: int = 4,
    judgement: j.Judgement | None = None,
    by: Sequence[str] = (),
    zero: str | None = None,
) -> stat.Panel:
    """One figure for the time range, or for now; with what it is a figure of, where that is not all together."""
    target = Target(expr, legend(*reversed(by)) or "__auto")
    panel = described(
        stat.Panel(), title, description=description, no_data=no_data, unit=unit, size=(width, 4)
    ).with_target(now(target, "A"))
    panel = panel.data_links(list(series_links(by)))
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.graph_mode(common_model.BigValueGraphMode.NONE)
    if by:
        panel = panel.text_mode(common_model.BigValueTextMode.VALUE_AND_NAME)
        panel = panel.justify_mode(common_model.BigValueJustifyMode.AUTO)
        panel = panel.text(common.VizTextDisplayOptions().title_size(14).value_size(36))  # Else a long name is tiny.
    if zero is not None:
        panel = panel.mappings([model.ValueMap(options={"0": model.ValueMappingResult(text=zero)})])
    if judgement is None:
        return panel.color_scheme(j.fixed("blue"))
    return panel.color_scheme(j.by_judgement()).thresholds(j.thresholds(judgement))


def _over_time(
    title: str,
    targets: Sequence[Target],
    *,
    description: str,
    no_data: str,
    unit: str,
    size: tuple[int, int],
    by: Sequence[str],
    amounts: bool = False,
) -> timeseries.Panel:
    panel = described(timeseries.Panel(), title, description=description, no_data=no_data, unit=unit, size=size)
    for ref, target in zip("ABCD", targets, strict=False):
        panel = panel.with_target(over_time(target, ref))
    panel = panel.interval("1m").max_data_points(BARS).data_links(list(series_links(by)))
    panel = panel.legend(_legend(by, "sum" if amounts else "lastNotNull"))
    if q.ERROR in by:
        panel = panel.color_scheme(j.shades("red"))
    elif set(by) & MANY:
        panel = panel.color_scheme(j.by_name())
    else:
        panel = panel.color_scheme(j.fixed("blue"))
    for name in _drawn(targets):
        if name in TONES:
            panel = panel.override_by_name(name, [Property("color", j.fixed(TONES[name]).build())])
    return panel.tooltip(
        common.VizTooltipOptions()
        .mode(common_model.TooltipDisplayMode.MULTI)
        .sort(common_model.SortOrder.DESCENDING)
        .hide_zeros(True)
    )


def _drawn(targets: Sequence[Target]) -> Iterator[str]:
    """What the series are called, as far as that is known here."""
    for target in targets:
        yield from VALUES.get(target.legend, (target.legend,))


def _legend(by: Sequence[str], measure: str) -> common.VizLegendOptions:
    """The names of the series; where there may be many, the highest first, in a table that scrolls."""
    made = common.VizLegendOptions().show_legend(True).placement(common_model.LegendPlacement.BOTTOM)
    if not set(by) & MANY:
        return made.display_mode(common_model.LegendDisplayMode.LIST)
    made = made.display_mode(common_model.LegendDisplayMode.TABLE).calcs([measure])
    return made.sort_by({"sum": "Total", "lastNotNull": "Last *"}[measure]).sort_desc(True)


def lines(
    title: str,
    targets: Sequence[Target],
    *,
    description: str,
    no_data: str,
    unit: str,
    width: int = 12,
    height: int = 8,
    by: Sequence[str] = (),
    log: bool = False,
    drawn: j.Judgement | None = None,
    decimals: int | None = None,
    styles: Mapping[str, Sequence[Property]] | None = None,
) -> timeseries.Panel:
    """Values over time. Points are shown, as a few runs a day make no line; a gap is an interval that saw nothing."""
    panel = _over_time(title, targets, description=description, no_data=no_data, unit=unit, size=(width, height), by=by)
    if log:
        scale = common.ScaleDistributionConfig().type(common_model.ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(scale)
    else:
        panel = panel.min(0)
    if drawn is not None:
        style = common.GraphThresholdsStyleConfig().mode(common_model.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(j.thresholds(drawn, "transparent")).thresholds_style(style)
    if decimals is not None:
        panel = panel.decimals(decimals)
    for name, properties in (styles or {}).items():
        panel = panel.override_by_name(name, list(properties))
    return panel.show_points(common_model.VisibilityMode.ALWAYS).point_size(5)


def bars(
    title: str,
    *targets: Target,
    description: str,
    no_data: str,
    unit: str = COUNT,
    width: int = 12,
    by: Sequence[str] = (),
    percent: bool = False,
) -> timeseries.Panel:
    """Amounts per interval, stacked."""
    mode = common_model.StackingMode.PERCENT if percent else common_model.StackingMode.NORMAL
    panel = _over_time(
        title, targets, description=description, no_data=no_data, unit=unit, size=(width, 8), by=by, amounts=True
    )
    panel = panel.min(0).draw_style(common_model.GraphDrawStyle.BARS).fill_opacity(80).line_width(0)
    panel = panel.stacking(common.StackingConfig().group("A").mode(mode))
    if q.RESULT in by:
        for result in q.RESULTS:
            colour = {"mode": "fixed", "fixedColor": RESULT_COLOURS[result]}
            panel = panel.override_by_name(result, [Property("color", colour)])
    return panel


def by_workflow(
    title: str, expr: str, *, description: str, no_data: str, unit: str = SHARE, width: int = 12
) -> timeseries.Panel:
    """A line for each workflow."""
    target = Target(expr, legend(q.WORKFLOW, q.JOB))
    return lines(title, [target], description=description, no_data=no_data, unit=unit, width=width, by=q.BY_WORKFLOW)


def counts_by_stage(title: str, selector: str, *, description: str, no_data: str, width: int = 12) -> timeseries.Panel:
    """How often something happened, as a bar for each stage."""
    target = Target(q.count_per_bar(selector, *q.BY_STAGE), legend(q.STAGE, q.WORKFLOW, q.JOB))
    return bars(title, target, description=description, no_data=no_data, width=width, by=q.BY_STAGE)


def gauges(
    title: str,
    target: Target,
    *,
    description: str,
    no_data: str,
    unit: str = COUNT,
    width: int = 12,
    height: int = 8,
    by: Sequence[str] = (),
    buckets: Mapping[str, str] | None = None,
    names_above: bool = False,
) -> bargauge.Panel:
    """One horizontal bar for each series, over the time range; or for each bucket, under the name that it is given.

    Beside its bar a name has a third of the width; `names_above` gives it all of it.
    """
    query = now(target, "A")
    if buckets is not None:
        query = query.format(PromQueryFormat.HEATMAP)
    panel = described(
        bargauge.Panel(), title, description=description, no_data=no_data, unit=unit, size=(width, height)
    ).with_target(query)
    panel = panel.orientation(common_model.VizOrientation.HORIZONTAL).min(0)
    panel = panel.show_unfilled(False)  # Else an empty panel is a grey block.
    if names_above:
        panel = panel.name_placement(common_model.BarGaugeNamePlacement.TOP)
    panel = panel.display_mode(common_model.BarGaugeDisplayMode.BASIC).color_scheme(j.fixed("blue"))
    panel = panel.data_links(list(series_links(by)))
    for pattern, name in (buckets or {}).items():
        panel = panel.override_by_regexp(pattern, [Property("displayName", name)])
    return panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def counts(bounds: Sequence[float]) -> dict[str, str]:
    """What the buckets of a count hold, by a pattern of what Prometheus calls them: `5` or `5.0` is 4 and 5."""
    names_of = {r"^\+Inf$": f"> {bounds[-1]:g}"}
    for below, bound in zip((-1.0, *bounds), bounds, strict=False):
        lowest = f"{below + 1:g}"
        name = "none" if bound == 0 else lowest if below + 1 == bound else f"{lowest}-{bound:g}"
        names_of[rf"^{bound:g}(\.0)?$"] = name
    return names_of


def _limit(colour: str) -> list[Property]:
    return [
        Property("color", j.fixed(colour).build()),
        Property("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
        Property("custom.showPoints", "never"),
    ]


OTHERS = "others"
VALUES = {
    legend(q.VISIT): (names.VISIT_FIRST, names.VISIT_REPEAT),
    legend(q.REVISION): names.REVISIONS[1:],
}
TONES = {
    "p50": "light-blue",
    "p95": "dark-blue",  # Exemplars are blue.
    "attempts": "blue",
    **dict(zip(VALUES[legend(q.VISIT)], ("blue", "light-blue"), strict=True)),
    **dict(zip(names.REVISIONS[1:], ("super-light-blue", "light-blue", "blue", "dark-blue"), strict=True)),
    OTHERS: "#8e8e8e",
}
"""Colours of series that are neither good nor bad."""
JUST_SEEN = "up to 80 s"

LIMITS = {"budget": _limit(j.BAD), "p95, last 7 days": _limit("text")}
"""Lines that others are held against are dashed."""


def durations_map(title: str, selector: str, *, description: str, no_data: str, width: int = 12) -> heatmap.Panel:
    """How many took how long, over time. The rows are the buckets, whose bounds grow as on a logarithmic scale."""
    query = over_time(Target(q.count_per_bar(selector, "le"), legend("le"), exemplar=True), "A")
    panel = described(heatmap.Panel(), title, description=description, no_data=no_data, unit=COUNT, size=(width, 10))
    panel = panel.with_target(query.format(PromQueryFormat.HEATMAP)).interval("1m").max_data_points(BARS)
    panel = panel.rows_frame(heatmap.RowsHeatmapOptions().layout(common_model.HeatmapCellLayout.LE))
    panel = panel.cell_values(heatmap.CellValues().unit(COUNT)).y_axis(heatmap.YAxisConfig().unit(SECONDS))
    colour = heatmap.HeatmapColorOptions().mode(heatmap_model.HeatmapColorMode.SCHEME).scheme("Blues")
    return panel.color(colour.exponent(0.5).steps(64).reverse(False)).calculate(False)
