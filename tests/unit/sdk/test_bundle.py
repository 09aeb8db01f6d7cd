"""The bundle file: what was written is read back, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import msgspec
import onnx
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from edgead import Bundle
from edgead.bundle.manifest import decode, encode
from edgead.bundle.network_file import needs_other_files
from edgead.bundle.store import _LABEL, LIMIT, write_bundle
from edgead.errors import BundleError, EdgeadError
from edgead.files import write_file


def sealed(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with a correct trailer and whatever members: what someone with bad intentions would write."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
        archive.comment = _LABEL + b"0" * 64
    body = buffer.getvalue()[:-64]
    return body + hashlib.sha256(body).hexdigest().encode()


@pytest.fixture(scope="module")
def raw(tiny_bundle: Path) -> bytes:
    return tiny_bundle.read_bytes()


@pytest.fixture(scope="module")
def contents(tiny_bundle: Path) -> list[tuple[str, bytes]]:
    bundle = Bundle.open(tiny_bundle)
    return [("manifest.json", encode(bundle.manifest)), *bundle.members().items()]


def refused(data: bytes, path: Path, match: str | None = None) -> None:
    path.write_bytes(data)
    with pytest.raises(BundleError, match=match):
        Bundle.open(path)


def test_writing_what_was_read_gives_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    again = write_bundle(tmp_path / "again.edgead", bundle.manifest, bundle.members())
    assert (tmp_path / "again.edgead").read_bytes() == tiny_bundle.read_bytes()
    assert again.digest == bundle.digest


def test_manifest_round_trip(tiny_bundle: Path) -> None:
    manifest = Bundle.open(tiny_bundle).manifest
    assert decode(encode(manifest)) == manifest


@given(st.data())
def test_one_flipped_bit_is_noticed(tiny_bundle: Path, data: st.DataObject) -> None:
    raw = bytearray(tiny_bundle.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BundleError):
        Bundle._parse(bytes(raw), None)


def test_every_flipped_byte_is_noticed(raw: bytes) -> None:
    changed = bytearray(raw)
    for position in range(len(raw)):
        changed[position] ^= 0xFF
        with pytest.raises(BundleError):
            Bundle._parse(bytes(changed), None)
        changed[position] ^= 0xFF


def test_every_truncation_is_noticed(raw: bytes) -> None:
    for length in range(len(raw)):
        with pytest.raises(BundleError):
            Bundle._parse(raw[:length], None)
    with pytest.raises(BundleError, match="cut short"):
        Bundle._parse(raw[:-1], None)


@pytest.mark.parametrize("extra", [b"\0", b"more", b"0" * 64])
def test_appended_bytes_are_noticed(raw: bytes, extra: bytes, tmp_path: Path) -> None:
    refused(raw + extra, tmp_path / "b.edgead", "SHA-256")


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/../../b", ".hidden", "a//b", "a\\b", "c:evil", "ä", "a\n"]
)
def test_names_that_leave_the_bundle_are_refused(contents: list, tmp_path: Path, name: str) -> None:
    refused(sealed([*contents, (name, b"x")]), tmp_path / "b.edgead", "not allowed")


def test_a_compressed_member_is_refused(contents: list, tmp_path: Path) -> None:
    refused(sealed(contents, zipfile.ZIP_DEFLATED), tmp_path / "b.edgead", "compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_is_refused(contents: list, tmp_path: Path) -> None:
    refused(sealed([*contents, contents[1]]), tmp_path / "b.edgead", "twice")


def test_members_and_manifest_must_agree(contents: list, tmp_path: Path) -> None:
    refused(sealed([*contents, ("more", b"x")]), tmp_path / "b.edgead", "disagree about more")
    refused(sealed(contents[:-1]), tmp_path / "b.edgead", "disagree about")
    refused(sealed(contents[1:]), tmp_path / "b.edgead", "does not start with a manifest")
    refused(sealed([]), tmp_path / "b.edgead", "not an edgead bundle")


def test_contents_must_match_their_digest_and_size(contents: list, tmp_path: Path) -> None:
    name, data = contents[1]
    refused(sealed([contents[0], (name, data[:-1] + b"?"), *contents[2:]]), tmp_path / "b.edgead", "digest")
    refused(
        sealed([contents[0], (name, data + b"?"), *contents[2:]]), tmp_path / "b.edgead", "bytes, the manifest says"
    )


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "b.edgead").open("wb") as file:
        file.truncate(LIMIT + 1)  # sparse
    with pytest.raises(BundleError, match="more than a bundle may have"):
        Bundle.open(tmp_path / "b.edgead")


def with_manifest(contents: list, **changes: object) -> bytes:
    fields = {**json.loads(contents[0][1]), **changes}
    return sealed([("manifest.json", json.dumps(fields).encode()), *contents[1:]])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"schema": 2}, "update edgead"),
        ({"schema": 0}, "no edgead wrote it"),
        ({"schema": "1"}, "no schema number"),
        ({"schema": True}, "damaged"),
        ({"surprise": 1}, "surprise"),
        ({"artifacts": []}, "at least one network"),
        ({"golden_frames": []}, "one golden map per golden frame"),
        ({"fusion": {"maps": [], "height": 8, "width": 8}}, "at least one map"),
        ({"input": {"height": 1, "width": 32, "scale": [1, 1, 1], "offset": [0, 0, 0]}}, "outside 8..8192"),
        ({"name": None}, "name"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(contents: list, tmp_path: Path, changes: dict, match: str) -> None:
    refused(with_manifest(contents, **changes), tmp_path / "b.edgead", match)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1e999}'])
def test_a_manifest_that_is_no_json_is_refused(contents: list, tmp_path: Path, raw: bytes) -> None:
    refused(sealed([("manifest.json", raw), *contents[1:]]), tmp_path / "b.edgead")


def test_what_is_no_bundle_is_named_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no bundle"):
        Bundle.open(tmp_path / "none.edgead")
    with pytest.raises(BundleError, match="is not a file"):
        Bundle.open(tmp_path)
    refused(b"", tmp_path / "empty.edgead", "not an edgead bundle")
    refused(b"some text", tmp_path / "text.edgead", "not an edgead bundle")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.edgead"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EdgeadError, match="No space left"):
        write_file(path, b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EdgeadError, match="cannot be made"):
        write_file(tmp_path / "file" / "b.edgead", b"new")
    (tmp_path / "b.edgead").mkdir()
    with pytest.raises(EdgeadError, match="cannot be written"):
        write_file(tmp_path / "b.edgead", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.edgead", "file"]


def test_a_bundle_that_would_not_open_is_not_written(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(BundleError):
        write_bundle(tmp_path / "b.edgead", bundle.manifest, {**bundle.members(), "../evil": b""})
    assert list(tmp_path.iterdir()) == []


def test_precisions_are_found_by_name(tiny_bundle: Path) -> None:
    manifest = Bundle.open(tiny_bundle).manifest
    int8 = msgspec.structs.replace(manifest.artifacts[0], precision="int8")
    both = msgspec.structs.replace(manifest, artifacts=(int8, *manifest.artifacts))
    assert both.artifact().precision == "int8"
    assert both.artifact("fp32").precision == "fp32"
    assert both.precisions(["onnx"]) == ["int8", "fp32"]
    away = msgspec.structs.replace(int8, engine="tensorrt")
    some = msgspec.structs.replace(manifest, artifacts=(away, *manifest.artifacts))
    assert (some.precisions(["onnx"]), some.precisions(["onnx", "tensorrt"])) == (["fp32"], ["int8", "fp32"])
    with pytest.raises(BundleError, match="no fp16 network; it has int8, fp32"):
        both.artifact("fp16")


def test_a_missing_member_is_named(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="no member 'int8'"):
        Bundle.open(tiny_bundle).read("int8")


def test_thresholds_must_lie_above_their_center() -> None:
    with pytest.raises(ValueError, match="above its center"):
        msgspec.structs.replace(tiny.THRESHOLDS, image=0.2)


def overlapping(members: list[tuple[str, bytes]]) -> bytes:
    """An archive each of whose further members is the first one's bytes under another name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(members[0][0]), members[0][1])
        for name, data in members[1:]:
            archive.writestr(zipfile.ZipInfo(name), data)
        last = archive.infolist()[-1]
        for number in range(40):
            twin = zipfile.ZipInfo(f"twin{number}")
            twin.header_offset, twin.CRC = last.header_offset, last.CRC
            twin.file_size = twin.compress_size = last.file_size
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive.comment = _LABEL + b"0" * 64
    body = buffer.getvalue()[:-64]
    return body + hashlib.sha256(body).hexdigest().encode()


