// What an instruction touches, what it costs, and whether it is a legal one: the static half of the timing rules.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../common.hpp"
#include "rigi_isa.h"

namespace rigi {

enum class Engine : uint8_t { Load, Store, Matrix, Vector, Act, Scalar, Barrier };
inline constexpr int kQueues = 5;  // the engines with a queue: Load .. Act
const char* engine_name(Engine engine);
Engine engine_of(uint8_t op);

/// A strided block of SRAM bytes: `rows` pieces of `row_bytes`, `stride` apart.
struct Span {
  uint32_t addr, row_bytes, rows, stride;
  uint32_t end() const { return addr + (rows - 1) * stride + row_bytes; }
};

/// Whether two spans share a byte. Exact, also for interleaved strided blocks.
bool overlap(const Span& x, const Span& y);

/// The SRAM bytes an instruction reads and writes.
struct Access {
  static constexpr int kMax = 4;
  Span reads[kMax];
  Span writes[2];
  uint8_t num_reads = 0, num_writes = 0;
};
Access access_of(const rigi_instr& i);

/// Cycles the engine is busy and the result takes afterwards, and the bytes asked of HBM (pieces padded to bursts).
struct Cost {
  uint64_t busy;
  uint32_t latency;
  uint64_t hbm_bytes;
  uint32_t passes;  // vector and activation engines
  uint64_t elements;
};
Cost cost_of(const rigi_instr& i, const Chip& chip);

struct HbmRange {
  uint64_t base, bytes;
};

/// Throws Fault naming the operand, its value and the limit unless `i` is an instruction that core `core` can carry out.
void validate(const rigi_instr& i, int core, const Chip& chip, HbmRange hbm);

}  // namespace rigi
