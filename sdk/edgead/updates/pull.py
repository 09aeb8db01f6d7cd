"""Takes the bundle that a repository of updates has for a station, and refuses old, altered and foreign ones by name.

The checks are those of The Update Framework, by the package `tuf`: signatures of enough known keys, dates, versions
that only grow, files that belong together, lengths and digests. What was accepted is kept in the state folder, so that
an older release is noticed after a restart too.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from tuf.api import exceptions as tuf
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from edgead.bundle import Bundle
from edgead.bundle.signing import signature_file
from edgead.bundle.store import LIMIT, Trust
from edgead.errors import BundleError, UsageError
from edgead.files import read_whole, state_folder, write_file
from edgead.updates.fetch import Fetcher, address_of
from edgead.updates.repository import CANARY, MILLION

ROOT_LIMIT = 1 << 19  # bytes of a root


@dataclass(frozen=True, slots=True)
class Origin:
    """Where updates come from, and by whose root they are checked."""

    place: str  # folder or URL with metadata/ and targets/
    root: Path  # the first root.json, given by hand
    blobs: str = ""  # where targets lie instead, such as oci://registry.local/bundles


@dataclass(frozen=True, slots=True)
class Offer:
    """What the repository has for this station."""

    target: TargetFile
    canary: bool
    digest: str  # of the bundle, as results carry it


class Client:
    """A station's view of a repository."""

    def __init__(self, origin: Origin, name: str, station: str, state: Path | None = None) -> None:
        """`name` is the file name of the bundle, `station` what decides whether this one takes part in canaries."""
        base = address_of(origin.place)
        key = hashlib.sha256(base.encode()).hexdigest()[:16]
        self._name, self._station = name, station
        self._folder = (state or state_folder("updates")) / key
        self._fetcher = Fetcher(base)
        self._blobs = address_of(origin.blobs) if origin.blobs else f"{base}targets/"
        self._refused = self._folder / "rolled-back.json"
        metadata = self._folder / "metadata"
        metadata.mkdir(parents=True, exist_ok=True)
        try:
            root = read_whole(origin.root, ROOT_LIMIT)
        except OSError as error:
            raise UsageError(f"the root {origin.root} cannot be read: {error.strerror}") from error
        config = UpdaterConfig(root_max_length=ROOT_LIMIT)
        try:
            self._updater = Updater(
                str(metadata), f"{base}metadata/", fetcher=self._fetcher, config=config, bootstrap=root
            )
        except tuf.RepositoryError as error:
            raise UsageError(f"{origin.root} is no root of updates ({error}): give metadata/1.root.json") from error

    def offer(self) -> Offer:
        """The release for this station; raises BundleError for one that may not be taken, with the reason."""
        try:
            self._updater.refresh()
            canary = self._updater.get_targetinfo(f"{CANARY}{self._name}")
            stable = self._updater.get_targetinfo(self._name)
        except (tuf.RepositoryError, tuf.DownloadError) as error:
            raise BundleError(self._explained(error)) from error
        if canary is not None and takes_part(self._station, _custom(canary, "model"), _share(canary)):
            return Offer(canary, True, _custom(canary, "model"))
        if stable is None:
            raise BundleError(f"the repository has no {self._name} for this station: publish it, or see to its name")
        return Offer(stable, False, _custom(stable, "model"))

    def fetch(self, offer: Offer, folder: Path, trust: Trust | None = None) -> Bundle:
        """Fetch the bundle and its signatures into `folder` and verify it; raises BundleError where one is wrong."""
        if offer.target.length > LIMIT:
            raise BundleError(f"the release has {offer.target.length} bytes, more than a bundle may have ({LIMIT})")
        fetched = folder / self._name
        self._download(offer.target, fetched)
        signatures = self._updater.get_targetinfo(f"{offer.target.path}.sig")
        if signatures is not None:
            self._download(signatures, signature_file(fetched))
        bundle = Bundle.open(fetched, trust=trust)
        if bundle.digest != offer.digest:
            raise BundleError(f"the release is {bundle.digest[:12]} and was announced as {offer.digest[:12]}")
        return bundle

    def is_refused(self, digest: str) -> bool:
        """Whether this station has rolled that bundle back."""
        return digest in self._rolled_back()

    def refuse(self, digest: str) -> None:
        """Do not take that bundle again."""
        write_file(self._refused, json.dumps([*self._rolled_back(), digest]).encode() + b"\n")

    def _rolled_back(self) -> list[str]:
        return [str(one) for one in json.loads(self._refused.read_bytes())] if self._refused.exists() else []

    def _download(self, target: TargetFile, file: Path) -> None:
        try:
            self._updater.download_target(target, str(file), self._blobs)
        except (tuf.RepositoryError, tuf.DownloadError) as error:
            raise BundleError(self._explained(error)) from error

    def _explained(self, error: Exception) -> str:
        """What is wrong with the release, in a sentence that names the kind of attack it would be."""
        file = self._fetcher.last.rpartition("/")[2] or "the repository"
        words = " ".join(str(error).split())
        for kind, said in _SAID.items():
            if isinstance(error, kind):
                return f"the update is refused: {file} {said} ({words})"
        return f"the update is refused: {file}: {words}"


_SAID = {  # the first that fits
    tuf.ExpiredMetadataError: "has expired: it is kept from newer releases, or nobody has signed it in time",
    tuf.BadVersionNumberError: "is older than what this station has seen, or of another release than the rest",
    tuf.UnsignedMetadataError: "is not signed with the right keys",
    tuf.LengthOrHashMismatchError: "is cut short, altered, or mixed in from another release",
    tuf.DownloadLengthMismatchError: "does not end: more bytes come than the release has",
    tuf.SlowRetrievalError: "comes too slowly to be waited for",
    tuf.DownloadHTTPError: "cannot be had",
    tuf.DownloadError: "cannot be had",
}


def takes_part(station: str, model: str, share: float) -> bool:
    """Whether a station is among the `share` that gets a canary: by a hash, so that each model meets other stations."""
    drawn = int.from_bytes(hashlib.sha256(f"{station}\0{model}".encode()).digest()[:8], "big")
    return drawn < share * 2**64


def station_name() -> str:
    """What this machine is known by: EDGEAD_STATION_NAME, else systemd's machine id, else its host name."""
    if given := os.environ.get("EDGEAD_STATION_NAME", "").strip():
        return given
    identity = Path("/etc/machine-id")
    return (identity.read_text().strip() if identity.is_file() else "") or os.uname().nodename


def _custom(target: TargetFile, name: str) -> str:
    return str((target.custom or {}).get(name, ""))


def _share(target: TargetFile) -> float:
    share = (target.custom or {}).get("share", MILLION)
    return share / MILLION if isinstance(share, int) else 0.0
