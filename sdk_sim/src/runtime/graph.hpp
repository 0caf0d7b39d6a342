// Graphs: what a capture noted, and the same ready to be launched again and again with one submission.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "command.hpp"

namespace rigi {

/// A range of a profile that was open on a stream during the capture. Its launches are in it at each replay.
struct CapturedRange {
  std::string kind, name;
  std::shared_ptr<const CapturedRange> outer;
};

struct GraphNode {
  std::shared_ptr<Command> command;
  uint32_t lane;  // which of the graph's streams it stands on; 0 is where the capture began
  std::shared_ptr<const CapturedRange> range;  // the innermost, or null
};

struct Graph {
  Device* device;
  uint32_t lanes;
  std::vector<GraphNode> nodes;  // in the order of capture, which is an order in which they may run
};

/// Clocks for the streams that joined the capture, by lane - 1.
using Lanes = std::vector<std::unique_ptr<Stream>>;

/// A graph with arguments of its own. A launch keeps the nodes it was submitted with: a change copies the list while one is on its way.
class GraphExec {
 public:
  explicit GraphExec(const Graph& graph);

  /// Throws Error(INVALID_VALUE) if there is no such node.
  std::shared_ptr<Command> node(size_t index);
  void replace(size_t index, std::unique_ptr<Command> command);
  void launch(const std::shared_ptr<Stream>& stream);

  Device& device;

 private:
  const std::shared_ptr<Lanes> lanes_;
  std::mutex mutex_;
  std::shared_ptr<std::vector<GraphNode>> nodes_;
  bool calls_host_ = false;
};

/// A capture in progress. Streams of the device join it by waiting for an event recorded in it. For every stream it keeps how many
/// nodes of each stream its next node comes after (a vector clock), so that End can tell whether all streams were joined again.
class Capture {
 public:
  static void begin(const std::shared_ptr<Stream>& stream);
  /// Ends the capture that began on the stream, also when it throws because a stream is not joined.
  static std::shared_ptr<Graph> end(const std::shared_ptr<Stream>& stream);
  /// Called when the stream's handle goes away: a capture that it takes part in is dropped, and it will be in none again.
  static void drop(Stream& stream);
  /// Notes a command; false if the stream captures no more, and then the command is left alone.
  static bool add(const std::shared_ptr<Stream>& stream, std::unique_ptr<Command>& command);
  /// Notes the recording of an event; false if the stream captures no more.
  static bool record(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Record>& record);
  /// Notes a wait for an event, and takes the stream in if it is outside. True if the event or the stream belongs to a capture.
  static bool wait(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Record>& record);
  /// Begins and ends a range; false if the stream does not capture.
  static bool push_range(const std::shared_ptr<Stream>& stream, const char* kind, const char* name);
  static bool pop_range(const std::shared_ptr<Stream>& stream);
  /// Throws Error(CAPTURE) naming `what` if the stream captures.
  static void refuse(const Stream& stream, const char* what);

 private:
  using Clock = std::vector<uint32_t>;  // for each lane a number of nodes

  uint32_t lane_of(const std::shared_ptr<Stream>& stream);
  void note(uint32_t lane, std::shared_ptr<Command> command);
  void release_streams();

  uint64_t id_ = 0;
  std::vector<std::shared_ptr<Stream>> streams_;
  std::vector<std::shared_ptr<const CapturedRange>> ranges_;  // innermost open ones, by lane
  std::vector<Clock> after_;
  std::vector<GraphNode> nodes_;
};

}  // namespace rigi
