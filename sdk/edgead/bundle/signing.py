"""Signs bundles, and checks their signatures: Ed25519 over the bundle's digest, in DSSE envelopes.

Beside `part.edgead` lies `part.edgead.sig`, a line of JSON for each signature: an envelope of the Dead Simple Signing
Envelope, version 1 (github.com/secure-systems-lab/dsse), around a statement of the digest, the name and the dates. The
bundle itself stays as it is, and so does its digest, however many keys sign it. A key's id is the SHA-256 of its
SubjectPublicKeyInfo (DER), hex. Keys are PEM files, as `openssl genpkey -algorithm ed25519` writes them too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edgead.bundle.store import Bundle
from edgead.errors import BundleError, UsageError
from edgead.files import read_whole, write_file

PAYLOAD_TYPE = "application/vnd.edgead.bundle-signature.v1+json"
PASSWORD = "EDGEAD_KEY_PASSWORD"  # noqa: S105 - the variable's name
LIMIT = 1 << 20  # bytes of a file of signatures
KEPT = 32  # signatures in a file, the newest
SLACK = timedelta(days=1)  # that a station's clock may be behind the one a bundle was signed by


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed. Fields that this version does not know are ignored."""

    bundle: str  # SHA-256 of the file's contents, hex: `Bundle.digest`
    name: str
    signed: datetime
    expires: datetime | None = None


class EnvelopeSignature(msgspec.Struct, frozen=True):
    """One signature of an envelope, as DSSE writes it."""

    keyid: str
    sig: str  # base64


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of the file."""

    payload_type: str
    payload: str  # base64
    signatures: list[EnvelopeSignature]


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that was found good."""

    key_id: str
    statement: Statement


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys of which one must have signed a bundle. Keys are rotated by trusting the old and the new for a time."""

    keys: Mapping[str, Ed25519PublicKey]  # by id

    def check(self, bundle: Bundle) -> Signature:
        """The signature that `bundle`, read from a file, is accepted for; raises BundleError that says what is wrong.

        What is compared is the digest of the bytes that were read, so that a file exchanged meanwhile changes nothing.
        """
        assert bundle.path is not None
        file = signature_file(bundle.path)
        faults = []
        for envelope in _read_envelopes(file):
            found = self._accept(envelope, bundle.digest)
            if isinstance(found, Signature):
                return found
            faults += [found] if found else []
        why = faults[0] if faults else f"{file} has no signature of these contents"
        raise BundleError(f"{bundle.path} is not trusted here: {why}; sign it with `edgead sign`, or see to `trust:`")

    def _accept(self, envelope: Envelope, digest: str) -> Signature | str:
        """A good signature of the contents with that digest; else why not, empty where it is one of other contents."""
        payload = _decoded(envelope.payload)
        for one in envelope.signatures:
            key = self.keys.get(one.keyid)
            if key is None:
                if _statement(payload).bundle == digest:  # only to say whose it is: nothing was verified
                    return f"it is signed with the key {one.keyid[:12]}, which is not trusted"
                continue
            try:
                key.verify(_decoded(one.sig), _encoded(envelope.payload_type, payload))
            except InvalidSignature:
                return f"the signature with the key {one.keyid[:12]} is false"
            if envelope.payload_type != PAYLOAD_TYPE:
                return f"the key {one.keyid[:12]} has signed something else ({envelope.payload_type})"
            statement = _statement(payload)
            if statement.bundle == digest:
                return _outdated(statement) or Signature(one.keyid, statement)
        return ""


def read_trust(paths: Iterable[str | os.PathLike[str]]) -> Trust:
    """The public keys in PEM files; raises UsageError for a file that holds none."""
    keys = {}
    for path in map(Path, paths):
        key = _load(path, serialization.load_pem_public_key)
        if not isinstance(key, Ed25519PublicKey):
            raise UsageError(f"{path} is no public key for Ed25519: give the .pub.pem file of `edgead sign --new-key`")
        keys[key_id(key)] = key
    return Trust(keys)


def key_id(key: Ed25519PublicKey) -> str:
    """The SHA-256 of a public key in DER, hex."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def make_key(path: Path) -> tuple[Path, str]:
    """Write a new private key (mode 600, encrypted where EDGEAD_KEY_PASSWORD is set) and its public key beside it.

    Gives the public key's file, NAME.pub.pem, and the key's id. Raises UsageError where either file is there already.
    """
    public = path.with_name(f"{path.name.removesuffix('.pem')}.pub.pem")
    for file in (path, public):
        if file.exists():
            raise UsageError(f"{file} is there already: give the new key another name")
    key = Ed25519PrivateKey.generate()
    password = _password()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(key.private_bytes(pem, pkcs8, encryption))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write_file(public, key.public_key().public_bytes(pem, form))
    return public, key_id(key.public_key())


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file, decrypted with EDGEAD_KEY_PASSWORD; raises UsageError."""
    key = _load(path, lambda pem: serialization.load_pem_private_key(pem, _password()))
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is no private key for Ed25519: make one with `edgead sign --new-key FILE`")
    return key


def sign(bundle: Bundle, key: Ed25519PrivateKey, lifetime: timedelta | None = None) -> Signature:
    """Add a signature of `bundle`, read from a file, to the file beside it; one of the same key and contents gives way.

    It expires after `lifetime`, if given. Raises EdgeadError where the file cannot be written.
    """
    assert bundle.path is not None
    now = datetime.now(timezone.utc).replace(microsecond=0)
    expires = None if lifetime is None else now + lifetime
    statement = Statement(bundle=bundle.digest, name=bundle.manifest.name, signed=now, expires=expires)
    payload, name = msgspec.json.encode(statement), key_id(key.public_key())
    made = EnvelopeSignature(name, base64.b64encode(key.sign(_encoded(PAYLOAD_TYPE, payload))).decode())
    envelope = Envelope(payload_type=PAYLOAD_TYPE, payload=base64.b64encode(payload).decode(), signatures=[made])
    file = signature_file(bundle.path)
    others = [one for one in _read_envelopes(file) if not _is_of(one, name, bundle.digest)] if file.exists() else []
    write_signatures(file, [*others, envelope])
    return Signature(name, statement)


def write_signatures(file: Path, envelopes: Sequence[Envelope]) -> None:
    """Replace a file of signatures by the newest of `envelopes`, which stand in their order of age."""
    lines = dict.fromkeys(msgspec.json.encode(one) + b"\n" for one in envelopes)
    write_file(file, b"".join(list(lines)[-KEPT:]))


def signature_file(bundle: Path) -> Path:
    """Where the signatures of a bundle's file lie."""
    return bundle.with_name(f"{bundle.name}.sig")


