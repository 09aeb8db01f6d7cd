"""`edgead serve` on Ray Serve: the same answers as by itself, replicas that follow the load, and ones that die.

Ray takes seconds to start, and is in none of the other tests: pip install 'edgead[ray]', then pytest -m slow.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny
from programs import answers, free_port, lacking, until

from edgead import Bundle, Detector
from edgead.errors import DataError, EngineError, UsageError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1800)]
TOKEN = "a-token-of-this-test"
IMAGES = [tiny.good(1), tiny.bad(2, 120, 90), tiny.bad(3, 32, 32), tiny.good(4, 33, 47)]


@pytest.fixture(autouse=True)
def _ray() -> None:
    if find_spec("ray") is None or find_spec("fastapi") is None:
        lacking("Ray Serve is missing: pip install 'edgead[ray]'")


def replicas(model: str) -> list[int]:
    """The processes of a model's replicas on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"ray::ServeReplica:edgead-{model}:".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture
def port(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """`edgead serve` with one to two replicas, in a process of its own."""
    monkeypatch.setenv("EDGEAD_TOKEN", TOKEN)
    port = free_port()
    command = [sys.executable, "-m", "edgead", "serve", tiny_bundle, "--address", port, "--replicas", "1-2"]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen([*map(str, command), "--engine", "onnx"], stderr=said)
        try:
            until(lambda: b"/v2/models/tiny" in (tmp_path / "said").read_bytes() or process.poll() is not None, 600)
            assert process.poll() is None, (tmp_path / "said").read_text()
            yield port
        finally:
            process.terminate()
            assert process.wait(120) == 128 + signal.SIGTERM, (tmp_path / "said").read_text()
    until(lambda: not answers(port) and not replicas("tiny"), 120)


def ask(port: int, path: str, token: str = TOKEN) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {"said": error.read().decode()}


def test_replicas_judge_as_a_local_engine_follow_the_load_and_are_replaced(port: int, tiny_bundle: Path) -> None:
    assert ask(port, "/v2/health/ready") == (200, {"live": True, "ready": True})
    assert ask(port, "/v2")[1]["name"] == "edgead"
    assert ask(port, "/v2/models/tiny")[1]["platform"] == "edgead_onnx"
    assert ask(port, "/v2/models/other/ready")[0] == 404
    assert ask(port, "/v2/models/tiny", token="another-token-than-that")[0] == 401
    remote = f"kserve:http://127.0.0.1:{port}?deadline=60000"
    with Detector(tiny_bundle, engine=remote, precision="fp32") as far, Detector(tiny_bundle, engine="onnx") as near:
        for one, other in zip(far.predict(IMAGES), near.predict(IMAGES), strict=True):
            assert one.engine == "kserve/onnx"
            assert (one.verdict, one.score, one.raw_score) == (other.verdict, other.score, other.raw_score)
            assert one.grid_map.tobytes() == other.grid_map.tobytes()
        before = replicas("tiny")
        assert len(before) == 1
        over = threading.Event()

        def load() -> None:
            with Detector(tiny_bundle, engine=remote, precision="fp32") as client:
                while not over.is_set():
                    client(IMAGES[0])

        clients = [threading.Thread(target=load) for _ in range(12)]
        for client in clients:
            client.start()
        try:
            until(lambda: len(replicas("tiny")) == 2, 300)
        finally:
            over.set()
            for client in clients:
                client.join()
        os.kill(before[0], signal.SIGKILL)
        until(lambda: before[0] not in replicas("tiny") and len(replicas("tiny")) >= 1, 300)
        until(lambda: far(IMAGES[1]).engine == "kserve/onnx", 300)


def test_a_replica_is_well_as_long_as_it_judges(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgead_tools.distributed.serving import Access, ReplicaApp, ReplicaSettings

    bundle = Bundle.open(tiny_bundle)
    settings = ReplicaSettings(tiny_bundle.read_bytes(), bundle.digest, "onnx", "auto", 1)
    with ReplicaApp(settings, Access("", frozenset(), True)) as app:
        asyncio.run(app.check())

        def broken(images: object) -> None:
            raise EngineError("the engine is gone")

        monkeypatch.setattr(app.served["tiny"].detector, "read_many", broken)
        with pytest.raises(EngineError, match="the engine is gone"):
            asyncio.run(app.check())
    with pytest.raises(DataError, match="the bundle was changed"):
        ReplicaApp(
            ReplicaSettings(tiny_bundle.read_bytes(), "0" * 64, "onnx", "auto", 1), Access("", frozenset(), True)
        )


def test_what_cannot_be_served_is_refused(tiny_bundle: Path) -> None:
    from edgead_tools.distributed.serving import RayServer, read_replicas

    assert read_replicas("2") == (2, 2)
    assert read_replicas("1-4") == (1, 4)
    for wrong in ("0", "4-1", "some", "1-", "-3"):
        with pytest.raises(UsageError, match="--replicas is a number"):
            read_replicas(wrong)
    with pytest.raises(UsageError, match="set a token first"):
        RayServer([Bundle.open(tiny_bundle)], "0.0.0.0:0")
