"""Progress of staged workflows: every stage a span, a metric and an entry in the workflow's own store.

    from otel_progress import configure, stage, workflow, ProgressTrackerNode

    configure(service_name="content-studio")      # exports by OTLP; leave out where providers exist

    @stage("content_generation", budget="2m")     # a node class or a function of any kind
    class ContentCraftsman(Node): ...

    PocketFlowInstrumentor().instrument()         # or: every flow and node of PocketFlow, no other change

    with workflow("pr_campaign", shared=shared):  # a run
        with stage("publish") as visit:           # a visit
            visit.advance(1, total=6)

The progress is then in `shared["progress_metrics"]`, in traces and in metrics. See docs/reference.md for every name.
"""

from typing import TYPE_CHECKING, Any

from ._version import __version__
from .recording import default as _default
from .recording.default import add_sink, current_run, current_stage, remove_sink
from .recording.live import Run
from .recording.sink import Sink
from .recording.visits import Visit
from .sinks import usual as _usual
from .ways.stage import progress, stage, workflow

if TYPE_CHECKING:
    from .instrumentor import PocketFlowInstrumentor
    from .telemetry.configure import configure
    from .telemetry.lifetime import Telemetry
    from .tracker import ProgressTrackerNode
    from .ways.gathering import gather
    from .ways.lines import StageFilter
    from .ways.retries import on_retry

__all__ = [
    "PocketFlowInstrumentor",
    "ProgressTrackerNode",
    "Run",
    "Sink",
    "StageFilter",
    "Telemetry",
    "Visit",
    "__version__",
    "add_sink",
    "configure",
    "current_run",
    "current_stage",
    "gather",
    "on_retry",
    "progress",
    "remove_sink",
    "stage",
    "workflow",
]

if _default.recorder.settings.exception_logs:
    from .telemetry.logs import log_exception as _log_exception
else:
    _log_exception = None

_default.recorder.sinks = _usual.usual_sinks(_default.recorder, send_exception=_log_exception)

if _default.recorder.settings.record is not None:
    from .cli.children import join as _join

    _join()


def _show(on: bool) -> None:
    from .live.own import show  # noqa: PLC0415

    show(on)


_default.show = _show
if _default.recorder.settings.live:
    _show(True)

_LATER = {
    "Telemetry": "telemetry.lifetime",
    "configure": "telemetry.configure",
    "StageFilter": "ways.lines",
    "gather": "ways.gathering",
    "on_retry": "ways.retries",
    "PocketFlowInstrumentor": "instrumentor",
    "ProgressTrackerNode": "tracker",
}


def __getattr__(name: str) -> Any:
    # The SDK, PocketFlow and the instrumentor's machinery are imported by those who ask for them.
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f".{_LATER[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *_LATER]
