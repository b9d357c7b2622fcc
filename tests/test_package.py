"""What users install: the wheel, its metadata, the public names and their types."""

from __future__ import annotations

import email
import inspect
import json
import re
import subprocess
import sys
import zipfile
from email.message import Message
from importlib.metadata import distribution, requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import otel_progress

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "otel_progress"
MODULES = list(PACKAGE.rglob("*.py"))


def python(*arguments: str, cwd: Path | None = None) -> str:
    """Run Python; gives what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments], check=False, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


# --- the wheel --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The wheel of this checkout, opened."""
    folder = tmp_path_factory.mktemp("dist")
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    (file,) = folder.iterdir()
    return zipfile.Path(zipfile.ZipFile(file))


def metadata(wheel: zipfile.Path) -> Message:
    """The wheel's metadata."""
    return email.message_from_string(info(wheel).joinpath("METADATA").read_text("utf-8"))


def info(wheel: zipfile.Path) -> zipfile.Path:
    """The wheel's `dist-info` folder."""
    (found,) = [part for part in wheel.iterdir() if part.name.endswith(".dist-info")]
    return found


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.Path) -> None:
    assert sorted(part.name for part in wheel.iterdir() if not part.name.endswith(".dist-info")) == ["otel_progress"]
    inside = sorted(
        name.removeprefix("otel_progress/")
        for name in wheel.root.namelist()
        if name.startswith("otel_progress/") and not name.startswith("otel_progress/_files/") and not name.endswith("/")
    )
    assets = [path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "pages" / "assets").iterdir()]
    beside = ("insight/report.schema.json", "py.typed", *assets)
    assert inside == sorted([*(module.relative_to(PACKAGE).as_posix() for module in MODULES), *beside])
    assert info(wheel).joinpath("licenses", "LICENSE").is_file()


def test_the_wheel_brings_the_stack(wheel: zipfile.Path, tmp_path: Path) -> None:
    wheel.root.extractall(tmp_path / "installed")
    code = "import sys; sys.path.insert(0, 'installed'); from otel_progress.cli.main import main; sys.exit(main())"
    python("-c", code, "stack", "init", "new", cwd=tmp_path)
    made = {path.relative_to(tmp_path / "new") for path in (tmp_path / "new").rglob("*") if path.is_file()}
    listed = subprocess.run(
        ["git", "ls-files", "deploy", "grafana", "docs/runbooks"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    assert {path.as_posix() for path in made} >= set(listed)  # Outside of a checkout nothing is listed.
    assert Path("deploy/compose.yaml") in made
    assert Path("grafana/dashboards/otel-progress-overview.json") in made
    assert [path for path in made if path.suffix == ".pyc"] == []
    for path in made:
        assert (tmp_path / "new" / path).read_bytes() == (ROOT / path).read_bytes()


def test_the_wheel_has_the_command(wheel: zipfile.Path) -> None:
    assert "otel-progress = otel_progress.cli.main:main" in info(wheel).joinpath("entry_points.txt").read_text("utf-8")


def test_the_wheel_says_what_it_is(wheel: zipfile.Path) -> None:
    said = metadata(wheel)
    assert said["Name"] == "otel-progress"
    assert said["Requires-Python"] == ">=3.10"
    assert str(said.get_payload()) == (ROOT / "README.md").read_text("utf-8")


def test_one_version_everywhere(wheel: zipfile.Path) -> None:
    released = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    assert metadata(wheel)["Version"] == version("otel-progress") == otel_progress.__version__ == released[0]


def test_every_entry_point_loads() -> None:
    for point in distribution("otel-progress").entry_points:
        point.load()


# --- what it needs ----------------------------------------------------------------------------------------------------


def test_the_lock_holds_every_requirement() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    group = re.search(r"^\[dependency-groups\]\ndev = \[\n(.*?)^\]", pyproject, flags=re.MULTILINE | re.DOTALL)
    assert group is not None
    wanted = [Requirement(text) for text in re.findall(r'^ *"([^"]+)"', group[1], flags=re.MULTILINE)]
    wanted += [Requirement(text) for text in requires("otel-progress") or () if "extra ==" not in text]
    lock = (ROOT / "requirements-dev.txt").read_text("utf-8").splitlines()
    pinned = [Requirement(line) for line in lock if line and not line.lstrip().startswith("#")]
    for each in wanted:
        pins = [pin for pin in pinned if pin.name == each.name]
        assert pins, f"{each.name} is not in requirements-dev.txt: make it again"
        for pin in pins:
            (exact,) = pin.specifier
            assert each.specifier.contains(exact.version, prereleases=True), f"{pin} does not meet {each}"


def test_the_lock_is_for_every_machine() -> None:
    text = (ROOT / "requirements-dev.txt").read_text("utf-8")
    assert "://" not in text
    assert "--index" not in text
    assert not re.search(r"(^| )(-e|file:|/)", text, flags=re.MULTILINE)


def test_the_import_is_light() -> None:
    heavy = ("rich", "grpc", "requests", "google.protobuf", "opentelemetry.sdk", "opentelemetry.exporter", "wrapt")
    code = f"import otel_progress, sys; print([name for name in {heavy} if name in sys.modules])"
    assert python("-c", code).strip() == "[]"


# --- the public names -------------------------------------------------------------------------------------------------


def test_all_names_what_is_public() -> None:
    own = {
        name
        for name, value in vars(otel_progress).items()
        if not name.startswith("_") and str(getattr(value, "__module__", "")).startswith("otel_progress")
    }
    assert own <= set(otel_progress.__all__)
    assert sorted(otel_progress.__all__) == otel_progress.__all__
    with pytest.raises(AttributeError, match="nothing"):
        _ = otel_progress.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in otel_progress.__all__ if name != "__version__"])
