"""Keeps strangers out: who may speak to the server, and how.

A page of some other site that is open in the same browser can send requests to 127.0.0.1, too. So

    Host      must be a name under which the server was started: a name of somebody else's that is made to
              resolve to 127.0.0.1 (DNS rebinding) is refused
    Origin    where a browser sends it, must be the server's own: pages of other sites are refused, and their
              sockets
    token     is needed for all but the page's own files, which hold no secret: in the cookie that the page's
              address sets, or in the address itself
    method    GET and HEAD alone: nothing can be uploaded
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

OPEN_PREFIX = "/page/"
"""Addresses of the page's own files."""

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Answers requests that may not be, and passes the others on.

    Args:
        hosts: names, with ports, by which the server may be called: '127.0.0.1:8765'.
        token: the secret in the page's address.
        ancestors: pages that may hold this one in a frame, as the content security policy names them.
    """

    def __init__(self, app: ASGIApp, *, hosts: set[str], token: str, cookie: str, ancestors: str) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token
        self._cookie = cookie
        self._headers = {name: value.format(ancestors=ancestors) for name, value in SECURITY_HEADERS.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, self._with_headers(send))
        elif scope["type"] == "websocket":
            await WebSocketClose(code=4403, reason=refusal[1])(scope, receive, send)
        else:
            response = PlainTextResponse(refusal[1] + "\n", status_code=refusal[0])
            await response(scope, receive, self._with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason for a request that may not be; None for one that may."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return 421, "this server does not go by that name"
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}":
            return 403, "requests of other sites are refused"
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            return 405, "nothing can be sent here"
        if scope["type"] == "http" and headers.get("content-length", "0") != "0":
            return 413, "nothing can be sent here"
        if scope["path"].startswith(OPEN_PREFIX) or self._knows_token(scope, headers):
            return None
        return 403, "open the address that `vidseg annotate` has printed, with its token"

    def _knows_token(self, scope: Scope, headers: Headers) -> bool:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        given = [*query.get("token", []), *([] if cookie is None else [cookie.value])]
        # Compared in constant time: how long it takes tells nothing of the token.
        return any(secrets.compare_digest(each.encode(), self._token.encode()) for each in given)

    def _with_headers(self, send: Send) -> Send:
        async def wrapped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        return wrapped
