"""Recording the frameworks that otel_progress knows, unless the program does so itself."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, cast

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts

from ..names import SCOPE


def instrument() -> None:
    """Record the frameworks that otel_progress knows, as `opentelemetry-instrument` does."""
    for point in entry_points(group="opentelemetry_instrumentor"):
        if point.value.partition(".")[0] == SCOPE:
            try:
                instrumentor = point.load()()
                if get_dependency_conflicts(instrumentor.instrumentation_dependencies()) is not None:
                    continue
                instrumentor.instrument(skip_dep_check=True)
            except Exception:  # noqa: S112 - the framework is not there, or not in a version that is known
                continue
            _give_way(instrumentor)


def _give_way(instrumentor: Any) -> None:
    """Let the program's own `instrument()`, with the arguments that it gives, take the place of ours."""
    cls = cast("Any", type(instrumentor))
    instrument = cls.instrument

    def instead(self: Any, **kwargs: Any) -> Any:
        cls.instrument = instrument
        self.uninstrument()
        return instrument(self, **kwargs)

    cls.instrument = instead
