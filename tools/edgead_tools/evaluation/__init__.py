"""Metrics, evaluation on labeled images, and reports."""
