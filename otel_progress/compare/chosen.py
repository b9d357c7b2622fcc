"""Which runs a set has that is named by conditions: `since=7d,service.version=1.4.*`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ..runs import Filter, SourceError
from ..runs.listed import moment
from .samples import Sample


@dataclass(frozen=True)
class Chosen:
    """The conditions, all of which must hold."""

    filter: Filter
    attributes: Mapping[str, str]
    """Attributes of the resource or of the run's span, and what they must match."""

    def takes(self, sample: Sample, attributes: Mapping[str, Any]) -> bool:
        """Whether a run with these attributes is one of them."""
        wanted = self.filter
        return (
            (wanted.since is None or sample.started >= wanted.since)
            and (wanted.until is None or sample.started < wanted.until)
            and (wanted.workflow is None or matches(sample.workflow, wanted.workflow))
            and all(
                key in attributes and matches(str(attributes[key]), value) for key, value in self.attributes.items()
            )
        )


def chosen(named: str) -> Chosen:
    """The conditions that a text has, joined by commas.

    Raises:
        SourceError: one of them is none.
    """
    times: dict[str, int] = {}
    workflow: str | None = None
    attributes: dict[str, str] = {}
    for part in named.split(","):
        key, sign, value = (each.strip() for each in part.partition("="))
        if not (key and sign and value):
            raise SourceError(f"{named}: {part!r} is not a name, = and a value")
        if key in ("since", "until"):
            try:
                times[key] = moment(value)
            except ValueError as error:
                raise SourceError(f"{named}: {error}") from None
        elif key == "workflow":
            workflow = value
        else:
            attributes[key] = value
    return Chosen(Filter(workflow, (), times.get("since"), times.get("until")), attributes)


def matches(text: str, pattern: str) -> bool:
    """Whether a text is as a pattern with `*` and `?` says."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))
