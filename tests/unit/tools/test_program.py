"""The program of torch.export that stands beside a bundle: what it gives, and that no other is loaded for it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgead import Bundle
from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec, MapSpec
from edgead.errors import EngineError, UsageError
from edgead_tools.export.network import export, quiet
from edgead_tools.export.program import (
    check_program,
    dump_program,
    image_size,
    in_half,
    load_program,
    make_program,
    output_names,
)
from edgead_tools.methods import Trained


class Brightness(nn.Module):
    """What `tiny.graph` computes, and `more` times it."""

    def __init__(self, more: float = 1.0, name: str = "distance") -> None:
        super().__init__()
        self.more = nn.Parameter(torch.tensor(more))
        self.name = name

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {self.name: nn.functional.avg_pool2d(image.mean(1, keepdim=True) * self.more, 4).squeeze(1)}


class Colored(nn.Module):
    """Channels count differently, and the outputs' names are not in order."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.norm(self.conv(image)).relu()
        return {"mean": features.mean(1), "big": features.square().sum(1)}


class Stubborn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"map": self.conv(image.to(torch.float32)).squeeze(1)}


class Sliced(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"map": self.network(image).mean(1)}


def trained(network: nn.Module, *names: str, size: int = tiny.SIZE) -> Trained:
    spec = InputSpec(height=size, width=size, scale=(1 / 255, 2 / 255, 3 / 255), offset=(0.0, -0.5, 0.1))
    fusion = FusionSpec(maps=tuple(MapSpec(name=name) for name in names), height=8, width=8)
    return Trained(network.eval(), spec, fusion, {})


@pytest.fixture(scope="module")
def program() -> ExportedProgram:
    return make_program(trained(Brightness(), "distance"))


def recording(bundle: Bundle, content: bytes) -> Bundle:
    """The bundle as if it had been built with this program."""
    provenance = bundle.manifest.provenance | {
        "export": {"program": hashlib.sha256(content).hexdigest()},
        "versions": {"torch": "9.9"},
    }
    manifest = msgspec.structs.replace(bundle.manifest, provenance=provenance)
    return Bundle(manifest, {name: bundle.read(name) for name in bundle.members()}, "", None)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_program_gives_the_maps_of_the_onnx_file(tmp_path: Path, batch: int) -> None:
    made = trained(Colored(), "big", "mean")
    pictures = np.random.default_rng(0).integers(0, 256, (5, tiny.SIZE, tiny.SIZE, 3), np.uint8)
    path = export(made, tmp_path / "model.onnx", pictures).path
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    again = torch.export.load(io.BytesIO(dump_program(make_program(made))))
    names = [output.name for output in session.get_outputs()]
    assert output_names(again) == names == ["big", "mean"]
    assert image_size(again) == (tiny.SIZE, tiny.SIZE)
    image = np.random.default_rng(1).normal(0, 1, (batch, 3, tiny.SIZE, tiny.SIZE)).astype(np.float32)
    with torch.inference_mode(), quiet():
        maps = again.module()(torch.from_numpy(image))
        lowered = again.run_decompositions().module()(torch.from_numpy(image))  # as torch-tensorrt begins
    for name, expected in zip(names, session.run(names, {"image": image}), strict=True):
        np.testing.assert_allclose(maps[name].numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(lowered[name].numpy(), expected, atol=1e-5)


def test_weights_that_are_slices_of_one_tensor_are_written_whole() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    together = torch.randn(100)
    for place, parameter in ((3, network[0].weight), (40, network[1].weight), (70, network[1].bias)):
        parameter.data = together[place : place + parameter.numel()].view_as(parameter)
    made = make_program(trained(Sliced(network), "map"))
    again = torch.export.load(io.BytesIO(dump_program(made)))
    image = torch.rand(2, 3, tiny.SIZE, tiny.SIZE)
    with torch.inference_mode():
        torch.testing.assert_close(again.module()(image)["map"], network(image.flip(1)).mean(1))


def test_a_program_names_nothing_of_this_machine(program: ExportedProgram) -> None:
    content = dump_program(program)
    for trace in (b"site-packages", str(Path(__file__).parents[3]).encode(), b"test_program.py"):
        assert trace not in content


def test_the_program_of_a_bundle_is_loaded(tiny_bundle: Path, program: ExportedProgram, tmp_path: Path) -> None:
    content = dump_program(program)
    (tmp_path / "tiny.pt2").write_bytes(content)
    loaded = load_program(tmp_path / "tiny.pt2", recording(Bundle.open(tiny_bundle), content))
    assert output_names(loaded) == ["distance"]


def test_no_other_file_is_even_opened(
    tiny_bundle: Path, program: ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.export, "load", lambda file: pytest.fail("a foreign file was loaded"))
    path, content = tmp_path / "tiny.pt2", dump_program(program)
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(UsageError, match="built without a program: build the bundle again with --program"):
        load_program(path, bundle)
    with pytest.raises(UsageError, match=r"tiny\.pt2 cannot be read: No such file"):
        load_program(path, recording(bundle, content))
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(UsageError, match="is not the program that 'tiny' was built with"):
        load_program(path, recording(bundle, content))


def test_a_program_that_torch_cannot_read_is_said_to_be_so(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.pt2").write_bytes(b"of another torch")
    with pytest.raises(UsageError, match=r"cannot load .*, which torch 9\.9 wrote"):
        load_program(tmp_path / "tiny.pt2", recording(Bundle.open(tiny_bundle), b"of another torch"))


@pytest.mark.parametrize(
    ("network", "size", "said"),
    [
        (Brightness(1.001), tiny.SIZE, "differ on 'distance' of golden/0.png by more than 1.0e-04"),
        (Brightness(float("nan")), tiny.SIZE, "differ on 'distance' of golden/0.png"),
        (Brightness(name="other"), tiny.SIZE, "the program gives other of 32x32 pixels, the bundle distance"),
        (Brightness(), 64, "of 64x64 pixels, the bundle distance of 32x32"),
    ],
)
def test_a_program_of_another_network_is_refused(tiny_bundle: Path, network: nn.Module, size: int, said: str) -> None:
    made = make_program(trained(network, "distance", size=size))
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        check_program(made, Bundle.open(tiny_bundle))


def test_a_program_in_half(program: ExportedProgram) -> None:
    made = make_program(trained(Colored(), "big", "mean"))
    half = in_half(made)
    image = torch.rand(3, 3, tiny.SIZE, tiny.SIZE)
    with torch.inference_mode():
        exact, rounded = made.module()(image), half.module()(image)
    assert {weight.dtype for weight in half.state_dict.values() if weight.is_floating_point()} == {torch.float16}
    assert {weight.dtype for weight in made.state_dict.values() if weight.is_floating_point()} == {torch.float32}
    for name, expected in exact.items():
        assert rounded[name].dtype == torch.float32
        error = (rounded[name] - expected).abs().max()
        assert 0 < error < 1e-2 * expected.abs().max()
    assert output_names(half) == output_names(made)


def test_a_network_that_insists_on_fp32_cannot_be_half() -> None:
    with pytest.raises(EngineError, match=r"cannot be FP16 throughout \(.*\): compile it from ONNX"):
        in_half(make_program(trained(Stubborn(), "map")))
