"""Brings bundles from a release to stations through The Update Framework, and takes a worse one back."""
