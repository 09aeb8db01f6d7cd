"""Network definitions with our own names, and the maps from published checkpoints to them."""
