"""The checks by name: `nox -s core`, `tests`, `lint`, `bench`, `pictures`, `display`, where nox itself is installed.

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

CORE = (
    "batches",
    "clocks",
    "exceptions",
    "generators",
    "instrumentor",
    "measurements",
    "mirror",
    "nodes",
    "odd_code",
    "order",
    "races",
    "report",
    "runs",
    "signatures",
    "spans_and_metrics",
    "steps",
    "tracker",
    "tracker_and_code",
    "visits",
    "ways_in",
)
"""Test files of the core, which need neither other processes nor servers."""


@nox.session
def core(session: nox.Session) -> None:
    """The quick tests: about a minute."""
    files = [f"tests/test_{name}.py" for name in CORE]
    session.run(sys.executable, "-m", "pytest", "-q", *files, *session.posargs)


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
    """What recording costs: three minutes; `nox -s bench -- --quick` for half a one."""
    session.run(sys.executable, "benchmarks/overhead.py", *session.posargs)
