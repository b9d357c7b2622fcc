"""`OTEL_CONFIG_FILE`: the SDK as a file declares it, by OpenTelemetry's own package for that, which is optional.

As the specification has it, what the file says stands, and the other `OTEL_*` variables count where it names them.
"""

# pyright: reportMissingTypeStubs=false
# The package has none.

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.environment_variables import OTEL_CONFIG_FILE

from ..recording.faults import logger
from ..recording.visible import LONGEST_TEXT, bounded

if TYPE_CHECKING:
    from opentelemetry.configuration import OpenTelemetryConfiguration

_TELL_KEYS = ("required", "additionalProperties", "unevaluatedProperties")
"""Rules of the schema whose messages name keys of the file, and no values, which may be passwords."""

_LOADER = logging.getLogger("opentelemetry.configuration.file._loader")
"""Logs each error before it raises it, with lines of the file, which may hold passwords. We say it once, without."""


def config_file() -> str | None:
    """The file that the variable names."""
    return os.environ.get(OTEL_CONFIG_FILE, "").strip() or None


def load(path: str) -> OpenTelemetryConfiguration | None:
    """What the file says; None where it cannot be used, which is logged: the workflow goes on."""
    try:
        from opentelemetry.configuration import load_config_file  # noqa: PLC0415 - optional, and slow
    except ImportError:
        hint = 'pip install "opentelemetry-sdk[file-configuration]"'
        logger.warning(
            "%s is set, and what reads it is not installed (%s): nothing is exported", OTEL_CONFIG_FILE, hint
        )
        return None
    _LOADER.addFilter(_is_no_error)
    try:
        return load_config_file(path)
    except Exception as error:
        logger.warning("%s: %s cannot be used, and nothing is exported: %s", OTEL_CONFIG_FILE, path, _why(error))
        return None
    finally:
        _LOADER.removeFilter(_is_no_error)


def _is_no_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


def apply(config: OpenTelemetryConfiguration, path: str) -> None:
    """Make the providers that the file declares, and set them as the global ones."""
    from opentelemetry.configuration import configure_sdk  # noqa: PLC0415

    try:
        configure_sdk(config)
    except Exception as error:
        logger.warning("%s: %s cannot be followed in every part: %s", OTEL_CONFIG_FILE, path, _why(error))


def _why(error: BaseException) -> str:
    cause: Any = error.__cause__
    if (mark := getattr(cause, "problem_mark", None)) is not None:
        return bounded(f"line {mark.line + 1} is no YAML: {cause.problem}", LONGEST_TEXT)
    rule = getattr(cause, "validator", None)
    if rule is None or rule in _TELL_KEYS:
        return bounded(str(error), LONGEST_TEXT)
    where = ".".join(map(str, cause.absolute_path)) or "the whole"
    return bounded(f"{where} is not as the schema has it ({rule}: {cause.validator_value})", LONGEST_TEXT)
