// From a method's class logits to how far each frame's histograms of components lie from good parts:
// edgead.ops.components (label_cells, count_components, distance), for every frame by itself.
//
// Blocks interpolate, take the largest logit and count it for all histograms in one pass; a frame's last block then has
// all counts, and takes the distances, in FP32. Logits that are no numbers are counted too.
#include "last_block.cuh"
#include "numbers.cuh"

constexpr int CLASSES = 256;  // labels are 8 bits
constexpr int HISTOGRAMS = 8;
constexpr int THREADS = 256;

struct Histogram {
  unsigned *counts;         // (frames, rows, columns, classes)
  const float *statistics;  // (1 + entries_of_factor, rows * columns * (classes - 1)): the mean, then the factor
  int rows, columns;
  int factors;  // rows of the factor
  int unused;
};

struct Counting {
  Histogram histograms[HISTOGRAMS];
  const void *logits;     // (frames, classes, source_height, source_width)
  unsigned char *labels;  // (frames, height, width)
  float *distances;       // (frames, histograms)
  unsigned *faults;       // (frames), logits that are no number
  unsigned *finished;     // (frames), blocks; 0 before and after
  int histogram_count, classes;
  int source_height, source_width;
  int height, width;
  int rows, columns;  // of the grid that all histograms' grids divide
  int slices;         // of each of its cells; a block counts one slice
  int is_half;
};

template <class T>
__device__ inline float logit(const T *plane, int width, Tap down, Tap across) {
  const T *above = plane + (size_t)down.first * width, *below = plane + (size_t)down.second * width;
  return between(between(widen(above[across.first]), widen(above[across.second]), across.share),
                 between(widen(below[across.first]), widen(below[across.second]), across.share), down.share);
}

// The first of the largest. What comes after a NaN is never larger, as with numpy's maximum.
template <class T>
__device__ int largest_logit(const Counting &task, int y, int x) {
  size_t plane = (size_t)task.source_height * task.source_width;
  const T *logits = static_cast<const T *>(task.logits) + blockIdx.z * task.classes * plane;
  Tap down = tap(y, task.source_height, task.height), across = tap(x, task.source_width, task.width);
  float best = logit(logits, task.source_width, down, across);
  int label = 0;
  for (int index = 1; index < task.classes; index++) {
    float value = logit(logits + index * plane, task.source_width, down, across);
    if (value > best) label = index;
    if (value > best || is_nan(value)) best = value;
  }
  return label;
}

// Adds the logits of this block's share of the frame that are no number.
template <class T>
__device__ void count_faults(const Counting &task) {
  long long size = (long long)task.classes * task.source_height * task.source_width;
  long long block = blockIdx.y * gridDim.x + blockIdx.x, blocks = (long long)gridDim.x * gridDim.y;
  const T *logits = static_cast<const T *>(task.logits) + blockIdx.z * size;
  for (long long place = size * block / blocks + threadIdx.x; place < size * (block + 1) / blocks; place += THREADS)
    if (is_nan(widen(logits[place]))) atomicAdd(&task.faults[blockIdx.z], 1u);
}

// ||U (v - mean)|| of one histogram of the frame, a warp for each row of U at a time; of all threads of a block.
__device__ float distance(const Counting &task, const Histogram &histogram, float *sums) {
  int cells = histogram.rows * histogram.columns, kinds = task.classes - 1, entries = cells * kinds;
  float area = static_cast<float>(task.height * task.width / cells);
  // written by other blocks of this launch
  const volatile unsigned *counts = histogram.counts + (size_t)blockIdx.z * cells * task.classes;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float square = 0.0f;
  for (int row = warp; row < histogram.factors; row += THREADS / 32) {
    const float *factor = histogram.statistics + (size_t)(1 + row) * entries;
    float sum = 0.0f;
    for (int entry = lane; entry < entries; entry += 32) {
      float share = counts[entry / kinds * task.classes + entry % kinds + 1] / area;
      sum += factor[entry] * (share - histogram.statistics[entry]);
    }
    for (int step = 16; step; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
    square += sum * sum;  // whole in lane 0
  }
  if (lane == 0) sums[warp] = square;
  __syncthreads();
  for (int other = 1; threadIdx.x == 0 && other < THREADS / 32; other++) square += sums[other];
  __syncthreads();  // before the next histogram's sums
  return sqrtf(square);
}

// grid.x is a cell of the common grid, grid.y a slice of it, grid.z the frame. A cell lies in one cell of each
// histogram, so a block counts once for all of them.
// Four blocks on a multiprocessor: for more of them sm_100 would spill registers.
extern "C" __global__ void __launch_bounds__(THREADS, 4) count(Counting task) {
  __shared__ unsigned counts[CLASSES];
  __shared__ float sums[THREADS / 32];
  for (int index = threadIdx.x; index < task.classes; index += THREADS) counts[index] = 0;
  __syncthreads();
  if (task.is_half)
    count_faults<Half>(task);
  else
    count_faults<float>(task);
  int row = blockIdx.x / task.columns, column = blockIdx.x % task.columns;
  int height = task.height / task.rows, width = task.width / task.columns;
  int first = static_cast<int>((long long)height * width * blockIdx.y / task.slices);
  int last = static_cast<int>((long long)height * width * (blockIdx.y + 1) / task.slices);
  unsigned char *labels = task.labels + (size_t)blockIdx.z * task.height * task.width;
  for (int place = first + threadIdx.x; place < last; place += THREADS) {
    int y = row * height + place / width, x = column * width + place % width;
    int found = task.is_half ? largest_logit<Half>(task, y, x) : largest_logit<float>(task, y, x);
    labels[(size_t)y * task.width + x] = found;
    atomicAdd(&counts[found], 1u);
  }
  __syncthreads();
  for (int index = threadIdx.x; index < task.histogram_count * task.classes; index += THREADS) {
    const Histogram &histogram = task.histograms[index / task.classes];
    int kind = index % task.classes;
    int cell = row * histogram.rows / task.rows * histogram.columns + column * histogram.columns / task.columns;
    size_t frame = (size_t)blockIdx.z * histogram.rows * histogram.columns;
    if (counts[kind]) atomicAdd(&histogram.counts[(frame + cell) * task.classes + kind], counts[kind]);
  }
  if (!is_last_block(&task.finished[blockIdx.z], gridDim.x * gridDim.y)) return;
  for (int index = 0; index < task.histogram_count; index++) {
    float far = distance(task, task.histograms[index], sums);
    if (threadIdx.x == 0) task.distances[blockIdx.z * task.histogram_count + index] = far;
  }
}
