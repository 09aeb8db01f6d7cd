"""Turns folders of images into checked, split and cached data sets."""

from edgead_tools.data.cache import Cache
from edgead_tools.data.check import Checked, check
from edgead_tools.data.decoded import DecodedImages
from edgead_tools.data.layouts import open_dataset, open_labeled
from edgead_tools.data.masks import read_mask
from edgead_tools.data.samples import GOOD, Dataset, Layout, Sample
from edgead_tools.data.split import MINIMUM, Split, split

__all__ = [
    "GOOD",
    "MINIMUM",
    "Cache",
    "Checked",
    "Dataset",
    "DecodedImages",
    "Layout",
    "Sample",
    "Split",
    "check",
    "open_dataset",
    "open_labeled",
    "read_mask",
    "split",
]
