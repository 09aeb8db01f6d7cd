"""Writes a repository of updates: a folder with metadata as The Update Framework (TUF 1.0) defines it, and bundles.

`metadata/` holds root, targets, snapshot and timestamp, each signed and with a date until which it holds; `targets/`
holds the bundles and their signatures under names that begin with their digest. A web server that serves the folder as
files is all that stations need. Files that are named by others are written first, so that a station that pulls
meanwhile sees the old release or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from edgead.bundle import Bundle
from edgead.bundle.signing import signature_file
from edgead.errors import BundleError, UsageError
from edgead.files import write_file

ROLES = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
OFFLINE, ONLINE = ROLES[:2], ROLES[2:]  # what the release key signs, and what the key of the server signs
LONG = timedelta(days=730)  # that root and targets hold
CANARY = "canary/"
MILLION = 1_000_000  # shares are written in its parts: canonical JSON has no fractions

T = TypeVar("T", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs: `release` root and targets, `online` snapshot and timestamp; `retired` is a key that goes."""

    release: Ed25519PrivateKey | None
    online: Ed25519PrivateKey | None
    retired: Ed25519PrivateKey | None = None

    def of(self, role: str) -> Ed25519PrivateKey | None:
        """The key that signs a role."""
        return self.release if role in OFFLINE else self.online


