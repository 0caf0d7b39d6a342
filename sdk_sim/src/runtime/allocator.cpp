#include "allocator.hpp"

#include <algorithm>
#include <bit>

namespace rigi {
namespace {

uint64_t* words(const Mapping& level) { return reinterpret_cast<uint64_t*>(level.data()); }

}  // namespace

Allocator::Allocator(uint64_t capacity)
    : capacity_(capacity / kGranule * kGranule), node_of_(capacity_ / kGranule * sizeof(uint32_t), 4096, false, "allocation table") {
  for (auto& row : heads_) std::fill(std::begin(row), std::end(row), kNone);
  for (uint64_t bits = capacity_ / kGranule;;) {
    bits = (bits + 63) / 64;
    levels_.emplace_back(bits * sizeof(uint64_t), 4096, false, "allocation map");
    if (bits == 1) break;
  }
  blocks_.push_back({0, capacity_ / kGranule, 0, 0, kNone, kNone, kNone, kNone, false});
  link_free(0);
}

// Up to 31 granules each size is its own class; above, each power of two is cut into 32.
Allocator::Class Allocator::class_of(uint64_t count) {
  if (count < kSecond) return {0, static_cast<int>(count)};
  const int log = 63 - std::countl_zero(count);
  return {log - kSecondBits + 1, static_cast<int>((count >> (log - kSecondBits)) & (kSecond - 1))};
}

void Allocator::link_free(uint32_t b) {
  Node& node = blocks_[b];
  const auto [first, second] = class_of(node.count);
  node.free = true;
  node.free_prev = kNone;
  node.free_next = heads_[first][second];
  if (node.free_next != kNone) blocks_[node.free_next].free_prev = b;
  heads_[first][second] = b;
  first_bits_ |= 1U << first;
  second_bits_[first] |= 1U << second;
}

void Allocator::unlink_free(uint32_t b) {
  Node& node = blocks_[b];
  const auto [first, second] = class_of(node.count);
  node.free = false;
  if (node.free_next != kNone) blocks_[node.free_next].free_prev = node.free_prev;
  if (node.free_prev != kNone) {
    blocks_[node.free_prev].free_next = node.free_next;
    return;
  }
  heads_[first][second] = node.free_next;
  if (node.free_next != kNone) return;
  second_bits_[first] &= ~(1U << second);
  if (second_bits_[first] == 0) first_bits_ &= ~(1U << first);
}

uint32_t Allocator::find_free(uint64_t count) const {
  // Rounded up to the next class, so that any block found there fits.
  uint64_t rounded = count;
  if (count >= kSecond) rounded += (uint64_t{1} << (63 - std::countl_zero(count) - kSecondBits)) - 1;
  auto [first, second] = class_of(rounded);
  uint32_t bits = second_bits_[first] & (~0U << second);
  if (bits == 0) {
    const uint32_t larger = first + 1 < kFirst ? first_bits_ & (~0U << (first + 1)) : 0;
    if (larger != 0) {
      first = std::countr_zero(larger);
      bits = second_bits_[first];
    }
  }
  if (bits != 0) return heads_[first][std::countr_zero(bits)];
  // Memory is nearly full: a block of the same class may still be large enough.
  const auto exact = class_of(count);
  for (uint32_t b = heads_[exact.first][exact.second]; b != kNone; b = blocks_[b].free_next) {
    if (blocks_[b].count >= count) return b;
  }
  return kNone;
}

uint32_t Allocator::new_node() {
  if (!spare_.empty()) {
    const uint32_t b = spare_.back();
    spare_.pop_back();
    return b;
  }
  blocks_.emplace_back();
  spare_.reserve(blocks_.capacity());  // so that release() never needs memory
  return static_cast<uint32_t>(blocks_.size() - 1);
}

std::optional<uint64_t> Allocator::allocate(uint64_t bytes, uint64_t gap, bool watched) {
  if (bytes > capacity_) return std::nullopt;
  const uint64_t count = (bytes + gap + kGranule - 1) / kGranule;
  const uint32_t b = find_free(count);
  if (b == kNone) return std::nullopt;
  const uint32_t rest = blocks_[b].count > count ? new_node() : kNone;
  unlink_free(b);
  Node& node = blocks_[b];
  if (rest != kNone) {
    blocks_[rest] = {node.first + count, node.count - count, 0, node.stamp, b, node.next, kNone, kNone, false};
    if (node.next != kNone) blocks_[node.next].prev = rest;
    node.next = rest;
    node.count = count;
    link_free(rest);
  }
  node.asked = bytes;
  node.number = ++number_;
  node.released = false;
  node.watched = watched;
  reinterpret_cast<uint32_t*>(node_of_.data())[node.first] = b;
  mark_head(node.first, true);
  used_ += count * kGranule;
  ++live_;
  high_water_ = std::max(high_water_, (node.first + count) * kGranule);
  return node.first * kGranule;
}

std::optional<uint64_t> Allocator::release(uint64_t offset, uint64_t stamp) {
  const uint64_t granule = offset / kGranule;
  if (!is_head(offset)) return std::nullopt;
  uint32_t b = node_at(granule);
  mark_head(granule, false);
  const uint64_t bytes = blocks_[b].count * kGranule;
  used_ -= bytes;
  if (blocks_[b].released) held_ -= bytes;
  --live_;
  blocks_[b].stamp = stamp;
  const auto merge = [this](uint32_t left, uint32_t right) {
    blocks_[left].count += blocks_[right].count;
    blocks_[left].stamp = std::max(blocks_[left].stamp, blocks_[right].stamp);
    blocks_[left].next = blocks_[right].next;
    if (blocks_[right].next != kNone) blocks_[blocks_[right].next].prev = left;
    spare_.push_back(right);
  };
  if (const uint32_t next = blocks_[b].next; next != kNone && blocks_[next].free) {
    unlink_free(next);
    merge(b, next);
  }
  if (const uint32_t prev = blocks_[b].prev; prev != kNone && blocks_[prev].free) {
    unlink_free(prev);
    merge(prev, b);
    b = prev;
  }
  link_free(b);
  return bytes;
}

void Allocator::mark_head(uint64_t granule, bool live) {
  for (const Mapping& level : levels_) {
    uint64_t& word = words(level)[granule / 64];
    const uint64_t before = word;
    const uint64_t bit = uint64_t{1} << (granule % 64);
    word = live ? word | bit : word & ~bit;
    if ((before == 0) == (word == 0)) return;  // the level above knows already
    granule /= 64;
  }
}

std::optional<uint64_t> Allocator::head_at_or_below(uint64_t granule) const {
  uint64_t position = granule;
  for (size_t level = 0; level < levels_.size(); ++level) {
    const uint64_t keep = level == 0 ? ~uint64_t{0} >> (63 - position % 64) : (uint64_t{1} << (position % 64)) - 1;
    uint64_t word = words(levels_[level])[position / 64] & keep;
    position /= 64;
    if (word == 0) continue;
    for (;;) {
      position = position * 64 + (63 - std::countl_zero(word));
      if (level-- == 0) return position;
      word = words(levels_[level])[position];
    }
  }
  return std::nullopt;
}

bool Allocator::is_head(uint64_t offset) const {
  const uint64_t granule = offset / kGranule;
  return offset % kGranule == 0 && offset < capacity_ && (words(levels_[0])[granule / 64] >> (granule % 64) & 1) != 0;
}

Allocator::Block Allocator::block_of(const Node& node) const {
  return {node.first * kGranule, node.asked, node.number, node.stamp, node.released, node.watched};
}

bool Allocator::mark_released(uint64_t offset, uint64_t stamp) {
  if (!is_head(offset)) return false;
  Node& node = blocks_[node_at(offset / kGranule)];
  if (!node.released) held_ += node.count * kGranule;
  node.released = true;
  node.stamp = stamp;
  return true;
}

void Allocator::unwatch(uint64_t offset) {
  if (is_head(offset)) blocks_[node_at(offset / kGranule)].watched = false;
}

std::optional<Allocator::Block> Allocator::find(uint64_t offset) const {
  if (offset >= capacity_) return std::nullopt;
  const std::optional<uint64_t> head = head_at_or_below(offset / kGranule);
  if (!head) return std::nullopt;
  const Block block = block_of(blocks_[node_at(*head)]);
  if (offset - block.offset >= block.bytes) return std::nullopt;
  return block;
}

std::pair<std::optional<Allocator::Block>, std::optional<Allocator::Block>> Allocator::neighbours(uint64_t offset) const {
  std::pair<std::optional<Block>, std::optional<Block>> found;
  for (uint32_t b = 0; b != kNone; b = blocks_[b].next) {
    if (blocks_[b].free) continue;
    const Block block = block_of(blocks_[b]);
    if (block.offset > offset) {
      found.second = block;
      break;
    }
    found.first = block;
  }
  return found;
}

std::vector<Allocator::Block> Allocator::all() const {
  std::vector<Block> found;
  for (uint32_t b = 0; b != kNone; b = blocks_[b].next) {
    if (!blocks_[b].free) found.push_back(block_of(blocks_[b]));
  }
  return found;
}

uint64_t Allocator::largest_free() const {
  if (first_bits_ == 0) return 0;
  const int first = 31 - std::countl_zero(first_bits_);
  const int second = 31 - std::countl_zero(second_bits_[first]);
  uint64_t count = 0;
  for (uint32_t b = heads_[first][second]; b != kNone; b = blocks_[b].free_next) count = std::max(count, blocks_[b].count);
  return count * kGranule;
}

}  // namespace rigi
