"""What every page of the server shares: static files, the login, and the body of what was posted."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from edgead.web.auth import COOKIE, same, session

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_GUESSES, _REFUSAL_S = 8, 0.5  # wrong tokens that wait for their answer, and how long
_LARGEST = 4096  # bytes of a POST


class Site:
    """Static files and the login, by path."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._static = {file.name: file.read_bytes() for file in files("edgead.web").joinpath("static").iterdir()}
        self._refusing = 0  # wrong tokens that wait for their answer

    def routes(self) -> list[Route]:
        """The paths that are answered here."""
        return [
            Route("/login", self._login_page),
            Route("/login", self._login, methods=["POST"]),
            Route("/static/{name}", self._file),
        ]

    def page(self, name: str) -> Response:
        """A static file; 404 where there is none of that name."""
        if name not in self._static:
            return PlainTextResponse("There is nothing here.\n", 404)
        kind = _TYPES["." + name.rpartition(".")[2]]
        return Response(self._static[name], media_type=kind)

    async def _file(self, request: Request) -> Response:
        return self.page(request.path_params["name"])

    async def _login_page(self, request: Request) -> Response:
        return self.page("login.html") if self._token else RedirectResponse("/", 303)

    async def _login(self, request: Request) -> Response:
        form = parse_qs((await body_of(request)).decode("utf-8", "replace"))
        given = form.get("token", [""])[0].strip()
        if not self._token or not same(given, self._token):
            return await self._refused()
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, session(self._token), max_age=365 * 86400, httponly=True, samesite="strict")
        return answer

    async def _refused(self) -> Response:
        """The answer to a wrong token, after a while; guesses wait beside each other and keep no right one waiting."""
        if self._refusing >= _GUESSES:
            return PlainTextResponse("Too many wrong tokens: try again in a moment.\n", 429)
        self._refusing += 1
        try:
            await asyncio.sleep(_REFUSAL_S)
        finally:
            self._refusing -= 1
        page = self._static["login.html"].replace(b' id="wrong" hidden', b' id="wrong"')
        return Response(page, 401, media_type="text/html")


async def body_of(request: Request, largest: int = _LARGEST) -> bytes:
    """What was posted; nothing where it is longer than `largest` bytes. It is read all the same: the sender is to hear
    the answer."""
    body, length = b"", 0
    async for chunk in request.stream():
        length += len(chunk)
        body = body + chunk if length <= largest else b""
        if length > 64 * largest:
            break
    return body


def asked_by(request: Request) -> str:
    """Who asks for a change, as the audit log has it."""
    return f"the page, {request.client.host}" if request.client is not None else "the page"
