// What a process has not freed when it ends.
#pragma once

namespace rigi {

class Device;

/// In strict mode: lists the device's live allocations on standard error, if there are any.
void report_leaks(Device& device);

}  // namespace rigi
