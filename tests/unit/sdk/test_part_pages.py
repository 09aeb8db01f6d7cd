"""The live page of a line with triggers: lamps and parts in its state, and a trigger by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from http_client import ask_json
from lines import QUICK, Scripted, background, paced
from plc_lines import plc_line
from programs import until

from edgead import Detector
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.sinks.web import Web

TOKEN = "a-long-enough-token"
STATIC = Path(__file__).parents[3] / "sdk/edgead/web/static"


def test_a_trigger_by_hand_and_what_the_page_shows(quick: Detector) -> None:
    page = Web("0")
    with plc_line(quick, [], sinks=[page]) as line:
        until(lambda: line.status().handshake["ready"])
        assert ask_json(page.port, "/api/trigger", {"part": "A-17"}) == (202, {"part": "A-17"})
        until(lambda: ask_json(page.port, "/api/state")[1]["handshake"]["cycles"])
        state = ask_json(page.port, "/api/state")[1]
        (cycle,) = state["handshake"]["cycles"]
        assert (cycle["part"], cycle["result"], cycle["trigger"]) == ("A-17", "OK", 1)
        assert {name: state["handshake"][name] for name in ("done", "reject", "fault")} == {
            "done": True,
            "reject": False,
            "fault": 0,
        }
        assert state["triggers"]["answered"] == 1
        assert ask_json(page.port, "/api/trigger", {"part": "x" * 40})[0] == 400
        assert ask_json(page.port, "/api/trigger", {"parts": 1})[0] == 400
        assert ask_json(page.port, "/api/trigger", {}, Content_Type="text/plain")[0] == 415


def test_the_token_is_asked_for(quick: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_TOKEN", TOKEN)
    page = Web("0")
    with plc_line(quick, [], sinks=[page]) as line:
        assert ask_json(page.port, "/api/trigger", {})[0] == 401
        assert line.status().triggers.triggers == 0
        assert ask_json(page.port, "/api/trigger", {}, Authorization=f"Bearer {TOKEN}")[0] == 202
        assert (
            ask_json(page.port, "/api/trigger", {}, Authorization=f"Bearer {TOKEN}", Origin="http://evil.example")[0]
            == 403
        )


def test_a_line_without_triggers_says_so(quick: Detector) -> None:
    page = Web("0")
    assert ask_json(page.port, "/api/trigger", {})[0] == 409
    line = Pipeline([Camera("", Scripted(paced(100)))], quick, [page], QUICK)
    thread = background(line)
    until(lambda: line.status().frames)
    status, said = ask_json(page.port, "/api/trigger", {})
    assert (status, "without triggers" in said["error"]) == (400, True)
    assert ask_json(page.port, "/api/state")[1]["handshake"] is None
    line.stop()
    thread.join(10)


def test_the_page_has_what_its_script_fills() -> None:
    html, script = ((STATIC / name).read_text() for name in ("index.html", "parts.js"))
    for name in ("handshake", "lamps", "handshake-words", "cycles", "trigger", "part", "trigger-answer"):
        assert f'id="{name}"' in html
        assert f'$("{name}")' in script
