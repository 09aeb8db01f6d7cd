// What the blocks of a launch have in common: which of them is the last, to do what needs the work of all.
#pragma once

// Whether this is the last of so many blocks to come here, for all its threads alike: then what the others wrote before
// is there to be read, past the first-level cache. The counter is 0 again after it, for the next launch.
static __device__ bool is_last_block(unsigned *finished, unsigned blocks) {
  __shared__ bool is_last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x + threadIdx.y == 0) {
    is_last = atomicAdd(finished, 1u) == blocks - 1;
    if (is_last) *finished = 0;
  }
  __syncthreads();
  if (is_last) __threadfence();
  return is_last;
}
