"""`edgead serve`, the engine `kserve` and tritonclient, against one another on loopback."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import component_tray
import msgspec
import numpy as np
import pytest
import tiny
from http_client import ask
from lines import threads
from programs import answers, free_port, until
from served import serving, with_body

from edgead import Bundle, Detector
from edgead.bundle import TileSpec
from edgead.errors import EngineError, UsageError
from edgead.serving.batcher import WAITING, Batcher
from edgead.serving.server import InferenceServer

IMAGES = [tiny.good(1), tiny.bad(2, 120, 90), tiny.bad(3, 32, 32), tiny.good(4, 33, 47)]


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[InferenceServer]:
    with InferenceServer([Bundle.open(tiny_bundle)], "0", engine="onnx", threads=1) as server:
        yield server


def remote(bundle: Path | Bundle, port: int, *, deadline: int = 2000, scheme: str = "http") -> Detector:
    return Detector(
        bundle, engine=f"kserve:{scheme}://127.0.0.1:{port}?deadline={deadline}", threads=1, precision="fp32"
    )


def same(one: object, other: object) -> bool:
    """Whether two results are equal bit for bit in all that was measured and judged."""
    values = ("verdict", "score", "raw_score", "threshold", "regions", "reasons", "precision", "model")
    return all(getattr(one, name) == getattr(other, name) for name in values) and (
        one.grid_map.tobytes() == other.grid_map.tobytes()
    )


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_results_over_the_wire_are_those_of_a_local_engine(
    tiny_bundle: Path, server: InferenceServer, scheme: str
) -> None:
    from grpc_server import serving_grpc

    with serving_grpc(server.models["tiny"]) as (_, grpc_port):
        port = grpc_port if scheme == "grpc" else server.port
        with remote(tiny_bundle, port, scheme=scheme) as far, Detector(tiny_bundle, engine="onnx", threads=1) as near:
            results = far.predict(IMAGES)
            assert [result.engine for result in results] == ["kserve/onnx"] * len(IMAGES)
            assert all(same(one, other) for one, other in zip(results, near.predict(IMAGES), strict=True))
            assert {result.verdict.value for result in results} == {"OK", "NG"}


def test_components_come_over_the_wire(tmp_path: Path) -> None:
    bundle = component_tray.write(tmp_path / "tray.edgead")
    frames = [component_tray.frame(component_tray.labels(*sizes)) for sizes in ((8, 8), (3, 8), (8, 0))]
    served = InferenceServer([bundle], "0", engine="onnx")
    with served as server, remote(bundle, server.port) as far, Detector(bundle, engine="onnx") as near:
        for image in frames:
            one, other = far(image), near(image)
            assert one.engine == "kserve/onnx"
            assert same(one, other)
            assert one.branches.to_dict((48, 64)) == other.branches.to_dict((48, 64))
            assert np.array_equal(one.branches.labels, other.branches.labels)


def test_a_frame_that_is_cut_into_tiles_goes_over_the_wire_at_their_size(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(tiny.manifest().input, tiles=TileSpec(rows=2, columns=3, overlap=8))
    fusion = msgspec.structs.replace(tiny.manifest().fusion, height=14, width=20)
    bundle = tiny.write_tiny(tmp_path / "tiles.edgead", input=spec, fusion=fusion)
    served = InferenceServer([bundle], "0", engine="onnx")
    with served as server, remote(bundle, server.port) as far, Detector(bundle, engine="onnx") as near:
        for image in (tiny.bad(1, 120, 90), tiny.good(2, 300, 200)):
            one = far(image)
            assert one.engine == "kserve/onnx"
            assert same(one, near(image))


def test_a_dead_server_costs_one_deadline_and_is_found_again(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgead.engines.kserve.FIRST_PROBE_S", 0.1)
    bundle, port = Bundle.open(tiny_bundle), free_port()
    image = tiny.bad(3, 32, 32)
    listening = socket.create_server(("127.0.0.1", port))  # takes connections, and never answers
    with remote(bundle, port, deadline=300) as far, Detector(bundle, engine="onnx", threads=1) as near:
        far.engine._local.infer([image])  # what its first frame costs is no matter of the server
        spent = []
        for _ in range(20):
            start = time.perf_counter()
            result = far(image)
            spent.append(time.perf_counter() - start)
            assert same(result, near(image))
            assert result.engine == far.engine._local.name
        assert 0.3 <= spent[0] < 0.6
        assert max(spent[1:]) < 0.2
        listening.close()
        with InferenceServer([bundle], str(port), engine="onnx", threads=1):
            until(lambda: far(image).engine == "kserve/onnx", 20)


@pytest.mark.parametrize("fault", ["drip", "garbage", "500", "other model", "closed", "half", "nan"])
def test_a_server_that_misbehaves_is_not_believed(
    tiny_bundle: Path, tmp_path: Path, server: InferenceServer, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        for _ in range(100):
            handler.wfile.write(b"H")
            handler.wfile.flush()
            time.sleep(0.02)

    def closed(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nhalf")
        handler.close_connection = True

    about = json.dumps({"bundle": "x", "engine": "onnx", "precision": "fp32", "times_ms": [0, 0, 0]})
    nan = {"name": "anomaly_map", "datatype": "FP32", "shape": [8, 8], "data": [float("nan")] * 64}
    score = {"name": "score", "datatype": "FP64", "shape": [1], "data": [0.1]}
    told = {"name": "about", "datatype": "BYTES", "shape": [1], "data": [about]}
    spoiled = {
        "drip": drip,
        "garbage": with_body(b"no protocol"),
        "500": lambda handler: handler.send_error(500),
        "other model": with_body(b'{"outputs": []}'),
        "closed": closed,
        "half": half,
        "nan": with_body(json.dumps({"outputs": [nan, score, told]}).encode()),
    }
    with serving(tmp_path) as odd, remote(tiny_bundle, odd.port, deadline=300) as far:
        odd.answers["infer"] = spoiled[fault]
        start = time.perf_counter()
        result = far(tiny.bad(1))
        assert time.perf_counter() - start < 1.0
        assert (result.engine, result.verdict.value) == (far.engine._local.name, "NG")
    assert any("is not used" in message for message in caplog.messages)


def test_a_server_with_another_bundle_judges_nothing(tmp_path: Path, server: InferenceServer) -> None:
    tiny.write_tiny(tmp_path / "other.edgead", provenance={"another": "build"})
    with remote(tmp_path / "other.edgead", server.port) as far:
        assert far(tiny.bad(1)).engine != "kserve/onnx"


def test_a_network_with_other_thresholds_judges_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = tiny.manifest().artifacts[0]
    other = msgspec.structs.replace(network, precision="int8", engine="onnx", good_scores=(0.3, 0.31))
    tiny.write_tiny(tmp_path / "two.edgead", artifacts=(network, other))
    bundle = Bundle.open(tmp_path / "two.edgead")
    with InferenceServer([bundle], "0", engine="onnx", precision="int8") as server, remote(bundle, server.port) as far:
        assert far(tiny.bad(1)).precision == "fp32"
        assert far(tiny.bad(1)).engine != "kserve/onnx"
    assert any("runs int8 on onnx, whose thresholds are others" in message for message in caplog.messages)


def test_an_address_is_needed(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="needs the address of a server"):
        Detector(tiny_bundle, engine="kserve")
    with pytest.raises(UsageError, match="no address"):
        Detector(tiny_bundle, engine="kserve:ftp://host")


CLIENT = """
import sys
import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny")
metadata = client.get_model_metadata("tiny")
assert [port["name"] for port in metadata["inputs"]] == ["image"], metadata
image = np.load(sys.argv[2])
for binary in (True, False):
    given = triton.InferInput("image", list(image.shape), "UINT8")
    given.set_data_from_numpy(image, binary_data=binary)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("anomaly_map", "score")]
    found = client.infer("tiny", [given], outputs=wanted, request_id="7")
    assert found.get_response()["id"] == "7"
    np.save(sys.argv[3] + f"-{binary}.npy", np.append(found.as_numpy("anomaly_map"), found.as_numpy("score")))
