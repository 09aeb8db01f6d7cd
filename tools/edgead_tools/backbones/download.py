"""Fetches one file over HTTP: resumed where it broke off, checked by its digest, and put in place at once.

Nothing calls this unless a person asked for the download. An unfinished file stays as `NAME.part` and the next
attempt asks the server for the rest; a finished one that is not what it should be is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgead.errors import WeightsError

BLOCK = 1 << 20  # bytes
OFFLINE = "EDGEAD_OFFLINE"

Progress = Callable[[int, int], None]  # bytes so far, bytes in all (0 where the server does not say)


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str,
    size: int = 0,
    tries: int = 5,
    wait: float = 2.0,
    timeout: float = 30.0,
    on_progress: Progress = lambda done, total: None,
) -> None:
    """Download `url` to `target`; its SHA-256 must begin with the hex digits `sha256`.

    `size` is the size in bytes where known; a broken connection is tried again `tries` times, after `wait` seconds,
    then twice that, and so on. Raises WeightsError, also where EDGEAD_OFFLINE (anything but 0) forbids it.
    """
    _may_connect(url, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with _locked(part) as file:
        for attempt in range(tries):
            problem = _attempt(url, file, size, timeout, on_progress)
            if problem is None:
                break
            if attempt < tries - 1:
                time.sleep(wait * 2**attempt)
        else:
            raise WeightsError(
                f"{url} broke off {tries} times ({problem}): run the same command again, it goes on there"
            )
        _verify(part, url, sha256)
        part.replace(target)


def digest(path: Path) -> str:
    """The file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: IO[bytes]) -> str:  # Python 3.10 has no hashlib.file_digest
    total = hashlib.sha256()
    while block := file.read(BLOCK):
        total.update(block)
    return total.hexdigest()


def _may_connect(url: str, target: Path) -> None:
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise WeightsError(
            f"{OFFLINE} forbids downloads: fetch {url} on another machine and put it at {target}, or unset {OFFLINE}"
        )
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
        raise WeightsError(f"{url} is not an https address")


@contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WeightsError(f"another process is downloading {part}: wait for it") from error
        yield file


def _attempt(url: str, file: IO[bytes], size: int, timeout: float, on_progress: Progress) -> str | None:
    """Append what is missing; None when complete, else what went wrong and is worth trying again."""
    have = os.fstat(file.fileno()).st_size
    if size and have == size:
        return None
    request = urllib.request.Request(url, headers={"User-Agent": "edgead"})  # noqa: S310  checked by _may_connect
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            return _receive(response, file, have, on_progress)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error, url, file)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.URLError) or not isinstance(error, OSError) or error.errno is None:
            return f"{type(error).__name__}: {error}"
        if isinstance(error, (ConnectionError, TimeoutError)):
            return str(error)
        raise WeightsError(f"cannot write {file.name}: {error}") from error


def _refused(error: urllib.error.HTTPError, url: str, file: IO[bytes]) -> str:
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        file.truncate(0)  # the part is longer than the file: it belongs to another one
        return "the unfinished download did not match"
    if error.code >= 500 or error.code == http.HTTPStatus.TOO_MANY_REQUESTS:
        return f"HTTP {error.code}"
    raise WeightsError(f"{url} answers HTTP {error.code} {error.reason}: fetch the file by hand") from error


def _receive(response: http.client.HTTPResponse, file: IO[bytes], have: int, on_progress: Progress) -> str | None:
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        file.truncate(0)  # the server sends the whole file
        have = 0
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        file.truncate(0)
        return "the server sent another range than was asked for"
    length = int(response.headers.get("Content-Length") or 0)
    total = have + length if length else 0
    free = shutil.disk_usage(Path(file.name).parent).free
    if length > free:
        raise WeightsError(f"{file.name} needs {length >> 20} MiB and the disk has {free >> 20} MiB free")
    on_progress(have, total)
    while block := response.read(BLOCK):
        file.write(block)
        have += len(block)
        on_progress(have, total)
    file.flush()
    return None if have == total or not total else f"{total - have} bytes missing"


def _verify(part: Path, url: str, sha256: str) -> None:
    found = digest(part)
    if not found.startswith(sha256):
        part.unlink()
        raise WeightsError(
            f"{url} gave a file with SHA-256 {found[:16]}…, expected {sha256[:16]}…: it was removed; "
            "a proxy may have sent a page of its own"
        )
