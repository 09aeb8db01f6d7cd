"""Checks the graph contract: what every engine asks of a network before it runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgead import ops
from edgead.bundle import FusionSpec
from edgead.bundle.draft import Spec
from edgead.errors import EngineError


class Port(NamedTuple):
    """An input or output of a graph, as a runtime describes it."""

    name: str
    is_float: bool  # of a type that the engine feeds and reads: FP32, for some FP16 too
    shape: tuple[int | None, ...]  # None where a size is left open
    text: str  # type and shape in the runtime's words


def output_names(fusion: FusionSpec) -> list[str]:
    """The outputs that a reading needs: the fusion's maps in their order, then what else is read of a frame."""
    return [part.name for part in fusion.maps] + list(channels_of(fusion))


def channels_of(fusion: FusionSpec) -> dict[str, int | None]:
    """The outputs (B, C, h, w) that a reading needs, with their channels, None where that is left open."""
    if fusion.components is not None:
        return {ops.COMPONENTS: len(fusion.components.names)}
    if fusion.matching is None:
        return {}
    features: dict[str, int | None] = dict.fromkeys(fusion.matching.features)
    classes = fusion.matching.proposals.classes
    return {ops.COMPONENTS: classes, **features} if classes else features


def check_ports(manifest: Spec, member: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Raise EngineError unless the graph takes `image` (B, 3, H, W) and gives the fusion's maps (B, h, w) and,
    where it has components or features, those (B, C, h, w); all in floating point."""
    spec = manifest.input
    wanted: dict[str, tuple[int | None, ...]] = {"image": (None, 3, spec.height, spec.width)}
    wanted |= dict.fromkeys(output_names(manifest.fusion), (None, None, None))
    wanted |= {name: (None, channels, None, None) for name, channels in channels_of(manifest.fusion).items()}
    have = {port.name for port in (*inputs, *outputs)}
    faults = [f"it has no '{name}'" for name in wanted if name not in have]
    faults += [f"input '{port.name}' is not fed" for port in inputs if port.name != "image"]
    for port in (*inputs, *outputs):
        if port.name in wanted and not _fits(port, wanted[port.name]):
            faults.append(f"'{port.name}' is {port.text}")
    if faults:
        raise EngineError(f"{member} does not keep the graph contract: {'; '.join(faults)}; export it again")


def _fits(port: Port, shape: tuple[int | None, ...]) -> bool:
    """Whether a port is in floating point and of that shape; a size that either leaves open fits, a batch too."""
    if not port.is_float or len(port.shape) != len(shape) or port.shape[0] not in (None, 1):
        return False
    return all(have == want or have is None or want is None for have, want in zip(port.shape, shape, strict=True))
