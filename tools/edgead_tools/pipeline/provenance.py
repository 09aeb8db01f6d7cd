"""Records where a bundle comes from, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from platform import python_version
from typing import Any

import msgspec
import torch

import edgead
from edgead.config import BuildConfig
from edgead.listing import LeftOut
from edgead.wording import printable
from edgead_tools.data import Checked, Split
from edgead_tools.methods import Trained

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "opencv-python-headless")


def provenance_of(
    config: BuildConfig,
    checked: Checked,
    parts: Split,
    left: Sequence[LeftOut],
    trained: Trained,
    licenses: Mapping[str, str],
) -> dict[str, Any]:
    """Configuration, versions, data and training, as plain values for the manifest."""
    provenance: dict[str, Any] = as_text(
        {
            "edgead": edgead.__version__,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "config": msgspec.to_builtins(config),
            "versions": {"python": python_version()} | {name: _version(name) for name in PACKAGES},
            "data": {
                "digest": checked.digest,
                "train": len(parts.train),
                "calibration": len(parts.calibration),
                "held_out": len(parts.held_out),
                "parts": len(set(checked.parts)),
                "left_out": [{"name": one.path.name, "reason": one.reason} for one in left],
            },
            "training": trained.report | {"threads": config.threads or torch.get_num_threads()},
            "licenses": dict(licenses)
            | {entry["name"]: entry["license"] for entry in trained.report["weights"] if entry["published"]},
        }
    )
    return provenance


def as_text(value: Any) -> Any:
    """Plain values with every text as it can be stored: names of files may hold bytes that are no UTF-8."""
    if isinstance(value, dict):
        return {printable(key): as_text(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_text(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # another distribution of it, JetPack's OpenCV say
        return "unknown"
