#include "bounds.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

namespace rigi_torch {
namespace {

constexpr size_t kMostBytes = size_t{64} << 10;  // of records on one device

struct Op {
  std::string name;
  std::vector<IndexArgument> arguments;
  int columns;
  IndexRecord* records;

  size_t bytes() const { return (1 + arguments.size()) * columns * sizeof(IndexRecord); }
  IndexRecord* first() const { return records + columns; }
  IndexRecord* end() const { return first() + arguments.size() * columns; }
};

class Records {
 public:
  IndexRecord* of(c10::DeviceIndex device, const std::string& name, const std::vector<IndexArgument>& arguments, int columns) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Op& op : ops_)
      if (op.name == name) return op.records;
    if (memory_ == nullptr) start(device);
    Op op{name, arguments, columns, reinterpret_cast<IndexRecord*>(memory_ + used_)};
    TORCH_CHECK(used_ + op.bytes() <= kMostBytes, "rigi: no room for records of indices outside: there are too many ops that take indices");
    used_ += op.bytes();
    ops_.push_back(op);
    return op.records;
  }

  void check(c10::DeviceIndex device) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (std::none_of(ops_.begin(), ops_.end(), [](const Op& op) { return any(op); })) return;
    rigi_torch::check(rigiDeviceSynchronize(device), "rigiDeviceSynchronize");  // records may just be on their way
    const std::string text = describe();
    clear();
    TORCH_CHECK_INDEX(false, text);
  }

  /// The process ends, and nobody will wait for the device any more.
  void end(c10::DeviceIndex device) {
    if (memory_ == nullptr) return;
    rigiDeviceSynchronize(device);
    const std::string text = describe();
    if (!text.empty()) std::fprintf(stderr, "rigi: at exit, nobody waited for rigi:%d since: %s\n", static_cast<int>(device), text.c_str());
    rigiFree(std::exchange(memory_, nullptr));
  }

  void forget() {
    const std::lock_guard<std::mutex> lock(mutex_);
    clear();
  }

 private:
  static bool any(const Op& op) {
    return std::any_of(op.first(), op.end(), [](const IndexRecord& r) { return __atomic_load_n(&r.size, __ATOMIC_RELAXED) != 0; });
  }

  /// All ops with records; empty: none.
  std::string describe() const {
    std::string text;
    for (const Op& op : ops_)
      if (any(op)) text += (text.empty() ? "" : "; and ") + describe(op);
    return text;
  }

  /// The first argument with a record, and of the cores the lowest.
  static std::string describe(const Op& op) {
    const IndexRecord* record = std::find_if(op.first(), op.end(), [](const IndexRecord& r) { return r.size != 0; });
    const IndexArgument& argument = op.arguments[(record - op.first()) / op.columns];
    const bool narrow = op.columns == kProgramColumns && (record - op.first()) % op.columns == kInt32Column;
    const int64_t index = narrow ? record->low : static_cast<int64_t>(record->high) << 32 | static_cast<uint32_t>(record->low);
    return describe_index(op.name, argument, index, record->size);
  }

  void start(c10::DeviceIndex device) {
    void* memory = nullptr;
    rigi_torch::check(rigiMalloc(device, kMostBytes, &memory), "rigiMalloc");
    rigi_torch::check(rigiDeviceSynchronize(device), "rigiDeviceSynchronize");  // queued work may still use memory that was freed
    memory_ = static_cast<char*>(memory);
    clear();
    rigi_torch::check(rigiMemMarkWritten(memory_, kMostBytes), "rigiMemMarkWritten");
  }

  void clear() {
    if (memory_ != nullptr) std::memset(memory_, 0, kMostBytes);
  }

  std::mutex mutex_;
  std::vector<Op> ops_;
  char* memory_ = nullptr;
  size_t used_ = 0;
};

std::array<Records, kMaxDevices>& records() {
  static auto* all = [] {
    // Before the SDK's own handler, which in strict mode lists what is still allocated.
    std::atexit([] {
      if (in_bad_fork()) return;
      for (c10::DeviceIndex device = 0; device < device_count(); device++) records()[device].end(device);
    });
    return new std::array<Records, kMaxDevices>;
  }();
  return *all;
}

}  // namespace

IndexRecord* index_records(c10::DeviceIndex device, const std::string& op, const std::vector<IndexArgument>& arguments, int columns) {
  return records()[device].of(device, op, arguments, columns);
}

void check_indices(c10::DeviceIndex device) { records()[device].check(device); }

void check_indices() {
  for (c10::DeviceIndex device = 0; device < device_count(); device++) check_indices(device);
}

void forget_indices(c10::DeviceIndex device) { records()[device].forget(); }

std::string describe_index(const std::string& op, const IndexArgument& argument, int64_t index, int64_t size) {
  return c10::str(op, ": index ", index, " in '", argument.name, "' is out of bounds for ", argument.indexed, " with size ", size,
                  "; allowed: ", argument.wraps ? -size : 0, " to ", argument.includes_size ? size : size - 1);
}

}  // namespace rigi_torch
