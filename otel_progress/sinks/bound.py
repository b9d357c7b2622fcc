"""A bound on distinct names, so that user data in a name cannot blow up a database."""

from __future__ import annotations

from ..names import OTEL_PROGRESS_NAME_LIMIT, OTHER, WAIT_RETRY
from ..recording.faults import report
from ..recording.recorder import Recorder


class NameBound:
    """Gives names through, up to the recorder's `name_limit` for each kind; after that, `other`.

    Threads and signal handlers come with new names at any instant, and no lock could be held against a handler. So
    names are put into a dict, in one step each, and the order in which they came says which are let through.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: dict[str, set[str]] = {
            "workflow": set(),
            "stage": set(),
            "platform": set(),
            "error type": set(),
            "wait reason": {WAIT_RETRY},
        }
        """Names that are let through."""
        self._came = {kind: dict.fromkeys(names) for kind, names in self._seen.items()}
        """The first names in the order in which they came. None is ever taken out, so each keeps its place."""
        self._said: set[str] = set()
        """Of which kinds it is said that there are more."""

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
        limit, came = self._recorder.settings.name_limit, self._came[kind]
        if name in came or len(came) < limit:  # Others may come before it: then there are a few more than `limit`.
            came[name] = None  # One that is there keeps its place.
            if name in list(came)[:limit]:
                seen.add(name)
                return name
        if kind not in self._said:
            report(
                f"more than {limit} distinct {kind} names: further ones are counted as {other!r} "
                f"(raise {OTEL_PROGRESS_NAME_LIMIT} if they are not user data)"
            )
            self._said.add(kind)
        return other
