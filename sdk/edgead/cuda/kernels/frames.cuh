// Frames in device memory as cameras, decoders and other libraries give them, read pixel by pixel as BGR.
#pragma once
#include "numbers.cuh"

// Mirrored by edgead.arrays.Format.
enum Format { CHANNELS, NV12, NV12_FULL, NV12_709, NV12_709_FULL };

// Mirrored by edgead.cuda.frame_buffer.DEVICE_FRAME. Distances are in bytes, and may be negative but for NV12.
struct DeviceFrame {
  const unsigned char *pixels;  // the first pixel's blue, or its luma
  const unsigned char *chroma;  // NV12 alone: a row of U, V pairs for every two rows
  int pitch, chroma_pitch;      // from a row to the next
  int step, plane;              // from a pixel to the next; from blue to green and from green to red, 0 for gray
  int height, width;
  int format;
  int unused;
};

struct Pixel {
  int blue, green, red;
};

__device__ inline int clamp_level(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

// Each source gives a pixel by row and column.
struct Channels {
  const DeviceFrame &frame;
  __device__ Pixel at(int y, int x) const {
    const unsigned char *p = frame.pixels + (long long)y * frame.pitch + (long long)x * frame.step;
    return {p[0], p[frame.plane], p[2 * (long long)frame.plane]};
  }
};

// The same as edgead.ops.nv12.YuvWeights, in 20-bit fixed point.
struct YuvWeights {
  int black, luma, blue_u, green_u, green_v, red_v;
};

__device__ inline YuvWeights weights_of(int format) {
  switch (format) {
    case NV12_FULL: return {0, 1048576, 1858077, -360853, -748826, 1470104};
    case NV12_709: return {16, 1220945, 2215014, -223607, -558796, 1879825};
    case NV12_709_FULL: return {0, 1048576, 1945738, -196424, -490864, 1651297};
    default: return {16, 1220542, 2116026, -409993, -852492, 1673527};
  }
}

struct Nv12 {
  const DeviceFrame &frame;
  YuvWeights weights;
  __device__ Pixel at(int y, int x) const {
    const unsigned char *pair = frame.chroma + (size_t)(y / 2) * frame.chroma_pitch + x / 2 * 2;
    int luma = frame.pixels[(size_t)y * frame.pitch + x] - weights.black, u = pair[0] - 128, v = pair[1] - 128;
    int base = (luma < 0 ? 0 : luma) * weights.luma + (1 << 19);
    return {clamp_level((base + weights.blue_u * u) >> 20),
            clamp_level((base + weights.green_u * u + weights.green_v * v) >> 20),
            clamp_level((base + weights.red_v * v) >> 20)};
  }
};

__device__ inline Pixel pixel_at(const DeviceFrame &frame, int y, int x) {
  if (frame.format == CHANNELS) return Channels{frame}.at(y, x);
  return Nv12{frame, weights_of(frame.format)}.at(y, x);
}
