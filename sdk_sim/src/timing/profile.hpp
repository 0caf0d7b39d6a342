// Where a launch's cycles went: for each engine of each core, busy or stalled and why. The manual defines the words.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "access.hpp"
#include "schedule.hpp"

namespace rigi {

/// What an engine does in a cycle of a launch: it is busy, or stalled by one of the others.
enum class State : uint8_t { Busy, Launch, Operand, Queue, Hbm, Barrier };
inline constexpr int kStates = 6;
const char* state_name(State state);

/// Cycles by State.
using EngineCycles = std::array<uint64_t, kStates>;

/// The state of an engine from the end of the span before it (the first begins at 0) to `end`.
struct StateSpan {
  State state;
  uint64_t end;
};

struct Summary {
  uint64_t cycles = 0, launch_cost = 0;
  std::vector<std::array<EngineCycles, kQueues>> cores;  // each EngineCycles adds up to `cycles`
  std::array<std::vector<StateSpan>, kQueues> spans;     // of core 0
  std::array<uint64_t, kQueues> resolution{};            // of `spans`, in cycles; 1: exact
  std::array<uint64_t, kQueues + 1> instructions{};      // by engine, scalar accesses last; of all cores
  uint64_t hbm_read = 0, hbm_written = 0;                // padded bytes, as the HBM server counts them
  uint64_t flops_16bit = 0, flops_8bit = 0;              // two for each multiply-accumulate of an mma
  uint64_t vector_elements = 0, act_elements = 0;

  /// Of all cores together.
  EngineCycles total(int engine) const;
  /// Busy cycles of the core in which the engine is busiest.
  uint64_t busiest(int engine) const;
};

/// Of the launch that the schedule finished last.
Summary summarize(Schedule& schedule, const Chip& chip);

/// How near a launch comes to what the chip allows.
struct Roofline {
  double intensity = 0;   // flop per HBM byte; infinite without HBM traffic
  double attainable = 0;  // flop/s: all of it at peak, HBM at its full rate, whichever takes longer
  double achieved = 0;    // flop/s
  double fraction = 0;    // of the launch's cycles, what the longer of the two takes
  const char* bound = "latency";
};
Roofline roofline(const Summary& summary, const Chip& chip);

/// Appends the members of the JSON object that describes the launch.
void append_summary(std::string& out, const Summary& summary, const Chip& chip);

}  // namespace rigi
