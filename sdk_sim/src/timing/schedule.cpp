#include "schedule.hpp"

#include <algorithm>

namespace rigi {
namespace {

bool writes_meet(const Node& writer, const Node& other) {
  for (int w = 0; w < writer.num_writes; ++w) {
    const Span& x = writer.spans[writer.num_reads + w];
    for (int s = 0; s < other.num_reads + other.num_writes; ++s) {
      if (overlap(x, other.spans[s])) return true;
    }
  }
  return false;
}

bool reads_meet_writes(const Node& reader, const Node& writer) {
  for (int r = 0; r < reader.num_reads; ++r) {
    for (int w = 0; w < writer.num_writes; ++w) {
      if (overlap(reader.spans[r], writer.spans[writer.num_reads + w])) return true;
    }
  }
  return false;
}

}  // namespace

Schedule::Schedule(const Chip& chip) : chip_(chip), recordings_(chip.cores()), cores_(chip.cores()) {}

uint64_t Schedule::finish() {
  barrier();
  program_ = program_hash();
  resolved_ = false;
  if (const auto found = known_.find(program_); found != known_.end()) return found->second;
  resolve();
  const uint64_t cycles = cores_[0].nodes.back().end;
  if (known_.size() > 100000) known_.clear();
  known_[program_] = cycles;
  return cycles;
}

void Schedule::resolve() {
  if (resolved_) return;
  hbm_free_ = 0;
  requests_.clear();
  multicasts_.clear();
  for (uint32_t c = 0; c < cores_.size(); ++c) expand(c);
  for (uint32_t c = 0; c < cores_.size(); ++c) advance(c);
  // A barrier first: what follows it may ask for HBM before requests that already wait.
  while (pass_barrier() || grant()) {
  }
  // What is left hangs on a multicast that some receiver never issues, or issues in another order.
  for (uint32_t c = 0; c < cores_.size(); ++c) {
    const std::deque<Pending>& loads = cores_[c].queues[static_cast<int>(Engine::Load)].pending;
    if (loads.empty() || cores_[c].nodes[loads.front().node].op != RIGI_LOAD_MULTICAST) continue;
    throw Fault(place(c, loads.front().node) + "it waits for ever for its partners (fn " +
                std::to_string(cores_[c].nodes[loads.front().node].fn) +
                "): every core of its group must issue every multicast of the group, in the same order");
  }
  for (const CoreTimeline& line : cores_) {
    if (line.next < line.nodes.size()) throw std::logic_error("the schedule of a launch did not resolve: a bug of the emulator");
  }
  resolved_ = true;
}

// Where an instruction stands, for messages.
std::string Schedule::place(uint32_t core, uint32_t index) const {
  const Node& node = cores_[core].nodes[index];
  return "core " + std::to_string(core) + ", phase " + std::to_string(node.phase) + ", instruction " + std::to_string(index) + " (" +
         op_name(node.op) + "): ";
}

void Schedule::advance(uint32_t core) {
  while (issue_next(core) || resolve_heads(core)) {
  }
}

void Schedule::collect_hazards(CoreTimeline& line, const Node& node, uint32_t index, uint64_t issue, Pending* pending) const {
  size_t kept = 0;
  for (const uint32_t other : line.window) {
    const Node& earlier = line.nodes[other];
    if (earlier.resolved && earlier.done <= issue) continue;  // over before this one, or any later one, is issued
    line.window[kept++] = other;
    const bool near_write =
        earlier.write_lo < std::max(node.read_hi, node.write_hi) && std::min(node.read_lo, node.write_lo) < earlier.write_hi;
    if (near_write && writes_meet(earlier, node)) {
      if (earlier.resolved) {
        pending->ready = std::max(pending->ready, earlier.done);
      } else {
        pending->waits.push_back({other, true});
      }
    } else if (earlier.read_lo < node.write_hi && node.write_lo < earlier.read_hi && reads_meet_writes(earlier, node)) {
      if (earlier.resolved) {
        pending->ready = std::max(pending->ready, earlier.end);
      } else {
        pending->waits.push_back({other, false});
      }
    }
  }
  line.window.resize(kept);
  pending->node = index;
}

// Issues the core's next instruction if its issue time is known. Scalars and barriers also need what they wait for.
bool Schedule::issue_next(uint32_t core) {
  CoreTimeline& line = cores_[core];
  if (line.next >= line.nodes.size() || line.at_barrier) return false;
  Node& node = line.nodes[line.next];
  if (node.engine == Engine::Barrier) {
    const Queue& stores = line.queues[static_cast<int>(Engine::Store)];
    if (stores.issued != stores.resolved) return false;
    node.issue = line.next_issue;
    node.start = std::max(node.issue, line.stores_done);
    line.at_barrier = true;
    return true;
  }
  if (node.engine == Engine::Scalar) {
    Pending pending;
    collect_hazards(line, node, line.next, line.next_issue, &pending);
    if (!pending.waits.empty()) return false;
    node.issue = line.next_issue;
    node.start = std::max(node.issue, pending.ready);
    node.end = node.done = node.start + node.busy;
    node.resolved = true;
    line.next_issue = node.end;
    ++line.next;
    return true;
  }
  Queue& queue = line.queues[static_cast<int>(node.engine)];
  if (queue.issued >= queue.resolved + chip_.queue_depth) return false;  // the start 16 places earlier is not known yet
  node.issue = std::max(line.next_issue, queue.issued >= chip_.queue_depth ? queue.start[queue.issued % chip_.queue_depth] : 0);
  line.next_issue = node.issue + 1;
  Pending& pending = queue.pending.emplace_back();
  collect_hazards(line, node, line.next, node.issue, &pending);
  line.window.push_back(line.next);
  ++queue.issued;
  ++line.next;
  return true;
}

// Folds resolved dependencies into `ready`; true when none is left.
bool Schedule::settle(CoreTimeline& line, Pending& pending) const {
  while (!pending.waits.empty()) {
    const Dependency& wait = pending.waits.back();
    const Node& on = line.nodes[wait.node];
    if (!on.resolved) return false;
    pending.ready = std::max(pending.ready, wait.on_done ? on.done : on.end);
    pending.waits.pop_back();
  }
  return true;
}

bool Schedule::resolve_heads(uint32_t core) {
  CoreTimeline& line = cores_[core];
  bool progress = false;
  for (int engine = 0; engine < kQueues; ++engine) {
    Queue& queue = line.queues[engine];
    while (!queue.pending.empty()) {
      Pending& head = queue.pending.front();
      if (head.requested || !settle(line, head)) break;
      const Node& node = line.nodes[head.node];
      const uint64_t start = std::max({node.issue, queue.end, head.ready});
      if (node.hbm_bytes == 0) {
        resolve(core, engine, start, start + node.busy);
        progress = true;
        continue;
      }
      head.requested = true;
      if (node.op == RIGI_LOAD_MULTICAST) {
        request_multicast(core, engine, start);
      } else {
        requests_.push_back({start, core, head.node, engine, 0});
      }
      break;
    }
  }
  return progress;
}

void Schedule::resolve(uint32_t core, int engine, uint64_t start, uint64_t end) {
  CoreTimeline& line = cores_[core];
  Queue& queue = line.queues[engine];
  Node& node = line.nodes[queue.pending.front().node];
  node.start = start;
  node.end = end;
  node.done = end + node.latency;
  node.resolved = true;
  queue.pending.pop_front();
  queue.start[queue.resolved % chip_.queue_depth] = start;
  ++queue.resolved;
  queue.end = end;
  if (static_cast<Engine>(engine) == Engine::Store) line.stores_done = std::max(line.stores_done, node.done);
}

// ---- HBM

std::vector<uint32_t> Schedule::receivers(uint32_t core, uint8_t group) const {
  std::vector<uint32_t> list;
  for (uint32_t c = 0; c < chip_.cores(); ++c) {
    const bool in = group == RIGI_GROUP_ALL || (group == RIGI_GROUP_ROW ? c / chip_.grid_cols == core / chip_.grid_cols
                                                                        : c % chip_.grid_cols == core % chip_.grid_cols);
    if (in) list.push_back(c);
  }
  return list;
}

// Names the `ordinal`-th multicast of a group in this launch; never 0.
uint64_t Schedule::multicast_key(uint32_t core, uint8_t group, uint32_t ordinal) const {
  const uint32_t member = group == RIGI_GROUP_ALL ? 0 : group == RIGI_GROUP_ROW ? core / chip_.grid_cols : core % chip_.grid_cols;
  return (uint64_t{ordinal} << 16 | uint64_t{member} << 8 | group) + 1;
}

void Schedule::request_multicast(uint32_t core, int engine, uint64_t start) {
  CoreTimeline& line = cores_[core];
  const uint32_t index = line.queues[engine].pending.front().node;
  const Node& node = line.nodes[index];
  const uint64_t key = multicast_key(core, node.fn, line.multicasts[node.fn]++);
  Multicast& cast = multicasts_[key];
  if (cast.ready == 0) {
    cast.expected = static_cast<uint32_t>(receivers(core, node.fn).size());
    cast.first_core = core;
    cast.first_node = index;
  } else {
    const Node& first = cores_[cast.first_core].nodes[cast.first_node];
    const Span &x = first.spans[0], &y = node.spans[0];
    if (first.hbm != node.hbm || first.hbm_stride != node.hbm_stride || first.rows != node.rows || first.cols != node.cols ||
        x.addr != y.addr || x.stride != y.stride) {
      throw Fault(place(core, index) + "operand dst, the HBM block and the sizes must equal those of its partner, core " +
                  std::to_string(cast.first_core) + " instruction " + std::to_string(cast.first_node) + ", and differ");
    }
    if (core < cast.first_core) {
      cast.first_core = core;
      cast.first_node = index;
    }
  }
  cast.start = std::max(cast.start, start);
  if (++cast.ready == cast.expected) requests_.push_back({cast.start, cast.first_core, cast.first_node, engine, key});
}

bool Schedule::grant() {
  if (requests_.empty()) return false;
  size_t best = 0;
  for (size_t r = 1; r < requests_.size(); ++r) {
    const Request &x = requests_[r], &y = requests_[best];
    if (x.start != y.start ? x.start < y.start : x.core != y.core ? x.core < y.core : x.node < y.node) best = r;
  }
  const Request request = requests_[best];
  requests_[best] = requests_.back();
  requests_.pop_back();

  const Node& node = cores_[request.core].nodes[request.node];
  const uint64_t rate = chip_.hbm_bytes_per_cycle;
  const uint64_t bytes = node.op == RIGI_STORE_ADD ? 2 * node.hbm_bytes : node.hbm_bytes;  // read and written back
  hbm_free_ = std::max(request.start * rate, hbm_free_) + bytes;
  const uint64_t end = std::max(request.start + node.busy, (hbm_free_ + rate - 1) / rate);
  if (request.multicast == 0) {
    resolve(request.core, request.engine, request.start, end);
    advance(request.core);
    return true;
  }
  multicasts_.erase(request.multicast);
  const std::vector<uint32_t> group = receivers(request.core, node.fn);
  for (const uint32_t core : group) resolve(core, request.engine, request.start, end);
  for (const uint32_t core : group) advance(core);
  return true;
}

// Lets all cores on if every one of them stands at the barrier.
bool Schedule::pass_barrier() {
  uint64_t last = 0;
  for (const CoreTimeline& line : cores_) {
    if (!line.at_barrier) return false;
    last = std::max(last, line.nodes[line.next].start);
  }
  for (CoreTimeline& line : cores_) {
    Node& node = line.nodes[line.next];
    node.end = node.done = last + chip_.barrier;
    node.resolved = true;
    line.next_issue = node.end;
    line.at_barrier = false;
    ++line.next;
  }
  for (uint32_t c = 0; c < cores_.size(); ++c) advance(c);
  return true;
}

}  // namespace rigi
