"""Building the servers, with a fake `go`: the real one would take minutes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_progress.stack import build

from . import otlp
from .servers import until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the fake go is a shell script")

GO = """#!/bin/sh
here=$(dirname "$0")
if [ "$1" = version ]; then echo "go version go$(cat "$here/version") linux/amd64"; exit; fi
module=$(basename "$PWD")
echo "$module" >> "$here/begun"
while [ -e "$here/hold-$module" ]; do sleep 0.05; done
if [ -e "$here/fail-$module" ]; then cat "$here/fail-$module" >&2; exit 1; fi
while [ "$1" != -o ]; do shift; done
case $module in prometheus) more=promtool;; alertmanager) more=amtool;; *) more=;; esac
for program in $module $more; do echo "no program" > "$2$program"; chmod +x "$2$program"; done
"""
MODULES = ["alertmanager", "collector", "jaeger", "prometheus"]


class Builder:
    """A fake `go`, and a cache of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.go = folder / "go"
        self.go.mkdir()
        (self.go / "go").write_text(GO)
        (self.go / "go").chmod(0o755)
        (self.go / "version").write_text("1.26.1")
        self.servers = folder / "cache" / "otel-progress" / "servers"
        self.variables = {
            "PATH": f"{self.go}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self._folder = folder

    def start(self, *words: str) -> subprocess.Popen[str]:
        return otlp.start(self._folder, ["-m", "otel_progress", "stack", *(words or ["build"])], **self.variables)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return otlp.ended(self.start(*words))

    def begun(self) -> list[str]:
        path = self.go / "begun"
        return path.read_text().splitlines() if path.exists() else []

    def built(self) -> list[str]:
        """What is in the cache, whole or not."""
        return sorted(each.name.rpartition("-")[0] or each.name for each in self.servers.iterdir())


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


@pytest.fixture
def program(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Where the builder's programs are."""
    monkeypatch.setattr(build, "cache", lambda: builder.servers)
    return build.program


def test_a_build_fills_the_cache_once(builder: Builder, program: Callable[[str], Path]) -> None:
    for _ in range(2):
        done = builder.run()
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{builder.servers}\n"
    assert builder.begun() == builder.built() == MODULES
    assert all(program(name).exists() for name in build.PROGRAMS)


def test_without_go_it_is_said_what_is_missing(builder: Builder, tmp_path: Path) -> None:
    builder.variables["PATH"] = str(tmp_path)
    done = builder.run("up", "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "no `go` on the PATH: install Go 1.25.8 or newer" in done.stderr
    assert "docker compose" in done.stderr
    assert "Traceback" not in done.stderr
    assert builder.built() == []


def test_a_go_that_is_too_old_is_named(builder: Builder) -> None:
    (builder.go / "version").write_text("1.22.1")
    (builder.go / "fail-alertmanager").write_text("go: go.mod requires go >= 1.25.8 (running go 1.22.1)")
    done = builder.run()
    assert done.returncode == 1
    assert "alertmanager cannot be built: Go is 1.22.1 here, and 1.25.8 or newer is needed" in done.stderr
    assert builder.built() == []


def test_a_build_that_fails_says_why_and_the_next_one_goes_on_behind_what_is_built(builder: Builder) -> None:
    (builder.go / "fail-jaeger").write_text("no space left on device")
    done = builder.run()
    assert done.returncode == 1
    assert "Building alertmanager (1 of 4)" in done.stderr
    assert done.stderr.endswith("otel-progress: jaeger cannot be built:\nno space left on device\n")
    assert builder.built() == ["alertmanager", "collector"]
    (builder.go / "fail-jaeger").unlink()
    assert builder.run().returncode == 0
    assert builder.begun() == ["alertmanager", "collector", "jaeger", "jaeger", "prometheus"]
    assert builder.built() == MODULES


def test_an_interrupted_build_leaves_nothing_unfinished(builder: Builder) -> None:
    (builder.go / "hold-collector").touch()
    building = builder.start()
    until(lambda: builder.begun() == ["alertmanager", "collector"])
    building.send_signal(signal.SIGINT)
    (builder.go / "hold-collector").unlink()  # On a terminal it is interrupted itself.
    building.communicate()
    assert building.returncode == 130
    assert builder.built() == ["alertmanager"]


def test_a_build_that_is_killed_is_gone_on_with_and_what_it_left_unfinished_goes(builder: Builder) -> None:
    (builder.go / "hold-collector").touch()
    killed = builder.start()
    until(lambda: builder.begun() == ["alertmanager", "collector"])
    killed.kill()
    killed.communicate()
    # Its `go` lives on. It would write where the next one builds.
    following = builder.start()
    assert following.stderr is not None
    assert following.stderr.readline() == "Another build of the servers goes on: waiting for it ...\n"
    (builder.go / "hold-collector").unlink()
    assert following.stderr.readline().startswith("Building collector (1 of 3)")
    assert otlp.ended(following).returncode == 0
    assert builder.built() == MODULES


def test_of_two_builds_at_once_one_waits_and_builds_nothing(builder: Builder) -> None:
    (builder.go / "hold-alertmanager").touch()
    first = builder.start()
    until(lambda: builder.begun() == ["alertmanager"])
    second = builder.start()
    assert second.stderr is not None
    assert second.stderr.readline() == "Another build of the servers goes on: waiting for it ...\n"
    (builder.go / "hold-alertmanager").unlink()
    assert [otlp.ended(each).returncode for each in (first, second)] == [0, 0]
    assert builder.begun() == builder.built() == MODULES


def test_what_is_half_there_is_built_anew(builder: Builder, program: Callable[[str], Path]) -> None:
    assert builder.run().returncode == 0
    (builder.go / "begun").unlink()
    program("promtool").unlink()
    program("jaeger").write_bytes(b"")
    shutil.rmtree(program("collector").parent)
    program("amtool").chmod(0o644)
    assert builder.run().returncode == 0
    assert builder.begun() == MODULES
    assert all(build.is_built(name) for name in build.PROGRAMS)


def test_a_damaged_program_is_named_and_what_to_do(
    builder: Builder, program: Callable[[str], Path], tmp_path: Path
) -> None:
    assert builder.run().returncode == 0
    up = builder.run("up", "-d", "--data", str(tmp_path / "data"))
    assert up.returncode == 1
    assert "prometheus cannot be started (Exec format error)" in up.stderr
    assert f"if {program('prometheus').parent} is damaged, remove it" in up.stderr


def test_another_pin_is_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = build.program("jaeger")
    native = tmp_path / "deploy" / "native" / "jaeger"
    native.mkdir(parents=True)
    (native / "go.mod").write_text("module jaeger\n")
    monkeypatch.setattr(build, "deploy_folder", lambda: tmp_path / "deploy")
    assert build.program("jaeger") != before
    assert build.program("jaeger").name == before.name
