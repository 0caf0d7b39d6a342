// The host threads that help the devices' own threads to run cores.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace rigi {

/// A set of independent tasks that one owner runs, with the help of whoever is free. Used again and again.
class alignas(64) TaskSet {
 public:
  using Function = void (*)(void* context, uint32_t task);

  /// Makes the tasks from `first` up to `total` visible to helpers. At most 65535.
  void publish(Function function, void* context, uint32_t first, uint32_t total);
  /// Takes and runs one task, if any is left.
  bool run_one();
  /// Returns when all tasks are finished. Called by the owner once no task is left.
  void wait_finished();

 private:
  // generation (32 bits), next task (16), total (16): a helper that comes late fails to take a ticket and touches nothing.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<uint32_t> finished_{0};
  Function function_ = nullptr;
  void* context_ = nullptr;
};

/// Helper threads shared by all devices of the process. Started when first called for; they sleep while there is nothing to do.
class Crew {
 public:
  explicit Crew(uint32_t threads) : threads_(threads) {}

  /// Called before any helper may run; `sets` stay for the life of the process.
  void add(TaskSet* set);
  /// Host threads that run the cores of one launch, the device's own included: 1..64.
  void set_threads(uint32_t threads) { threads_.store(threads, std::memory_order_relaxed); }
  uint32_t threads() const { return threads_.load(std::memory_order_relaxed); }
  /// Wakes the helpers: some set has enough work left.
  void call();

 private:
  void loop(uint32_t index);
  bool work_once();

  static constexpr uint32_t kMostSets = 64;
  std::atomic<uint32_t> threads_;
  std::atomic<uint32_t> started_{0};
  std::atomic<uint32_t> calls_{0};
  std::mutex mutex_;
  std::atomic<uint32_t> num_sets_{0};
  TaskSet* sets_[kMostSets] = {};
};

}  // namespace rigi
