// The sixteen cores of a device while they run a kernel.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../common.hpp"
#include "../strict/check.hpp"
#include "../timing/schedule.hpp"
#include "crew.hpp"
#include "lazy.hpp"
#include "mapping.hpp"
#include "origins.hpp"
#include "rigi_kernel.h"

namespace rigi {

/// What a launch runs: a name and, for each phase, what a core does in it.
class Program {
 public:
  virtual ~Program() = default;
  virtual const char* name() const = 0;
  virtual uint32_t phases() const = 0;
  /// Of a kernel; null for instructions as data.
  virtual const std::vector<rigi_word>* arguments() const { return nullptr; }
  /// Issues the instructions of one core. Called from several threads for different cores.
  virtual void run(uint32_t phase, rigi_core* core) const = 0;

  /// The last launch of this very object, arguments and all. `always`: it read no scalar, so every launch at this cost takes as long.
  /// `scalars`: it does so without data while these are unchanged; with data they may be computed in the launch.
  struct Known {
    bool always = false;
    uint32_t launch_cost = 0;
    uint64_t cycles = 0;
    uint64_t schedule = 0;  // Schedule::program()
    std::optional<std::vector<ScalarFromHbm>> scalars;

    bool holds(uint32_t cost, bool data) const {
      if (launch_cost != cost) return false;
      return always || (!data && scalars && std::all_of(scalars->begin(), scalars->end(), unchanged));
    }
  };
  mutable Known known;
};

/// Owns the scratchpads. Runs one program at a time, in the thread of the device's queue and in helpers.
class Cores {
 public:
  Cores(const Chip& chip, Crew& crew, HbmRange hbm);

  /// Carries out the program. With `schedule` (begun by the caller) its instructions are recorded there too; the last
  /// barrier is left to Schedule::finish(). Without `data` they are checked and recorded only, and scalars read from SRAM are 0 unless a
  /// load brought them. Throws Fault for the first fault by phase, then core, then instruction.
  /// With `checker` accesses are checked first; `sequence` is the launch's in the device's queue.
  void run(const Program& program, Schedule* schedule, bool data, Checker* checker = nullptr, uint64_t sequence = 0);

  /// After a run without `data`: the scalars that it read, if they are few enough to be looked at again.
  std::optional<std::vector<ScalarFromHbm>> scalars() const;

 private:
  struct alignas(128) Context {
    rigi_core core;
    Cores* owner;
    CoreState* state;
    Schedule* schedule;
    Checker* checker;
    uint32_t index;   // instructions issued, scalar accesses and barriers included
    uint32_t line;    // of the source, of the current instruction
    const char* op;   // the current instruction's
    int64_t* budget;  // see charge()
    Origins origins;  // without data, as are the scalars
    std::vector<ScalarFromHbm> scalars;
    LazyLoads loads;
    bool faulted;
    std::string fault;
  };

  static void issue(void* state, const rigi_instr* instr);
  static uint64_t scalar_load(void* state, uint64_t hbm, uint32_t bytes);
  static uint64_t scalar_read(void* state, uint32_t sram, uint32_t bytes);
  static uint64_t noted(Context& context, uint64_t hbm, uint32_t bytes);
  void run_cores();
  static void run_shared(void* cores, uint32_t core);
  void run_core(uint32_t core, int64_t& budget);
  void charge(const Context& context, const rigi_instr& instr);
  void throw_first_fault(uint32_t phase) const;
  Site site(const Context& context) const;

  const Chip& chip_;
  Crew& crew_;
  const HbmRange hbm_;
  const uint64_t least_lazy_ = LazyLoads::least_by_default();
  Mapping sram_;
  std::vector<CoreState> states_;
  std::unique_ptr<Context[]> contexts_;
  TaskSet tasks_;
  // The launch in hand.
  const Program* program_ = nullptr;
  uint32_t phase_ = 0;
  bool data_ = true;
  int64_t budget_ = 0;
  bool shared_ = false;    // the cores not begun yet are in `tasks_`
  bool poisoned_ = false;  // by the last launch's checker
};

}  // namespace rigi
