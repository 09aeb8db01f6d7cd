"""`edgead compile` for other machines: TensorRT for RTX builds a bundle's engines ahead of time, without a GPU."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import object_scenes
import pytest
import rtx
from programs import until

from edgead import Bundle
from edgead.errors import EngineError
from edgead.tensorrt.cache import Cache
from edgead.tensorrt.metadata import decode
from edgead.tensorrt.prepare import key_of, prepare

WORK = """
import sys, time
from pathlib import Path
from edgead import Bundle
from edgead.tensorrt import prepare as module
from edgead.tensorrt.cache import Cache
from edgead.tensorrt.library import open_library

bundle, folder, seconds = Bundle.open(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
library, artifact, build = open_library("tensorrt-rtx"), bundle.manifest.artifact(), module.build

def slow(*arguments):
    print("building", flush=True)
    time.sleep(seconds)
    return build(*arguments)

module.build = slow
key = module.key_of(library, bundle, artifact, capability=89)
print(module.prepare(library, bundle, artifact, key, cache=Cache(folder)).metadata.sha256)
"""


def start(bundle: Path, folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that takes so long to build an engine."""
    command = [sys.executable, "-c", WORK, str(bundle), str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def tensorrt_rtx() -> Any:
    return rtx.library()


def ahead(library: Any, bundle: Path, folder: Path, capability: int = 89) -> Path:
    """Prepare the engine of a bundle's first network; gives its path."""
    opened = Bundle.open(bundle)
    artifact = opened.manifest.artifact()
    key, cache = key_of(library, opened, artifact, capability=capability), Cache(folder)
    prepared = prepare(library, opened, artifact, key, cache=cache)
    assert cache.path(key).read_bytes() == prepared.engine
    return cache.path(key)


def test_an_engine_and_its_card_are_written_where_they_were_asked_for(
    edgead: Any, tensorrt_rtx: Any, tiny_bundle: Path, tmp_path: Path
) -> None:
    code, out, _ = edgead("compile", tiny_bundle, "--target", "sm_86", "--batch", 4, "--batch", 1, "--json")
    assert code == 0
    told = json.loads(out)
    engine = tmp_path / told["engine"]
    card = decode(engine.with_suffix(".json").read_bytes())
    assert engine.parent == tmp_path / "engines"
    assert engine.name.startswith(f"{card.key.network[:12]}-fp32-sm_86-")
    assert card.sha256 == hashlib.sha256(engine.read_bytes()).hexdigest()
    assert (card.key.capability, card.batches, card.key.gpu, card.is_tried) == (86, (1, 4), "", False)
    assert {port.name: (port.is_input, port.dtype, port.shape) for port in card.ports} == {
        "image": (True, "fp32", (-1, 3, 32, 32)),
        "distance": (False, "fp32", (-1, 8, 8)),
    }
    before = engine.stat().st_mtime_ns
    code, out, _ = edgead("compile", tiny_bundle, "--target", "sm_86", "--batch", 1, "--batch", 4)
    assert (code, "fp32 for sm_86 by tensorrt-rtx" in out) == (0, True)
    assert engine.stat().st_mtime_ns == before  # it was there


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ("--target orin", 2, "no GPU is called 'orin'"),
        ("--target sm_87", 3, "builds for sm_75, sm_80, sm_86, sm_89, sm_120, sm_121, not for sm_87"),
        ("--target sm_89 --precision int8", 1, "has no int8 network"),
        ("--target sm_89 --dla", 2, "leave out --target"),
        ("--out elsewhere", 2, "give it with --target"),
        ("--target sm_89 --out /proc/engines", 2, "the folder /proc/engines cannot be made"),
        ("--via torch-tensorrt", 2, "together with --program"),
        ("--program x.pt2", 2, "together with --program"),
        ("--via tvm", 2, "--via is onnx"),
        ("--batch 33", 2, "Invalid value for '--batch'"),
    ],
)
def test_a_mistake_is_one_sentence(
    edgead: Any, tensorrt_rtx: Any, tiny_bundle: Path, tmp_path: Path, options: str, code: int, sentence: str
) -> None:
    got, out, err = edgead("compile", tiny_bundle, *options.split())
    assert (got, out) == (code, "")
    assert sentence in err
    assert not list(tmp_path.iterdir())


def test_a_bundle_that_no_gpu_can_judge_is_refused_before_anything_is_built(edgead: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "scenes.edgead"
    object_scenes.write(bundle)
    for options in ((), ("--target", "sm_89")):
        code, out, err = edgead("compile", bundle, *options)
        assert (code, out) == (3, "")
        assert "objects are matched by the engines of the CPU alone: use --engine onnx or openvino" in err
    assert [path.name for path in tmp_path.iterdir()] == ["scenes.edgead"]


def test_one_network_that_cannot_be_built_does_not_keep_the_others(
    edgead: Any, tensorrt_rtx: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise EngineError("TensorRT cannot build the network: it is told not to")

    monkeypatch.setattr("edgead.tensorrt.prepare.build", refuse)
    code, out, err = edgead("compile", tiny_bundle, "--target", "sm_89")
    assert (code, out) == (3, "")
    assert "fp32: TensorRT cannot build the network: it is told not to" in err


def test_a_build_that_is_killed_leaves_nothing_in_the_way(tensorrt_rtx: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    with start(tiny_bundle, tmp_path, 60.0) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "building\n"
        killed.send_signal(signal.SIGKILL)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    engine = ahead(tensorrt_rtx, tiny_bundle, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".lock", ".engine", ".json"}
    assert engine.stat().st_size > 0


def test_two_processes_at_once_build_an_engine_once(tensorrt_rtx: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    with start(tiny_bundle, tmp_path, 3.0) as first:
        until(lambda: any(tmp_path.iterdir()))
        with start(tiny_bundle, tmp_path, 0.0) as second:
            outputs = [process.communicate(timeout=60) for process in (first, second)]
    lines = [out.splitlines() for out, _ in outputs]
    assert sorted(map(len, lines)) == [1, 2]  # one of them built
    assert lines[0][-1] == lines[1][-1]
    assert sum("another process builds this engine" in err for _, err in outputs) <= 1


@pytest.mark.parametrize("suffix", [".engine", ".json"])
@pytest.mark.parametrize("harm", ["altered", "cut", "empty", "gone", "another's"])
def test_a_file_that_is_not_as_it_was_written_is_not_used(
    tensorrt_rtx: Any,
    tiny_bundle: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    suffix: str,
    harm: str,
) -> None:
    engine = ahead(tensorrt_rtx, tiny_bundle, tmp_path)
    other = ahead(tensorrt_rtx, tiny_bundle, tmp_path, 86)
    victim = engine.with_suffix(suffix)
    whole = victim.read_bytes()
    if harm == "gone":
        victim.unlink()
    else:
        half = len(whole) // 2
        altered = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
        if suffix == ".json":
            altered = whole.replace(b'"capability": 89', b'"capability": 75')
        others = other.with_suffix(suffix).read_bytes()
        victim.write_bytes({"altered": altered, "cut": whole[:-5], "empty": b"", "another's": others}[harm])
    again = ahead(tensorrt_rtx, tiny_bundle, tmp_path)
    card = decode(again.with_suffix(".json").read_bytes())
    assert card.sha256 == hashlib.sha256(again.read_bytes()).hexdigest()
    if harm != "gone":
        assert "is built anew" in caplog.text
