// torch.accelerator.Graph over the SDK's graphs.

#include <ATen/core/GraphImplInterface.h>

#include <fstream>

#include "memory.hpp"

namespace rigi_torch {
namespace {

class ChipGraph final : public at::GraphImplInterface {
 public:
  explicit ChipGraph(const at::GraphImplArgs& args) : keep_graph_(args.keep_graph) {}
  ~ChipGraph() override { release(); }

  void capture_begin(at::MempoolId_t, at::GraphCaptureMode) override {
    TORCH_CHECK(graph_ == nullptr && exec_ == nullptr, "this graph holds a capture already; call reset() first");
    device_ = resolve_device(-1);
    stream_ = current_stream(device_);
    check(rigiStreamBeginCapture(stream_), "rigiStreamBeginCapture");
    memory_ = capture_memory(device_);
  }

  void capture_end() override {
    end_capture_memory(device_);
    const rigiStatus status = rigiStreamEndCapture(stream_, &graph_);
    if (status != RIGI_SUCCESS) {
      memory_.reset();
      raise(status, "rigiStreamEndCapture");
    }
    if (!keep_graph_) instantiate();
  }

  void instantiate() override {
    TORCH_CHECK(graph_ != nullptr, "nothing was captured: use the graph as a context manager, or capture_begin() and capture_end()");
    check(rigiGraphInstantiate(graph_, &exec_), "rigiGraphInstantiate");
  }

  void replay() override {
    if (exec_ == nullptr) instantiate();
    check(rigiGraphLaunch(exec_, current_stream(device_)), "rigiGraphLaunch");
  }

  void reset() override { release(); }
  at::MempoolId_t pool() const override { return {0, 0}; }
  void enable_debug_mode() override {}

  /// One line a node.
  void debug_dump(const std::string& path) override {
    TORCH_CHECK(graph_ != nullptr, "nothing was captured");
    static constexpr const char* kKinds[] = {"kernel", "copy", "set", "host", "record", "wait"};
    std::ofstream file(path);
    size_t count = 0;
    check(rigiGraphGetNodeCount(graph_, &count), "rigiGraphGetNodeCount");
    for (size_t i = 0; i < count; i++) {
      rigiGraphNode node;
      check(rigiGraphGetNode(graph_, i, &node), "rigiGraphGetNode");
      file << i << ' ' << kKinds[node.kind] << " stream " << node.stream << ' ' << node.name;
      if (node.bytes > 0) file << node.bytes << " bytes";
      file << '\n';
    }
    TORCH_CHECK(file.good(), "the graph could not be written to ", path);
  }

 private:
  void release() {
    if (exec_ != nullptr) rigiGraphExecDestroy(exec_);
    if (graph_ != nullptr) rigiGraphDestroy(graph_);
    exec_ = nullptr;
    graph_ = nullptr;
    memory_.reset();  // replays on their way come before this in the device's queue
  }

  const bool keep_graph_;
  c10::DeviceIndex device_ = 0;
  rigiStream_t stream_ = nullptr;
  rigiGraph_t graph_ = nullptr;
  rigiGraphExec_t exec_ = nullptr;
  std::shared_ptr<GraphMemory> memory_;
};

}  // namespace
}  // namespace rigi_torch

namespace at {
// The key is the device's name in upper case, as torch looks it up.
REGISTER_GRAPH_IMPL(RIGI, rigi_torch::ChipGraph)
}  // namespace at
