"""What reading costs: one gigabyte of one input in bounded memory, and a list of 10,000 runs.

python benchmarks/reading.py                     # six minutes, and a gigabyte of a temporary folder
python benchmarks/reading.py --quick             # a hundredth of it
python benchmarks/reading.py --only "many runs"  # of the inputs only those whose kind begins so
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from otel_progress.runs.reading import MOST_VISITS

NANO = 1_000_000_000
START = 1_756_377_900 * NANO
_READ = """
import resource, sys, time
from otel_progress.runs import read
begun, runs, visits = time.perf_counter(), 0, 0
reading = read(sys.argv[1], visits=int(sys.argv[2]))
for run in reading:
    runs, visits = runs + 1, visits + run.visit_count
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{runs} {visits} {time.perf_counter() - begun:.3f} {peak:.1f} {len(reading.problems)}")
"""


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a hundredth of it")
    parser.add_argument("--only", default="", help="only the inputs whose kind begins so, and no list")
    options = parser.parse_args()
    small = 100 if options.quick else 1
    with tempfile.TemporaryDirectory(prefix="otel-progress-reading-") as name:
        folder = Path(name)
        print(f"{'input':<34}{'size':>10}{'runs':>10}{'visits':>10}{'time':>10}{'peak memory':>14}")
        for size in (1_000_000, 1_000_000_000 // small):
            for kind, lines, visits in (
                ("one run, its spans", _one_run(), 0),
                ("many runs, their spans", _many_runs(), 0),
                ("many runs at once, their events", _at_once(), 0),
                ("many runs, with each visit", _many_runs(), MOST_VISITS),
                ("1,000 runs at once, with each", _long_at_once(), MOST_VISITS),
            ):
                if kind.startswith(options.only):
                    file = _fill(folder / "input.jsonl", lines, size)
                    print(f"{kind:<34}{file.stat().st_size / 1e6:>7.0f} MB{_read(file, visits)}", flush=True)
                    file.unlink()
        if not options.only:
            _list(folder / ".otel-progress", 10_000 // small)


def _read(file: Path, visits: int) -> str:
    command = [sys.executable, "-c", _READ, str(file), str(visits)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    runs, found, seconds, peak, problems = done.stdout.split()
    assert problems == "0"
    return f"{runs:>10}{found:>10}{float(seconds):>8.1f} s{float(peak):>11.1f} MB"


def _list(folder: Path, count: int) -> None:
    write_records(folder, count)
    command = [sys.executable, "-m", "otel_progress", "runs", "--from", str(folder), "--limit", "0"]
    for what, arguments in (("first, which reads all", []), ("again", []), ("again, as JSON", ["--json"])):
        begun = time.perf_counter()
        done = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True)
        took = time.perf_counter() - begun
        assert len(done.stdout.splitlines()) > count
        print(f"list of {count} runs, {what}: {took:.2f} s")
    print(f"of which CPU of all: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime:.1f} s")


def write_records(folder: Path, count: int) -> None:
    """Records of one run each, as `otel-progress run` leaves them."""
    lines = _many_runs()
    for number in range(count):
        made = folder / "runs" / f"20250828T104500Z-app-{number:06x}"
        made.mkdir(parents=True)
        (made / "spans.jsonl").write_text("".join(f"{line}\n" for line in itertools.islice(lines, 5)))
        told = {"pid": 1, "boot_id": "x", "ended": 1, "exit_code": 0}
        (made / "process-1-abcdef.json").write_text(json.dumps(told))


def _fill(file: Path, lines: Iterator[str], size: int) -> Path:
    with file.open("w") as stream:
        written = 0
        while written < size:
            written += stream.write(next(lines) + "\n")
    return file


def _one_run() -> Iterator[str]:
    for number in itertools.count():
        yield _span(f"stage draft{number % 20}", number, number % 20, 1)


def _many_runs() -> Iterator[str]:
    for run in itertools.count():
        for stage in range(4):
            yield _span(f"stage draft{stage}", 10 * run + stage, stage, run)
        yield _span("run campaign", 10 * run + 9, 9, run)


def _at_once() -> Iterator[str]:
    """Two hundred runs at a time, of which all have a visit open."""
    for group in itertools.count():
        runs = range(group * 200, group * 200 + 200)
        for what in ("started", "ended"):
            for run in runs if what == "started" else ():
                yield _event("run.started", run, 0, [])
            for run in runs:
                yield _event(f"stage.{what}", run, 1, _attributes(stage=run % 7, run=run))
            for run in runs if what == "ended" else ():
                yield _event("run.ended", run, 2, [_text("otel_progress.result", "success")])


def _long_at_once() -> Iterator[str]:
    """A thousand runs that go on for ever, each with one visit after the other."""
    for visit in itertools.count():
        for run in range(1000):
            if visit == 0:
                yield _event("run.started", run, 0, [])
            told = _attributes(stage=visit % 7, run=1000 * visit + run)
            yield _event("stage.started", run, 1, told)
            yield _event("stage.ended", run, 1, told)


def _text(key: str, value: str) -> dict[str, object]:
    return {"key": key, "value": {"stringValue": value}}


def _attributes(stage: int, run: int) -> list[dict[str, object]]:
    return [
        _text("otel_progress.stage.name", f"draft{stage}"),
        _text("otel_progress.stage.visit_id", f"7-abcdef.{run}"),
        _text("otel_progress.stage.result", "success"),
        _text("code.function.name", "package.module.Draft._run"),
        {"key": "otel_progress.stage.visit", "value": {"intValue": "1"}},
        {"key": "otel_progress.stage.attempts", "value": {"intValue": "2"}},
        {"key": "otel_progress.duration", "value": {"doubleValue": 1.0}},
    ]


def _resource() -> dict[str, object]:
    return {"attributes": [_text("service.name", "studio"), _text("telemetry.sdk.language", "python")]}


def _event(name: str, run: int, at: int, attributes: list[dict[str, object]]) -> str:
    record: dict[str, object] = {
        "timeUnixNano": str(START + (run * 10 + at) * NANO),
        "eventName": f"otel_progress.{name}",
        "traceId": f"{run + 1:032x}",
        "spanId": f"{run + 1:016x}" if name.startswith("run") else f"{run + 1:08x}00000001",
        "attributes": [*_place(run), *attributes],
    }
    scoped: dict[str, object] = {"scope": {"name": "otel_progress"}, "logRecords": [record]}
    return json.dumps({"resourceLogs": [{"resource": _resource(), "scopeLogs": [scoped]}]}, separators=(",", ":"))


def _place(run: int) -> list[dict[str, object]]:
    return [_text("otel_progress.run.id", f"{run:032x}"), _text("otel_progress.workflow.name", "campaign")]


def _span(name: str, number: int, stage: int, run: int) -> str:
    of_run = name.startswith("run")
    own = [_text("otel_progress.result", "success")] if of_run else _attributes(stage, run)
    span: dict[str, object] = {
        "traceId": f"{run + 1:032x}",
        "spanId": f"{number + 1:016x}",
        "parentSpanId": "" if of_run else f"{run + 1:016x}",
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(START + run * 10 * NANO),
        "endTimeUnixNano": str(START + (run * 10 + 1) * NANO),
        "attributes": [*_place(run), *own],
        "status": {},
    }
    scoped: dict[str, object] = {"scope": {"name": "otel_progress", "version": "0.1.0"}, "spans": [span]}
    return json.dumps({"resourceSpans": [{"resource": _resource(), "scopeSpans": [scoped]}]}, separators=(",", ":"))


if __name__ == "__main__":
    main()
