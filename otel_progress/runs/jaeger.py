"""Runs from Jaeger, by its `/api/v3`: the answers are OTLP, and are kept on disk as one document a line."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import IO, Any

from ..recording.times import NANO
from .documents import MOST_BYTES, DamagedError, parse
from .listed import Filter
from .problems import SourceError
from .sources import Input, kept

_TIMEOUT = 30.0
_LOOK_BACK = 30 * 24 * 3600 * NANO
"""How far the search goes back where nobody said."""
_SHORTEST = NANO
"""A span of time that is not halved any more."""


def from_jaeger(address: str, wanted: Filter) -> Input:
    """The runs that Jaeger has, within the times that are wanted; `?service=` in the address narrows it to a service.

    Raises:
        SourceError: there is no Jaeger that answers, or it answers what cannot be read.
    """
    try:
        split = urllib.parse.urlsplit(address)
    except ValueError as error:
        raise SourceError(f"not the address of a Jaeger: {error}") from None
    base = urllib.parse.urlunsplit((split.scheme, split.netloc, split.path.rstrip("/"), "", ""))
    until = wanted.until or time.time_ns()
    since = max(1, until - _LOOK_BACK if wanted.since is None else wanted.since)
    services = urllib.parse.parse_qs(split.query).get("service") or _services(base)
    answers = (answer + b"\n" for service in services for answer in _traces(base, service, since, until))
    return kept(answers, without_secrets(address))


def without_secrets(address: str) -> str:
    """An address as it may be shown: without what stands before an @, and without a query."""
    split = urllib.parse.urlsplit(address)
    return urllib.parse.urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, "", ""))


def _services(base: str) -> list[str]:
    answer = _ask(f"{base}/api/v3/services")
    services = None if answer is None else answer.get("services")
    if not isinstance(services, list):
        raise SourceError(f"{without_secrets(base)}: not Jaeger: its /api/v3/services names no services")
    return [name for name in services if isinstance(name, str)]  # pyright: ignore[reportUnknownVariableType]


def _traces(base: str, service: str, since: int, until: int) -> Iterator[bytes]:
    """The answers for a span of time, which is halved until each of them is short enough."""
    query = urllib.parse.urlencode(
        {
            "query.service_name": service,
            "query.start_time_min": _time(since),
            "query.start_time_max": _time(until),
        },
        errors="replace",  # Half a character, of which no name of a service consists.
    )
    answer = _fetch(f"{base}/api/v3/traces?{query}")
    if answer is None:
        return
    if len(answer) <= MOST_BYTES:
        yield from _documents(answer, base)
    elif until - since > _SHORTEST:
        middle = (since + until) // 2
        yield from _traces(base, service, since, middle)
        yield from _traces(base, service, middle, until)
    else:
        raise SourceError(f"{without_secrets(base)}: more than {MOST_BYTES >> 20} MiB of traces within a second")


def _documents(answer: bytes, base: str) -> list[bytes]:
    """What was answered, each document on a line: it is one, or, as it is streamed to us, one a line."""
    try:
        parse(answer)
        return [answer.replace(b"\n", b" ")]
    except DamagedError as error:
        lines = [line for line in answer.split(b"\n") if line.strip()]
        try:
            for line in lines:
                parse(line)
        except DamagedError:
            lines = []
        if not lines:
            raise SourceError(f"{without_secrets(base)}: its answer: {error}") from None
        return lines


def _ask(url: str) -> dict[str, Any] | None:
    answer = _fetch(url)
    if answer is None:
        return None
    try:
        return parse(answer)
    except DamagedError as error:
        raise SourceError(f"{without_secrets(url)}: its answer: {error}") from None


def _fetch(url: str) -> bytes | None:
    """What is answered, at most a little more than can be read; None where nothing was found."""
    split = urllib.parse.urlsplit(url)
    user, at, host = split.netloc.rpartition("@")
    request = urllib.request.Request(urllib.parse.urlunsplit(split._replace(netloc=host)))  # noqa: S310 - http or https
    if at:
        import base64  # noqa: PLC0415 - mostly not needed

        secret = urllib.parse.unquote(user).encode("utf-8", "surrogateescape")  # Bytes as they were given.
        request.add_header("Authorization", f"Basic {base64.b64encode(secret).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            return _read(answer)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.NOT_FOUND and b"No traces found" in error.read(1000):
                return None
        raise SourceError(f"{without_secrets(url)}: it answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        reason = error.reason
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
        raise SourceError(f"{without_secrets(url)}: {said}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SourceError(f"{without_secrets(url)}: {error or type(error).__name__}") from None


def _read(answer: IO[bytes]) -> bytes:
    return answer.read(MOST_BYTES + 1)


def _time(ns: int) -> str:
    moment = datetime.fromtimestamp(ns // NANO, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % NANO:09}Z"
