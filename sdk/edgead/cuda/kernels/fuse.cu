// From the network's maps to one anomaly map and one raw score for each frame: edgead.ops.fuse and image_score.
//
// Maps of at most SMALL cells, as the edge forms have them, are one kernel with a block for each frame (`fuse_small`):
// what is combined, smoothed and scored stays in shared memory. Of larger ones `combine` scales, interpolates and adds
// or multiplies, the kernels of blur.cu smooth, and the score takes a few blocks of each frame, the last of which puts
// together what all have found (`find_top`, three times, and `sum_of_top`; or `largest`, where nothing is smoothed).
// NaN goes through to the score.
#include "scores.cuh"

constexpr int MAPS = 16;
constexpr int THREADS = BINS / 2;  // of a block that scores
constexpr int SMALL = 4096;   // cells

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

struct Scoring {
  const float *maps;      // (frames, cells)
  double *scores;         // (frames)
  Selection *selections;  // (frames)
  int cells, top;
  int known, unused;  // bits of the rank
};

struct Fusing {
  Combination combination;
  const float *weights;  // of the Gaussian, 2 * radius + 1
  double *scores;        // (frames)
  int radius, top;
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

// The blend of the tiles that reach a cell of a frame.
__device__ float blended(const Combination &task, size_t frame, int y, int x) {
  float fused = 0.0f;
  size_t first = frame * task.rows * task.columns;
  int low = smaller(task.rows - 1, y / task.step_down), right = smaller(task.columns - 1, x / task.step_across);
  for (int row = first_tile(y, task.tile_height, task.step_down); row <= low; row++) {
    int down = y - row * task.step_down;
    float vertical = share(down, task.tile_height, task.step_down, row, task.rows);
    for (int column = first_tile(x, task.tile_width, task.step_across); column <= right; column++) {
      int across = x - column * task.step_across;
      float value = combined(task, first + row * task.columns + column, down, across);
      fused += value * (vertical * share(across, task.tile_width, task.step_across, column, task.columns));
    }
  }
  return fused;
}

// A thread for each cell; grid.z is the frame.
extern "C" __global__ void combine(Combination task) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= task.width || y >= task.height) return;
  float fused = blended(task, blockIdx.z, y, x);
  size_t cell = (size_t)y * task.width + x;
  if (task.mask) fused *= task.mask[cell];
  task.out[(size_t)blockIdx.z * task.height * task.width + cell] = fused;
}

// What a block needs to find the bin of the values that it searches for.
struct Search {
  unsigned bins[BINS];
  unsigned from_above[2][THREADS];
};

// From counts of values by their next bits to the bin in which the count from above reaches what is wanted; of all
// threads of a block, after a barrier. `found` is the bin, and `wanted_in_bin` what is wanted of it.
__device__ void find_bin(Search &search, unsigned wanted, unsigned *found, unsigned *wanted_in_bin) {
  int thread = threadIdx.x;
  unsigned lower = search.bins[2 * thread], upper = search.bins[2 * thread + 1];
  unsigned *have = search.from_above[0], *next = search.from_above[1];
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
    *found = 2 * thread + is_upper;
    *wanted_in_bin = wanted - above - (is_upper ? 0 : upper);
  }
}

// Counts the ranks of [first, last) that begin with the bits known so far, by their next eleven, or ten at the end.
__device__ void count_ranks(const float *values, int first, int last, unsigned known, unsigned prefix, unsigned *bins) {
  unsigned bits = known < 22 ? 11 : 10, shift = 32 - known - bits;
  for (int cell = first + threadIdx.x; cell < last; cell += THREADS) {
    unsigned key = rank(values[cell]);
    if (known == 0 || key >> (32 - known) == prefix) atomicAdd(&bins[key >> shift & ((1u << bits) - 1)], 1u);
  }
}

// The sum of the values of [first, last) above a rank, in double precision and always in the same order; in thread 0.
__device__ double sum_above(const float *values, int first, int last, unsigned threshold, double *sums) {
  double sum = 0.0;
  for (int cell = first + threadIdx.x; cell < last; cell += THREADS)
    if (rank(values[cell]) > threshold) sum += values[cell];
  int thread = threadIdx.x;
  sums[thread] = sum;
  for (int distance = THREADS / 2; distance; distance /= 2) {
    __syncthreads();
    if (thread < distance) sums[thread] += sums[thread + distance];
  }
  return sums[0];
}

// The largest rank of [first, last); in thread 0.
__device__ unsigned largest_rank(const float *values, int first, int last, unsigned *tops) {
  unsigned top = 0;
  for (int cell = first + threadIdx.x; cell < last; cell += THREADS) top = max(top, rank(values[cell]));
  return largest_of_block<THREADS>(top, tops);
}

__device__ inline double mean_of_largest(double above, unsigned wanted, unsigned threshold, int top) {
  return (above + wanted * static_cast<double>(value_of(threshold))) / top;
}

