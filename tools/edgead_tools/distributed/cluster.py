"""Starts Ray on this machine, or joins a cluster, for as long as some work takes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from edgead.errors import UsageError

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
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                num_cpus=workers or os.cpu_count(),
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # it raises plain ones, for a node that starts too slowly say
        raise UsageError(f"Ray cannot be used at '{address or 'this machine'}': {error}") from error
    try:
        yield workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()
