"""Tensors of the Open Inference Protocol: what is written is read back, and nothing else is accepted."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgead.errors import DataError, UsageError
from edgead.kserve import tensors
from edgead.kserve.client import read_address
from edgead.kserve.model import model_name, read_image

ANY = st.sampled_from(list(tensors.TYPES.values())).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
)


@given(st.lists(ANY, min_size=1, max_size=3))
def test_binary_tensors_are_read_back_bit_for_bit(given_arrays: list[np.ndarray]) -> None:
    named = {f"t{index}": array for index, array in enumerate(given_arrays)}
    body, length = tensors.encode({"id": "7"}, "inputs", named)
    header, found = tensors.decode(body, length, "inputs")
    assert header["id"] == "7"
    for name, array in named.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_strings_and_json() -> None:
    text = tensors.strings(b"", "Größe".encode(), b"x" * 300)
    body, length = tensors.encode({}, "outputs", {"about": text, "n": np.array([1.5, -0.1])})
    assert list(tensors.decode(body, length, "outputs")[1]["about"]) == list(text)
    found = tensors.decode(
        tensors.encode_json({}, "outputs", {"about": text, "n": np.array([1.5, 0.1])}), 0, "outputs"
    )[1]
    assert (list(found["about"]), list(found["n"])) == (list(text), [1.5, 0.1])


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"", 0),
        (b"no json", 0),
        (b"[]", 0),
        (b"{}", 0),
        (b"{}", 9),
        (b'{"inputs": [{}]}', 0),
        (b'{"inputs": [{"name": "a", "datatype": "UINT8", "shape": [3], "data": [1, 2]}]}', 0),
        (b'{"inputs": [{"name": "a", "datatype": "UINT8", "shape": [1], "data": [300]}]}', 0),
        (b'{"inputs": [{"name": "a", "datatype": "UINT9", "shape": [1], "data": [3]}]}', 0),
        (b'{"inputs": [{"name": "a", "datatype": "UINT8", "shape": [-1], "data": [3]}]}', 0),
    ],
)
def test_what_is_no_request_is_refused(body: bytes, length: int) -> None:
    with pytest.raises(DataError):
        tensors.decode(body, length, "inputs")


@given(st.data())
def test_a_spoiled_body_never_breaks_the_reader(data: st.DataObject) -> None:
    body, length = tensors.encode({}, "inputs", {"a": np.arange(6, dtype=np.uint8), "b": tensors.strings(b"xyz")})
    spoiled = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(spoiled[: data.draw(st.integers(0, len(spoiled)))])
    with suppress(DataError):
        tensors.decode(cut, data.draw(st.sampled_from([length, 0, 3])), "inputs")


@pytest.mark.parametrize(
    "size",
    ["99", "-1", "null", '"6"', "true", "6.0"],
)
def test_sizes_that_do_not_fit_are_refused(size: str) -> None:
    text = '{"inputs": [{"name": "a", "datatype": "UINT8", "shape": [6], "parameters": {"binary_data_size": %s}}]}'
    head = (text % size).encode()
    with pytest.raises(DataError):
        tensors.decode(head + b"123456", len(head), "inputs")


def test_bytes_that_belong_to_no_tensor_are_refused() -> None:
    body, length = tensors.encode({}, "inputs", {"a": np.zeros(2, np.uint8)})
    with pytest.raises(DataError, match="belong to no tensor"):
        tensors.decode(body + b"more", length, "inputs")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
    ],
)
def test_only_a_frame_is_judged(image: np.ndarray) -> None:
    with pytest.raises(DataError, match="UINT8"):
        read_image({"image": image})
    with pytest.raises(DataError, match="one input, 'image'"):
        read_image({"picture": image})


def test_addresses() -> None:
    assert read_address("10.0.0.5").port == 8000
    assert read_address("grpc://box:9001?deadline=80&model=cap").deadline_s == 0.08
    assert read_address("https://box/").port == 443
    assert read_address("[::1]:8000").netloc == "[::1]:8000"
    for wrong in ("", "ftp://box", "box:port", "box:8000/v2", "box?deadline=0", "box?deadline=x", "box?wait=3"):
        with pytest.raises(UsageError):
            read_address(wrong)


def test_names_of_models_are_safe() -> None:
    assert model_name("left/../etc passwd") == "left_.._etc_passwd"
    assert model_name("..") == "bundle"
    assert json.dumps(model_name("größe"))
