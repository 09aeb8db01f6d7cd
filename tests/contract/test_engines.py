"""What every engine of the table must keep."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny
from onnx import TensorProto

from edgead import Bundle, Detector
from edgead.engines import ENGINES, is_here, load_engine, local_engines
from edgead.engines.base import Engine
from edgead.errors import AbsentError, BundleError, EngineError
from edgead.registry import Lazy
from edgead.serving.server import InferenceServer
from edgead.verify import verify


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Over every own engine, or the one of --engine, which another package may have."""
    if "engine_name" in metafunc.fixturenames:
        given = metafunc.config.getoption("--engine")
        metafunc.parametrize("engine_name", [given] if given else sorted(ENGINES.builtin), indirect=True)


@pytest.fixture
def engine_name(request: pytest.FixtureRequest) -> str:
    if request.param == "tensorrt":
        request.getfixturevalue("gpu_machine")
    if request.param == "kserve":
        return f"kserve:127.0.0.1:{request.getfixturevalue('inference_server').port}"
    return request.param


@pytest.fixture(scope="module")
def inference_server(tiny_bundle: Path) -> Iterator[InferenceServer]:
    with InferenceServer([Bundle.open(tiny_bundle)], "0", engine="onnx", threads=1) as server:
        yield server


@pytest.fixture
def engine(engine_name: str, tiny_bundle: Path) -> Iterator[Engine]:
    engine = load_engine(Bundle.open(tiny_bundle), engine_name, threads=1)
    yield engine
    engine.close()


def broken(network: bytes) -> Bundle:
    """A bundle in memory whose network is `network`."""
    return Bundle(tiny.manifest(), {"fp32.onnx": network}, "0" * 64, None)


def test_readings_are_what_the_protocol_says(engine: Engine, engine_name: str) -> None:
    images = [tiny.good(1), tiny.bad(2, 120, 90), tiny.good(3)]
    readings = engine.infer(images)
    assert [r.anomaly_map.shape for r in readings] == [(8, 8)] * 3
    assert {r.anomaly_map.dtype for r in readings} == {np.dtype(np.float32)}
    assert all(type(r.score) is float and min(r.preprocess_ms, r.infer_ms, r.postprocess_ms) >= 0 for r in readings)
    assert [r.score > 0.6 for r in readings] == [False, True, False]
    assert (engine.name, engine.precision) == (engine_name.partition(":")[0], "fp32")
    assert engine.infer([]) == []


def test_arrays_are_the_callers_to_keep(engine: Engine) -> None:
    first = engine.infer([tiny.bad(1)])[0]
    kept = first.anomaly_map.copy()
    second = engine.infer([tiny.good(2)])[0]
    assert np.array_equal(first.anomaly_map, kept)
    assert not np.shares_memory(first.anomaly_map, second.anomaly_map)
    first.anomaly_map[:] = 7
    assert engine.infer([tiny.good(2)])[0].score == second.score


def test_frames_are_not_written_to(engine: Engine) -> None:
    frame = tiny.bad(1, 32, 32)
    before = frame.copy()
    frame.flags.writeable = False
    engine.infer([frame])
    assert np.array_equal(frame, before)


