"""What TensorRT for RTX makes of bundles ahead of time, without a GPU: products by precision, size, seconds.

    python benchmarks/engines.py BUNDLE ... --out FILE [--target sm_86 --target sm_89 --target sm_120]

One line for each network and target; an engine in which a product does not run as its network asks is an error.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from edgead import Bundle
from edgead.system.device import describe_device
from edgead.tensorrt.cache import Cache
from edgead.tensorrt.compile import parse_target
from edgead.tensorrt.library import RTX, open_library
from edgead.tensorrt.prepare import key_of, prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--target", action="append")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    library = open_library(RTX)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for path in given.bundles:
            bundle = Bundle.open(path)
            for artifact in (one for one in bundle.manifest.artifacts if one.engine in ("", "tensorrt")):
                for target in given.target or ("sm_86", "sm_89", "sm_120"):
                    key = key_of(library, bundle, artifact, capability=parse_target(target), batches=(1, 4, 8))
                    metadata = prepare(library, bundle, artifact, key, cache=Cache(Path(folder))).metadata
                    rows.append(
                        {
                            "bundle": path.stem,
                            "method": bundle.manifest.method,
                            "precision": artifact.precision,
                            "target": target,
                            "products": metadata.products,
                            "layers": len(metadata.layers),
                            "onnx_bytes": bundle.manifest.members[artifact.member].size,
                            "engine_bytes": metadata.size,
                            "seconds": metadata.seconds,
                        }
                    )
                    print(json.dumps(rows[-1]))
    result = {"device": describe_device(), "library": library.title, "batches": [1, 4, 8], "engines": rows}
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
