// The recording half of a schedule: what the cores issue, the hash by which a launch is known again, and the nodes made of it.
#include <algorithm>

#include "schedule.hpp"

namespace rigi {
namespace {

uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15ULL + (h << 6) + (h >> 2);
  h *= 0xff51afd7ed558ccdULL;
  return h ^ (h >> 32);
}

}  // namespace

void Schedule::begin(uint32_t launch_cost) {
  launch_cost_ = launch_cost;
  for (Recording& recording : recordings_) {
    recording.program.clear();
    if (!recording.lines.empty()) recording.lines.clear();
    recording.hash = launch_cost;
    recording.scalars = false;
  }
}

// Two recordings of equal hash have equal schedules: everything the rules read goes in. HBM addresses do only in a multicast,
// whose partners must name the same bytes.
void Schedule::add(int core, const rigi_instr& i) {
  Recording& recording = recordings_[core];
  const auto operand = [](const rigi_operand& o) {
    return (uint64_t{o.addr} << 32 | static_cast<uint32_t>(o.stride)) * 31 + (uint64_t{o.dtype} << 8 | o.bcast);
  };
  uint64_t x = mix(uint64_t{i.op} | uint64_t{i.fn} << 8 | uint64_t{i.flags} << 16 | uint64_t{i.depth} << 32, operand(i.dst));
  uint64_t y = mix(uint64_t{i.rows} << 32 | i.cols, operand(i.a));
  x = mix(x, operand(i.b));
  y = mix(y, operand(i.c));
  x = mix(x, static_cast<uint64_t>(i.hbm_stride));
  if (i.op == RIGI_LOAD_MULTICAST) y = mix(y, i.hbm);
  recording.hash = mix(recording.hash, x + y * 0x9e3779b97f4a7c15ULL);
  recording.program.push_back(i);
}

void Schedule::scalar_load(int core, uint64_t hbm, uint32_t bytes) {
  recordings_[core].scalars = true;
  rigi_instr i{};
  i.op = kScalarLoad;
  i.rows = recordings_[core].lines.insert(hbm / chip_.line_bytes).second ? chip_.scalar_load_miss : chip_.scalar_load_hit;
  i.cols = bytes;
  i.hbm = hbm;
  add(core, i);
}

void Schedule::scalar_read(int core, uint32_t sram, uint32_t bytes) {
  recordings_[core].scalars = true;
  rigi_instr i{};
  i.op = kScalarRead;
  i.rows = chip_.scalar_read;
  i.cols = bytes;
  i.a.addr = sram;
  add(core, i);
}

void Schedule::barrier() {
  rigi_instr i{};
  i.op = kBarrier;
  for (size_t c = 0; c < recordings_.size(); ++c) add(static_cast<int>(c), i);
}

bool Schedule::reads_scalars() const {
  return std::any_of(recordings_.begin(), recordings_.end(), [](const Recording& recording) { return recording.scalars; });
}

uint64_t Schedule::program_hash() const {
  uint64_t hash = recordings_.size();
  for (const Recording& recording : recordings_) hash = mix(mix(hash, recording.hash), recording.program.size());
  return hash;
}

// Turns a recording into nodes and puts the core at its start.
void Schedule::expand(uint32_t core) {
  CoreTimeline& line = cores_[core];
  line.nodes.clear();
  line.window.clear();
  for (Queue& queue : line.queues) {
    queue.pending.clear();
    queue.end = 0;
    queue.start.assign(chip_.queue_depth, 0);
    queue.issued = queue.resolved = 0;
  }
  line.next = 0;
  line.next_issue = launch_cost_;
  line.stores_done = 0;
  std::fill(std::begin(line.multicasts), std::end(line.multicasts), 0U);
  line.at_barrier = false;
  uint16_t phase = 0;
  for (const rigi_instr& i : recordings_[core].program) {
    Node& node = line.nodes.emplace_back();
    node.op = i.op;
    node.fn = i.fn;
    node.rows = i.rows;
    node.cols = i.op == RIGI_FILL ? i.cols * dtype_bytes(i.dst.dtype) : i.cols;
    node.depth = i.depth;
    node.hbm = i.hbm;
    node.hbm_stride = i.hbm_stride;
    node.phase = phase;
    if (i.op == kBarrier) {
      node.engine = Engine::Barrier;
      ++phase;
    } else if (i.op == kScalarLoad || i.op == kScalarRead) {
      node.engine = Engine::Scalar;
      node.busy = i.rows;
      node.rows = 1;
      if (i.op == kScalarRead) {
        node.num_reads = 1;
        node.spans[0] = {i.a.addr, i.cols, 1, i.cols};
      }
    } else {
      const Access access = access_of(i);
      const Cost cost = cost_of(i, chip_);
      node.engine = engine_of(i.op);
      node.dtype = i.op == RIGI_MMA ? i.a.dtype : i.dst.dtype;
      node.num_reads = access.num_reads;
      node.num_writes = access.num_writes;
      std::copy_n(access.reads, access.num_reads, node.spans);
      std::copy_n(access.writes, access.num_writes, node.spans + access.num_reads);
      node.busy = cost.busy;
      node.latency = cost.latency;
      node.passes = cost.passes;
      node.elements = cost.elements;
      node.hbm_bytes = cost.hbm_bytes;
    }
    node.read_lo = node.write_lo = ~0U;
    for (int s = 0; s < node.num_reads + node.num_writes; ++s) {
      const Span& span = node.spans[s];
      uint32_t& lo = s < node.num_reads ? node.read_lo : node.write_lo;
      uint32_t& hi = s < node.num_reads ? node.read_hi : node.write_hi;
      lo = std::min(lo, span.addr);
      hi = std::max(hi, span.end());
    }
  }
}

}  // namespace rigi
