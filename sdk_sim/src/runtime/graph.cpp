#include "graph.hpp"

#include <algorithm>
#include <deque>
#include <string>

#include "log.hpp"

namespace rigi {
namespace {

// One lock for all captures of the process: capturing is rare and short.
std::mutex captures_mutex;
uint64_t captures_begun = 0;

void follow(std::vector<uint32_t>& clock, const std::vector<uint32_t>& other) {
  clock.resize(std::max(clock.size(), other.size()), 0);
  for (size_t lane = 0; lane < other.size(); ++lane) clock[lane] = std::max(clock[lane], other[lane]);
}

// Another thread destroyed the stream meanwhile.
void refuse_destroyed(const Stream& stream) {
  if (stream.destroyed) throw Error(RIGI_ERROR_INVALID_HANDLE, "the stream was destroyed");
}

// Carries the ranges of a capture over to the profile, if one is taken.
class RangeReplay {
 public:
  RangeReplay(Profiler* profiler, const Stream& stream) : profiler_(profiler), stream_(stream) {}
  ~RangeReplay() { move_to(nullptr); }
  RangeReplay(const RangeReplay&) = delete;
  RangeReplay& operator=(const RangeReplay&) = delete;

  /// Ends the ranges that `range` does not lie in, and begins those that it does.
  void move_to(const std::shared_ptr<const CapturedRange>& range) {
    if (profiler_ == nullptr) return;
    std::vector<const CapturedRange*> path;
    for (const CapturedRange* r = range.get(); r != nullptr; r = r->outer.get()) path.insert(path.begin(), r);
    const auto common = static_cast<size_t>(std::mismatch(open_.begin(), open_.end(), path.begin(), path.end()).first - open_.begin());
    for (size_t depth = common; depth < open_.size(); ++depth) profiler_->pop(stream_);
    for (size_t depth = common; depth < path.size(); ++depth) profiler_->push(stream_, path[depth]->kind, path[depth]->name);
    open_ = std::move(path);
  }

 private:
  Profiler* const profiler_;
  const Stream& stream_;
  std::vector<const CapturedRange*> open_;
};

// The graph's nodes on the clock of the stream it was launched on. Streams that joined the capture have clocks of their own.
void run_nodes(const std::vector<GraphNode>& nodes, const Lanes& lanes, Device& device, Stream& stream, rigiMode mode) {
  std::deque<RangeReplay> ranges;
  ranges.emplace_back(device.profiler(), stream);
  for (const auto& lane : lanes) {
    lane->clock = 0;
    ranges.emplace_back(device.profiler(), *lane);
  }
  size_t index = 0;
  try {
    for (; index < nodes.size(); ++index) {
      const GraphNode& node = nodes[index];
      ranges[node.lane].move_to(node.range);
      node.command->run({device, node.lane == 0 ? stream : *lanes[node.lane - 1], mode, device.chip.launch_graph});
    }
  } catch (const std::exception& error) {
    throw Fault("graph node " + std::to_string(index) + ": " + error.what());
  }
}

}  // namespace

// ---- capture

void Capture::begin(const std::shared_ptr<Stream>& stream) {
  const std::lock_guard lock(captures_mutex);
  refuse_destroyed(*stream);
  if (stream->capture) throw Error(RIGI_ERROR_CAPTURE, "the stream captures already; call rigiStreamEndCapture first");
  auto capture = std::make_shared<Capture>();
  capture->id_ = ++captures_begun;
  capture->streams_.push_back(stream);
  capture->after_.emplace_back(1, 0U);
  capture->ranges_.emplace_back();
  stream->capture = std::move(capture);
  stream->capturing.store(true, std::memory_order_release);
}

std::shared_ptr<Graph> Capture::end(const std::shared_ptr<Stream>& stream) {
  const std::lock_guard lock(captures_mutex);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) throw Error(RIGI_ERROR_CAPTURE, "the stream does not capture; call rigiStreamBeginCapture first");
  if (capture->streams_[0] != stream)
    throw Error(RIGI_ERROR_CAPTURE, "the stream joined a capture that began on another stream; end it there");
  capture->release_streams();
  const auto lanes = static_cast<uint32_t>(capture->streams_.size());
  capture->after_[0].resize(lanes, 0);
  for (uint32_t lane = 1; lane < lanes; ++lane) {
    if (capture->after_[0][lane] == capture->after_[lane][lane]) continue;
    throw Error(RIGI_ERROR_CAPTURE,
                "stream " + std::to_string(lane) +
                    " of the capture (the number is the order of joining) has work that the first stream does "
                    "not wait for; record an event on it and let the first stream wait for that. The capture was dropped");
  }
  log(Log::Setup, "device %d: a graph of %zu nodes on %u streams was captured", stream->device->id, capture->nodes_.size(), lanes);
  return std::make_shared<Graph>(Graph{stream->device, lanes, std::move(capture->nodes_)});
}

void Capture::release_streams() {
  for (const auto& member : streams_) {
    member->capturing.store(false, std::memory_order_release);
    member->capture = nullptr;
  }
}

void Capture::drop(Stream& stream) {
  const std::lock_guard lock(captures_mutex);
  stream.destroyed = true;
  if (const std::shared_ptr<Capture> capture = stream.capture; capture) {
    capture->release_streams();
    capture->streams_.clear();  // a stream owns its capture and a capture its streams
  }
}

