"""Archives and many builds on Ray: each image is one row and each product one bundle, whatever dies meanwhile.

Ray takes seconds to start, and is in none of the other tests: pip install 'edgead[ray]', then pytest -m slow.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from programs import lacking, until

from edgead.errors import DataError, UsageError
from edgead.progress import Reporter

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1800)]


@pytest.fixture(autouse=True)
def _ray() -> None:
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        lacking("Ray is missing: pip install 'edgead[ray]'")


SIDE_BY_SIDE = """
import sys, time, ray
from pathlib import Path
from edgead_tools.distributed.cluster import cluster
with cluster(workers=1):
    Path(sys.argv[1]).touch()
    while not Path(sys.argv[2]).exists():  # until the other has started, too
        time.sleep(0.1)
    print(ray.get(ray.remote(lambda: "done").remote()))
"""


def test_two_start_side_by_side(tmp_path: Path) -> None:
    places = [(tmp_path / "one", tmp_path / "other"), (tmp_path / "other", tmp_path / "one")]
    both = [
        subprocess.Popen([sys.executable, "-c", SIDE_BY_SIDE, *map(str, pair)], stdout=subprocess.PIPE)
        for pair in places
    ]
    assert [process.communicate(timeout=300)[0] for process in both] == [b"done\n"] * 2


def images(folder: Path, count: int) -> Path:
    """Tiny images; every tenth is bad, and one is no image."""
    for index in range(count):
        path = folder / f"{index // 1000:02d}" / f"{index:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), (tiny.good, tiny.bad)[index % 10 == 9](index % 50, 32, 32))
    (folder / "00" / "00003.png").write_bytes(b"no image")
    return folder


def rows(out: Path) -> list[dict[str, object]]:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(out).to_pylist()


def workers() -> list[int]:
    """The processes in which Ray's actors of this machine judge."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::ChunkJudge" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def killing(count: int, when: Callable[[], bool]) -> threading.Thread:
    """A thread that kills `count` workers, one after the other, once `when` is so."""

    def kill() -> None:
        until(when, 600)
        for _ in range(count):
            until(lambda: bool(workers()), 600)
            os.kill(workers()[0], signal.SIGKILL)
            time.sleep(2)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_20000_images_are_20000_rows_although_workers_and_the_head_die(tiny_bundle: Path, tmp_path: Path) -> None:
    from edgead_tools.distributed.archive import ArchiveOptions, judge_archive

    folder, out = images(tmp_path / "archive", 20_000), tmp_path / "out"
    command = [sys.executable, "-m", "edgead", "predict", tiny_bundle, folder, "--parquet", out, "--workers", 2]
    command += ["--engine", "onnx"]
    first = subprocess.Popen([*map(str, command)], cwd=tmp_path, start_new_session=True)
    until(lambda: len(list(out.glob("part-*.parquet"))) >= 5, 600)
    os.killpg(first.pid, signal.SIGKILL)  # the head, with everything that belongs to it
    first.wait()
    until(lambda: not workers(), 300)  # Ray's own sessions outlive the head for a moment, and finish what they judge
    before = len(list(out.glob("part-*.parquet")))
    assert before < 20
    killer = killing(2, lambda: len(list(out.glob("part-*.parquet"))) > before)
    found = judge_archive(tiny_bundle, str(folder), str(out), Reporter(), ArchiveOptions(workers=2, engine="onnx"))
    killer.join()
    assert found.skipped == 1000 * before
    judged = rows(out)
    names = [row["image"] for row in judged]
    assert len(names) == len(set(names)) == 20_000
    assert {Path(str(name)).name for name in names} == {f"{index:05d}.png" for index in range(20_000)}
    by_name = {Path(str(row["image"])).stem: row for row in judged}
    assert by_name["00003"]["verdict"] == ""
    assert "00003.png" in str(by_name["00003"]["error"])
    wrong = [n for n, row in by_name.items() if n != "00003" and (row["verdict"] == "NG") != (n[-1] == "9")]
    assert wrong == []
    assert (found.images, found.unreadable, found.anomalous) == (20_000, 1, 2000)
    with pytest.raises(UsageError, match="results of something else"):
        judge_archive(tiny_bundle, str(folder / "01"), str(out), Reporter())


def test_an_archive_may_lie_in_object_storage(tiny_bundle: Path, tmp_path: Path) -> None:
    """By fsspec's own file system in memory, in this process; nothing else of the work needs Ray."""
    import fsspec

    from edgead_tools.distributed.archive import ChunkJudge, file_of, list_archive

    memory = fsspec.filesystem("memory")
    for index in range(3):
        memory.pipe_file(f"/parts/{index}.png", cv2.imencode(".png", tiny.bad(index))[1].tobytes())
    names = list_archive("memory://parts")
    assert len(names) == 3
    judge = ChunkJudge("memory://parts", "memory://out", "onnx", "auto")
    assert judge.judge_chunk(0, [*names, "/parts/absent.png"], tiny_bundle.read_bytes()) == 4
    (tmp_path / "part.parquet").write_bytes(memory.cat_file(f"/out/{file_of(0)}"))
    assert [row["verdict"] for row in rows(tmp_path / "part.parquet")] == ["NG", "NG", "NG", ""]
    with pytest.raises(DataError, match="no images"):
        list_archive("memory://nothing")


