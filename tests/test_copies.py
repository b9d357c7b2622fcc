"""Copies of PocketFlow inside other packages: recognised by their shape, or named."""

from __future__ import annotations

import importlib
import py_compile
import sys
import types
from collections.abc import Callable, Generator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pocketflow
import pytest

from otel_progress import PocketFlowInstrumentor

from . import otlp
from .conftest import Telemetry
from .test_cli import RUN, rows

SOURCE = Path(pocketflow.__file__).read_text("utf-8")
GENERATED = SOURCE.replace("class BaseNode:", "class Root:").replace("BaseNode", "Root")
PROGRAM = """
from studio.flow import Flow, Node
class Draft(Node): pass
Flow(Draft()).run({})
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A folder to import from."""
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)
    yield tmp_path
    if PocketFlowInstrumentor().is_instrumented_by_opentelemetry:
        PocketFlowInstrumentor().uninstrument()
    assert sys.meta_path == finders
    for name in [name for name in sys.modules if name.partition(".")[0] == "studio"]:
        del sys.modules[name]


def package(folder: Path, source: str = SOURCE) -> None:
    (folder / "studio").mkdir()
    (folder / "studio" / "__init__.py").write_text("", "utf-8")
    (folder / "studio" / "flow.py").write_text(source, "utf-8")


def run_one(flow: Any) -> None:
    flow.Flow(type("Draft", (flow.Node,), {})()).run({})


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("source", [SOURCE, GENERATED], ids=["as it is", "renamed"])
def test_a_copy_is_recognised(telemetry: Telemetry, here: Path, before: bool, source: str) -> None:
    package(here, source)
    if before:
        importlib.import_module("studio.flow")
    PocketFlowInstrumentor().instrument()
    flow = importlib.import_module("studio.flow")
    run_one(flow)
    assert repr(telemetry.trees()) == "[run tests[stage Draft]]"
    assert sys.modules["studio"].__spec__ is not None
    assert type(sys.modules["studio"].__spec__.loader).__module__ != "otel_progress.ways.copies"  # Not its business.
    PocketFlowInstrumentor().uninstrument()
    run_one(flow)
    assert len(telemetry.spans()) == 2


def test_where_modules_are_named_they_alone_are_recorded(telemetry: Telemetry, here: Path) -> None:
    package(here)
    PocketFlowInstrumentor().instrument(module=pocketflow)
    run_one(importlib.import_module("studio.flow"))
    assert telemetry.spans() == []


def test_modules_may_be_anything(
    telemetry: Telemetry, here: Path, monkeypatch: pytest.MonkeyPatch, faults: Callable[[], list[str]]
) -> None:
    class Odd(type):
        def __hash__(cls) -> int:
            raise LookupError

        def __getattribute__(cls, name: str) -> Any:
            raise LookupError(name)

    class Lazy:
        @property
        def __class__(self) -> Any:
            asked.append(1)
            raise RuntimeError

    class Claims:
        __slots__ = ()
        __class__: Any = property(lambda self: types.ModuleType)

    asked: list[int] = []
    odd: Any = types.ModuleType("studio.odd")
    odd.first, odd.__name__ = Odd("First", (), {}), ["no name"]
    for name, thing in {"studio.odd": odd, "studio.none": None, "studio.claims": Claims(), "studio.one": 1}.items():
        monkeypatch.setitem(sys.modules, name, thing)
    package(here)
    flow: Any = importlib.import_module("studio.flow")
    flow.lazy, flow.odd = Lazy(), odd.first
    PocketFlowInstrumentor().instrument()
    run_one(flow)
    assert repr(telemetry.trees()) == "[run tests[stage Draft]]"
    assert (faults(), asked) == ([], [])


def test_what_only_reads_like_a_copy_is_none(telemetry: Telemetry, here: Path) -> None:
    package(here, f"TEXT = {SOURCE!r}\nclass Node:\n    def post(self, url): ...\n")
    PocketFlowInstrumentor().instrument()
    flow = importlib.import_module("studio.flow")
    assert not hasattr(flow.Node.post, "__wrapped__")


def test_a_module_is_looked_for_once_and_read_once(tmp_path: Path) -> None:
    (tmp_path / "last").mkdir()
    package(tmp_path / "last", "import studio")
    program = otlp.write(
        tmp_path,
        f"""
        import importlib, sys
        from importlib.machinery import PathFinder
        from otel_progress import PocketFlowInstrumentor
        PocketFlowInstrumentor().instrument()
        sys.path[1:1] = [*({str(tmp_path)!r} + f"/{{number}}" for number in range(20)), {str(tmp_path / "last")!r}]
        find, looked, opened = PathFinder.find_spec, [], []
        PathFinder.find_spec = lambda name, *args: (looked.append(name), find(name, *args))[1]
        sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
        importlib.import_module("studio.flow")
        print(looked, sum("flow.py" in each for each in opened), sum("studio" in each for each in opened))
        """,
    )
    said = otlp.run(tmp_path, [str(program)], PYTHONDONTWRITEBYTECODE="1").stdout
    assert said == "['studio', 'studio.flow'] 2 6\n"  # Each file once by us.


