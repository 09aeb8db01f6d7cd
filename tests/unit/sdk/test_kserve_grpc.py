"""Asking over gRPC: what the server does is its error, and what is wrong here is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from programs import free_port
from tritonclient.grpc import InferResult, service_pb2

from edgead.kserve.client import ServerError, read_address
from edgead.kserve.grpc import GrpcClient, _read

IMAGE = {"image": np.zeros((1, 2, 2, 3), np.uint8)}


def test_a_server_that_is_not_there_is_said_within_the_deadline() -> None:
    with GrpcClient(read_address(f"grpc://127.0.0.1:{free_port()}")) as client:
        with pytest.raises(ServerError):
            client.infer("bottle", IMAGE, ["score"], 0.3)
        assert not client.is_ready("bottle", 0.3)


def test_a_fault_of_ours_is_not_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AttributeError("a fault of ours")

    with GrpcClient(read_address("grpc://127.0.0.1:1")) as client:
        monkeypatch.setattr(client._client, "infer", broken)
        monkeypatch.setattr(client._client, "is_model_ready", broken)
        with pytest.raises(AttributeError):
            client.infer("bottle", IMAGE, ["score"], 0.3)
        with pytest.raises(AttributeError):
            client.is_ready("bottle", 0.3)


@pytest.mark.parametrize(
    ("shape", "raw", "words"),
    [([2], b"\0" * 7, "'score' cannot be read"), ([3], b"\0" * 8, "'score' cannot be read"), (None, b"", "no output")],
)
def test_an_answer_that_cannot_be_read_is_the_servers(shape: list[int] | None, raw: bytes, words: str) -> None:
    answer = service_pb2.ModelInferResponse()
    if shape is not None:
        answer.outputs.add(name="score", datatype="FP32", shape=shape)
        answer.raw_output_contents.append(raw)
    with pytest.raises(ServerError, match=words):
        _read(InferResult(answer), "score")
