// Timing-only mode: where the bytes of a scratchpad would have come from. Nothing is moved there, but lengths and indices that a kernel
// loads from HBM and then reads as scalars are still known: they lie where the load would have taken them from.
#pragma once

#include <cstring>
#include <vector>

#include "../timing/access.hpp"

namespace rigi {

/// The writes to one core's scratchpad in a launch, in order.
class Origins {
 public:
  void clear() { writes_.clear(); }

  void note(const rigi_instr& instr) {
    if (instr.op == RIGI_SEND) return;  // it writes elsewhere
    const Access access = access_of(instr);
    for (int w = 0; w < access.num_writes; ++w) {
      const bool loaded = instr.op == RIGI_LOAD || instr.op == RIGI_LOAD_MULTICAST;
      writes_.push_back({access.writes[w], loaded ? instr.hbm : 0, instr.hbm_stride});
    }
  }

  /// The scalar at an address if it was loaded from HBM, else 0: nobody computed it.
  uint64_t read(uint32_t address, uint32_t bytes) const {
    const Span wanted{address, bytes, 1, bytes};
    uint64_t value = 0;
    for (auto write = writes_.rbegin(); write != writes_.rend(); ++write) {
      if (!overlap(write->span, wanted)) continue;
      if (write->hbm == 0) break;
      const uint32_t offset = address - write->span.addr;
      const uint32_t row = write->span.rows == 1 ? 0 : offset / write->span.stride;
      const uint32_t column = offset - row * write->span.stride;
      const uint64_t from = write->hbm + static_cast<uint64_t>(row * write->hbm_stride) + column;
      if (column + bytes <= write->span.row_bytes) std::memcpy(&value, reinterpret_cast<const void*>(from), bytes);
      break;
    }
    return value;
  }

 private:
  struct Write {
    Span span;
    uint64_t hbm;  // 0: not a load
    int64_t hbm_stride;
  };
  std::vector<Write> writes_;
};

}  // namespace rigi
