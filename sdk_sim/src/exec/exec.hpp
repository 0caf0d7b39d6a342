// The data effect of instructions (chip.md, sections 4 and 6): what ends up in SRAM and HBM, bit by bit.
#pragma once

#include "../common.hpp"

namespace rigi {

/// Performs the data effect of one validated instruction at once, in the calling thread. Only what the data alone can tell
/// is checked here: an index of gather, scatter or take that leaves its range throws Fault. store_add waits in `core.adds`.
void execute(const rigi_instr& instr, CoreState& core);

/// An mma whose A and B are not where their operands say, but at `a` and `b` in the host's memory; rows of B lie `b_stride` bytes apart.
void execute_mma(const rigi_instr& instr, CoreState& core, const uint8_t* a, const uint8_t* b, int64_t b_stride);

/// Applies the waiting store_adds of `n` cores, in core order and then program order, and clears them.
void apply_adds(CoreState* cores, int n);

/// The instruction set in use on this host: "avx512", "avx2" or "portable". RIGI_ISA forces one; throws std::runtime_error
/// if that one is unknown or this host lacks it.
const char* exec_isa();

}  // namespace rigi
