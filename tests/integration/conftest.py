"""What the tests of pages and of brokers share: one browser for a module, the live page and its line, a broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from page_line import Pipeline
from programs import Broker

from edgead import Detector
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.web import Web
from edgead.web import pages


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """The live page of a station without a token."""
    monkeypatch.delenv("EDGEAD_TOKEN", raising=False)
    monkeypatch.setattr(pages, "_PATIENCE_S", 1.0)
    with open_sink("web:0?station=Press%203") as sink:
        yield sink


@pytest.fixture
def line(page: Web, detector: Detector) -> Iterator[Pipeline]:
    """A line behind the page."""
    line = Pipeline(page, detector)
    yield line
    line.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real broker that belongs to the test."""
    broker = Broker(tmp_path)
    yield broker
    broker.stop()
