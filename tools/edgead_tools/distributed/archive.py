"""Judges archives of images on many workers, into Parquet: exactly one row for each image, whatever fails meanwhile.

The sorted list of images is cut into chunks, and each chunk becomes one file that is written as a whole. A worker that
dies leaves no file, and its chunk is judged again by another; a run that is started again skips the chunks that are
there. So no image is missing and none is there twice. Images and files may lie where `fsspec` reaches: on this disk, or
in object storage by its URL (s3://, gs://, az://, with the package of that name).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet
import ray

from edgead import Bundle, Detector
from edgead.errors import DataError, EdgeadError, UsageError
from edgead.files import write_file
from edgead.images import EXTENSIONS, decode, to_bgr
from edgead.progress import ConsoleReporter, Reporter
from edgead.types import Frame
from edgead.wording import printable
from edgead_tools.distributed.cluster import cluster

PLAN = "_archive.json"  # what begins so is no part of a data set to readers of Parquet
AHEAD = 8  # images that are fetched while others are judged
CHUNK = 1000  # images of one file; another number is another plan
TRIES = 20  # of a chunk whose workers die
SCHEMA = pyarrow.schema(
    [
        ("image", pyarrow.string()),
        ("verdict", pyarrow.string()),  # empty where it could not be read
        ("score", pyarrow.float64()),
        ("raw_score", pyarrow.float64()),
        ("regions", pyarrow.string()),  # JSON
        ("error", pyarrow.string()),
        ("bundle", pyarrow.string()),
        ("engine", pyarrow.string()),
        ("precision", pyarrow.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """How an archive is judged."""

    chunk: int = CHUNK
    workers: int = 0  # 0: one for each CPU
    address: str = ""  # of a Ray cluster; empty: this machine
    engine: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, slots=True)
class ArchiveCounts:
    """What a run has judged, in all."""

    images: int
    skipped: int  # of them, that an earlier run had judged
    unreadable: int
    anomalous: int


def judge_archive(
    bundle: Path,
    images: str,
    out: str,
    reporter: Reporter,
    options: ArchiveOptions = ArchiveOptions(),
    names: Sequence[str] = (),
) -> ArchiveCounts:
    """Judge every image below `images` into Parquet files in the folder `out`; both may be URLs of fsspec.

    With `names` those alone, in this order, of the names that `list_archive` gives. Raises UsageError where `out` holds
    the results of other images or another bundle, DataError where there is no image, where chunks could not be judged,
    and where a file has not one row for each of its images.
    """
    opened = Bundle.open(bundle)
    names = names or list_archive(images)
    chunks = [names[at : at + options.chunk] for at in range(0, len(names), options.chunk)]
    _pin(out, {"images": images, "count": len(names), "chunk": options.chunk, "bundle": opened.digest,
               "list": hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()})  # fmt: skip
    present = _present(out)
    missing = [index for index in range(len(chunks)) if file_of(index) not in present]
    reporter.say(f"{len(names)} images in {len(chunks)} files, {len(missing)} of them to be made")
    with cluster(options.address, options.workers) as workers, reporter.stage("judging") as on_progress:
        raw = ray.put(bundle.read_bytes())
        done = len(chunks) - len(missing)
        started = [images, out, options.engine, options.precision]
        for _ in _run(started, [(index, list(chunks[index])) for index in missing], raw, workers):
            done += 1
            on_progress(done, len(chunks))
    verdicts = [verdict for rows in read_rows(out, names, ["verdict"], options.chunk) for verdict in rows["verdict"]]
    skipped = sum(len(chunks[index]) for index in set(range(len(chunks))) - set(missing))
    return ArchiveCounts(len(names), skipped, verdicts.count(""), verdicts.count("NG"))


def run_archive(bundle: Path, images: str, out: str, *, engine: str, precision: str, workers: int, ray: str) -> str:
    """`judge_archive` for a person who waits: a sentence of what was judged. Raises DataError for unreadable images."""
    options = ArchiveOptions(workers=workers, address=ray, engine=engine, precision=precision)
    found = judge_archive(bundle, images, out, ConsoleReporter(), options)
    if found.unreadable:
        raise DataError(f"{found.unreadable} of {found.images} images could not be read: see the column error in {out}")
    earlier = f", {found.skipped} of them by an earlier run" if found.skipped else ""
    return f"{out}: {found.images} images{earlier}, {found.anomalous} NG"


def list_archive(images: str) -> list[str]:
    """Every image below a folder or a URL, in a fixed order; raises DataError where there is none."""
    system, root = fsspec.core.url_to_fs(images)
    found = sorted(name for name in system.find(root) if Path(name).suffix.lower() in EXTENSIONS)
    if not found:
        raise DataError(f"{images} has no images that edgead reads")
    return [str(name) for name in found]


def file_of(index: int) -> str:
    """The name of a chunk's file."""
    return f"part-{index:07d}.parquet"


