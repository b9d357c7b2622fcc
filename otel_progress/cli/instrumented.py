"""Recording the frameworks that otel_progress knows, unless the program does so itself."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from importlib.metadata import entry_points

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.environment_variables import OTEL_PYTHON_DISABLED_INSTRUMENTATIONS

from ..names import OTEL_PROGRESS_MODULES, SCOPE
from ..recording import default


def name_copies(modules: Collection[str]) -> None:
    """Have these modules recorded as copies of PocketFlow, beside those that the variable names; in children too."""
    if modules:
        recorder = default.recorder
        named = (*recorder.settings.modules, *modules)
        recorder.settings = replace(recorder.settings, modules=named)
        os.environ[OTEL_PROGRESS_MODULES] = ",".join(named)


def instrument() -> None:
    """Record the frameworks that otel_progress knows, as `opentelemetry-instrument` does."""
    disabled = {name.strip() for name in os.environ.get(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, "").split(",")}
    for point in entry_points(group="opentelemetry_instrumentor"):
        if point.value.partition(".")[0] == SCOPE and disabled.isdisjoint({point.name, "*"}):
            try:
                instrumentor = point.load()()
                if get_dependency_conflicts(instrumentor.instrumentation_dependencies()) is not None:
                    continue
                instrumentor.instrument(skip_dep_check=True)
            except Exception:  # noqa: S112 - the framework is not there, or not in a version that is known
                continue
