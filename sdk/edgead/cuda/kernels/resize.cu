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

template <int LEVELS>
__device__ Pixel halved(const DeviceFrame &frame, int y, int x) {
  if (frame.format == CHANNELS) return Mean<LEVELS, Channels>::at({frame}, y, x);
  return Mean<LEVELS, Nv12>::at({frame, weights_of(frame.format)}, y, x);
}

constexpr int GROUP = 16;  // pixels of a row that a thread of `halve` reads: 48 bytes of BGR, three loads of 16

// GROUP pixels of BGR of one row, which begins at a multiple of 16 bytes.
struct Row {
  uint4 words[3];
  __device__ explicit Row(const unsigned char *start) {
    for (int third = 0; third < 3; third++) words[third] = reinterpret_cast<const uint4 *>(start)[third];
  }
  __device__ int byte(int index) const {  // known when it is compiled
    const uint4 &third = words[index / 16];
    int word = index / 4 % 4;
    return (word == 0 ? third.x : word == 1 ? third.y : word == 2 ? third.z : third.w) >> 8 * (index % 4) & 255;
  }
  __device__ Pixel at(int x) const { return {byte(3 * x), byte(3 * x + 1), byte(3 * x + 2)}; }
};

// A group of 2^LEVELS rows halved LEVELS times: GROUP >> LEVELS pixels.
template <int LEVELS>
struct Group {
  Pixel pixels[GROUP >> LEVELS];
  __device__ Group(const unsigned char *start, int pitch) {
    Group<LEVELS - 1> upper(start, pitch), lower(start + ((size_t)pitch << (LEVELS - 1)), pitch);
#pragma unroll
    for (int x = 0; x < GROUP >> LEVELS; x++)
      pixels[x] = mean(upper.pixels[2 * x], upper.pixels[2 * x + 1], lower.pixels[2 * x], lower.pixels[2 * x + 1]);
  }
};

template <>
struct Group<1> {
  Pixel pixels[GROUP / 2];
  __device__ Group(const unsigned char *start, int pitch) {
    Row upper(start), lower(start + pitch);
#pragma unroll
    for (int x = 0; x < GROUP / 2; x++)
      pixels[x] = mean(upper.at(2 * x), upper.at(2 * x + 1), lower.at(2 * x), lower.at(2 * x + 1));
  }
};

__device__ inline void write_pixel(const Halving &frame, int y, int x, Pixel pixel) {
  unsigned char *out = frame.target + 3 * ((size_t)y * frame.width + x);
  out[0] = pixel.blue;
  out[1] = pixel.green;
  out[2] = pixel.red;
}

// Whether a group of pixels can be read by 16 bytes, what is past the last one of the row included.
__device__ inline bool is_in_words(const DeviceFrame &frame, int group) {
  size_t start = reinterpret_cast<size_t>(frame.pixels);
  return frame.format == CHANNELS && frame.step == 3 && frame.plane == 1 && frame.pitch > 0 &&
         (start | frame.pitch) % 16 == 0 && 3 * GROUP * (group + 1) <= frame.pitch;
}

template <int LEVELS>
__device__ void halve_group(const Halving &frame, int y, int group) {
  constexpr int EACH = GROUP >> LEVELS;
  const DeviceFrame &source = frame.source;
  int first = group * EACH, count = smaller(EACH, frame.width - first);
  if (is_in_words(source, group)) {
    Group<LEVELS> found(source.pixels + ((size_t)y << LEVELS) * source.pitch + 3 * GROUP * group, source.pitch);
#pragma unroll
    for (int x = 0; x < EACH; x++)
      if (x < count) write_pixel(frame, y, first + x, found.pixels[x]);
    return;
  }
  for (int x = first; x < first + count; x++) write_pixel(frame, y, x, halved<LEVELS>(source, y, x));
}

// A thread for what GROUP pixels of a row of the source become; grid.z is the frame.
extern "C" __global__ void halve(Halvings task) {
  const Halving &frame = task.frames[blockIdx.z];
  int group = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (group * (GROUP >> frame.levels) >= frame.width || y >= frame.height) return;
  if (frame.levels == 1) halve_group<1>(frame, y, group);
  else if (frame.levels == 2) halve_group<2>(frame, y, group);
  else halve_group<3>(frame, y, group);
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
