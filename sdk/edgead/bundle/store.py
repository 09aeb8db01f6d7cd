"""Reads and writes `.edgead` files.

A bundle is a plain zip archive, members stored uncompressed, `manifest.json` first, times fixed, so that
the same contents give the same bytes. The archive comment holds the SHA-256 of everything before it:
one changed byte anywhere is noticed, and every member's own digest stands in the manifest.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from edgead.bundle.judging import check_can_judge
from edgead.bundle.manifest import MEMBER_NAME, Manifest, Member, decode, encode
from edgead.bundle.network_file import needs_other_files
from edgead.errors import BundleError, UsageError
from edgead.files import write_file

MANIFEST = "manifest.json"
LIMIT = 2 << 30  # bytes of a whole bundle; it is read into memory to be verified before anything is parsed
_LABEL = b"edgead-sha256:"
_TRAILER = len(_LABEL) + 64


class Trust(Protocol):
    """What decides whose bundles are used (`edgead.bundle.signing`)."""

    def check(self, bundle: Bundle) -> object:
        """Raise BundleError unless the bundle, read from a file, is signed with a key that is trusted."""


class Bundle:
    """A verified bundle in memory: its manifest and its members."""

    def __init__(
        self, manifest: Manifest, members: Mapping[str, bytes], digest: str = "", path: Path | None = None
    ) -> None:
        """`digest` is that of the file it was read from; of one that is not written yet it is found when asked for."""
        self.manifest = manifest
        self.path = path
        self.trust: Trust | None = None  # that has accepted it, and has to accept what takes its place
        self._members = members
        self._digest = digest

    @property
    def digest(self) -> str:
        """SHA-256 of the file's contents, hex."""
        if not self._digest:
            self._digest = hashlib.sha256(_pack_all(self.manifest, self._members)[:-64]).hexdigest()
        return self._digest

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, trust: Trust | None = None) -> Bundle:
        """Read and verify a bundle; raises BundleError for anything that is not exactly what was written.

        With `trust` (`edgead.bundle.signing.read_trust`) also for one that is not signed with a trusted key.
        """
        path = Path(path)
        try:
            size = path.stat().st_size
            if not path.is_file():
                raise BundleError(f"{path} is not a file: name a .edgead file that `edgead build` wrote")
            if size > LIMIT:
                raise BundleError(f"{path} has {size} bytes, more than a bundle may have ({LIMIT})")
            raw = path.read_bytes()
        except FileNotFoundError:
            raise BundleError(f"there is no bundle at {path}: build one with `edgead build`") from None
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error
        try:
            bundle = cls._parse(raw, path)
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
        if trust is not None:
            trust.check(bundle)
            bundle.trust = trust
        return bundle

    @classmethod
    def _parse(cls, raw: bytes, path: Path | None) -> Bundle:
        if not raw.startswith(b"PK"):
            raise BundleError("this is not an edgead bundle; give a file that `edgead build` wrote")
        body, trailer = raw[:-64], raw[-_TRAILER:]
        digest = hashlib.sha256(body).hexdigest()
        if not trailer.startswith(_LABEL) or trailer[len(_LABEL) :] != digest.encode():
            raise BundleError("the file is cut short or was altered (its SHA-256 does not match); copy it again")
        try:
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                _refuse_overlaps(raw, archive)
                manifest, members = _unpack(archive)
        except BundleError:
            raise
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
            raise BundleError(f"the archive is damaged: {error}; copy it again") from error
        check_can_judge(manifest)
        return cls(manifest, members, digest, path)

    def read(self, name: str) -> bytes:
        """The bytes of a member."""
        try:
            return self._members[name]
        except KeyError:
            raise BundleError(f"the bundle has no member '{name}'") from None

    def share(self, known: dict[str, bytes]) -> None:
        """Hold what `known` has, by SHA-256, in its place and add the rest to it: equal members take memory once."""
        sums = self.manifest.members
        self._members = {name: known.setdefault(sums[name].sha256, data) for name, data in self._members.items()}

    def members(self) -> dict[str, bytes]:
        """All members but the manifest, name -> bytes."""
        return dict(self._members)


