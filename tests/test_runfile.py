"""Run files: where they are kept, how long, and what of them survives."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_progress.runs.file import RunFile

from . import otlp

fcntl = pytest.importorskip("fcntl")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def fill(file: RunFile, *names: str) -> TracerProvider:
    """Record a span for each name."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(file.processor())
    for name in names:
        provider.get_tracer("tests").start_span(name).end()
    return provider


def names(path: Path) -> list[str]:
    """Names of the spans in a run file, in their order."""
    found: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        data: dict[str, Any] = json.loads(line)
        found += [
            span["name"]
            for resource in data["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
    return found


def make_files(*names: str) -> list[Path]:
    """Run files of earlier programs."""
    runs = Path(".otel-progress/runs")
    runs.mkdir(parents=True, exist_ok=True)
    files = [runs / f"{name}.jsonl" for name in names]
    for file in files:
        file.write_text("{}\n")
    return files


def left() -> list[str]:
    return sorted(path.stem for path in Path(".otel-progress/runs").iterdir())


def test_named_by_time_and_program_and_written_as_json_lines() -> None:
    file = RunFile("my prog/rämß.v2")
    fill(file, "draft", "check")
    assert file.finish(keep=5)
    assert file.path is not None
    assert file.path.parent == Path(".otel-progress/runs")
    assert re.fullmatch(r"\d{8}T\d{6}Z-my_prog_rämß\.v2-[0-9a-f]{6}\.jsonl", file.path.name)
    assert names(file.path) == ["draft", "check"]


def test_there_is_no_file_when_nothing_was_recorded() -> None:
    file = RunFile("program")
    fill(file)
    assert not file.finish(keep=5)
    assert left() == []
    assert not RunFile("another").finish(keep=5)  # One that no provider was ever given.


def test_written_while_the_program_runs() -> None:
    file = RunFile("program")
    provider = fill(file, "draft")
    assert file.path is not None
    otlp.wait_until(file.path.exists)
    otlp.wait_until(lambda: file.path is not None and names(file.path) == ["draft"])
    provider.shutdown()


def test_the_oldest_are_deleted_the_newest_kept() -> None:
    make_files("20250101T000000Z-a-1", "20250102T000000Z-b-2", "20250103T000000Z-c-3")
    other = Path(".otel-progress/runs/notes.txt")
    other.write_text("mine")
    file = RunFile("program")
    fill(file, "draft")
    assert file.finish(keep=2)
    assert file.path is not None
    assert left() == ["20250103T000000Z-c-3", file.path.stem, "notes"]


def test_one_that_a_running_program_writes_to_is_not_deleted() -> None:
    make_files("20250101T000000Z-a-1")
    running = RunFile("server")
    provider = fill(running, "draft")
    provider.force_flush()
    assert running.path is not None
    first = running.path.rename(running.path.with_name("20250102T000000Z-server-2.jsonl"))
    file = RunFile("program")
    fill(file, "check")
    assert file.finish(keep=1)
    assert file.path is not None
    assert left() == [first.stem, file.path.stem]
    provider.shutdown()


def test_a_file_of_another_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    make_files("20250101T000000Z-a-1")
    file = RunFile("program")
    fill(file, "draft")
    monkeypatch.setattr(Path, "unlink", refuse)
    assert file.finish(keep=1)


def test_git_ignores_it_and_a_changed_ignore_file_stays() -> None:
    RunFile("program")
    ignore = Path(".otel-progress/.gitignore")
    assert ignore.read_text() == "*\n"
    ignore.write_text("runs/*.tmp\n")
    RunFile("program")
    assert ignore.read_text() == "runs/*.tmp\n"


def test_kept_elsewhere_where_the_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path(".otel-progress").write_text("a file")
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    file = RunFile("program")
    fill(file, "draft")
    assert file.finish(keep=1)
    assert file.path is not None
    assert file.path.is_relative_to(elsewhere)
    assert names(file.path) == ["draft"]
    (record,) = caplog.records
    assert "cannot be written" in record.getMessage()
    assert str(file.path.parent) in record.getMessage()


def test_not_kept_where_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path(".otel-progress").write_text("a file")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    file = RunFile("program")
    assert file.path is None
    assert not file.finish(keep=1)
    (record,) = caplog.records
    assert record.getMessage().endswith("and no other folder: no run file is kept")


def test_a_full_disk_costs_the_record_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    file = RunFile("program")
    provider = fill(file, "draft")
    monkeypatch.setattr(os, "write", full)
    provider.force_flush()
    provider.shutdown()
    assert "No space left on device" in caplog.text
