"""Frames in a camera's pool go to the GPU without a copy on the host, and their memory outlives engines."""

from __future__ import annotations

import gc
import logging
from pathlib import Path

import emulated
import msgspec
import numpy as np
import pytest
import tiny

from edgead import Bundle
from edgead.engines import load_engine
from edgead.engines.base import Engine
from edgead.frame_pool import FramePool

LEVEL = 1 / 255


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    bundle = Bundle.open(tiny_bundle)
    artifacts = tuple(msgspec.structs.replace(one, batches=(1, 4)) for one in bundle.manifest.artifacts)
    return Bundle(msgspec.structs.replace(bundle.manifest, artifacts=artifacts), bundle.members(), bundle.digest, None)


def lent(pool: FramePool, number: int) -> np.ndarray:
    image = tiny.bad(number, 60, 80)
    frame = pool.empty(image.shape)
    frame[...] = image
    return frame


def assert_alike(engine: Engine, reference: Engine, frames: list[np.ndarray]) -> None:
    for got, expected in zip(engine.infer(frames), reference.infer(frames), strict=True):
        np.testing.assert_allclose(got.anomaly_map, expected.anomaly_map, atol=LEVEL, rtol=0)
        assert got.score == pytest.approx(expected.score, abs=LEVEL)


@pytest.mark.parametrize("is_integrated", [False, True])
@pytest.mark.parametrize("count", [1, 3, 11])
def test_frames_of_a_pool_read_as_others_do(
    gpu_machine: emulated.Emulator, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, is_integrated: bool, count: int
) -> None:
    if is_integrated:
        monkeypatch.setenv("EMULATOR_INTEGRATED", "1")
    pool = FramePool(most=6)
    with load_engine(bundle, "tensorrt") as engine, load_engine(bundle, "onnx") as reference:
        for turn in range(6):  # blocks are used again, in another order
            assert_alike(engine, reference, [lent(pool, 100 * turn + number) for number in range(count)])
            assert_alike(engine, reference, [tiny.good(turn, 60, 80), lent(pool, turn)[::2], lent(pool, turn)])


def test_a_frame_of_a_pool_is_uploaded_from_where_it_lies(gpu_machine: emulated.Emulator, bundle: Bundle) -> None:
    pool, driver = FramePool(), gpu_machine.driver
    with load_engine(bundle, "tensorrt") as engine:
        slot = engine._batches._slots[0].frames  # type: ignore[attr-defined]
        for number in range(3):
            engine.infer([lent(pool, number)])
        uploads, launches = driver.emulator_counted(b"upload"), driver.emulator_launches()
        calls = driver.emulator_calls()
        engine.infer([lent(pool, 5)])
        calls = driver.emulator_calls() - calls
        assert slot._staged.places == [None]
        assert slot._staged.memory.size == 0
        assert driver.emulator_counted(b"upload") == uploads + 1
        assert driver.emulator_launches() == launches + 1
        assert calls == 5  # the context, the upload, the graph, the wait, and the context
        engine.infer([lent(pool, 6), tiny.good(1, 60, 80), lent(pool, 7)])
        assert [place is None for place in slot._staged.places] == [True, False, True]


def test_a_jetson_s_gpu_reads_a_frame_of_a_pool_where_it_lies(
    gpu_machine: emulated.Emulator, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMULATOR_INTEGRATED", "1")
    pool, driver = FramePool(most=2), gpu_machine.driver
    with load_engine(bundle, "tensorrt") as engine, load_engine(bundle, "onnx") as reference:
        uploads = driver.emulator_counted(b"upload")
        for number in range(8):
            frame = lent(pool, number)
            assert_alike(engine, reference, [frame])
            staged = engine._batches._slots[0].frames._staged  # type: ignore[attr-defined]
            assert staged.frames["pixels"][0] == frame.ctypes.data
            assert (staged.places, staged.is_apart) == ([None], False)
        calls = driver.emulator_calls()
        engine.infer([frame])
        assert driver.emulator_calls() - calls == 4
        assert driver.emulator_counted(b"upload") == uploads


def test_engines_share_what_is_locked_and_the_last_unlocks_it(gpu_machine: emulated.Emulator, bundle: Bundle) -> None:
    """As where a line changes its bundle: the new engine is there before the old one goes."""
    pool, reference = FramePool(most=1), load_engine(bundle, "onnx")
    first = load_engine(bundle, "tensorrt")
    frame = lent(pool, 1)
    assert_alike(first, reference, [frame])
    second = load_engine(bundle, "tensorrt")
    assert_alike(second, reference, [frame])
    first.close()
    assert_alike(second, reference, [frame])
    assert second._batches._slots[0].frames._staged.places == [None]  # type: ignore[attr-defined]
    second.close()
    assert gpu_machine.driver.emulator_left() == 0
    assert np.array_equal(frame, tiny.bad(1, 60, 80))  # and the memory is still the program's


def test_what_no_pool_has_any_more_is_unlocked(gpu_machine: emulated.Emulator, bundle: Bundle) -> None:
    with load_engine(bundle, "tensorrt") as engine:
        engine.infer([lent(FramePool(), 0)])
        left = []
        for number in range(5):  # a camera that is opened anew, with a pool of its own
            engine.infer([lent(FramePool(), number)])
            gc.collect()
            left.append(gpu_machine.driver.emulator_left())
        assert len(set(left)) == 1


def test_memory_that_cannot_be_locked_is_copied(
    gpu_machine: emulated.Emulator, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_machine.driver.emulator_fail_at(b"cuMemHostRegister_v2")
    caplog.set_level(logging.INFO)
    pool = FramePool()
    with load_engine(bundle, "tensorrt") as engine, load_engine(bundle, "onnx") as reference:
        for number in range(3):
            assert_alike(engine, reference, [lent(pool, number)])
    said = [record.getMessage() for record in caplog.records if "page-locked" in record.getMessage()]
    assert len(said) == 1
    gpu_machine.driver.emulator_fail_at(b"")
