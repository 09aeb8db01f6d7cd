// Smooths the maps of large grids by a Gaussian in both directions at once, and where the score is the largest value,
// finds that on the way: the second half of edgead.ops.fuse.
//
// A block has a tile of a frame. It smooths the rows that the tile's columns reach into along themselves, in shared
// memory, and those across; so a map is read and written once. Above and below a tile rows are smoothed by its neighbors
// too, which costs less than a second pass through memory.
#include "scores.cuh"

constexpr int TILE = 32;       // cells of a tile, in each direction
constexpr int THREADS = 256;   // of a block
constexpr int NEAR = 24;       // the radius up to which a block needs little shared memory
constexpr int FAR = 160;       // and the largest: 45 KiB

struct Blurring {
  const float *maps;      // (frames, height, width)
  float *out;             // the same, elsewhere
  const float *weights;   // 2 * radius + 1
  const float *mask;      // (height, width), or null
  double *scores;         // (frames), of the largest value of each; or null
  Selection *selections;  // (frames)
  int radius, height, width;
  int unused;
};

template <int REACH>
__device__ void blur(const Blurring &task) {
  __shared__ float rows[(TILE + 2 * REACH) * TILE];
  __shared__ unsigned tops[THREADS / 32];
  int left = blockIdx.x * TILE, top = blockIdx.y * TILE, column = threadIdx.x % TILE, first = threadIdx.x / TILE;
  int x = left + column, radius = task.radius, bottom = smaller(top + TILE, task.height);
  int low = top < radius ? 0 : top - radius, high = smaller(task.height, bottom + radius);
  size_t frame = (size_t)blockIdx.z * task.height * task.width;
  for (int y = low + first; y < high && x < task.width; y += THREADS / TILE)
    rows[(y - low) * TILE + column] =
        smoothed(task.maps + frame + (size_t)y * task.width, 1, x, task.width - 1, task.weights, radius);
  __syncthreads();
  unsigned largest = 0;
  for (int y = top + first; y < bottom && x < task.width; y += THREADS / TILE) {
    float sum = smoothed(rows + column, TILE, y - low, high - low - 1, task.weights, radius);
    size_t cell = (size_t)y * task.width + x;
    if (task.mask) sum *= task.mask[cell];
    task.out[frame + cell] = sum;
    largest = max(largest, rank(sum));
  }
  if (!task.scores) return;
  largest = largest_of_block<THREADS>(largest, tops);
  add_largest(task.selections[blockIdx.z], largest, gridDim.x * gridDim.y, task.scores + blockIdx.z);
}

extern "C" __global__ void __launch_bounds__(THREADS) blur_near(Blurring task) { blur<NEAR>(task); }
extern "C" __global__ void __launch_bounds__(THREADS) blur_far(Blurring task) { blur<FAR>(task); }
