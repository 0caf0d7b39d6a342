// The HBM of one device.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../strict/bits.hpp"
#include "../timing/access.hpp"
#include "allocator.hpp"
#include "mapping.hpp"

namespace rigi {

/// Maps the whole HBM at first use, one host page at a time as it is touched, and hands out pieces of it. Thread-safe.
class Memory {
 public:
  Memory(int device, uint64_t bytes) : device_(device), bytes_(bytes) {}

  /// Throws Error(OUT_OF_MEMORY) with the figures. `done` is the last completed work of the device.
  void* allocate(uint64_t bytes, uint64_t done);
  /// Throws Error(INVALID_POINTER). Work submitted before may still use the block: `sequence` is the last such work.
  void release(void* pointer, uint64_t sequence, uint64_t done);
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

  // ---- strict mode. What is allocated while it is on is watched: its bytes count as written once somebody has written them. What is
  // freed goes through a quarantine before it is handed out again.
  void watch(bool on);
  bool watching() const { return watching_.load(std::memory_order_acquire); }
  struct Block {
    uint64_t address, bytes, number;
    bool watched;
  };
  /// The allocation that holds `address` and was not freed before `sequence` was submitted.
  std::optional<Block> live(uint64_t address, uint64_t sequence);
  /// Says in words where `bytes` at `address` are that do not lie inside one live allocation, and the finding's kind.
  std::pair<const char*, std::string> misplaced(uint64_t address, uint64_t bytes, uint64_t sequence);
  /// "allocation 3 (4096 bytes) + 128"
  std::string place(uint64_t address);
  /// The first byte in [address, address + bytes), inside one allocation, that nobody has written; its end if there is none.
  uint64_t first_unwritten(uint64_t address, uint64_t bytes) const;
  void wrote(const void* pointer, uint64_t bytes) {
    if (watching()) mark_written(pointer, bytes);
  }
  /// `bytes` at `to` are now as written as those at `source` of `from`.
  void copied(const void* to, Memory& from, const void* source, uint64_t bytes);
  /// Live allocations, oldest first.
  std::vector<Block> allocations();
  uint64_t total_bytes() const { return bytes_; }
  bool started() const { return base_.load(std::memory_order_acquire) != nullptr; }
  /// Where the HBM lies in the host's address space; maps it if need be.
  HbmRange range();

 private:
  static constexpr uint64_t kPurge = uint64_t{256} << 20;
  static constexpr uint64_t kPurgeBlock = uint64_t{1} << 20;

  static constexpr uint64_t kQuarantine = uint64_t{1} << 30;
  static constexpr uint64_t kLeastGuard = uint64_t{4} << 10, kMostGuard = uint64_t{1} << 20;
  struct Held {
    uint64_t offset, bytes, sequence;
  };

  void start();
  void evict(uint64_t most, uint64_t done);
  void mark_written(const void* pointer, uint64_t bytes);
  void mark(uint64_t offset, uint64_t end, bool written);
  uint64_t offset_of(const void* pointer) const { return static_cast<uint64_t>(static_cast<const uint8_t*>(pointer) - mapping_.data()); }
  Block public_block(const Allocator::Block& block) const;
  void release_now(uint64_t offset, uint64_t sequence);
  Allocator::Block check_start(void* pointer);

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
  std::atomic<bool> watching_{false};
  std::unique_ptr<Bits> written_;  // a bit for each byte of the HBM; of meaning in watched allocations
  std::deque<Held> quarantine_;    // oldest first
};

}  // namespace rigi
