"""Serves bundles as Ray Serve applications: replicas come and go with the load, and one that fails is made anew.

Each bundle is an application of its own below /v2/models/NAME, and so has its own replicas. A replica is what `edgead
serve` has for a bundle, with the same answers: one engine, whose batcher judges together what waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions

from edgead.bundle import Bundle
from edgead.closing import Closing
from edgead.detector import Detector
from edgead.errors import DataError, EdgeadError, EngineError, UsageError
from edgead.kserve.model import model_name
from edgead.serving.app import Served, make_app
from edgead.serving.batcher import WAITING, Batcher
from edgead.web.address import read_address, split_names
from edgead.web.auth import AuthMiddleware, Message, Receive, Send
from edgead_tools.distributed.cluster import cluster

AHEAD = 4  # requests with each replica on average, above which there is another one
UP_S, DOWN_S = 3.0, 60.0  # that the load must last until replicas come and go
HEALTH_S = 5.0  # between two looks at a replica
PATIENCE_S = 30.0  # for the frame that a replica judges then
GRAY = 128


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """What a replica is made of."""

    raw: bytes  # the bundle's file
    digest: str  # the bundle that was checked, and no other
    engine: str
    precision: str
    threads: int


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask, see `AuthMiddleware`."""

    token: str
    names: frozenset[str]
    loopback: bool


class ReplicaApp(Closing):
    """What answers in a replica: a bundle's model or, without settings, what is asked of the server as a whole."""

    def __init__(self, settings: ReplicaSettings | None, access: Access) -> None:
        self._stack = ExitStack()
        self.served: dict[str, Served] = {}
        if settings is not None:
            with NamedTemporaryFile(suffix=".edgead") as file:
                file.write(settings.raw)
                file.flush()
                bundle = Bundle.open(file.name)
                if bundle.digest != settings.digest:
                    raise DataError("the bundle was changed while the server began: start it again")
                detector = Detector(
                    bundle, engine=settings.engine, precision=settings.precision, threads=settings.threads
                )
            self._stack.enter_context(detector)
            batcher = self._stack.enter_context(Batcher(detector))
            self.served[model_name(bundle.manifest.name)] = Served(detector, batcher)
        self._app = AuthMiddleware(make_app(self.served), access.token, access.names, access.loopback)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":  # the routes hold whole paths, below whichever prefix Ray finds this
            await self._app({**scope, "root_path": ""}, receive, send)

    async def check(self) -> None:
        """Judge a frame; raises what a replica raises that is to be replaced. One with much to do is well."""
        for served in self.served.values():
            image = np.full((*served.manifest.input.frame, 3), GRAY, np.uint8)
            try:
                future = served.batcher.submit(image)
            except EngineError:
                continue
            await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE_S)

    def close(self) -> None:
        self._stack.close()


class RayServer(Closing):
    """A model for each bundle on Ray Serve, until it is closed: on loopback unless told otherwise, and beyond it only
    with EDGEAD_TOKEN."""

    def __init__(
        self,
        bundles: Sequence[Bundle],
        address: str = "8000",
        *,
        replicas: str = "1",
        ray: str = "",
        engine: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        names: str = "",
    ) -> None:
        """Return when it answers. `replicas` of each bundle is a number or, as in 1-4, the least and the most.

        Raises UsageError for an address, replicas, two bundles of one name, or a Ray that cannot be used, EdgeadError
        where replicas do not start.
        """
        where, (least, most) = read_address(address, "--address", "option"), read_replicas(replicas)
        with where.listen() as listening:  # Ray would say less clearly that the port is taken
            self.port: int = listening.getsockname()[1]
        access = Access(where.token, split_names(names), where.loopback)
        self.models: dict[str, str] = {}
        with ExitStack() as stack:
            stack.enter_context(cluster(ray))
            logging.getLogger("ray.serve").setLevel(logging.ERROR)
            if not ray:  # on a cluster others' applications may be served, too
                stack.callback(serve.shutdown)
            serve.start(
                proxy_location="HeadOnly",
                http_options=HTTPOptions(host=where.host, port=self.port),
                logging_config={"log_level": "ERROR", "enable_access_log": False},
            )
            self._run(stack, "edgead", "/v2", application(None, access, threads=0))
            for bundle in bundles:
                name = model_name(bundle.manifest.name)
                if name in self.models:
                    raise UsageError(f"two bundles are called '{name}': a server tells them apart by their names")
                assert bundle.path is not None  # it was opened from there
                settings = ReplicaSettings(bundle.path.read_bytes(), bundle.digest, engine, precision, threads or 1)
                app = application(settings, access, least=least, most=most, threads=threads or 1)
                self._run(stack, f"edgead-{name}", f"/v2/models/{name}", app)
                self.models[name] = f"{bundle.digest[:12]}, {replicas} on Ray"
            self._stack = stack.pop_all()

    def _run(self, stack: ExitStack, name: str, prefix: str, app: Any) -> None:
        """Serve an application until the stack is closed; raises EdgeadError with the reason of its replicas."""
        stack.callback(serve.delete, name)
        try:
            serve.run(app, name=name, route_prefix=prefix)
        except Exception as error:  # of Ray: it raises plain ones, with the reason of a replica inside
            words = " ".join(str(error).split())[-300:]
            raise EdgeadError(f"'{name}' does not start on Ray, at port {self.port}: {words}") from error

    def close(self) -> None:
        self._stack.close()


def read_replicas(text: str) -> tuple[int, int]:
    """The least and the most replicas, of "2" or "1-4"; raises UsageError."""
    least, dash, most = text.partition("-")
    numbers = [int(one) if one.isdecimal() else 0 for one in (least, most if dash else least)]
    if not 1 <= numbers[0] <= numbers[1] <= 1000:
        raise UsageError(f"--replicas is a number, or the least and the most like 1-4, not '{text}'")
    return numbers[0], numbers[1]


def application(
    settings: ReplicaSettings | None, access: Access, *, least: int = 1, most: int = 1, threads: int = 1
) -> Any:
    """An application of Ray Serve; without settings, the one that answers for the server as a whole."""

    def made() -> ReplicaApp:
        return ReplicaApp(settings, access)

    @serve.deployment(
        ray_actor_options={"num_cpus": threads},
        max_ongoing_requests=WAITING,
        max_queued_requests=WAITING,
        autoscaling_config=AutoscalingConfig(
            min_replicas=least, max_replicas=most, initial_replicas=least, target_ongoing_requests=AHEAD,
            upscale_delay_s=UP_S, downscale_delay_s=DOWN_S,
        ),
        health_check_period_s=HEALTH_S,
        health_check_timeout_s=PATIENCE_S,
        graceful_shutdown_timeout_s=5,
    )  # fmt: skip
    @serve.ingress(made)
    class Replica:
        async def check_health(self) -> None:
            await self.app.check()  # type: ignore[attr-defined]  # of the ingress

    return Replica.bind()  # type: ignore[attr-defined]
