"""Ids of spans that are not drawn from the `random` module: its sequence belongs to the program, which may seed it.

One that seeds it alike each time would also give all its runs the same ids.
"""

from __future__ import annotations

import os
import random

from opentelemetry.sdk.trace.id_generator import IdGenerator

_drawn = random.Random()  # noqa: S311 - as the SDK's own: they are no secrets
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.seed)


class Ids(IdGenerator):
    """Random ids."""

    def generate_span_id(self) -> int:
        """One of a span: never 0."""
        return _drawn.getrandbits(64) or self.generate_span_id()

    def generate_trace_id(self) -> int:
        """One of a trace: never 0."""
        return _drawn.getrandbits(128) or self.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """They are."""
        return True
