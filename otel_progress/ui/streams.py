"""What changes, told to pages that are open: server-sent events, as many as there is room for.

What is watched is looked at once for all who watch it, and only while somebody does. Nothing is queued: who reads
slowly gets the latest, and keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from ..recording.faults import logger

MOST = 100
"""Pages that are told of changes at once."""
_BEAT = 15.0
"""Seconds of silence after which it is said that nothing happens: so it is seen who has gone."""
_PATIENCE = 30.0
"""Seconds that a reader may take for a few bytes."""
_RETRY = 2000
"""Milliseconds after which a page whose connection broke asks again."""


class Look(Protocol):
    """Tells how something is now: where it is not as before, pages are told."""

    async def __call__(self) -> Any:
        """Look."""

    def close(self) -> None:
        """Nobody watches it any more."""


class Watched:
    """One thing that pages watch."""

    def __init__(self, look: Look, rest: Callable[[], float]) -> None:
        self._look = look
        self._rest = rest
        self._told: Any = None
        self.number = 0
        """How often it has changed."""
        self.watchers = 0
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._watch())

    def stop(self) -> None:
        """Look no more."""
        self._task.cancel()
        self._look.close()

    async def after(self, number: int) -> int:
        """Wait until it has changed more often than that; gives how often it has."""
        while self.number <= number:
            await self._changed.wait()
        return self.number

    async def _watch(self) -> None:
        is_well = True
        while True:
            try:
                told = await self._look()
            except Exception:
                if is_well:  # What cannot be looked at now may be there again: a folder that somebody moves.
                    logger.warning("what a page watches cannot be looked at", exc_info=True)
                is_well = False
            else:
                is_well = True
                if told != self._told:
                    self._told, self.number = told, self.number + 1
                    self._changed.set()
                    self._changed = asyncio.Event()
            await asyncio.sleep(self._rest())


class Streams:
    """All that is watched, by its name."""

    def __init__(self) -> None:
        self._watched: dict[str, Watched] = {}
        self._open = 0
        self.closing = asyncio.Event()
        """Set where the server ends: every stream does too then."""

    @property
    def full(self) -> bool:
        """Whether there is room for no more."""
        return self._open >= MOST

    @contextlib.asynccontextmanager
    async def watching(self, name: str, look: Callable[[], Look], rest: Callable[[], float]) -> AsyncGenerator[Watched]:
        """What has this name; while somebody watches, a `look` at it is taken with `rest` seconds between two."""
        watched = self._watched.get(name)
        if watched is None:
            watched = self._watched[name] = Watched(look(), rest)
        watched.watchers += 1
        self._open += 1
        try:
            yield watched
        finally:
            self._open -= 1
            watched.watchers -= 1
            if not watched.watchers:
                watched.stop()
                del self._watched[name]


class Stream:
    """An answer that tells of changes until the reader has gone, or the server ends."""

    def __init__(self, streams: Streams, name: str, look: Callable[[], Look], rest: Callable[[], float]) -> None:
        self._streams = streams
        self._of = (name, look, rest)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell of them."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        async with self._streams.watching(*self._of) as watched:
            over = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._streams.closing.wait())]
            try:
                await self._tell(watched, over, send)
            finally:
                for task in over:
                    task.cancel()

    async def _tell(self, watched: Watched, over: list[asyncio.Task[Any]], send: Send) -> None:
        # A page is told of the present at once: what it shows may be older.
        number, text = 0, f"retry: {_RETRY}\n\n"
        while True:
            await asyncio.wait_for(
                send({"type": "http.response.body", "body": text.encode(), "more_body": True}), _PATIENCE
            )
            change = asyncio.create_task(watched.after(number))
            try:
                done, _ = await asyncio.wait([change, *over], timeout=_BEAT, return_when=asyncio.FIRST_COMPLETED)
            finally:
                change.cancel()
            if any(task in done for task in over):
                break
            if change in done:
                number = change.result()
                text = f"event: changed\ndata: {json.dumps({'number': number})}\n\n"
            else:
                text = ": nothing happens\n\n"
        if not over[0].done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
