// CUDA C++ on a CPU: what a kernel file needs to compile with g++ and to run as CUDA would run it.
//
// Every thread of a block is a fiber that runs until its next barrier; blocks run one after the other. To catch what
// only works by luck, threads take turns forwards in one block and backwards in the next, shared memory is poisoned
// before every block, and a barrier that some threads of the block never reach ends the program. What it cannot show:
// speed, coalescing, bank conflicts, and races between blocks.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("shared_memory")))

struct dim3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
static dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace emulator {
enum State { READY, AT_BARRIER, AT_SHUFFLE, DONE };

struct Fiber {
  ucontext_t context;  // of its beginning
  jmp_buf place;       // where it goes on: unlike swapcontext, a jump asks the system for nothing
  bool is_begun;
  State state;
  std::vector<char> stack;
  unsigned lane_value;
};

static std::vector<Fiber> fibers;
static jmp_buf scheduler;
static int running;
static bool backwards;
static void (*kernel)(const void *);
static const void *task;

inline void pause(State state) {
  fibers[running].state = state;
  if (_setjmp(fibers[running].place) == 0) _longjmp(scheduler, 1);
}

// Let a fiber run until it pauses.
__attribute__((noinline)) inline void resume(Fiber &fiber) {
  if (_setjmp(scheduler)) return;
  if (fiber.is_begun) _longjmp(fiber.place, 1);
  fiber.is_begun = true;
  setcontext(&fiber.context);
}

inline void body() {
  kernel(task);
  pause(DONE);
}

inline void fail(const char *what) {
  std::fprintf(stderr, "kernel emulator: %s\n", what);
  std::abort();
}

// Let all that wait in the same way go on, when nobody of [first, last) is elsewhere.
inline void release(int first, int last, State barrier) {
  int waiting = 0;
  for (int i = first; i < last; i++) waiting += fibers[i].state == barrier;
  if (waiting == 0) return;
  for (int i = first; i < last; i++)
    if (fibers[i].state == DONE) fail("some threads ended while others wait for them at a barrier");
  if (waiting == last - first)
    for (int i = first; i < last; i++) fibers[i].state = READY;
}

extern "C" char __start_shared_memory[] __attribute__((weak));
extern "C" char __stop_shared_memory[] __attribute__((weak));

inline void run_block(int threads) {
  if (__start_shared_memory) std::memset(__start_shared_memory, 0xCD, __stop_shared_memory - __start_shared_memory);
  if ((int)fibers.size() < threads) fibers.resize(threads);
  for (int i = 0; i < threads; i++) {
    Fiber &fiber = fibers[i];
    fiber.stack.resize(64 << 10);
    fiber.state = READY;
    fiber.is_begun = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, body, 0);
  }
  for (bool any = true; any;) {
    any = false;
    for (int turn = 0; turn < threads; turn++) {
      int i = backwards ? threads - 1 - turn : turn;
      if (fibers[i].state != READY) continue;
      any = true;
      running = i;
      threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
      resume(fibers[i]);
    }
    for (int warp = 0; warp < threads; warp += 32)
      release(warp, warp + 32 < threads ? warp + 32 : threads, AT_SHUFFLE);
    release(0, threads, AT_BARRIER);
  }
  for (int i = 0; i < threads; i++)
    if (fibers[i].state != DONE) fail("threads wait for each other at different barriers");
  backwards = !backwards;
}

inline void launch(void (*what)(const void *), const void *record, const unsigned *grid, const unsigned *block) {
  kernel = what;
  task = record;
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  for (unsigned z = 0; z < grid[2]; z++)
    for (unsigned y = 0; y < grid[1]; y++)
      for (unsigned x = 0; x < grid[0]; x++) {
        blockIdx = {x, y, z};
        run_block(block[0] * block[1] * block[2]);
      }
}

template <class T>
inline T shuffle_down(T value, unsigned distance) {
  static_assert(sizeof(T) == 4, "only 32 bits are shuffled");
  std::memcpy(&fibers[running].lane_value, &value, 4);
  pause(AT_SHUFFLE);
  int source = running % 32 + distance < 32 ? running + distance : running;
  if (source < (int)(blockDim.x * blockDim.y * blockDim.z)) std::memcpy(&value, &fibers[source].lane_value, 4);
  pause(AT_SHUFFLE);
  return value;
}
}  // namespace emulator

static inline void __syncthreads() { emulator::pause(emulator::AT_BARRIER); }
static inline void __threadfence() {}  // blocks run one after the other
template <class T>
static inline T __shfl_down_sync(unsigned, T value, unsigned distance) {
  return emulator::shuffle_down(value, distance);
}
template <class T>
static inline T atomicAdd(T *place, T value) {
  T before = *place;
  *place += value;
  return before;
}
template <class T>
static inline T atomicMax(T *place, T value) {
  T before = *place;
  if (before < value) *place = value;
  return before;
}
template <class T>
static inline T max(T a, T b) {
  return a < b ? b : a;
}
static inline int __float2int_rn(float value) { return (int)std::nearbyintf(value); }
static inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
static inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

struct Half {
  _Float16 value;
};
static inline float widen(Half value) { return value.value; }
static inline void narrow(float value, Half *out) { out->value = (_Float16)value; }

// The kernel under its name, as the emulated driver calls it: its one parameter is a struct by value.
#define EMULATE(name, Task)                                                                                     \
  extern "C" void name##__launch(const void *record, const unsigned *grid, const unsigned *block) {             \
    emulator::launch([](const void *task) { name(*static_cast<const Task *>(task)); }, record, grid, block);    \
  }                                                                                                             \
  extern "C" unsigned name##__size() { return sizeof(Task); }