def test_members_that_overlap_are_refused(contents: list[tuple[str, bytes]], tmp_path: Path) -> None:
    refused(overlapping(contents), tmp_path / "a.edgead", "members of the archive overlap")


def test_a_member_that_runs_into_the_directory_is_refused(raw: bytes, tmp_path: Path) -> None:
    directory = raw.rindex(b"PK\x01\x02")
    longer = bytearray(raw[:-64])
    for at in (20, 24):  # both sizes of the last member, in the directory alone
        size = int.from_bytes(longer[directory + at : directory + at + 4], "little") + 1000
        longer[directory + at : directory + at + 4] = size.to_bytes(4, "little")
    refused(bytes(longer) + hashlib.sha256(longer).hexdigest().encode(), tmp_path / "a.edgead", "overlap")


def external(place: str) -> bytes:
    """The tiny network with one tensor in another file."""
    model = onnx.load_from_string(tiny.graph())
    tensor = onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])
    tensor.ClearField("int64_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    graph = model.graph
    if place == "initializer":
        graph.initializer[0].CopyFrom(tensor)
    elif place == "constant":
        graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=tensor))
    elif place == "branch":
        inner = onnx.helper.make_graph([], "inner", [], [], [tensor])
        graph.node.append(onnx.helper.make_node("If", ["axes"], ["x"], then_branch=inner, else_branch=inner))
    elif place == "sparse":
        graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif place == "function":
        function = model.functions.add(name="f", domain="d")
        function.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=tensor))
    elif place == "training":
        model.training_info.add().algorithm.initializer.append(tensor)
    else:
        graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    return model.SerializeToString()


@pytest.mark.parametrize(
    "place", ["initializer", "constant", "branch", "sparse", "function", "training", "location alone"]
)
def test_a_network_that_takes_tensors_from_other_files_is_refused(
    place: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(tiny_bundle)
    members = {**bundle.members(), "fp32.onnx": external(place)}
    with pytest.raises(BundleError, match=r"'fp32\.onnx' takes tensors from other files"):
        write_bundle(tmp_path / "a.edgead", bundle.manifest, members)
    assert not (tmp_path / "a.edgead").exists()


@given(st.binary(max_size=200), st.integers(0, 600))
def test_what_is_no_network_is_left_to_the_engine(noise: bytes, at: int) -> None:
    assert needs_other_files(tiny.graph()) is False
    needs_other_files(noise)
    needs_other_files(tiny.graph()[:at] + noise)


def test_equal_members_of_many_bundles_take_memory_once(tiny_bundle: Path) -> None:
    first, second = Bundle.open(tiny_bundle), Bundle.open(tiny_bundle)
    held: dict[str, bytes] = {}
    before = second.members()
    for bundle in (first, second):
        bundle.share(held)
    assert second.members() == before
    assert all(first.read(name) is second.read(name) for name in before)
