"""The version of the package and of the semantic conventions that its telemetry follows."""

from importlib.metadata import version

from opentelemetry.semconv.schemas import Schemas

__version__ = version("otel-progress")

SCHEMA_URL = Schemas.V1_30_0.value
"""The first in which both `error.type` and `code.function.name` are stable."""