try:
    client.infer("absent", [given])
except triton.InferenceServerException as error:
    print(error)
"""


def test_tritonclient_understands_the_server(tiny_bundle: Path, tmp_path: Path, server: InferenceServer) -> None:
    """In a process of its own: it brings gevent along."""
    image = tiny.bad(5)
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-c", CLIENT, f"127.0.0.1:{server.port}", tmp_path / "image.npy", tmp_path / "found"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "there is no model 'absent'" in done.stdout
    with Detector(tiny_bundle, engine="onnx", threads=1) as near:
        (reading,) = near.engine.infer([image])
    for binary in (True, False):
        found = np.load(tmp_path / f"found-{binary}.npy")
        assert np.array_equal(found[:-1].reshape(8, 8).astype(np.float32), reading.anomaly_map)
        assert found[-1] == reading.score


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v2/models/absent/infer", b"{}", 404, "there is no model 'absent'"),
        ("/v2/models/tiny/versions/2/infer", b"{}", 404, "in version 2"),
        ("/v2/models/tiny/infer", b"no json", 400, "not what the inference protocol says"),
        ("/v2/models/tiny/infer", b'{"inputs": []}', 400, "one input, 'image'"),
        ("/v2/models/tiny", None, 200, '"anomaly_map"'),
        ("/v2/models/tiny/versions/1/ready", None, 200, "true"),
        ("/v2", None, 200, "binary_tensor_data"),
    ],
)
def test_answers(server: InferenceServer, path: str, body: bytes | None, status: int, words: str) -> None:
    found, said = ask(server.port, path, body)
    assert (found, words in said) == (status, True), said


def test_beyond_the_token_nothing_is_judged(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_TOKEN", "a-token-of-some-length")
    with InferenceServer([Bundle.open(tiny_bundle)], "0", engine="onnx") as server:
        assert ask(server.port, "/v2/models/tiny")[0] == 401
        assert ask(server.port, "/v2", Host="evil.example")[0] == 421
        with remote(tiny_bundle, server.port) as far:  # which shows it
            assert far(tiny.bad(1)).engine == "kserve/onnx"


def test_two_bundles_of_one_name_are_refused(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(UsageError, match="two bundles are called 'tiny'"):
        InferenceServer([bundle, bundle], "0", engine="onnx")


def test_what_waits_is_judged_together_and_one_bad_frame_costs_no_other(tiny_bundle: Path) -> None:
    sizes: list[int] = []
    begun, go_on = threading.Event(), threading.Event()
    with Detector(tiny_bundle, engine="onnx", threads=1) as detector:
        infer = detector.engine.infer

        def slow(images: list[np.ndarray]) -> list[object]:
            sizes.append(len(images))
            begun.set()
            go_on.wait(10)
            if any(image.size == 3 for image in images):
                raise EngineError("a bad frame")
            return infer(images)

        detector.batch, detector.engine.infer = 4, slow
        with Batcher(detector) as batcher:
            first = batcher.submit(IMAGES[0])
            assert begun.wait(10)
            others = [batcher.submit(image) for image in (*IMAGES[1:], np.zeros((1, 1, 3), np.uint8), IMAGES[0])]
            for _ in range(WAITING - len(others)):
                batcher.submit(IMAGES[0])
            with pytest.raises(EngineError, match="wait already"):
                batcher.submit(IMAGES[0])
            go_on.set()
            assert first.result(10).score == others[-1].result(10).score
            with pytest.raises(EngineError, match="a bad frame"):
                others[3].result(10)
            assert others[0].result(10).score > 0.6
    assert sizes[:2] == [1, 4]
    with pytest.raises(EngineError, match="ending"):
        batcher.submit(IMAGES[0])


def test_the_command_serves_until_it_is_told_to_end(tiny_bundle: Path, tmp_path: Path, parts: Path, edgead) -> None:
    port = free_port()
    command = [sys.executable, "-m", "edgead", "serve", tiny_bundle, "--address", port, "--engine", "onnx"]
    process = subprocess.Popen([*map(str, command)], cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        until(lambda: answers(port), 30)
        code, out, err = edgead("predict", tiny_bundle, parts, "--engine", f"kserve:127.0.0.1:{port}", "--json")
        assert code == 0, err
        assert {json.loads(line)["engine"] for line in out.splitlines()} == {"kserve/onnx"}
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert b"/v2/models/tiny" in err


def test_a_line_goes_on_when_its_server_has_died(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    server = InferenceServer([bundle], "0", engine="onnx", threads=1)
    with server, remote(bundle, server.port, deadline=300) as far:
        assert {result.engine for result in far.predict(IMAGES)} == {"kserve/onnx"}
        server.close()
        results = far.predict(IMAGES * 5)
    assert [result.engine for result in results] == ["openvino"] * 20
    assert "edgead kserve" not in threads()
    with Detector(bundle, engine="openvino") as near:
        assert all(same(one, other) for one, other in zip(results, near.predict(IMAGES * 5), strict=True))
