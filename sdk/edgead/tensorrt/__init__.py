"""TensorRT engines: built where they run, proved before they judge.

`prepare` gives the engine of one network: from the cache if all that it depends on is the same, else built by `build`,
its precisions read back (`layers`) and deserialized in another process first (`trial`). `library` is the one place that
knows which of NVIDIA's two libraries is here. Nothing in this room knows frames.
"""
