// From the network's maps to one anomaly map and one raw score for each frame: edgead.ops.fuse and image_score.
//
// `combine` scales, interpolates and adds or multiplies; `blur` smooths in one direction; `largest` or `mean_of_top`
// gives the score. The grids are small (16 KiB to 1 MiB a frame) and stay in the cache from one kernel to the next,
// which is why `blur` needs no tiles. NaN goes through to the score.
#include "numbers.cuh"

constexpr int MAPS = 16;
constexpr int THREADS = 1024;  // of a block that scores; it has one frame to itself
constexpr int BINS = 2 * THREADS;

struct Map {
  const void *values;  // (frames, height, width)
  int height, width;
  int is_half;
  float scale, offset;  // the part's weight is in both
  int unused;
};

struct Combination {
  Map maps[MAPS];     // (frames * rows * columns, ...) of tiles
  float *out;         // (frames, height, width)
  const float *mask;  // (height, width), or null
  int count, is_product;
  int height, width;
  int rows, columns;           // of tiles; 1 and 1 for whole frames
  int tile_height, tile_width; // cells of a tile; those of the frame where it is whole
  int step_down, step_across;  // from a tile to the next, in cells
};

struct Blurring {
  const float *maps;     // (frames, height, width)
  float *out;            // the same, elsewhere
  const float *weights;  // 2 * radius + 1
  const float *mask;     // (height, width), or null
  int radius, is_vertical;
  int height, width;
};

struct Scoring {
  const float *maps;  // (frames, cells)
  double *scores;     // (frames)
  int cells, top;
};

template <class T>
__device__ float interpolated(const Map &map, size_t entry, Tap down, Tap across) {
  const T *values = static_cast<const T *>(map.values) + entry * map.height * map.width;
  const T *above = values + (size_t)down.first * map.width, *below = values + (size_t)down.second * map.width;
  float a = widen(above[across.first]) * map.scale + map.offset;
  float b = widen(above[across.second]) * map.scale + map.offset;
  float c = widen(below[across.first]) * map.scale + map.offset;
  float d = widen(below[across.second]) * map.scale + map.offset;
  return between(between(a, b, across.share), between(c, d, across.share), down.share);
}

// The sum or product of the maps of one entry of the batch, at a cell of its grid.
__device__ float combined(const Combination &task, size_t entry, int y, int x) {
  float fused = task.is_product ? 1.0f : 0.0f;
  for (int index = 0; index < task.count; index++) {
    const Map &map = task.maps[index];
    Tap down = tap(y, map.height, task.tile_height), across = tap(x, map.width, task.tile_width);
    float value =
        map.is_half ? interpolated<Half>(map, entry, down, across) : interpolated<float>(map, entry, down, across);
    fused = task.is_product ? fused * value : fused + value;
  }
  return fused;
}

// How much a tile counts in its cell, in one direction: less toward its neighbors over what it shares with them.
__device__ float share(int cell, int size, int step, int tile, int count) {
  int overlap = size - step;
  float shared = 1.0f;
  if (tile > 0 && cell < overlap) shared *= (cell + 0.5f) / overlap;
  if (tile < count - 1 && cell >= step) shared *= (size - cell - 0.5f) / overlap;
  return shared;
}

// The first tile of a line that reaches a cell.
__device__ int first_tile(int cell, int size, int step) { return cell < size ? 0 : (cell - size) / step + 1; }

// A thread for each cell; grid.z is the frame.
extern "C" __global__ void combine(Combination task) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= task.width || y >= task.height) return;
  float fused = 0.0f;
  size_t frame = (size_t)blockIdx.z * task.rows * task.columns;
  int low = smaller(task.rows - 1, y / task.step_down), right = smaller(task.columns - 1, x / task.step_across);
  for (int row = first_tile(y, task.tile_height, task.step_down); row <= low; row++) {
    int down = y - row * task.step_down;
    float vertical = share(down, task.tile_height, task.step_down, row, task.rows);
    for (int column = first_tile(x, task.tile_width, task.step_across); column <= right; column++) {
      int across = x - column * task.step_across;
      float value = combined(task, frame + row * task.columns + column, down, across);
      fused += value * (vertical * share(across, task.tile_width, task.step_across, column, task.columns));
    }
  }
  size_t cell = (size_t)y * task.width + x;
  if (task.mask) fused *= task.mask[cell];
  task.out[(size_t)blockIdx.z * task.height * task.width + cell] = fused;
}

