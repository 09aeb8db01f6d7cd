// From frames to the network's input: edgead.ops.to_input, within one gray level, for frames of different sizes in one
// launch each.
//
// `halve` makes a frame smaller by 2x2 means, up to three times in one reading of it, and `sample_f32`/`sample_f16`
// interpolate what is left and normalize. Two steps, because a bilinear step that fetched whole squares would read
// every pixel twice or more: so the frame is read once, and what is written in between is 1/4 to 1/64 of it.
#include "frames.cuh"

constexpr int FRAMES = 32;  // at most in one launch; the arguments of a launch must fit in 4 KiB

struct Halving {
  DeviceFrame source;
  unsigned char *target;  // (height, width, 3) BGR without gaps
  int height, width;      // of the target
  int levels;             // 1 to 3
  int unused;
};

struct Halvings {
  Halving frames[FRAMES];
};

struct Sampling {
  DeviceFrame frames[FRAMES];
  void *tensor;       // (frames, 3, height, width), or (frames * rows * columns, ...) of their tiles
  int height, width;  // of the input: a frame, or a tile
  float scale[3], offset[3];
  int rows, columns;              // of tiles; 1 and 1 for whole frames
  int step_down, step_across;     // from a tile to the next, in pixels
  int whole_height, whole_width;  // of all tiles together: what a frame is resized to
};

// BGR whose rows begin at multiples of 4 bytes, so that four pixels are three words.
struct BgrWords {
  const DeviceFrame &frame;
  __device__ const unsigned *row(int y, int x) const {
    return reinterpret_cast<const unsigned *>(frame.pixels + (size_t)(frame.top + y) * frame.pitch +
                                              3 * frame.left) + 3 * (x / 4);
  }
};

__device__ inline int byte(unsigned word, int index) { return word >> 8 * index & 255; }

// Rounded as OpenCV rounds the area average of 2x2 pixels.
__device__ inline Pixel mean(Pixel a, Pixel b, Pixel c, Pixel d) {
  return {(a.blue + b.blue + c.blue + d.blue + 2) >> 2, (a.green + b.green + c.green + d.green + 2) >> 2,
          (a.red + b.red + c.red + d.red + 2) >> 2};
}

// The pixel (y, x) of the frame halved LEVELS times. An odd last row or column takes no part by itself.
template <int LEVELS, class Source>
struct Mean {
  __device__ static Pixel at(const Source &source, int y, int x) {
    Pixel parts[4];
#pragma unroll(LEVELS < 3 ? 4 : 1)  // 64 pixels at once would only be slow to compile
    for (int part = 0; part < 4; part++)
      parts[part] = Mean<LEVELS - 1, Source>::at(source, 2 * y + part / 2, 2 * x + part % 2);
    return mean(parts[0], parts[1], parts[2], parts[3]);
  }
};

template <class Source>
struct Mean<0, Source> {
  __device__ static Pixel at(const Source &source, int y, int x) { return source.at(y, x); }
};

template <>
struct Mean<2, BgrWords> {
  __device__ static Pixel at(const BgrWords &source, int y, int x) {
    Pixel quarters[2][2];
    for (int half = 0; half < 2; half++) {
      const unsigned *a = source.row(4 * y + 2 * half, 4 * x), *b = source.row(4 * y + 2 * half + 1, 4 * x);
      unsigned a0 = a[0], a1 = a[1], a2 = a[2], b0 = b[0], b1 = b[1], b2 = b[2];  // bgrb grbg rbgr
      quarters[half][0] = mean({byte(a0, 0), byte(a0, 1), byte(a0, 2)}, {byte(a0, 3), byte(a1, 0), byte(a1, 1)},
                               {byte(b0, 0), byte(b0, 1), byte(b0, 2)}, {byte(b0, 3), byte(b1, 0), byte(b1, 1)});
      quarters[half][1] = mean({byte(a1, 2), byte(a1, 3), byte(a2, 0)}, {byte(a2, 1), byte(a2, 2), byte(a2, 3)},
                               {byte(b1, 2), byte(b1, 3), byte(b2, 0)}, {byte(b2, 1), byte(b2, 2), byte(b2, 3)});
    }
    return mean(quarters[0][0], quarters[0][1], quarters[1][0], quarters[1][1]);
  }
};

template <int LEVELS>
__device__ Pixel halved(const DeviceFrame &frame, int y, int x) {
  switch (frame.format) {
    case GRAY: return Mean<LEVELS, Gray>::at({frame}, y, x);
    case NV12: return Mean<LEVELS, Nv12>::at({frame}, y, x);
  }
  if constexpr (LEVELS >= 2) {
    size_t start = reinterpret_cast<size_t>(frame.pixels) + 3 * frame.left;
    if ((start | frame.pitch) % 4 == 0) return Mean<LEVELS, BgrWords>::at({frame}, y, x);
  }
  return Mean<LEVELS, Bgr>::at({frame}, y, x);
}

// A thread for each pixel of the largest target; grid.z is the frame.
extern "C" __global__ void halve(Halvings task) {
  const Halving &frame = task.frames[blockIdx.z];
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= frame.width || y >= frame.height) return;
  Pixel pixel = frame.levels == 1   ? halved<1>(frame.source, y, x)
                : frame.levels == 2 ? halved<2>(frame.source, y, x)
                                    : halved<3>(frame.source, y, x);
  unsigned char *out = frame.target + 3 * ((size_t)y * frame.width + x);
  out[0] = pixel.blue;
  out[1] = pixel.green;
  out[2] = pixel.red;
}

template <class T>
__device__ void sample(const Sampling &task) {
  int tiles = task.rows * task.columns, tile = blockIdx.z % tiles;
  const DeviceFrame &frame = task.frames[blockIdx.z / tiles];
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= task.width || y >= task.height) return;
  Tap down = tap(y + tile / task.columns * task.step_down, frame.height, task.whole_height);
  Tap across = tap(x + tile % task.columns * task.step_across, frame.width, task.whole_width);
  Pixel a = pixel_at(frame, down.first, across.first), b = pixel_at(frame, down.first, across.second);
  Pixel c = pixel_at(frame, down.second, across.first), d = pixel_at(frame, down.second, across.second);
  int levels[3] = {between_levels(a.blue, b.blue, c.blue, d.blue, down, across),
                   between_levels(a.green, b.green, c.green, d.green, down, across),
                   between_levels(a.red, b.red, c.red, d.red, down, across)};
  size_t plane = (size_t)task.height * task.width;
  T *out = static_cast<T *>(task.tensor) + 3 * plane * blockIdx.z + (size_t)y * task.width + x;
  for (int channel = 0; channel < 3; channel++)
    narrow(levels[channel] * task.scale[channel] + task.offset[channel], out + channel * plane);
}

// A thread for each pixel of the input; grid.z is the frame, or the tile of a frame.
extern "C" __global__ void sample_f32(Sampling task) { sample<float>(task); }
extern "C" __global__ void sample_f16(Sampling task) { sample<Half>(task); }
