// What scores of maps are found by, and the smoothing of a line: what fuse.cu and blur.cu have in common.
#pragma once
#include "last_block.cuh"
#include "numbers.cuh"

constexpr int BINS = 2048;
constexpr int SLICES = 32;  // of a frame, at most: a block scores one

// The search for a frame's top-th largest value, between launches. All is 0 before the first and after the last.
struct Selection {
  unsigned bins[BINS];
  unsigned prefix, wanted;  // the bits of its rank that are known; how many of the values with these bits count
  unsigned finished, unused;
  double sums[SLICES];  // of each block, of what lies above
};

// The weighted sum of a line's values around a place. Beyond the border the outermost value is repeated.
__device__ inline float smoothed(const float *line, size_t step, int place, int last, const float *weights, int radius) {
  float sum = 0.0f;
  for (int offset = -radius; offset <= radius; offset++) {
    int source = place + offset;
    source = source < 0 ? 0 : smaller(source, last);
    sum += weights[offset + radius] * line[source * step];
  }
  return sum;
}

// Integers in the order of the floats; NaN is above everything.
__device__ inline unsigned rank(float value) {
  if (is_nan(value)) return 0xffffffffu;
  unsigned bits = __float_as_uint(value);
  return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

__device__ inline float value_of(unsigned rank) {
  return __uint_as_float(rank ^ (rank >> 31 ? 0x80000000u : 0xffffffffu));
}

// The largest of the threads' values of a block of COUNT, which is a multiple of 32; in thread 0.
template <int COUNT>
__device__ unsigned largest_of_block(unsigned top, unsigned *tops) {
  for (int distance = 16; distance; distance /= 2) top = max(top, __shfl_down_sync(0xffffffffu, top, distance));
  if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = top;
  __syncthreads();
  for (int warp = 1; threadIdx.x == 0 && warp < COUNT / 32; warp++) top = max(top, tops[warp]);
  return top;
}

// Adds what thread 0 has found in this block; the last of the frame's blocks writes its score.
__device__ inline void add_largest(Selection &selection, unsigned top, unsigned blocks, double *score) {
  if (threadIdx.x == 0) atomicMax(&selection.prefix, top);
  if (!is_last_block(&selection.finished, blocks) || threadIdx.x) return;
  *score = value_of(atomicMax(&selection.prefix, 0u));
  selection.prefix = 0;
}
