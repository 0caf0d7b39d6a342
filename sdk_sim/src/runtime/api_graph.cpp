// rigi.h: graphs and the collectives' cost.
#include "../timing/collective.hpp"
#include "graph.hpp"

using rigi::Capture;
using rigi::Error;
using rigi::Graph;
using rigi::GraphExec;
using rigi::guarded;
using rigi::Library;
using rigi::require;
using rigi::Stream;

extern "C" {

rigiStatus rigiStreamBeginCapture(rigiStream_t stream) {
  return guarded(__func__, [&] {
    const std::shared_ptr<Stream> s = Library::get().stream(stream);
    s->device->queue.check();
    Capture::begin(s);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiStreamEndCapture(rigiStream_t stream, rigiGraph_t* graph) {
  return guarded(__func__, [&] {
    require(graph, "graph");
    Library& library = Library::get();
    *graph = library.graphs.add(Capture::end(library.stream(stream)));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiStreamIsCapturing(rigiStream_t stream, int* capturing) {
  return guarded(__func__, [&] {
    require(capturing, "capturing");
    *capturing = Library::get().stream(stream)->capturing.load(std::memory_order_acquire) ? 1 : 0;
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiGraphDestroy(rigiGraph_t graph) {
  return guarded(__func__, [&] {
    Library::get().graphs.remove(graph);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiGraphGetNodeCount(rigiGraph_t graph, size_t* count) {
  return guarded(__func__, [&] {
    require(count, "count");
    *count = Library::get().graphs.get(graph)->nodes.size();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiGraphGetNode(rigiGraph_t graph, size_t index, rigiGraphNode* node) {
  return guarded(__func__, [&] {
    require(node, "node");
    const std::shared_ptr<Graph> g = Library::get().graphs.get(graph);
    if (index >= g->nodes.size()) {
      throw Error(RIGI_ERROR_INVALID_VALUE,
                  "node " + std::to_string(index) + " does not exist; the graph has " + std::to_string(g->nodes.size()));
    }
    *node = {};
    node->stream = g->nodes[index].lane;
    g->nodes[index].command->describe(*node);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiGraphInstantiate(rigiGraph_t graph, rigiGraphExec_t* exec) {
  return guarded(__func__, [&] {
    require(exec, "exec");
    Library& library = Library::get();
    *exec = library.graph_execs.add(std::make_shared<GraphExec>(*library.graphs.get(graph)));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiGraphExecDestroy(rigiGraphExec_t exec) {
  return guarded(__func__, [&] {
    Library::get().graph_execs.remove(exec);  // launches on their way keep their nodes
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiGraphExecSetKernelArgs(rigiGraphExec_t exec, size_t index, const rigiArg* args, size_t num_args) {
  return guarded(__func__, [&] {
    const std::shared_ptr<GraphExec> e = Library::get().graph_execs.get(exec);
    const std::shared_ptr<rigi::Command> command = e->node(index);
    const auto* launch = dynamic_cast<const rigi::LaunchCommand*>(command.get());
    const auto* program = launch == nullptr ? nullptr : dynamic_cast<const rigi::KernelProgram*>(&launch->program());
    if (program == nullptr)
      throw Error(RIGI_ERROR_INVALID_VALUE, "node " + std::to_string(index) + " is not the launch of a module's kernel");
    e->replace(index,
               std::make_unique<rigi::LaunchCommand>(std::make_unique<rigi::KernelProgram>(program->kernel(), e->device, args, num_args)));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiGraphExecSetCopy(rigiGraphExec_t exec, size_t index, void* dst, const void* src, size_t bytes) {
  return guarded(__func__, [&] {
    Library& library = Library::get();
    const std::shared_ptr<GraphExec> e = library.graph_execs.get(exec);
    rigiGraphNode node = {};
    e->node(index)->describe(node);
    if (node.kind != RIGI_NODE_COPY) throw Error(RIGI_ERROR_INVALID_VALUE, "node " + std::to_string(index) + " is not a copy");
    if (bytes == 0) throw Error(RIGI_ERROR_INVALID_VALUE, "a copy of 0 bytes in a graph; it needs at least one");
    e->replace(index, rigi::make_copy(library, e->device, dst, src, bytes, false));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiGraphLaunch(rigiGraphExec_t exec, rigiStream_t stream) {
  return guarded(__func__, [&] {
    Library& library = Library::get();
    const std::shared_ptr<GraphExec> e = library.graph_execs.get(exec);
    const std::shared_ptr<Stream> s = library.stream(stream);
    if (s->device != &e->device) {
      throw Error(RIGI_ERROR_INVALID_VALUE, "the graph was captured on device " + std::to_string(e->device.id) +
                                                ", the stream is on device " + std::to_string(s->device->id));
    }
    Capture::refuse(*s, "a graph cannot be launched into a graph, that is");
    e->launch(s);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiCollectiveGetCycles(rigiCollective collective, rigiAlgorithm algorithm, uint32_t devices, size_t bytes, uint64_t* cycles) {
  return guarded(__func__, [&] {
    require(cycles, "cycles");
    *cycles = rigi::collective_cycles(Library::get().chip, collective, algorithm, devices, bytes);
    return RIGI_SUCCESS;
  });
}

}  // extern "C"
