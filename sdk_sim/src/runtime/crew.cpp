#include "crew.hpp"

#include <chrono>
#include <stdexcept>
#include <thread>

#include "spin.hpp"

namespace rigi {
namespace {

constexpr std::chrono::microseconds kSpin{6};

}  // namespace

void TaskSet::publish(Function function, void* context, uint32_t first, uint32_t total) {
  function_ = function;
  context_ = context;
  finished_.store(first, std::memory_order_relaxed);
  const uint64_t generation = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  ticket_.store(generation << 32 | first << 16 | total, std::memory_order_release);
}

bool TaskSet::run_one() {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if ((ticket >> 16 & 0xffff) >= (ticket & 0xffff)) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket + (1U << 16), std::memory_order_acq_rel, std::memory_order_acquire));
  // From here until `finished_` reaches the total the owner stays with this generation.
  const auto total = static_cast<uint32_t>(ticket & 0xffff);
  function_(context_, static_cast<uint32_t>(ticket >> 16 & 0xffff));
  if (finished_.fetch_add(1, std::memory_order_acq_rel) + 1 == total) finished_.notify_one();
  return true;
}

void TaskSet::wait_finished() {
  const auto total = static_cast<uint32_t>(ticket_.load(std::memory_order_relaxed) & 0xffff);
  if (spin_until([&] { return finished_.load(std::memory_order_acquire) == total; }, kSpin)) return;
  for (;;) {
    const uint32_t finished = finished_.load(std::memory_order_acquire);
    if (finished == total) return;
    finished_.wait(finished, std::memory_order_acquire);
  }
}

void Crew::add(TaskSet* set) {
  const std::lock_guard lock(mutex_);
  const uint32_t n = num_sets_.load(std::memory_order_relaxed);
  if (n == kMostSets) throw std::logic_error("too many task sets");
  sets_[n] = set;
  num_sets_.store(n + 1, std::memory_order_release);
}

void Crew::call() {
  const uint32_t helpers = threads() - 1;
  if (helpers == 0) return;
  if (started_.load(std::memory_order_acquire) < helpers) {
    const std::lock_guard lock(mutex_);
    for (uint32_t h = started_.load(std::memory_order_relaxed); h < helpers; ++h) {
      std::thread([this, h] { loop(h); }).detach();  // lives as long as the process
      started_.store(h + 1, std::memory_order_release);
    }
  }
  calls_.fetch_add(1, std::memory_order_release);
  calls_.notify_all();
}

bool Crew::work_once() {
  const uint32_t n = num_sets_.load(std::memory_order_acquire);
  for (uint32_t s = 0; s < n; ++s) {
    if (sets_[s]->run_one()) return true;
  }
  return false;
}

void Crew::loop(uint32_t index) {
  for (;;) {
    const uint32_t calls = calls_.load(std::memory_order_acquire);
    const bool wanted = index + 1 < threads();
    if (wanted && spin_until([this] { return work_once(); }, kSpin)) continue;
    calls_.wait(calls, std::memory_order_acquire);
  }
}

}  // namespace rigi
