"""The training loop, its process settings, and progress reporting."""
