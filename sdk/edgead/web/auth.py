"""Authenticates every request before the page sees it. Plain ASGI and the standard library.

- A token, where one is set, as a bearer token or by a cookie that the login gives; compared in constant time.
- The Host header must name this machine, so that a foreign page cannot reach it by rebinding its own name.
- A POST that says where it comes from must come from this page.
- Every answer carries a policy under which the browser asks nobody else for anything and runs no inline script.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from edgead.web.address import ThisMachine
from edgead.web.connections import trust

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

COOKIE = "edgead"
OPEN = ("/healthz", "/login", "/static/")  # nothing secret, and needed before the login
PAGES = ("/", "/review")  # whoever has no token is led from them to the login
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # with none at all, a form says that it comes from "null"
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class AuthMiddleware:
    """An ASGI application around another, which it lets answer only what passes."""

    def __init__(self, app: App, token: str, names: frozenset[str], loopback: bool) -> None:
        """`names` are further names of this machine; on loopback no other is known than the machine itself."""
        self._app, self._token = app, token
        self._host = ThisMachine(names, loopback)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is None:
            if self.may(headers):
                trust(scope)
            await self._app(scope, receive, _adding_headers(send))
        else:
            await _answer(_adding_headers(send), *refusal)

    def _refusal(self, scope: Message, headers: dict[str, str]) -> tuple[int, str, str] | None:
        """Status, text and place to go to, of a request that may not pass."""
        host = headers.get("host", "")
        if not self._host.names(host):
            return 421, "This machine is not known by that name: add it with the option names=NAME of the page.\n", ""
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc != host:
            return 403, "This request comes from another page.\n", ""
        path: str = scope["path"]
        if path.startswith(OPEN) or self.may(headers):
            return None
        return (303, "", "/login") if path in PAGES else (401, "The token is missing or wrong.\n", "")

    def may(self, headers: dict[str, str]) -> bool:
        """Whether a request with these headers has the token, or needs none."""
        if not self._token:
            return True
        cookies = [part.strip().partition("=") for part in headers.get("cookie", "").split(";")]
        given = next((value for name, _, value in cookies if name == COOKIE), "")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return same(given, session(self._token)) or same(bearer, self._token)


def session(token: str) -> str:
    """What the login's cookie holds: it opens the page like the token, and does not tell it."""
    return hmac.new(token.encode(), b"edgead page", hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Equality in a time that does not tell where the difference is."""
    return hmac.compare_digest(one.encode(), other.encode())


def _adding_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return sending


async def _answer(send: Send, status: int, text: str, place: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text.encode())).encode())]
    headers += [(b"location", place.encode())] if place else []
    headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
