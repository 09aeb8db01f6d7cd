"""The workstation: from a folder of good images to a bundle."""
