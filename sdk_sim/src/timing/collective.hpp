// What collectives over the chip-to-chip links cost: a latency for each message, and its bytes at the link's rate (Hockney's model).
#pragma once

#include "../common.hpp"
#include "rigi.h"

namespace rigi {

/// Cycles of a collective over `devices` chips; `bytes` as in rigiCollectiveGetCycles. Throws Error(INVALID_VALUE).
uint64_t collective_cycles(const Chip& chip, rigiCollective collective, rigiAlgorithm algorithm, uint32_t devices, uint64_t bytes);

/// Cycles that a link is busy with `bytes` at `bytes_per_s`, rounded up.
uint64_t link_cycles(const Chip& chip, uint64_t bytes, uint64_t bytes_per_s);

}  // namespace rigi
