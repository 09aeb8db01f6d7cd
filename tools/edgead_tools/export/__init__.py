"""Exports a torch module to ONNX, and to a torch.export program."""
