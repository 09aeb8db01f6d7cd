"""Asks an inference server over gRPC, by `tritonclient`."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import tritonclient.grpc as triton

from edgead.kserve.client import Address, Client, ServerError
from edgead.kserve.tensors import Array, datatype


class GrpcClient(Client):
    """One channel, over TLS for grpcs."""

    def __init__(self, address: Address) -> None:
        self._client = triton.InferenceServerClient(address.netloc, ssl=address.scheme == "grpcs")

    def infer(
        self, model: str, inputs: Mapping[str, Array], outputs: Sequence[str], deadline_s: float
    ) -> dict[str, Array]:
        given = []
        for name, array in inputs.items():
            given.append(triton.InferInput(name, list(array.shape), datatype(array)))
            given[-1].set_data_from_numpy(array)
        wanted = [triton.InferRequestedOutput(name) for name in outputs]
        try:
            found = self._client.infer(model, given, outputs=wanted, client_timeout=deadline_s)
        except triton.InferenceServerException as error:  # of whatever gRPC met
            raise ServerError(" ".join(str(error).split())) from error
        return {name: _read(found, name) for name in outputs}

    def is_ready(self, model: str, deadline_s: float) -> bool:
        try:
            return bool(self._client.is_model_ready(model, client_timeout=deadline_s))
        except triton.InferenceServerException:
            return False

    def close(self) -> None:
        self._client.close()


def _read(answer: triton.InferResult, name: str) -> Array:
    """An output of an answer; raises ServerError where it lacks it, or holds other bytes than its shape says."""
    try:
        array: Array | None = answer.as_numpy(name)
    except (ValueError, TypeError, struct.error) as error:  # of numpy, and of the reader of strings
        raise ServerError(f"its output '{name}' cannot be read: {error}") from error
    if array is None:
        raise ServerError(f"it gives no output '{name}'")
    return array
