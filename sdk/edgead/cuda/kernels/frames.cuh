// Frames in device memory as cameras and decoders give them, read pixel by pixel as BGR.
#pragma once
#include "numbers.cuh"

enum Format { BGR, GRAY, NV12 };

// A frame, or a region of one. Mirrored by edgead.cuda.frame_buffer.DEVICE_FRAME.
struct DeviceFrame {
  const unsigned char *pixels;  // of the whole frame: (., ., 3) BGR, (., .) gray, or the luma of NV12
  const unsigned char *chroma;  // NV12 alone: a row of U, V pairs for every two rows
  int pitch, chroma_pitch;      // bytes from one row to the next
  int top, left, height, width; // the region, in pixels of the frame
  int format;
  int unused;
};

struct Pixel {
  int blue, green, red;
};

__device__ inline int clamp_level(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

// Each source gives a pixel of the region by row and column.
struct Bgr {
  const DeviceFrame &frame;
  __device__ Pixel at(int y, int x) const {
    const unsigned char *p = frame.pixels + (size_t)(frame.top + y) * frame.pitch + 3 * (frame.left + x);
    return {p[0], p[1], p[2]};
  }
};

struct Gray {
  const DeviceFrame &frame;
  __device__ Pixel at(int y, int x) const {
    int level = frame.pixels[(size_t)(frame.top + y) * frame.pitch + frame.left + x];
    return {level, level, level};
  }
};

// BT.601 in limited range, in 20-bit fixed point: what cv2.COLOR_YUV2BGR_NV12 computes.
struct Nv12 {
  const DeviceFrame &frame;
  __device__ Pixel at(int y, int x) const {
    int row = frame.top + y, column = frame.left + x;
    const unsigned char *pair = frame.chroma + (size_t)(row / 2) * frame.chroma_pitch + column / 2 * 2;
    int luma = frame.pixels[(size_t)row * frame.pitch + column] - 16, u = pair[0] - 128, v = pair[1] - 128;
    int base = (luma < 0 ? 0 : luma) * 1220542 + (1 << 19);
    return {clamp_level((base + 2116026 * u) >> 20), clamp_level((base - 409993 * u - 852492 * v) >> 20),
            clamp_level((base + 1673527 * v) >> 20)};
  }
};

__device__ inline Pixel pixel_at(const DeviceFrame &frame, int y, int x) {
  switch (frame.format) {
    case GRAY: return Gray{frame}.at(y, x);
    case NV12: return Nv12{frame}.at(y, x);
    default: return Bgr{frame}.at(y, x);
  }
}
