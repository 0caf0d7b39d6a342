// Opaque handles: small numbers in a pointer's clothes, so that a stale or made-up one is recognised, never followed.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "status.hpp"

namespace rigi {

/// Handles of one kind to shared objects. Handle: generation (32 bits), slot (24 bits), kind (4 bits). Thread-safe.
template <typename Handle, typename T>
class HandleTable {
 public:
  HandleTable(unsigned kind, const char* what) : kind_(kind), what_(what) {}

  Handle add(std::shared_ptr<T> object) {
    const std::lock_guard lock(mutex_);
    uint32_t slot;
    if (free_.empty()) {
      slot = static_cast<uint32_t>(slots_.size());
      if (slot >= 1U << 24)
        throw Error(RIGI_ERROR_INVALID_VALUE,
                    std::string("more than 16 million live ") + what_ + "s; destroy those that are no longer used");
      slots_.emplace_back();
      free_.reserve(slots_.capacity());
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    slots_[slot].object = std::move(object);
    return reinterpret_cast<Handle>(static_cast<uintptr_t>(uint64_t{slots_[slot].generation} << 28 | uint64_t{slot} << 4 | kind_));
  }

  /// Throws Error(INVALID_HANDLE) unless the object is alive.
  std::shared_ptr<T> get(Handle handle) {
    const std::lock_guard lock(mutex_);
    return slots_[slot_of(handle)].object;
  }

  std::shared_ptr<T> remove(Handle handle) {
    const std::lock_guard lock(mutex_);
    const uint32_t slot = slot_of(handle);
    ++slots_[slot].generation;
    free_.push_back(slot);
    return std::move(slots_[slot].object);
  }

 private:
  struct Slot {
    std::shared_ptr<T> object;
    uint32_t generation = 1;
  };

  uint32_t slot_of(Handle handle) const {
    const auto bits = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(handle));
    const auto slot = static_cast<uint32_t>(bits >> 4 & 0xffffff);
    if ((bits & 15) != kind_ || slot >= slots_.size() || slots_[slot].generation != bits >> 28 || !slots_[slot].object) {
      throw Error(RIGI_ERROR_INVALID_HANDLE, format_pointer(reinterpret_cast<const void*>(handle)) + " is not a live " + what_ +
                                                 ": it was destroyed, or never created");
    }
    return slot;
  }

  const unsigned kind_;
  const char* const what_;
  std::mutex mutex_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace rigi
