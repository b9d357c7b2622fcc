"""What the program logs with `logging`, handed on as OpenTelemetry's log records.

Not by a handler of the root logger: with one there, `logging.basicConfig` would do nothing, and a warning of a program
that has set up no logging would not be printed any more.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.instrumentation.log_utils import std_to_otel
from opentelemetry.semconv.attributes import code_attributes, exception_attributes

from .. import names
from ..recording import default
from ..recording.faults import from_handler, report
from ..recording.place import place_in
from ..recording.visible import LONGEST_TRACE, bounded, printable
from ..sinks.exceptions import message_of, stacktrace, whole_name
from .logs import Outlet

outlet = Outlet()
"""Where they go."""

_NOT_OF_THE_PROGRAM = ("opentelemetry", names.SCOPE)  # What they say of an export that fails would be exported.
_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_MOST_FURTHER = 32
_TOO_LARGE = 2**63  # OTLP has no larger integers, and one would have every batch refused.
_SEVERITY_TEXTS = {"WARNING": "WARN", "CRITICAL": "FATAL"}


class _Bridge:
    """What stands in the place of `Logger.callHandlers`, once there is somebody to hand records to."""

    connected = False


def connect() -> None:
    """Hand on what is logged from now on. Handlers, levels, filters and what is printed stay as they are."""
    if _Bridge.connected:
        return
    try:
        from opentelemetry.instrumentation.utils import (  # noqa: PLC0415 - raises where `OTEL_PROPAGATORS` is wrong
            is_instrumentation_enabled,
        )
    except Exception as error:
        report("what the program logs cannot be handed on", error)
        return
    _Bridge.connected = True
    call_handlers: Callable[[logging.Logger, logging.LogRecord], None] = logging.Logger.callHandlers

    @functools.wraps(call_handlers)
    def call_and_hand_on(self: logging.Logger, record: logging.LogRecord) -> None:
        try:
            call_handlers(self, record)
        finally:
            if is_instrumentation_enabled():  # Not so while something is exported.
                _hand_on(self, record)

    logging.Logger.callHandlers = call_and_hand_on


def _hand_on(logger: logging.Logger, record: logging.LogRecord) -> None:
    try:
        is_of_the_program = record.name.partition(".")[0] not in _NOT_OF_THE_PROGRAM
        if is_of_the_program and not any(map(_is_sent_already, _loggers(logger))):
            outlet.put(
                trace.get_current_span().get_span_context(),
                std_to_otel(record.levelno).value,
                printable(record.name),
                timestamp=int(record.created * 1e9),
                severity_text=_SEVERITY_TEXTS.get(record.levelname, record.levelname),
                body=_message(record),
                attributes={**dict(_attributes(record)), **place_in(get_current())},
            )
    except BaseException as error:  # Of the methods of what is logged.
        if from_handler(error):
            raise
        report("a log record of the program could not be handed on", error)


def _loggers(logger: logging.Logger | None) -> Iterator[logging.Logger]:
    """Those whose handlers get a record."""
    while logger is not None:
        yield logger
        logger = logger.parent if logger.propagate else None


def _is_sent_already(logger: logging.Logger) -> bool:
    """Whether it has a handler of OpenTelemetry's, which sends records by itself."""
    return any(type(handler).__module__.startswith("opentelemetry.") for handler in logger.handlers)


def _message(record: logging.LogRecord) -> str:
    try:
        return bounded(record.getMessage(), LONGEST_TRACE)
    except BaseException as fault:  # Arguments that do not fit: its handlers have said so.
        if from_handler(fault):
            raise
        return message_of(record.msg)


def _attributes(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    further = ((name, value) for name, value in vars(record).items() if name not in _USUAL)
    for name, value in islice(further, _MOST_FURTHER):
        if isinstance(value, str):
            yield printable(name), bounded(value, LONGEST_TRACE)
        elif isinstance(value, float) or (isinstance(value, int) and -_TOO_LARGE <= value < _TOO_LARGE):
            yield printable(name), value
    yield code_attributes.CODE_FILE_PATH, printable(record.pathname)
    yield code_attributes.CODE_FUNCTION_NAME, printable(record.funcName or "")
    yield code_attributes.CODE_LINE_NUMBER, record.lineno
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        messages = default.recorder.settings.capture_messages
        yield exception_attributes.EXCEPTION_TYPE, whole_name(error)
        if messages and (message := message_of(error)):
            yield exception_attributes.EXCEPTION_MESSAGE, message
        yield exception_attributes.EXCEPTION_STACKTRACE, stacktrace(error, messages=messages)
