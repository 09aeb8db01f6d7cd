"""Compiles a bundle's networks to engines: on the GPU that will run them, or ahead of time by TensorRT for RTX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edgead.bundle import Artifact, Bundle
from edgead.cuda.context import CudaContext
from edgead.errors import BundleError, EngineError, UsageError
from edgead.progress import Reporter
from edgead.tensorrt.build import check_capability
from edgead.tensorrt.cache import Cache
from edgead.tensorrt.library import RTX, Library, open_library
from edgead.tensorrt.metadata import BuildOptions, EngineMetadata
from edgead.tensorrt.prepare import EngineBuilder, check_gpu_can_judge, key_of, prepare

ENGINE = "tensorrt"
ENGINES_FOLDER = Path("engines")  # where engines for other machines are written by default
VIA = ("onnx", "torch-tensorrt")
BuilderOf = Callable[[Bundle, Artifact], EngineBuilder]
Prove = Callable[[Bundle, str], None]  # loads the engine of a precision as a run does; raises EngineError
_TARGET = re.compile(r"(?:sm_?)?(\d{2,3})")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for."""

    precisions: tuple[str, ...] = ()  # none: every one that the bundle has for TensorRT
    target: str = "auto"
    options: BuildOptions = field(default_factory=BuildOptions)
    out: Path | None = None
    make: BuilderOf | None = None  # another builder than TensorRT's parser
    device: int = 0  # the number of the GPU that is here


@dataclass(frozen=True, slots=True)
class Compiled:
    """One engine, or why there is none."""

    precision: str
    path: Path | None
    metadata: EngineMetadata | None
    fault: str = ""


def compile_bundle(path: Path, wanted: Wanted, prove: Prove, reporter: Reporter) -> Iterator[Compiled]:
    """Every engine asked for, one by one; one that cannot be built does not keep the others.

    For this machine (`auto`) engines go into the cache, where a run finds them, and `prove` holds them to the golden
    frames; for others they go into `wanted.out`. Raises UsageError, BundleError, EngineError for a bundle
    whose objects are matched, and AbsentError where what is needed is not here.
    """
    bundle = Bundle.open(path)
    check_gpu_can_judge(bundle.manifest.fusion)  # before minutes are spent on an engine that no run would take
    capability = parse_target(wanted.target)
    artifacts = list(_artifacts(bundle, wanted.precisions))
    if capability:
        if wanted.options != BuildOptions(batches=wanted.options.batches):
            raise UsageError("--dla and --via torch-tensorrt are for the GPU that is here: leave out --target")
        yield from _ahead(open_library(RTX), bundle, artifacts, capability, wanted, reporter)
        return
    if wanted.out is not None:
        raise UsageError("--out is for engines of other machines: give it with --target, such as sm_89")
    yield from _here(open_library(), bundle, artifacts, wanted, prove, reporter)


def parse_target(text: str) -> int:
    """The compute capability that `sm_89` names; 0 for `auto`, the GPU that is here. Raises UsageError."""
    found = _TARGET.fullmatch(text)
    if text != "auto" and found is None:
        raise UsageError(f"no GPU is called '{text}': give its compute capability, such as sm_89, or auto")
    return int(found.group(1)) if found else 0


def _artifacts(bundle: Bundle, precisions: Sequence[str]) -> Iterator[Artifact]:
    if precisions:
        yield from (bundle.manifest.artifact(name, ENGINE) for name in precisions)
        return
    found = [one for one in bundle.manifest.artifacts if one.engine in ("", ENGINE)]
    if not found:
        raise BundleError(f"bundle '{bundle.manifest.name}' has no network for TensorRT")
    yield from found


def _ahead(
    library: Library,
    bundle: Bundle,
    artifacts: Sequence[Artifact],
    capability: int,
    wanted: Wanted,
    reporter: Reporter,
) -> Iterator[Compiled]:
    check_capability(library, capability)
    folder = ENGINES_FOLDER if wanted.out is None else wanted.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made: {error.strerror}; give another --out") from error
    cache = Cache(folder)
    for artifact in artifacts:
        key = key_of(library, bundle, artifact, capability=capability, batches=wanted.options.batches)
        with reporter.stage(f"{artifact.precision} for sm_{capability}") as on_progress:
            try:
                metadata = prepare(library, bundle, artifact, key, cache=cache, on_progress=on_progress).metadata
            except EngineError as error:
                yield Compiled(artifact.precision, None, None, str(error))
                continue
        if cache.path(key).exists():
            yield Compiled(artifact.precision, cache.path(key), metadata)
        else:
            yield Compiled(artifact.precision, None, None, f"it cannot be written to {folder}: give another --out")


def _here(
    library: Library, bundle: Bundle, artifacts: Sequence[Artifact], wanted: Wanted, prove: Prove, reporter: Reporter
) -> Iterator[Compiled]:
    """Built as a run builds it, and then loaded as a run loads it, which holds it to the golden frames."""
    cache, options = Cache(), wanted.options
    if options.via != VIA[0] and len(options.batches) != 1:
        options = msgspec.structs.replace(options, batches=(max(options.batches, default=1),))  # it makes one profile
    for artifact in artifacts:
        gpu = CudaContext(wanted.device)
        try:
            key = key_of(library, bundle, artifact, gpu, batches=options.batches, dla=options.dla, via=options.via)
            make = None if wanted.make is None else wanted.make(bundle, artifact)
            with reporter.stage(f"{artifact.precision} on {gpu.name}") as on_progress:
                metadata = prepare(
                    library, bundle, artifact, key, gpu, cache=cache, make=make, on_progress=on_progress
                ).metadata
            if metadata.beside_dla:
                reporter.say(f"not on the accelerator but on the GPU: {', '.join(metadata.beside_dla)}")
            cache.set_options(key.network, key.precision, options)
        except EngineError as error:
            yield Compiled(artifact.precision, None, None, str(error))
            continue
        finally:
            gpu.close()
        try:
            prove(bundle, artifact.precision)
        except EngineError as error:
            cache.set_options(key.network, key.precision, BuildOptions())
            yield Compiled(artifact.precision, None, None, str(error))
        else:
            yield Compiled(artifact.precision, cache.path(key), metadata)