def _read_envelopes(file: Path) -> list[Envelope]:
    try:
        if file.stat().st_size > LIMIT:
            raise BundleError(f"{file} is larger than signatures are: copy it again")
        return _parse(file.read_bytes(), str(file))
    except FileNotFoundError:
        raise BundleError(f"there are no signatures at {file}: copy it with the bundle, or sign it") from None
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}") from error


def _parse(raw: bytes, where: str) -> list[Envelope]:
    try:
        return msgspec.json.decode(b"[" + b",".join(raw.split()) + b"]", type=list[Envelope])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{where} cannot be read as signatures ({error}): copy the file again") from error


def _statement(payload: bytes) -> Statement:
    try:
        return msgspec.json.decode(payload, type=Statement)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"a signature's statement cannot be read ({error}): sign the bundle again") from error


def _outdated(statement: Statement) -> str:
    now = datetime.now(timezone.utc)
    if statement.expires is not None and now >= statement.expires:
        return f"its signature has expired on {statement.expires:%Y-%m-%d}"
    if statement.signed - now > SLACK:
        return f"it was signed on {statement.signed:%Y-%m-%d}, which this machine's clock has not reached"
    return ""


def _is_of(envelope: Envelope, key: str, digest: str) -> bool:
    return [one.keyid for one in envelope.signatures] == [key] and _statement(
        _decoded(envelope.payload)
    ).bundle == digest


def _encoded(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what the signature is of."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BundleError("a signature is damaged: copy its file again, or sign the bundle again") from error


def _password() -> bytes | None:
    return os.environ[PASSWORD].encode() if os.environ.get(PASSWORD) else None


def _load(path: Path, read: Callable[[bytes], object]) -> object:
    try:
        return read(read_whole(path))
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from error
    except TypeError as error:  # encrypted without a password, or the other way round
        raise UsageError(
            f"the key {path} cannot be opened: set {PASSWORD} if, and only if, it has a password"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} is no key in PEM, or its password is another: {error}") from error
