"""One request to a server of edgead's own on loopback, answered whatever the status is."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any


def ask(port: int, path: str, body: object = None, **headers: str) -> tuple[int, str]:
    """The status and the text: a GET where there is no `body`, else a POST of its bytes or of it as JSON.

    A header's name is written with `_` for its hyphens.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is None or isinstance(body, bytes):
        data = body
    else:
        data = json.dumps(body).encode()
        named = {"Content-Type": "application/json"} | named
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, named)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")


def ask_json(port: int, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, Any]]:
    """The same, of a server that answers in JSON, or in plain words: then they are its "error"."""
    status, said = ask(port, path, body, **headers)
    return status, json.loads(said) if said.startswith("{") else {"error": said}
