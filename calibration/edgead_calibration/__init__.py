"""Fits numbers to good images: thresholds, and the ranges of quantized networks."""

import edgead as edgead  # before ONNX Runtime: its telemetry is switched off
