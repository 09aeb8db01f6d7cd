"""Manages the folder of a build under way, beside its bundle: who may use it, for which settings, and when it goes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

import edgead
from edgead.config import BuildConfig
from edgead.errors import DataError, UsageError
from edgead.files import write_file

SETTINGS = "settings.json"
IMAGES = "images.json"
RESERVE = 64 << 20  # bytes for checkpoints, of which two lie there at times, the network and the bundle


@contextmanager
def open_run(config: BuildConfig, *, fresh: bool) -> Iterator[Path]:
    """The folder of this build, for this process alone; it is removed at the end unless it holds a training.

    A training with other settings raises UsageError, as does a folder that is not a build's; `fresh` forgets a
    training of any settings.
    """
    folder = config.bundle_path.with_name(config.bundle_path.name + ".run")
    if folder.exists() and not (folder.is_dir() and ((folder / SETTINGS).exists() or not any(folder.iterdir()))):
        raise UsageError(f"{folder} is needed for the build and holds something else: move it, or give another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; give another --out") from error
    with _locked(folder):
        if fresh:
            _empty(folder)
        try:
            settings = msgspec.to_builtins(msgspec.structs.replace(config, out="", program=""))
            _claim(folder, SETTINGS, settings | {"edgead": edgead.__version__}, "other settings")
            yield folder
        finally:
            if not has_training(folder):
                shutil.rmtree(folder, ignore_errors=True)


def unfinished_budget(bundle: Path) -> str:
    """The budget of the unfinished training for that bundle; empty where there is none, or none that a budget ends."""
    folder = bundle.with_name(bundle.name + ".run")
    if not has_training(folder):
        return ""
    try:
        budget = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["budget"]
    except (OSError, ValueError, KeyError):
        return ""
    return budget if isinstance(budget, str) else ""


def pin_images(folder: Path, digest: str) -> None:
    """Tie the run to its images; raises UsageError where its training was begun with others."""
    _claim(folder, IMAGES, {"digest": digest}, "other images")


def check_space(folder: Path, images: int) -> None:
    """Raise DataError where the disk lacks space for `images` bytes of images and what a build writes beside them."""
    free, needed = shutil.disk_usage(folder).free, images + RESERVE
    if free < needed:
        raise DataError(
            f"the build needs about {needed / 1e6:.0f} MB beside its bundle and the disk of {folder.parent.resolve()} "
            f"has {free / 1e6:.0f} MB free: free some, or give another --out"
        )


def has_training(folder: Path) -> bool:
    """Whether a training was begun in the folder."""
    return any(folder.glob("*.pt"))


def _claim(folder: Path, name: str, content: dict[str, Any], what: str) -> None:
    record = folder / name
    if has_training(folder) and _read(record) != content:
        raise UsageError(
            f"{folder} holds an unfinished build with {what}: repeat those to continue it, or start over with --fresh"
        )
    write_file(record, json.dumps(content, indent=1).encode())


def _read(record: Path) -> Any:
    try:
        return json.loads(record.read_bytes())
    except (OSError, ValueError):
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other builds out; the lock ends with the process at the latest."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"another build is at work in {folder}: wait for it, or give another --out") from error
        yield
    finally:
        os.close(handle)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        entry.unlink()
