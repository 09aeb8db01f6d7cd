"""Takes masks of everything in a picture from a foundation model, which a workstation lends: no device runs one.

Whoever has such a model makes its engines inside `lend`; an engine made elsewhere refuses a bundle that wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from edgead.bundle.matching import ProposalSpec
from edgead.errors import EngineError
from edgead.types import ImageU8, Mask

Finder = Callable[[ImageU8], list[Mask]]  # an image (H, W, 3) at the network's size -> masks (H, W), which may overlap
Lender = Callable[[ProposalSpec], Finder]
OWN = ("ground", "classes")  # sources that the exported graph itself is
_LENT: ContextVar[Lender | None] = ContextVar("lent", default=None)


@contextmanager
def lend(lender: Lender) -> Iterator[None]:
    """Engines that are made inside take masks from what the lender gives."""
    token = _LENT.set(lender)
    try:
        yield
    finally:
        _LENT.reset(token)


def find_finder(spec: ProposalSpec) -> Finder | None:
    """What finds the masks of that source; None where the graph itself does. Raises EngineError where nothing here
    does."""
    if spec.source in OWN:
        return None
    lender = _LENT.get()
    if lender is None:
        raise EngineError(
            f"the objects of this bundle are masks of {spec.source}, which a workstation alone can find: judge there "
            "with `edgead eval`, or build a bundle for devices with --preset edge"
        )
    return lender(spec)
