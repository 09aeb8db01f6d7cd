"""An inference server over gRPC, around a model of `edgead serve`: what Triton does there, for tests without Triton."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from edgead.kserve import tensors
from edgead.kserve.model import read_image
from edgead.serving.app import Served


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    """`delay_s` is what each answer takes beside its time."""

    def __init__(self, served: Served) -> None:
        self._served, self.delay_s, self.asked = served, 0.0, 0

    def ModelReady(self, request: object, context: object) -> object:
        return service_pb2.ModelReadyResponse(ready=True)

    def ModelInfer(self, request: object, context: object) -> object:
        self.asked += 1
        time.sleep(self.delay_s)
        given = {}
        for port, raw in zip(request.inputs, request.raw_input_contents, strict=True):
            given[port.name] = np.frombuffer(raw, tensors.TYPES[port.datatype]).reshape(tuple(port.shape))
        found = self._served.outputs(self._served.batcher.submit(read_image(given)).result())
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for one in request.outputs:
            array = found[one.name]
            answer.outputs.add(name=one.name, datatype=tensors.datatype(array), shape=array.shape)
            answer.raw_output_contents.append(tensors._to_bytes(array))
        return answer


@contextmanager
def serving_grpc(served: Served) -> Iterator[tuple[Service, int]]:
    """The service, and its port on loopback."""
    service = Service(served)
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield service, port
    finally:
        server.stop(0).wait()
