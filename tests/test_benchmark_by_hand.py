"""What the benchmarks compare with is fair only as long as both record the same."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_progress import stage, workflow

from .conftest import Telemetry, make_telemetry

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
VISITS = 3


def spans_of(telemetry: Telemetry) -> list[dict[str, Any]]:
    """What the spans of stages say, but for the run that they belong to."""
    said: list[dict[str, Any]] = []
    for span in telemetry.spans("stage"):
        attributes = dict(span.attributes or {})
        del attributes["otel_progress.run.id"]
        said.append({"name": span.name, **attributes, "links": [dict(link.attributes or {}) for link in span.links]})
    return said


def labels_of(telemetry: Telemetry, metric: str) -> list[dict[str, Any]]:
    """The attributes of the points of a metric."""
    return [attributes for attributes, _ in telemetry.points(metric)]


@pytest.mark.parametrize(
    "store",
    [{}, {"task_requirements": {"platforms": ["twitter", "blog"]}, "quality_control": {"revision_count": 2}}],
    ids=["an empty store", "platforms and a revision"],
)
def test_a_visit_by_hand_records_what_ours_does(
    telemetry: Telemetry, store: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = replace(make_telemetry(), reader=InMemoryMetricReader())
    meters = MeterProvider([by_hand.reader], shutdown_on_exit=False)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        patch.setattr(trace, "get_tracer", by_hand.tracer_provider.get_tracer)
        patch.setattr(metrics, "get_meter", meters.get_meter)
        reference: Any = importlib.import_module("by_hand")
        hand = reference.ByHand()
    with hand.run_around():
        for _ in range(VISITS):
            hand.visit(store)

    def draft(shared: dict[str, Any]) -> None:
        """Do nothing."""

    draft.__module__, draft.__qualname__ = "cases", "draft"  # As the reference says.
    recorded = stage(reference.STAGE)(draft)
    with workflow(reference.WORKFLOW, shared=store):
        for _ in range(VISITS):
            recorded(store)

    spans = spans_of(by_hand)
    assert len(spans) == VISITS
    assert spans_of(telemetry) == spans
    labels = labels_of(by_hand, "by_hand.stage.duration")
    assert labels_of(telemetry, "otel_progress.stage.duration") == labels
    assert labels_of(by_hand, "by_hand.count") == labels
