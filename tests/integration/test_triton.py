"""A Triton repository: its configuration as Triton reads it, its models in this process, and in a real Triton."""

from __future__ import annotations

from pathlib import Path

import component_tray
import numpy as np
import pytest
import tiny
import triton_backend

from edgead import Bundle, Detector
from edgead.errors import UsageError
from edgead.kserve.model import from_tensors
from edgead.tensorrt.metadata import EngineMetadata, Key, Port, encode
from edgead_tools.export.triton import TritonOptions, export_triton

IMAGES = [tiny.good(1), tiny.bad(2, 120, 90), tiny.bad(3, 32, 32)]


def test_a_repository_for_onnx_runtime(tiny_bundle: Path, tmp_path: Path, edgead) -> None:
    code, out, _ = edgead("export", tiny_bundle, "--triton", tmp_path / "models", "--batch", 4, "--instances", 3)
    assert code == 0
    assert str(tmp_path / "models/tiny") in out
    judge = triton_backend.read_config(tmp_path / "models/tiny/config.pbtxt")
    network = triton_backend.read_config(tmp_path / "models/tiny.network/config.pbtxt")
    assert (judge.name, judge.backend, judge.max_batch_size, judge.instance_group[0].count) == ("tiny", "python", 0, 3)
    assert [(port.name, list(port.dims)) for port in judge.input] == [("image", [-1, -1, 3])]
    assert [port.name for port in judge.output] == ["anomaly_map", "score", "calibrated_score", "about"]
    assert (network.platform, network.max_batch_size) == ("onnxruntime_onnx", 4)
    assert network.HasField("dynamic_batching")
    assert [(port.name, list(port.dims)) for port in network.output] == [("distance", [8, 8])]
    bundle = Bundle.open(tiny_bundle)
    assert (tmp_path / "models/tiny.network/1/model.onnx").read_bytes() == bundle.read("fp32.onnx")
    assert Bundle.open(tmp_path / "models/tiny/1/bundle.edgead").digest == bundle.digest


def test_a_repository_for_tensorrt(tiny_bundle: Path, tmp_path: Path) -> None:
    plan = tmp_path / "tiny.engine"
    plan.write_bytes(b"an engine")
    key = Key(network="", library="tensorrt", version="10.3", gpu="g", capability=87, cuda=12060, driver="",
              precision="fp16", batches=(1, 4))  # fmt: skip
    ports = (Port("image", True, "fp16", (-1, 3, 32, 32)), Port("distance", False, "fp32", (-1, 8, 8)))
    metadata = EngineMetadata(schema=1, key=key, sha256="", size=9, ports=ports, requested=(), layers=(),
                              beside_dla=(), seconds=1.0, edgead="0", is_tried=True)  # fmt: skip
    plan.with_suffix(".json").write_bytes(encode(metadata))
    bundle = Bundle.open(tiny_bundle)
    export_triton(bundle, tmp_path / "models", TritonOptions("tensorrt", plan=plan))
    network = triton_backend.read_config(tmp_path / "models/tiny.network/config.pbtxt")
    assert (network.platform, network.max_batch_size, network.instance_group[0].kind) == ("tensorrt_plan", 4, 1)
    assert (tmp_path / "models/tiny.network/1/model.plan").read_bytes() == b"an engine"
    judge = triton_backend.read_config(tmp_path / "models/tiny/config.pbtxt")
    assert {name: value.string_value for name, value in judge.parameters.items()} == {
        "network": "tiny.network", "engine": "tensorrt", "precision": "fp32", "half": "yes"}  # fmt: skip
    with pytest.raises(UsageError, match="goes with --plan"):
        export_triton(bundle, tmp_path / "models", TritonOptions("tensorrt"))
    with pytest.raises(UsageError, match="not 'caffe'"):
        export_triton(bundle, tmp_path / "models", TritonOptions("caffe"))
    plan.with_suffix(".json").write_text("{}")
    with pytest.raises(UsageError, match="says what the engine takes"):
        export_triton(bundle, tmp_path / "models", TritonOptions("tensorrt", plan=plan))


def test_the_models_judge_as_a_local_engine(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_triton(Bundle.open(tiny_bundle), tmp_path, TritonOptions("python", threads=1))
    repository = triton_backend.install(monkeypatch, tmp_path)
    with Detector(tiny_bundle, engine="onnx", threads=1) as near:
        for image in IMAGES:
            answer = repository.infer("tiny", {"image": image})
            assert not answer.has_error()
            tensors = {tensor.name(): tensor.as_numpy() for tensor in answer.tensors}
            reading, source = from_tensors(tensors, (8, 8))
            (local,) = near.engine.infer([image])
            assert reading.anomaly_map.tobytes() == local.anomaly_map.tobytes()
            assert reading.score == local.score
            assert tensors["calibrated_score"][0] == near(image).score
            assert source == (near.bundle.digest, "onnx", "fp32")


def test_components_and_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = component_tray.write(tmp_path / "tray.edgead")
    name = export_triton(bundle, tmp_path / "models", TritonOptions("python", threads=1))
    repository = triton_backend.install(monkeypatch, tmp_path / "models")
    image = component_tray.frame(component_tray.labels(3, 8))
    answer = repository.infer(name, {"image": image})
    shape = (bundle.manifest.fusion.height, bundle.manifest.fusion.width)
    reading, _ = from_tensors({tensor.name(): tensor.as_numpy() for tensor in answer.tensors}, shape)
    with Detector(bundle, engine="onnx") as near:
        (local,) = near.engine.infer([image])
    assert reading.score == local.score
    assert reading.branches.to_dict((48, 64)) == local.branches.to_dict((48, 64))
    refused = repository.infer(name, {"image": image.astype(np.float32)})
    assert "must be UINT8" in refused.error().message()
    broken = repository.infer(f"{name}.network", {"image": np.zeros((1, 3, 5, 5), np.float32)})
    assert broken.has_error()


@pytest.mark.slow
def test_a_real_triton_judges_as_a_local_engine(tiny_bundle: Path, tmp_path: Path) -> None:
    """The Python model, the requests between both models, and dynamic batching, in NVIDIA's server."""
    import threading

    bundle = Bundle.open(tiny_bundle)
    export_triton(bundle, tmp_path / "models", TritonOptions("python", threads=1))
    with (
        triton_backend.real_triton(tmp_path / "models", tmp_path) as (http, grpc),
        Detector(bundle, engine="onnx", threads=1) as near,
    ):
        expected = near.predict(IMAGES)
        wrong: list[str] = []

        def judge(place: str) -> None:
            with Detector(bundle, engine=f"kserve:{place}?deadline=10000", threads=1, precision="fp32") as far:
                for _ in range(20):
                    for one, other in zip(far.predict(IMAGES), expected, strict=True):
                        facts = [one.engine == "kserve/onnx", one.raw_score == other.raw_score]
                        if not all([*facts, one.grid_map.tobytes() == other.grid_map.tobytes()]):
                            wrong.append(f"{place}: {one.engine} {one.raw_score} {other.raw_score}")

        places = [f"127.0.0.1:{http}", f"grpc://127.0.0.1:{grpc}"] * 2
        threads = [threading.Thread(target=judge, args=(place,)) for place in places]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
