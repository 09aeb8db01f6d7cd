"""The review page in a browser: labels by keys, regions by the mouse, two people, undo, filters, a small screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, shown
from http_client import ask
from programs import until
from saved import save_event

from edgead.review.labels import Label, add_label, read_labels
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.web import Web

READY = "document.querySelector('#picture').ariaBusy === 'false'"
SHOWN = f"document.querySelector('#image').naturalWidth === 64 && {READY}"
TOKEN = "a token of some length"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Events of twelve parts, the newest bad."""
    for number in range(12):
        save_event(tmp_path / "saved", number, score=3.0 if number == 11 else 0.5 + 0.01 * number)
    return tmp_path / "saved"


@pytest.fixture
def page(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    sink = open_sink(f"web:0?review={saved}")
    yield sink
    sink.close()


def be(browser: Browser, page: Web, person: str) -> None:
    """Open the page as somebody."""
    browser.open(f"http://127.0.0.1:{page.port}/review")
    browser.until(SHOWN)
    browser.evaluate(f"localStorage.setItem('person', {person!r})")
    browser.reload()
    browser.until(f"document.querySelector('#person')?.value === {person!r} && {SHOWN}")


def at(browser: Browser, x: float, y: float) -> tuple[float, float]:
    """The place in the window of a pixel of the frame."""
    place = f"new DOMPoint({x}, {y}).matrixTransform(document.querySelector('#regions').getScreenCTM())"
    found = browser.evaluate(f"(p => [p.x, p.y])({place})")
    return found[0], found[1]


def labels(saved: Path) -> dict[int, Any]:
    """What ada said, by the number of the part."""
    found = {}
    for event in saved.glob("*/*"):
        if "ada" in (said := read_labels(event)):
            found[int(event.name.split("_")[1])] = said["ada"]
    return found


def test_a_key_is_a_label(browser: Browser, page: Web, saved: Path) -> None:
    browser.urls.clear()
    browser.complaints.clear()
    be(browser, page, "ada")
    assert browser.evaluate(shown("#found")) == "12 events"
    browser.evaluate("document.querySelector('#kind').value = 'dent'; document.querySelector('#add').requestSubmit()")
    browser.drag(at(browser, 33, 25), at(browser, 46, 34))
    browser.press("1")
    until(lambda: 11 in labels(saved))
    said = labels(saved)[11]
    assert (said.label, said.kind) == ("defect", "dent")
    (box,) = said.regions
    assert [max(abs(a - b) for a, b in zip(one, other, strict=True)) for one, other in zip(
        box, ((33, 25), (46, 25), (46, 34), (33, 34)), strict=True
    )] <= [1] * 4  # fmt: skip
    for key, place in (("g", 10), ("u", 9), ("d", 8)):
        browser.until(f"{shown('#about')}.includes('frame {place}')")
        browser.press(key)
    until(lambda: len(labels(saved)) == 4)
    assert [labels(saved)[place].label for place in (10, 9, 8)] == ["good", "unsure", "defect"]
    browser.press("z")
    browser.until(f"{shown('#said')} === 'taken back'")
    assert 8 not in labels(saved)
    browser.until(f"{shown('#about')}.includes('frame 8')")
    ours = (f"http://127.0.0.1:{page.port}/", f"blob:http://127.0.0.1:{page.port}/", "data:")
    assert [url for url in browser.urls if not url.startswith(ours)] == []
    assert browser.complaints == []


def test_regions_are_corrected_by_mouse_and_keys(browser: Browser, page: Web, saved: Path) -> None:
    be(browser, page, "ada")
    browser.press("a")  # the network's region
    browser.drag(at(browser, 47, 35), at(browser, 41, 31))  # its last corner
    browser.drag(at(browser, 36, 27), at(browser, 38, 28))  # the whole
    browser.evaluate("document.querySelector('polygon.region').focus()")
    browser.press("ArrowLeft")
    browser.press("p")
    for corner in ((2, 2), (12, 3), (6, 12)):
        browser.click(at(browser, *corner))
    browser.press("Enter")
    browser.drag(at(browser, 50, 5), at(browser, 60, 15))
    browser.press("Delete")
    browser.press("d")
    until(lambda: 11 in labels(saved))
    assert labels(saved)[11].regions == (
        ((33, 25), (42, 25), (42, 32), (33, 32)),
        ((2, 2), (12, 3), (6, 12)),
    )


def test_the_first_picture_comes_before_the_list(browser: Browser, page: Web) -> None:
    be(browser, page, "ada")
    browser.until("document.querySelector('#events img')?.naturalWidth > 0")
    browser.urls.clear()
    browser.reload()
    browser.until(f"{SHOWN} && document.querySelector('#events img')?.naturalWidth > 0")
    browser.evaluate("1")  # so that what it has asked for until now is known
    kinds = [url.rpartition("kind=")[2] for url in browser.urls if "/api/review/picture" in url]
    assert kinds[0] == "frame"
    assert "thumb" in kinds[1:]


def test_two_people_label_for_themselves_and_disagree(browser: Browser, page: Web, saved: Path) -> None:
    newest = max(saved.glob("*/*"))
    add_label(newest, "bob", Label(label="good"))
    be(browser, page, "ada")
    browser.until(f"{shown('#labels')} === '1 said by others, shown once you have said yours'")
    browser.press("d")
    until(lambda: 11 in labels(saved))
    browser.press("ArrowLeft")
    browser.until(f"{shown('#labels')}.includes('bob') && {shown('#labels')}.includes('good')")
    choose = (
        "(f => {{ f.labeled.value = {!r}; f.dispatchEvent(new Event('change')); }})(document.querySelector('#query'))"
    )
    browser.evaluate(choose.format("disagree"))
    browser.until(f"{shown('#found')} === '1 event'")
    browser.evaluate(choose.format("unsure"))
    browser.until(f"{shown('#nothing')} === 'nothing here is left to review'")


def test_who_labels_is_asked_first(browser: Browser, page: Web, saved: Path) -> None:
    be(browser, page, "")
    browser.press("g")
    browser.until(f"{shown('#said')}.startsWith('who are you?') && document.activeElement.id === 'person'")
    assert labels(saved) == {}


def test_it_works_on_a_small_screen_and_in_the_dark(browser: Browser, page: Web) -> None:
    browser.resize(390, 844)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("Emulation.setEmulatedMedia", features=dark)
    try:
        be(browser, page, "ada")
        browser.evaluate("localStorage.removeItem('theme')")
        browser.reload()
        browser.until(f"document.documentElement.dataset.theme === 'dark' && {SHOWN}")
        assert browser.evaluate("document.documentElement.scrollWidth") == 390
        sizes = browser.evaluate("[...document.querySelectorAll('.actions button')].map(b => b.offsetHeight)")
        assert min(sizes) >= 44  # pixels that a finger hits
        named = "[...document.querySelectorAll('button, input, select')].filter(e => !e.textContent.trim()"
        named += " && !e.labels?.length && !e.ariaLabel).map(e => e.id)"
        assert browser.evaluate(named) == []
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")
        browser.call("Emulation.setEmulatedMedia", features=[])


def test_what_cannot_be_done_is_said(page: Web, saved: Path) -> None:
    event = f"{max(saved.glob('*/*')).parent.name}/{max(saved.glob('*/*')).name}"
    said = {"event": event, "person": "ada", "label": {"label": "good"}}
    assert ask(page.port, "/api/review/label", said, Content_Type="text/plain")[0] == 415
    assert ask(page.port, "/api/review/label", said, Origin="http://evil.example")[0] == 403
    for wrong in (
        {"event": "../x"},
        {"person": "../x"},
        {"label": {"label": "fine"}},
        {"label": {"label": "good", "x": 1}},
    ):
        assert ask(page.port, "/api/review/label", said | wrong)[0] == 400
    assert ask(page.port, "/api/review/picture?id=../../etc/passwd")[0] == 404
    assert ask(page.port, "/api/review/events?order=worst")[0] == 400
    assert ask(page.port, "/api/review/event?id=x")[0] == 400
    assert ask(page.port, "/api/review/undo", {"person": "ada"}) == (200, '{"event":null}')
    assert labels(saved) == {}
    assert ask(page.port, "/api/review/label", said)[0] == 200


def test_the_token_guards_it(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_TOKEN", TOKEN)
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    page = open_sink(f"web:0?review={saved}")
    for path in ("/api/review/events", "/api/review/picture?id=x", "/api/review/event?id=x"):
        assert ask(page.port, path)[0] == 401
    assert ask(page.port, "/api/review/events", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert "asks for its token" in ask(page.port, "/review")[1]
    page.close()