def test_a_finder_in_between_finds_first(telemetry: Telemetry, here: Path) -> None:
    package(here)
    (here / "other").mkdir()
    package(here / "other")
    PocketFlowInstrumentor().instrument()

    class Elsewhere:
        """Finds the package in another folder."""

        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            return PathFinder.find_spec(name, [str(here / "other")], target) if name == "studio" else None

    finders: list[Any] = sys.meta_path
    finders.insert(finders.index(PathFinder), Elsewhere)
    try:
        flow = importlib.import_module("studio.flow")
    finally:
        finders.remove(Elsewhere)
    assert Path(flow.__file__ or "").parents[1] == here / "other"
    run_one(flow)
    assert repr(telemetry.trees()) == "[run tests[stage Draft]]"


@pytest.mark.parametrize("source", ["1 / 0\n" + SOURCE, "def (\n" + SOURCE])
def test_a_copy_that_cannot_be_imported_says_the_same(telemetry: Telemetry, here: Path, source: str) -> None:
    package(here, source)
    with pytest.raises((ZeroDivisionError, SyntaxError)) as plain:
        importlib.import_module("studio.flow")
    PocketFlowInstrumentor().instrument()
    with pytest.raises(plain.type) as ours:
        importlib.import_module("studio.flow")
    assert str(ours.value) == str(plain.value)


def test_the_command_line_records_a_copy(tmp_path: Path) -> None:
    package(tmp_path)
    ended = otlp.run(tmp_path, [*RUN, str(otlp.write(tmp_path, PROGRAM))])
    assert list(rows(ended.stderr)) == ["Draft", "program (1 run)"]


BUILT = SOURCE.replace("def prep(self,shared): pass", "prep=lambda self,shared: None") + "\nBaseNode.__module__ = 'x'\n"


def test_one_that_is_not_recognised_is_named(tmp_path: Path) -> None:
    package(tmp_path, BUILT)
    program = str(otlp.write(tmp_path, PROGRAM))
    ended = otlp.run(tmp_path, [*RUN, program])
    assert "no stage was recorded" in ended.stderr
    assert "--module NAME" in ended.stderr
    ended = otlp.run(tmp_path, [*RUN, "--module", "studio.flow", program])
    assert list(rows(ended.stderr)) == ["Draft", "program (1 run)"]
    ended = otlp.run(tmp_path, [*RUN, program], OTEL_PROGRESS_MODULES="other, studio.flow")
    assert list(rows(ended.stderr)) == ["Draft", "program (1 run)"]


def test_one_without_its_source_is_named(tmp_path: Path) -> None:
    package(tmp_path)
    source = tmp_path / "studio" / "flow.py"
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")))
    source.unlink()
    ended = otlp.run(tmp_path, [*RUN, "--module", "studio.flow", str(otlp.write(tmp_path, PROGRAM))])
    assert list(rows(ended.stderr)) == ["Draft", "program (1 run)"]


def test_a_named_module_that_is_none_is_said(tmp_path: Path) -> None:
    package(tmp_path)
    ended = otlp.run(tmp_path, [*RUN, "--module", "studio", str(otlp.write(tmp_path, "import studio"))])
    assert "studio is named as a copy of PocketFlow, and has no class with prep, exec, post and _run" in ended.stderr


def test_children_record_the_copy_too(tmp_path: Path) -> None:
    package(tmp_path, BUILT)
    otlp.write(tmp_path, "def work():\n" + "\n".join("    " + line for line in PROGRAM.strip().splitlines()), "work.py")
    program = otlp.write(
        tmp_path,
        """
        import multiprocessing, work
        if __name__ == "__main__":
            child = multiprocessing.get_context("spawn").Process(target=work.work)
            child.start()
            child.join()
        """,
    )
    ended = otlp.run(tmp_path, [*RUN, "--module", "studio.flow", str(program)])
    assert "Draft" in rows(ended.stderr)


def test_help_says_what_is_seen(tmp_path: Path) -> None:
    shown = otlp.run(tmp_path, [*RUN, "--help"]).stdout
    for said in ("What is not seen", "--module NAME", "pytest", "papermill", "kernel"):
        assert said in shown
