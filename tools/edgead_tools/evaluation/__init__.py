"""Evaluates bundles on labeled images: metrics and reports."""