// A thread for each cell; grid.z is the frame. Beyond the border the outermost value is repeated.
extern "C" __global__ void blur(Blurring task) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= task.width || y >= task.height) return;
  size_t frame = (size_t)blockIdx.z * task.height * task.width, cell = (size_t)y * task.width + x;
  int place = task.is_vertical ? y : x, last = (task.is_vertical ? task.height : task.width) - 1;
  size_t step = task.is_vertical ? task.width : 1;
  const float *line = task.maps + frame + (task.is_vertical ? x : (size_t)y * task.width);
  float sum = 0.0f;
  for (int offset = -task.radius; offset <= task.radius; offset++) {
    int source = place + offset;
    source = source < 0 ? 0 : smaller(source, last);
    sum += task.weights[offset + task.radius] * line[source * step];
  }
  if (task.mask) sum *= task.mask[cell];
  task.out[frame + cell] = sum;
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

// A block of THREADS for each frame.
extern "C" __global__ void __launch_bounds__(THREADS) largest(Scoring task) {
  __shared__ unsigned tops[THREADS / 32];
  const float *values = task.maps + (size_t)blockIdx.x * task.cells;
  unsigned top = 0;
  for (int cell = threadIdx.x; cell < task.cells; cell += THREADS) top = max(top, rank(values[cell]));
  for (int distance = 16; distance; distance /= 2) top = max(top, __shfl_down_sync(0xffffffffu, top, distance));
  if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = top;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < THREADS / 32; warp++) top = max(top, tops[warp]);
    task.scores[blockIdx.x] = value_of(top);
  }
}

// The mean of the `top` largest values, 1 <= top <= cells; a block of THREADS for each frame.
//
// The top-th largest is found by its rank, eleven bits at a time from the highest: count the values by their next bits,
// then take the bin in which the count from above reaches what is wanted. What lies above it is summed in double
// precision, always in the same order.
extern "C" __global__ void __launch_bounds__(THREADS) mean_of_top(Scoring task) {
  __shared__ unsigned bins[BINS];
  __shared__ unsigned from_above[2][THREADS];
  __shared__ double sums[THREADS];
  __shared__ unsigned found, wanted_in_bin;
  const float *values = task.maps + (size_t)blockIdx.x * task.cells;
  int thread = threadIdx.x;
  unsigned known = 0, prefix = 0, wanted = task.top;  // so many bits of the rank are known, and which
  while (known < 32) {
    unsigned bits = known < 22 ? 11 : 10, shift = 32 - known - bits;
    bins[2 * thread] = bins[2 * thread + 1] = 0;
    __syncthreads();
    for (int cell = thread; cell < task.cells; cell += THREADS) {
      unsigned key = rank(values[cell]);
      if (known == 0 || key >> (32 - known) == prefix) atomicAdd(&bins[key >> shift & ((1u << bits) - 1)], 1u);
    }
    __syncthreads();
    unsigned lower = bins[2 * thread], upper = bins[2 * thread + 1];
    unsigned *have = from_above[0], *next = from_above[1];
    have[thread] = lower + upper;
    for (int distance = 1; distance < THREADS; distance *= 2) {
      __syncthreads();
      next[thread] = have[thread] + (thread + distance < THREADS ? have[thread + distance] : 0);
      unsigned *other = have;
      have = next;
      next = other;
    }
    unsigned including = have[thread], above = including - lower - upper;
    if (above < wanted && wanted <= including) {
      bool is_upper = wanted <= above + upper;
      found = 2 * thread + is_upper;
      wanted_in_bin = wanted - above - (is_upper ? 0 : upper);
    }
    __syncthreads();
    prefix = prefix << bits | found;
    wanted = wanted_in_bin;
    known += bits;
  }
  double sum = 0.0;
  for (int cell = thread; cell < task.cells; cell += THREADS)
    if (rank(values[cell]) > prefix) sum += values[cell];
  sums[thread] = sum;
  for (int distance = THREADS / 2; distance; distance /= 2) {
    __syncthreads();
    if (thread < distance) sums[thread] += sums[thread + distance];
  }
  if (thread == 0) task.scores[blockIdx.x] = (sums[0] + wanted * static_cast<double>(value_of(prefix))) / task.top;
}
