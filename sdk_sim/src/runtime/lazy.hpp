// Large loads of a core that wait until somebody needs their bytes in SRAM.
//
// Weights mostly go from HBM to SRAM for a single mma of few rows. On the host that would read them from memory, write a copy and read
// the copy. So a large load is only noted, an mma of few rows reads its B where the load would have read it, and the next load into the
// same place makes the noted one void. Whatever else needs the bytes has the load carried out first. Nobody can tell: within a phase
// no other core may write what the load reads, this core's own stores are watched, and at the end of a phase nothing is left waiting.
//
// Such an mma waits, too, for those that carry on its sum along K: together they read longer runs of each row of weights, which is what
// the host's memory gives fastest. Its A is kept; whoever touches its C gets the sum first.
#pragma once

#include <cstdint>
#include <vector>

#include "../timing/access.hpp"

namespace rigi {

class LazyLoads {
 public:
  /// Before a launch. Loads of at least `least` bytes may wait; kNever: none.
  void begin(uint64_t least) {
    least_ = least;
    waiting_.clear();
    product_.open = false;
  }
  /// Performs the data effect of a validated instruction, or notes it.
  void execute(const rigi_instr& instr, CoreState& core) {
    if (waiting_.empty() && !product_.open && !may_wait(instr)) return rigi_execute(instr, core);
    execute_among(instr, core);
  }
  /// The sequencer reads these bytes of SRAM.
  void read(uint32_t sram, uint32_t bytes, CoreState& core);
  /// At the end of a phase: carries out what is left, or drops it if SRAM is given up.
  void end_phase(bool last, CoreState& core);

  static constexpr uint64_t kNever = UINT64_MAX;
  /// RIGI_LAZY_LOAD_BYTES, or 16 KiB: below that a copy stays in the nearest cache and costs less than keeping account of it.
  static uint64_t least_by_default();

 private:
  struct Load {
    rigi_instr instr;
    Span sram;
    uint64_t hbm_first, hbm_end;
  };

  /// An mma, or several along K, whose B [N, K] lies in HBM.
  struct Product {
    bool open = false;
    rigi_instr instr;  // the first one, with the depth of all; A is `a`
    const uint8_t* b;
    int64_t b_stride;
    Span c;
    std::vector<uint8_t> a;
  };

  static void rigi_execute(const rigi_instr& instr, CoreState& core);
  bool may_wait(const rigi_instr& i) const {
    return (i.op == RIGI_LOAD || i.op == RIGI_LOAD_MULTICAST) && uint64_t{i.rows} * i.cols >= least_;
  }
  void execute_among(const rigi_instr& instr, CoreState& core);
  void carry_out(size_t index, CoreState& core);
  void multiply(const rigi_instr& instr, const Span& c, const uint8_t* b, int64_t b_stride, CoreState& core);
  bool product_minds(const rigi_instr& instr, const Access& access) const;
  void finish_product(CoreState& core);

  uint64_t least_ = kNever;
  std::vector<Load> waiting_;  // no two share a byte of SRAM
  Product product_{};
};

}  // namespace rigi
