"""Who may ask, and what for: every request passes here first, and every answer on its way back."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOTHING_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of what is no page."""
SERVER = "otel-progress"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": NOTHING_ELSE,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": SERVER,
    "X-Content-Type-Options": "nosniff",
}
_HERE = {"localhost", "127.0.0.1", "::1"}
_TOKEN = "token"  # noqa: S105 - the name of the parameter


class RefusedError(Exception):
    """A request that is not answered, and what to do."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class Rules:
    """Who may ask.

    Without a token only who names this machine by a name that no one else can give away: a page of somebody else whose
    own name leads here (DNS rebinding) is refused. With a token whoever has it, by whatever name.
    """

    token: str | None = None
    cookie: str = "otel-progress"
    """The name of the cookie that holds the token; of each port another, for cookies know no ports."""

    def check(self, request: Request) -> Response | None:
        """What to answer in the place of the page; None: the page.

        Raises:
            RefusedError: nothing.
        """
        if request.method not in {"GET", "HEAD"}:
            raise RefusedError(405, "Here is nothing to write: only GET and HEAD are answered.")
        hosts = request.headers.getlist("host")
        host = _name_of(hosts[0]) if len(hosts) == 1 else None
        if host is None or (self.token is None and host not in _HERE):
            raise RefusedError(
                421,
                "This server answers to localhost and 127.0.0.1 only. From another machine use ssh -L, or start it "
                "with --host, which gives an address with a token.",
            )
        self._check_origin(request.headers, hosts[0])
        return None if self.token is None else self._check_token(request, self.token)

    def _check_origin(self, headers: Headers, host: str) -> None:
        """Pages of others may lead here by a link, and nothing else."""
        origin = headers.get("origin")
        is_foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
        is_foreign |= site in {"cross-site", "same-site"} and mode != "navigate"
        is_foreign |= headers.get("sec-fetch-dest") in {"iframe", "frame", "embed", "object"}
        if is_foreign:
            raise RefusedError(403, "Pages of other sites are not answered.")

    def _check_token(self, request: Request, token: str) -> Response | None:
        given = request.query_params.get(_TOKEN)
        if given is not None and _same(given, token):
            # Out of the address, where it would be seen and handed on.
            rest = [pair for pair in parse_qsl(request.url.query, keep_blank_values=True) if pair[0] != _TOKEN]
            path = "/" + request.scope["raw_path"].decode("latin-1").lstrip("/")  # Two would name another host.
            answer = RedirectResponse(path + (f"?{urlencode(rest)}" if rest else ""), 303)
            answer.set_cookie(self.cookie, token, path="/", httponly=True, samesite="strict")
            return answer
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(bearer, token):
            return None
        if _same(request.cookies.get(self.cookie, ""), token):
            return None
        raise RefusedError(401, "Open the address that `otel-progress ui` has printed: the token in it lets you in.")


class Guard:
    """The application behind these rules."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            answer = self._rules.check(Request(scope))
        except RefusedError as refused:
            allow = {"Allow": "GET, HEAD"} if refused.status == 405 else None
            answer = Response(f"{refused.text}\n", refused.status, allow, "text/plain")
        await (answer or self._app)(scope, receive, with_headers)


def _name_of(host: str) -> str | None:
    """The name in what `Host` says, without the port, which `ssh -L` may have changed; None where it is none."""
    try:
        return urlsplit(f"//{host}").hostname if host and not set(host) & set("/?#@\\ ") else None
    except ValueError:
        return None


def _same(given: str, token: str) -> bool:
    """Whether it is the token, in a time that tells nothing of it."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())
