// What the parts of the emulator share: the chip's figures, a core's state, and the fault of an instruction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "rigi_isa.h"

namespace rigi {

/// Every figure of a chip file. Times in cycles, rates in bytes a cycle unless the name says otherwise.
struct Chip {
  std::string name, revision, path;
  uint64_t clock_hz = 0;
  uint32_t grid_rows = 0, grid_cols = 0;
  uint32_t sram_bytes = 0, line_bytes = 0;
  uint32_t matrix_k16 = 0, matrix_k8 = 0, matrix_n = 0, matrix_min_m = 0, matrix_latency = 0;
  uint32_t vector_lanes = 0, vector_setup = 0, vector_latency = 0, vector_row_pad = 0, passes_div = 0, passes_transpose = 0;
  uint32_t act_lanes = 0, act_setup = 0, act_latency = 0, act_row_pad = 0;
  uint32_t dma_bytes_per_cycle = 0, dma_setup = 0, dma_cycles_per_index = 0, dma_latency = 0, send_latency = 0;
  uint64_t hbm_bytes = 0;
  uint32_t hbm_bytes_per_cycle = 0, hbm_burst = 0;
  uint32_t scalar_load_miss = 0, scalar_load_hit = 0, scalar_read = 0;
  uint32_t queue_depth = 0;
  uint32_t launch_host = 0, launch_graph = 0, barrier = 0;
  uint64_t chip_link_bytes_per_s = 0, host_link_bytes_per_s = 0;
  uint32_t chip_link_latency = 0, host_link_latency = 0;

  uint32_t cores() const { return grid_rows * grid_cols; }
};

/// Reads a chip file (the subset of TOML that chips/*.toml use). Throws std::runtime_error naming file, line and key.
Chip load_chip(const std::string& path);

/// An instruction that cannot be carried out. The runtime adds kernel, core, phase and index. `kind` is that of a finding of strict
/// mode; `operand` (dst, a, b, c, hbm, scalar) may be empty.
class Fault : public std::runtime_error {
 public:
  explicit Fault(const std::string& text, const char* kind = "invalid", const char* operand = "")
      : std::runtime_error(text), kind_(kind), operand_(operand) {}
  const char* kind() const { return kind_; }
  const char* operand() const { return operand_; }

 private:
  const char* kind_;
  const char* operand_;
};

/// A store_add waiting for the end of its phase: `rows` x `bytes` of `dtype` to be added at `hbm`.
struct PendingAdd {
  uint64_t hbm;
  int64_t hbm_stride;
  uint32_t rows, bytes;
  rigi_dtype dtype;
  std::vector<uint8_t> data;  // rows * bytes, packed
};

/// One core while a kernel runs. SRAM survives barriers, not launches.
struct CoreState {
  uint8_t* sram = nullptr;
  int id = 0;
  CoreState* peers = nullptr;  // all cores of the device, indexed by id
  std::vector<PendingAdd> adds;
  uint64_t hbm_base = 0, hbm_bytes = 0;  // the device's memory, for addresses that only data tells (gather, scatter)
};

inline uint32_t dtype_bytes(uint8_t dtype) {
  constexpr uint32_t bytes[RIGI_DTYPE_COUNT] = {4, 2, 2, 1, 1, 1, 4, 1, 1};  // a pair of int4 counts as one byte
  return dtype < RIGI_DTYPE_COUNT ? bytes[dtype] : 0;
}
const char* dtype_name(uint8_t dtype);
const char* op_name(uint8_t op);

}  // namespace rigi