def test_close_twice_and_not_again(engine: Engine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer([tiny.good()])


def test_golden_frames_are_reproduced(engine_name: str, tiny_bundle: Path) -> None:
    with Detector(tiny_bundle, engine=engine_name) as detector:
        assert [check.passed for check in verify(detector.bundle, detector)] == [True, True]


def test_an_engine_says_what_it_is(engine: Engine, engine_name: str) -> None:
    assert isinstance(engine, Engine)
    assert type(engine).available()
    assert engine.batch >= 1
    assert is_here(Bundle(tiny.manifest(), {}, "0" * 64, None), engine_name, "fp32")  # without its network


def test_many_threads_share_a_detector(engine_name: str, tiny_bundle: Path) -> None:
    rounds = 2 if engine_name == "tensorrt" else 60  # the emulated GPU takes its time
    images = [tiny.bad(index, 40, 40) if index % 2 else tiny.good(index, 40, 40) for index in range(8)]
    with Detector(tiny_bundle, engine=engine_name, threads=1) as detector:
        expected = [detector(image) for image in images]
        wrong: list[str] = []

        def judge(start: int) -> None:
            for step in range(rounds):
                index = (start + step) % len(images)
                result, right = detector(images[index]), expected[index]
                if result.raw_score != right.raw_score or not np.array_equal(result.grid_map, right.grid_map):
                    wrong.append(f"{index}: {result.raw_score} in place of {right.raw_score}")

        threads = [threading.Thread(target=judge, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [result.is_anomalous for result in expected] == [False, True] * 4
    assert wrong == []


BROKEN = {
    "shared object": "raise ImportError('libhardware.so.7: cannot open shared object file')",
    "at import": "raise RuntimeError('no such instruction set')",
    "type": "raise TypeError('a factory is not callable')",
    "own module": "import json.surely_absent",
    "factory": "class Engine:\n    def __init__(self, *arguments): None.compile()",
    "name": "Other = 1",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_engine_costs_a_line_and_no_more(
    fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken_engine.py").write_text(BROKEN[fault])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_engine", raising=False)
    monkeypatch.setattr("edgead.engines.ENGINES", {"new": Lazy("broken_engine:Engine"), **ENGINES})
    with Detector(tiny_bundle) as detector:
        assert detector.engine.name == "openvino"
    assert [record.message for record in caplog.records] == [
        message for message in caplog.messages if message.startswith("openvino judges 'tiny', since new ")
    ]
    with pytest.raises(EngineError, match=r"new .* does not work.*: .*; install it again") as caught:
        load_engine(Bundle.open(tiny_bundle), "new")
    assert not isinstance(caught.value, AbsentError)


@pytest.mark.parametrize("network", [b"", b"no onnx", tiny.graph()[:200]], ids=["empty", "text", "cut"])
def test_a_damaged_network_is_an_engine_error(engine_name: str, network: bytes) -> None:
    with pytest.raises(EngineError):
        load_engine(broken(network), engine_name)


@pytest.mark.parametrize(
    ("network", "match"),
    [
        (tiny.graph(output="other"), "has no 'distance'"),
        (tiny.graph(rank=4), "'distance' is tensor"),
        (tiny.graph(kind=TensorProto.INT32), "'distance' is tensor"),
        (tiny.graph(size=64), "'image' is tensor"),
    ],
    ids=["name", "rank", "type", "size"],
)
def test_a_graph_outside_the_contract_is_an_engine_error(engine_name: str, network: bytes, match: str) -> None:
    with pytest.raises(EngineError, match=match):
        load_engine(broken(network), engine_name)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_graph_that_gives_halves_is_none_for_a_cpu(name: str) -> None:
    with pytest.raises(EngineError, match="'distance' is tensor"):
        load_engine(broken(tiny.graph(kind=TensorProto.FLOAT16)), name)


def test_auto_gives_every_engines_reason(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> None:
    table = {"first": Lazy("surely_absent:Engine", package="first"), **ENGINES}
    monkeypatch.setattr("edgead.engines.ENGINES", table)
    assert load_engine(Bundle.open(tiny_bundle)).name == "openvino"  # there is no GPU
    reasons = "; ".join(
        [
            "first needs the package surely_absent: pip install first",
            *(f"{name}: .*" for name in local_engines() if name != "first"),
        ]
    )
    with pytest.raises(EngineError, match=reasons):
        load_engine(broken(b"no onnx"))


def test_an_artifact_of_one_engine_is_for_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.manifest().artifacts[0]
    int8 = msgspec.structs.replace(network, precision="int8", engine="onnx")
    bundle = Bundle(tiny.manifest(artifacts=(int8, network)), {"fp32.onnx": tiny.graph()}, "0" * 64, None)
    assert load_engine(bundle, "onnx").precision == "int8"
    assert load_engine(bundle, "onnx", "fp32").precision == "fp32"
    assert load_engine(bundle, "auto", "int8").name == "onnx"
    monkeypatch.setitem(ENGINES.builtin, "other", ENGINES["onnx"])
    monkeypatch.setattr("edgead.engines.onnx.OnnxEngine.name", "other")
    assert load_engine(bundle, "other").precision == "fp32"
    with pytest.raises(EngineError, match="no int8 network for other; it has one for onnx"):
        load_engine(bundle, "other", "int8")
    with pytest.raises(BundleError, match="no fp16 network; it has int8, fp32"):
        load_engine(bundle, "auto", "fp16")
