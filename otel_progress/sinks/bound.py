"""A bound on distinct names, so that user data in a name cannot blow up a database."""

from __future__ import annotations

from ..names import OTEL_PROGRESS_NAME_LIMIT, OTHER, WAIT_RETRY
from ..recording.faults import report
from ..recording.recorder import Recorder


class NameBound:
    """Gives names through, up to the recorder's `name_limit` for each kind; after that, `other`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: dict[str, set[str]] = {
            "workflow": set(),
            "stage": set(),
            "platform": set(),
            "error type": set(),
            "wait reason": {WAIT_RETRY},
        }

    def workflow(self, name: str) -> str:
        """The name of a workflow."""
        return self._within("workflow", name)

    def stage(self, name: str) -> str:
        """The name of a stage."""
        return self._within("stage", name)

    def platform(self, name: str) -> str:
        """The name of a platform."""
        return self._within("platform", name)

    def wait_reason(self, reason: str) -> str:
        """What a visit waits for."""
        return self._within("wait reason", reason)

    def error_type(self, name: str) -> str:
        """The name of an exception's type."""
        return self._within("error type", name, "_OTHER")  # As the semantic conventions call it.

    def _within(self, kind: str, name: str, other: str = OTHER) -> str:
        seen = self._seen[kind]
        if name in seen:
            return name
        limit = self._recorder.settings.name_limit
        if len(seen) >= limit:
            report(
                f"more than {limit} distinct {kind} names: further ones are counted as {other!r} "
                f"(raise {OTEL_PROGRESS_NAME_LIMIT} if they are not user data)"
            )
            return other
        seen.add(name)
        return name
