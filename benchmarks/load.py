"""Load: many threads, many tasks, many stages. Each gives how many updates were lost, and what there is to say."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import threading
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from otel_progress import stage, workflow
from otel_progress.recording import default
from otel_progress.recording.recorder import Recorder
from otel_progress.sinks.usual import usual_sinks

THREADS = 200


class Ended(SpanProcessor):
    """Counts."""

    def __init__(self) -> None:
        self.all: list[None] = []

    def on_end(self, span: Any) -> None:
        """Count it."""
        self.all.append(None)


class Setup:
    """A recorder with the SDK, in memory."""

    def __init__(self) -> None:
        self.recorder, self.ended, self.reader = Recorder(), Ended(), InMemoryMetricReader()
        self.spans = TracerProvider(shutdown_on_exit=False)
        self.spans.add_span_processor(self.ended)
        metrics = MeterProvider([self.reader], shutdown_on_exit=False)
        self.recorder.sinks = usual_sinks(self.recorder, self.spans, metrics)
        default.use(self.recorder)

    def measured(self, metric: str = "otel_progress.stage.duration") -> int:
        """How many visits the histogram counts."""
        data = self.reader.get_metrics_data()
        return sum(
            point.count
            for resource_metrics in (data.resource_metrics if data else ())
            for scope in resource_metrics.scope_metrics
            for each in scope.metrics
            if each.name == metric
            for point in each.data.data_points
            if isinstance(point, HistogramDataPoint)
        )

    def lost(self, shared: dict[str, Any], count: int) -> tuple[int, str]:
        """What is missing of `count` visits in the store, in the spans (beside that of the run) and in the metrics."""
        seen = shared["progress_metrics"]["draft"]["visits"], len(self.ended.all) - 1, self.measured()
        return sum(abs(count - each) for each in seen), "{:,} in the store, {:,} spans, {:,} measured".format(*seen)


def threads(count: int) -> tuple[int, str]:
    """From many threads."""
    setup, shared = Setup(), dict[str, Any]()

    def work() -> None:
        for _ in range(count // THREADS):
            with stage("draft", shared=shared):
                pass

    with workflow("load", shared=shared):
        started = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
    return setup.lost(shared, count // THREADS * THREADS)


def tasks(count: int) -> tuple[int, str]:
    """From many tasks."""
    setup, shared = Setup(), dict[str, Any]()

    @stage("draft")
    async def draft(shared: dict[str, Any]) -> None:
        await asyncio.sleep(0)

    async def run() -> None:
        with workflow("load", shared=shared):
            await asyncio.gather(*(draft(shared) for _ in range(count)))

    asyncio.run(run())
    return setup.lost(shared, count)


def memory(count: int) -> tuple[int, str]:
    """One after the other; more than 8 MiB of growth are wrong."""
    setup, shared = Setup(), dict[str, Any]()

    def work(visits: int) -> None:
        with workflow("load", shared=shared):
            for number in range(visits):
                with stage("draft", shared=shared):
                    pass
                if number % 10_000 == 0:
                    setup.measured()
                    setup.ended.all.clear()

    def used() -> float:
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)

    work(count // 10)
    before = used()
    work(count)
    grown = used() - before
    return int(grown > 8), f"{count:,} stages, {grown:.1f} MiB more"
