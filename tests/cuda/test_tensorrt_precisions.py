"""From the recipe of a Jetson to its engine: INT8, FP16 and FP32 of one network, each as the recipe left it."""

from __future__ import annotations

import emulated
import msgspec
import numpy as np
import pytest
import twins

from edgead import Bundle, Detector
from edgead.progress import Reporter
from edgead_calibration.gate import Tolerances
from edgead_calibration.precisions import add_precisions
from edgead_calibration.recipe import load_recipe

LOOSE = Tolerances(map_largest=3.0, spearman=0.95, auroc=0.02)  # for random weights on few cells


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    recipe = msgspec.structs.replace(load_recipe("jetson-orin"), tolerances=LOOSE)
    manifest, members, _ = add_precisions(twins.bundle(twins.network()), twins.frames(), recipe, Reporter())
    return Bundle(manifest, members, "0" * 64, None)


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_each_precision_reproduces_its_golden_frames(
    precision: str, bundle: Bundle, gpu_machine: emulated.Emulator
) -> None:
    with Detector(bundle, engine="tensorrt", precision=precision) as detector:
        assert detector.batch == max(detector.artifact.batches) > 1
        images = twins.parts(detector.batch + 1, 7)
        together = detector.engine.infer(images)
        for image, reading in zip(images, together, strict=True):
            np.testing.assert_allclose(
                reading.anomaly_map, detector.read(image).anomaly_map, atol=1e-3 * reading.anomaly_map.max()
            )
        assert (detector.engine.name, detector.engine.precision) == ("tensorrt", precision)


def test_layers_in_another_precision_than_asked_for_are_refused(
    bundle: Bundle, gpu_machine: emulated.Emulator, tmp_path, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    monkeypatch.setenv("FAKE_TENSORRT", "fp32")
    with Detector(bundle, engine="tensorrt") as detector:
        assert detector.engine.precision == "fp32"
    said = [record.getMessage() for record in caplog.records if "does not use" in record.getMessage()]
    assert [line.partition(":")[0] for line in said] == [
        "tensorrt does not use the int8 network",
        "tensorrt does not use the fp16 network",
    ]
    assert "runs in fp32, not int8" in said[0]
