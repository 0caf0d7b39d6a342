// rigi.h: findings, allocations and what the host has written.
#include <cstring>

#include "../runtime/library.hpp"

using rigi::Device;
using rigi::Error;
using rigi::guarded;
using rigi::Library;
using rigi::Memory;

namespace {

void give(const std::string& text, char** json) {
  *json = strdup(text.c_str());
  if (*json == nullptr) throw std::bad_alloc();
}

}  // namespace

extern "C" {

rigiStatus rigiDeviceTakeFindings(int device, char** json) {
  return guarded(__func__, [&] {
    rigi::require(json, "json");
    Device& d = Library::get().device(device);
    d.queue.synchronize();
    give(d.findings.take(), json);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiDeviceGetAllocations(int device, char** json) {
  return guarded(__func__, [&] {
    rigi::require(json, "json");
    std::string text = "[";
    for (const Memory::Block& block : Library::get().device(device).memory.allocations()) {
      text += std::string(text.size() > 1 ? "," : "") + "{\"address\":" + std::to_string(block.address) +
              ",\"bytes\":" + std::to_string(block.bytes) + ",\"number\":" + std::to_string(block.number) + "}";
    }
    give(text + "]", json);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiMemMarkWritten(const void* pointer, size_t bytes) {
  return guarded(__func__, [&] {
    if (bytes == 0) return RIGI_SUCCESS;
    Device* device = Library::get().device_of(pointer);
    if (device == nullptr) throw Error(RIGI_ERROR_INVALID_POINTER, rigi::format_pointer(pointer) + " is not device memory");
    if (!device->memory.watching()) return RIGI_SUCCESS;
    const Memory::Range range = device->memory.allocation(pointer);
    const auto offset = static_cast<uint64_t>(static_cast<const uint8_t*>(pointer) - range.base);
    if (bytes > range.bytes - offset) {
      throw Error(RIGI_ERROR_INVALID_POINTER, rigi::format_bytes(bytes) + " at " + rigi::format_pointer(pointer) +
                                                  " leave the allocation of " + rigi::format_bytes(range.bytes) + " at " +
                                                  rigi::format_pointer(range.base));
    }
    device->memory.wrote(pointer, bytes);
    return RIGI_SUCCESS;
  });
}

}  // extern "C"
