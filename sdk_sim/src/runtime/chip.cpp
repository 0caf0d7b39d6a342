// Reads chip files: the part of TOML that chips/*.toml use (sections, strings, unsigned integers, comments).
#include <dlfcn.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "chip.hpp"

namespace rigi {
namespace {

struct Field {
  const char* key;  // "section.name"
  std::string Chip::* text = nullptr;
  uint32_t Chip::* u32 = nullptr;
  uint64_t Chip::* u64 = nullptr;
};

constexpr Field text(const char* key, std::string Chip::* member) { return {key, member, nullptr, nullptr}; }
constexpr Field u32(const char* key, uint32_t Chip::* member) { return {key, nullptr, member, nullptr}; }
constexpr Field u64(const char* key, uint64_t Chip::* member) { return {key, nullptr, nullptr, member}; }

constexpr Field kFields[] = {
    text("name", &Chip::name),
    text("revision", &Chip::revision),
    u64("clock.hz", &Chip::clock_hz),
    u32("grid.rows", &Chip::grid_rows),
    u32("grid.cols", &Chip::grid_cols),
    u32("sram.bytes", &Chip::sram_bytes),
    u32("sram.line_bytes", &Chip::line_bytes),
    u32("matrix.k_16bit", &Chip::matrix_k16),
    u32("matrix.k_8bit", &Chip::matrix_k8),
    u32("matrix.n", &Chip::matrix_n),
    u32("matrix.min_m", &Chip::matrix_min_m),
    u32("matrix.latency", &Chip::matrix_latency),
    u32("vector.lanes", &Chip::vector_lanes),
    u32("vector.setup", &Chip::vector_setup),
    u32("vector.latency", &Chip::vector_latency),
    u32("vector.row_pad", &Chip::vector_row_pad),
    u32("vector.passes_div", &Chip::passes_div),
    u32("vector.passes_transpose", &Chip::passes_transpose),
    u32("activation.lanes", &Chip::act_lanes),
    u32("activation.setup", &Chip::act_setup),
    u32("activation.latency", &Chip::act_latency),
    u32("activation.row_pad", &Chip::act_row_pad),
    u32("dma.bytes_per_cycle", &Chip::dma_bytes_per_cycle),
    u32("dma.setup", &Chip::dma_setup),
    u32("dma.cycles_per_index", &Chip::dma_cycles_per_index),
    u32("dma.latency", &Chip::dma_latency),
    u32("dma.send_latency", &Chip::send_latency),
    u64("hbm.bytes", &Chip::hbm_bytes),
    u32("hbm.bytes_per_cycle", &Chip::hbm_bytes_per_cycle),
    u32("hbm.burst_bytes", &Chip::hbm_burst),
    u32("scalar.load_miss", &Chip::scalar_load_miss),
    u32("scalar.load_hit", &Chip::scalar_load_hit),
    u32("scalar.read", &Chip::scalar_read),
    u32("sequencer.queue_depth", &Chip::queue_depth),
    u32("launch.host", &Chip::launch_host),
    u32("launch.graph", &Chip::launch_graph),
    u32("launch.barrier", &Chip::barrier),
    u64("link.chip_bytes_per_s", &Chip::chip_link_bytes_per_s),
    u32("link.chip_latency", &Chip::chip_link_latency),
    u64("link.host_bytes_per_s", &Chip::host_link_bytes_per_s),
    u32("link.host_latency", &Chip::host_link_latency),
};

// Latencies and setups may be 0; rates, sizes and counts may not.
bool may_be_zero(const std::string& key) {
  for (const char* part : {"latency", "setup", "cycles_per_index", "scalar.", "launch."}) {
    if (key.find(part) != std::string::npos) return true;
  }
  return false;
}

std::string trim(const std::string& s) {
  const size_t first = s.find_first_not_of(" \t\r");
  if (first == std::string::npos) return "";
  return s.substr(first, s.find_last_not_of(" \t\r") - first + 1);
}

// Cuts a comment off, unless the '#' is inside a string.
std::string without_comment(const std::string& line) {
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') quoted = !quoted;
    if (line[i] == '#' && !quoted) return line.substr(0, i);
  }
  return line;
}

class Reader {
 public:
  Reader(std::string path, Chip* chip) : path_(std::move(path)), chip_(chip) {}

  void read() {
    std::ifstream file(path_);
    if (!file) throw std::runtime_error("chip file " + path_ + ": cannot be opened: " + std::strerror(errno));
    for (std::string line; std::getline(file, line);) {
      ++line_;
      const std::string statement = trim(without_comment(line));
      if (!statement.empty()) read_statement(statement);
    }
    if (file.bad() || line_ == 0) throw std::runtime_error("chip file " + path_ + ": cannot be read, or is empty");
  }

