"""Signatures of bundles: who has signed what, until when, and what a station that demands one refuses."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import tiny
from programs import need

from edgead import Bundle, Detector
from edgead.bundle.signing import KEPT, Trust, make_key, read_key, read_trust, sign, signature_file
from edgead.errors import BundleError, UsageError

Output = tuple[int, str, str]


@pytest.fixture
def path(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that may be signed and spoiled."""
    return Path(shutil.copy(tiny_bundle, tmp_path / "part.edgead"))


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A private key and its public one."""
    return folder / f"{name}.pem", make_key(folder / f"{name}.pem")[0]


def signed(path: Path, name: str, lifetime: timedelta | None = None) -> Path:
    """Sign with a new key of that name; gives the public key."""
    private, public = keys(path.parent, name)
    sign(Bundle.open(path), read_key(private), lifetime)
    return public


def refused(path: Path, trust: Trust, match: str) -> None:
    with pytest.raises(BundleError, match=match):
        Bundle.open(path, trust=trust)


def test_a_signed_bundle_is_opened_and_its_bytes_are_as_before(path: Path) -> None:
    before = path.read_bytes()
    trust = read_trust([signed(path, "release")])
    bundle = Bundle.open(path, trust=trust)
    assert path.read_bytes() == before
    assert trust.check(bundle).statement.bundle == bundle.digest
    assert trust.check(bundle).statement.expires is None


def test_unsigned_is_refused(path: Path, tmp_path: Path) -> None:
    refused(path, read_trust([keys(tmp_path, "release")[1]]), r"no signatures at .*part\.edgead\.sig.*sign it")


def test_another_key_is_refused_by_its_id(path: Path, tmp_path: Path) -> None:
    public = signed(path, "mine")
    (mine,) = read_trust([public]).keys
    refused(path, read_trust([keys(tmp_path, "theirs")[1]]), f"signed with the key {mine[:12]}, which is not trusted")


def test_other_contents_under_an_old_signature_are_refused(path: Path) -> None:
    public = signed(path, "release")
    tiny.write_tiny(path, name="another")
    refused(path, read_trust([public]), "no signature of these contents")


def test_an_altered_statement_is_refused(path: Path) -> None:
    """The attacker writes the digest of his bundle, or a later date, into a statement that was signed."""
    public = signed(path, "release", timedelta(days=1))
    file = signature_file(path)
    envelope = json.loads(file.read_text())
    statement = json.loads(base64.b64decode(envelope["payload"])) | {"expires": None}
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    file.write_text(json.dumps(envelope, separators=(",", ":")) + "\n")
    refused(path, read_trust([public]), "the signature with the key .* is false")


def test_an_expired_signature_is_refused_with_its_date(path: Path) -> None:
    public = signed(path, "release", timedelta(seconds=-1))
    refused(path, read_trust([public]), r"its signature has expired on \d{4}-\d\d-\d\d")


def test_a_clock_that_is_far_behind_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = signed(path, "release")
    monkeypatch.setattr("edgead.bundle.signing.SLACK", timedelta(seconds=-5))
    refused(path, read_trust([public]), "which this machine's clock has not reached")


def test_keys_are_rotated_while_both_are_trusted(path: Path) -> None:
    old, new = signed(path, "old"), signed(path, "new")
    for trusted in ([old], [new], [old, new]):
        assert Bundle.open(path, trust=read_trust(trusted)).trust is not None
    sign(Bundle.open(path), read_key(path.parent / "new.pem"))
    assert len(signature_file(path).read_text().splitlines()) == 2  # signing again replaces


def test_a_bundle_that_replaces_another_leaves_the_old_one_signed(path: Path) -> None:
    public = signed(path, "release")
    tiny.write_tiny(path, name="newer")
    sign(Bundle.open(path), read_key(path.parent / "release.pem"))
    trust = read_trust([public])
    assert Bundle.open(path, trust=trust).manifest.name == "newer"
    path.with_name("part.edgead.old").replace(path)
    assert Bundle.open(path, trust=trust).manifest.name == "tiny"


def test_only_the_newest_signatures_are_kept(path: Path) -> None:
    public = signed(path, "release")
    for number in range(KEPT + 3):
        tiny.write_tiny(path, provenance={"round": number})
        sign(Bundle.open(path), read_key(path.parent / "release.pem"))
    assert len(signature_file(path).read_text().splitlines()) == KEPT
    assert Bundle.open(path, trust=read_trust([public]))


@pytest.mark.parametrize("spoiled", [b"", b"no json\n", b"[]\n", b'{"payloadType":1}\n', b"\xff\xfe", b"{" * 4000])
def test_a_spoiled_file_of_signatures_is_refused(path: Path, spoiled: bytes) -> None:
    public = signed(path, "release")
    signature_file(path).write_bytes(spoiled)
    refused(path, read_trust([public]), r"part\.edgead\.sig")


def test_a_detector_that_changes_its_bundle_keeps_its_trust(path: Path) -> None:
    with Detector(Bundle.open(path, trust=read_trust([signed(path, "release")])), engine="onnx") as detector:
        detector.reopen(path).close()
        signature_file(path).unlink()
        with pytest.raises(BundleError, match="no signatures"):
            detector.reopen(path)


def test_openssl_makes_keys_too(path: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "openssl.pem", tmp_path / "openssl.pub.pem"
    openssl = need("openssl")
    subprocess.run([openssl, "genpkey", "-algorithm", "ed25519", "-out", private], check=True, capture_output=True)
    subprocess.run([openssl, "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    sign(Bundle.open(path), read_key(private))
    assert Bundle.open(path, trust=read_trust([public]))


def test_openssl_verifies_what_was_signed(path: Path, tmp_path: Path) -> None:
    """An independent program, over the encoding that DSSE's specification gives."""
    public = signed(path, "release")
    envelope = json.loads(signature_file(path).read_text())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    (tmp_path / "message").write_bytes(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = [need("openssl"), "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"]
    subprocess.run(
        [*command, "-in", tmp_path / "message", "-sigfile", tmp_path / "sig"], check=True, capture_output=True
    )


def test_a_password_keeps_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_KEY_PASSWORD", "correct horse")
    private, _ = keys(tmp_path, "release")
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in private.read_bytes()
    assert read_key(private)
    monkeypatch.setenv("EDGEAD_KEY_PASSWORD", "wrong")
    with pytest.raises(UsageError, match="its password is another"):
        read_key(private)
    monkeypatch.delenv("EDGEAD_KEY_PASSWORD")
    with pytest.raises(UsageError, match="set EDGEAD_KEY_PASSWORD"):
        read_key(private)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    private, public = keys(tmp_path, "release")
    (tmp_path / "text").write_text("no key")
    with pytest.raises(UsageError, match=r"no public key|no key in PEM"):
        read_trust([private])
    for path in (public, tmp_path / "text"):
        with pytest.raises(UsageError, match="no key in PEM"):
            read_key(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_trust([tmp_path / "absent.pem"])
    with pytest.raises(UsageError, match="there already"):
        make_key(private)


def test_the_commands(path: Path, edgead: object) -> None:
    def call(*arguments: object) -> Output:
        return edgead(*arguments)

    assert call("sign", "--new-key", "release.pem")[0] == 0
    assert call("verify", path, "--key", "release.pub.pem")[0] == 1
    code, out, _ = call("sign", path, "--key", "release.pem", "--days", 30)
    assert code == 0
    assert "until" in out
    code, _, said = call("verify", path, "--key", "release.pub.pem", "--engine", "onnx")
    assert code == 0
    assert "signed with the key" in said
    assert call("sign", path)[0] == 2


def test_a_station_that_demands_a_signature_takes_no_other_bundle(path: Path, parts: Path, edgead: object) -> None:
    public = signed(path, "release")
    station = path.with_name("station.yaml")
    station.write_text(f"bundle: {path}\nsource: {parts}\ntrust: [{public}]\nengine: onnx\n")
    code, _, said = edgead("run", "--station", station)
    assert code == 0, said
    signature_file(path).unlink()
    code, _, said = edgead("run", "--station", station)
    assert code == 1
    assert "no signatures at" in said
