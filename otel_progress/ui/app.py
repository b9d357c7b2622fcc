"""What there is at which address. Every answer is made from the records; there is nothing to write to."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..pages import page
from ..pages.html import policy_of, script_of, style_of
from ..recording.visible import visible
from .asked import asked
from .comparing import compared
from .following import REST, ListLook, RunLook
from .guard import Guard, Rules
from .listing import list_document
from .records import Records
from .showing import details_document, run_document
from .streams import Stream, Streams
from .trends import Trends

_LEAST_PACKED = 2000
"""Bytes from which an answer is compressed."""
_LONGEST_ID = 1000
_LIVE = {"data": "data/runs", "details": "data/details", "events": "events/runs"}
"""What the page of a run asks for later, and where."""
_FOLDERS = {
    "/runs": "/",
    "/data": "/data/list",
    "/data/runs": "/data/list",
    "/events": "/events/list",
    "/events/runs": "/events/list",
}
"""Where the beginnings of addresses lead that people come to as they shorten one."""


class Site:
    """The pages of the runs of a source."""

    def __init__(self, records: Records, rules: Rules) -> None:
        self._records = records
        self._trends = Trends(records)
        self.streams = Streams()
        """Closed by whoever ends the server."""
        routes: dict[str, Callable[[Request], Awaitable[Any]]] = {
            "/": self._list,
            "/runs/{run:path}": self._run,
            "/compare": self._compare,
            "/data/list": self._list_data,
            "/data/trends": self._trends_data,
            "/data/runs/{run:path}": self._run_data,
            "/data/details/{run:path}": self._details_data,
            "/events/list": self._list_events,
            "/events/runs/{run:path}": self._run_events,
            "/favicon.ico": _no_picture,
        }
        leads = _FOLDERS | {f"{path}/": to for path, to in _FOLDERS.items()}
        leads |= {f"{path}/": path for path in routes if path != "/" and "{" not in path}
        routes = {path: _leading(to) for path, to in leads.items()} | routes
        starlette = Starlette(
            routes=[Route(path, answer, methods=["GET"]) for path, answer in routes.items()],
            exception_handlers={HTTPException: _refused, Exception: _failed},
        )
        starlette.router.redirect_slashes = False  # It would name the host again, as the request does.
        self.app: ASGIApp = Guard(starlette, rules)

    # --- the list -----------------------------------------------------------------------------------------------------

    async def _list(self, request: Request) -> Response:
        return await self._page(request, "list", await self._list_document(request), f"Runs of {self._records.shown}")

    async def _list_data(self, request: Request) -> Response:
        return await self._json(request, await self._list_document(request))

    async def _list_document(self, request: Request) -> dict[str, Any]:
        what = asked(request.query_params.multi_items())
        document = await self._records.ask(lambda index: list_document(index, what))
        problems = self._records.problems
        return document | {
            "source": self._records.shown,
            "problems": [str(problem) for problem in problems.found],
            "problems_left_out": problems.left_out,
        }

    async def _trends_data(self, request: Request) -> Response:
        what = asked(request.query_params.multi_items())
        if what.trend is None:
            raise HTTPException(404, "No workflow is named.")
        return await self._json(request, await self._trends.document(what.trend, what.wanted))

    async def _list_events(self, _: Request) -> ASGIApp:
        return self._stream("", functools.partial(ListLook, self._records), lambda: max(1.0, self._records.rest))

    # --- a run --------------------------------------------------------------------------------------------------------

    async def _run(self, request: Request) -> Response:
        run = await self._known(request)
        if run != request.path_params["run"]:
            return RedirectResponse(f"/runs/{quote(run, safe='')}", 307)
        document = await self._run_document(run)
        return await self._page(request, "run", document, f"{document['run']['workflow'] or 'run'} {run[:8]}")

    async def _run_data(self, request: Request) -> Response:
        return await self._json(request, await self._run_document(await self._known(request)))

    async def _run_document(self, run: str) -> dict[str, Any]:
        names = await self._records.names_of(run)
        document = await self._records.read(lambda: run_document(self._records.run_in(run, names), time.time_ns()))
        place = quote(run, safe="")
        return document | {"live": {kind: f"/{path}/{place}" for kind, path in _LIVE.items()}}

    async def _details_data(self, request: Request) -> Response:
        run = await self._known(request)
        names = await self._records.names_of(run)
        records = self._records

        def read() -> dict[str, Any]:
            return details_document(records.run_in(run, names), records.inputs_of(names))

        return await self._json(request, await records.read(read))

    async def _run_events(self, request: Request) -> ASGIApp:
        run = await self._known(request)
        return self._stream(run, functools.partial(RunLook, self._records, run), lambda: REST)

    async def _known(self, request: Request) -> str:
        """The id of the run that the address names by it or its beginning: one that the index has."""
        asked: str = request.path_params["run"]
        if not asked.strip("/"):
            raise HTTPException(404, "No run is named: the address ends with the id of one, or its beginning.")
        found: list[str] = []
        for prefix in dict.fromkeys((asked, asked.rstrip("/"))):  # An id may itself end with one.
            found = found or (await self._records.ids(prefix) if len(prefix) <= _LONGEST_ID else [])
        if not found:
            raise HTTPException(404, "No run has this id, or one that begins so. Its record may have been removed.")
        if len(found) > 1:
            raise HTTPException(404, "Several runs have ids that begin so.")
        return found[0]

    # --- two sets of runs ---------------------------------------------------------------------------------------------

    async def _compare(self, request: Request) -> Response:
        base, new = (request.query_params.get(name, "") for name in ("base", "new"))
        return await self._page(request, "comparison", await compared(self._records, base, new), "Comparison")

    # --- how it is answered -------------------------------------------------------------------------------------------

    def _stream(self, *of: Any) -> ASGIApp:
        if self.streams.full:
            raise HTTPException(503, "Too many pages are open: this one shows what there was, and does not move.")
        return Stream(self.streams, *of)

    async def _page(self, request: Request, kind: str, document: dict[str, Any], title: str) -> Response:
        policy = policy_of(script_of(kind), style_of(kind), connect=True)
        text = await self._records.read(lambda: page(kind, document, title, connect=True).encode())
        headers = {"Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}
        return await _packed(request, text, "text/html", headers)

    async def _json(self, request: Request, document: dict[str, Any]) -> Response:
        text = await self._records.read(lambda: json.dumps(document, separators=(",", ":"), allow_nan=False).encode())
        return await _packed(request, text, "application/json", {})


def _leading(to: str) -> Callable[[Request], Awaitable[Response]]:
    """Answers with another address of this server, and what was asked of it."""

    async def answer(request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        return RedirectResponse(to + (f"?{query}" if query else ""), 307)

    return answer


async def _packed(request: Request, text: bytes, kind: str, headers: dict[str, str]) -> Response:
    headers = headers | {"Vary": "Accept-Encoding"}
    if len(text) >= _LEAST_PACKED and "gzip" in request.headers.get("accept-encoding", ""):
        text = await asyncio.to_thread(gzip.compress, text, 1)
        headers |= {"Content-Encoding": "gzip"}
    return Response(text, headers=headers, media_type=kind)


async def _no_picture(_: Request) -> Response:
    return Response(status_code=204)


async def _refused(_: Request, error: Exception) -> Response:
    status, text = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    return _error_page(status, "There is no such page." if text == "Not Found" else text)


async def _failed(_: Request, __: Exception) -> Response:
    return _error_page(500, "This went wrong. What went wrong is told where `otel-progress ui` was started.")


def _error_page(status: int, text: str) -> Response:
    return HTMLResponse(
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>{status}</title></head>\n<body><h1>{status}</h1><p>{escape(visible(text))}</p>"
        '<p><a href="/">All runs</a></p></body>\n</html>\n',
        status,
    )
