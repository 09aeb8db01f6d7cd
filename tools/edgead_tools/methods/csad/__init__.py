"""CSAD: component segmentation, patch histograms, local and global students."""
