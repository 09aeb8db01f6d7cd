"""Whether who answers at an encrypted address is verified: always, unless the address asks for `verify=no`."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

UNVERIFIED = "verify=no"
_ENCRYPTED = ("rtsps", "rtmps")  # read by FFmpeg, which verifies only where it is told to
_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # how OpenCV hands options to FFmpeg; looked at while a stream is opened
_USUAL = "rtsp_transport;tcp"  # what OpenCV asks for without the variable
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")

_opening = Lock()


def verification(url: str) -> tuple[str, bool]:
    """The address as the camera is asked for it, and whether the camera is to be verified."""
    address, mark, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair != UNVERIFIED]
    verify = len(kept) == len(query.split("&"))
    return (url, True) if verify else (address + (mark + "&".join(kept) if kept else ""), False)


@contextmanager
def ffmpeg_verifies(url: str, verify: bool) -> Iterator[None]:
    """Have FFmpeg verify who answers while `url` is opened, where it is encrypted; one at a time.

    The authorities are those of the file SSL_CERT_FILE names, else the system's.
    """
    if url.partition(":")[0].lower() not in _ENCRYPTED:
        yield
        return
    with _opening:
        usual = os.environ.get(_OPTIONS) or _USUAL
        authorities = f"|ca_file;{path}" if verify and (path := _authorities()) else ""
        os.environ[_OPTIONS] = f"{usual}|tls_verify;{int(verify)}{authorities}"
        try:
            yield
        finally:
            os.environ[_OPTIONS] = usual  # replaced, never taken out: other threads may be reading their variables


def _authorities() -> str:
    paths = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_BUNDLES)
    return next((path for path in paths if path and Path(path).is_file()), "")
