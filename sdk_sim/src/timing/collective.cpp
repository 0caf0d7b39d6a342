#include "collective.hpp"

#include <algorithm>
#include <string>

#include "../runtime/status.hpp"

namespace rigi {
namespace {

constexpr uint32_t kMostDevices = 4096;
constexpr uint64_t kMostBytes = uint64_t{1} << 50;

// Blocks among 0 .. devices-1 that travel in a round of Bruck's all-to-all: those whose distance has the round's bit.
uint32_t blocks_with_bit(uint32_t devices, uint32_t bit) {
  uint32_t count = 0;
  for (uint32_t distance = 1; distance < devices; ++distance) count += (distance & bit) != 0 ? 1 : 0;
  return count;
}

}  // namespace

uint64_t link_cycles(const Chip& chip, uint64_t bytes, uint64_t bytes_per_s) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((Wide{bytes} * chip.clock_hz + bytes_per_s - 1) / bytes_per_s);
}

uint64_t collective_cycles(const Chip& chip, rigiCollective collective, rigiAlgorithm algorithm, uint32_t devices, uint64_t bytes) {
  if (devices < 1 || devices > kMostDevices)
    throw Error(RIGI_ERROR_INVALID_VALUE, std::to_string(devices) + " devices; allowed: 1 to " + std::to_string(kMostDevices));
  if (bytes > kMostBytes) throw Error(RIGI_ERROR_INVALID_VALUE, format_bytes(bytes) + " a device; at most 1 PiB");
  if (algorithm != RIGI_RING && algorithm != RIGI_TREE)
    throw Error(RIGI_ERROR_INVALID_VALUE, "algorithm " + std::to_string(algorithm) + " is unknown; allowed: RIGI_RING (0), RIGI_TREE (1)");
  if (collective < RIGI_ALL_REDUCE || collective > RIGI_ALL_TO_ALL)
    throw Error(RIGI_ERROR_INVALID_VALUE, "collective " + std::to_string(collective) + " is unknown; allowed: 0 to 3 (rigiCollective)");
  if (devices == 1 || bytes == 0) return 0;

  const auto message = [&](uint64_t size) { return chip.chip_link_latency + link_cycles(chip, size, chip.chip_link_bytes_per_s); };
  const uint64_t block = (bytes + devices - 1) / devices;
  uint64_t cycles = 0;
  if (algorithm == RIGI_RING) {
    // Every device sends to its right neighbour while it receives from its left one.
    for (uint32_t step = 1; step < devices; ++step) cycles += message(collective == RIGI_ALL_TO_ALL ? (devices - step) * block : block);
    return collective == RIGI_ALL_REDUCE ? 2 * cycles : cycles;
  }
  // Rounds 1, 2, 4, ...: in each a device sends one message and receives one.
  for (uint32_t distance = 1; distance < devices; distance *= 2) {
    if (collective == RIGI_ALL_REDUCE) {
      cycles += 2 * message(bytes);  // up the binomial tree, and down again
    } else if (collective == RIGI_ALL_TO_ALL) {
      cycles += message(blocks_with_bit(devices, distance) * block);
    } else {
      cycles += message(std::min(distance, devices - distance) * block);
    }
  }
  return cycles;
}

}  // namespace rigi
