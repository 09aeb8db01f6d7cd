// A libcuda.so.1 without a GPU, against the real cuda.h: the functions that pycuda calls for us.
//
// Device memory is host memory between two pages that nobody may touch, filled with 0xCD. A module is a shared library
// made of a kernel file with kernels.hpp; what is loaded is its path. Whatever is asynchronous happens as late as it
// may: when its stream is waited for. It refuses, as a real driver would, whatever is done without a current context,
// and counts what was never given back.
#include <cuda.h>
#include <dlfcn.h>
#include <sys/mman.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace {
using Clock = std::chrono::steady_clock;
constexpr size_t PAGE = 4096;

using Work = std::function<void()>;
struct Graph {
  std::vector<Work> nodes;
};
struct Stream {
  std::deque<Work> work;
  Graph *capture = nullptr;  // what is being captured
  bool is_spoilt = false;    // by something that no capture allows
  void push(Work next) {
    if (capture)
      capture->nodes.push_back(next);
    else
      work.push_back(next);
  }
  void drain() {
    while (!work.empty()) {
      auto next = work.front();
      work.pop_front();
      next();
    }
  }
};
struct Event {
  Stream *stream = nullptr;  // in which it is recorded and has not happened yet
  Clock::time_point time;
};
struct Function {
  void (*launch)(const void *, const unsigned *, const unsigned *);
  unsigned size;
};
struct Block {
  char *base;
  size_t mapped, size;
  int device;
  bool is_mapped = false;
};

constexpr int MOST_DEVICES = 4;
std::map<std::string, int> counted;
int primary[MOST_DEVICES];   // their addresses are the contexts' handles
int retained[MOST_DEVICES];  // times
int used[MOST_DEVICES];      // allocations, kernels and graphs on each
thread_local std::vector<CUcontext> stack;
Stream default_stream;
std::map<Stream *, bool> streams;
std::map<Event *, bool> events;
std::map<char *, Block> memory, pinned, locked;  // what is locked is the program's own
std::map<void *, bool> modules;
std::map<Graph *, bool> graphs;           // captured ones and executable ones
thread_local Stream *captures = nullptr;  // the stream that this thread captures
constexpr size_t TOTAL = 1ull << 32;      // bytes of memory
bool is_idle = false;                     // graphs and copies to and from the host do nothing
int launches = 0;                         // of graphs
int calls = 0;                            // of the driver, by any thread
int until_failure = 0;                    // calls
std::string failing;                      // the function that fails at every call
std::string wrong;                        // the first thing that a program must not do

CUresult refuse(const char *what, CUresult code) {
  if (wrong.empty()) wrong = what;
  return code;
}
int devices() { return getenv("EMULATOR_DEVICES") ? atoi(getenv("EMULATOR_DEVICES")) : 1; }
int device_of(CUcontext context) { return int((int *)context - primary); }
int current() { return device_of(stack.back()); }
bool no_context() { return calls++, stack.empty() || retained[current()] == 0; }
#define NEEDS_CONTEXT \
  if (no_context()) return refuse(__func__, CUDA_ERROR_INVALID_CONTEXT)

// Whether a test wants this call to fail.
bool fails(const char *function) { return failing == function || (until_failure > 0 && --until_failure == 0); }
#define MAY_FAIL \
  NEEDS_CONTEXT; \
  if (fails(__func__)) return CUDA_ERROR_UNKNOWN

