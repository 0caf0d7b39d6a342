// The chip's SDK as torch sees it: device numbers, and status codes turned into torch's exceptions.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/util/Exception.h>

#include "rigi.h"

namespace rigi_torch {

inline constexpr c10::DeviceType kRigi = c10::DeviceType::PrivateUse1;
inline constexpr int kMaxDevices = 16;

/// Throws what torch users expect: OutOfMemoryError, AcceleratorError for a kernel's fault, else RuntimeError; with the SDK's text.
[[noreturn]] void raise(rigiStatus status, const char* call);

inline void check(rigiStatus status, const char* call) {
  if (C10_UNLIKELY(status != RIGI_SUCCESS)) raise(status, call);
}

/// Emulated devices of this process (RIGI_DEVICES); 0 if the SDK cannot start.
c10::DeviceIndex device_count() noexcept;

/// The calling thread's current device.
c10::DeviceIndex current_device() noexcept;
c10::DeviceIndex exchange_device(c10::DeviceIndex device);
void set_device_unchecked(c10::DeviceIndex device) noexcept;

/// `device`, or the current one if it is negative. Throws if it doesn't exist.
c10::DeviceIndex resolve_device(c10::DeviceIndex device);

/// True in a forked child of a process that used the chip: the SDK's threads did not survive the fork.
bool in_bad_fork() noexcept;

/// The SDK's stream behind a torch stream, and behind the calling thread's current stream of a device.
rigiStream_t native_stream(const c10::Stream& stream);
rigiStream_t current_stream(c10::DeviceIndex device);

/// Waits for everything submitted to a device, on whatever stream, or to one stream of it. Then throws what kernels found: a fault, or
/// IndexError for indices from outside (bounds.hpp).
void synchronize(c10::DeviceIndex device);
void synchronize(c10::DeviceIndex device, rigiStream_t stream);

/// Whether the calling thread's current stream of the device notes its work for a graph instead of running it.
inline bool capturing(c10::DeviceIndex device) {
  int result = 0;
  check(rigiStreamIsCapturing(current_stream(device), &result), "rigiStreamIsCapturing");
  return result != 0;
}

/// The mode in which work is submitted to a device.
inline rigiMode device_mode(c10::DeviceIndex device) {
  rigiMode mode = RIGI_TIMED;
  check(rigiDeviceGetMode(device, &mode), "rigiDeviceGetMode");
  return mode;
}

}  // namespace rigi_torch
