// Timing-only mode: where the bytes of a scratchpad would have come from. Nothing is moved there, but lengths and indices that a kernel
// loads from HBM and then reads as scalars are still known: they lie where the load would have taken them from.
#pragma once

#include <cstring>
#include <vector>

#include "../timing/access.hpp"

namespace rigi {

/// A scalar that a launch took from HBM, directly or through a scratchpad.
struct ScalarFromHbm {
  uint64_t address;
  uint32_t bytes;
  uint64_t value;
};

inline uint64_t read_scalar(uint64_t address, uint32_t bytes) {
  uint64_t value = 0;
  std::memcpy(&value, reinterpret_cast<const void*>(address), bytes);
  return value;
}

inline bool unchanged(const ScalarFromHbm& scalar) { return read_scalar(scalar.address, scalar.bytes) == scalar.value; }

/// The writes to one core's scratchpad in a launch, in order.
class Origins {
 public:
  void clear() {
    writes_.clear();
    seen_ = 0;
  }

  /// Where in HBM the scalar at an address of the scratchpad was loaded from, or 0: nobody loaded it. `issued` is what the core has issued
  /// in the launch; it is looked at here, because most launches read no scalar.
  uint64_t find(const std::vector<rigi_instr>& issued, uint32_t address, uint32_t bytes) {
    for (; seen_ < issued.size(); ++seen_) note(issued[seen_]);
    const Span wanted{address, bytes, 1, bytes};
    for (auto write = writes_.rbegin(); write != writes_.rend(); ++write) {
      if (!overlap(write->span, wanted)) continue;
      if (write->hbm == 0) return 0;
      const uint32_t offset = address - write->span.addr;
      const uint32_t row = write->span.rows == 1 ? 0 : offset / write->span.stride;
      const uint32_t column = offset - row * write->span.stride;
      return column + bytes <= write->span.row_bytes ? write->hbm + static_cast<uint64_t>(row * write->hbm_stride) + column : 0;
    }
    return 0;
  }

 private:
  struct Write {
    Span span;
    uint64_t hbm;  // 0: not a load
    int64_t hbm_stride;
  };

  void note(const rigi_instr& instr) {
    if (instr.op == RIGI_SEND || instr.op >= RIGI_OP_COUNT) return;  // it writes elsewhere; a scalar or barrier
    const Access access = access_of(instr);
    for (int w = 0; w < access.num_writes; ++w) {
      const bool loaded = instr.op == RIGI_LOAD || instr.op == RIGI_LOAD_MULTICAST;
      writes_.push_back({access.writes[w], loaded ? instr.hbm : 0, instr.hbm_stride});
    }
  }

  std::vector<Write> writes_;
  size_t seen_ = 0;  // instructions
};

}  // namespace rigi
