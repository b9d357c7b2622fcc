"""The folders of the package: what may import what, what an import costs in modules, and the way to a span."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from otel_progress import stage, workflow

from .conftest import Telemetry

PACKAGE = Path(__file__).parents[1] / "otel_progress"
LAYERS = [
    {"names", "_version"},
    {"recording"},
    {"sinks", "ways"},
    {"telemetry", "tracker"},
    {"instrumentor"},
    {"runs"},
    {"compare", "insight"},
    {"report", "stack"},
    {"live", "pages"},
    {"ui"},
    {"cli"},
    {"__init__", "__main__"},
]
"""From below to above. A module imports from its own folder and from layers below; `__init__` is the package's own."""
LONGEST = 425  # About 400: more is a module that wants to be two.


def place_of(module: Path) -> str:
    """The folder of a module, or its own name where it stands at the top."""
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def layer_of(place: str) -> int:
    """Which layer it is in. What is no module is a name of the package itself, on top of all."""
    if not any((PACKAGE / name).exists() for name in (place, f"{place}.py")):
        return len(LAYERS)
    return next(number for number, places in enumerate(LAYERS) if place in places)


def imports_of(module: Path) -> Iterator[str]:
    """The places of the package that a module imports from, wherever in it."""
    depth = len(module.relative_to(PACKAGE).parts) - 1
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (place for alias in node.names for place in _absolute(alias.name, []))
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from _absolute(node.module or "", [alias.name for alias in node.names])
        elif isinstance(node, ast.ImportFrom):
            above = depth + 1 - node.level
            if above == 1:
                yield place_of(module)
            elif node.module:
                yield node.module.split(".")[0]
            else:
                for alias in node.names:
                    yield alias.name


def _absolute(module: str, names: list[str]) -> list[str]:
    """The places of the package that are named by their whole names."""
    package, _, inside = module.partition(".")
    if package != PACKAGE.name:
        return []
    return [inside.split(".")[0]] if inside else names or ["__init__"]


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(module: Path) -> None:
    place = place_of(module)
    if place == "__init__":
        return
    wrong = [other for other in imports_of(module) if other != place and layer_of(other) >= layer_of(place)]
    assert wrong == []


def test_every_folder_says_what_belongs_there_and_what_does_not() -> None:
    for folder in (path for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()):
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
        assert len(said.splitlines()) >= 3, folder


def test_no_module_is_long() -> None:
    assert {
        path.name: lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text("utf-8").splitlines())) > LONGEST
    } == {}


def test_an_import_brings_neither_the_sdk_nor_asyncio_nor_pocketflow() -> None:
    code = "import opentelemetry.trace, opentelemetry.metrics, otel_progress, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    unwanted = {"asyncio", "importlib.metadata", "opentelemetry.sdk", "opentelemetry.instrumentation", "pocketflow"}
    assert unwanted.isdisjoint(modules)


def ways_of(call: Callable[[], object]) -> tuple[list[str], list[str]]:
    """Which files of the package calls lead into, one after the other: from a recorded call of `draft` to the start of
    its span, and from the end of what it does to that of its span.

    A return to a caller leads into none, nor what it calls next in the same file; what is in a caller's own file does.
    """
    start: list[str] = []
    end: list[str] = []
    last: dict[FrameType, str] = {}
    way: list[str] | None = start

    def note(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal way
        if event != "call":
            return
        if frame.f_code.co_filename == __file__ and frame.f_code.co_name == "draft":
            way = end
        elif way is not None and frame.f_globals["__name__"] == "opentelemetry.sdk.trace":
            way = way if frame.f_code.co_name not in ("start_span", "end") else None
        elif way is not None and (path := Path(frame.f_code.co_filename)).is_relative_to(PACKAGE):
            file, by = path.relative_to(PACKAGE).as_posix(), frame.f_back
            if by is not None and by.f_code.co_filename != str(path) and file not in (last.get(by), *way[-1:]):
                way.append(file)
            if by is not None:
                last[by] = file

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return start, end


@stage
def draft(shared: dict[str, Any]) -> None:
    """Do nothing."""


@pytest.mark.parametrize("store", [{}, {"task_requirements": {"platforms": ["x"]}}], ids=["empty", "with platforms"])
def test_a_decorated_call_leads_to_its_span_through_each_file_once(telemetry: Telemetry, store: dict[str, Any]) -> None:
    with workflow("w", shared=store):
        draft(store)
        start, end = ways_of(lambda: draft(store))
    assert start[0] == "ways/functions.py"
    assert "sinks/spans.py" in start
    assert start == list(dict.fromkeys(start))
    assert "recording/ending.py" in end
    assert "sinks/spans.py" in end
    assert end == list(dict.fromkeys(end))
