// A number chooses a function of rigi.h, the next ones its arguments: live, stale, foreign and made-up handles and pointers, odd sizes.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "world.hpp"

namespace fuzz {

World& world() {
  static World all;
  return all;
}

namespace {

std::atomic<bool> faulted{false};  // some device was, at the latest look
std::mutex counts_mutex;
std::map<std::string, std::map<std::string, uint64_t>> counts;

size_t size(Input& in) {
  switch (in.below(8)) {
    case 0:
      return in.below(3);
    case 1:
      return in.take<uint32_t>() % (4U << 20);
    case 2:
      return in.once_in(4) ? in.take<uint64_t>() : uint64_t{1} << (24 + in.below(40));
    default:
      return in.below(8192);
  }
}

// A side of a copy. Host memory is written by one device's queue only: two would be the caller's race, not the library's.
void* pointer(Input& in) {
  if (in.once_in(24)) return nullptr;
  return reinterpret_cast<void*>(reinterpret_cast<uint64_t>(world().memory.pick(in)) + (in.once_in(4) ? in.below(512) : 0));
}

void copy(Input& in, int how) {
  size_t bytes = size(in);
  void* dst = pointer(in);
  const void* src = pointer(in);
  int owner = 0;
  const uint32_t direction = in.below(3);
  const void* inside = direction == 0 ? src : dst;
  if (direction != 2 && rigiPointerGetDevice(inside, &owner) != RIGI_SUCCESS) return;
  if (direction == 0) {
    bytes %= kHost;
    dst = world().sink[owner].data();
  } else if (direction == 1) {
    bytes %= kHost;
    src = world().source.data();
  } else if (bytes < uint64_t{1} << 40) {
    bytes %= 64U << 20;  // some allocations have gigabytes, which the host would have to find if they were all written
  }
  int unused = 0;
  if (rigiPointerGetDevice(dst, &unused) != RIGI_SUCCESS && direction != 0 && dst != nullptr) return;  // host memory that is not ours
  if (rigiPointerGetDevice(src, &unused) != RIGI_SUCCESS && direction != 1 && src != nullptr) return;
  if (how == 0) {
    CALL(rigiMemcpy, dst, src, bytes);
  } else if (how == 1) {
    CALL(rigiMemcpyAsync, dst, src, bytes, world().streams.pick(in));
  } else {
    CALL(rigiMemcpyPeerAsync, dst, src, bytes, world().streams.pick(in));
  }
}

void host_function(void* data) {
  const auto choice = reinterpret_cast<uintptr_t>(data);
  size_t free_bytes;
  if (choice == 1 && rigiDeviceSynchronize(0) == RIGI_ERROR_INTERNAL) bug("synchronizing in a host function");
  if (choice == 2 && rigiMemGetInfo(1, &free_bytes, nullptr) != RIGI_SUCCESS) bug("memory information in a host function");
}

void device_call(Input& in) {
  rigiDeviceProperties properties;
  rigiMode mode;
  char* json = nullptr;
  uint64_t cycles;
  int count;
  const int d = device(in);
  switch (in.below(20)) {
    case 0:
      CALL(rigiGetDeviceProperties, d, in.once_in(16) ? nullptr : &properties);
      return;
    case 1:
      CALL(rigiDeviceSynchronize, d);
      return;
    case 2:
      CALL(rigiDeviceGetError, d);
      return;
    case 3:
      CALL(rigiDeviceReset, d);
      return;
    case 4:
      CALL(rigiDeviceSetMode, d, static_cast<rigiMode>(in.below(5)));
      return;
    case 5:
      CALL(rigiDeviceGetMode, d, &mode);
      return;
    case 6:
      CALL(rigiSetNumThreads, static_cast<int>(in.below(4)));
      return;
    case 7:
      if (CALL(rigiDeviceTakeStatistics, d, &json) == RIGI_SUCCESS) std::free(json);
      return;
    case 8:
      CALL(rigiTraceStart, d, in.once_in(4) ? "/no/such/file" : "/dev/null");
      return;
    case 9:
      CALL(rigiTraceStop, d);
      return;
    case 10:
      CALL(rigiCollectiveGetCycles, static_cast<rigiCollective>(in.below(5)), static_cast<rigiAlgorithm>(in.below(3)), in.below(5000),
           size(in), &cycles);
      return;
    case 11:
      CALL(rigiGetDeviceCount, in.once_in(4) ? nullptr : &count);
      return;
    case 12:
      CALL(rigiLaunchHostFunc, world().streams.pick(in), in.once_in(16) ? nullptr : host_function,
           reinterpret_cast<void*>(uintptr_t{in.below(3)}));
      return;
    case 13:
      if (CALL(rigiDeviceTakeFindings, d, in.once_in(32) ? nullptr : &json) == RIGI_SUCCESS) std::free(json);
      return;
    case 14:
      if (CALL(rigiDeviceGetAllocations, d, &json) == RIGI_SUCCESS) std::free(json);
      return;
    case 15:
      CALL(rigiProfilerStart, d, in.once_in(4) ? "/no/such/file" : "/dev/null");
      return;
    case 16:
      CALL(rigiProfilerStop, d);
      return;
    case 17:
      CALL(rigiRangePush, world().streams.pick(in), in.once_in(8) ? nullptr : "layer", in.once_in(8) ? nullptr : "\"fuzzed\"\n");
      return;
    case 18:
      CALL(rigiRangePop, world().streams.pick(in));
      return;
    default:
      if (rigiGetStatusName(static_cast<rigiStatus>(in.take<uint16_t>())) == nullptr || rigiGetLastErrorString() == nullptr)
        bug("a null text");
  }
}

void memory_call(Input& in) {
  void* block = nullptr;
  size_t bytes = 0, total = 0;
  int number;
  switch (in.below(11)) {
    case 0:
    case 1:
    case 2:
      if (CALL(rigiMalloc, device(in), size(in), in.once_in(64) ? nullptr : &block) == RIGI_SUCCESS && block != nullptr)
        world().memory.put(in, block, [](void* old) { CALL(rigiFree, old); });
      return;
    case 3:
      CALL(rigiFree, world().memory.pick(in));
      return;
    case 4:
      CALL(rigiFree, reinterpret_cast<void*>(address(in)));
      return;
    case 5:
      if (CALL(rigiMemGetInfo, device(in), &bytes, &total) == RIGI_SUCCESS && bytes > total) bug("more memory is free than there is");
      return;
    case 6:
      if (rigiPointerGetDevice(reinterpret_cast<void*>(address(in)), &number) > RIGI_ERROR_INVALID_POINTER)
        bug("a wrong status");  // sets no text
      return;
    case 7:
      CALL(rigiPointerGetAllocation, reinterpret_cast<void*>(address(in)), &block, &bytes);
      return;
    case 8:
      CALL(rigiMemset, pointer(in), in.take<uint8_t>(), size(in) % (1U << 20));
      return;
    case 9:
      CALL(rigiMemMarkWritten, reinterpret_cast<void*>(address(in)), size(in));
      return;
    default:
      CALL(rigiMemsetAsync, pointer(in), in.take<uint8_t>(), size(in) % (1U << 20), world().streams.pick(in));
  }
}

void end_captures(rigiStream_t stream) {
  rigiGraph_t graph;
  int capturing = 0;
  if (rigiStreamIsCapturing(stream, &capturing) != RIGI_SUCCESS || capturing == 0) return;
  if (rigiStreamEndCapture(stream, &graph) == RIGI_SUCCESS) CALL(rigiGraphDestroy, graph);
}

void check_computes(int d) {
  constexpr uint32_t kBytes = 256;
  void* block;
  rigiStream_t stream;
  uint8_t back[kBytes];
  if (rigiMalloc(d, kBytes, &block) != RIGI_SUCCESS || rigiDefaultStream(d, &stream) != RIGI_SUCCESS) bug("no memory after the reset");
  rigi_instr i[2] = {};
  i[0].op = RIGI_FILL;
  i[0].dst.dtype = RIGI_U8;
  i[0].rows = i[1].rows = 1;
  i[0].cols = i[1].cols = kBytes;
  i[0].scale = 42;
  i[1].op = RIGI_STORE;
  i[1].hbm = reinterpret_cast<uint64_t>(block);
  uint64_t offsets[17];
  for (auto& o : offsets) o = 2;
  offsets[0] = 0;
  if (rigiLaunchProgram(stream, "usable", i, offsets, 1) != RIGI_SUCCESS || rigiMemcpy(back, block, kBytes) != RIGI_SUCCESS)
    bug("no launch after the reset");
  for (const uint8_t byte : back) {
    if (byte != 42) bug("a wrong result after the reset");
  }
  if (rigiFree(block) != RIGI_SUCCESS) bug("no free after the reset");
}

}  // namespace

void bug(const char* what) {
  std::fprintf(stderr, "fuzz: %s: %s\n", what, rigiGetLastErrorString());
  std::abort();
}

rigiStatus note(const char* function, rigiStatus status) {
  world().calls.fetch_add(1, std::memory_order_relaxed);
  const char* name = rigiGetStatusName(status);
  if (status == RIGI_ERROR_INTERNAL || std::strcmp(name, "RIGI_ERROR_UNKNOWN") == 0) bug("a status that only a bug causes");
  if (status != RIGI_SUCCESS && status != RIGI_ERROR_NOT_READY && rigiGetLastErrorString()[0] == '\0') bug("a failure without a text");
  if (status == RIGI_ERROR_KERNEL_FAULT) faulted = true;
  const std::lock_guard lock(counts_mutex);
  ++counts[function][name];
  return status;
}

std::string statuses() {
  const std::lock_guard lock(counts_mutex);
  std::string text;
  for (const auto& [function, by_status] : counts) {
    text += std::string(text.empty() ? "{\"" : ", \"") + function + "\": {";
    for (const auto& [status, count] : by_status)
      text += std::string(text.back() == '{' ? "\"" : ", \"") + status + "\": " + std::to_string(count);
    text += '}';
  }
  return text.empty() ? "{}" : text + "}";
}

void start(std::vector<uint8_t> image) {
  world().image = std::move(image);
  for (int d = 0; d < kDevices; ++d) {
    void* first;
    if (rigiMalloc(d, 256, &first) != RIGI_SUCCESS) bug("two devices are needed: RIGI_DEVICES=2");
    world().base[d] = reinterpret_cast<uint64_t>(first);
    rigiFree(first);
    rigiMemGetInfo(d, &world().free_bytes[d], nullptr);
  }
}

// Live handles to begin with.
void prepare() {
  uint8_t slots[256];
  for (int n = 0; n < 256; ++n) slots[n] = static_cast<uint8_t>(n);
  Input in(slots, sizeof(slots));
  rigiModule_t module;
  if (!world().image.empty() && CALL(rigiModuleLoadData, 0, world().image.data(), world().image.size(), &module) == RIGI_SUCCESS) {
    world().modules.put(in, module, [](rigiModule_t old) { CALL(rigiModuleUnload, old); });
    for (const char* name : {"scale", "faulty"}) {
      rigiKernel_t kernel;
      if (CALL(rigiModuleGetKernel, module, name, &kernel) == RIGI_SUCCESS) world().kernels.put(in, kernel, [](rigiKernel_t) {});
    }
  }
  for (int n = 0; n < 6; ++n) {
    rigiStream_t stream;
    rigiEvent_t event;
    void* block;
    if (CALL(rigiStreamCreate, n % kDevices, &stream) == RIGI_SUCCESS)
      world().streams.put(in, stream, [](rigiStream_t old) { CALL(rigiStreamDestroy, old); });
    if (CALL(rigiEventCreate, &event) == RIGI_SUCCESS) world().events.put(in, event, [](rigiEvent_t old) { CALL(rigiEventDestroy, old); });
    if (CALL(rigiMalloc, n % kDevices, 1 << 20, &block) == RIGI_SUCCESS)
      world().memory.put(in, block, [](void* old) { CALL(rigiFree, old); });
  }
}

void call(Input& in) {
  if (faulted.load(std::memory_order_relaxed) && in.once_in(2)) {
    faulted = false;
    for (int d = 0; d < kDevices; ++d) CALL(rigiDeviceReset, d);
  }
  const uint32_t kind = in.below(32);
  if (kind < 7) return memory_call(in);
  if (kind < 11) return copy(in, static_cast<int>(in.below(3)));
  if (kind < 16) return stream_call(in);
  if (kind < 20) return event_call(in);
  if (kind < 24) return graph_call(in);
  if (kind < 28) return device_call(in);
  if (kind < 30) return module_call(in);
  launch_program(in, world().streams.pick(in));
}

void finish() {
  for (int d = 0; d < kDevices; ++d) {
    rigiStream_t stream;
    if (rigiDefaultStream(d, &stream) == RIGI_SUCCESS) end_captures(stream);
  }
  world().streams.clear([](rigiStream_t s) {
    end_captures(s);
    CALL(rigiStreamDestroy, s);
  });
  world().events.clear([](rigiEvent_t e) { CALL(rigiEventDestroy, e); });
  world().execs.clear([](rigiGraphExec_t e) { CALL(rigiGraphExecDestroy, e); });
  world().graphs.clear([](rigiGraph_t g) { CALL(rigiGraphDestroy, g); });
  world().kernels.clear([](rigiKernel_t) {});
  world().modules.clear([](rigiModule_t m) { CALL(rigiModuleUnload, m); });
  world().memory.clear([](void* p) { CALL(rigiFree, p); });
  for (int d = 0; d < kDevices; ++d) {
    if (rigiDeviceReset(d) != RIGI_SUCCESS || rigiDeviceSetMode(d, RIGI_TIMED) != RIGI_SUCCESS || rigiTraceStop(d) != RIGI_SUCCESS ||
        rigiProfilerStop(d) != RIGI_SUCCESS)
      bug("a device cannot be reset");
  }
  for (int d = 0; d < kDevices; ++d) check_computes(d);
}

}  // namespace fuzz

// The entry that libFuzzer calls, and the driver too.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool started = (fuzz::start({}), true);
  static_cast<void>(started);
  fuzz::prepare();
  fuzz::Input in(data, size);
  while (!in.empty()) fuzz::call(in);
  fuzz::finish();
  return 0;
}
