#include "profile.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../json.hpp"

namespace rigi {
namespace {

// A program's spans are for a picture: beyond this many an engine's are drawn more coarsely.
constexpr size_t kMostSpans = 256;

// Cuts [0, cycles) of every engine into states. Each step fills an engine's time up to a moment, so that no cycle is counted twice or
// left out, whatever the nodes say. What outlives the launch is cut off.
template <typename Emit>
void walk(const std::vector<Node>& nodes, uint64_t launch_cost, uint64_t cycles, Emit&& emit) {
  std::array<uint64_t, kQueues> filled{};
  const auto until = [&](int engine, State state, uint64_t to) {
    to = std::min(to, cycles);
    if (to <= filled[engine]) return;
    emit(engine, state, filled[engine], to);
    filled[engine] = to;
  };
  for (int engine = 0; engine < kQueues; ++engine) until(engine, State::Launch, launch_cost);
  uint64_t phase_start = launch_cost;
  for (const Node& node : nodes) {
    if (node.engine == Engine::Barrier) phase_start = node.end;
    const int engine = static_cast<int>(node.engine);
    if (engine >= kQueues) continue;
    until(engine, State::Barrier, phase_start);
    until(engine, State::Queue, node.issue);
    until(engine, State::Operand, node.start);
    until(engine, State::Busy, node.start + node.busy);
    until(engine, State::Hbm, node.end);
  }
  for (int engine = 0; engine < kQueues; ++engine) until(engine, State::Barrier, cycles);
}

void append_span(std::vector<StateSpan>& spans, State state, uint64_t end) {
  if (!spans.empty() && spans.back().state == state) {
    spans.back().end = end;
  } else {
    spans.push_back({state, end});
  }
}

// The spans drawn in slots of `resolution` cycles, each in the state that has most of it.
std::vector<StateSpan> coarsened(const std::vector<StateSpan>& exact, uint64_t cycles, uint64_t resolution) {
  std::vector<StateSpan> coarse;
  auto span = exact.begin();
  for (uint64_t begin = 0; begin < cycles; begin += resolution) {
    const uint64_t end = std::min(begin + resolution, cycles);
    EngineCycles share{};
    for (uint64_t at = begin; at < end;) {
      const uint64_t stop = std::min(span->end, end);
      share[static_cast<size_t>(span->state)] += stop - at;
      if (stop == span->end) ++span;
      at = stop;
    }
    append_span(coarse, static_cast<State>(std::max_element(share.begin(), share.end()) - share.begin()), end);
  }
  return coarse;
}

// Whether `core` is the receiver of a multicast for which its one HBM read is counted.
bool first_receiver(uint32_t core, uint8_t group, const Chip& chip) {
  if (group == RIGI_GROUP_ALL) return core == 0;
  return group == RIGI_GROUP_ROW ? core % chip.grid_cols == 0 : core < chip.grid_cols;
}

void count(Summary& summary, const Node& node, uint32_t core, const Chip& chip) {
  if (node.engine == Engine::Barrier) return;
  ++summary.instructions[static_cast<size_t>(node.engine)];
  if (node.engine == Engine::Load && (node.op != RIGI_LOAD_MULTICAST || first_receiver(core, node.fn, chip)))
    summary.hbm_read += node.hbm_bytes;
  if (node.engine == Engine::Store) {
    summary.hbm_written += node.hbm_bytes;
    if (node.op == RIGI_STORE_ADD) summary.hbm_read += node.hbm_bytes;
  }
  if (node.engine == Engine::Matrix)
    (dtype_bytes(node.dtype) == 1 ? summary.flops_8bit : summary.flops_16bit) += 2 * uint64_t{node.rows} * node.cols * node.depth;
  if (node.engine == Engine::Vector) summary.vector_elements += node.elements;
  if (node.engine == Engine::Act) summary.act_elements += node.elements;
}

void append_engine(std::string& out, const Summary& summary, int engine) {
  const EngineCycles total = summary.total(engine);
  json::key(out, engine_name(static_cast<Engine>(engine)));
  out += '{';
  for (size_t s = 0; s < kStates; ++s) json::field(out, state_name(static_cast<State>(s)), total[s]);
  json::key(out, "cores");
  out += '[';
  for (const auto& core : summary.cores) {
    json::separate(out);
    out += '[';
    for (const uint64_t cycles : core[static_cast<size_t>(engine)]) json::append(out, cycles);
    out += ']';
  }
  out += ']';
  json::field(out, "resolution", summary.resolution[static_cast<size_t>(engine)]);
  json::key(out, "spans");
  out += '[';
  for (const StateSpan& span : summary.spans[static_cast<size_t>(engine)]) {
    json::separate(out);
    out += '[';
    json::append(out, state_name(span.state));
    json::append(out, span.end);
    out += ']';
  }
  out += "]}";
}

}  // namespace

const char* state_name(State state) {
  constexpr const char* names[kStates] = {"busy", "launch", "operand", "queue", "hbm", "barrier"};
  return names[static_cast<int>(state)];
}

EngineCycles Summary::total(int engine) const {
  EngineCycles sum{};
  for (const auto& core : cores) {
    for (size_t s = 0; s < kStates; ++s) sum[s] += core[static_cast<size_t>(engine)][s];
  }
  return sum;
}

uint64_t Summary::busiest(int engine) const {
  uint64_t most = 0;
  for (const auto& core : cores) most = std::max(most, core[static_cast<size_t>(engine)][static_cast<size_t>(State::Busy)]);
  return most;
}

Summary summarize(Schedule& schedule, const Chip& chip) {
  schedule.resolve();
  Summary summary;
  summary.cycles = schedule.nodes(0).back().end;
  summary.launch_cost = schedule.launch_cost();
  summary.cores.resize(chip.cores());
  for (uint32_t core = 0; core < chip.cores(); ++core) {
    const std::vector<Node>& nodes = schedule.nodes(core);
    for (const Node& node : nodes) count(summary, node, core, chip);
    walk(nodes, summary.launch_cost, summary.cycles, [&](int engine, State state, uint64_t from, uint64_t to) {
      summary.cores[core][static_cast<size_t>(engine)][static_cast<size_t>(state)] += to - from;
      if (core == 0) append_span(summary.spans[static_cast<size_t>(engine)], state, to);
    });
  }
  for (size_t engine = 0; engine < kQueues; ++engine) {
    const std::vector<StateSpan> exact = summary.spans[engine];
    for (summary.resolution[engine] = 1; summary.spans[engine].size() > kMostSpans;) {
      summary.resolution[engine] *= 2;
      summary.spans[engine] = coarsened(exact, summary.cycles, summary.resolution[engine]);
    }
  }
  return summary;
}

Roofline roofline(const Summary& summary, const Chip& chip) {
  const auto cycles = static_cast<double>(summary.cycles);
  const auto per_second = static_cast<double>(chip.clock_hz);
  const auto flops = static_cast<double>(summary.flops_16bit + summary.flops_8bit);
  const auto bytes = static_cast<double>(summary.hbm_read + summary.hbm_written);
  const double columns = 2.0 * chip.matrix_n * chip.cores();
  const double at_peak = static_cast<double>(summary.flops_16bit) / (columns * chip.matrix_k16) +
                         static_cast<double>(summary.flops_8bit) / (columns * chip.matrix_k8);
  const double hbm = bytes / chip.hbm_bytes_per_cycle;
  const double least = std::max(at_peak, hbm);

  Roofline roofline;
  if (flops > 0) {
    roofline.intensity = bytes > 0 ? flops / bytes : std::numeric_limits<double>::infinity();
    roofline.attainable = flops / least * per_second;
    roofline.achieved = flops / cycles * per_second;
  }
  roofline.fraction = least / cycles;
  double most = 0;
  const auto candidate = [&](const char* name, double used) {
    if (used < cycles / 2 || used <= most) return;
    most = used;
    roofline.bound = name;
  };
  candidate("hbm", hbm);
  for (const Engine engine : {Engine::Matrix, Engine::Vector, Engine::Act, Engine::Load, Engine::Store})
    candidate(engine_name(engine), static_cast<double>(summary.busiest(static_cast<int>(engine))));
  return roofline;
}

void append_summary(std::string& out, const Summary& summary, const Chip& chip) {
  json::field(out, "cycles", summary.cycles);
  json::field(out, "launch_cost", summary.launch_cost);
  json::key(out, "instructions");
  out += '{';
  for (size_t e = 0; e < summary.instructions.size(); ++e) json::field(out, engine_name(static_cast<Engine>(e)), summary.instructions[e]);
  out += '}';
  json::field(out, "hbm_read", summary.hbm_read);
  json::field(out, "hbm_written", summary.hbm_written);
  json::field(out, "flops_16bit", summary.flops_16bit);
  json::field(out, "flops_8bit", summary.flops_8bit);
  json::field(out, "vector_elements", summary.vector_elements);
  json::field(out, "act_elements", summary.act_elements);
  const Roofline roof = roofline(summary, chip);
  json::key(out, "roofline");
  out += '{';
  if (std::isfinite(roof.intensity)) {
    json::field(out, "intensity", roof.intensity);
  } else {
    out += "\"intensity\":null";
  }
  json::field(out, "attainable", roof.attainable);
  json::field(out, "achieved", roof.achieved);
  json::field(out, "fraction", roof.fraction);
  json::field(out, "bound", roof.bound);
  out += '}';
  json::key(out, "engines");
  out += '{';
  for (int engine = 0; engine < kQueues; ++engine) append_engine(out, summary, engine);
  out += '}';
}

}  // namespace rigi