// What waits for the GPU or its memory spoils a capture of the same thread.
CUresult spoil(const char *what) {
  captures->is_spoilt = true;
  return refuse((std::string(what) + " during a capture").c_str(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}
#define NOT_DURING_CAPTURE \
  if (captures) return spoil(__func__)

// CU_STREAM_LEGACY and CU_STREAM_PER_THREAD are 1 and 2.
Stream *stream_of(CUstream handle) { return (size_t)handle > 2 ? reinterpret_cast<Stream *>(handle) : &default_stream; }

void drain_all() {
  default_stream.drain();
  for (auto &entry : streams) entry.first->drain();
}

// Ends at a page's end (but for 16 bytes of alignment), so that the first byte beyond is a fault.
char *guarded(std::map<char *, Block> &from, size_t size) {
  size_t held = (size + 15) / 16 * 16, pages = (held + PAGE - 1) / PAGE, mapped = (pages + 2) * PAGE;
  char *base = (char *)mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  mprotect(base + PAGE, pages * PAGE, PROT_READ | PROT_WRITE);
  memset(base + PAGE, 0xCD, pages * PAGE);
  char *start = base + PAGE + pages * PAGE - held;
  from[start] = {base, mapped, size, current()};
  used[current()]++;
  return start;
}

CUresult release(std::map<char *, Block> &from, void *start) {
  auto found = from.find((char *)start);
  if (found == from.end()) return refuse("memory is freed that is not allocated", CUDA_ERROR_INVALID_VALUE);
  drain_all();  // as cuMemFree does
  Block block = found->second;
  for (char *past = (char *)start + block.size; past < block.base + block.mapped - PAGE; past++)
    if ((unsigned char)*past != 0xCD) refuse("something was written past the end of a buffer", CUDA_SUCCESS);
  munmap(block.base, block.mapped);
  from.erase(found);
  return CUDA_SUCCESS;
}

// Whether [address, address + size) lies in one allocation, of the current device where there is one.
bool lies_in(const std::map<char *, Block> &where, const void *address, size_t size) {
  auto next = where.upper_bound((char *)address);
  if (next == where.begin()) return false;
  --next;
  if (&where == &memory && !stack.empty() && next->second.device != current()) return false;
  return (char *)address + size <= next->first + next->second.size;
}

CUresult copy_later(const void *device, const void *host, void *to, const void *from, size_t size, CUstream stream) {
  const char *kind = to == device ? "upload" : "download";
  if (!lies_in(memory, device, size)) return refuse("a copy leaves its device buffer", CUDA_ERROR_INVALID_VALUE);
  if (!lies_in(pinned, host, size) && !lies_in(locked, host, size)) return refuse("an asynchronous copy of memory that is not pinned", CUDA_SUCCESS);
  stream_of(stream)->push([=] {
    if (!is_idle) memcpy(to, from, size);
    counted[kind]++;
  });
  return CUDA_SUCCESS;
}
}  // namespace

extern "C" {
// For the tests: what went wrong, how many things are not given back, and how often graphs were launched.
const char *emulator_wrong() { return wrong.c_str(); }
int emulator_left() {
  int contexts = 0;
  for (int count : retained) contexts += count;
  return int(memory.size() + pinned.size() + locked.size() + streams.size() + events.size() + modules.size() + graphs.size()) + contexts;
}
// Copies that the GPU carried out, graphs that were launched, and waits of the host.
int emulator_counted(const char *what) { return counted[what]; }
int emulator_used(int device) { return used[device]; }
int emulator_depth() { return (int)stack.size(); }
void emulator_reset() {
  wrong.clear(), failing.clear(), until_failure = launches = 0;
  for (int &count : used) count = 0;
}
void emulator_idle(int yes) { is_idle = yes; }
int emulator_launches() { return launches; }
int emulator_calls() { return calls; }
// For what runs on this driver beside it: what it must not do, a stream, and memory of the device.
void emulator_refuse(const char *what) { refuse(what, CUDA_SUCCESS); }
int emulator_is_stream(CUstream stream) { return streams.count((Stream *)stream) > 0; }
int emulator_holds(const void *address, size_t size) { return lies_in(memory, address, size); }
// The n-th call from now fails (0: none), and how many are left until then; or every call of a function fails.
void emulator_fail(int calls) { until_failure = calls; }
int emulator_pending() { return until_failure; }
void emulator_fail_at(const char *function) { failing = function; }

CUresult cuInit(unsigned) { return getenv("EMULATOR_NO_GPU") ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int *version) { return *version = 13000, CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int *count) { return *count = devices(), CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  return *device = ordinal, 0 <= ordinal && ordinal < devices() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
  return snprintf(name, size, device ? "Emulated GPU %d" : "Emulated GPU", device), CUDA_SUCCESS;
}
CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice) { return *major = 8, *minor = 7, CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
  bool major = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
  if (attribute == CU_DEVICE_ATTRIBUTE_INTEGRATED) return *value = getenv("EMULATOR_INTEGRATED") != nullptr, CUDA_SUCCESS;
  return *value = major ? 8 : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? 7 : 1024, CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult, const char **text) { return *text = "the emulated driver refuses", CUDA_SUCCESS; }
CUresult cuGetErrorName(CUresult, const char **text) { return *text = "CUDA_ERROR", CUDA_SUCCESS; }

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  retained[device]++;
  return *context = (CUcontext)&primary[device], CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  if (retained[device] == 0) return refuse("a context is released that is not retained", CUDA_ERROR_INVALID_CONTEXT);
  return retained[device]--, CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent_v2(CUcontext context) { return calls++, stack.push_back(context), CUDA_SUCCESS; }
CUresult cuCtxPopCurrent_v2(CUcontext *context) {
  if (stack.empty()) return refuse(__func__, CUDA_ERROR_INVALID_CONTEXT);
  *context = stack.back();
  return calls++, stack.pop_back(), CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice *device) {
  if (stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  return *device = current(), CUDA_SUCCESS;
}
CUresult cuCtxSynchronize() {
  NEEDS_CONTEXT;
  NOT_DURING_CAPTURE;
  return drain_all(), CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size) {
  MAY_FAIL;
  NOT_DURING_CAPTURE;
  if (size == 0) return CUDA_ERROR_INVALID_VALUE;
  if (size > TOTAL) return CUDA_ERROR_OUT_OF_MEMORY;
  return *address = (CUdeviceptr)guarded(memory, size), CUDA_SUCCESS;
}
CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
  NEEDS_CONTEXT;
  *free = *total = TOTAL;
  for (auto &entry : memory) *free -= entry.second.size;
  return CUDA_SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr address) {
  NEEDS_CONTEXT;
  NOT_DURING_CAPTURE;
  return release(memory, (void *)address);
}
CUresult cuMemHostAlloc(void **address, size_t size, unsigned flags) {
  MAY_FAIL;
  NOT_DURING_CAPTURE;
  *address = guarded(pinned, size);
  pinned[(char *)*address].is_mapped = flags & CU_MEMHOSTALLOC_DEVICEMAP;
  return CUDA_SUCCESS;
}
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *host, unsigned) {
  NEEDS_CONTEXT;
  auto &where = pinned.count((char *)host) ? pinned : locked;
  auto found = where.find((char *)host);
  if (found == where.end() || !found->second.is_mapped)
    return refuse("memory is not mapped", CUDA_ERROR_INVALID_VALUE);
  return *address = (CUdeviceptr)host, CUDA_SUCCESS;
}
CUresult cuMemAllocHost_v2(void **address, size_t size) { return cuMemHostAlloc(address, size, 0); }
CUresult cuMemFreeHost(void *address) {
  NEEDS_CONTEXT;
  NOT_DURING_CAPTURE;
  return release(pinned, address);
}
CUresult cuMemHostRegister_v2(void *address, size_t size, unsigned flags) {
  MAY_FAIL;
  NOT_DURING_CAPTURE;
  if ((size_t)address % PAGE || size % PAGE) return refuse("only part of a page is locked", CUDA_ERROR_INVALID_VALUE);
  if (locked.count((char *)address)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  locked[(char *)address] = {nullptr, 0, size, current(), bool(flags & CU_MEMHOSTREGISTER_DEVICEMAP)};
  return CUDA_SUCCESS;
}
CUresult cuMemHostUnregister(void *address) {
  NEEDS_CONTEXT;
  NOT_DURING_CAPTURE;
  drain_all();
  if (!locked.erase((char *)address)) return refuse("memory is unlocked that is not locked", CUDA_ERROR_INVALID_VALUE);
  return CUDA_SUCCESS;
}
CUresult cuPointerGetAttribute(void *value, CUpointer_attribute attribute, CUdeviceptr address) {
  MAY_FAIL;
  if (attribute != CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) return refuse(__func__, CUDA_ERROR_INVALID_VALUE);
  auto next = memory.upper_bound((char *)address);
  if (next == memory.begin()) return CUDA_ERROR_INVALID_VALUE;
  --next;
  if ((char *)address >= next->first + next->second.size) return CUDA_ERROR_INVALID_VALUE;
  return *(int *)value = next->second.device, CUDA_SUCCESS;
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size) {
  MAY_FAIL;
  NOT_DURING_CAPTURE;
  if (!lies_in(memory, (void *)from, size)) return refuse("a copy leaves its device buffer", CUDA_ERROR_INVALID_VALUE);
  default_stream.drain();
  return memcpy(to, (void *)from, size), CUDA_SUCCESS;
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, CUstream stream) {
  MAY_FAIL;
  return copy_later((void *)to, from, (void *)to, from, size, stream);
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, CUstream stream) {
  MAY_FAIL;
  return copy_later((void *)from, to, to, (void *)from, size, stream);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream) {
  MAY_FAIL;
  if (!(lies_in(memory, (void *)to, size) || lies_in(pinned, (void *)to, size)) || !lies_in(memory, (void *)from, size))
    return refuse("a copy leaves its device buffer", CUDA_ERROR_INVALID_VALUE);
  stream_of(stream)->push([=] { memcpy((void *)to, (void *)from, size); });
  return CUDA_SUCCESS;
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
  MAY_FAIL;
  if (!lies_in(memory, (void *)to, 4 * count)) return refuse("a memset leaves its buffer", CUDA_ERROR_INVALID_VALUE);
  stream_of(stream)->push([=] { std::fill_n((unsigned *)to, count, value); });
  return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
  MAY_FAIL;
  if (flags != CU_STREAM_NON_BLOCKING) return refuse("a stream waits for the legacy one", CUDA_ERROR_INVALID_VALUE);
  Stream *made = new Stream;
  streams[made] = true;
  return *stream = (CUstream)made, CUDA_SUCCESS;
}
CUresult cuStreamDestroy_v2(CUstream stream) {
  NEEDS_CONTEXT;
  stream_of(stream)->drain();
  streams.erase((Stream *)stream);
  return delete (Stream *)stream, CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream stream) {
  MAY_FAIL;
  NOT_DURING_CAPTURE;
  counted["wait"]++;
  return stream_of(stream)->drain(), CUDA_SUCCESS;
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  NEEDS_CONTEXT;
  Stream *other = ((Event *)event)->stream;
  if (other) stream_of(stream)->push([=] { other->drain(); });
  return CUDA_SUCCESS;
}
CUresult cuEventCreate(CUevent *event, unsigned) {
  MAY_FAIL;
  Event *made = new Event;
  events[made] = true;
  return *event = (CUevent)made, CUDA_SUCCESS;
}
CUresult cuEventDestroy_v2(CUevent event) {
  NEEDS_CONTEXT;
  if (((Event *)event)->stream) ((Event *)event)->stream->drain();
  events.erase((Event *)event);
  return delete (Event *)event, CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent event, CUstream stream) {
  MAY_FAIL;
  Event *one = (Event *)event;
  if (captures && captures == stream_of(stream)) return spoil("a mark");  // outside the graph it marks nothing
  one->stream = stream_of(stream);
  one->stream->push([=] { one->time = Clock::now(), one->stream = nullptr; });
  return CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent event) {
  MAY_FAIL;
  NOT_DURING_CAPTURE;
  if (((Event *)event)->stream) ((Event *)event)->stream->drain();
  return CUDA_SUCCESS;
}
CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end) {
  NEEDS_CONTEXT;
  if (((Event *)start)->stream || ((Event *)end)->stream) return CUDA_ERROR_NOT_READY;
  *ms = std::chrono::duration<float, std::milli>(((Event *)end)->time - ((Event *)start)->time).count();
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned, CUjit_option *, void **) {
  MAY_FAIL;
  void *library = dlopen((const char *)image, RTLD_NOW | RTLD_LOCAL);
  if (!library) return refuse(dlerror(), CUDA_ERROR_INVALID_IMAGE);
  modules[library] = true;
  return *module = (CUmodule)library, CUDA_SUCCESS;
}
CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}
CUresult cuModuleUnload(CUmodule module) {
  NEEDS_CONTEXT;
  modules.erase((void *)module);  // stays open: others may have loaded the same library
  return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  MAY_FAIL;
  void *launch = dlsym((void *)module, (std::string(name) + "__launch").c_str());
  void *size = dlsym((void *)module, (std::string(name) + "__size").c_str());
  if (!launch || !size) return CUDA_ERROR_NOT_FOUND;
  static std::map<void *, Function> functions;
  functions[launch] = {(void (*)(const void *, const unsigned *, const unsigned *))launch, ((unsigned (*)())size)()};
  return *function = (CUfunction)&functions[launch], CUDA_SUCCESS;
}
CUresult cuFuncSetBlockShape(CUfunction, int, int, int) { return CUDA_SUCCESS; }  // pycuda still calls it
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute, CUfunction) { return *value = 0, CUDA_SUCCESS; }
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned, CUstream stream, void **, void **extra) {
  MAY_FAIL;
  if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || !bx || !by || !bz || bx * by * bz > 1024)
    return refuse("a launch of an impossible shape", CUDA_ERROR_INVALID_VALUE);
  const char *buffer = nullptr;
  size_t size = 0;
  for (int i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
    if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = (const char *)extra[i + 1];
    if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE) size = *(size_t *)extra[i + 1];
  }
  Function *what = (Function *)function;
  if (size != what->size) return refuse("a kernel is given more or less than it reads", CUDA_ERROR_INVALID_VALUE);
  used[current()]++;
  std::string record(buffer, size);
  stream_of(stream)->push([=] {
    alignas(16) char copy[4096];
    memcpy(copy, record.data(), record.size());
    unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
    what->launch(copy, grid, block);
  });
  return CUDA_SUCCESS;
}
CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *told) {
  MAY_FAIL;
  stream_of(stream)->push([=] { function(told); });
  return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
  NEEDS_CONTEXT;
  bool is_capturing = stream_of(stream)->capture != nullptr;
  return *status = is_capturing ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE, CUDA_SUCCESS;
}
CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode) {
  MAY_FAIL;
  if (mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
    return refuse("a capture that other threads' calls would spoil", CUDA_ERROR_INVALID_VALUE);
  if (!stream || captures) return refuse("a capture of that stream", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  captures = stream_of(stream);
  captures->is_spoilt = false;
  graphs[captures->capture = new Graph] = true;
  return CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
  NEEDS_CONTEXT;
  Stream *from = stream_of(stream);
  if (captures != from) return refuse("the end of another's capture", CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
  Graph *made = from->capture;
  from->capture = nullptr;
  captures = nullptr;
  if (from->is_spoilt || fails(__func__)) {
    graphs.erase(made);
    delete made;
    return *graph = nullptr, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  }
  return *graph = (CUgraph)made, CUDA_SUCCESS;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec *ready, CUgraph graph, unsigned long long) {
  MAY_FAIL;
  if (!graphs.count((Graph *)graph)) return refuse("a graph that is not there", CUDA_ERROR_INVALID_VALUE);
  Graph *made = new Graph(*(Graph *)graph);
  graphs[made] = true;
  return *ready = (CUgraphExec)made, CUDA_SUCCESS;
}
CUresult cuGraphLaunch(CUgraphExec ready, CUstream stream) {
  MAY_FAIL;
  if (!graphs.count((Graph *)ready)) return refuse("a graph that is not there", CUDA_ERROR_INVALID_VALUE);
  launches++;
  counted["launch"]++;
  used[current()]++;
  for (auto &node : ((Graph *)ready)->nodes)
    if (!is_idle) stream_of(stream)->push(node);
  return CUDA_SUCCESS;
}
CUresult cuGraphDestroy(CUgraph graph) {
  NEEDS_CONTEXT;
  if (!graphs.erase((Graph *)graph)) return refuse("a graph that is not there", CUDA_ERROR_INVALID_VALUE);
  return delete (Graph *)graph, CUDA_SUCCESS;
}
CUresult cuGraphExecDestroy(CUgraphExec ready) { return cuGraphDestroy((CUgraph)ready); }
}