def write_bundle(path: str | os.PathLike[str], manifest: Manifest, members: Mapping[str, bytes]) -> Bundle:
    """Write a bundle atomically (temporary file, fsync, rename) and return it as read back and verified.

    The manifest's member table is filled in here. A bundle that is replaced is kept beside it as `<name>.old`, in place
    of the one before. On any failure the old file at `path` stays as it was.
    """
    path = Path(path)
    raw = _pack_all(manifest, members)
    bundle = Bundle._parse(raw, path)
    if path.is_file():
        write_file(path.with_name(f"{path.name}.old"), path.read_bytes())
    write_file(path, raw)
    return bundle


def check_target(path: Path) -> None:
    """Raise UsageError where a bundle may not be written to `path`: a folder, a file that is something else, or a place
    that cannot be written to."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the bundle a name, such as {path / 'parts.edgead'}")
    if path.exists() and path.suffix != ".edgead":
        try:
            Bundle.open(path)
        except BundleError as error:
            raise UsageError(f"{path} is no bundle and would be overwritten: end the name in .edgead") from error
    place = next(folder for folder in path.absolute().parents if folder.exists())
    if not place.is_dir():
        raise UsageError(f"the folder {path.parent} cannot be made: {place} is a file; give another --out")
    if not os.access(place, os.W_OK):
        raise UsageError(f"{place} cannot be written to: give another --out, or see to its permissions")


def list_members(members: Mapping[str, bytes]) -> dict[str, Member]:
    """What a manifest says of its members, by name."""
    return {
        name: Member(sha256=hashlib.sha256(members[name]).hexdigest(), size=len(members[name]))
        for name in sorted(members)
    }


def _pack_all(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """The file's bytes, with the member table filled in."""
    manifest = msgspec.structs.replace(manifest, members=list_members(members))
    return _pack({MANIFEST: encode(manifest), **{name: members[name] for name in sorted(members)}})


def _pack(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
        archive.comment = _LABEL + b"0" * 64
    body = buffer.getvalue()[:-64]
    return body + hashlib.sha256(body).hexdigest().encode()


def _refuse_overlaps(raw: bytes, archive: zipfile.ZipFile) -> None:
    """Raise BundleError where two members share bytes: the file would unpack to many times its size."""
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        start = info.header_offset
        name, extra = (int.from_bytes(raw[start + at : start + at + 2], "little") for at in (26, 28))
        if start < end:
            raise BundleError("members of the archive overlap: it was not written by `edgead build`")
        end = start + 30 + name + extra + info.compress_size  # 30 bytes: a member's local header
    if end > archive.start_dir:
        raise BundleError("members of the archive overlap: it was not written by `edgead build`")


def _refuse_other_files(manifest: Manifest, members: Mapping[str, bytes]) -> None:
    """Raise BundleError where a network takes tensors from files that no digest covers."""
    for name in sorted({artifact.member for artifact in manifest.artifacts}):
        if name in members and needs_other_files(members[name]):
            raise BundleError(f"the network '{name}' takes tensors from other files: export it with its data inside")


def _unpack(archive: zipfile.ZipFile) -> tuple[Manifest, dict[str, bytes]]:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    for info in infos:
        if not MEMBER_NAME.fullmatch(info.filename):
            raise BundleError(f"member name {info.filename!r} is not allowed in a bundle")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise BundleError(f"member '{info.filename}' is compressed, which bundles never are")
    if len(set(names)) != len(names):
        raise BundleError("the archive names a member twice")
    if not names or names[0] != MANIFEST:
        raise BundleError("the archive does not start with a manifest: it is not an edgead bundle")
    manifest = decode(archive.read(MANIFEST))
    if set(names[1:]) != set(manifest.members):
        odd = sorted(set(names[1:]) ^ set(manifest.members))
        raise BundleError(f"the archive and its manifest disagree about {', '.join(odd)}")
    members = {}
    for name, expected in manifest.members.items():
        info = archive.getinfo(name)
        if info.file_size != expected.size:
            raise BundleError(f"member '{name}' has {info.file_size} bytes, the manifest says {expected.size}")
        data = archive.read(name)
        if hashlib.sha256(data).hexdigest() != expected.sha256:
            raise BundleError(f"member '{name}' does not match its digest; copy the bundle again")
        members[name] = data
    _refuse_other_files(manifest, members)
    return manifest, members
