"""What runs tell about where their time went, from the model of the record alone. No table and no command.

    from otel_progress.insight import figures_of
    from otel_progress.runs import read

    for run in read(".otel-progress"):
        for stage in figures_of(run).stages:
            print(stage.stage, stage.own, stage.critical, stage.rework)

Every figure is defined in docs/report.md.
"""

from .collecting import Report, WorkflowReport
from .exports import to_json, to_records
from .figures import PlatformFigures, RunFigures, StageFigures, figures_of
from .findings import Evidence, Insight, insights_of
from .many import Distribution, StageOverRuns, WorkflowFigures, figures_over
from .path import Path, Segment, Step
from .sharing import Gap
from .whatif import Replay, WhatIf

__all__ = [
    "Distribution",
    "Evidence",
    "Gap",
    "Insight",
    "Path",
    "PlatformFigures",
    "Replay",
    "Report",
    "RunFigures",
    "Segment",
    "StageFigures",
    "StageOverRuns",
    "Step",
    "WhatIf",
    "WorkflowFigures",
    "WorkflowReport",
    "figures_of",
    "figures_over",
    "insights_of",
    "to_json",
    "to_records",
]
