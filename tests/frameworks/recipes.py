"""The blocks of docs/recipes.md as programs, and what is recorded of them."""

from __future__ import annotations

from pathlib import Path

from otel_progress.runs import read

from .. import otlp
from ..test_cli import RUN
from ..test_docs import ROOT, blocks_of

PAGE = ROOT / "docs" / "recipes.md"
TWICE = {"success": 2}
ONCE = {"success": 1}


def blocks(framework: str) -> dict[str, str]:
    """What the page has for a framework, by the names of the files; that without a name is the program."""
    found: dict[str, str] = {}
    for block in blocks_of(PAGE):
        kind, _, rest = block.mark.partition(": ")
        name, _, file = rest.partition(" ")
        if kind == "framework" and name == framework:
            found[file or "program.py"] = block.text
    assert found
    return found


def written(framework: str, folder: Path) -> Path:
    """The same as files."""
    for name, text in blocks(framework).items():
        (folder / name).write_text(text + "\n", "utf-8")
    return folder


def recorded(folder: Path) -> list[tuple[str, dict[str, dict[str, int]]]]:
    """The runs of the record, and how the visits of each stage ended."""
    runs = read(folder / ".otel-progress")
    return [(run.workflow, {stage.name: dict(stage.results) for stage in run.stages}) for run in runs]


def run_recorded(folder: Path, *program: str, **variables: str) -> None:
    """Run it by `otel-progress run`."""
    quiet = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "HOME": str(folder), "PYTEST_ADDOPTS": ""}
    ended = otlp.run(folder, [*RUN, *(program or ("program.py",))], **quiet, **variables)
    assert ended.returncode == 0, ended.stderr
