"""The server itself: where it listens, and how it ends."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from .app import Site
from .guard import Rules
from .records import Records

_BACKLOG = 128
_MOST_CONNECTIONS = 200
_WAITS = 1
"""Seconds that answers have which are being written when it ends."""


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens there.

    Raises:
        OSError: there is no such host.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: there is no such host here, or somebody else has the port.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made


class _Server(uvicorn.Server):
    """A server that ends at once, also while pages are open that are told of changes."""

    def __init__(self, config: uvicorn.Config, site: Site, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._site = site
        self._when_started = started
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._when_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._site.streams.closing.set)


def serve(records: Records, rules: Rules, listener: socket.socket, started: Callable[[], None]) -> None:
    """Serve the pages until a signal ends it; `started` is called when it answers.

    Raises:
        KeyboardInterrupt: Ctrl-C has ended it.
    """
    site = Site(records, rules)
    config = uvicorn.Config(
        site.app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_WAITS,
    )
    _Server(config, site, started).run([listener])
