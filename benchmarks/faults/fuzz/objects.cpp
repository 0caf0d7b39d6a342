// Calls about modules, streams, events and graphs.
#include "world.hpp"

namespace fuzz {
namespace {

rigiArg argument(Input& in) {
  rigiArg arg;
  arg.i64 = in.once_in(2) ? static_cast<int64_t>(address(in)) : static_cast<int64_t>(in.below(8));
  return arg;
}

// A graph from its first call to its launches.
void whole_graph(Input& in) {
  rigiStream_t stream = world().streams.pick(in);
  rigiGraph_t graph;
  rigiGraphExec_t exec;
  if (CALL(rigiStreamBeginCapture, stream) != RIGI_SUCCESS) return;
  for (uint32_t n = in.below(4); n != 0; --n) {
    if (in.once_in(2)) launch_program(in, stream);
    if (in.once_in(2)) CALL(rigiMemsetAsync, reinterpret_cast<void*>(address(in)), 1, in.below(512), stream);
    if (in.once_in(2)) CALL(rigiEventRecord, world().events.pick(in), stream);
  }
  if (CALL(rigiStreamEndCapture, stream, &graph) != RIGI_SUCCESS) return;
  world().graphs.put(in, graph, [](rigiGraph_t old) { CALL(rigiGraphDestroy, old); });
  if (CALL(rigiGraphInstantiate, graph, &exec) != RIGI_SUCCESS) return;
  world().execs.put(in, exec, [](rigiGraphExec_t old) { CALL(rigiGraphExecDestroy, old); });
  for (uint32_t n = in.below(3); n != 0; --n) CALL(rigiGraphLaunch, exec, stream);
}

}  // namespace

void module_call(Input& in) {
  rigiModule_t module;
  switch (in.below(5)) {
    case 0:
      if (world().image.empty() || !in.once_in(8)) return;  // loading is slow, and has a fuzzer of its own
      if (CALL(rigiModuleLoadData, device(in), world().image.data(), world().image.size(), &module) == RIGI_SUCCESS)
        world().modules.put(in, module, [](rigiModule_t old) { CALL(rigiModuleUnload, old); });
      return;
    case 1:
      if (in.once_in(4)) CALL(rigiModuleUnload, world().modules.pick(in));
      return;
    case 2: {
      const char* json;  // lives as long as the module, which another thread may unload: not read here
      CALL(rigiModuleGetManifest, world().modules.pick(in), in.once_in(16) ? nullptr : &json);
      return;
    }
    case 3: {
      constexpr const char* kNames[] = {"scale", "faulty", "", "nothing", nullptr};
      rigiKernel_t kernel;
      if (CALL(rigiModuleGetKernel, world().modules.pick(in), kNames[in.below(5)], &kernel) == RIGI_SUCCESS)
        world().kernels.put(in, kernel, [](rigiKernel_t) {});
      return;
    }
    default: {
      const rigiArg args[2] = {argument(in), argument(in)};
      CALL(rigiLaunchKernel, world().kernels.pick(in), world().streams.pick(in), in.once_in(32) ? nullptr : args, in.below(3));
    }
  }
}

void stream_call(Input& in) {
  rigiStream_t stream = world().streams.pick(in);
  int number;
  uint64_t cycles;
  switch (in.below(9)) {
    case 0:
    case 1:
      if (CALL(rigiStreamCreate, device(in), in.once_in(64) ? nullptr : &stream) == RIGI_SUCCESS)
        world().streams.put(in, stream, [](rigiStream_t old) { CALL(rigiStreamDestroy, old); });
      return;
    case 2:
      if (in.once_in(3)) CALL(rigiStreamDestroy, stream);
      return;
    case 3:
      CALL(rigiDefaultStream, device(in), &stream);
      return;
    case 4:
      CALL(rigiStreamGetDevice, stream, &number);
      return;
    case 5:
      CALL(rigiStreamSynchronize, stream);
      return;
    case 6:
      CALL(rigiStreamQuery, stream);
      return;
    case 7:
      CALL(rigiStreamWaitEvent, stream, world().events.pick(in));
      return;
    default:
      CALL(rigiStreamGetCycles, stream, in.once_in(32) ? nullptr : &cycles);
  }
}

void event_call(Input& in) {
  rigiEvent_t event = world().events.pick(in);
  int64_t cycles;
  double milliseconds;
  switch (in.below(7)) {
    case 0:
      if (CALL(rigiEventCreate, in.once_in(64) ? nullptr : &event) == RIGI_SUCCESS)
        world().events.put(in, event, [](rigiEvent_t old) { CALL(rigiEventDestroy, old); });
      return;
    case 1:
      if (in.once_in(3)) CALL(rigiEventDestroy, event);
      return;
    case 2:
      CALL(rigiEventQuery, event);
      return;
    case 3:
      CALL(rigiEventSynchronize, event);
      return;
    case 4:
      CALL(rigiEventElapsedCycles, event, world().events.pick(in), &cycles);
      return;
    case 5:
      CALL(rigiEventElapsedTime, event, world().events.pick(in), &milliseconds);
      return;
    default:
      CALL(rigiEventRecord, event, world().streams.pick(in));
  }
}

void graph_call(Input& in) {
  rigiGraph_t graph = world().graphs.pick(in);
  rigiGraphExec_t exec = world().execs.pick(in);
  rigiGraphNode node;
  size_t count;
  int capturing;
  switch (in.below(12)) {
    case 0:
      CALL(rigiStreamBeginCapture, world().streams.pick(in));
      return;
    case 10:
      return whole_graph(in);
    case 1:
    case 2:
      if (CALL(rigiStreamEndCapture, world().streams.pick(in), &graph) == RIGI_SUCCESS)
        world().graphs.put(in, graph, [](rigiGraph_t old) { CALL(rigiGraphDestroy, old); });
      return;
    case 3:
      CALL(rigiStreamIsCapturing, world().streams.pick(in), &capturing);
      return;
    case 4:
      if (in.once_in(4)) CALL(rigiGraphDestroy, graph);
      return;
    case 5:
      CALL(rigiGraphGetNodeCount, graph, &count);
      return;
    case 6:
      CALL(rigiGraphGetNode, graph, in.below(4), &node);
      return;
    case 7:
      if (CALL(rigiGraphInstantiate, graph, &exec) == RIGI_SUCCESS)
        world().execs.put(in, exec, [](rigiGraphExec_t old) { CALL(rigiGraphExecDestroy, old); });
      return;
    case 8: {
      const rigiArg args[2] = {argument(in), argument(in)};
      CALL(rigiGraphExecSetKernelArgs, exec, in.below(4), args, in.below(3));
      return;
    }
    case 9:
      if (in.once_in(4)) CALL(rigiGraphExecDestroy, exec);
      return;
    default:
      CALL(rigiGraphLaunch, exec, world().streams.pick(in));
  }
}

}  // namespace fuzz