class Repository:
    """The folder of a repository."""

    def __init__(self, folder: Path) -> None:
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self._folder = folder

    @property
    def root_file(self) -> Path:
        """The first root: what a station is given by hand, once."""
        return self.metadata / "1.root.json"

    def begin(self, keys: Keys) -> None:
        """Make a new repository; raises UsageError without both keys."""
        if keys.release is None or keys.online is None:
            raise UsageError(f"{self._folder} is a new repository: give --key FILE.pem, the key of its root")
        now = datetime.now(timezone.utc).replace(microsecond=0)
        root = Root(expires=now + LONG, consistent_snapshot=True)
        for role in ROLES:
            key = keys.of(role)
            assert key is not None
            root.add_key(CryptoSigner(key).public_key, role)
        self._write(root, keys)
        self._write(Targets(expires=now + LONG), keys)

    def publish(self, bundle: Bundle | None, keys: Keys, *, share: float = 1.0, lifetime: timedelta) -> None:
        """Add `bundle` for a `share` of the stations (below 1 it is a canary), and sign the release anew.

        Snapshot and timestamp then hold for `lifetime`. Without a bundle only their dates are renewed. Raises
        UsageError for keys that the repository does not know, BundleError for metadata that cannot be read.
        """
        if not self.root_file.exists():
            self.begin(keys)
        if keys.retired is not None:
            self._rotate(keys)
        self._check(keys)
        targets = self._newest(Targets)
        if bundle is not None:
            if keys.release is None:
                raise UsageError("a bundle is released with the key of the root: give --key FILE.pem")
            targets.targets = self._with(targets.targets, bundle, share)
            targets.version += 1
            targets.expires = self._now() + LONG
            self._write(targets, keys)
        elif keys.retired is not None:  # signed anew with the key that stays
            targets.version += 1
            self._write(targets, keys)
        self._seal(targets, keys, lifetime)

    def _with(self, present: Mapping[str, TargetFile], bundle: Bundle, share: float) -> dict[str, TargetFile]:
        """The targets with the bundle among them. A release for all ends the canary of its name."""
        assert bundle.path is not None
        name = bundle.path.name
        new = dict(present)
        for path in (f"{CANARY}{name}", f"{CANARY}{name}.sig"):
            new.pop(path, None)
        prefix = CANARY if share < 1 else ""
        more = {"share": round(share * MILLION), "model": bundle.digest, "name": bundle.manifest.name}
        signatures = signature_file(bundle.path)
        files = [(f"{prefix}{name}", bundle.path.read_bytes(), more)]
        if signatures.exists():
            files.append((f"{prefix}{name}.sig", signatures.read_bytes(), {}))
        else:
            new.pop(f"{prefix}{name}.sig", None)
        for path, raw, custom in files:
            new[path] = _target(path, raw, custom)
            folder, _, base = path.rpartition("/")
            write_file(self.targets / folder / f"{new[path].hashes['sha256']}.{base}", raw)
        return new

    def _rotate(self, keys: Keys) -> None:
        """A new root that knows the new key in place of the retired one, signed with both."""
        root = self._newest(Root)
        assert keys.retired is not None
        old = CryptoSigner(keys.retired).public_key.keyid
        for role in ROLES:
            key = keys.of(role)
            if old in root.roles[role].keyids and key is not None:
                root.revoke_key(old, role)
                root.add_key(CryptoSigner(key).public_key, role)
        root.version += 1
        root.expires = self._now() + LONG
        self._write(root, keys)

    def _check(self, keys: Keys) -> None:
        """Raise UsageError for a key that stations would not accept."""
        root = self._newest(Root)
        for role in ROLES:
            key = keys.of(role)
            if key is not None and CryptoSigner(key).public_key.keyid not in root.roles[role].keyids:
                raise UsageError(f"the key is not that of the repository's {role}: give the one it was made with")

    def _seal(self, targets: Targets, keys: Keys, lifetime: timedelta) -> None:
        """Snapshot and timestamp of the release as it now is."""
        until = self._now() + lifetime
        raw = self._path(Targets.type, targets.version).read_bytes()
        snapshot = Snapshot(
            version=self._version(Snapshot) + 1, expires=until, meta={"targets.json": _meta(targets.version, raw)}
        )
        sealed = self._write(snapshot, keys)
        named = _meta(snapshot.version, sealed)
        self._write(Timestamp(version=self._version(Timestamp) + 1, expires=until, snapshot_meta=named), keys)

    def _newest(self, kind: type[T]) -> T:
        version = self._version(kind)
        path = self._path(kind.type, version)
        try:
            return Metadata[T].from_file(str(path)).signed
        except (RepositoryError, OSError) as error:
            raise BundleError(f"{path} cannot be read: {error}; restore the repository from a copy") from error

    def _version(self, kind: type[T]) -> int:
        if kind is Timestamp:  # the one file without its version in its name
            path = self._path(Timestamp.type, 0)
            return Metadata[Timestamp].from_file(str(path)).signed.version if path.exists() else 0
        found = [path.name.partition(".")[0] for path in self.metadata.glob(f"*.{kind.type}.json")]
        return max((int(number) for number in found if number.isdecimal()), default=0)

    def _write(self, signed: Any, keys: Keys) -> bytes:
        """Sign and write metadata; gives its bytes."""
        metadata = Metadata(signed)
        key = keys.of(signed.type)
        signers = [key, keys.retired] if signed.type == Root.type else [key]
        for one in filter(None, signers):
            metadata.sign(CryptoSigner(one), append=True)
        if not metadata.signatures:
            raise UsageError(f"{signed.type} has to be signed: give --key, or --online-key for the dates alone")
        raw = bytes(metadata.to_bytes())
        write_file(self._path(signed.type, signed.version), raw)
        return raw

    def _path(self, role: str, version: int) -> Path:
        return self.metadata / (f"{role}.json" if role == Timestamp.type else f"{version}.{role}.json")

    @staticmethod
    def _now() -> datetime:
        return datetime.now(timezone.utc).replace(microsecond=0)


def _target(path: str, raw: bytes, custom: Mapping[str, Any]) -> TargetFile:
    found = TargetFile.from_data(path, raw, ["sha256"])
    if custom:
        found.unrecognized_fields["custom"] = dict(custom)
    return found


def _meta(version: int, raw: bytes) -> MetaFile:
    return MetaFile.from_data(version, raw, ["sha256"])
