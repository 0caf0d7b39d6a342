// Which bytes have been written: one bit a byte, in pages that cost nothing until a bit in them is set.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "../runtime/mapping.hpp"

namespace rigi {

/// Ranges are [lo, hi). Threads may set and clear bits at the same time, also neighbouring ones.
class Bits {
 public:
  /// All clear. `what` names the use in an error: "shadow of the HBM".
  Bits(uint64_t count, const char* what) : words_((count + 63) / 64 * sizeof(uint64_t), 4096, false, what) {}

  void set(uint64_t lo, uint64_t hi);
  /// Gives whole pages back to the host.
  void clear(uint64_t lo, uint64_t hi);
  /// The first position with a clear (set) bit, hi if there is none.
  uint64_t first_clear(uint64_t lo, uint64_t hi) const;
  uint64_t first_set(uint64_t lo, uint64_t hi) const;
  /// The runs of set bits.
  std::vector<std::pair<uint64_t, uint64_t>> runs(uint64_t lo, uint64_t hi) const;

 private:
  template <bool Set>
  uint64_t first(uint64_t lo, uint64_t hi) const;

  Mapping words_;
};

}  // namespace rigi
