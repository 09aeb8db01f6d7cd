"""An engine before it is loaded: built once, tried in another process, kept, and built anew when anything changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import emulated
import msgspec
import pytest
import twins

from edgead import Bundle
from edgead.bundle import Artifact
from edgead.cuda.context import CudaContext
from edgead.errors import EdgeadError, EngineError
from edgead.ops import to_input
from edgead.tensorrt import prepare as module
from edgead.tensorrt.cache import Cache, engine_summary
from edgead.tensorrt.library import Library, open_library
from edgead.tensorrt.metadata import BuildOptions, Prepared, encode
from edgead.tensorrt.prepare import key_of, prepare, prepare_here
from edgead_calibration import networks
from edgead_calibration.recipe import Int8


class Place:
    """A bundle, a GPU and a cache; engines are built, tried and kept as on a device."""

    def __init__(self, gpu: CudaContext, bundle: Bundle, folder: Path) -> None:
        self.gpu, self.bundle, self.cache = gpu, bundle, Cache(folder)
        self.progress: list[tuple[int, int]] = []

    @property
    def library(self) -> Library:
        return open_library("tensorrt")

    @property
    def artifact(self) -> Artifact:
        return self.bundle.manifest.artifact()

    def prepare(self, **changes: Any) -> Prepared:
        key = msgspec.structs.replace(key_of(self.library, self.bundle, self.artifact, self.gpu), **changes)
        return prepare(
            self.library,
            self.bundle,
            self.artifact,
            key,
            self.gpu,
            cache=self.cache,
            on_progress=lambda done, total: self.progress.append((done, total)),
        )

    def files(self) -> list[str]:
        return sorted(path.suffix for path in self.cache.folder.iterdir())


@pytest.fixture
def place(
    emulator: emulated.Emulator, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    with emulated.tensorrt(monkeypatch), emulator.installed(monkeypatch):
        gpu = CudaContext()
        yield Place(gpu, Bundle.open(tiny_bundle), tmp_path / "engines")
        gpu.close()


def built(caplog: pytest.LogCaptureFixture) -> int:
    """How many engines were built since the last time."""
    count = sum(record.message.startswith("building the") for record in caplog.records)
    caplog.clear()
    return count


def test_an_engine_is_built_once_tried_and_kept(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    first = place.prepare()
    assert "building the fp32 engine for Emulated GPU: it takes minutes, once" in caplog.text
    assert place.progress[-1][0] == place.progress[-1][1] > 0
    assert built(caplog) == 1
    metadata = first.metadata
    assert metadata.is_tried
    assert (metadata.key.gpu, metadata.key.capability, metadata.key.cuda) == ("Emulated GPU", 87, 13000)
    assert place.files() == [".cache", ".engine", ".json", ".lock"]
    assert place.cache.path(metadata.key).read_bytes() == first.engine
    assert place.prepare() == first
    assert built(caplog) == 0


def test_layers_are_the_inspectors_word(place: Place) -> None:
    kinds = {layer.kind for layer in place.prepare().metadata.layers}
    assert "Pooling" in kinds


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"driver": "580.65.06"}, "driver 570.1 is now 580.65.06"),
        ({"cuda": 13010}, "cuda 13000 is now 13010"),
    ],
)
def test_a_changed_driver_means_a_new_engine_and_a_line(
    place: Place, caplog: pytest.LogCaptureFixture, change: dict[str, Any], said: str
) -> None:
    old = place.prepare(driver="570.1").metadata.key
    built(caplog)
    new = place.prepare(**({"driver": "570.1"} | change)).metadata.key
    assert said in caplog.text
    assert built(caplog) == 1
    assert not place.cache.path(old).exists()
    assert place.cache.path(new).exists()


def test_another_version_of_the_library_means_a_new_engine(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", "10.3.0")
    place.prepare()
    built(caplog)
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", "10.13.2")
    place.prepare()
    assert "version 10.3.0 is now 10.13.2" in caplog.text
    assert built(caplog) == 1


@pytest.mark.parametrize("change", [{"gpu": "Other GPU"}, {"batches": (1, 2)}, {"dla": True}])
def test_what_the_same_machine_may_still_use_stays(
    place: Place, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    keys = [place.prepare().metadata.key, place.prepare(**change).metadata.key]
    assert built(caplog) == 2
    assert all(place.cache.path(key).exists() for key in keys)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("crash", r"crashed on deserializing the engine \(SIGSEGV\)"),
        ("refuse", "cannot build the network: the builder was told to refuse"),
    ],
)
def test_an_engine_that_does_not_load_is_not_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch, fault: str, sentence: str
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", fault)
    with pytest.raises(EngineError, match=sentence):
        place.prepare()
    assert ".engine" not in place.files()


def test_an_engine_made_elsewhere_is_tried_before_it_is_used(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = place.prepare()
    place.cache.store(Prepared(made.engine, msgspec.structs.replace(made.metadata, is_tried=False)))
    built(caplog)
    assert place.prepare() == made
    assert built(caplog) == 0
    # of another version behind a name and a digest that fit: only deserializing shows it
    place.cache.store(Prepared(made.engine, msgspec.structs.replace(made.metadata, is_tried=False)))
    monkeypatch.setattr(module, "try_engine", refuse_once(module.try_engine))
    again = place.prepare()
    took = msgspec.structs.replace(again.metadata, seconds=made.metadata.seconds)  # on a busy machine more
    assert Prepared(again.engine, took) == made
    assert "is built anew: TensorRT 10.13 does not deserialize the engine" in caplog.text
    assert built(caplog) == 1


def refuse_once(real: Any) -> Any:
    refused = []

    def trial(library: Library, engine: bytes, device: int) -> Any:
        if not refused:
            refused.append(engine)
            raise EngineError("TensorRT 10.13 does not deserialize the engine: it is another's")
        return real(library, engine, device)

    return trial


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_precision_that_did_not_happen_is_refused_with_the_layers(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    inputs = [to_input(image, twins.SPEC)[None] for image in twins.parts(8, 100)]
    network = twins.network()
    maker = networks.int8(network, inputs, Int8(form="tensorrt"))
    if precision == "fp16":
        maker = networks.fp16(network, inputs)
    monkeypatch.setattr(Bundle, "read", lambda *_: maker.make(()))
    assert place.prepare(precision=precision, network="0" * 64).metadata.products[precision] > 0
    monkeypatch.setenv("FAKE_TENSORRT", "fp32")
    with pytest.raises(EngineError, match=rf"not what its network asks for: \S+ runs in fp32, not {precision};.*more"):
        place.prepare(precision=precision, network="1" * 64)


def test_a_full_disk_costs_the_cache_and_not_the_engine(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise EdgeadError("x.engine cannot be written: No space left on device; the old file, if any, is unchanged")

    monkeypatch.setattr("edgead.tensorrt.cache.write_file", full)
    assert place.prepare().metadata.is_tried
    assert "cannot be stored and will be built again at the next start: x.engine cannot be written" in caplog.text
    assert place.files() == [".lock"]


def test_a_cache_that_cannot_be_made_costs_the_cache_and_not_the_engine(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.cache.folder.parent.mkdir(exist_ok=True)
    place.cache.folder.write_text("a file")
    assert prepare_here(place.library, place.bundle, place.artifact, place.gpu, place.cache).metadata.is_tried
    assert "set EDGEAD_CACHE to a folder that can be written" in caplog.text
    assert "will be built again at the next start" in caplog.text
    assert place.cache.folder.read_text() == "a file"


@pytest.mark.parametrize("kept", [b"timings of another", b""])
def test_timings_make_the_next_build_faster_and_harm_none(place: Place, kept: bytes) -> None:
    key = place.prepare().metadata.key
    (file,) = place.cache.folder.glob("*.cache")
    assert file.read_bytes().startswith(b"timings ")
    file.write_bytes(kept)
    place.cache.remove(key)
    place.prepare()
    assert file.read_bytes().startswith(b"timings ")


def test_what_compile_was_told_is_what_a_run_takes(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    key = key_of(place.library, place.bundle, place.artifact, place.gpu)
    place.cache.set_options(key.network, key.precision, BuildOptions(batches=(1, 3), dla=True))
    metadata = prepare_here(place.library, place.bundle, place.artifact, place.gpu, place.cache).metadata
    assert (metadata.batches, metadata.key.dla) == ((1, 3), True)
    assert metadata.beside_dla
    assert "layers beside the DLA" in engine_summary(metadata)
    place.cache.set_options(key.network, key.precision, BuildOptions(via="torch-tensorrt"))
    metadata = prepare_here(place.library, place.bundle, place.artifact, place.gpu, place.cache).metadata
    assert "there is no engine via torch-tensorrt for this driver and library" in caplog.text
    assert (metadata.key.via, metadata.batches) == ("onnx", (1,))


def test_a_build_that_nobody_watches_says_how_far_it_is(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    prepare_here(place.library, place.bundle, place.artifact, place.gpu, place.cache)
    assert [record.getMessage() for record in caplog.records][1:] == [
        f"building the fp32 engine: {share} %" for share in (25, 50, 75)
    ]


def test_a_choice_that_cannot_be_read_is_logged_and_ignored(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.cache.set_options("0" * 64, "fp32", BuildOptions(dla=True))
    (file,) = place.cache.folder.glob("*.choice.json")
    file.write_text("{}x")
    assert place.cache.options("0" * 64, "fp32") == BuildOptions()
    assert "is ignored" in caplog.text


def test_the_workspace_is_half_of_what_is_free(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edgead.cuda.context.MEMORY", tmp_path / "none")
    asked = []
    real = module.build
    monkeypatch.setattr(module, "build", lambda *given: (asked.append(given[2]), real(*given))[1])
    place.prepare()
    with place.gpu.current():
        assert asked[0].workspace == place.gpu.free_memory() // 2


def test_a_card_is_refused_where_it_is_of_another_edgead(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    made = place.prepare()
    path = place.cache.path(made.metadata.key).with_suffix(".json")
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 2'))
    built(caplog)
    assert place.prepare().metadata.schema == 1
    assert "it has schema 2, not 1" in caplog.text


def test_metadata_keeps_the_key_that_earlier_files_have(place: Place) -> None:
    assert "wishes" in json.loads(encode(place.prepare().metadata))
