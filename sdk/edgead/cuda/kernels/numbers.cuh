// What all kernels share: half floats without a toolkit header (NVRTC alone must do), and OpenCV's bilinear taps.
#pragma once

#ifdef __CUDACC__
struct Half {
  unsigned short bits;
};
__device__ inline float widen(Half value) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
  return wide;
}
__device__ inline void narrow(float value, Half *out) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out->bits) : "f"(value)); }
#endif  // elsewhere the emulator has them
__device__ inline float widen(float value) { return value; }
__device__ inline void narrow(float value, float *out) { *out = value; }

__device__ inline int smaller(int a, int b) { return a < b ? a : b; }
__device__ inline bool is_nan(float value) { return value != value; }

// The two neighbors of an output cell in one direction, and the share of the second.
struct Tap {
  int first, second;
  float share;
};

// Half-pixel centers, edges replicated. The place (cell + 1/2) * source / target - 1/2 is kept as a fraction of
// integers, so that it is exact; source * target must be below 2^30.
__device__ inline Tap tap(int cell, int source, int target) {
  int numerator = (2 * cell + 1) * source - target, denominator = 2 * target;
  if (numerator <= 0) return {0, 0, 0.0f};
  int first = numerator / denominator;
  if (first >= source - 1) return {source - 1, source - 1, 0.0f};
  return {first, first + 1, static_cast<float>(numerator - first * denominator) / static_cast<float>(denominator)};
}

// Between two values; one that counts nothing may be NaN.
__device__ inline float between(float a, float b, float share) {
  return share == 0.0f ? a : a * (1.0f - share) + b * share;
}

// OpenCV's bilinear step on 8 bits: shares in 1/2048, and its order of roundings.
__device__ inline int between_levels(int a, int b, int c, int d, Tap down, Tap across) {
  int right = __float2int_rn(across.share * 2048.0f), lower = __float2int_rn(down.share * 2048.0f);
  int above = a * (2048 - right) + b * right, below = c * (2048 - right) + d * right;
  return (((2048 - lower) * (above >> 4) >> 16) + (lower * (below >> 4) >> 16) + 2) >> 2;
}
