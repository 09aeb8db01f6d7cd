"""Network definitions that load published checkpoints, and where the checkpoints come from."""
