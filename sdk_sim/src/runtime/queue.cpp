#include "queue.hpp"

#include <chrono>
#include <thread>

#include "log.hpp"
#include "spin.hpp"
#include "status.hpp"

namespace rigi {
namespace {

using std::chrono::microseconds;

constexpr uint64_t kMostPending = uint64_t{1} << 16;
thread_local bool working = false;  // on a piece of some queue

}  // namespace

bool Queue::in_work() { return working; }

void Queue::refuse_in_work() {
  if (in_work()) throw Error(RIGI_ERROR_INVALID_VALUE, "a host function cannot wait for a device; wait in the thread that launched it");
}

void Queue::throw_fault() const {
  const std::lock_guard lock(mutex_);
  const uint64_t since = submitted() - fault_sequence_;
  throw Error(RIGI_ERROR_KERNEL_FAULT, "an earlier launch faulted: " + fault_ + " (" +
                                           (since == 0 ? "the last work" : std::to_string(since) + " pieces of work before the last") +
                                           " submitted to device " + std::to_string(device_) +
                                           ", which refuses work until rigiDeviceReset)");
}

uint64_t Queue::push(std::unique_ptr<Work> work, unsigned how) {
  // A submitter that runs far ahead waits, so that queued work cannot fill the host's memory.
  if (const uint64_t ahead = submitted(); !in_work() && ahead > kMostPending && !done(ahead - kMostPending)) wait(ahead - kMostPending / 2);
  std::unique_lock lock(mutex_);
  if (stopping_) throw Error(RIGI_ERROR_INTERNAL, "the process is exiting; no more work is accepted");
  if (!started_) {
    std::thread([this] { loop(); }).detach();  // lives as long as the process, see stop()
    started_ = true;
  }
  const uint64_t sequence = submitted_.load(std::memory_order_relaxed) + 1;
  submitted_.store(sequence, std::memory_order_release);
  work->sequence_ = sequence;
  work->how_ = how;
  (first_ == nullptr ? first_ : last_->next_) = work.get();
  last_ = work.release();
  const bool wake = sleeping_ && !running_;
  lock.unlock();
  if (wake) arrived_.notify_one();
  return sequence;
}

void Queue::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (first_ == nullptr && !stopping_) {
      // Launches mostly come in bursts: look a little longer before going to sleep.
      const uint64_t seen = submitted_.load(std::memory_order_relaxed);
      lock.unlock();
      const bool news = spin_until([&] { return submitted_.load(std::memory_order_relaxed) != seen; }, microseconds(10));
      lock.lock();
      if (news && first_ == nullptr) continue;  // who waits for it did it
    }
    sleeping_ = true;
    arrived_.wait(lock, [this] { return stopping_ || (first_ != nullptr && !running_); });
    sleeping_ = false;
    if (stopping_) return;
    run_first(lock);
  }
}

// Called with the mutex held, while nothing runs.
void Queue::run_first(std::unique_lock<std::mutex>& lock) {
  std::unique_ptr<Work> work(first_);
  first_ = work->next_;
  running_ = true;
  lock.unlock();
  const uint64_t sequence = work->sequence_;
  execute(*work, sequence, (work->how_ & kAlways) != 0);
  work.reset();
  lock.lock();
  running_ = false;
  complete(sequence);
}

void Queue::execute(Work& work, uint64_t sequence, bool always) {
  if (!always && (faulted_.load(std::memory_order_relaxed) || sequence <= skip_until_.load(std::memory_order_relaxed))) return;
  working = true;
  std::string text;
  try {
    work.run();
  } catch (const std::exception& error) {
    text = error.what();
  } catch (...) {
    text = "an exception that is no std::exception";
  }
  working = false;
  if (text.empty()) return;
  const std::lock_guard lock(mutex_);
  if (faulted_.load(std::memory_order_relaxed)) return;
  fault_ = text;
  fault_sequence_ = sequence;
  log(Log::Failures, "device %d faulted: %s", device_, text.c_str());
  faulted_.store(true, std::memory_order_release);
}

// Called with the mutex held.
void Queue::complete(uint64_t sequence) {
  completed_.store(sequence, std::memory_order_release);
  if (stopping_ || sequence >= awaited_.load(std::memory_order_relaxed)) {
    awaited_.store(UINT64_MAX, std::memory_order_relaxed);
    progress_.notify_all();
  }
}

uint64_t Queue::begin_inline() {
  const std::lock_guard lock(mutex_);
  if (first_ != nullptr || running_ || stopping_) return 0;
  running_ = true;
  const uint64_t sequence = submitted_.load(std::memory_order_relaxed) + 1;
  submitted_.store(sequence, std::memory_order_release);
  return sequence;
}

void Queue::end_inline(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  running_ = false;
  complete(sequence);
  wake_worker();
}

// Waking another thread takes longer than many a launch, so who has to wait does the work itself if nobody is at it.
void Queue::wait_in_work(uint64_t sequence) {
  if (done(sequence)) return;
  std::unique_lock lock(mutex_);
  while (!done(sequence)) {
    if (stopping_) throw Error(RIGI_ERROR_INTERNAL, "the process is exiting; queued work was dropped");
    if (!running_ && first_ != nullptr && (first_->how_ & kOwnThread) == 0 && !in_work()) {
      run_first(lock);
      continue;
    }
    lock.unlock();
    spin_until([&] { return done(sequence); }, microseconds(3));
    lock.lock();
    if (done(sequence)) continue;  // asked with the mutex held: what completes from here on sees `awaited_`
    wake_worker();
    if (sequence < awaited_.load(std::memory_order_relaxed)) awaited_.store(sequence, std::memory_order_relaxed);
    progress_.wait(lock);
  }
  wake_worker();
}

// Called with the mutex held by a thread that will run nothing more.
void Queue::wake_worker() {
  if (first_ != nullptr && sleeping_ && !running_) arrived_.notify_one();
}

void Queue::reset() {
  const uint64_t last = submitted();
  skip_until_.store(last, std::memory_order_relaxed);
  wait(last);
  const std::lock_guard lock(mutex_);
  faulted_.store(false, std::memory_order_release);
  fault_.clear();
}

void Queue::stop() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  arrived_.notify_all();
  progress_.notify_all();
  progress_.wait_for(lock, std::chrono::seconds(2), [this] { return !running_; });
}

}  // namespace rigi
