// The heatmap over a frame for a preview: the blend of edgead.overlay.tint, without its boxes. The map stays on the
// device, and so does the frame.
#include "frames.cuh"

struct Overlay {
  DeviceFrame frame;
  unsigned char *out;            // (height, width, 3) BGR without gaps, of the frame's size
  const float *map;              // (rows, columns), raw
  const unsigned char *palette;  // (256, 3) BGR
  int rows, columns;
  float center, span;  // (raw - center) / span is the calibrated value
  float full_scale, opacity;
};

// The calibrated value of a cell, 0 to full_scale; NaN is drawn as the hottest.
__device__ inline float shown(const Overlay &task, int row, int column) {
  float value = (task.map[(size_t)row * task.columns + column] - task.center) / task.span;
  if (is_nan(value)) return task.full_scale;
  return value < 0.0f ? 0.0f : value > task.full_scale ? task.full_scale : value;
}

__device__ inline unsigned char blend(int below, int above, float alpha) {
  float rest = 1.0f - alpha;
  return __float2int_rn((below * rest + above * alpha) / (rest + alpha + 1e-5f));
}

// A thread for each pixel of the frame.
extern "C" __global__ void overlay(Overlay task) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= task.frame.width || y >= task.frame.height) return;
  Tap down = tap(y, task.rows, task.frame.height), across = tap(x, task.columns, task.frame.width);
  float a = shown(task, down.first, across.first), b = shown(task, down.first, across.second);
  float c = shown(task, down.second, across.first), d = shown(task, down.second, across.second);
  float full = task.full_scale, levels = 255.0f / full;
  float upper = between(a / full, b / full, across.share), lower = between(c / full, d / full, across.share);
  float alpha = between(upper, lower, down.share) * task.opacity;
  int level = between_levels(static_cast<int>(a * levels), static_cast<int>(b * levels),  // cut off, not rounded
                             static_cast<int>(c * levels), static_cast<int>(d * levels), down, across);
  const unsigned char *hot = task.palette + 3 * level;
  Pixel pixel = pixel_at(task.frame, y, x);
  unsigned char *out = task.out + 3 * ((size_t)y * task.frame.width + x);
  out[0] = blend(pixel.blue, hot[0], alpha);
  out[1] = blend(pixel.green, hot[1], alpha);
  out[2] = blend(pixel.red, hot[2], alpha);
}
