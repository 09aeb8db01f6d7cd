"""Finds component pseudo-labels without a human: from good images to a label map of their parts (CSAD, 6).

masks proposed for each image -> refined -> described whatever their turn -> clustered into classes -> the images whose
classes agree with the others'. Nothing of this runs on the line: it makes the labels a small segmentation network
learns from. Whoever draws label maps by hand skips it.
"""

from edgead_tools.components.classes import ComponentLabels, from_drawn, group
from edgead_tools.components.drawn import Drawn, read_drawn
from edgead_tools.components.find import MaskSource, Search, choose_proposals, find_components

__all__ = [
    "ComponentLabels",
    "Drawn",
    "MaskSource",
    "Search",
    "choose_proposals",
    "find_components",
    "from_drawn",
    "group",
    "read_drawn",
]
