"""Updates over a loopback server: a release is taken, and each attack of TUF's list is refused by its name."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import tiny
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from served import Served, endless, send, serving, with_body

from edgead import Bundle
from edgead.bundle.signing import Trust, key_id, sign
from edgead.errors import BundleError, UsageError
from edgead.stream.audit import AuditLog
from edgead.stream.promotion import Versions
from edgead.updates.fetch import Fetcher, address_of
from edgead.updates.pull import Client, Origin, takes_part
from edgead.updates.repository import Keys, Repository
from edgead.updates.rollout import Station, roll_out

MONTH = timedelta(days=30)
KEY = Ed25519PrivateKey.generate()
KEYS = Keys(KEY, KEY)


class World:
    """A repository, a web server before it, and a station."""

    def __init__(self, folder: Path, server: Served) -> None:
        self.folder, self.server = folder, server
        self.repository = Repository(folder / "updates")
        self.out = folder / "station" / "part.edgead"
        self.station = "station 1"

    def release(self, name: str, *, keys: Keys = KEYS, lifetime: timedelta = MONTH, share: float = 1.0) -> Bundle:
        """Publish a bundle of that name as part.edgead."""
        path = self.folder / "part.edgead"
        bundle = tiny.write_tiny(path, name=name)
        self.repository.publish(bundle, keys, share=share, lifetime=lifetime)
        return bundle

    def client(self, place: str = "", blobs: str = "") -> Client:
        """The station's client, as a new process has it."""
        origin = Origin(place or self.server.url, self.repository.root_file, blobs)
        return Client(origin, "part.edgead", self.station, self.folder / "state")

    def pull(self, trust: Trust | None = None) -> str:
        """The name of the bundle that the station then has."""
        return self.take(self.client(), trust)

    def take(self, client: Client, trust: Trust | None = None) -> str:
        """The same of a client of its own."""
        taken = roll_out(client, client.offer(), Station(self.out, trust), lambda _: None)
        return (taken or Bundle.open(self.out)).manifest.name

    def refused(self, match: str) -> None:
        """A pull fails with that, and the station keeps what it has."""
        before = self.out.read_bytes() if self.out.exists() else None
        with pytest.raises(BundleError, match=match):
            self.pull()
        assert (self.out.read_bytes() if self.out.exists() else None) == before

    def copy(self, name: str) -> Path:
        """The repository as it now is, elsewhere."""
        return Path(shutil.copytree(self.folder / "updates", self.folder / name))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path / "updates") as server:
        yield World(tmp_path, server)


def test_a_release_is_taken_and_the_old_bundle_can_be_had_back(world: World) -> None:
    world.release("one")
    assert world.pull() == "one"
    world.release("two")
    assert world.pull() == "two"
    with Versions(world.out, AuditLog()) as versions:
        versions.rollback("test")
    assert Bundle.open(world.out).manifest.name == "one"


def test_a_folder_serves_as_well(world: World) -> None:
    world.release("one")
    assert world.take(world.client(str(world.folder / "updates"))) == "one"


def test_expired(world: World) -> None:
    """Frozen: the attacker serves what was right once, and nothing newer."""
    world.release("one", lifetime=timedelta(seconds=-1))
    world.refused(r"timestamp\.json has expired: it is kept from newer releases")


def test_replayed(world: World) -> None:
    """Rollback: an old release with all its good signatures."""
    world.release("one")
    old = world.copy("old")
    world.release("two")
    assert world.pull() == "two"
    world.server.folder = old
    world.refused(r"timestamp\.json is older than what this station has seen")


def test_mixed(world: World) -> None:
    """Each file is signed and from another release."""
    world.release("one")
    old = (world.repository.metadata / "1.snapshot.json").read_bytes()
    world.release("two")
    world.server.answers["2.snapshot.json"] = with_body(old)
    world.refused(r"2\.snapshot\.json is cut short, altered, or mixed in from another release")


@pytest.mark.parametrize("file", ["part.edgead", "2.targets.json", "timestamp.json"])
def test_truncated(world: World, file: str) -> None:
    world.release("one")
    (path,) = world.server.folder.rglob(f"*{file}")
    world.server.answers[file] = with_body(path.read_bytes()[:-7])
    world.refused(rf"{file}( is cut short, altered, or mixed in|: .*deserialize)")


def test_altered(world: World) -> None:
    world.release("one")
    (path,) = world.repository.targets.glob("*.part.edgead")
    world.server.answers["part.edgead"] = with_body(path.read_bytes().replace(b"tiny", b"tinz"))
    world.refused(r"part\.edgead is cut short, altered")


@pytest.mark.parametrize("file", ["part.edgead", "timestamp.json", "2.root.json"])
def test_endless(world: World, file: str) -> None:
    world.release("one")
    world.server.answers[file] = endless
    world.refused(rf"{file} does not end: more bytes come than the release has")


