"""What is quick about reading gives what reading closely does, and the cost grows with what is read."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_progress.insight import Report, figures_of
from otel_progress.report.formats import Trace
from otel_progress.runs import read
from otel_progress.runs.documents import DamagedError, parse
from otel_progress.runs.model import Stage, Visit
from otel_progress.runs.otlp import attributes, attributes_of_any
from otel_progress.runs.quickly import quickly

from .records import campaign, write
from .test_insight_path import run, visit

# --- the same ---------------------------------------------------------------------------------------------------------

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
_KINDS = st.sampled_from(["stringValue", "intValue", "boolValue", "doubleValue", "arrayValue", "kvlistValue"])
_VALUES = st.dictionaries(_KINDS, _JSON | st.sampled_from(["7", "-1", "x", "1e3"]), max_size=2)
_TEXTS = st.builds(lambda text: {"stringValue": text}, st.text(max_size=5))
_NUMBERS = st.builds(lambda number: {"intValue": str(number)}, st.integers())
_KEYS = st.sampled_from(["a", "b", "c"])
_USUAL = st.fixed_dictionaries({"key": _KEYS, "value": _TEXTS | _NUMBERS})
_ODD = st.fixed_dictionaries({}, optional={"key": _KEYS | _JSON, "value": _VALUES | _JSON, "more": _JSON})


@given(st.lists(_USUAL | _USUAL | _ODD | _JSON, max_size=6) | _JSON)
@example([{"key": "a", "value": {"intValue": "9" * 5000}}])
@example([{"key": "a", "value": {"intValue": "1", "stringValue": "b"}}])
@example([{"key": "a", "value": {"stringValue": 7}}, {"key": "a", "value": {"intValue": True}}])
def test_attributes_are_those_of_a_close_look(pairs: object) -> None:
    quick, close = attributes(pairs), attributes_of_any(pairs)
    assert list(map(repr, quick.items())) == list(map(repr, close.items()))  # True is 1, but not here.


def test_records_that_are_made_quickly_are_like_others() -> None:
    made, other = (make("a", "draft", started=1, ended=3, platforms=("x",)) for make in (quickly(Visit), Visit))
    assert (type(made), made, hash(made), repr(made)) == (Visit, other, hash(other), repr(other))
    assert (copy.deepcopy(made), pickle.loads(pickle.dumps(made))) == (other, other)
    assert replace(made, stage="b") == replace(other, stage="b")
    with pytest.raises(FrozenInstanceError):
        made.stage = "b"  # pyright: ignore[reportAttributeAccessIssue]
    stages = quickly(Stage)
    assert (type(stages("a")), stages("a")) == (Stage, Stage("a"))
    assert stages("a").results is not stages("b").results
    with pytest.raises(TypeError):
        stages()  # pyright: ignore[reportCallIssue]


_ENCODED = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
_AROUND = st.text(" \t\r\n", max_size=3)


@given(st.dictionaries(st.text(max_size=3), _JSON, max_size=3) | _JSON, _AROUND, _AROUND, _ENCODED, st.integers(0, 4))
def test_a_document_is_what_json_says(value: object, before: str, behind: str, encoding: str, torn: int) -> None:
    text = before + json.dumps(value, ensure_ascii=bool(torn % 2)) + behind
    data = text.encode(encoding, "surrogatepass")
    data = data[: len(data) - torn]
    try:
        expected: object = json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        expected = None
    try:
        found: object = parse(data)
    except DamagedError:
        found = None
    assert repr(found) == repr(expected if isinstance(expected, dict) else None)


# --- as much as is read -----------------------------------------------------------------------------------------------


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python are run."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def growth(work: Callable[[int], Callable[[], object]], few: int) -> float:
    """How many times as many lines twice as much takes."""
    return steps(work(2 * few)) / steps(work(few))


def test_reading_grows_with_what_is_read(tmp_path: Path) -> None:
    def reading(times: int) -> Callable[[], object]:
        runs = [line for number in range(times) for line in campaign(f"{number:032x}")]
        path = write(tmp_path / f"{times}.jsonl", runs)
        return lambda: list(read(path))

    assert growth(reading, 50) < 2.2


def test_a_report_of_visits_that_all_go_on_at_once_grows_with_them() -> None:
    def reporting(count: int) -> Callable[[], object]:
        visits = [visit("a" if n % 3 else "b", n / 1e4, 9 - n % 7 / 1e4, id=f"{n:06}") for n in range(count)]
        made = run(*visits, ends=10)
        report = Report()

        def whole() -> None:
            report.add(made)
            report.workflows()
            Trace().add(made, figures_of(made))

        return whole

    assert growth(reporting, 300) < 2.4


def test_a_report_of_tasks_that_start_each_other_grows_with_them() -> None:
    """Each is started inside the one before it, which does not wait for it."""

    def reporting(count: int) -> Callable[[], object]:
        ids = [f"{number:06}" for number in range(count)]
        visits = [
            visit("a", number / 10, number / 10 + 0.2, id=each, parent=ids[number - 1] if number else None)
            for number, each in enumerate(ids)
        ]
        made = run(*visits, ends=count / 10 + 1)
        return lambda: Report().add(made)

    assert growth(reporting, 300) < 2.4
