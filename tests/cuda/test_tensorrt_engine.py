"""The TensorRT engine judges as the ONNX engine does, on the emulated GPU and, with `-m gpu`, on this machine's own."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import component_tray
import emulated
import msgspec
import numpy as np
import onnx
import pytest
import tiny
from onnx import TensorProto, helper, numpy_helper

from edgead import Bundle, Detector
from edgead.bundle import FusionSpec, InputSpec, MapSpec, TileSpec
from edgead.cuda.context import Event
from edgead.cuda.frame_buffer import FrameBuffer
from edgead.cuda.graph import GraphCache
from edgead.engines import load_engine
from edgead.engines.base import Engine
from edgead.errors import AbsentError, DataError, EngineError
from edgead.tensorrt.library import open_library
from edgead.types import ImageU8, Reading

LEVEL = 1 / 255  # one gray level at the network's input, of which maps are means
BATCHES = (1, 2, 4)
COUNTED = (b"upload", b"download", b"launch", b"wait")  # as the emulated driver counts them, within graphs too


@pytest.fixture(params=["emulated", pytest.param("real", marks=pytest.mark.gpu)])
def machine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where there is TensorRT."""
    if request.param == "emulated":
        request.getfixturevalue("gpu_machine")
        return
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path_factory.getbasetemp() / "real"))  # one build for all tests
    try:
        open_library()
    except AbsentError as error:
        pytest.skip(str(error))


def batched(bundle: Bundle, batches: Sequence[int] = BATCHES, member: bytes | None = None) -> Bundle:
    """The bundle for those batches, with that network in place of its own."""
    artifacts = tuple(msgspec.structs.replace(one, batches=tuple(batches)) for one in bundle.manifest.artifacts)
    members = bundle.members() | ({} if member is None else {"fp32.onnx": member})
    return Bundle(msgspec.structs.replace(bundle.manifest, artifacts=artifacts), members, bundle.digest, None)


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return batched(Bundle.open(tiny_bundle))


@pytest.fixture
def engine(machine: None, bundle: Bundle) -> Iterator[Engine]:
    engine = load_engine(bundle, "tensorrt")
    yield engine
    engine.close()


def frames(count: int) -> list[ImageU8]:
    """Good and bad parts, of three sizes."""
    makers, sizes = (tiny.good, tiny.bad), ((48, 64), (120, 90), (64, 48))
    return [makers[index % 2](index, *sizes[index % 3]) for index in range(count)]


def assert_alike(got: Sequence[Reading], expected: Sequence[Reading], level: float = LEVEL) -> None:
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, atol=level, rtol=0)
        assert one.score == pytest.approx(other.score, abs=level)
        assert min(one.preprocess_ms, one.infer_ms, one.postprocess_ms) >= 0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 9])
def test_any_number_of_frames_reads_as_on_the_cpu(count: int, engine: Engine, bundle: Bundle) -> None:
    assert engine.batch == 4
    assert_alike(engine.infer(frames(count)), load_engine(bundle, "onnx", threads=1).infer(frames(count)))


def test_halves_go_in_and_out(machine: None, bundle: Bundle) -> None:
    engine = load_engine(batched(bundle, member=tiny.halves()), "tensorrt")
    assert_alike(engine.infer(frames(3)), load_engine(bundle, "onnx", threads=1).infer(frames(3)), 2 * LEVEL)
    engine.close()


@pytest.mark.parametrize("batches", [(1,), (4, 1), (3,)])
def test_components_are_counted_on_the_gpu(batches: tuple[int, ...], machine: None) -> None:
    bundle = component_tray.bundle()
    engine = load_engine(batched(bundle, batches), "tensorrt")
    parts = [component_tray.labels(bolt, nut) for bolt, nut in ((8, 8), (8, 4), (0, 8), (8, 8), (4, 0))]
    images = [component_tray.frame(part) for part in parts]
    expected = load_engine(bundle, "onnx", threads=1).infer(images)
    for one, other in zip(engine.infer(images), expected, strict=True):
        assert one.branches is not None
        assert other.branches is not None
        assert np.array_equal(one.branches.labels, other.branches.labels)
        assert one.branches.deviations == other.branches.deviations
        assert one.branches.logical == pytest.approx(other.branches.logical, rel=1e-4)
        assert one.score == pytest.approx(other.score, rel=1e-4)
    engine.close()


def test_class_logits_that_are_no_numbers_are_refused_as_on_the_cpu(machine: None) -> None:
    model = onnx.load_from_string(component_tray.graph())
    for node in model.graph.node:
        if node.output[0] == "components":
            node.op_type, node.name = "Sqrt", "root"  # no number below black
            node.input[0] = "above"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "level"))
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Sub", ["logits", "level"], ["above"]))
    bundle = component_tray.bundle(contents={"fp32.onnx": model.SerializeToString()})
    good, black = component_tray.frame(component_tray.labels(8, 8)), np.zeros((tiny.SIZE, tiny.SIZE, 3), np.uint8)
    for name in ("onnx", "tensorrt"):
        engine = load_engine(batched(bundle), name, threads=1)
        assert engine.infer([good])
        with pytest.raises(EngineError, match="a class logit is no number: the network fails on this frame"):
            engine.infer([good, black])
        assert engine.infer([good])
        engine.close()


