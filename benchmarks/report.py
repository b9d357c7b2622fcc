"""What a report costs: one run of 200,000 spans, and 10,000 runs of 20 stages.

python benchmarks/report.py            # a minute, and 500 MB of a temporary folder
python benchmarks/report.py --quick    # a tenth of it, and a hundredth: is the cost linear?
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

NANO = 1_000_000_000
START = 1_756_377_900 * NANO
STAGES = 20
_REPORT = """
import resource, sys, time
from otel_progress.cli.main import main
begun = time.perf_counter()
code = main(["report", "--from", sys.argv[1]])
took = time.perf_counter() - begun
used = [resource.getrusage(each) for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
cpu, peak = sum(each.ru_utime + each.ru_stime for each in used), sum(each.ru_maxrss for each in used)
print(code, took, cpu, peak / 1024, file=sys.stderr)
"""


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a hundredth and a tenth of it")
    options = parser.parse_args()
    print(f"{'input':<40}{'size':>9}{'time':>9}{'of the CPU':>12}{'json.loads':>12}{'peak memory':>13}")
    with tempfile.TemporaryDirectory(prefix="otel-progress-report-") as name:
        file = Path(name) / "spans.jsonl"
        for part in (100, 10) if options.quick else (10, 1):
            spans, runs = 200_000 // part, 10_000 // part
            _measure(f"one run of {spans} spans", file, _one_run(spans))
            _measure(f"{runs} runs of {STAGES} stages", file, _many_runs(runs))


def _measure(what: str, file: Path, lines: Iterator[str]) -> None:
    with file.open("w") as stream:
        stream.writelines(f"{line}\n" for line in lines)
    command = [sys.executable, "-c", _REPORT, str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    code, took, cpu, peak = done.stderr.splitlines()[-1].split()
    assert code == "0"
    size, alone = file.stat().st_size / 1e6, _parsed(file)
    times = f"{float(took):>7.1f} s{float(cpu):>10.1f} s{alone:>10.1f} s"
    print(f"{what:<40}{size:>6.0f} MB{times}{float(peak):>10.0f} MB", flush=True)
    file.unlink()


def _parsed(file: Path) -> float:
    """Seconds of the processor that `json.loads` alone takes for the lines: on a busy machine it too takes longer."""
    begun = time.process_time()
    with file.open("rb") as stream:
        for line in stream:
            json.loads(line)
    return time.process_time() - begun


def _one_run(spans: int) -> Iterator[str]:
    """Visits one after the other, of which each tenth holds nine others; each follows the one before it."""
    now, number = 0, 1
    while number < spans - 10:
        group, begun = number, now
        for inner in range(1, 10):
            takes = 1_000_000 * (1 + inner % 4)
            before = f"{number + inner - 1:016x}" if inner > 1 else ""
            yield _span(f"stage step{inner}", 0, number + inner, group, now, takes, before)
            now += takes
        yield _span(
            f"stage group{group % 11}", 0, group, 0, begun, now - begun, f"{group - 10:016x}" if group > 10 else ""
        )
        number += 10
    yield _span("run campaign", 0, 0, None, 0, now, "")


def _many_runs(runs: int) -> Iterator[str]:
    for run in range(runs):
        now = begun = run * 3600 * NANO
        for stage in range(1, STAGES + 1):
            takes = NANO // 10 * (stage + (run * stage) % 7)
            before = f"{run * 100 + stage - 1:016x}" if stage > 1 else ""
            yield _span(f"stage step{stage}", run, run * 100 + stage, run * 100, now, takes, before)
            now += takes
        yield _span("run campaign", run, run * 100, None, begun, now - begun, "")


def _span(  # noqa: PLR0917
    name: str,
    run: int,
    number: int,
    parent: int | None,
    at: int,
    takes: int,
    follows: str,
) -> str:
    told: list[dict[str, object]] = [
        _text("otel_progress.run.id", f"{run:032x}"),
        _text("otel_progress.workflow.name", "campaign"),
    ]
    if parent is None:
        told.append(_text("otel_progress.result", "success"))
    else:
        more: list[dict[str, object]] = [
            _text("otel_progress.stage.name", name.removeprefix("stage ")),
            _text("otel_progress.stage.result", "success"),
            _text("code.function.name", "package.module.Draft._run"),
            {"key": "otel_progress.stage.visit", "value": {"intValue": "1"}},
            {"key": "otel_progress.stage.attempts", "value": {"intValue": "1"}},
        ]
        told += more
    trace = f"{run + 1:032x}"
    kind = [_text("otel_progress.link", "follows")]
    span: dict[str, object] = {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "parentSpanId": "" if parent is None else f"{parent:016x}",
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(START + at),
        "endTimeUnixNano": str(START + at + takes),
        "attributes": told,
        "links": [{"traceId": trace, "spanId": follows, "attributes": kind}] if follows else [],
        "status": {},
    }
    resource = {"attributes": [_text("service.name", "studio"), _text("telemetry.sdk.language", "python")]}
    scoped = {"scope": {"name": "otel_progress", "version": "0.1.0"}, "spans": [span]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scoped]}]}, separators=(",", ":"))


def _text(key: str, value: str) -> dict[str, object]:
    return {"key": key, "value": {"stringValue": value}}


if __name__ == "__main__":
    main()
