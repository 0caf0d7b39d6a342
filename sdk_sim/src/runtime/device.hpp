// One emulated chip: its memory, its queue, its cores, its clocks and what it counts.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "../common.hpp"
#include "../strict/check.hpp"
#include "../timing/schedule.hpp"
#include "cores.hpp"
#include "memory.hpp"
#include "profiler.hpp"
#include "queue.hpp"
#include "rigi.h"
#include "timeline.hpp"

namespace rigi {

struct Run;

class Device {
 public:
  Device(int number, const Chip& figures, Crew& helpers, rigiMode first_mode)
      : id(number), chip(figures), memory(number, figures.hbm_bytes), queue(number), mode(first_mode), crew_(helpers), timeline_(figures) {
    set_mode(first_mode);
  }

  const int id;
  const Chip& chip;
  Memory memory;
  Queue queue;
  std::atomic<rigiMode> mode;
  Findings findings;

  /// Puts work into the queue that `stream` is to wait for. Throws if the device is faulted. `body` gets no arguments.
  template <typename Body>
  void submit(Stream& stream, Body&& body, unsigned how = 0) {
    queue.check();
    stream.submitted(queue.submit(std::forward<Body>(body), how));
  }
  /// Whether this device has memory or threads: a forked child could not use it.
  bool started() const { return memory.started() || queue.submitted() != 0; }
  void* allocate(uint64_t bytes);
  void free(void* pointer);
  /// For work submitted from now on. Waits for what runs when strict mode is left.
  void set_mode(rigiMode next);

  // ---- the rest is called by work in the queue only
  void launch(const Program& program, const Run& run);
  void account(const Run& run, Transfer kind, uint64_t bytes);
  /// Returns the statistics as JSON and starts them anew.
  std::string take_statistics();
  void trace_to(std::unique_ptr<OutputFile> file);
  /// False if something could not be written. Without a trace: true.
  bool stop_trace();
  void profile_with(std::unique_ptr<Profiler> profiler);
  bool stop_profile();
  Profiler* profiler() { return profiler_.get(); }

 private:
  struct Count {
    uint64_t number = 0, cycles = 0, bytes = 0;
  };

  uint64_t cycles_of(const Program& program, const Run& run);

  Crew& crew_;
  Timeline timeline_;
  std::unique_ptr<Cores> cores_;
  std::unique_ptr<Schedule> schedule_;
  std::unique_ptr<Checker> checker_;
  std::map<std::string, Count, std::less<>> kernels_;
  Count transfers_[kTransfers];
  std::unique_ptr<OutputFile> trace_;
  uint64_t traced_ = 0;
  std::unique_ptr<Profiler> profiler_;
};

}  // namespace rigi
