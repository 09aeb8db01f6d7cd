"""Serves bundles as models of the Open Inference Protocol: by itself over HTTP, and as Triton's Python models."""
