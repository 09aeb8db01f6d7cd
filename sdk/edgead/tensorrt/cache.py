"""Engines on the disk: a plain `.engine` file that other tools can load, and its card beside it in JSON.

The name holds the digest of the key, so that an engine is found only where all that it depends on is the same. What was
altered, or was left half-way, is not used and said; what this machine will never use again is removed.
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
        """Of the engine; its card ends in .json instead."""
        digest = hashlib.sha256(msgspec.json.encode(key, order="deterministic")).hexdigest()
        return self.folder / f"{_stem(key.network, key.precision)}-sm_{key.capability}-{digest[:12]}.engine"

    @contextmanager
    def locked(self, key: Key) -> Iterator[None]:
        """One process at a time works on a key; the next one waits, and says so. The system frees it at any death.

        Where the folder cannot be written nobody can be kept out, which is said.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self.path(key).with_suffix(".lock").open("ab")
        except OSError as error:
            _log.warning(
                "engines cannot be kept in %s: %s; set EDGEAD_CACHE to a folder that can be written",
                self.folder,
                error.strerror,
            )
            yield
            return
        with lock:
            _wait_for(lock)
            yield

    def find(self, key: Key) -> Prepared | None:
        """The engine of that key, whole and unaltered; a line says why one that is there is not used."""
        path = self.path(key)
        try:
            card = decode(path.with_suffix(".json").read_bytes())
            engine = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self._tell_of_others(key)
            return None
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            _log.warning("the engine %s is built anew: its card or file cannot be read: %s", path.name, error)
            return None
        if card.key != key:
            _log.warning("the engine %s is built anew: its card is another engine's", path.name)
            return None
        if hashlib.sha256(engine).hexdigest() != card.sha256:
            _log.warning("the engine %s is built anew: the file was altered or cut short", path.name)
            return None
        return Prepared(engine, card)

    def store(self, prepared: Prepared) -> Path:
        """Write the engine, then its card; returns the engine's path. Raises EdgeadError where there is no room.

        A card is only ever beside the engine it describes: a death in between leaves the old card, whose digest does
        not fit, or none.
        """
        path = self.path(prepared.card.key)
        write_file(path, prepared.engine)
        write_file(path.with_suffix(".json"), encode(prepared.card))
        return path

    def remove(self, key: Key) -> None:
        """Forget an engine; the lock's file stays, since another process may wait for it."""
        for suffix in (".json", ".engine"):
            with suppress(OSError):  # not there, or on a disk that cannot be written
                self.path(key).with_suffix(suffix).unlink()

    def choose(self, network: str, precision: str, choice: BuildOptions) -> None:
        """Remember how a network's engine is to be built here; raises EdgeadError where that cannot be written."""
        write_file(self._choice(network, precision), encode(choice))

    def choice(self, network: str, precision: str) -> BuildOptions:
        """What was chosen for a network, or the default; a line says where the file cannot be read."""
        path = self._choice(network, precision)
        try:
            return msgspec.json.decode(path.read_bytes(), type=BuildOptions)
        except (FileNotFoundError, NotADirectoryError):
            return BuildOptions()
        except (OSError, ValueError) as error:
            _log.warning("%s is not heeded: %s; run `edgead compile` again", path, error)
            return BuildOptions()

    def _choice(self, network: str, precision: str) -> Path:
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

    def keep_timings(self, key: Key, timings: bytes) -> None:
        if timings:
            with suppress(EdgeadError):  # it only saves time
                write_file(self.timings(key), timings)

    def _tell_of_others(self, key: Key) -> None:
        """Say what has changed since the network was built here, and remove what only the old machine could use."""
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
    """Whether an engine was of this GPU and library, and the library or the driver is another now."""
    same = msgspec.structs.replace(old, version=new.version, cuda=new.cuda, driver=new.driver)
    return same == new and bool(new.gpu)


def _stem(network: str, precision: str) -> str:
    """Of a file's name, for people."""
    return f"{network[:12]}-{precision}"


def _wait_for(lock: IO[bytes]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.warning("another process builds this engine: waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def describe(card: EngineMetadata) -> str:
    """An engine in a line: what runs in which precision, and for what it was built."""
    products = ", ".join(f"{number} in {name}" for name, number in card.products.items() if number)
    where = card.key.gpu or f"sm_{card.key.capability}"
    batches = ", ".join(map(str, card.batches))
    beside = f"; {len(card.beside_dla)} layers beside the DLA" if card.key.dla else ""
    return (
        f"{card.key.precision} for {where} by {card.key.library} {card.key.version}, batches of {batches}: "
        f"{f'{products} products' if products else 'products unknown'}{beside}; {card.size / 1e6:.1f} MB, built in "
        f"{card.seconds:.0f} s"
    )
