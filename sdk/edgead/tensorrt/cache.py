"""Stores engines on disk: a plain `.engine` file that other tools can load, and its metadata beside it in JSON.

The file name holds the digest of the key, so an engine is found only where everything it depends on is the same. An
altered or incomplete file is not used, and the reason is logged; files this machine can no longer use are removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from edgead.errors import EdgeadError
from edgead.files import cache_folder, write_file
from edgead.tensorrt.metadata import BuildOptions, EngineMetadata, Key, Prepared, decode, encode

_log = logging.getLogger(__name__)


class Cache:
    """Engines in a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` need not exist; by default it is `engines` in edgead's cache."""
        self.folder = cache_folder("engines") if folder is None else folder

    def path(self, key: Key) -> Path:
        """The path of the engine; its metadata has the suffix .json instead."""
        digest = hashlib.sha256(msgspec.json.encode(key, order="deterministic")).hexdigest()
        return self.folder / f"{_stem(key.network, key.precision)}-sm_{key.capability}-{digest[:12]}.engine"

    @contextmanager
    def locked(self, key: Key) -> Iterator[None]:
        """One process at a time works on a key; the next one waits, which is logged. A process that dies releases it.

        Where the folder cannot be written there is no lock, and a warning says so.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self.path(key).with_suffix(".lock").open("ab")
        except OSError as error:
            _log.warning(
                "engines cannot be stored in %s: %s; set EDGEAD_CACHE to a folder that can be written",
                self.folder,
                error.strerror,
            )
            yield
            return
        with lock:
            _wait_for(lock)
            yield

    def find(self, key: Key) -> Prepared | None:
        """The engine of that key, complete and unaltered; why an existing one is not used is logged."""
        path = self.path(key)
        try:
            metadata = decode(path.with_suffix(".json").read_bytes())
            engine = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self._report_superseded(key)
            return None
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            _log.warning("the engine %s is built anew: its metadata or file cannot be read: %s", path.name, error)
            return None
        if metadata.key != key:
            _log.warning("the engine %s is built anew: its metadata belongs to another engine", path.name)
            return None
        if hashlib.sha256(engine).hexdigest() != metadata.sha256:
            _log.warning("the engine %s is built anew: the file was altered or cut short", path.name)
            return None
        return Prepared(engine, metadata)

    def store(self, prepared: Prepared) -> Path:
        """Write the engine, then its metadata; returns the engine's path. Raises EdgeadError where the disk is full.

        Metadata never describes another engine: a crash between the writes leaves the old metadata, whose digest does
        not match, or none.
        """
        path = self.path(prepared.metadata.key)
        write_file(path, prepared.engine)
        write_file(path.with_suffix(".json"), encode(prepared.metadata))
        return path

    def remove(self, key: Key) -> None:
        """Delete an engine; the lock file stays, since another process may wait for it."""
        for suffix in (".json", ".engine", ".kernels"):
            with suppress(OSError):  # not there, or on a disk that cannot be written
                self.path(key).with_suffix(suffix).unlink()

    def set_options(self, network: str, precision: str, options: BuildOptions) -> None:
        """Remember how a network's engine is to be built here; raises EdgeadError where that cannot be written."""
        write_file(self._options_path(network, precision), encode(options))

    def options(self, network: str, precision: str) -> BuildOptions:
        """The options set for a network, or the defaults; a file that cannot be read is logged."""
        path = self._options_path(network, precision)
        try:
            return msgspec.json.decode(path.read_bytes(), type=BuildOptions)
        except (FileNotFoundError, NotADirectoryError):
            return BuildOptions()
        except (OSError, ValueError) as error:
            _log.warning("%s is ignored: %s; run `edgead compile` again", path, error)
            return BuildOptions()

    def _options_path(self, network: str, precision: str) -> Path:
        return self.folder / f"{_stem(network, precision)}.choice.json"

    def timings(self, key: Key) -> Path:
        """Where the library's timing cache for this GPU is kept, which makes the next build faster."""
        same = f"{key.library} {key.version} {key.gpu} {key.capability} {key.cuda} {key.driver}"
        return self.folder / f"timings-{hashlib.sha256(same.encode()).hexdigest()[:16]}.cache"

    def read_timings(self, key: Key) -> bytes:
        try:
            return self.timings(key).read_bytes()
        except OSError:
            return b""

    def store_timings(self, key: Key, timings: bytes) -> None:
        if timings:
            with suppress(EdgeadError):  # it only saves time
                write_file(self.timings(key), timings)

    def read_kernels(self, key: Key) -> bytes:
        """What TensorRT for RTX compiled for an engine at an earlier start; empty where there is nothing."""
        try:
            return self.path(key).with_suffix(".kernels").read_bytes()
        except OSError:
            return b""

    def store_kernels(self, key: Key, kernels: bytes) -> None:
        if kernels and kernels != self.read_kernels(key):
            with suppress(EdgeadError):  # it only saves time
                write_file(self.path(key).with_suffix(".kernels"), kernels)

    def _report_superseded(self, key: Key) -> None:
        """Log what has changed since the network was built here, and remove engines for the old library or driver."""
        for path in sorted(self.folder.glob(f"{_stem(key.network, key.precision)}-sm_*.json")):
            try:
                old = decode(path.read_bytes()).key
            except (OSError, ValueError):
                continue
            if old == key or not _is_superseded(old, key):
                continue
            changes = [
                f"{name} {getattr(old, name)} is now {getattr(key, name)}"
                for name in ("version", "cuda", "driver")
                if getattr(old, name) != getattr(key, name)
            ]
            _log.warning("the engine %s is built anew: %s", path.with_suffix(".engine").name, ", ".join(changes))
            self.remove(old)


def _is_superseded(old: Key, new: Key) -> bool:
    """Whether an engine is for this GPU, but for another release of the library or driver."""
    same = msgspec.structs.replace(old, version=new.version, cuda=new.cuda, driver=new.driver)
    return same == new and bool(new.gpu)


def _stem(network: str, precision: str) -> str:
    """The start of a file name, for people to read."""
    return f"{network[:12]}-{precision}"


def _wait_for(lock: IO[bytes]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.warning("another process builds this engine: waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def engine_summary(metadata: EngineMetadata) -> str:
    """One line about an engine: how many products run in which precision, and what it was built for."""
    products = ", ".join(f"{number} in {name}" for name, number in metadata.products.items() if number)
    where = metadata.key.gpu or f"sm_{metadata.key.capability}"
    batches = ", ".join(map(str, metadata.batches))
    beside = f"; {len(metadata.beside_dla)} layers beside the DLA" if metadata.key.dla else ""
    return (
        f"{metadata.key.precision} for {where} by {metadata.key.library} {metadata.key.version}, batches of {batches}: "
        f"{f'{products} products' if products else 'products unknown'}{beside}; {metadata.size / 1e6:.1f} MB, built in "
        f"{metadata.seconds:.0f} s"
    )
