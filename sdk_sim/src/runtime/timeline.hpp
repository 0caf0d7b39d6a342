// Simulated time on a device: clocks of streams and of what they share.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include "../common.hpp"
#include "../timing/collective.hpp"

namespace rigi {

class Capture;
class Device;

/// A line of simulated time. The clock belongs to the thread that works off the device's queue.
struct Stream {
  Stream(Device* owner, bool is_default) : device(owner), is_default(is_default) {}

  /// `sequence` is (or may be) the last work submitted on this stream.
  void submitted(uint64_t sequence) {
    uint64_t before = last.load(std::memory_order_relaxed);
    while (before < sequence && !last.compare_exchange_weak(before, sequence, std::memory_order_release, std::memory_order_relaxed)) {
    }
  }

  Device* const device;
  const bool is_default;
  const uint32_t number = is_default ? 0 : ++made;  // in profiles; a device's default stream is 0
  std::atomic<uint64_t> last{0};
  uint64_t clock = 0;  // cycles
  std::atomic<bool> capturing{false};
  // Under the captures' lock, see graph.cpp.
  std::shared_ptr<Capture> capture;
  bool destroyed = false;  // its handle is gone: it can capture no more

 private:
  static inline std::atomic<uint32_t> made{0};
};

enum class Transfer { ToDevice, ToHost, OnDevice, ToPeer, FromPeer, Set };
inline constexpr int kTransfers = 6;
inline constexpr const char* kTransferNames[kTransfers] = {"to_device", "to_host", "on_device", "to_peer", "from_peer", "set"};

/// What the streams of a device share. A kernel has all cores for itself. Each link serves one transfer after the other, its
/// latency passing meanwhile. Copies and fills that stay on the device are commands like launches: they pay the launch
/// cost, run when no kernel does, and move at HBM's rate after the latency of the DMA engines.
class Timeline {
 public:
  explicit Timeline(const Chip& chip) : chip_(chip) {}

  /// Moves the stream past a kernel of that many cycles.
  void launch(Stream& stream, uint64_t cycles) { stream.clock = cores_free_ = std::max(stream.clock, cores_free_) + cycles; }

  /// Moves the stream past a transfer; returns the cycles it took. `launch_cost`: of a command that stays on the device.
  uint64_t transfer(Stream& stream, Transfer kind, uint64_t bytes, uint32_t launch_cost) {
    const uint64_t before = stream.clock;
    switch (kind) {
      case Transfer::ToDevice:
      case Transfer::ToHost:
        link(stream, host_free_[kind == Transfer::ToHost ? 1 : 0], bytes, chip_.host_link_bytes_per_s, chip_.host_link_latency);
        break;
      case Transfer::ToPeer:
      case Transfer::FromPeer:
        link(stream, peer_free_[kind == Transfer::ToPeer ? 1 : 0], bytes, chip_.chip_link_bytes_per_s, chip_.chip_link_latency);
        break;
      case Transfer::OnDevice:
      case Transfer::Set: {
        const uint64_t moved = kind == Transfer::Set ? bytes : 2 * bytes;
        launch(stream, launch_cost + chip_.dma_latency + (moved + chip_.hbm_bytes_per_cycle - 1) / chip_.hbm_bytes_per_cycle);
        break;
      }
    }
    return stream.clock - before;
  }

 private:
  void link(Stream& stream, uint64_t& free, uint64_t bytes, uint64_t bytes_per_s, uint32_t latency) const {
    free = std::max(stream.clock, free) + link_cycles(chip_, bytes, bytes_per_s);
    stream.clock = free + latency;
  }

  const Chip& chip_;
  uint64_t cores_free_ = 0, host_free_[2] = {0, 0}, peer_free_[2] = {0, 0};
};

}  // namespace rigi
