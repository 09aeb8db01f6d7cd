"""Measures work on Ray: builds of many products by one worker and by two, and what an archive costs an image.

    python benchmarks/distributed.py BUNDLE [--products 40] [--images 400] [--out FILE.json]

Products are drawn: 24 good parts of 96x96 each, built without training, each on one thread. One worker and two build
a half of them in turns (1, 2, 2, 1), so that other work of the machine falls on both. The archive is of drawn frames of
1920x1080 as JPEG; its steps are timed in this process on one thread, and its rows by two workers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead import Bundle, Detector
from edgead.files import write_file
from edgead.images import decode
from edgead.progress import Reporter
from edgead.stream.sources.synthetic import Scene
from edgead.system.device import OtherWork, describe_device, describe_state

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
TURNS = ((1, 0), (2, 0), (2, 1), (1, 1))  # workers, half of the products
PLANNED = 10_000_000  # images
LINK_GBIT, CORES = 10, 64  # of the machines that are planned for


def write_products(folder: Path, numbers: range) -> Path:
    """The file of products, and their images."""
    import tiny

    lines = ["defaults: {budget: '0', size: 96}", "products:"]
    for number in numbers:
        parts = folder / f"parts{number}"
        parts.mkdir(parents=True)
        for seed in range(24):
            cv2.imwrite(str(parts / f"{seed}.png"), tiny.good(100 * number + seed, 96, 96))
        lines.append(f"  product{number}: {{data: {parts}}}")
    (folder / "products.yaml").write_text("\n".join(lines))
    return folder / "products.yaml"


def measure_products(folder: Path, count: int) -> dict[str, Any]:
    """Seconds of `build --many` by each number of workers, with Ray's start and end each time."""
    from edgead_tools.distributed.builds import build_many, read_products

    halves = (range(count // 2), range(count // 2, count))
    files = [write_products(folder / f"half{half}", numbers) for half, numbers in enumerate(halves)]
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    for workers, half in TURNS:
        out = folder / f"bundles-{workers}-{half}"
        start = time.perf_counter()
        rows = build_many(read_products(files[half], out), out, Reporter(), workers=workers)
        seconds[str(workers)].append(round(time.perf_counter() - start, 1))
        assert all(row.bundle for row in rows), [row.error for row in rows]
        print(f"{len(rows)} products, {workers} workers: {seconds[str(workers)][-1]} s", file=sys.stderr)
    ratio = sum(seconds["1"]) / sum(seconds["2"])
    return {"products": count, "seconds": seconds, "speed_up": round(ratio, 2)}


def measure_archive(bundle: Path, folder: Path, count: int) -> dict[str, Any]:
    """What an image costs by step, and the whole by two workers."""
    from edgead_tools.distributed.archive import ArchiveOptions, judge_archive, list_archive

    scene, archive, out = Scene(defects=2, width=1920, height=1080), folder / "archive", folder / "judged"
    archive.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(archive / f"{number:06d}.jpg"), scene.picture(number), [cv2.IMWRITE_JPEG_QUALITY, 95])
    raws = [path.read_bytes() for path in sorted(archive.iterdir())]
    decoding, judging = [], []
    with Detector(Bundle.open(bundle), engine="onnx", precision="fp32", threads=1) as detector:
        for index, raw in enumerate(raws[:100]):
            start = time.process_time()
            image = np.asarray(decode(raw, Path(f"{index}.jpg")))
            between = time.process_time()
            detector(image)
            decoding.append(1e3 * (between - start))
            judging.append(1e3 * (time.process_time() - between))
    start = time.perf_counter()
    options = ArchiveOptions(chunk=max(1, count // 8), workers=2, engine="onnx", precision="fp32")
    judge_archive(bundle, str(archive), str(out), Reporter(), options)
    seconds = time.perf_counter() - start
    written = sum(path.stat().st_size for path in out.glob("*.parquet"))
    names = sum(len(name) for name in list_archive(str(archive)))
    return {
        "images": count,
        "seconds_by_two_workers": round(seconds, 1),
        "image_bytes": round(float(np.mean([len(raw) for raw in raws]))),
        "decode_ms": round(float(np.median(decoding)), 2),
        "judge_ms": round(float(np.median(judging)), 2),
        "row_bytes": round(written / count),
        "name_bytes": round(names / count) + sys.getsizeof(""),
    }


def planned(one: dict[str, Any]) -> dict[str, float]:
    """The cost of `PLANNED` images, from that of one."""
    cpu_ms = one["decode_ms"] + one["judge_ms"]
    return {
        "images": PLANNED,
        "bytes_read": PLANNED * one["image_bytes"],
        "bytes_written": PLANNED * one["row_bytes"],
        "bytes_of_names": PLANNED * one["name_bytes"],
        "core_hours": round(PLANNED * cpu_ms / 3.6e6, 1),
        "hours_of_processors": round(PLANNED * cpu_ms / 3.6e6 / CORES, 2),
        "hours_of_link": round(PLANNED * one["image_bytes"] * 8 / (LINK_GBIT * 1e9) / 3600, 2),
        "cores": CORES,
        "link_gbit": LINK_GBIT,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--products", type=int, default=40)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    others = OtherWork()
    with tempfile.TemporaryDirectory() as folder:
        builds = measure_products(Path(folder) / "products", given.products)
        archive = measure_archive(given.bundle, Path(folder), given.images)
    told = {
        "builds": builds,
        "archive": archive,
        "plan": planned(archive),
        "device": describe_device(),
        "state": describe_state(),
        "others": round(others.share(), 2),
    }
    text = json.dumps(told, indent=1) + "\n"
    if given.out is not None:
        write_file(given.out, text.encode())
    print(text, end="")


if __name__ == "__main__":
    main()
