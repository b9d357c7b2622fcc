"""What is wrong with an input, and where."""

from __future__ import annotations

import json
from dataclasses import dataclass

_MOST = 20  # Of a file of which every line is foreign nobody needs more.


@dataclass(frozen=True)
class Problem:
    """Something in an input that cannot be read."""

    source: str
    line: int | None
    text: str

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return f"{place}: {self.text}"


class SourceError(Exception):
    """An input that cannot be read at all: it is not there, or it is nothing that can be read."""


class Problems:
    """The first problems of an input, and how many more there are."""

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self.left_out = 0

    def add(self, source: str, line: int | None, text: str) -> None:
        """Note one."""
        if len(self.found) < _MOST:
            self.found.append(Problem(source, line, text))
        else:
            self.left_out += 1

    def dump(self) -> str:
        """All of it as a text; empty where nothing is wrong."""
        found = [(each.source, each.line, each.text) for each in dict.fromkeys(self.found)]
        return json.dumps([found, self.left_out]) if found else ""

    def load(self, text: str) -> None:
        """Note what `dump` has written."""
        if text:
            found, left_out = json.loads(text)
            for each in found:
                self.add(*each)
            self.left_out += left_out

    def take(self, other: Problems) -> None:
        """Note what `other` has."""
        for each in other.found:
            self.add(each.source, each.line, each.text)
        self.left_out += other.left_out

    def clear(self) -> None:
        """Forget them."""
        self.found.clear()
        self.left_out = 0

    def __len__(self) -> int:
        return len(self.found) + self.left_out
