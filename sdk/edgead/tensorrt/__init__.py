"""Builds, caches and checks TensorRT engines, on the device that runs them.

`prepare` gives the engine of one network: from the cache if everything it depends on is the same, else built by
`build`, its precisions read back (`layers`) and deserialized in another process first (`probe`). `library` is the one
module that knows which of NVIDIA's two libraries is installed. Nothing in this package handles frames.
"""