def test_slow(world: World) -> None:
    """A byte now and then keeps a connection alive, and the station waiting."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b"{")
            handler.wfile.flush()
            time.sleep(0.02)

    world.release("one")
    world.server.answers["timestamp.json"] = drip
    client = world.client()
    client._fetcher._whole_s = 0.2
    with pytest.raises(BundleError, match=r"timestamp\.json comes too slowly"):
        client.offer()


def test_wrong_key(world: World) -> None:
    """A whole repository of the attacker's, with keys of his own."""
    world.release("one")
    theirs = Ed25519PrivateKey.generate()
    other = World(world.folder / "other", world.server)
    (world.folder / "other").mkdir()
    other.release("theirs", keys=Keys(theirs, theirs))
    world.server.folder = world.folder / "other" / "updates"
    world.refused(r"timestamp\.json is not signed with the right keys")


def test_a_root_that_the_old_keys_have_not_signed(world: World) -> None:
    world.release("one")
    theirs = Ed25519PrivateKey.generate()
    forged = Repository(world.folder / "forged")
    forged.begin(Keys(theirs, theirs))
    raw = json.loads(forged.root_file.read_bytes())
    raw["signed"]["version"] = 2
    world.server.answers["2.root.json"] = with_body(json.dumps(raw).encode())
    world.refused(r"2\.root\.json is not signed with the right keys")


def test_a_bundle_that_no_release_names(world: World) -> None:
    world.release("one")
    client = Client(Origin(world.server.url, world.repository.root_file), "other.edgead", "s", world.folder / "state")
    with pytest.raises(BundleError, match=r"no other\.edgead for this station"):
        client.offer()


def test_absent(world: World) -> None:
    world.release("one")
    world.server.answers["timestamp.json"] = lambda handler: send(handler, b"", 500)
    world.refused(r"timestamp\.json cannot be had .*500")


def test_a_key_is_rotated_and_the_old_one_signs_nothing_more(world: World) -> None:
    world.release("one")
    assert world.pull() == "one"
    new = Ed25519PrivateKey.generate()
    world.release("two", keys=Keys(new, new, retired=KEY))
    assert world.pull() == "two"
    with pytest.raises(UsageError, match="not that of the repository's root"):
        world.release("three")
    world.release("three", keys=Keys(new, new))
    assert world.pull() == "three"


def test_the_key_of_the_server_renews_dates_and_releases_nothing(world: World) -> None:
    online = Ed25519PrivateKey.generate()
    world.release("one", keys=Keys(KEY, online), lifetime=timedelta(seconds=-1))
    world.refused("has expired")
    world.repository.publish(None, Keys(None, online), lifetime=MONTH)
    assert world.pull() == "one"
    with pytest.raises(UsageError, match="with the key of the root"):
        world.release("two", keys=Keys(None, online))


def test_a_canary_reaches_its_share_until_it_is_for_all(world: World) -> None:
    world.release("stable")
    model = world.release("new", share=0.25).digest
    stations = [f"station {number}" for number in range(400)]
    part = [name for name in stations if takes_part(name, model, 0.25)]
    assert 70 < len(part) < 130
    world.station = part[0]
    assert world.client().offer().canary
    assert world.pull() == "new"
    world.station = next(name for name in stations if name not in part)
    assert world.pull() == "stable"
    world.release("new")
    assert not world.client().offer().canary
    assert world.pull() == "new"


def test_signatures_come_along_and_are_demanded(world: World) -> None:
    bundle = world.release("one")
    trust = Trust({key_id(KEY.public_key()): KEY.public_key()})
    with pytest.raises(BundleError, match="no signatures"):
        world.pull(trust)
    assert not world.out.exists()
    sign(bundle, KEY)
    world.repository.publish(bundle, KEYS, lifetime=MONTH)
    assert world.pull(trust) == "one"
    assert Bundle.open(world.out, trust=trust)


def test_a_registry_gives_a_bundle_by_its_digest(world: World) -> None:
    """As the OCI distribution spec has it: the first answer asks for a token, which another address gives."""
    world.release("one")
    (path,) = world.repository.targets.glob("*.part.edgead")
    digest = path.name.partition(".")[0]

    def blob(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Authorization") == "Bearer secret":
            send(handler, path.read_bytes())
        else:
            realm = f'Bearer realm="{world.server.url}/token",service="here",scope="repository:plant/bundles:pull"'
            send(handler, b"", 401, WWW_Authenticate=realm)

    world.server.answers[f"v2/plant/bundles/blobs/sha256:{digest}"] = blob
    world.server.answers["token"] = with_body(b'{"token": "secret"}')
    client = world.client(blobs=f"oci+http://127.0.0.1:{world.server.port}/plant/bundles")
    assert world.take(client) == "one"


def test_nothing_is_fetched_offline_or_from_elsewhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.release("one")
    with pytest.raises(UsageError, match="no place of updates"):
        address_of("ftp://host/updates")
    with pytest.raises(Exception, match="lies outside"):
        Fetcher("file:///srv/").download_bytes("file:///srv/../etc/passwd", 100)
    monkeypatch.setenv("EDGEAD_OFFLINE", "1")
    world.refused("EDGEAD_OFFLINE is set")