uint32_t Capture::lane_of(const std::shared_ptr<Stream>& stream) {
  return static_cast<uint32_t>(std::find(streams_.begin(), streams_.end(), stream) - streams_.begin());
}

void Capture::note(uint32_t lane, std::shared_ptr<Command> command) {
  nodes_.push_back({std::move(command), lane, ranges_[lane]});
  Clock& clock = after_[lane];
  clock.resize(std::max<size_t>(clock.size(), lane + 1), 0);
  ++clock[lane];
}

bool Capture::add(const std::shared_ptr<Stream>& stream, std::unique_ptr<Command>& command) {
  const std::lock_guard lock(captures_mutex);
  if (!stream->capture) return false;
  stream->capture->note(stream->capture->lane_of(stream), std::move(command));
  return true;
}

bool Capture::record(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Record>& record) {
  const std::lock_guard lock(captures_mutex);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return false;
  const uint32_t lane = capture->lane_of(stream);
  capture->note(lane, std::make_shared<RecordCommand>(record));
  record->capture = capture;
  record->after = capture->after_[lane];
  record->capture_id = capture->id_;
  return true;
}

bool Capture::wait(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Record>& record) {
  const std::lock_guard lock(captures_mutex);
  if (!stream->capture && record->capture_id == 0) return false;
  if (record->capture_id == 0 || (stream->capture && stream->capture->id_ != record->capture_id)) {
    throw Error(RIGI_ERROR_CAPTURE,
                "a capturing stream can wait only for events recorded in the same capture; wait for others before the capture begins");
  }
  const std::shared_ptr<Capture> capture = record->capture.lock();
  if (!capture || capture->streams_.empty() || !capture->streams_[0]->capture || capture->streams_[0]->capture != capture)
    throw Error(RIGI_ERROR_CAPTURE, "the event was recorded in a capture that has ended; record it anew");
  if (stream->device != capture->streams_[0]->device) {
    throw Error(RIGI_ERROR_CAPTURE, "the stream is on device " + std::to_string(stream->device->id) + ", the capture on device " +
                                        std::to_string(capture->streams_[0]->device->id) + "; a graph stays on one device");
  }
  refuse_destroyed(*stream);
  if (!stream->capture) {
    capture->streams_.push_back(stream);
    capture->after_.emplace_back();
    capture->ranges_.emplace_back();
    stream->capture = capture;
    stream->capturing.store(true, std::memory_order_release);
  }
  const uint32_t lane = capture->lane_of(stream);
  follow(capture->after_[lane], record->after);
  capture->note(lane, std::make_shared<WaitCommand>(record));
  return true;
}

bool Capture::push_range(const std::shared_ptr<Stream>& stream, const char* kind, const char* name) {
  const std::lock_guard lock(captures_mutex);
  if (!stream->capture) return false;
  std::shared_ptr<const CapturedRange>& innermost = stream->capture->ranges_[stream->capture->lane_of(stream)];
  innermost = std::make_shared<CapturedRange>(CapturedRange{kind, name, innermost});
  return true;
}

bool Capture::pop_range(const std::shared_ptr<Stream>& stream) {
  const std::lock_guard lock(captures_mutex);
  if (!stream->capture) return false;
  std::shared_ptr<const CapturedRange>& innermost = stream->capture->ranges_[stream->capture->lane_of(stream)];
  if (innermost) innermost = innermost->outer;
  return true;
}

void Capture::refuse(const Stream& stream, const char* what) {
  if (!stream.capturing.load(std::memory_order_acquire)) return;
  throw Error(RIGI_ERROR_CAPTURE, std::string(what) + " while the stream captures; call rigiStreamEndCapture first");
}

// ---- launching

GraphExec::GraphExec(const Graph& graph)
    : device(*graph.device), lanes_(std::make_shared<Lanes>()), nodes_(std::make_shared<std::vector<GraphNode>>(graph.nodes)) {
  for (uint32_t lane = 1; lane < graph.lanes; ++lane) lanes_->push_back(std::make_unique<Stream>(graph.device, false));
  calls_host_ = std::any_of(graph.nodes.begin(), graph.nodes.end(),
                            [](const GraphNode& node) { return dynamic_cast<const HostCommand*>(node.command.get()) != nullptr; });
}

std::shared_ptr<Command> GraphExec::node(size_t index) {
  const std::lock_guard lock(mutex_);
  if (index >= nodes_->size())
    throw Error(RIGI_ERROR_INVALID_VALUE,
                "node " + std::to_string(index) + " does not exist; the graph has " + std::to_string(nodes_->size()));
  return (*nodes_)[index].command;
}

void GraphExec::replace(size_t index, std::unique_ptr<Command> command) {
  const std::lock_guard lock(mutex_);
  if (nodes_.use_count() > 1) nodes_ = std::make_shared<std::vector<GraphNode>>(*nodes_);
  (*nodes_)[index].command = std::move(command);
}

void GraphExec::launch(const std::shared_ptr<Stream>& stream) {
  const std::lock_guard lock(mutex_);
  const rigiMode mode = device.mode;
  device.submit(
      *stream,
      [this_device = &device, lanes = lanes_, nodes = std::shared_ptr<const std::vector<GraphNode>>(nodes_), stream, mode] {
        run_nodes(*nodes, *lanes, *this_device, *stream, mode);
      },
      calls_host_ ? Queue::kOwnThread : 0U);
}

}  // namespace rigi
