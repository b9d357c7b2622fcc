"""The environment as a carrier of context, from the program that starts another to that one.

As OpenTelemetry's specification has it: `TRACEPARENT`, `TRACESTATE` and `BAGGAGE`, or what other propagators call their
fields. The class for this in OpenTelemetry's own API is not public.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import Getter, Setter

from ..recording import default
from ..recording.faults import report

_NO_NAME = re.compile(r"[^A-Z0-9_]")
_BAGGAGE = "BAGGAGE"


def read_environment() -> None:
    """Have runs that begin where no span is current be inside what has started this process, if it said so.

    Read anew by each process that is started; a forked one goes on with what its parent has read.
    """
    default.recorder.started_in = context_in(os.environ) or None


def context_in(environ: Mapping[str, str]) -> Context:
    """What `environ` says; nothing where that is malformed."""
    try:
        from opentelemetry.propagate import extract  # noqa: PLC0415 - it raises where `OTEL_PROPAGATORS` names an unknown

        return extract(environ, Context(), _ReadEnvironment())
    except Exception as error:
        report("the context that the process was started in cannot be read: its runs are traces of their own", error)
        return Context()


def environment_here() -> dict[str, str]:
    """What a process that is started here is to find in its environment; nothing where no span is current."""
    context, here = get_current(), dict[str, str]()
    if trace.get_current_span(context).get_span_context().is_valid:
        try:
            from opentelemetry.propagate import inject  # noqa: PLC0415

            inject(here, context, _WriteEnvironment())
        except Exception as error:
            report("what is started cannot be told where in the trace it was started", error)
    return here


def put_into(environ: MutableMapping[str, str], here: Mapping[str, str]) -> None:
    """Write it in the place of what `environ` says of another span."""
    from opentelemetry.propagate import get_global_textmap  # noqa: PLC0415

    for field in map(_name, get_global_textmap().fields):
        if field != _BAGGAGE:
            environ.pop(field, None)
    environ.update(here)


def _name(key: str) -> str:
    name = _NO_NAME.sub("_", key.upper())
    return f"_{name}" if name[:1].isdigit() else name


class _ReadEnvironment(Getter[Mapping[str, str]]):
    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(_name(key))
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return [key for key in carrier if key == _name(key)]


class _WriteEnvironment(Setter[MutableMapping[str, str]]):
    def set(self, carrier: MutableMapping[str, str], key: str, value: str) -> None:
        carrier[_name(key)] = value
