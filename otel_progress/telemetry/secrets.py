"""Addresses as they may be shown: passwords and keys that users write into them reach no log line."""

from __future__ import annotations

import re

_USER = re.compile(r"//\S*@")  # A password may have all in it that should be escaped and is not.
_USER_ALONE = re.compile(r"(?<!\S)(['\"(]?(?:(?:[A-Za-z][\w+.-]*:)?/)?)\S+@")
"""The same where nobody wrote `//`: such an address leads nowhere, and is said all the same."""
_QUERY = re.compile(r"(?:\?|(?<=\S)#)[^\s)'\"]+")


def without_secrets(text: str) -> str:
    """`text` without what stands before the `@` and behind the `?` or `#` of the addresses in it."""
    return _QUERY.sub("", _USER_ALONE.sub(r"\1", _USER.sub("//", text)))
