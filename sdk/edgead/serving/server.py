"""Serves bundles over HTTP until it is closed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from edgead.bundle import Bundle
from edgead.closing import Closing
from edgead.detector import Detector
from edgead.errors import UsageError
from edgead.kserve.model import model_name
from edgead.serving.app import Served, make_app
from edgead.serving.batcher import Batcher
from edgead.web.address import read_address, split_names
from edgead.web.auth import AuthMiddleware
from edgead.web.server import Server


class InferenceServer(Closing):
    """One model for each bundle, on loopback unless told otherwise, and beyond it only with EDGEAD_TOKEN."""

    def __init__(
        self,
        bundles: Sequence[Bundle],
        address: str = "8000",
        *,
        engine: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        device: int = 0,
        names: str = "",
    ) -> None:
        """Return when it answers. `names` are further names of this machine, with commas between.

        Raises UsageError for an address, or for two bundles of one name; and what loading an engine raises.
        """
        where = read_address(address, "--address", "option")
        with ExitStack() as stack:
            self.models: dict[str, Served] = {}
            for bundle in bundles:
                name = model_name(bundle.manifest.name)
                if name in self.models:
                    raise UsageError(f"two bundles are called '{name}': a server tells them apart by their names")
                opened = Detector(bundle, engine=engine, precision=precision, threads=threads, device=device)
                detector = stack.enter_context(opened)
                self.models[name] = Served(detector, stack.enter_context(Batcher(detector)))
            app = AuthMiddleware(make_app(self.models), where.token, split_names(names), where.loopback)
            listening = where.listen()
            stack.callback(listening.close)
            self.port: int = listening.getsockname()[1]
            server = Server(app, listening)
            stack.callback(server.close)
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()
