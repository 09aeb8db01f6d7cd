"""The workstation: from a folder of good images to a bundle."""

import edgead as edgead  # before ONNX Runtime: its telemetry is switched off
