// Scratch memory in HBM for one call of compiled host code: what it gets as TVMBackendAllocWorkspace.
#pragma once

#include <rigi.h>
#include <tvm/ffi/c_api.h>

#include <algorithm>

namespace rigi {

// Null with the error raised, as C code expects: exceptions do not pass through compiled host code. Work is ordered, so memory freed after
// a launch was submitted is still the launch's. `bytes` may be 0.
inline void* AllocWorkspace(int device, size_t bytes) {
  void* pointer = nullptr;
  if (const rigiStatus status = rigiMalloc(device, std::max<size_t>(bytes, 1), &pointer); status != RIGI_SUCCESS) {
    TVMFFIErrorSetRaisedFromCStr(status == RIGI_ERROR_OUT_OF_MEMORY ? "MemoryError" : "RuntimeError", rigiGetLastErrorString());
    return nullptr;
  }
  return pointer;
}

}  // namespace rigi
