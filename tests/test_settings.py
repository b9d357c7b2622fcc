"""Settings: what each way to write one means, and that a wrong one is said and left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from otel_progress import stage
from otel_progress.recording.settings import Settings, parse_duration


def of(name: str, value: str) -> Settings:
    """The settings where one variable has a value."""
    return Settings.from_environment({name: value})


def test_nothing_set_is_the_default() -> None:
    assert Settings.from_environment({}) == Settings()


@pytest.mark.parametrize("value", ["true", "1", "yes", "on", " TRUE "])
def test_what_is_true(value: str) -> None:
    assert of("OTEL_PROGRESS_MIRROR", value).mirror is True
    for name in ("events", "pending", "live"):
        assert getattr(of(f"OTEL_PROGRESS_{name.upper()}", value), name) is True


@pytest.mark.parametrize("value", ["false", "0", "no", "off", " False "])
def test_what_is_false(value: str) -> None:
    assert of("OTEL_PROGRESS_MIRROR", value).mirror is False
    assert of("OTEL_PROGRESS_CAPTURE_MESSAGES", value).capture_messages is False


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_PROGRESS_MIRROR", "perhaps", "is neither true nor false, and is ignored"),
        ("OTEL_PROGRESS_CAPTURE_MESSAGES", "2", "is neither true nor false, and is ignored"),
        ("OTEL_PROGRESS_DETAIL", "some", "is none of none, phases, items, all; using 'none'"),
        ("OTEL_PROGRESS_NAME_LIMIT", "0", "is not a positive whole number; using 200"),
        ("OTEL_PROGRESS_NAME_LIMIT", "-1", "is not a positive whole number; using 200"),
        ("OTEL_PROGRESS_NAME_LIMIT", "1.5", "is not a positive whole number; using 200"),
    ],
)
def test_a_wrong_value_is_said_and_its_default_used(
    name: str, value: str, said: str, faults: Callable[[], list[str]]
) -> None:
    assert of(name, value) == Settings()
    assert faults() == [f"{name}={value!r} {said}"]


@pytest.mark.parametrize("part", ["A", "A=", "=a", "="])
def test_a_name_of_a_stage_that_is_none_is_said_and_left_out(part: str, faults: Callable[[], list[str]]) -> None:
    assert of("OTEL_PROGRESS_STAGE_NAMES", f"{part},B=b").stage_names == {"B": "b"}
    assert faults() == [f"OTEL_PROGRESS_STAGE_NAMES has {part!r}, which is no Name=stage, and is ignored"]


@pytest.mark.parametrize(
    ("name", "value", "field", "means"),
    [
        ("OTEL_PROGRESS_NAME_LIMIT", " 1 ", "name_limit", 1),
        ("OTEL_PROGRESS_INCLUDE", "a, b*,,", "include", ("a", "b*")),
        ("OTEL_PROGRESS_EXCLUDE", " a ", "exclude", ("a",)),
        ("OTEL_PROGRESS_MODULES", "a.b,c", "modules", ("a.b", "c")),
        ("OTEL_PROGRESS_STAGE_NAMES", "A = a, B=b=c", "stage_names", {"A": "a", "B": "b=c"}),
        ("OTEL_PROGRESS_PLATFORM_KEY", "channel", "platform_key", "channel"),
        ("OTEL_PROGRESS_PLATFORM_KEY", " ", "platform_key", "platform"),
        ("OTEL_PROGRESS_RECORD", "folder", "record", "folder"),
        ("OTEL_PROGRESS_RECORD", "", "record", None),
    ],
)
def test_what_else_is_set(name: str, value: str, field: str, means: Any, faults: Callable[[], list[str]]) -> None:
    assert getattr(of(name, value), field) == means
    assert faults() == []


@pytest.mark.parametrize(
    ("detail", "phases", "items"),
    [("none", False, False), ("phases", True, False), ("Items", False, True), ("all", True, True)],
)
def test_what_more_spans_are_made(detail: str, phases: bool, items: bool) -> None:
    found = of("OTEL_PROGRESS_DETAIL", detail)
    assert (found.detail, found.phases, found.items) == (detail.lower(), phases, items)


@pytest.mark.parametrize(
    ("value", "events", "logs"),
    [
        ("", True, False),
        ("logs", False, True),
        ("logs/dup", True, True),
        ("logs, logs/dup", True, True),
        ("another", True, False),
    ],
)
def test_by_which_signal_exceptions_are_told(value: str, events: bool, logs: bool) -> None:
    found = of("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", value)
    assert (found.exception_events, found.exception_logs) == (events, logs)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1, 1.0),
        (0.5, 0.5),
        ("90s", 90.0),
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("1d", 86400.0),
        ("20ms", 0.02),
        (" 1.5h ", 5400.0),
    ],
)
def test_a_duration(value: str | float, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds)  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize("value", ["", "5", "5 minutes", "-1s", "1s2", "0s", 0, -1, float("inf"), float("nan")])
def test_what_is_no_duration(value: str | float) -> None:
    with pytest.raises(ValueError, match="duration"):
        stage("a", budget=value)
