"""Addresses as they may be shown: passwords and keys that users write into them reach no log line."""

from __future__ import annotations

import re

_USER = re.compile(r"//\S*@")  # A password may have all in it that should be escaped and is not.
_QUERY = re.compile(r"\?[^\s)'\"]+")


def without_secrets(text: str) -> str:
    """`text` without what stands before the `@` and behind the `?` of the addresses in it."""
    return _QUERY.sub("", _USER.sub("//", text))
