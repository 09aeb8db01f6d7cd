"""Runs whole jobs: from a data folder to a bundle, sweeps over settings, and the demo."""
