"""The build as a whole: from a data folder to a bundle, sweeps over settings, and the demo."""
