"""The frame of a dashboard: its variables, its links, its rows of panels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeAlias

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from otel_progress import names

from . import panels as p
from . import queries as q

# --- variables --------------------------------------------------------------------------------------------------------

SEEN = "|".join(
    (
        names.RUN_ACTIVE.prometheus,
        f"{names.RUN_DURATION.prometheus}_count",
        names.STAGE_ACTIVE.prometheus,
        f"{names.STAGE_DURATION.prometheus}_count",
    )
)
"""What says that there is a workflow or a stage: also a first run that has not ended yet."""


PLATFORMS_SEEN = "|".join(
    (names.STAGE_ITEMS.prometheus, f"{names.STAGE_PLATFORM_DURATION.prometheus}_count"),
)
"""What says that there is a platform."""


def source(name: str, label: str, kind: str) -> dashboard.DatasourceVariable:
    """A data source to choose. The first choice is the provisioned one, whose uid is its kind."""
    chosen = model.VariableOption(text=kind.capitalize(), value=kind)
    return dashboard.DatasourceVariable(name).label(label).type(kind).current(chosen)


class Unseen(dashboard.QueryVariable):
    """A variable that nobody chooses, and that stands in no address. The SDK's has no method for the latter."""

    def build(self) -> model.VariableModel:
        """The variable itself."""
        made = super().build()
        made.skip_url_sync = True
        return made


def choice(
    name: str, label: str, *matchers: str, seen: str = SEEN, several: bool = True, unseen: bool = False
) -> dashboard.QueryVariable:
    """Values of a label to choose from."""
    known = ", ".join((f'__name__=~"{seen}"', *sorted(matchers)))
    query = f"label_values({{{known}}}, {label})"
    made = Unseen(name).hide(model.VariableHide.HIDE_VARIABLE) if unseen else dashboard.QueryVariable(name)
    made = made.label(name.capitalize()).datasource(p.PROMETHEUS).query(query).definition(query)
    made = made.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    if not several:
        return made
    every = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    return made.multi(True).include_all(True).all_value(".+").current(every)


OF_JOB = f'{q.JOB}=~"$job"'
OF_WORKFLOW = f'{q.WORKFLOW}=~"$workflow"'
OF_STAGE = f'{q.STAGE}=~"$stage"'
Variable: TypeAlias = "dashboard.DatasourceVariable | dashboard.QueryVariable | dashboard.TextBoxVariable"


def filters(*, platforms: bool = False) -> list[Variable]:
    """The variables of a dashboard over all runs; the platform where panels tell platforms apart."""
    platform = choice("platform", q.PLATFORM, OF_JOB, OF_WORKFLOW, OF_STAGE, seen=PLATFORMS_SEEN)
    return [
        source("datasource", "Data source", "prometheus"),
        choice("job", q.JOB),
        choice("workflow", q.WORKFLOW, OF_JOB),
        choice("stage", q.STAGE, OF_JOB, OF_WORKFLOW),
        *([platform] if platforms else []),
        *one_of_each(),
    ]


def one_of_each() -> list[Variable]:
    """The job and the workflow that Run is opened with, which has one of each: the first of those that are chosen."""
    return [
        choice("run_job", q.JOB, OF_JOB, OF_WORKFLOW, several=False, unseen=True),
        choice("run_workflow", q.WORKFLOW, f'{q.JOB}=~"$run_job"', OF_WORKFLOW, several=False, unseen=True),
    ]


# --- the frame --------------------------------------------------------------------------------------------------------


def assemble(
    uid: str, description: str, variables: Sequence[Variable], sections: Sequence[tuple[str, Sequence[p.AnyPanel]]]
) -> model.Dashboard:
    """A dashboard of titled rows. The panels of a line must fill its width; their places follow from their sizes."""
    made = dashboard.Dashboard(f"Workflows: {p.TITLES[uid]}").uid(uid).description(description).tags(["otel-progress"])
    made = made.readonly().time("now-6h", "now").refresh("30s").tooltip(model.DashboardCursorSync.CROSSHAIR)
    for other, title in p.TITLES.items():
        if other != uid:
            found = p.link_to_run() if other == p.RUN else p.Link(title).url(f"/d/{other}").include_vars(True)
            made = made.link(found.keep_time(True))
    for variable in variables:
        made = made.with_variable(variable)
    numbers = itertools.count(1)
    for title, panels in sections:
        made = made.with_row(dashboard.Row(title).id(next(numbers)))
        for panel in panels:
            made = made.with_panel(panel.id(next(numbers)))
    return made.build()
