"""A bundle is put into force and taken back in one step: noted, signed, undone again, and whole after a power cut."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import power_cut
import pytest
import tiny

from edgead.bundle import Bundle
from edgead.errors import BundleError, UsageError
from edgead.stream.audit import AuditLog
from edgead.stream.promotion import KEPT, Versions


@pytest.fixture
def versions(tmp_path: Path) -> Iterator[Versions]:
    with power_cut.versions(tmp_path) as versions:
        yield versions


def bundles(folder: Path, *names: str) -> list[str]:
    """Different bundles by these names; gives their digests."""
    folder.mkdir(parents=True, exist_ok=True)
    return [tiny.write_tiny(folder / f"{name}.edgead", provenance={"seed": name}).digest for name in names]


def audit(folder: Path) -> list[tuple[str, str, str, str]]:
    entries = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    return [(entry["what"], entry["old"], entry["new"], entry["who"]) for entry in entries]


def in_force(folder: Path) -> str:
    return Bundle.open(folder / "station.edgead").digest


def test_a_promotion_is_undone_step_by_step(tmp_path: Path, versions: Versions) -> None:
    first, second, third = bundles(tmp_path, "station", "new", "third")
    assert versions.history() == []
    assert not versions.can_roll_back()
    versions.promote(tmp_path / "new.edgead", "ada")
    assert in_force(tmp_path) == second
    with pytest.raises(UsageError, match="in force already"):
        versions.promote(tmp_path / "new.edgead", "ada")
    versions.promote(tmp_path / "third.edgead", "bob")
    assert versions.rollback("bob").new == second == in_force(tmp_path)
    assert versions.rollback("ada").new == first == in_force(tmp_path)
    with pytest.raises(UsageError, match="nothing to go back to"):
        versions.rollback("ada")
    versions.promote(tmp_path / "third.edgead", "ada")
    assert versions.rollback("ada").new == first
    assert audit(tmp_path)[:4] == [
        ("promote", first[:12], second[:12], "ada"),
        ("promote", second[:12], third[:12], "bob"),
        ("rollback", third[:12], second[:12], "bob"),
        ("rollback", second[:12], first[:12], "ada"),
    ]
    assert [(change.what, change.who) for change in versions.history()][-1] == ("rollback", "ada")


def test_what_was_put_there_by_hand_is_not_rolled_back(tmp_path: Path, versions: Versions) -> None:
    bundles(tmp_path, "station", "new", "hand")
    versions.promote(tmp_path / "new.edgead", "ada")
    shutil.copyfile(tmp_path / "hand.edgead", tmp_path / "station.edgead")
    with pytest.raises(UsageError, match="nothing to go back to"):
        versions.rollback("ada")


def test_a_damaged_bundle_is_never_put_into_force(tmp_path: Path, versions: Versions) -> None:
    first, _ = bundles(tmp_path, "station", "new")
    raw = bytearray((tmp_path / "new.edgead").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "new.edgead").write_bytes(raw)
    with pytest.raises(BundleError, match="was altered"):
        versions.promote(tmp_path / "new.edgead", "ada")
    assert in_force(tmp_path) == first
    assert not (tmp_path / "audit.jsonl").exists()


def test_a_lost_version_is_said(tmp_path: Path, versions: Versions) -> None:
    first, second = bundles(tmp_path, "station", "new")
    versions.promote(tmp_path / "new.edgead", "ada")
    (tmp_path / f"station.edgead.versions/{first}.edgead").unlink()
    with pytest.raises(BundleError, match="no longer in"):
        versions.rollback("ada")
    assert in_force(tmp_path) == second


def test_signatures_travel_along(tmp_path: Path, versions: Versions) -> None:
    bundles(tmp_path, "station", "new")
    (tmp_path / "station.edgead.sig").write_bytes(b'{"old": 1}\n')
    (tmp_path / "new.edgead.sig").write_bytes(b'{"new": 1}\n')
    versions.promote(tmp_path / "new.edgead", "ada")
    assert (tmp_path / "station.edgead.sig").read_bytes() == b'{"old": 1}\n{"new": 1}\n'
    (tmp_path / "station.edgead.sig").write_bytes(b'{"new": 1}\n')
    versions.rollback("ada")
    assert (tmp_path / "station.edgead.sig").read_bytes() == b'{"new": 1}\n{"old": 1}\n'


def test_what_is_not_trusted_is_not_promoted(tmp_path: Path) -> None:
    class Nobody:
        def check(self, bundle: Bundle) -> object:
            raise BundleError("no signature of these contents")

    first, _ = bundles(tmp_path, "station", "new")
    versions = Versions(tmp_path / "station.edgead", AuditLog(), Nobody())
    with pytest.raises(BundleError, match="no signature"):
        versions.promote(tmp_path / "new.edgead", "ada")
    assert in_force(tmp_path) == first


def test_the_first_bundle_of_a_station(tmp_path: Path, versions: Versions) -> None:
    (new,) = bundles(tmp_path, "new")
    assert versions.promote(tmp_path / "new.edgead", "ada").old == ""
    assert in_force(tmp_path) == new
    with pytest.raises(UsageError, match="nothing to go back to"):
        versions.rollback("ada")


def test_old_versions_go(tmp_path: Path, versions: Versions) -> None:
    bundles(tmp_path, "station", "new", "third")
    for number in range(KEPT + 3):
        tiny.write_tiny(tmp_path / "next.edgead", provenance={"seed": number})
        versions.promote(tmp_path / "next.edgead", "ada")
    assert len(list((tmp_path / "station.edgead.versions").glob("*.edgead"))) == KEPT + 1


def test_the_commands(edgead, tmp_path: Path) -> None:
    first, second = bundles(tmp_path, "station", "new")
    (tmp_path / "station.yaml").write_text(
        "bundle: station.edgead\nshadow: new.edgead\ncamera: 0\naudit: audit.jsonl\n"
    )
    code, out, _ = edgead("promote", "--station", "station.yaml", "--by", "ada", "--reload", "touch told")
    assert (code, out) == (0, f"station.edgead is {second[:12]}, was {first[:12]}\n")
    assert (tmp_path / "told").exists()
    assert edgead("rollback", "--station", "station.yaml")[0] == 0
    assert in_force(tmp_path) == first
    (entry, *_) = (json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines())
    assert (entry["station"], entry["persisted"]) == ("camera:0", True)
    assert edgead("promote", "--bundle", "station.edgead")[0] == 2
    assert edgead("promote", "new.edgead", "--bundle", "station.edgead", "--reload", "false")[0] == 1
    assert in_force(tmp_path) == second


def cut(folder: Path, what: str, every: int) -> list[dict[str, object]]:
    """What is left after kills at every so many-th line of a promotion or a rollback."""
    bundles(folder / "start", "station", "new", "third")
    if what == "rollback":
        with power_cut.versions(folder / "start") as versions:
            versions.promote(folder / "start/new.edgead", "eve")
    for name in ("station", "new"):
        (folder / f"start/{name}.edgead.sig").write_text(f'{{"{name}": 1}}\n')
    command = [sys.executable, power_cut.__file__, str(folder), what, str(every)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("what", ["promote", "rollback"])
@pytest.mark.parametrize("every", [40, pytest.param(1, marks=pytest.mark.slow)])
def test_a_power_cut_at_any_moment_leaves_one_bundle_or_the_other(tmp_path: Path, what: str, every: int) -> None:
    found = cut(tmp_path, what, every)
    assert len(found) >= 8
    assert {one["made"] for one in found} == {False, True}
    wrong = [one for one in found if not all(value for name, value in one.items() if name != "made")]
    assert wrong == []
