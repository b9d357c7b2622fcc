"""What recording a stage costs, as multiples of one raw span in the same run.

    python benchmarks/overhead.py [--calls 3000] [--check]

The cases are measured in turn, several times, and the fastest round of each counts: what else a machine does only ever
makes a round slower. With `--check` the exit code is 1 where a case is above its limit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from pocketflow import Flow, Node

from otel_progress import PocketFlowInstrumentor, stage, workflow

if TYPE_CHECKING:
    AnyNode = Node[Any, Any, Any]
else:
    AnyNode = Node

ROUNDS = 9
RAW = "raw span"
LIMITS = {"stage, no store": 6.0, "stage, a dict": 7.5, "PocketFlow node": 10.0}
"""Multiples of a raw span above which something has gone wrong: about 1.5 times what was measured."""


class Again(AnyNode):
    """A node that does nothing, until it has done so often enough."""

    def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> str:
        """Say whether that is so."""
        shared["left"] -= 1
        return "again" if shared["left"] else "default"


@stage("stage")
def plain() -> None:
    """Do nothing."""


@stage("stage")
def stored(shared: dict[str, Any]) -> None:
    """Do nothing."""


def cases(provider: TracerProvider, calls: int) -> dict[str, Callable[[], None]]:
    """What is measured: each makes `calls` calls."""
    tracer = provider.get_tracer("raw")
    again = Again()
    again.next(again, "again")
    again.next(AnyNode())
    flow = cast("Any", Flow(again))

    def raw() -> None:
        attributes = {"a": "a", "b": "b", "c": "c", "d": 1}
        for _ in range(calls):
            with tracer.start_as_current_span("stage", attributes=attributes):
                pass

    def no_store() -> None:
        with workflow("w"):
            for _ in range(calls):
                plain()

    def a_dict() -> None:
        shared: dict[str, Any] = {}
        with workflow("w", shared=shared):
            for _ in range(calls):
                stored(shared)

    def nodes() -> None:
        flow.run({"left": calls})

    def recorded_nodes() -> None:
        PocketFlowInstrumentor().instrument()
        nodes()
        PocketFlowInstrumentor().uninstrument()

    return {
        RAW: raw,
        "stage, no store": no_store,
        "stage, a dict": a_dict,
        "PocketFlow node, unrecorded": nodes,
        "PocketFlow node": recorded_nodes,
    }


def measure(what: dict[str, Callable[[], None]], calls: int) -> dict[str, float]:
    """Seconds for one call of each case, in its fastest round."""
    best = dict.fromkeys(what, float("inf"))
    for number in range(ROUNDS):
        for name, case in what.items():
            start = time.perf_counter()
            case()
            best[name] = min(best[name], (time.perf_counter() - start) / calls)
        print(f"\rround {number + 1} of {ROUNDS}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return best


def main() -> int:
    """Measure, print and, if asked for, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3000, help="calls in a round (default: 3000)")
    parser.add_argument("--check", action="store_true", help="fail where a case is above its limit")
    options = parser.parse_args()
    provider = TracerProvider()
    provider.add_span_processor(SpanProcessor())  # Exporting is not what is measured.
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    best = measure(cases(provider, options.calls), options.calls)
    ratios = {name: seconds / best[RAW] for name, seconds in best.items()}
    for name, ratio in ratios.items():
        limit = f"   limit {LIMITS[name]:.1f} x" if name in LIMITS else ""
        print(f"{name:28} {best[name] * 1e6:7.1f} us {ratio:6.2f} x{limit}")
    slow = [name for name, limit in LIMITS.items() if ratios[name] > limit]
    if slow:
        print(f"above the limit: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
