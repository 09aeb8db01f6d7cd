"""Looks at this machine: device, NVIDIA hardware and libraries, supported platforms, missing requirements."""
