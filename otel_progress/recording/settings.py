"""What a user may set: read from the environment, checked once, then frozen."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .. import names
from .faults import report

Detail = Literal["none", "phases", "items", "all"]
DETAILS: tuple[Detail, ...] = ("none", "phases", "items", "all")
OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"
"""OpenTelemetry's own: by which signal exceptions are told."""
_LOGS, _BOTH = "logs", "logs/dup"


@dataclass(frozen=True)
class Settings:
    """Behaviour of one recorder."""

    mirror: bool | None = None
    """Write `progress_metrics` and `progress_run` into the store; None: where the program itself records."""
    detail: Detail = "none"
    """Which spans are made inside a stage beside failed attempts."""
    capture_messages: bool = True
    """Put the message of an exception beside its type."""
    name_limit: int = 200
    """Distinct workflow, stage and platform names (each) on metrics and span names."""

    include: tuple[str, ...] = ()
    """Patterns of the stages that an instrumentor records; none: all."""
    exclude: tuple[str, ...] = ()
    """Patterns of the stages that an instrumentor leaves out."""
    stage_names: Mapping[str, str] = field(default_factory=dict[str, str])
    """Other names for the stages of nodes and flows that an instrumentor records, by those that they would have."""
    platform_key: str = "platform"
    """The parameter of a batch flow's item that names its platform."""
    modules: tuple[str, ...] = ()
    """Modules that hold a copy of PocketFlow, beside those that are recognised."""

    events: bool = False
    """Send starts, progress and ends as log records, where `configure` sets up the SDK."""
    pending: bool = False
    """Say by a span of no length that a run or a visit has begun."""
    exception_events: bool = True
    """Tell of exceptions by span events."""
    exception_logs: bool = False
    """Tell of exceptions by log events."""
    live: bool = False
    """Show the progress of this process while it goes on."""
    record: str | None = None
    """The folder of the record that this process's events go to."""

    @property
    def phases(self) -> bool:
        """Whether prep, exec and post become spans."""
        return self.detail in ("phases", "all")

    @property
    def items(self) -> bool:
        """Whether each item of a batch becomes a span."""
        return self.detail in ("items", "all")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings that the `OTEL_PROGRESS_*` variables ask for; a wrong value is reported and its default used."""
        env = os.environ if environ is None else environ
        default = cls()
        detail = env.get(names.OTEL_PROGRESS_DETAIL, "").strip().lower() or default.detail
        if detail not in DETAILS:
            report(f"{names.OTEL_PROGRESS_DETAIL}={detail!r} is none of {', '.join(DETAILS)}; using {default.detail!r}")
            detail = default.detail
        signals = set(_list(env, OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN))
        return cls(
            mirror=_boolean(env, names.OTEL_PROGRESS_MIRROR),
            detail=detail,
            capture_messages=_boolean(env, names.OTEL_PROGRESS_CAPTURE_MESSAGES) is not False,
            name_limit=_positive(env, names.OTEL_PROGRESS_NAME_LIMIT, default.name_limit),
            include=_list(env, names.OTEL_PROGRESS_INCLUDE),
            exclude=_list(env, names.OTEL_PROGRESS_EXCLUDE),
            stage_names=_pairs(env, names.OTEL_PROGRESS_STAGE_NAMES),
            platform_key=env.get(names.OTEL_PROGRESS_PLATFORM_KEY, "").strip() or default.platform_key,
            modules=_list(env, names.OTEL_PROGRESS_MODULES),
            events=_boolean(env, names.OTEL_PROGRESS_EVENTS) is True,
            pending=_boolean(env, names.OTEL_PROGRESS_PENDING) is True,
            exception_events=_BOTH in signals or _LOGS not in signals,
            exception_logs=_BOTH in signals or _LOGS in signals,
            live=_boolean(env, names.OTEL_PROGRESS_LIVE) is True,
            record=env.get(names.OTEL_PROGRESS_RECORD) or None,
        )


def _boolean(env: Mapping[str, str], name: str) -> bool | None:
    value = env.get(name, "").strip().lower()
    if value in ("true", "1", "yes", "on"):
        return True
    if value in ("false", "0", "no", "off"):
        return False
    if value:
        report(f"{name}={value!r} is neither true nor false, and is ignored")
    return None


def _list(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in env.get(name, "").split(",") if part.strip())


def _pairs(env: Mapping[str, str], name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in _list(env, name):
        left, _, right = map(str.strip, part.partition("="))
        if left and right:
            found[left] = right
        else:
            report(f"{name} has {part!r}, which is no Name=stage, and is ignored")
    return found


def _positive(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name, "").strip()
    if value.isdecimal() and int(value) > 0:
        return int(value)
    if value:
        report(f"{name}={value!r} is not a positive whole number; using {default}")
    return default


_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")


def parse_duration(value: str | float) -> float:
    """Seconds in `value`: a number of seconds, or a text as Prometheus writes durations (`"90s"`, `"2m"`, `"1h30m"`).

    Raises:
        ValueError: `value` is not a positive duration.
    """
    if isinstance(value, str):
        text = value.strip()
        if not re.fullmatch(f"(?:{_PART.pattern})+", text):
            raise ValueError(f"{value!r} is not a duration; write seconds, or a text such as '90s', '2m' or '1h30m'")
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    else:
        seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"a duration must be above zero and finite, not {value!r}")
    return seconds
