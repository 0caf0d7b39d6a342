#include "memory.hpp"

#include <algorithm>

#include "status.hpp"

namespace rigi {

void Memory::start() {
  if (allocator_) return;
  auto allocator = std::make_unique<Allocator>(bytes_);
  mapping_ = Mapping(bytes_, size_t{2} << 20, true, ("HBM of device " + std::to_string(device_)).c_str());
  allocator_ = std::move(allocator);
  base_.store(mapping_.data(), std::memory_order_release);
}

HbmRange Memory::range() {
  if (!started()) {
    const std::lock_guard lock(mutex_);
    start();
  }
  return {reinterpret_cast<uint64_t>(base_.load(std::memory_order_acquire)), bytes_};
}

void* Memory::allocate(uint64_t bytes, uint64_t done) {
  const std::lock_guard lock(mutex_);
  start();
  // In strict mode a guard zone between neighbours, so that a step past the end, or a row, does not end in the next allocation.
  const bool watched = watching();
  const uint64_t guard = watched ? std::clamp(bytes, kLeastGuard, kMostGuard) : 0;
  std::optional<uint64_t> offset = allocator_->allocate(bytes, guard, watched);
  if (!offset && watched) {
    evict(0, done);
    offset = allocator_->allocate(bytes, 0, watched);
  }
  if (!offset) {
    throw Error(RIGI_ERROR_OUT_OF_MEMORY, "device " + std::to_string(device_) + " has no room for " + format_bytes(bytes) + ": " +
                                              format_bytes(bytes_ - allocator_->used() + allocator_->held()) + " of " +
                                              format_bytes(bytes_) + " are free, the largest block is " +
                                              format_bytes(allocator_->largest_free()) + ", " + std::to_string(allocator_->live()) +
                                              " allocations are live. Free some, or use a smaller model, batch or cache");
  }
  return mapping_.data() + *offset;
}

Allocator::Block Memory::check_start(void* pointer) {
  const uint64_t offset = offset_of(pointer);
  const std::optional<Allocator::Block> block = allocator_->find(offset);
  if (!block || block->released)
    throw Error(RIGI_ERROR_INVALID_POINTER, format_pointer(pointer) + " is not a live allocation of device " + std::to_string(device_) +
                                                ": it was freed already, or never allocated");
  if (block->offset != offset) {
    throw Error(RIGI_ERROR_INVALID_POINTER, format_pointer(pointer) + " lies " + std::to_string(offset - block->offset) +
                                                " bytes inside the allocation at " + format_pointer(mapping_.data() + block->offset) +
                                                "; pass the pointer that rigiMalloc returned");
  }
  return *block;
}

void Memory::release(void* pointer, uint64_t sequence, uint64_t done) {
  const std::lock_guard lock(mutex_);
  const Allocator::Block block = check_start(pointer);
  const uint64_t offset = block.offset;
  if (watching()) {
    quarantine_.push_back({offset, block.bytes, sequence});
    allocator_->mark_released(offset, sequence);
    return evict(kQuarantine, done);
  }
  if (pins_ == 0) return release_now(offset, sequence);
  if (std::find(held_.begin(), held_.end(), offset) != held_.end())
    throw Error(RIGI_ERROR_INVALID_POINTER, format_pointer(pointer) + " was freed already");
  held_.push_back(offset);
}

void Memory::release_now(uint64_t offset, uint64_t sequence) {
  const uint64_t bytes = allocator_->release(offset, sequence).value_or(0);
  if (bytes < kPurgeBlock) return;
  released_ += bytes;
  if (released_ < kPurge) return;
  released_ = 0;
  purge_due_.store(true, std::memory_order_relaxed);
}

void Memory::purge(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  allocator_->each_free(kPurgeBlock, sequence, [this](uint64_t offset, uint64_t bytes) { release_pages(mapping_.data() + offset, bytes); });
}

void Memory::pin() {
  const std::lock_guard lock(mutex_);
  ++pins_;
}

void Memory::unpin(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  if (--pins_ > 0) return;
  for (const uint64_t offset : held_) release_now(offset, sequence);
  held_.clear();
}

Memory::Range Memory::allocation(const void* pointer) {
  const std::lock_guard lock(mutex_);
  const uint64_t offset = offset_of(pointer);
  const std::optional<Allocator::Block> block = allocator_->find(offset);
  if (!block || block->released)
    throw Error(RIGI_ERROR_INVALID_POINTER,
                format_pointer(pointer) + " is in the HBM of device " + std::to_string(device_) + " but in no live allocation");
  return {mapping_.data() + block->offset, block->bytes};
}

uint64_t Memory::free_bytes() {
  const std::lock_guard lock(mutex_);
  return allocator_ ? bytes_ - allocator_->used() + allocator_->held() : bytes_;
}

void Memory::watch(bool on) {
  const std::lock_guard lock(mutex_);
  if (watching() == on) return;
  if (on) {
    if (!written_) written_ = std::make_unique<Bits>(bytes_, "shadow of the HBM");
    watching_.store(true, std::memory_order_release);
    return;
  }
  watching_.store(false, std::memory_order_release);
  for (const Held& held : quarantine_) {
    if (pins_ > 0) {
      held_.push_back(held.offset);
    } else {
      release_now(held.offset, held.sequence);
    }
  }
  quarantine_.clear();
  if (!allocator_) return;
  for (const Allocator::Block& block : allocator_->all()) allocator_->unwatch(block.offset);
  written_->clear(0, bytes_);
}

// Work up to `done` is completed: nobody who was entitled to an older block uses it any more.
void Memory::evict(uint64_t most, uint64_t done) {
  while (!quarantine_.empty() && allocator_->held() > most && pins_ == 0 && quarantine_.front().sequence <= done) {
    const Held held = quarantine_.front();
    quarantine_.pop_front();
    written_->clear(held.offset, held.offset + held.bytes);
    release_now(held.offset, held.sequence);
  }
}

Memory::Block Memory::public_block(const Allocator::Block& block) const {
  return {reinterpret_cast<uint64_t>(mapping_.data()) + block.offset, block.bytes, block.number, block.watched};
}

std::optional<Memory::Block> Memory::live(uint64_t address, uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  const std::optional<Allocator::Block> block = allocator_->find(address - reinterpret_cast<uint64_t>(mapping_.data()));
  if (!block || (block->released && block->stamp < sequence)) return std::nullopt;
  return public_block(*block);
}

namespace {

std::string named(const Allocator::Block& block) {
  return "allocation " + std::to_string(block.number) + " (" + std::to_string(block.bytes) + " bytes)";
}

}  // namespace

std::pair<const char*, std::string> Memory::misplaced(uint64_t address, uint64_t bytes, uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  const uint64_t offset = address - reinterpret_cast<uint64_t>(mapping_.data()), end = offset + bytes;
  const auto [below, above] = allocator_->neighbours(offset);
  if (below && offset < below->offset + below->bytes) {
    if (below->released && below->stamp < sequence)
      return {"use_after_free", "lie in the freed " + named(*below) + ", at its byte " + std::to_string(offset - below->offset) +
                                    "; free it after the last launch that uses it"};
    return {"out_of_bounds", "begin at byte " + std::to_string(offset - below->offset) + " of " + named(*below) + " and leave it by " +
                                 std::to_string(end - below->offset - below->bytes) + " bytes"};
  }
  std::string text = "lie in no live allocation";
  if (below)
    text += ", " + std::to_string(offset - below->offset - below->bytes) + " bytes past the end of " +
            (below->released ? "the freed " : "") + named(*below);
  if (above) {
    const uint64_t gap = above->offset - offset;
    text += (below ? " and " : ", ") + std::to_string(gap) + " bytes before " + (above->released ? "the freed " : "") + named(*above);
    if (gap < bytes) text += ", into which they run";
  }
  return {"out_of_bounds", text};
}

std::string Memory::place(uint64_t address) {
  const std::lock_guard lock(mutex_);
  const uint64_t offset = address - reinterpret_cast<uint64_t>(mapping_.data());
  const std::optional<Allocator::Block> block = allocator_->find(offset);
  return block ? named(*block) + " + " + std::to_string(offset - block->offset) : format_pointer(reinterpret_cast<const void*>(address));
}

uint64_t Memory::first_unwritten(uint64_t address, uint64_t bytes) const {
  const uint64_t base = reinterpret_cast<uint64_t>(mapping_.data());
  return base + written_->first_clear(address - base, address - base + bytes);
}

// Within one allocation. One that is written as a whole need not be watched any longer, and costs no shadow.
void Memory::mark(uint64_t offset, uint64_t end, bool written) {
  const std::optional<Allocator::Block> block = allocator_->find(offset);
  if (!block || !block->watched) return;
  if (!written) return written_->clear(offset, end);
  if (end - offset < block->bytes) return written_->set(offset, end);
  allocator_->unwatch(block->offset);
}

void Memory::mark_written(const void* pointer, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  mark(offset_of(pointer), offset_of(pointer) + bytes, true);
}

void Memory::copied(const void* to, Memory& from, const void* source, uint64_t bytes) {
  if (!watching()) return;
  std::vector<std::pair<uint64_t, uint64_t>> runs = {{0, bytes}};  // of written bytes
  if (from.watching()) {
    const std::lock_guard lock(from.mutex_);
    const uint64_t offset = from.offset_of(source);
    if (const std::optional<Allocator::Block> block = from.allocator_->find(offset); block && block->watched) {
      runs = from.written_->runs(offset, offset + bytes);
      for (auto& [lo, hi] : runs) {
        lo -= offset;
        hi -= offset;
      }
    }
  }
  const std::lock_guard lock(mutex_);
  const uint64_t offset = offset_of(to);
  uint64_t next = 0;
  for (const auto& [lo, hi] : runs) {
    mark(offset + next, offset + lo, false);
    mark(offset + lo, offset + hi, true);
    next = hi;
  }
  mark(offset + next, offset + bytes, false);
}

std::vector<Memory::Block> Memory::allocations() {
  const std::lock_guard lock(mutex_);
  std::vector<Block> found;
  if (!allocator_) return found;
  for (const Allocator::Block& block : allocator_->all()) {
    if (!block.released) found.push_back(public_block(block));
  }
  std::sort(found.begin(), found.end(), [](const Block& x, const Block& y) { return x.number < y.number; });
  return found;
}

}  // namespace rigi
