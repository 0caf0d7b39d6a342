#include "leaks.hpp"

#include <cstdio>

#include "../runtime/device.hpp"
#include "../runtime/status.hpp"

namespace rigi {

void report_leaks(Device& device) {
  constexpr size_t kMost = 20;
  if (!device.memory.watching()) return;
  const std::vector<Memory::Block> live = device.memory.allocations();
  if (live.empty()) return;
  uint64_t bytes = 0;
  for (const Memory::Block& block : live) bytes += block.bytes;
  std::fprintf(stderr, "rigi: strict mode: device %d still has %zu allocations, %s; free them before the process ends\n", device.id,
               live.size(), format_bytes(bytes).c_str());
  for (size_t n = 0; n < live.size() && n < kMost; ++n) {
    std::fprintf(stderr, "rigi:   allocation %llu: %s at 0x%llx\n", static_cast<unsigned long long>(live[n].number),
                 format_bytes(live[n].bytes).c_str(), static_cast<unsigned long long>(live[n].address));
  }
  if (live.size() > kMost) std::fprintf(stderr, "rigi:   and %zu more: rigiDeviceGetAllocations\n", live.size() - kMost);
}

}  // namespace rigi