def test_several_threads_may_call_it(engine: Engine, bundle: Bundle) -> None:
    images = frames(4)
    expected = load_engine(bundle, "onnx", threads=1).infer(images)
    failed: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for index in range(start, start + 6):
                assert_alike(engine.infer([images[index % 4]]), [expected[index % 4]])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_detector_says_what_judged(machine: None, bundle: Bundle) -> None:
    with Detector(bundle, engine="tensorrt") as detector:
        assert detector.batch == 4
        result = detector(tiny.bad())
        assert (result.engine, result.precision, str(result.verdict)) == ("tensorrt", "fp32", "NG")


def test_a_batch_is_one_graph_from_the_third_of_its_kind_on(gpu_machine: emulated.Emulator, bundle: Bundle) -> None:
    engine, driver = load_engine(bundle, "tensorrt"), gpu_machine.driver
    expected = load_engine(bundle, "onnx", threads=1).infer(frames(6))
    for launches in (0, 2, 2):  # 4 and 2
        before = driver.emulator_launches()
        assert_alike(engine.infer(frames(6)), expected)
        assert driver.emulator_launches() == before + launches
    engine.close()


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("has_components", [False, True])
def test_a_batch_takes_four_calls_and_one_copy_each_way(
    count: int, has_components: bool, gpu_machine: emulated.Emulator, tiny_bundle: Path
) -> None:
    """The context is made current and left again; between these, one graph is launched and waited for."""
    driver = gpu_machine.driver
    engine = load_engine(
        batched(component_tray.bundle() if has_components else Bundle.open(tiny_bundle), (1, 8)), "tensorrt"
    )
    images = [tiny.bad(index) for index in range(count)]
    for _ in range(2):
        engine.infer(images)
    before = {name: driver.emulator_counted(name) for name in COUNTED}
    calls = driver.emulator_calls()
    engine.infer(images)
    assert driver.emulator_calls() - calls == 4
    counted = {name.decode(): driver.emulator_counted(name) - before[name] for name in COUNTED}
    assert counted == {"upload": 1, "download": 1, "launch": 1, "wait": 1}
    engine.close()


def test_while_one_batch_is_on_the_gpu_the_next_is_copied_and_uploaded(
    gpu_machine: emulated.Emulator, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, images = load_engine(bundle, "tensorrt"), frames(13)
    happened: list[str] = []
    for owner, name in ((FrameBuffer, "stage"), (GraphCache, "run"), (Event, "synchronize")):
        original = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *given, original=original, name=name: (happened.append(name), original(*given))[1]
        )
    expected = load_engine(bundle, "onnx", threads=1).infer(images)
    for _ in range(3):
        happened.clear()
        assert_alike(engine.infer(images), expected)
        one = ["stage", "run"]  # of four batches: two are begun before the first is waited for
        assert happened == [*one, *one, "synchronize", *one, "synchronize", *one, "synchronize", "synchronize"]
    with Detector(bundle, engine=engine) as detector:
        happened.clear()
        results = detector.predict(images)  # eight, and the rest
        assert [result.raw_score for result in results] == pytest.approx([one.score for one in expected], abs=LEVEL)
        assert happened[:6] == [*one, *one, "synchronize", "synchronize"]


def test_a_batch_that_fails_while_another_is_under_way_leaves_the_engine_usable(
    gpu_machine: emulated.Emulator, bundle: Bundle
) -> None:
    engine, images = load_engine(bundle, "tensorrt"), frames(9)
    expected = load_engine(bundle, "onnx", threads=1).infer(images)
    with pytest.raises(DataError, match="cannot have the shape"):
        engine.infer([*images[:6], np.zeros((4, 4), np.uint8)])
    for _ in range(3):
        assert_alike(engine.infer(images), expected)
    engine.close()


