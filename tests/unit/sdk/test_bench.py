"""`edgead bench` on the tiny bundle, and what of a machine is stored beside its figures, on drawn /proc and /sys."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import cv2
import pytest
import tiny
from lines import Brightness

from edgead import Bundle, Detector
from edgead import bench as module
from edgead.bench import BenchSettings, Replay, compare, differences, measure, measure_here, summarize, warnings
from edgead.errors import EngineError
from edgead.system.device import OtherWork, describe_device, describe_state, resident_mib

QUICK = BenchSettings(runs=12, warmup=2, seconds=0.5, threads=1, batches=(1, 3), cameras=(1, 2))


def die(*_: object) -> None:
    """Stands for an engine whose library crashes."""
    os._exit(9)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an Orin tells of itself, with a GPU that jetson_clocks has fixed, and nvpmodel."""
    root = tmp_path / "jetson"
    write(root / "proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0")
    write(root / "proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd asimddp\nprocessor\t: 1\n")
    write(root / "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3\nmore")
    for core, clock in ((0, 2201600), (1, 729600)):
        write(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", f"{clock}\n")
        write(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", "schedutil\n")
    for name in ("min", "cur", "max"):
        write(root / f"sys/class/devfreq/17000000.gpu/{name}_freq", "1300500000")
        write(root / f"sys/class/devfreq/15340000.vic/{name}_freq", "729600000")
    write(root / "sys/class/thermal/thermal_zone0/type", "cpu-thermal")
    write(root / "sys/class/thermal/thermal_zone0/temp", "48593")
    write(root / "sys/class/thermal/thermal_zone1/type", "broken")
    write(root / "sys/class/thermal/thermal_zone1/temp", "")
    program = tmp_path / "bin/nvpmodel"
    write(program, "#!/bin/sh\necho 'NV Power Mode: MODE_30W'\necho 2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return root


def test_a_board_tells_its_name_clocks_heat_and_power_mode(jetson: Path) -> None:
    device, state = describe_device(jetson), describe_state(jetson)
    assert device["board"] == "NVIDIA Jetson AGX Orin Developer Kit"
    assert device["jetson_linux"].startswith("R36 (release)")
    assert device["instructions"] == ["asimd", "asimddp"]
    assert state["cpu_mhz"] == [2201, 729]
    assert state["governors"] == ["schedutil"]
    assert (state["gpu_mhz"], state["gpu_clocks_fixed"]) == ([1300], [True])
    assert state["temperatures_c"] == {"cpu-thermal": 48.593}
    assert state["power_mode"] == "MODE_30W"
    assert json.dumps([device, state])


def test_a_machine_that_tells_nothing_is_described_all_the_same(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert describe_device(tmp_path)["cores"] >= 1
    assert describe_state(tmp_path).keys() == {"load"}


def test_this_machine_is_described() -> None:
    device = describe_device()
    assert device["processor"]
    assert {"edgead", "numpy", "onnxruntime"} <= device["versions"].keys()
    now, peak = resident_mib()
    assert 10 < now <= peak


def test_the_work_of_others_is_what_is_not_ones_own(tmp_path: Path) -> None:
    write(tmp_path / "proc/stat", "cpu  100 0 50 1000 20 0 0 30 0 0\n")
    others = OtherWork(tmp_path)
    write(tmp_path / "proc/stat", "cpu  170 0 50 1040 30 0 0 110 0 0\n")  # 150 at work, 50 idle or waiting
    assert others.share() == pytest.approx(0.75, abs=0.05)
    end = time.process_time() + 0.3
    own = OtherWork()
    while time.process_time() < end:
        pass
    assert 0 <= own.share() <= 1


def test_every_part_is_measured(tiny_bundle: Path) -> None:
    found = measure_here(tiny_bundle, "onnx", "fp32", QUICK)
    assert (found["engine"], found["precision"], found["frame"]) == ("onnx", "fp32", [64, 48])
    total = found["end_to_end_ms"]["total"]
    assert total["runs"] == QUICK.runs
    assert 0 < total["least"] <= total["p50"] <= total["p95"] <= total["p99"]
    stages = [found["end_to_end_ms"][name]["mean"] for name in ("preprocess", "network", "postprocess")]
    assert sum(stages) <= total["mean"] * 1.001
    assert found["images_a_second"]["batch"].keys() == {"1", "3"}
    assert found["images_a_second"]["cameras"].keys() == {"1", "2"}
    assert all(rate > 0 for rates in found["images_a_second"].values() for rate in rates.values())
    assert found["network_bytes"] == len(tiny.graph())
    assert found["memory_mib"]["peak"] > 10
    assert json.dumps(found)


def test_a_slow_engine_ends_when_its_time_is_over(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Brightness(0.005)
    monkeypatch.setattr(module, "Detector", lambda *_, **__: Detector(Bundle.open(tiny_bundle), engine=slow))
    start = time.monotonic()
    found = measure_here(
        tiny_bundle, "fake", "fp32", BenchSettings(runs=10**6, warmup=0, seconds=0.1, batches=(2,), cameras=(2,))
    )
    assert time.monotonic() - start < 10
    assert module.LEAST <= found["end_to_end_ms"]["total"]["runs"] < 100
    assert found["end_to_end_ms"]["total"]["least"] >= 5
    assert found["images_a_second"]["batch"]["2"] < 2 / 0.005
    assert found["images_a_second"]["cameras"]["2"] < 1 / 0.005


def test_an_engine_that_takes_its_process_with_it_is_said(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure_here", die)
    with pytest.raises(EngineError, match="onnx fp32 took its process with it"):
        measure(tiny_bundle, "onnx", "fp32", QUICK)


def test_percentiles_are_those_of_the_times() -> None:
    found = summarize([float(value) for value in range(1, 102)])
    assert (found["p50"], found["p95"], found["p99"], found["mean"], found["least"]) == (51, 96, 100, 51, 1)


def test_a_replay_ends_when_it_is_closed() -> None:
    source = Replay([tiny.good()], 50, 10)
    seen = []
    for frame in source:
        seen.append(frame.index)
        if frame.index == 4:
            source.close()
    assert seen == [0, 1, 2, 3, 4]


def test_the_command_stores_shows_and_compares(edgead, tmp_path: Path, tiny_bundle: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), tiny.good())
    quick = ("--runs", 10, "--seconds", 0.2, "--threads", 1)
    code, out, err = edgead("bench", tiny_bundle, *quick, "--frame", "320x240", "--out", "first.json")
    assert code == 0, err
    stored = json.loads((tmp_path / "first.json").read_text())
    assert stored["runs"][0]["frame"] == [320, 240]
    assert {"bundle", "device", "settings", "runs"} == stored.keys()
    for words in ("network alone", "end to end", "preprocess", "8 images at once", "4 cameras", "memory, loaded"):
        assert words in out
    code, out, err = edgead("bench", tiny_bundle, *quick, "--images", "a.png", "--json", "--compare", "first.json")
    assert code == 0
    assert json.loads(out)["runs"][0]["frame"] == [64, 48]
    assert "onnx fp32: end to end, ms" in err
    assert "not the same in both: settings" in err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ("--frame 0x5", 2, "takes a size such as 1920x1080"),
        ("--compare none.json", 2, "none.json cannot be read: No such file"),
        ("--compare notes.txt", 2, "holds no figures"),
        ("--out notes.txt", 2, "would be overwritten"),
        ("--engine onxx", 2, "unknown engine 'onxx'"),
        ("--precision int8 --runs 10", 1, "has no int8 network"),
        ("--images none.png", 1, "none.png"),
    ],
)
def test_a_mistake_is_one_sentence(
    edgead, tmp_path: Path, tiny_bundle: Path, arguments: str, code: int, sentence: str
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    got, out, err = edgead("bench", tiny_bundle, *arguments.split())
    assert (got, out) == (code, ""), err
    assert sentence in err
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_a_comparison_says(tiny_bundle: Path) -> None:
    run = {"engine": "onnx", "precision": "fp32", "network_ms": {"p50": 10.0}, "others": 0.0, "state": {"after": {}}}
    old = {"runs": [run], "device": {"processor": "a"}}
    new = {"runs": [run | {"network_ms": {"p50": 12.0}}, run | {"precision": "int8"}], "device": {"processor": "b"}}
    assert list(compare(new, old)) == [["onnx fp32: network, ms", "10.00", "12.00", "x 1.20 *"]]
    assert differences(new, old) == ["device.processor"]
    assert list(warnings(run)) == []
    busy = run | {"others": 0.5, "state": {"after": {"governors": ["powersave"]}}}
    assert [words.split(":")[0] for words in warnings(busy)] == [
        "other work took 50% of this machine while onnx fp32 was measured",
        "the clocks' governor is powersave",
    ]
