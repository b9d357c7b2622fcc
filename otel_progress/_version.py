"""The version of the package and of the semantic conventions that its telemetry follows."""

from opentelemetry.semconv.schemas import Schemas

__version__ = "0.1.0"

SCHEMA_URL = Schemas.V1_30_0.value
"""The first in which both `error.type` and `code.function.name` are stable."""
