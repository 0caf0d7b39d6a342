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

void* Memory::allocate(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  start();
  const std::optional<uint64_t> offset = allocator_->allocate(bytes);
  if (!offset) {
    throw Error(RIGI_ERROR_OUT_OF_MEMORY, "device " + std::to_string(device_) + " has no room for " + format_bytes(bytes) + ": " +
                                              format_bytes(bytes_ - allocator_->used()) + " of " + format_bytes(bytes_) +
                                              " are free, the largest block is " + format_bytes(allocator_->largest_free()) + ", " +
                                              std::to_string(allocator_->live()) +
                                              " allocations are live. Free some, or use a smaller model, batch or cache");
  }
  return mapping_.data() + *offset;
}

uint64_t Memory::check_start(void* pointer) {
  const uint64_t offset = static_cast<uint64_t>(static_cast<uint8_t*>(pointer) - mapping_.data());
  const std::optional<Allocator::Block> block = allocator_->find(offset);
  if (!block)
    throw Error(RIGI_ERROR_INVALID_POINTER, format_pointer(pointer) + " is not a live allocation of device " + std::to_string(device_) +
                                                ": it was freed already, or never allocated");
  if (block->offset != offset) {
    throw Error(RIGI_ERROR_INVALID_POINTER, format_pointer(pointer) + " lies " + std::to_string(offset - block->offset) +
                                                " bytes inside the allocation at " + format_pointer(mapping_.data() + block->offset) +
                                                "; pass the pointer that rigiMalloc returned");
  }
  return offset;
}

void Memory::release(void* pointer, uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  const uint64_t offset = check_start(pointer);
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
  const uint64_t offset = static_cast<uint64_t>(static_cast<const uint8_t*>(pointer) - mapping_.data());
  const std::optional<Allocator::Block> block = allocator_->find(offset);
  if (!block)
    throw Error(RIGI_ERROR_INVALID_POINTER,
                format_pointer(pointer) + " is in the HBM of device " + std::to_string(device_) + " but in no live allocation");
  return {mapping_.data() + block->offset, block->bytes};
}

uint64_t Memory::free_bytes() {
  const std::lock_guard lock(mutex_);
  return allocator_ ? bytes_ - allocator_->used() : bytes_;
}

}  // namespace rigi