def test_public_names_have_docstrings(name: str) -> None:
    value = getattr(otel_progress, name)
    assert inspect.getdoc(value)
    if not inspect.isclass(value):
        return
    for member, inner in vars(value).items():
        if not member.startswith("_") and (inspect.isfunction(inner) or isinstance(inner, property)):
            assert inspect.getdoc(inner), f"{name}.{member}"


# --- the types --------------------------------------------------------------------------------------------------------

SNIPPET = '''
"""What a type checker sees."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

from typing_extensions import assert_type

from otel_progress import ProgressTrackerNode, Run, Telemetry, Visit, configure, progress, stage, workflow


@stage("plain")
def plain(number: int, *, text: str = "") -> float:
    return number + len(text)


@stage("coroutine")
async def coroutine(number: int) -> str:
    return str(number)


@workflow("generator")
def generator(number: int) -> Iterator[int]:
    yield number


@stage("async generator", budget=2.5, platforms=["twitter"], revision=1)
async def async_generator(number: int) -> AsyncIterator[int]:
    yield number


@stage("node")
class Craft:
    def prep(self, shared: dict[str, int]) -> int:
        return len(shared)

    def _run(self, shared: dict[str, int]) -> int:
        return self.prep(shared)


class Better(Craft):
    pass


class Holder:
    @stage("method")
    def method(self, number: int) -> str:
        return str(number)

    @staticmethod
    @stage("static")
    def static(number: int) -> str:
        return str(number)


assert_type(Craft, type[Craft])
assert_type(Better().prep({}), int)
assert_type(plain(1, text="a"), float)
assert_type(generator(1), Iterator[int])
assert_type(async_generator(1), AsyncIterator[int])
assert_type(Holder().method(1), str)
assert_type(Holder.static(1), str)
kept: Callable[[int], Coroutine[Any, Any, str]] = coroutine
plain("1")  # error: reportArgumentType
plain(1, "a")  # error: reportCallIssue

with stage("block", shared={}) as visit:
    assert_type(visit, Visit)
    visit.advance(1, total=6)
with workflow("run") as run:
    assert_type(run, Run)
    assert_type(progress(run), dict[str, dict[str, Any]])


async def in_async() -> None:
    assert_type(await coroutine(1), str)
    async with stage("block") as visit, workflow("run") as run:
        assert_type(visit, Visit)
        assert_type(run, Run)


assert_type(configure("app", detail="items"), Telemetry)
configure(detail="everything")  # error: reportArgumentType
assert_type(ProgressTrackerNode(final=True).exec({}), dict[str, Any])
'''


def test_a_type_checker_sees_what_was_decorated(tmp_path: Path) -> None:
    assert checked(SNIPPET, tmp_path) == expected(SNIPPET)


def expected(code: str) -> list[tuple[int, str]]:
    """The errors that a snippet says it has: line (from 1) and rule."""
    lines = enumerate(code.splitlines(), 1)
    return [(number, line.partition("# error: ")[2]) for number, line in lines if "# error: " in line]


def checked(code: str, folder: Path) -> list[tuple[int, Any]]:
    """The errors that pyright finds in a snippet."""
    (folder / "snippet.py").write_text(code, "utf-8")
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.10", "reportPrivateUsage": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    return [(each["range"]["start"]["line"] + 1, each.get("rule")) for each in found]