class ChunkJudge:
    """A worker: one bundle, one engine on one thread, chunk after chunk."""

    def __init__(self, images: str, out: str, engine: str, precision: str) -> None:
        self._system, _ = fsspec.core.url_to_fs(images)
        self._out, self._engine, self._precision = out, engine, precision
        self._opened: Detector | None = None

    def judge_chunk(self, index: int, names: Sequence[str], bundle: bytes) -> int:
        """Judge a chunk with a bundle, a file's contents, and write its file; gives how many rows that has.

        The bundle comes with each chunk, so that a worker that is made anew has it; it is opened for the first.
        """
        detector = self._opened = self._opened or self._open(bundle)
        with ThreadPoolExecutor(AHEAD) as pool:
            rows = [_row(detector, name, raw) for name, raw in zip(names, self._fetched(pool, names), strict=True)]
        write_parquet(self._out, file_of(index), rows)
        return len(rows)

    def _open(self, bundle: bytes) -> Detector:
        with NamedTemporaryFile(suffix=".edgead") as file:
            file.write(bundle)
            file.flush()
            return Detector(Bundle.open(file.name), engine=self._engine, precision=self._precision, threads=1)

    def _fetched(self, pool: ThreadPoolExecutor, names: Sequence[str]) -> Iterator[bytes | Exception]:
        """The contents of files, some ahead of the one that is judged."""
        waiting = deque(pool.submit(self._fetch, name) for name in names[:AHEAD])
        for name in (*names[AHEAD:], *([""] * min(AHEAD, len(names)))):
            raw = waiting.popleft().result()
            if name:
                waiting.append(pool.submit(self._fetch, name))
            yield raw

    def _fetch(self, name: str) -> bytes | Exception:
        try:
            return bytes(self._system.cat_file(name))
        except OSError as error:
            return error


def _row(detector: Detector, name: str, raw: bytes | Exception) -> dict[str, Any]:
    about = {"bundle": detector.bundle.digest, "engine": detector.engine.name, "precision": detector.engine.precision}
    row: dict[str, Any] = {"image": printable(name), "verdict": "", "score": None, "raw_score": None, "regions": "[]",
                           "error": "", **about}  # fmt: skip
    try:
        if isinstance(raw, Exception):
            raise DataError(str(raw))
        image = to_bgr(decode(raw, Path(name)), Path(name), bits=detector.bundle.manifest.input.bits)
        result = detector.detect(Frame(image, name=name))
    except EdgeadError as error:
        return row | {"error": printable(str(error))}
    regions = json.dumps([asdict(region) for region in result.regions])
    return row | {"verdict": result.verdict.value, "score": result.score, "raw_score": result.raw_score,
                  "regions": regions}  # fmt: skip


def write_parquet(out: str, name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write a file of rows as a whole: it is there with all of them, or not at all."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=SCHEMA), buffer)
    _write(out, name, buffer.getvalue())


def read_rows(
    out: str, names: Sequence[str], columns: Sequence[str], chunk: int = CHUNK
) -> Iterator[dict[str, list[Any]]]:
    """Columns of each file of results, file by file; `names` is the list that was judged.

    Raises DataError for a file that has not exactly one row for each of its images.
    """
    system, root = fsspec.core.url_to_fs(out)
    for index, at in enumerate(range(0, len(names), chunk)):
        try:
            with system.open(f"{root}/{file_of(index)}", "rb") as file:
                rows = pyarrow.parquet.read_table(file, columns=["image", *columns]).to_pydict()
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{out}/{file_of(index)} cannot be read ({error}): delete it, and the same command "
                            "judges its images again") from error  # fmt: skip
        if rows["image"] != [printable(name) for name in names[at : at + chunk]]:
            raise DataError(f"{out}/{file_of(index)} has not one row for each of its images: delete it, and the same "
                            "command judges them again")  # fmt: skip
        yield rows


def _run(started: Sequence[Any], chunks: Sequence[tuple[int, list[str]]], bundle: Any, workers: int) -> Iterator[int]:
    """The rows of each chunk as it is written, by an actor for each worker; actors that die are made anew.

    `started` is what an actor is made with, `bundle` a reference of Ray's to the bundle's file.
    """
    kind = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=TRIES)(ChunkJudge)
    actors = [kind.remote(*started) for _ in range(min(workers, len(chunks)))]
    waiting = iter(chunks)
    running = {actor.judge_chunk.remote(*next(waiting), bundle): actor for actor in actors}
    while running:
        (ready, *_), _ = ray.wait(list(running), num_returns=1)
        actor = running.pop(ready)
        try:
            yield ray.get(ready)
        except ray.exceptions.RayError as error:
            words = " ".join(str(error).split())[-300:]
            raise DataError(f"a chunk could not be judged: {words}; the same command goes on from there") from error
        following = next(waiting, None)
        if following is not None:
            running[actor.judge_chunk.remote(*following, bundle)] = actor


def _pin(out: str, plan: dict[str, Any]) -> None:
    """Note what the folder's results are of; raises UsageError where they are of something else."""
    system, root = fsspec.core.url_to_fs(out)
    path = f"{root}/{PLAN}"
    if not system.exists(path):
        _write(out, PLAN, json.dumps(plan, indent=1).encode() + b"\n")
        return
    before = json.loads(system.cat_file(path))
    if before != plan:
        other = ", ".join(name for name in plan if before.get(name) != plan[name])
        raise UsageError(f"{out} holds results of something else ({other}): give another folder, or empty this one")


def _present(out: str) -> set[str]:
    system, root = fsspec.core.url_to_fs(out)
    return {str(name).rpartition("/")[2] for name in system.ls(root, detail=False)}


def _write(out: str, name: str, raw: bytes) -> None:
    """A whole file: by a rename on a disk, by one request in object storage."""
    system, root = fsspec.core.url_to_fs(out)
    if "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)):
        write_file(Path(root) / name, raw)
    else:
        system.pipe_file(f"{root}/{name}", raw)
