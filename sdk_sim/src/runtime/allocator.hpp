// Which bytes of a device's HBM are in use. Knows offsets only; never touches the memory it manages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "mapping.hpp"

namespace rigi {

/// Two-level segregated fit (Masmano et al., "TLSF", ECRTS 2004) over granules of 256 bytes: allocation and release take
/// constant time and neighbouring free blocks always merge. Bookkeeping lies outside the managed memory, where no kernel can
/// damage it. Not thread-safe.
class Allocator {
 public:
  static constexpr uint64_t kGranule = 256;
  struct Block {
    uint64_t offset, bytes;
    uint64_t number;  // counts allocations from 1
    uint64_t stamp;   // of its release, if only marked as released
    bool released;    // mark_released() was called for it
    bool watched;     // see allocate()
  };

  explicit Allocator(uint64_t capacity);

  /// The offset of `bytes` (> 0) new bytes, or nothing when no free block is large enough. `gap` bytes behind them stay unused;
  /// `watched` is kept with the block.
  std::optional<uint64_t> allocate(uint64_t bytes, uint64_t gap = 0, bool watched = false);
  /// Releases the live allocation that starts at `offset` and returns its size, or nothing if there is none. `stamp` is kept
  /// with the free memory; merged blocks keep the largest.
  std::optional<uint64_t> release(uint64_t offset, uint64_t stamp);
  /// Marks the allocation at `offset` as released, but does not hand its memory out again before release(). False if there is none.
  bool mark_released(uint64_t offset, uint64_t stamp);
  /// The allocation at `offset` is not watched any more.
  void unwatch(uint64_t offset);
  /// The allocation that holds `offset`, with the size that was asked for.
  std::optional<Block> find(uint64_t offset) const;
  /// The last allocation that starts at or below `offset`, and the first one above.
  std::pair<std::optional<Block>, std::optional<Block>> neighbours(uint64_t offset) const;
  /// All allocations by address.
  std::vector<Block> all() const;

  uint64_t capacity() const { return capacity_; }
  uint64_t used() const { return used_; }
  /// Of used(), bytes that are marked as released.
  uint64_t held() const { return held_; }
  uint64_t live() const { return live_; }
  uint64_t largest_free() const;
  /// Calls visit(offset, bytes) for each once used, now free block of at least `least` bytes, released with at most `stamp`.
  template <typename Visit>
  void each_free(uint64_t least, uint64_t stamp, Visit&& visit) const {
    for (uint32_t b = 0; b != kNone; b = blocks_[b].next) {
      const Node& node = blocks_[b];
      const uint64_t first = node.first * kGranule;
      const uint64_t end = std::min(first + node.count * kGranule, high_water_);
      if (node.free && node.stamp <= stamp && first < end && end - first >= least) visit(first, end - first);
    }
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr int kSecondBits = 5, kSecond = 1 << kSecondBits, kFirst = 32;

  // A piece of the memory, linked with its neighbours by address and, if free, with others of its size class.
  struct Node {
    uint64_t first, count;  // in granules
    uint64_t asked;         // bytes
    uint64_t stamp;         // of the latest release within
    uint32_t prev, next;
    uint32_t free_prev, free_next;
    bool free;
    bool released = false, watched = false;
    uint64_t number = 0;
  };
  struct Class {
    int first, second;
  };

  static Class class_of(uint64_t count);
  uint32_t find_free(uint64_t count) const;
  void link_free(uint32_t b);
  void unlink_free(uint32_t b);
  uint32_t new_node();
  void mark_head(uint64_t granule, bool live);
  std::optional<uint64_t> head_at_or_below(uint64_t granule) const;
  uint32_t node_at(uint64_t granule) const { return reinterpret_cast<const uint32_t*>(node_of_.data())[granule]; }
  bool is_head(uint64_t offset) const;
  Block block_of(const Node& node) const;

  uint64_t capacity_, used_ = 0, held_ = 0, live_ = 0, high_water_ = 0, number_ = 0;
  std::vector<Node> blocks_;
  std::vector<uint32_t> spare_;
  uint32_t first_bits_ = 0;
  uint32_t second_bits_[kFirst] = {};
  uint32_t heads_[kFirst][kSecond];
  // For each granule that starts a live allocation its node, and a tree of bit maps to find the nearest such granule below.
  Mapping node_of_;
  std::vector<Mapping> levels_;
};

}  // namespace rigi
