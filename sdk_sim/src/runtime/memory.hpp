// The HBM of one device.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "../timing/access.hpp"
#include "allocator.hpp"
#include "mapping.hpp"

namespace rigi {

/// Maps the whole HBM at first use, one host page at a time as it is touched, and hands out pieces of it. Thread-safe.
class Memory {
 public:
  Memory(int device, uint64_t bytes) : device_(device), bytes_(bytes) {}

  /// Throws Error(OUT_OF_MEMORY) with the figures.
  void* allocate(uint64_t bytes);
  /// Throws Error(INVALID_POINTER). Work submitted before may still use the block: `sequence` is the last such work.
  void release(void* pointer, uint64_t sequence);
  /// True once after each kPurge bytes released: time to call purge() from the queue.
  bool purge_due() { return purge_due_.load(std::memory_order_relaxed) && purge_due_.exchange(false); }
  /// Returns the host pages of large blocks to the host that were free before `sequence` was submitted.
  void purge(uint64_t sequence);

  /// While work of another device uses this memory, releases are held back.
  void pin();
  void unpin(uint64_t sequence);

  bool contains(const void* pointer) const {
    const uint8_t* base = base_.load(std::memory_order_acquire);
    return base != nullptr && static_cast<const uint8_t*>(pointer) - base >= 0 &&
           static_cast<uint64_t>(static_cast<const uint8_t*>(pointer) - base) < bytes_;
  }
  struct Range {
    uint8_t* base;
    uint64_t bytes;
  };
  /// The live allocation around a pointer that contains() accepts; throws Error(INVALID_POINTER).
  Range allocation(const void* pointer);
  uint64_t free_bytes();
  uint64_t total_bytes() const { return bytes_; }
  bool started() const { return base_.load(std::memory_order_acquire) != nullptr; }
  /// Where the HBM lies in the host's address space; maps it if need be.
  HbmRange range();

 private:
  static constexpr uint64_t kPurge = uint64_t{256} << 20;
  static constexpr uint64_t kPurgeBlock = uint64_t{1} << 20;

  void start();
  void release_now(uint64_t offset, uint64_t sequence);
  uint64_t check_start(void* pointer);

  const int device_;
  const uint64_t bytes_;
  std::atomic<uint8_t*> base_{nullptr};
  std::atomic<bool> purge_due_{false};
  std::mutex mutex_;
  Mapping mapping_;
  std::unique_ptr<Allocator> allocator_;
  uint64_t released_ = 0;  // bytes since the last purge
  int pins_ = 0;
  std::vector<uint64_t> held_;  // offsets of releases that wait for the last unpin
};

}  // namespace rigi
