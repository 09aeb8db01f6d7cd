"""Defines what is stored beside an engine's file: everything it depends on, and what was read back from it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from edgead.tensorrt.layers import Layer, LayerPrecision, count

SCHEMA = 1


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every part of an engine's metadata."""


class Port(msgspec.Struct, frozen=True):
    """An input or output of an engine."""

    name: str
    is_input: bool
    dtype: str  # int8, fp16 or fp32; empty for another
    shape: tuple[int, ...]  # the batch is -1


class Key(Struct, frozen=True):
    """All that an engine depends on: where one differs, it is another engine."""

    network: str  # SHA-256 of the ONNX file
    library: str  # tensorrt or tensorrt-rtx
    version: str  # of the library, in full
    gpu: str  # its name; empty for TensorRT for RTX, whose engines run on every GPU of the capability
    capability: int  # 87 for sm_87
    cuda: int  # the newest CUDA that the driver knows, 13000 for 13.0; 0 as for `gpu`
    driver: str  # its release; empty as for `gpu`, and where the system does not tell
    precision: str
    batches: tuple[int, ...]
    dla: bool = False
    via: str = "onnx"  # or torch-tensorrt


class BuildOptions(Struct, frozen=True):
    """The options of the last `edgead compile` for a network on this machine; a run builds with the same."""

    batches: tuple[int, ...] = ()  # none: the bundle's
    dla: bool = False
    via: str = "onnx"


class EngineMetadata(Struct, frozen=True):
    """The file beside the engine."""

    schema: int
    key: Key
    sha256: str  # of the engine's file
    size: int  # of it, bytes
    ports: tuple[Port, ...]
    # the precision that each product of the network asks for; none via torch-tensorrt
    requested: tuple[LayerPrecision, ...] = msgspec.field(name="wishes")  # as files of edgead 0.1 name it
    layers: tuple[Layer, ...]  # as read back; none where the library does not tell
    beside_dla: tuple[str, ...]  # layers that run on the GPU although the accelerator was asked for
    seconds: float  # that the build took
    edgead: str
    is_tried: bool  # whether a process has deserialized it on a GPU

    @property
    def batches(self) -> tuple[int, ...]:
        """One optimization profile stands for each, in this order."""
        return self.key.batches

    @property
    def products(self) -> dict[str, int]:
        """How many convolutions and matrix products run in each precision; none where that is not known."""
        return count(self.requested) if self.requested else {}


class Prepared(NamedTuple):
    """An engine that may be loaded."""

    engine: bytes
    metadata: EngineMetadata


def encode(value: EngineMetadata | BuildOptions) -> bytes:
    """Stable, readable JSON."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=1) + b"\n"


def decode(raw: bytes) -> EngineMetadata:
    """The inverse of `encode`; raises ValueError for what is not metadata of this edgead."""
    metadata = msgspec.json.decode(raw, type=EngineMetadata)
    if metadata.schema != SCHEMA:
        raise ValueError(f"it has schema {metadata.schema}, not {SCHEMA}")
    return metadata