def labeled(folder: Path) -> Path:
    """An archive of 60 good parts and 20 defects of two kinds, one of which cannot be read, and images of no label."""
    for label, make, count in (("good", tiny.good, 60), ("spot", tiny.bad, 12), ("hole", tiny.bad, 8)):
        for index in range(count):
            path = folder / label / "2026" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), make(index, 32, 32))
    (folder / "hole/2026/7.png").write_bytes(b"no image")
    cv2.imwrite(str(folder / "stray.png"), tiny.good())
    (folder / "train").mkdir()
    cv2.imwrite(str(folder / "train/0.png"), tiny.good())
    return folder


def test_an_archive_is_measured_by_its_rows(tiny_bundle: Path, tmp_path: Path, edgead) -> None:
    folder, out = labeled(tmp_path / "archive"), tmp_path / "out"
    command = ("eval", tiny_bundle, folder, "--parquet", out, "--engine", "onnx", "--json")
    code, said, error = edgead(*command, "--workers", 2)
    assert code == 0, error
    assert "2 images are not used" in error
    found = json.loads(said)
    assert (found["good"], found["defective"], found["left_out"]) == (60, 19, 1)
    assert (found["image_auroc"], found["false_alarm_rate"], found["miss_rate"]) == (1.0, 0.0, 0.0)
    assert {kind["name"]: kind["images"] for kind in found["kinds"]} == {"spot": 12, "hole": 7}
    assert found["judged_by"] == ["onnx fp32"]
    judged = rows(out)
    assert len(judged) == len({row["image"] for row in judged}) == 80
    (part,) = out.glob("part-*.parquet")
    before = part.stat().st_mtime_ns
    assert json.loads(edgead(*command)[1]) == found  # measured again, and not judged again
    assert part.stat().st_mtime_ns == before
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(part)
    pyarrow.parquet.write_table(pyarrow.concat_tables([table, table.slice(0, 1)]), part)
    code, _, error = edgead(*command)
    assert (code, "has not one row for each of its images: delete it" in error) == (1, True)
    part.unlink()
    assert json.loads(edgead(*command)[1]) == found


def test_what_an_archive_cannot_give_is_refused(tiny_bundle: Path, tmp_path: Path, edgead) -> None:
    (tmp_path / "plain").mkdir()
    cv2.imwrite(str(tmp_path / "plain/0.png"), tiny.good())
    code, _, error = edgead("eval", tiny_bundle, "plain", "--parquet", "out")
    assert (code, "no image in plain is labeled: put them into folders" in error) == (1, True)
    code, _, error = edgead("eval", tiny_bundle, "plain", "--parquet", "out", "--full-size")
    assert (code, "leave out --full-size" in error) == (2, True)
    code, _, error = edgead("eval", tiny_bundle, tiny_bundle, "plain", "--parquet", "out")
    assert (code, "one bundle, and one folder or URL" in error) == (2, True)


def products(folder: Path, count: int) -> Path:
    """A file of products, each with a folder of good parts; the last has none."""
    lines = ["defaults: {budget: '0', size: 64}", "products:"]
    for number in range(count):
        parts = folder / f"parts{number}"
        parts.mkdir()
        for seed in range(24):
            cv2.imwrite(str(parts / f"{seed}.png"), tiny.good(100 * number + seed, 64, 64))
        lines.append(f"  product{number}: {{data: {parts}}}")
    (folder / "none").mkdir()
    lines.append(f"  broken: {{data: {folder / 'none'}}}")
    (folder / "products.yaml").write_text("\n".join(lines))
    return folder / "products.yaml"


def builds() -> list[int]:
    """The processes in which products are built, of this machine: children of those that have imported everything."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
            found[int(path.parent.name)] = int(words[1]), (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
    servers = {pid for pid, (_, command) in found.items() if b"edgead_tools.distributed.fork_server" in command}
    return [pid for pid, (parent, _) in found.items() if parent in servers]


def test_a_product_whose_process_dies_is_built_again(tmp_path: Path, edgead) -> None:
    file, out = products(tmp_path, 2), tmp_path / "bundles"
    (tmp_path / "products.yaml").write_text("\n".join(file.read_text().splitlines()[:-1]))

    def kill() -> None:
        until(lambda: bool(builds()), 300)
        os.kill(builds()[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    code, said, _ = edgead("build", "--many", file, "--out", out, "--workers", 1)
    killer.join()
    assert (code, said.strip()) == (0, str(out / "products.html"))
    assert "2 of 2 products have a bundle" in (out / "products.html").read_text()
    until(lambda: not builds(), 60)


def test_many_products_are_built_each_for_itself_and_go_on(tmp_path: Path, edgead) -> None:
    file, out = products(tmp_path, 2), tmp_path / "bundles"
    code, _, err = edgead("build", "--many", file, "--out", out, "--workers", 2)
    assert code == 1
    assert "no bundle for broken" in err
    made = {path.name: path.stat().st_mtime_ns for path in out.glob("*.edgead")}
    assert sorted(made) == ["product0.edgead", "product1.edgead"]
    assert json.loads((out / "product0.json").read_text())["bundle"]
    page = (out / "products.html").read_text()
    assert "2 of 3 products have a bundle" in page
    parts = tmp_path / "none"
    for seed in range(24):
        cv2.imwrite(str(parts / f"{seed}.png"), np.flip(tiny.good(seed, 64, 64), 0))
    code, said, _ = edgead("build", "--many", file, "--out", out)
    assert (code, said.strip()) == (0, str(out / "products.html"))
    assert made.items() <= {path.name: path.stat().st_mtime_ns for path in out.glob("*.edgead")}.items()
    assert edgead("build", "--many", file, "--method", "stlm")[0] == 2
