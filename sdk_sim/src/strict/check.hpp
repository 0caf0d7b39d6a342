// Strict mode: holds every access of a launch against what was allocated, written and shared.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "../common.hpp"
#include "../runtime/memory.hpp"
#include "bits.hpp"
#include "findings.hpp"
#include "race.hpp"
#include "rigi_kernel.h"

namespace rigi {

/// One launch at a time. begin(), then for each phase the calls of the cores (from several threads for different cores) and
/// end_phase(), then end().
class Checker {
 public:
  Checker(const Chip& chip, Memory& memory, Findings& findings);

  /// `sequence` is the launch's in its device's queue. A kernel may use the allocations that its `arguments` point into; instructions as
  /// data (null) and kernels that are given no memory bring their own addresses and may use all. Fills the scratchpads with NaN; if `all`,
  /// not only what the last launch wrote.
  void begin(const char* kernel, const std::vector<rigi_word>* arguments, CoreState* cores, uint64_t sequence, bool all);
  /// A validated instruction that is about to be carried out. Throws Fault if it must not be.
  void instruction(const Site& site, const rigi_instr& instr);
  void scalar_load(const Site& site, uint64_t hbm, uint32_t bytes);
  void scalar_read(const Site& site, uint32_t sram, uint32_t bytes);
  /// A core stops in this phase.
  void stopped(const Site& site, const Fault& fault);
  /// All cores have reached the end of the phase, or stopped.
  void end_phase();
  /// Throws Fault with the first finding by phase, core and instruction, if there is one. `complete`: no core stopped.
  void end(bool complete);
  /// Adds a fault of the schedule, which is nobody's instruction, and throws as end() does.
  [[noreturn]] void refuse(const Fault& fault);

 private:
  struct Multicast {
    Site site;
    Span dst;
    uint64_t hbm;
    int64_t hbm_stride;
  };
  struct alignas(128) Core {
    std::unique_ptr<Bits> written;  // SRAM
    uint32_t top = 0;               // SRAM from here on was not written in this launch
    CoreLog log;
    std::vector<Finding> findings;
    size_t found = 0;  // more than findings.size() once that is full
    Memory::Block block{0, 0, 0, false};  // the allocation used last
    bool given = true;                    // whether the kernel may use that one
    std::vector<uint64_t> pointers;       // that the sequencer has read
    std::vector<Multicast> multicasts[3];
  };
  static constexpr size_t kMost = 100;  // findings of a launch

  void add(Core& core, Finding finding);
  void read_sram(const Site& site, Core& core, const Span& span, const char* operand, bool stop);
  void take(const Site& site, Core& core, const rigi_instr& i);
  void write_sram(Core& core, const Span& span);
  void use_hbm(const Site& site, Core& core, HbmUse::Kind kind, const rigi_instr& i);
  void use_hbm(Core& core, const HbmUse& use, const char* operand);
  bool inside(Core& core, uint64_t address, uint64_t bytes);
  bool given(const Core& core, const Memory::Block& block) const;
  void require_given(const Core& core, uint64_t address, uint64_t bytes, const char* operand) const;
  void check_written(Core& core, const HbmUse& use, const char* operand);
  void report_races();
  void check_multicasts(bool complete);
  [[noreturn]] void publish();

  const Chip& chip_;
  Memory& memory_;
  Findings& findings_;
  std::vector<Core> cores_;
  CoreState* states_ = nullptr;
  std::string kernel_;
  const std::vector<rigi_word>* arguments_ = nullptr;  // null if all memory may be used
  uint64_t sequence_ = 0;
};

}  // namespace rigi
