"""The tests themselves: none reaches a collector that happens to run on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http

from . import otlp

CODE = """
from otel_progress import configure, stage, workflow
with configure("stray", exit_timeout=0.5), workflow("campaign"), stage("draft"): pass
"""


@pytest.mark.parametrize(("protocol", "kind"), [("http/protobuf", "http"), ("grpc", "grpc")])
def test_what_listens_under_the_name_of_the_default_endpoint_gets_nothing(
    tmp_path: Path, protocol: str, kind: str
) -> None:
    with otlp.receiver() as received:
        address = getattr(received, kind)
        variables = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        stray = address.replace("127.0.0.1", "localhost")
        ended = otlp.run_code(tmp_path, CODE, OTEL_EXPORTER_OTLP_ENDPOINT=stray, **variables)
        assert received.requests == []
        assert "the collector did not take" in ended.stderr
        otlp.run_code(tmp_path, CODE, OTEL_EXPORTER_OTLP_ENDPOINT=address, **variables)
        assert received.names() == ["run campaign", "stage draft"]


def test_that_name_is_the_one_of_the_default_endpoint() -> None:
    assert http.DEFAULT_ENDPOINT.startswith("http://localhost:")
