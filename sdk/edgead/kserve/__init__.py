"""Speaks the Open Inference Protocol, version 2, of KServe and Triton: its tensors, and clients over HTTP and gRPC."""
