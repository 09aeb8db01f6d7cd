"""A release at a station that runs: it is kept where it judges as the one before, and taken back where it is worse."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import tiny
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from programs import free_port, until

from edgead import Bundle
from edgead.errors import BundleError, GateError
from edgead.exposition import label, scrape, total
from edgead.updates.pull import Client, Origin
from edgead.updates.repository import Keys, Repository
from edgead.updates.rollout import Station, roll_out
from edgead.updates.watch import Counts, Limits, find_faults

KEY = Ed25519PrivateKey.generate()
LIMITS = Limits(seconds=3.0, least=30, loading=20.0, every=0.05)


def bundle(path: Path, threshold: float, name: str) -> Bundle:
    """What is brighter than `threshold` is NG; the frames of the line are about 0.4."""
    thresholds = msgspec.structs.replace(
        tiny.THRESHOLDS, image=threshold, image_center=0.05, pixel=threshold, pixel_center=0.05
    )
    artifact = msgspec.structs.replace(tiny.manifest().artifacts[0], thresholds=thresholds)
    return tiny.write_tiny(path, name=name, artifacts=(artifact,))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """`edgead run` on a camera that shows the same: its process, the address of its metrics, and its bundle."""
    out = tmp_path / "station" / "part.edgead"
    bundle(out, 0.95, "first")
    port = free_port()
    command = [sys.executable, "-m", "edgead", "--quiet", "run", "--bundle", out, "--engine", "onnx", "--no-health"]
    command += ["--source", "synthetic:64x48@100", "--sink", f"metrics:{port}", "--threads", "1"]
    process = subprocess.Popen([*map(str, command)], cwd=tmp_path, stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        until(lambda: answers(url) > 60, 30)
        yield process, url, out
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def answers(url: str) -> float:
    try:
        return total(scrape(url), "edgead_results_total")
    except Exception:
        return 0.0


def test_a_worse_bundle_is_taken_back_and_a_like_one_is_kept(line, tmp_path: Path) -> None:
    process, url, out = line
    repository, said = Repository(tmp_path / "updates"), list[str]()
    first = Bundle.open(out).digest
    station = Station(out, reload=("kill", "-HUP", str(process.pid)), metrics=url, limits=LIMITS)

    def release(threshold: float, name: str) -> Bundle | None:
        made = bundle(tmp_path / "part.edgead", threshold, name)
        repository.publish(made, Keys(KEY, KEY), lifetime=timedelta(days=1))
        client = Client(Origin(str(tmp_path / "updates"), repository.root_file), "part.edgead", "s", tmp_path / "state")
        return roll_out(client, client.offer(), station, said.append)

    with pytest.raises(
        GateError, match=r"was worse and the old bundle is in force again: \d+\.\d% of the parts are NG, before"
    ):
        release(0.06, "refuses all")
    assert Bundle.open(out).digest == first
    until(lambda: label(scrape(url), "edgead_info", "bundle") == first[:12], 10)
    with pytest.raises(BundleError, match="was worse here and rolled back"):
        release(0.06, "refuses all")
    kept = release(0.9, "as good")
    assert kept is not None
    until(lambda: label(scrape(url), "edgead_info", "bundle") == kept.digest[:12], 10)
    assert release(0.9, "as good") is None  # the station has it
    assert process.poll() is None


def counts(results: float, ng: float, drift: float = 0.0) -> Counts:
    return Counts("m", results, {"NG": ng, "REVIEW": 0, "INVALID": 0, "LATE": 0}, drift)


@pytest.mark.parametrize(
    ("old", "new", "worse"),
    [
        (counts(10_000, 100), counts(1_000, 12), False),  # 1.0 % and 1.2 %
        (counts(10_000, 100), counts(1_000, 40), True),  # 4 %
        (counts(10_000, 100), counts(49, 49), False),  # too few to say
        (counts(60, 0), counts(60, 3), False),  # may be chance
        (counts(10_000, 100), counts(1_000, 10, drift=1.0), True),
    ],
)
def test_worse_is_what_chance_does_not_explain(old: Counts, new: Counts, worse: bool) -> None:
    assert bool(find_faults(old, new, Limits())) is worse


def test_a_station_that_does_not_take_the_bundle_is_worse(line, tmp_path: Path) -> None:
    _, url, out = line
    before = out.read_bytes()
    repository = Repository(tmp_path / "updates")
    repository.publish(bundle(tmp_path / "part.edgead", 0.9, "new"), Keys(KEY, KEY), lifetime=timedelta(days=1))
    client = Client(Origin(str(tmp_path / "updates"), repository.root_file), "part.edgead", "s", tmp_path / "state")
    station = Station(out, reload=("true",), metrics=url, limits=Limits(1.0, loading=0.5, every=0.05))
    with pytest.raises(GateError, match="it has not taken"):
        roll_out(client, client.offer(), station, lambda _: None)
    assert out.read_bytes() == before


def test_the_commands(tmp_path: Path, edgead) -> None:
    bundle(tmp_path / "part.edgead", 0.9, "new")
    assert edgead("sign", "--new-key", "release.pem")[0] == 0
    code, said, _ = edgead("publish", "part.edgead", "--to", "updates", "--key", "release.pem")
    assert code == 0
    assert "1.root.json" in said
    options = ("--root", "updates/metadata/1.root.json", "--out", "station/part.edgead")
    code, said, err = edgead("pull", "updates", *options)
    assert (code, "part.edgead: " in said) == (0, True), err
    assert "nothing newer" in edgead("pull", "updates", *options)[1]
    assert edgead("publish", "--to", "updates", "--key", "release.pem", "--days", 2)[0] == 0
    assert edgead("pull", "updates", *options, "--watch", "http://127.0.0.1:1/metrics")[0] == 2
