"""Fetches the files of a repository of updates: from a folder, over HTTP, or as blobs of an OCI registry.

How much may come is the caller's affair (`tuf` counts bytes and stops); here no transfer goes on without end: each file
has a time for its beginning and one for all of it.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from edgead.errors import UsageError

BLOCK = 1 << 16  # bytes
SILENCE_S = 15.0  # without a byte
OFFLINE = "EDGEAD_OFFLINE"
FOLDER, WEB, REGISTRY = ("file",), ("http", "https"), ("oci", "oci+http")
_HASHED = re.compile(r"([0-9a-f]{64})\..+")  # a target's file name as TUF's consistent snapshots have it
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


def address_of(place: str) -> str:
    """`place`, a folder or a URL, as a URL that ends in a slash; raises UsageError for one of an unknown kind."""
    scheme = urlsplit(place).scheme
    if scheme in (*FOLDER, *WEB, *REGISTRY):
        return place.rstrip("/") + "/"
    if scheme and "://" in place:
        raise UsageError(f"'{scheme}:' is no place of updates: give a folder, https://…, or oci://REGISTRY/NAME")
    return f"file://{quote(str(Path(place).absolute()))}/"


class Fetcher(FetcherInterface):
    """What tuf's updater fetches files with. `whole_s` is the most seconds that one file may take."""

    def __init__(self, base: str, *, whole_s: float = 600.0, silence_s: float = SILENCE_S) -> None:
        """`base` is the folder, as a URL, that no file may lie outside of."""
        self._base, self._whole_s, self._silence_s = base, whole_s, silence_s
        self.last = ""  # the URL that was asked for last

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.last, parts = url, urlsplit(url)
        if parts.scheme in FOLDER:
            return _blocks(self._open_file(Path(unquote(parts.path))), None)
        if os.environ.get(OFFLINE, "0") not in ("", "0"):
            raise DownloadError(f"{OFFLINE} is set, so that nothing is downloaded")
        end = time.monotonic() + self._whole_s
        if parts.scheme in REGISTRY:
            return _blocks(self._open_blob(url), end)
        return _blocks(self._open_web(url), end)

    def _open_file(self, path: Path) -> IO[bytes]:
        if ".." in path.parts:
            raise DownloadError(f"{path} lies outside the repository")
        try:
            return path.open("rb")
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"there is no file {path}", 404) from error

    def _open_web(self, url: str, headers: Mapping[str, str] | None = None) -> HTTPResponse:
        request = urllib.request.Request(url, headers={"User-Agent": "edgead", **(headers or {})})  # noqa: S310 - checked
        try:
            opened: HTTPResponse = _OPENER.open(request, timeout=self._silence_s)
        except urllib.error.HTTPError as error:
            error.close()
            raise DownloadHTTPError(f"{url} answers {error.code}", error.code) from error
        return opened

    def _open_blob(self, url: str) -> HTTPResponse:
        """A target by its digest; a registry that wants one is asked for a token, as the distribution spec has it."""
        parts = urlsplit(url)
        repository, _, name = parts.path.strip("/").rpartition("/")
        hashed = _HASHED.fullmatch(name)
        if hashed is None or not repository:
            raise DownloadError(f"{url} is no blob: a registry serves bundles, and the metadata lies elsewhere")
        scheme = "http" if parts.scheme == "oci+http" else "https"
        blob = f"{scheme}://{parts.netloc}/v2/{repository}/blobs/sha256:{hashed[1]}"
        try:
            return self._open_web(blob)
        except DownloadHTTPError as error:
            refused = error.__cause__
            if error.status_code != 401 or not isinstance(refused, urllib.error.HTTPError):
                raise
            token = self._token(refused.headers.get("WWW-Authenticate", ""), scheme)
            return self._open_web(blob, {"Authorization": f"Bearer {token}"})

    def _token(self, challenge: str, scheme: str) -> str:
        """An anonymous token from where the registry's challenge says."""
        asked = dict(_CHALLENGE.findall(challenge))
        realm = asked.pop("realm", "")
        if urlsplit(realm).scheme not in ("https", scheme):
            raise DownloadError("the registry wants a login that is not known here")
        wanted = {name: asked[name] for name in ("service", "scope") if name in asked}
        with self._open_web(f"{realm}?{urlencode(wanted)}") as answer:
            found = json.loads(answer.read(1 << 20))
        return str(found.get("token") or found["access_token"])


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows to HTTP addresses alone, and leaves a registry's token behind where another host is meant."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        again = super().redirect_request(req, fp, code, msg, headers, newurl)
        if again is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            again.remove_header("Authorization")
        if again is not None and urlsplit(req.full_url).scheme == "https" != urlsplit(newurl).scheme:
            raise urllib.error.HTTPError(newurl, code, "a redirect to a place without TLS", headers, fp)
        return again


_OPENER = urllib.request.build_opener(_Redirect)


def _blocks(file: Any, end: float | None) -> Iterator[bytes]:
    """What there is to read; raises SlowRetrievalError past `end`, by time.monotonic()."""
    with file:
        while block := (file.read1(BLOCK) if hasattr(file, "read1") else file.read(BLOCK)):
            if end is not None and time.monotonic() > end:
                raise SlowRetrievalError("it came too slowly")
            yield block
