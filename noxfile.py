"""The checks by name: `nox -s quick`, `core`, `tests`, `lint`, `bench`, `pictures`, `display`, where nox is installed.

And `frameworks`, `frameworks_heavy`: the recipes of docs/recipes.md, in environments that have the frameworks.
"""

from __future__ import annotations

import datetime
import platform
import re
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"  # The environment is there, and a second one would take minutes.
nox.options.sessions = ["core", "lint"]

QUICK = (
    "batches",
    "exceptions",
    "instrumentor",
    "measurements",
    "mirror",
    "nodes",
    "races",
    "runs",
    "spans_and_metrics",
    "tracker",
    "tracker_and_code",
    "visits",
    "ways_in",
)
"""Test files of what every change of the recording touches, which take a second or less each."""

CORE = (
    *QUICK,
    "clocks",
    "generators",
    "odd_code",
    "order",
    "report",
    "signatures",
    "steps",
)
"""Test files of the core, which need neither other processes nor servers."""


def _run_tests(names: tuple[str, ...], session: nox.Session) -> None:
    files = [f"tests/test_{name}.py" for name in names]
    session.run(sys.executable, "-m", "pytest", "-q", *files, *session.posargs)


@nox.session
def quick(session: nox.Session) -> None:
    """The heart of the core: ten seconds, to be run at every change."""
    _run_tests(QUICK, session)


@nox.session
def core(session: nox.Session) -> None:
    """The tests of the core: half a minute."""
    _run_tests(CORE, session)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; those of the servers only where they are built."""
    session.run(sys.executable, "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types."""
    session.run(sys.executable, "-m", "ruff", "check")
    session.run(sys.executable, "-m", "ruff", "format", "--check")
    session.run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable)
    session.run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", "grafana")


@nox.session
def display(session: nox.Session) -> None:
    """The pictures of the display, as docs/behaviour.md shows it."""
    session.run(sys.executable, "-m", "tests.pictures")


FRAMEWORKS = Path("tests/frameworks")


@nox.session(venv_backend="virtualenv", reuse_venv=True)
def frameworks(session: nox.Session) -> None:
    """The recipes of the light frameworks: half a minute, most of it their installation."""
    session.install("-r", str(FRAMEWORKS / "requirements.txt"))
    session.install("--no-deps", "-e", ".")
    session.run("python", "-m", "pytest", str(FRAMEWORKS / "test_light.py"), *session.posargs)


@nox.session(venv_backend="virtualenv", reuse_venv=True)
def frameworks_heavy(session: nox.Session) -> None:
    """Those of the heavy ones, and notes the result in tests/frameworks/heavy.txt, to be committed."""
    session.install("-r", str(FRAMEWORKS / "requirements-heavy.txt"))
    session.install("--no-deps", "-e", ".")
    tests = session.run("python", "-m", "pytest", "-rA", "-q", str(FRAMEWORKS / "test_heavy.py"), silent=True)
    passed = re.findall(r"^PASSED \S+::(\w+)", str(tests), flags=re.MULTILINE)
    freeze = session.run("python", "-m", "pip", "freeze", silent=True)
    named = r"^(dagster|ipykernel|papermill|pocketflow|prefect|streamlit)==.*"
    versions = [found[0] for found in re.finditer(named, str(freeze), flags=re.MULTILINE)]
    day = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}"
    said = [
        f"{day}, by nox -s frameworks_heavy, Python {platform.python_version()}",
        *versions,
        *(f"passed: {name}" for name in passed),
    ]
    (FRAMEWORKS / "heavy.txt").write_text("\n".join(said) + "\n", "utf-8")


@nox.session
def pictures(session: nox.Session) -> None:
    """The pictures of the pages, in docs/pictures: needs a Chromium."""
    session.run(sys.executable, "docs/preview/pages.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """What recording costs: four minutes; `nox -s bench -- --quick` for half a minute."""
    session.run(sys.executable, "benchmarks/overhead.py", *session.posargs)
