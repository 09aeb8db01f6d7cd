"""Builds one of many products, and says in a row what came of it."""

from __future__ import annotations

import time

import msgspec

from edgead.config import BuildConfig
from edgead.config.loader import validated
from edgead.errors import EdgeadError
from edgead.progress import Reporter
from edgead.wording import printable


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A product to be built."""

    product: str
    settings: str  # digest of `config`
    config: BuildConfig


class ProductRow(msgspec.Struct, frozen=True):
    """What came of one product."""

    product: str
    settings: str  # digest of what was asked for
    bundle: str = ""  # digest; empty where there is none
    seconds: float = 0.0
    image_auroc: float | None = None  # where the data set has labeled images
    error: str = ""


def build_product(order: Order) -> ProductRow:
    """Build in this process, which is the build's own; what edgead refuses becomes the row's error."""
    import cv2
    import torch

    from edgead_tools.pipeline.build import build

    threads = max(1, order.config.threads)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    start = time.monotonic()
    try:
        built = build(validated(order.config), Reporter())
    except EdgeadError as error:
        spent = round(time.monotonic() - start, 1)
        return ProductRow(order.product, order.settings, seconds=spent, error=printable(str(error)))
    auroc = None if built.evaluation is None else built.evaluation.to_dict().get("image_auroc")
    spent = round(time.monotonic() - start, 1)
    return ProductRow(order.product, order.settings, built.bundle.digest, spent, auroc)
