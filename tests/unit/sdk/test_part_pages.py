"""The live page of a line with triggers: lamps and parts in its state, and a trigger by hand."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from lines import QUICK, Scripted, background, paced
from plc_lines import plc_line
from programs import until

from edgead import Detector
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.sinks.web import Web

TOKEN = "a-long-enough-token"
STATIC = Path(__file__).parents[3] / "sdk/edgead/web/static"


def ask(page: Web, path: str, body: object = None, **headers: str) -> tuple[int, dict]:
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"http://127.0.0.1:{page.port}{path}", data, sent)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode()
            return error.code, json.loads(text) if text.startswith("{") else {"error": text}


def test_a_trigger_by_hand_and_what_the_page_shows(quick: Detector) -> None:
    page = Web("0")
    with plc_line(quick, [], sinks=[page]) as line:
        until(lambda: line.status().handshake["ready"])
        assert ask(page, "/api/trigger", {"part": "A-17"}) == (202, {"part": "A-17"})
        until(lambda: ask(page, "/api/state")[1]["handshake"]["cycles"])
        state = ask(page, "/api/state")[1]
        (cycle,) = state["handshake"]["cycles"]
        assert (cycle["part"], cycle["result"], cycle["trigger"]) == ("A-17", "OK", 1)
        assert {name: state["handshake"][name] for name in ("done", "reject", "fault")} == {
            "done": True,
            "reject": False,
            "fault": 0,
        }
        assert state["triggers"]["answered"] == 1
        assert ask(page, "/api/trigger", {"part": "x" * 40})[0] == 400
        assert ask(page, "/api/trigger", {"parts": 1})[0] == 400
        assert ask(page, "/api/trigger", {}, **{"Content-Type": "text/plain"})[0] == 415


def test_the_token_is_asked_for(quick: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_TOKEN", TOKEN)
    page = Web("0")
    with plc_line(quick, [], sinks=[page]) as line:
        assert ask(page, "/api/trigger", {})[0] == 401
        assert line.status().triggers.triggers == 0
        assert ask(page, "/api/trigger", {}, Authorization=f"Bearer {TOKEN}")[0] == 202
        assert ask(page, "/api/trigger", {}, Authorization=f"Bearer {TOKEN}", Origin="http://evil.example")[0] == 403


def test_a_line_without_triggers_says_so(quick: Detector) -> None:
    page = Web("0")
    assert ask(page, "/api/trigger", {})[0] == 409
    line = Pipeline([Camera("", Scripted(paced(100)))], quick, [page], QUICK)
    thread = background(line)
    until(lambda: line.status().frames)
    status, said = ask(page, "/api/trigger", {})
    assert (status, "without triggers" in said["error"]) == (400, True)
    assert ask(page, "/api/state")[1]["handshake"] is None
    line.stop()
    thread.join(10)


def test_the_page_has_what_its_script_fills() -> None:
    html, script = ((STATIC / name).read_text() for name in ("index.html", "parts.js"))
    for name in ("handshake", "lamps", "handshake-words", "cycles", "trigger", "part", "trigger-answer"):
        assert f'id="{name}"' in html
        assert f'$("{name}")' in script
