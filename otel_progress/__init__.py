"""Progress of staged workflows: every stage a span, a metric and an entry in the workflow's own store.

    from otel_progress import configure, stage, workflow, ProgressTrackerNode

    configure(service_name="content-studio")      # exports by OTLP; leave out where providers exist

    @stage("content_generation", budget="2m")     # a node class or a function of any kind
    class ContentCraftsman(Node): ...

    with workflow("pr_campaign", shared=shared):  # a run
        with stage("publish") as visit:           # a visit
            visit.advance(1, total=6)

The progress is then in `shared["progress_metrics"]`, in traces and in metrics. See docs/reference.md for every name.
"""

from ._api import progress, stage, workflow
from ._configure import Telemetry, configure
from ._record import Run, Visit
from ._version import __version__
from .tracker import ProgressTrackerNode

__all__ = [
    "ProgressTrackerNode",
    "Run",
    "Telemetry",
    "Visit",
    "__version__",
    "configure",
    "progress",
    "stage",
    "workflow",
]
