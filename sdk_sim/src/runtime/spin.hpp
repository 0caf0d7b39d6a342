// Waiting a few microseconds without giving up the processor. Never longer: user threads share the host's cores.
#pragma once

#include <chrono>

namespace rigi {

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Polls `ready` for at most `limit`; returns whether it came true.
template <typename Ready>
bool spin_until(Ready&& ready, std::chrono::nanoseconds limit) {
  if (ready()) return true;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 16; ++i) {
      pause();
      if (ready()) return true;
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

}  // namespace rigi
