"""Lends this workstation's SAM to the engines of bundles whose objects are its masks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from edgead.bundle import ProposalSpec
from edgead.ops.everything import Finder, Lender
from edgead.types import ImageU8, Mask
from edgead_tools.backbones.sam import PromptedSam, load_prompted_sam
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.components.find import source_named
from edgead_tools.components.sam_masks import Everything, find_everything


def sam_lender(weights: Path | None = None, device: str = "cpu") -> Lender:
    """What gives finders of SAM's masks, for `edgead.ops.everything.lend`. Each SAM is loaded once, when it is first
    asked for; raises WeightsError where its weights are not here."""

    @cache
    def load(source: str) -> PromptedSam:
        name = source_named(source)
        assert name != "foreground"  # which no spec of proposals names
        return load_prompted_sam(load_state(find(name, weights)), name).to(device)

    return lambda spec: finder_of(load(spec.source), spec)


def finder_of(sam: PromptedSam, spec: ProposalSpec) -> Finder:
    """The masks of everything that SAM sees, as the spec asks for them."""
    how = Everything(points=spec.points, rated=spec.rated, stable=spec.stable, side=spec.side)

    def found(image: ImageU8) -> list[Mask]:
        (masks,) = find_everything(sam, np.asarray(image)[None], how)
        return masks

    return found