def test_an_integrated_gpu_reads_frames_where_they_are_staged(
    gpu_machine: emulated.Emulator, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Jetson, whose GPU has the host's memory."""
    monkeypatch.setenv("EMULATOR_INTEGRATED", "1")
    engine, driver, images = load_engine(bundle, "tensorrt"), gpu_machine.driver, frames(11)
    expected = load_engine(bundle, "onnx", threads=1).infer(images)
    before = driver.emulator_counted(b"upload")
    for count in (11, 11, 11, 2, 2, 2):
        assert_alike(engine.infer(images[:count]), expected[:count])
    assert driver.emulator_counted(b"upload") == before
    engine.close()


def test_frames_that_outgrow_the_memory_are_not_read_by_an_old_graph(
    gpu_machine: emulated.Emulator, bundle: Bundle
) -> None:
    engine = load_engine(bundle, "tensorrt")
    reference = load_engine(bundle, "onnx", threads=1)
    small, large = [tiny.bad(1, 48, 64)], [tiny.bad(2, 300, 400)]
    for images in (small, small, small, large, small, large, small, large):
        assert_alike(engine.infer(images), reference.infer(images))
    engine.close()


def test_without_graphs_it_judges_all_the_same(
    gpu_machine: emulated.Emulator, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_machine.driver.emulator_fail_at(b"cuStreamBeginCapture_v2")
    engine = load_engine(bundle, "tensorrt")
    for _ in range(2):
        assert_alike(engine.infer(frames(5)), load_engine(bundle, "onnx", threads=1).infer(frames(5)))
    said = [record.getMessage() for record in caplog.records if "CUDA graph" in record.getMessage()]
    assert len(said) == 1
    engine.close()


def test_memory_stays_as_it_was(gpu_machine: emulated.Emulator, bundle: Bundle) -> None:
    engine = load_engine(bundle, "tensorrt")
    for count in 2 * (4, 1, 3, 2):
        engine.infer(frames(count))
    left = gpu_machine.driver.emulator_left()
    for count in (4, 1, 3, 2):
        engine.infer(frames(count))
    assert gpu_machine.driver.emulator_left() == left
    engine.close()


def test_a_failing_call_is_an_error_and_the_engine_can_be_closed(
    gpu_machine: emulated.Emulator, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_machine.driver.emulator_fail_at(b"cuStreamBeginCapture_v2")  # without graphs TensorRT is asked every time
    engine = load_engine(bundle, "tensorrt")
    monkeypatch.setenv("FAKE_TENSORRT", "fail")
    with pytest.raises(EngineError, match="told to fail"):
        engine.infer(frames(1))
    monkeypatch.delenv("FAKE_TENSORRT")
    gpu_machine.driver.emulator_fail_at(b"cuStreamSynchronize")
    with pytest.raises(EngineError, match="Emulated GPU failed"):
        engine.infer(frames(1))
    gpu_machine.driver.emulator_fail_at(b"")
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(frames(1))


def test_whatever_fails_at_the_start_leaves_nothing(
    gpu_machine: emulated.Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    bare = batched(Bundle(tiny.manifest(), {"fp32.onnx": tiny.graph()}, "0" * 64, None), (1, 2))
    load_engine(bare, "tensorrt").close()  # the engine is in the cache
    caplog.set_level(logging.CRITICAL)
    driver, failures = gpu_machine.driver, 0
    for call in range(1, 1000):
        driver.emulator_fail(call)
        try:
            load_engine(bare, "tensorrt").close()
        except EngineError:
            failures += 1
        assert (driver.emulator_left(), driver.emulator_depth()) == (0, 0), f"call {call}"
        if driver.emulator_pending():
            break
    assert failures == call - 1 > 20
    driver.emulator_fail(0)


def test_one_that_nobody_closed_gives_all_back(gpu_machine: emulated.Emulator, bundle: Bundle) -> None:
    engine = load_engine(bundle, "tensorrt")
    engine.infer(frames(1))
    assert gpu_machine.driver.emulator_left() > 0
    del engine
    gc.collect()
    assert gpu_machine.driver.emulator_left() == 0


def test_its_engine_may_be_loaded_twice(machine: None, bundle: Bundle) -> None:
    first, second = load_engine(bundle, "tensorrt"), load_engine(bundle, "tensorrt")
    first.close()
    assert second.infer(frames(1))
    second.close()


@pytest.mark.parametrize(
    ("network", "match"),
    [
        (tiny.graph(output="other"), "has no 'distance'"),
        (tiny.graph(rank=4), "'distance' is tensor"),
        (tiny.graph(kind=TensorProto.INT32), "'distance' is tensor"),
        (tiny.graph(size=64), "'image' is tensor"),
    ],
)
def test_a_network_outside_the_contract_is_refused(machine: None, bundle: Bundle, network: bytes, match: str) -> None:
    with pytest.raises(EngineError, match=match):
        load_engine(batched(bundle, member=network), "tensorrt")


def test_frames_in_tiles_read_as_on_the_cpu(machine: None, tmp_path: Path) -> None:
    tiles = TileSpec(rows=2, columns=3, overlap=8)
    source = InputSpec(height=32, width=32, scale=(1 / 255,) * 3, offset=(0.0,) * 3, tiles=tiles)
    fusion = FusionSpec(maps=(MapSpec(name="distance"),), height=14, width=20)
    bundle = batched(tiny.write_tiny(tmp_path / "tiles.edgead", input=source, fusion=fusion), (1, 2))
    engine = load_engine(bundle, "tensorrt")
    assert engine.batch == 2
    images = [*frames(3), tiny.bad(5, 448, 640)]
    assert_alike(engine.infer(images), load_engine(bundle, "onnx", threads=1).infer(images))
    engine.close()