  /// Every key of the chip must have been read.
  void check_complete() const {
    std::string missing;
    for (const Field& field : kFields) {
      if (!seen_.contains(field.key)) missing += (missing.empty() ? "" : ", ") + std::string(field.key);
    }
    if (!missing.empty()) throw std::runtime_error("chip file " + path_ + ": missing " + missing);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("chip file " + path_ + ", line " + std::to_string(line_) + ": " + what);
  }

  void read_statement(const std::string& statement) {
    if (statement.front() == '[') {
      if (statement.back() != ']') fail("a section is written [name], not '" + statement + "'");
      section_ = trim(statement.substr(1, statement.size() - 2));
      return;
    }
    const size_t equals = statement.find('=');
    if (equals == std::string::npos) fail("expected key = value, found '" + statement + "'");
    const std::string name = trim(statement.substr(0, equals));
    const std::string key = section_.empty() ? name : section_ + "." + name;
    const std::string value = trim(statement.substr(equals + 1));
    for (const Field& field : kFields) {
      if (key != field.key) continue;
      if (!seen_.insert(key).second) fail("'" + key + "' is given twice");
      if (field.text != nullptr) {
        chip_->*field.text = read_string(key, value);
      } else if (field.u32 != nullptr) {
        chip_->*field.u32 = static_cast<uint32_t>(read_number(key, value, UINT32_MAX));
      } else {
        chip_->*field.u64 = read_number(key, value, uint64_t{1} << 46);
      }
      return;
    }
    fail("unknown key '" + key + "'");
  }

  std::string read_string(const std::string& key, const std::string& value) const {
    if (value.size() < 3 || value.front() != '"' || value.back() != '"' || value.size() > 17) {
      fail("'" + key + "' must be a string of 1 to 15 characters in double quotes, not " + value);
    }
    return value.substr(1, value.size() - 2);
  }

  uint64_t read_number(const std::string& key, const std::string& value, uint64_t most) const {
    std::string digits;
    for (size_t i = 0; i < value.size(); ++i) {
      const bool between_digits = i > 0 && i + 1 < value.size() && value[i - 1] != '_';
      if (value[i] != '_' || !between_digits) digits += value[i];
    }
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size() || digits.empty()) {
      fail("'" + key + "' must be a whole number, not '" + value + "'");
    }
    if (number > most || (number == 0 && !may_be_zero(key))) {
      fail("'" + key + "' = " + value + " is out of range: " + (may_be_zero(key) ? "0 to " : "1 to ") + std::to_string(most));
    }
    return number;
  }

  std::string path_;
  Chip* chip_;
  std::string section_;
  int line_ = 0;
  std::set<std::string> seen_;
};

void check(const Chip& chip) {
  const auto require = [&](bool ok, const std::string& what) {
    if (!ok) throw std::runtime_error("chip file " + chip.path + ": " + what);
  };
  require(chip.grid_rows <= 16 && chip.grid_cols <= 16, "grid.rows and grid.cols may be at most 16");
  require(chip.line_bytes == 64, "sram.line_bytes must be 64: instructions are encoded for lines of that size");
  require(chip.sram_bytes % chip.line_bytes == 0 && chip.sram_bytes <= (1U << 30), "sram.bytes must be a multiple of 64 and at most 1 GiB");
  require(chip.hbm_bytes % (uint64_t{2} << 20) == 0 && chip.hbm_bytes <= (uint64_t{1} << 40),
          "hbm.bytes must be a multiple of 2 MiB, at most 1 TiB");
}

}  // namespace

Chip load_chip(const std::string& path) {
  Chip chip;
  chip.path = path;
  Reader reader(path, &chip);
  reader.read();
  reader.check_complete();
  check(chip);
  return chip;
}

Chip load_chip_with_override(const std::string& path, const std::string& override_path) {
  Chip chip = load_chip(path);
  chip.path = override_path;
  Reader(override_path, &chip).read();
  check(chip);
  return chip;
}

std::string builtin_chip_path() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&builtin_chip_path), &info) == 0 || info.dli_fname == nullptr) {
    throw std::runtime_error("the place of librigi.so is unknown, and so is that of its chip file; name one with RIGI_CHIP");
  }
  std::error_code ignored;
  const std::filesystem::path library = std::filesystem::canonical(info.dli_fname, ignored);
  return (library.parent_path().parent_path() / "chips" / "rigi1.toml").string();
}

}  // namespace rigi
