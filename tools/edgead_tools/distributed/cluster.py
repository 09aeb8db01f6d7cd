"""Starts Ray on this machine, or joins a cluster, for as long as some work takes.

Several may run on a machine, each with processes and a folder of its own, but they start one after the other: Ray gives
its processes 30 s to come up, whatever else the machine does, and one that is not the first also waits some seconds for
a port that is taken (that of its agent, 52365, which nothing here asks).
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import ray

from edgead.errors import UsageError
from edgead.files import cache_folder

START_TRIES = 3  # Ray itself waits half a minute for its processes
STORE_BYTES = 256 << 20  # of the object store on this machine: paths and counts pass through it, never images


@contextmanager
def cluster(address: str = "", workers: int = 0) -> Iterator[int]:
    """Ray for the block, and how many workers it has: `workers`, or one for each CPU.

    Without an address it runs on this machine and ends with the block. Raises UsageError where there is none.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_worker_niceness", "0")  # by itself it gives way to whatever else runs here
    logging.getLogger("ray").setLevel(logging.ERROR)
    _start(address, workers)
    try:
        yield workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()


def _start(address: str, workers: int) -> None:
    """Join the cluster, or start Ray here, on loopback; a busy machine gets several tries."""
    here = {} if address else {
        "num_cpus": workers or os.cpu_count(),
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
    }  # fmt: skip
    for left in range(0 if address else START_TRIES - 1, -1, -1):
        try:
            with nullcontext() if address else _alone():
                ray.init(address=address or None, log_to_driver=False, logging_level=logging.ERROR, **here)
            return
        except Exception as error:  # it raises plain ones, for a node that is not there within 30 s say
            ray.shutdown()
            if not left:
                raise UsageError(f"Ray cannot be used at '{address or 'this machine'}': {error}") from error


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other Ray of this person starts on this machine."""
    folder = cache_folder("ray")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
