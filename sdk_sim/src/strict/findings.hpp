// What strict mode found wrong with a program.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace rigi {

/// An instruction as it was issued.
struct Site {
  uint32_t core = 0, phase = 0;
  uint32_t index = 0;  // in the core's program, through all phases, scalar accesses and barriers included
  uint32_t line = 0;   // of the source, 0 if unknown
  const char* op = "";
};

struct Finding {
  const char* kind;  // "uninitialized", "out_of_bounds", "use_after_free", "misaligned", "race", "multicast" or "invalid"
  Site site;
  const char* operand;  // "dst", "a", "b", "c", "hbm", "scalar" or ""
  std::string text;
};

/// "core 3, phase 0, instruction 12 (load)"
std::string describe(const Site& site);
/// The findings of a device until somebody takes them. Thread-safe.
class Findings {
 public:
  void add(const std::string& kernel, const std::vector<Finding>& found);
  /// As a JSON array; forgets them.
  std::string take();

 private:
  static constexpr size_t kMost = 10000;
  std::mutex mutex_;
  std::vector<std::string> json_;
};

}  // namespace rigi
