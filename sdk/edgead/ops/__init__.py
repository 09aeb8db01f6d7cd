"""Implements the runtime's arithmetic in numpy and OpenCV: the one path to a score, and every kernel's reference."""

from edgead.ops.areas import AreaRules, smallest_areas, weigh_areas
from edgead.ops.components import COMPONENTS, NO_NUMBER, Components, judge_components, judge_histograms, load_components
from edgead.ops.decide import Rules, calibrate, classify, find_regions, find_specks, strongest_region
from edgead.ops.fuse import fuse, fuse_batch, image_score, upsample
from edgead.ops.mask import load_mask, mask_reading, remove_specks
from edgead.ops.matching import judge_objects
from edgead.ops.references import References, load_references
from edgead.ops.resize import as_image, normalize, resize, to_batch, to_input
from edgead.ops.tiles import blend, cut_tiles, tile_cells, tile_places, tile_weights

__all__ = [
    "COMPONENTS",
    "NO_NUMBER",
    "AreaRules",
    "Components",
    "References",
    "Rules",
    "as_image",
    "blend",
    "calibrate",
    "classify",
    "cut_tiles",
    "find_regions",
    "find_specks",
    "fuse",
    "fuse_batch",
    "image_score",
    "judge_components",
    "judge_histograms",
    "judge_objects",
    "load_components",
    "load_mask",
    "load_references",
    "mask_reading",
    "normalize",
    "remove_specks",
    "resize",
    "smallest_areas",
    "strongest_region",
    "tile_cells",
    "tile_places",
    "tile_weights",
    "to_batch",
    "to_input",
    "upsample",
    "weigh_areas",
]
