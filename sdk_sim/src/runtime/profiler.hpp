// A profile of one device: a line for each launch and copy, with what it belongs to, when it ran and where its cycles went.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "../output_file.hpp"
#include "../timing/profile.hpp"
#include "timeline.hpp"

namespace rigi {

/// Used by work in the device's queue only, so that ranges are in order with submissions.
class Profiler {
 public:
  /// `device` and `override_path` are for the first line.
  Profiler(std::unique_ptr<OutputFile> file, const Chip& chip, int device, std::string override_path)
      : file_(std::move(file)), chip_(chip), device_(device), override_path_(std::move(override_path)) {
    running.fetch_add(1, std::memory_order_relaxed);
  }
  ~Profiler() { running.fetch_sub(1, std::memory_order_relaxed); }
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Whether a range could end in a profile: what a push or pop costs otherwise is asking this.
  static bool any() { return running.load(std::memory_order_relaxed) != 0; }
  /// The library has read its environment, which may have asked for profiles.
  static void library_is_ready() { running.fetch_sub(1, std::memory_order_relaxed); }

  /// Whether the program of that number (Schedule::program()) has been described.
  bool knows(uint64_t program) const { return programs_.contains(program); }
  /// Describes the program of the launch that `schedule` finished last, once.
  void describe(Schedule& schedule);
  /// A launch of a program that is known, of so many cycles; the stream's clock has moved past it.
  void launch(const char* kernel, uint64_t program, const Stream& stream, uint64_t cycles);
  /// A launch in functional mode.
  void untimed();
  /// A copy; the stream's clock has moved past it.
  void copy(Transfer kind, uint64_t bytes, const Stream& stream, uint64_t cycles);
  void push(const Stream& stream, const std::string& kind, const std::string& name);
  /// Without a range to end (its push was before the profile) nothing happens.
  void pop(const Stream& stream);
  /// False if something could not be written.
  bool close() { return file_->close(); }

 private:
  void write(std::string line, int launches);
  void append_place(std::string& out, const Stream& stream, uint64_t cycles);

  static inline std::atomic<int> running{1};  // one stands for the library until it is ready

  const std::unique_ptr<OutputFile> file_;
  const Chip& chip_;
  const int device_;
  const std::string override_path_;
  bool begun_ = false, untimed_ = false;
  uint64_t sequence_ = 0, ranges_ = 0;
  std::unordered_map<uint64_t, uint64_t> programs_;                   // Schedule::program() -> its number in this profile
  std::unordered_map<uint64_t, std::vector<std::string>> ranges_of_;  // stream number -> for each open range the path down to it
};

}  // namespace rigi