// A block of THREADS for each frame of at most SMALL cells.
extern "C" __global__ void __launch_bounds__(THREADS) fuse_small(Fusing task) {
  __shared__ float values[SMALL];
  __shared__ union {  // one after the other
    float blurred[SMALL];
    Search search;
    double sums[THREADS];
    unsigned tops[THREADS / 32];
  } work;
  __shared__ unsigned found, wanted_in_bin;
  const Combination &maps = task.combination;
  int thread = threadIdx.x, height = maps.height, width = maps.width, cells = height * width;
  size_t frame = blockIdx.z;
  for (int cell = thread; cell < cells; cell += THREADS) {
    float fused = blended(maps, frame, cell / width, cell % width);
    values[cell] = maps.mask && !task.radius ? fused * maps.mask[cell] : fused;
  }
  if (task.radius) {
    __syncthreads();
    for (int cell = thread; cell < cells; cell += THREADS)
      work.blurred[cell] =
          smoothed(values + cell / width * width, 1, cell % width, width - 1, task.weights, task.radius);
    __syncthreads();
    for (int cell = thread; cell < cells; cell += THREADS) {
      float sum =
          smoothed(work.blurred + cell % width, width, cell / width, height - 1, task.weights, task.radius);
      values[cell] = maps.mask ? sum * maps.mask[cell] : sum;
    }
    __syncthreads();  // what is blurred has been read
  }
  for (int cell = thread; cell < cells; cell += THREADS) maps.out[frame * cells + cell] = values[cell];
  if (task.top == 1) {  // each thread reads what it has written
    unsigned top = largest_rank(values, 0, cells, work.tops);
    if (thread == 0) task.scores[frame] = value_of(top);
    return;
  }
  unsigned known = 0, prefix = 0, wanted = task.top;
  while (known < 32) {
    work.search.bins[2 * thread] = work.search.bins[2 * thread + 1] = 0;
    __syncthreads();
    count_ranks(values, 0, cells, known, prefix, work.search.bins);
    __syncthreads();
    find_bin(work.search, wanted, &found, &wanted_in_bin);
    __syncthreads();
    unsigned bits = known < 22 ? 11 : 10;
    prefix = prefix << bits | found;
    wanted = wanted_in_bin;
    known += bits;
  }
  double above = sum_above(values, 0, cells, prefix, work.sums);
  if (thread == 0) task.scores[frame] = mean_of_largest(above, wanted, prefix, task.top);
}

// The share of a frame's cells that a block has to itself: grid.x is the block, grid.z the frame.
struct Slice {
  const float *values;
  int first, last;
  Selection &selection;
};

__device__ inline Slice slice_of(const Scoring &task) {
  long long cells = task.cells;
  return {task.maps + blockIdx.z * (size_t)task.cells, static_cast<int>(cells * blockIdx.x / gridDim.x),
          static_cast<int>(cells * (blockIdx.x + 1) / gridDim.x), task.selections[blockIdx.z]};
}

extern "C" __global__ void __launch_bounds__(THREADS) largest(Scoring task) {
  __shared__ unsigned tops[THREADS / 32];
  Slice slice = slice_of(task);
  unsigned top = largest_rank(slice.values, slice.first, slice.last, tops);
  add_largest(slice.selection, top, gridDim.x, task.scores + blockIdx.z);
}

// The next bits of the rank of the top-th largest value, 1 <= top <= cells: all blocks count, the last one decides.
extern "C" __global__ void __launch_bounds__(THREADS) find_top(Scoring task) {
  __shared__ Search search;
  __shared__ unsigned found, wanted_in_bin;
  Slice slice = slice_of(task);
  Selection &state = slice.selection;
  unsigned thread = threadIdx.x, known = task.known;
  unsigned prefix = known ? state.prefix : 0, wanted = known ? state.wanted : task.top;
  search.bins[2 * thread] = search.bins[2 * thread + 1] = 0;
  __syncthreads();
  count_ranks(slice.values, slice.first, slice.last, known, prefix, search.bins);
  __syncthreads();
  for (unsigned bin = thread; bin < BINS; bin += THREADS)
    if (search.bins[bin]) atomicAdd(&state.bins[bin], search.bins[bin]);
  if (!is_last_block(&state.finished, gridDim.x)) return;
  for (unsigned bin = 2 * thread; bin < 2 * thread + 2; bin++) {
    search.bins[bin] = atomicAdd(&state.bins[bin], 0u);
    state.bins[bin] = 0;
  }
  find_bin(search, wanted, &found, &wanted_in_bin);
  __syncthreads();
  if (thread == 0) {
    state.prefix = prefix << (known < 22 ? 11 : 10) | found;
    state.wanted = wanted_in_bin;
  }
}

// The mean of the `top` largest values, whose least is known by now: each block sums what lies above, the last one all.
extern "C" __global__ void __launch_bounds__(THREADS) sum_of_top(Scoring task) {
  __shared__ double sums[THREADS];
  Slice slice = slice_of(task);
  Selection &state = slice.selection;
  double above = sum_above(slice.values, slice.first, slice.last, state.prefix, sums);
  if (threadIdx.x == 0) state.sums[blockIdx.x] = above;
  if (!is_last_block(&state.finished, gridDim.x) || threadIdx.x) return;
  const volatile double *parts = state.sums;  // of other blocks of this launch
  double sum = 0.0;
  for (unsigned block = 0; block < gridDim.x; block++) sum += parts[block];
  task.scores[blockIdx.z] = mean_of_largest(sum, state.wanted, state.prefix, task.top);
  state.prefix = state.wanted = 0;
}
