"""The live page in a real browser: frames arrive, an anomaly appears, the threshold moves, a wrong token is refused."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import pytest
import tiny
from browser import Browser, shown
from http_client import ask
from page_line import Pipeline
from programs import until

from edgead import Detector, Frame
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.web import Web
from edgead.web import connections
from edgead.web import state as board

TOKEN = "a token of some length"


def test_the_page_lives(browser: Browser, page: Web, line: Pipeline) -> None:
    browser.urls.clear()
    browser.complaints.clear()
    browser.open(f"http://127.0.0.1:{page.port}/")
    browser.until("document.querySelector('.camera img').naturalWidth === 64")
    browser.until(f"{shown('#station')} === 'Press 3'")
    browser.until(f"['OK', 'NG'].includes({shown('#verdict .word')})")
    browser.until(f"{shown('#lamp')}.startsWith('judging')")
    assert browser.evaluate("document.querySelector('#chart').width") > 300

    browser.until("document.querySelector('#anomalies img')?.naturalWidth > 0")
    browser.evaluate("document.querySelector('#anomalies button').click()")
    browser.until("document.querySelector('#closer').open && document.querySelector('#closer img').naturalWidth === 64")
    assert browser.evaluate(shown("#closer .chip")) == "NG"
    browser.evaluate("document.querySelector('#closer').close()")

    before = browser.evaluate("document.querySelector('.camera img').src")
    browser.until(f"document.querySelector('.camera img').src !== {before!r}")  # it is live
    browser.evaluate("document.querySelector('#heatmap').click()")
    until(lambda: browser.evaluate("1") and any("heatmap=0" in url for url in browser.urls))

    ours = (f"http://127.0.0.1:{page.port}/", f"blob:http://127.0.0.1:{page.port}/")
    assert [url for url in browser.urls if not url.startswith(ours)] == []
    assert browser.complaints == []  # among them, what the policy has blocked


def test_areas_with_rules_of_their_own_are_drawn_with_their_names(browser: Browser, page: Web, line: Pipeline) -> None:
    named = ["rim threshold=2.0 min_area=60.0 8,10,40,20", "seal threshold=0.8 2,2 30,2 16,40"]
    painted = "hub threshold=2.0 hub.png (0123456789ab)"  # which cannot be drawn
    line.extra = {"areas": {"judge": [], "ignore": ["0,0,9,9"], "named": [*named, painted]}}
    browser.open(f"http://127.0.0.1:{page.port}/")
    all_of = "[...document.querySelectorAll('{}')].map((one) => one.{}).join('; ')".format
    browser.until(f"{all_of('.camera .areas text', 'textContent')} === 'rim; seal'")
    points = all_of(".camera .areas polygon.named", "getAttribute('points')")
    assert browser.evaluate(points) == "8,10 47,10 47,29 8,29; 2,2 30,2 16,40"
    assert browser.evaluate("document.querySelectorAll('.camera .areas polygon.ignored').length") == 1
    inside = "(one => [one.x, one.y, one.x + one.width])(document.querySelector('.camera .areas text').getBBox())"
    left, top, right = browser.evaluate(inside)
    assert 8 <= left < right <= 47
    assert top >= 9

    browser.evaluate("document.querySelector('#areas').click()")
    browser.until(f"{all_of('#area-svg text', 'textContent')} === 'rim; seal'")
    assert "rim (threshold=2.0 min_area=60.0), seal (threshold=0.8)" in browser.evaluate(shown("#area-hint"))


def test_the_threshold_is_set_by_the_slider(browser: Browser, page: Web, line: Pipeline) -> None:
    browser.open(f"http://127.0.0.1:{page.port}/")
    browser.until("document.querySelector('#slider')?.disabled === false")
    move = "(s => { s.value = 1.4; s.dispatchEvent(new Event('input')); })(document.querySelector('#slider'))"
    browser.evaluate(move)
    assert browser.evaluate(shown("#factor")) == "× 1.40"
    assert line.factor == 1.0  # a touch alone changes nothing
    browser.evaluate("document.querySelector('#reset').click()")
    assert browser.evaluate(shown("#factor")) == "× 1.00"
    browser.evaluate(f"{move}; document.querySelector('#apply').click()")
    until(lambda: line.factor == 1.4)
    browser.until(f"{shown('#answer')}.startsWith('1.40 since')")
    line.broken = "the bundle is being exchanged"
    browser.evaluate(f"{move.replace('1.4', '0.8')}; document.querySelector('#apply').click()")
    browser.until(f"{shown('#answer')} === 'not set: the bundle is being exchanged'")
    browser.until(f"{shown('#health .bad em')} === 'the bundle is being exchanged'")
    assert line.factor == 1.4


def test_a_verdict_that_is_no_longer_true_is_not_shown(browser: Browser, page: Web, line: Pipeline) -> None:
    browser.open(f"http://127.0.0.1:{page.port}/")
    browser.until(f"['OK', 'NG'].includes({shown('#verdict .word')})")
    line.lost = True
    browser.until(f"{shown('#verdict .word')} === 'NO PICTURE' && {shown('#lamp')} === 'a camera is lost'")
    assert ask(page.port, "/healthz") == (503, "a camera is lost\n")
    browser.until(f"{shown('#health .bad em')} === 'the cable is out'")
    line.lost = False
    browser.until(f"['OK', 'NG'].includes({shown('#verdict .word')})")
    assert ask(page.port, "/healthz") == (200, "judging\n")
    page.close()
    browser.until(f"{shown('#verdict .word')} === 'NO CONTACT'")


def test_a_token_is_asked_for(
    browser: Browser, detector: Detector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EDGEAD_TOKEN", TOKEN)
    page = open_sink("web:0.0.0.0:0")
    line = Pipeline(page, detector)
    try:
        browser.open(f"http://127.0.0.1:{page.port}/")
        browser.until("location.pathname === '/login' && document.querySelector('#token') !== null")
        enter = "document.querySelector('#token').value = {!r}; document.querySelector('form').submit()"
        browser.evaluate(enter.format("a wrong token it is"))
        browser.until("document.querySelector('#wrong')?.hidden === false")
        browser.evaluate(enter.format(TOKEN))
        browser.until("location.pathname === '/' && document.querySelector('.camera img')?.naturalWidth === 64")
        assert browser.evaluate("document.cookie") == ""  # out of reach of any script
    finally:
        line.close()
        page.close()
    assert TOKEN not in caplog.text


def test_two_cameras_share_the_page(browser: Browser, page: Web, detector: Detector) -> None:
    line = Pipeline(page, detector, ("left", "ri ght/&?"))
    try:
        browser.open(f"http://127.0.0.1:{page.port}/")
        browser.until("document.querySelectorAll('.camera img').length === 2")
        browser.until("[...document.querySelectorAll('.camera img')].every(img => img.naturalWidth === 64)")
        browser.evaluate("document.querySelectorAll('.camera')[1].click()")
        browser.until(f"{shown('#verdict .which')} === 'ri ght/&?'")
    finally:
        line.close()


def test_nothing_is_encoded_while_nobody_watches(
    page: Web, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[object] = []
    real = board._jpeg
    monkeypatch.setattr(board, "_jpeg", lambda image: encoded.append(image) or real(image))
    for index in range(30):
        page.emit(Frame(tiny.good(), index), detector(tiny.good()))
    assert encoded == []
    answers = [threading.Thread(target=ask, args=(page.port, "/api/picture?camera=")) for _ in range(8)]
    for answer in answers:
        answer.start()
    for answer in answers:
        answer.join()
    assert len(encoded) == 1


def test_health_before_the_first_frame(page: Web) -> None:
    assert ask(page.port, "/healthz") == (503, "nothing judged yet\n")
    assert ask(page.port, "/api/picture?camera=none")[0] == 204


def test_metrics_are_served_too(page: Web, detector: Detector) -> None:
    page.emit(Frame(tiny.bad()), detector(tiny.bad()))
    assert 'edgead_results_total{camera="",verdict="NG"} 1' in ask(page.port, "/metrics")[1]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "10.0.0.1"}, 421),
        ({"Host": ""}, 421),
    ],
)
def test_only_known_names_are_answered(page: Web, headers: dict[str, str], status: int) -> None:
    assert ask(page.port, "/", **headers)[0] == status


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"factor": 1.2}', {"Content_Type": "application/json"}, 200),
        (b'{"factor": 1.2}', {"Content_Type": "application/json", "Origin": "http://evil.example"}, 403),
        (b'{"factor": 1.2}', {"Content_Type": "application/json", "Origin": "null"}, 403),
        (b'{"factor": 1.2}', {"Content_Type": "text/plain"}, 415),
        (b'{"factor": 0}', {"Content_Type": "application/json"}, 400),
        (b'{"factor": "1"}', {"Content_Type": "application/json"}, 400),
        (b"{}", {"Content_Type": "application/json"}, 400),
        (b"x" * 10_000, {"Content_Type": "application/json"}, 400),
    ],
)
def test_who_may_set_the_threshold(
    page: Web, line: Pipeline, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert ask(page.port, "/api/threshold", body, **headers)[0] == status
    assert line.factor == (1.2 if status == 200 else 1.0)


def test_the_page_says_who_sets_a_threshold_and_for_how_long(page: Web, line: Pipeline) -> None:
    status, answer = ask(page.port, "/api/threshold", b'{"factor": 1.4}', Content_Type="application/json")
    assert (status, json.loads(answer)) == (200, {"threshold": 1.4, "persisted": False})
    assert (line.factor, line.set_by) == (1.4, "the page, 127.0.0.1")
    assert "Until the line is started again; the audit log notes it." in ask(page.port, "/")[1]


def test_a_threshold_needs_a_line(page: Web) -> None:
    assert ask(page.port, "/api/threshold", b'{"factor": 1}', Content_Type="application/json")[0] == 409


def test_what_the_token_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_TOKEN", TOKEN)
    page = open_sink("web:0?names=line.factory.example")
    for path in ("/api/state", "/metrics", "/api/anomaly/1"):
        assert ask(page.port, path)[0] == 401
        assert ask(page.port, path, Authorization="Bearer a wrong one")[0] == 401
        assert ask(page.port, path, Cookie="edgead=a wrong one")[0] == 401
        assert ask(page.port, path, Cookie=f"edgead={TOKEN}")[0] == 401  # the cookie is not the token
        assert ask(page.port, path, Authorization=f"Bearer {TOKEN}")[0] != 401
    assert ask(page.port, "/api/threshold", b"{}")[0] == 401
    assert ask(page.port, "/healthz")[0] == 503
    assert ask(page.port, "/healthz", Host="line.factory.example")[0] == 503
    assert ask(page.port, "/healthz", Host="other.factory.example")[0] == 421
    page.close()


def test_silent_connections_keep_nobody_out(page: Web) -> None:
    silent = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(150)]
    assert ask(page.port, "/healthz") == (503, "nothing judged yet\n")
    assert ask(page.port, "/")[0] == 200
    until(lambda: sum(closed(one) for one in silent) >= 110)
    for one in silent:
        one.close()


def test_a_request_that_never_ends_is_cut_off(page: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_REQUEST_S", 0.3)
    monkeypatch.setattr(connections, "_IDLE_S", 0.3)
    for whole in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):  # the first request, or the second
        dripping = socket.create_connection(("127.0.0.1", page.port))
        dripping.sendall(whole)
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() < begin + 5 and not (dripping.sendall(b"G") or closed(dripping)):
                time.sleep(0.05)
        assert time.monotonic() - begin < 2
        dripping.close()


def test_wrong_tokens_keep_the_right_one_not_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_TOKEN", TOKEN)
    page = open_sink("web:0")
    answers: list[int] = []
    guesses = [
        threading.Thread(target=lambda: answers.append(ask(page.port, "/login", b"token=guess")[0])) for _ in range(30)
    ]
    for guess in guesses:
        guess.start()
    until(lambda: 429 in answers)  # the places for guesses are taken
    begin = time.monotonic()
    assert ask(page.port, "/login", f"token={TOKEN}".encode())[0] in (200, 303)
    assert time.monotonic() - begin < 0.45
    for guess in guesses:
        guess.join()
    assert set(answers) == {401, 429}
    page.close()


def closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.setblocking(True)
    return True
