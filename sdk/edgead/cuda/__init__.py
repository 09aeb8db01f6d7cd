"""Runs everything around the network on the GPU: context, memory and streams over pycuda, and the CUDA kernels.

`ops` is the reference of every kernel. Frames are uploaded once (`FrameBuffer`), from where their source decoded them
(`PinnedBlocks`) or another library has put them (`DeviceArrays`), and become the network's input (`Resize`); the
network's maps become one map and one score (`Fuse`), and only these are downloaded. That map is as small as the
network's grid, and a `Reading` needs it on the host anyway, which is why regions are found there, by
`ops.find_regions`. `GraphCache` launches all of that as one CUDA graph. An engine holds one `CudaContext`, makes the
rest in it, and closes it; every call stands inside `gpu.current()`.
"""
