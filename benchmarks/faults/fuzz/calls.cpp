// One byte chooses a function of rigi.h, the next ones its arguments: live, stale, foreign and made-up handles and pointers, odd sizes.
#include <cstdio>
#include <cstdlib>

#include "world.hpp"

namespace fuzz {
namespace {

World w;

int device(Input& in) { return in.once_in(32) ? static_cast<int>(in.take<int8_t>()) : static_cast<int>(in.below(kDevices)); }

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
void* pointer(Input& in, size_t bytes) {
  if (in.once_in(24)) return nullptr;
  return reinterpret_cast<void*>(reinterpret_cast<uint64_t>(w.memory.pick(in)) + (in.once_in(4) ? in.below(512) : 0) + (bytes & 0));
}

void copy(Input& in, int how) {
  size_t bytes = size(in);
  void* dst = pointer(in, bytes);
  const void* src = pointer(in, bytes);
  int owner = 0;
  const uint32_t direction = in.below(3);
  const void* inside = direction == 0 ? src : dst;
  if (direction != 2 && rigiPointerGetDevice(inside, &owner) != RIGI_SUCCESS) return;
  if (direction == 0) {
    bytes %= kHost;
    dst = w.sink[owner].data();
  } else if (direction == 1) {
    bytes %= kHost;
    src = w.source.data();
  }
  int unused = 0;
  if (rigiPointerGetDevice(dst, &unused) != RIGI_SUCCESS && direction != 0 && dst != nullptr) return;  // host memory that is not ours
  if (rigiPointerGetDevice(src, &unused) != RIGI_SUCCESS && direction != 1 && src != nullptr) return;
  if (how == 0) {
    note(rigiMemcpy(dst, src, bytes));
  } else if (how == 1) {
    note(rigiMemcpyAsync(dst, src, bytes, w.streams.pick(in)));
  } else {
    note(rigiMemcpyPeerAsync(dst, src, bytes, w.streams.pick(in)));
  }
}

void host_function(void* data) {
  const auto choice = reinterpret_cast<uintptr_t>(data);
  size_t free_bytes;
  if (choice == 1 && rigiDeviceSynchronize(0) == RIGI_ERROR_INTERNAL) bug("synchronizing in a host function");
  if (choice == 2 && rigiMemGetInfo(1, &free_bytes, nullptr) != RIGI_SUCCESS) bug("memory information in a host function");
}

rigiArg argument(Input& in) {
  rigiArg arg;
  arg.i64 = in.once_in(2) ? static_cast<int64_t>(address(in)) : static_cast<int64_t>(in.below(8));
  return arg;
}

void module_call(Input& in) {
  rigiModule_t module;
  switch (in.below(5)) {
    case 0:
      if (w.image.empty() || !in.once_in(8)) return;  // loading is slow, and has a fuzzer of its own
      if (note(rigiModuleLoadData(device(in), w.image.data(), w.image.size(), &module)) == RIGI_SUCCESS)
        w.modules.put(in, module, [](rigiModule_t old) { note(rigiModuleUnload(old)); });
      return;
    case 1:
      if (in.once_in(4)) note(rigiModuleUnload(w.modules.pick(in)));
      return;
    case 2: {
      const char* json;  // lives as long as the module, which another thread may unload: not read here
      note(rigiModuleGetManifest(w.modules.pick(in), in.once_in(16) ? nullptr : &json));
      return;
    }
    case 3: {
      constexpr const char* kNames[] = {"scale", "faulty", "", "nothing", nullptr};
      rigiKernel_t kernel;
      if (note(rigiModuleGetKernel(w.modules.pick(in), kNames[in.below(5)], &kernel)) == RIGI_SUCCESS)
        w.kernels.put(in, kernel, [](rigiKernel_t) {});
      return;
    }
    default: {
      const rigiArg args[2] = {argument(in), argument(in)};
      note(rigiLaunchKernel(w.kernels.pick(in), w.streams.pick(in), in.once_in(32) ? nullptr : args, in.below(3)));
    }
  }
}

void stream_call(Input& in) {
  rigiStream_t stream = w.streams.pick(in);
  int number;
  uint64_t cycles;
  switch (in.below(9)) {
    case 0:
    case 1:
      if (note(rigiStreamCreate(device(in), in.once_in(64) ? nullptr : &stream)) == RIGI_SUCCESS)
        w.streams.put(in, stream, [](rigiStream_t old) { note(rigiStreamDestroy(old)); });
      return;
    case 2:
      note(rigiStreamDestroy(stream));
      return;
    case 3:
      note(rigiDefaultStream(device(in), &stream));
      return;
    case 4:
      note(rigiStreamGetDevice(stream, &number));
      return;
    case 5:
      note(rigiStreamSynchronize(stream));
      return;
    case 6:
      note(rigiStreamQuery(stream));
      return;
    case 7:
      note(rigiStreamWaitEvent(stream, w.events.pick(in)));
      return;
    default:
      note(rigiStreamGetCycles(stream, in.once_in(32) ? nullptr : &cycles));
  }
}

void event_call(Input& in) {
  rigiEvent_t event = w.events.pick(in);
  int64_t cycles;
  double milliseconds;
  switch (in.below(7)) {
    case 0:
      if (note(rigiEventCreate(in.once_in(64) ? nullptr : &event)) == RIGI_SUCCESS)
        w.events.put(in, event, [](rigiEvent_t old) { note(rigiEventDestroy(old)); });
      return;
    case 1:
      note(rigiEventDestroy(event));
      return;
    case 2:
      note(rigiEventQuery(event));
      return;
    case 3:
      note(rigiEventSynchronize(event));
      return;
    case 4:
      note(rigiEventElapsedCycles(event, w.events.pick(in), &cycles));
      return;
    case 5:
      note(rigiEventElapsedTime(event, w.events.pick(in), &milliseconds));
      return;
    default:
      note(rigiEventRecord(event, w.streams.pick(in)));
  }
}

void graph_call(Input& in) {
  rigiGraph_t graph = w.graphs.pick(in);
  rigiGraphExec_t exec = w.execs.pick(in);
  rigiGraphNode node;
  size_t count;
  int capturing;
  switch (in.below(11)) {
    case 0:
      note(rigiStreamBeginCapture(w.streams.pick(in)));
      return;
    case 1:
    case 2:
      if (note(rigiStreamEndCapture(w.streams.pick(in), &graph)) == RIGI_SUCCESS)
        w.graphs.put(in, graph, [](rigiGraph_t old) { note(rigiGraphDestroy(old)); });
      return;
    case 3:
      note(rigiStreamIsCapturing(w.streams.pick(in), &capturing));
      return;
    case 4:
      if (in.once_in(4)) note(rigiGraphDestroy(graph));
      return;
    case 5:
      note(rigiGraphGetNodeCount(graph, &count));
      return;
    case 6:
      note(rigiGraphGetNode(graph, in.below(4), &node));
      return;
    case 7:
      if (note(rigiGraphInstantiate(graph, &exec)) == RIGI_SUCCESS)
        w.execs.put(in, exec, [](rigiGraphExec_t old) { note(rigiGraphExecDestroy(old)); });
      return;
    case 8: {
      const rigiArg args[2] = {argument(in), argument(in)};
      note(rigiGraphExecSetKernelArgs(exec, in.below(4), args, in.below(3)));
      return;
    }
    case 9:
      if (in.once_in(4)) note(rigiGraphExecDestroy(exec));
      return;
    default:
      note(rigiGraphLaunch(exec, w.streams.pick(in)));
  }
}

void device_call(Input& in) {
  rigiDeviceProperties properties;
  rigiMode mode;
  char* json = nullptr;
  uint64_t cycles;
  int count;
  const int d = device(in);
  switch (in.below(14)) {
    case 0:
      note(rigiGetDeviceProperties(d, in.once_in(16) ? nullptr : &properties));
      return;
    case 1:
      note(rigiDeviceSynchronize(d));
      return;
    case 2:
      note(rigiDeviceGetError(d));
      return;
    case 3:
      note(rigiDeviceReset(d));
      return;
    case 4:
      note(rigiDeviceSetMode(d, static_cast<rigiMode>(in.below(5))));
      return;
    case 5:
      note(rigiDeviceGetMode(d, &mode));
      return;
    case 6:
      note(rigiSetNumThreads(static_cast<int>(in.below(4))));
      return;
    case 7:
      if (note(rigiDeviceTakeStatistics(d, &json)) == RIGI_SUCCESS) std::free(json);
      return;
    case 8:
      note(rigiTraceStart(d, in.once_in(4) ? "/no/such/file" : "/dev/null"));
      return;
    case 9:
      note(rigiTraceStop(d));
      return;
    case 10:
      note(rigiCollectiveGetCycles(static_cast<rigiCollective>(in.below(5)), static_cast<rigiAlgorithm>(in.below(3)), in.below(5000),
                                   size(in), &cycles));
      return;
    case 11:
      note(rigiGetDeviceCount(in.once_in(4) ? nullptr : &count));
      return;
    case 12:
      note(rigiLaunchHostFunc(w.streams.pick(in), in.once_in(16) ? nullptr : host_function,
                              reinterpret_cast<void*>(uintptr_t{in.below(3)})));
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
  switch (in.below(10)) {
    case 0:
    case 1:
    case 2:
      if (note(rigiMalloc(device(in), size(in), in.once_in(64) ? nullptr : &block)) == RIGI_SUCCESS && block != nullptr)
        w.memory.put(in, block, [](void* old) { note(rigiFree(old)); });
      return;
    case 3:
      note(rigiFree(w.memory.pick(in)));
      return;
    case 4:
      note(rigiFree(reinterpret_cast<void*>(address(in))));
      return;
    case 5:
      if (note(rigiMemGetInfo(device(in), &bytes, &total)) == RIGI_SUCCESS && bytes > total) bug("more memory is free than there is");
      return;
    case 6:
      if (rigiPointerGetDevice(reinterpret_cast<void*>(address(in)), &number) > RIGI_ERROR_INVALID_POINTER)
        bug("a wrong status");  // sets no text
      return;
    case 7:
      note(rigiPointerGetAllocation(reinterpret_cast<void*>(address(in)), &block, &bytes));
      return;
    case 8:
      note(rigiMemset(pointer(in, 0), in.take<uint8_t>(), size(in) % (1U << 20)));
      return;
    default:
      note(rigiMemsetAsync(pointer(in, 0), in.take<uint8_t>(), size(in) % (1U << 20), w.streams.pick(in)));
  }
}

void end_captures(rigiStream_t stream) {
  rigiGraph_t graph;
  int capturing = 0;
  if (rigiStreamIsCapturing(stream, &capturing) != RIGI_SUCCESS || capturing == 0) return;
  if (rigiStreamEndCapture(stream, &graph) == RIGI_SUCCESS) note(rigiGraphDestroy(graph));
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

World& world() { return w; }

void bug(const char* what) {
  std::fprintf(stderr, "fuzz: %s: %s\n", what, rigiGetLastErrorString());
  std::abort();
}

rigiStatus note(rigiStatus status) {
  w.calls.fetch_add(1, std::memory_order_relaxed);
  if (status == RIGI_ERROR_INTERNAL || std::strcmp(rigiGetStatusName(status), "RIGI_ERROR_UNKNOWN") == 0)
    bug("a status that only a bug causes");
  if (status != RIGI_SUCCESS && status != RIGI_ERROR_NOT_READY && rigiGetLastErrorString()[0] == '\0') bug("a failure without a text");
  return status;
}

void start(std::vector<uint8_t> image) {
  w.image = std::move(image);
  for (int d = 0; d < kDevices; ++d) {
    void* first;
    if (rigiMalloc(d, 256, &first) != RIGI_SUCCESS) bug("two devices are needed: RIGI_DEVICES=2");
    w.base[d] = reinterpret_cast<uint64_t>(first);
    rigiFree(first);
    rigiMemGetInfo(d, &w.free_bytes[d], nullptr);
  }
}

void call(Input& in) {
  const uint32_t kind = in.below(32);
  if (kind < 7) return memory_call(in);
  if (kind < 11) return copy(in, static_cast<int>(in.below(3)));
  if (kind < 16) return stream_call(in);
  if (kind < 20) return event_call(in);
  if (kind < 24) return graph_call(in);
  if (kind < 27) return device_call(in);
  if (kind < 29) return module_call(in);
  launch_program(in, w.streams.pick(in));
}

void finish() {
  for (int d = 0; d < kDevices; ++d) {
    rigiStream_t stream;
    if (rigiDefaultStream(d, &stream) == RIGI_SUCCESS) end_captures(stream);
  }
  w.streams.clear([](rigiStream_t s) {
    end_captures(s);
    note(rigiStreamDestroy(s));
  });
  w.events.clear([](rigiEvent_t e) { note(rigiEventDestroy(e)); });
  w.execs.clear([](rigiGraphExec_t e) { note(rigiGraphExecDestroy(e)); });
  w.graphs.clear([](rigiGraph_t g) { note(rigiGraphDestroy(g)); });
  w.kernels.clear([](rigiKernel_t) {});
  w.modules.clear([](rigiModule_t m) { note(rigiModuleUnload(m)); });
  w.memory.clear([](void* p) { note(rigiFree(p)); });
  for (int d = 0; d < kDevices; ++d) {
    if (rigiDeviceReset(d) != RIGI_SUCCESS || rigiDeviceSetMode(d, RIGI_TIMED) != RIGI_SUCCESS || rigiTraceStop(d) != RIGI_SUCCESS)
      bug("a device cannot be reset");
  }
  for (int d = 0; d < kDevices; ++d) check_computes(d);
}

}  // namespace fuzz

// The entry that libFuzzer calls, and the driver too.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool started = (fuzz::start({}), true);
  static_cast<void>(started);
  fuzz::Input in(data, size);
  while (!in.empty()) fuzz::call(in);
  fuzz::finish();
  return 0;
}
