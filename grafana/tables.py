"""Tables: rows by labels, and one label against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue as Property
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from . import judged as j
from . import panels as p
from . import queries as q


@dataclass(frozen=True)
class Column:
    """A column of numbers: one query."""

    heading: str
    expr: str
    unit: str = p.COUNT
    judgement: j.Judgement | None = None
    bars: bool = False
    """Whether its cells are bars, to be compared."""

    @property
    def width(self) -> int:
        """Pixels that it takes: its heading with the arrow of the sorting, and a value with its unit."""
        return 160 if self.bars else max(90, 8 * len(self.heading) + 32)

    def properties(self) -> list[Property]:
        """How its cells are shown."""
        found = [Property("unit", self.unit), Property("custom.width", self.width)]
        if self.judgement is not None:
            found += judged(self.judgement, common_model.TableColorTextCellOptions())
        if self.bars:
            gauge = common_model.TableBarGaugeCellOptions(mode=common_model.BarGaugeDisplayMode.BASIC)
            found += [Property("custom.cellOptions", gauge), Property("color", j.fixed("blue").build())]
            found += [Property("min", 0), Property("max", 1)]
        return found


LABEL_WIDTH = 140
"""Pixels that a name has at least; where there are more, the names share them."""


def judged(
    judgement: j.Judgement,
    cell: common_model.TableColorTextCellOptions | common_model.TableColoredBackgroundCellOptions,
    good: str = "text",
) -> list[Property]:
    """Cells in which only what is not good stands out."""
    steps = j.thresholds(j.in_cells(judgement, good), good).build()
    return [
        Property("thresholds", steps),
        Property("color", j.by_judgement().build()),
        Property("custom.cellOptions", cell),
    ]


def rows(
    title: str,
    by: Sequence[str],
    columns: Sequence[Column],
    *,
    description: str,
    no_data: str,
    sort: str,
    ascending: bool = False,
    width: int = 24,
    height: int = 8,
) -> table.Panel:
    """A row for each combination of labels, the one that matters most first.

    The queries must agree in their labels, as the rows are joined by them.
    """
    panel = p.described(
        table.Panel(), title, description=description, no_data=no_data, unit=p.COUNT, size=(width, height)
    )
    values = ["Value"] if len(columns) == 1 else [f"Value #{ref}" for ref, _ in zip("ABCDEFGH", columns, strict=False)]
    for ref, column in zip("ABCDEFGH", columns, strict=False):
        panel = panel.with_target(p.now(p.Target(column.expr), ref).format(PromQueryFormat.TABLE))
    headings = {label: p.HEADINGS[label] for label in by}
    headings |= {value: column.heading for value, column in zip(values, columns, strict=True)}
    panel = panel.with_transformation(model.DataTransformerConfig("merge", options={}))
    panel = panel.with_transformation(
        model.DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: index for index, name in enumerate(headings)},
                "renameByName": headings,
            },
        )
    )
    panel = panel.min_width(LABEL_WIDTH)
    panel = panel.override_by_field_type("number", [Property("noValue", "–")])  # Else the panel's text, in every cell.
    for column in columns:
        panel = panel.override_by_name(column.heading, column.properties())
    for label, links in row_links(by).items():
        panel = panel.override_by_name(p.HEADINGS[label], [Property("links", [each.build() for each in links])])
    return panel.sort_by([by_column(sort, descending=not ascending)])


def by_column(heading: str, *, descending: bool) -> common.TableSortByFieldState:
    """How a table is sorted."""
    return common.TableSortByFieldState().display_name(heading).desc(descending)


def matrix(
    title: str,
    expr: str,
    *,
    row: str,
    column: str,
    description: str,
    no_data: str,
    unit: str,
    judgement: j.Judgement | None = None,
) -> table.Panel:
    """One label against another. Its cells are judged where there is a judgement, else they are bars from 0."""
    panel = p.described(table.Panel(), title, description=description, no_data=no_data, unit=unit, size=(12, 9))
    panel = panel.min(0).min_width(90).with_target(p.now(p.Target(expr), "A").format(PromQueryFormat.TABLE))
    options = {"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "empty"}
    panel = panel.with_transformation(model.DataTransformerConfig("groupingToMatrix", options=options))
    corner = f"{row}\\{column}"  # The name that Grafana gives to the column with the names of the rows.
    panel = panel.override_by_name(
        corner,
        [
            Property("displayName", f"{p.HEADINGS[row]} / {p.HEADINGS[column]}"),
            Property("custom.width", 160),
        ],
    )
    detail = p.link(p.STAGE_DETAIL, "Stage detail", p.CHOSEN, stage="${__field.name:percentencode}")
    cells = [Property("noValue", " "), Property("links", [detail.build()])]
    if judgement is None:
        gauge = common_model.TableBarGaugeCellOptions(mode=common_model.BarGaugeDisplayMode.BASIC)
        cells += [Property("custom.cellOptions", gauge), Property("color", j.fixed("blue").build())]
    else:
        cells += judged(judgement, common_model.TableColoredBackgroundCellOptions(), "transparent")
    return panel.override_by_field_type("number", cells)


def row_links(by: Sequence[str]) -> Mapping[str, list[p.Link]]:
    """Where a click on a cell leads."""
    workflow = {"job": p.of_row(q.JOB), "workflow": p.of_row(q.WORKFLOW)}
    found: dict[str, list[p.Link]] = {}
    if q.WORKFLOW in by:
        found[q.WORKFLOW] = [p.link(p.BOTTLENECKS, "Bottlenecks", **workflow), p.link(p.RUN, "Runs", **workflow)]
    if q.STAGE in by:
        found[q.STAGE] = [p.link(p.STAGE_DETAIL, "Stage detail", **workflow, stage=p.of_row(q.STAGE))]
    return found
