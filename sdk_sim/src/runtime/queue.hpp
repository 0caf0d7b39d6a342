// A device's submission queue and the thread that works it off.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace rigi {

/// One piece of submitted work. What it holds is released before it counts as completed.
class Work {
 public:
  virtual ~Work() = default;
  virtual void run() = 0;

 private:
  friend class Queue;
  Work* next_ = nullptr;
  uint64_t sequence_ = 0;
  unsigned how_ = 0;
};

/// Work in order of submission, one piece at a time, numbered 1, 2, ... A piece that throws makes the queue faulted: what
/// follows is skipped, except work marked kAlways, until reset(). Thread-safe.
class Queue {
 public:
  explicit Queue(int device) : device_(device) {}

  enum : unsigned { kAlways = 1, kOwnThread = 2 };
  /// Returns the sequence number. `body` runs later, in the queue's thread or in one that waits. With kAlways it also runs on a faulted
  /// device; with kOwnThread (it calls what is not ours) never in a waiting thread.
  template <typename Body>
  uint64_t submit(Body&& body, unsigned how = 0) {
    auto work = std::make_unique<WorkOf<std::decay_t<Body>>>(std::forward<Body>(body));
    return push(std::move(work), how);
  }
  /// Runs `body` in its turn and returns when it is done; at once in this thread if nothing is ahead of it.
  template <typename Body>
  void submit_and_wait(Body&& body) {
    refuse_in_work();
    if (const uint64_t sequence = begin_inline(); sequence != 0) {
      WorkOf<std::decay_t<Body>> work(std::forward<Body>(body));
      execute(work, sequence, false);
      end_inline(sequence);
    } else {
      wait(submit(std::forward<Body>(body)));
    }
  }

  /// Returns when everything up to `sequence` is completed. Throws Error in a host function, whichever device's: what two devices run
  /// could wait for each other.
  void wait(uint64_t sequence) {
    refuse_in_work();
    wait_in_work(sequence);
  }
  /// The same for work of another queue that waits for what was submitted before itself, so that waits form no circle.
  void wait_in_work(uint64_t sequence);
  void synchronize() { wait(submitted()); }
  bool done(uint64_t sequence) const { return completed_.load(std::memory_order_acquire) >= sequence; }
  uint64_t completed() const { return completed_.load(std::memory_order_acquire); }
  uint64_t submitted() const { return submitted_.load(std::memory_order_acquire); }

  /// Throws Error(KERNEL_FAULT) with the sticky text if the queue is faulted.
  void check() const {
    if (faulted_.load(std::memory_order_acquire)) throw_fault();
  }
  /// Skips what has been submitted, waits for what is running, and clears the fault.
  void reset();
  /// At process exit: finishes the piece in hand, drops the rest. Waits a bounded time.
  void stop();
  /// Whether this thread runs work of some queue just now.
  static bool in_work();

 private:
  template <typename Body>
  class WorkOf final : public Work {
   public:
    explicit WorkOf(Body body) : body_(std::move(body)) {}
    void run() override { body_(); }

   private:
    Body body_;
  };

  uint64_t push(std::unique_ptr<Work> work, unsigned how);
  uint64_t begin_inline();
  void end_inline(uint64_t sequence);
  void execute(Work& work, uint64_t sequence, bool always);
  void complete(uint64_t sequence);
  void wake_worker();
  void loop();
  void run_first(std::unique_lock<std::mutex>& lock);
  static void refuse_in_work();
  [[noreturn]] void throw_fault() const;

  const int device_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;   // for the worker
  std::condition_variable progress_;  // for those who wait
  Work* first_ = nullptr;
  Work* last_ = nullptr;
  bool started_ = false, running_ = false, sleeping_ = false, stopping_ = false;
  std::atomic<uint64_t> submitted_{0}, completed_{0};
  std::atomic<uint64_t> awaited_{UINT64_MAX};  // the smallest sequence somebody sleeps for
  std::atomic<uint64_t> skip_until_{0};
  std::atomic<bool> faulted_{false};
  std::string fault_;            // under mutex_
  uint64_t fault_sequence_ = 0;  // of the work that made it, under mutex_
};

}  // namespace rigi
