// One launch of straight-line instructions, written down core by core: for small work that needs no compiled kernel.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <vector>

#include "sdk.hpp"

namespace rigi_torch {

/// The chip's dtype of a torch dtype, bool as uint8; none for 8-byte, complex and fp8 types.
std::optional<rigi_dtype> chip_dtype(c10::ScalarType type);

/// Up to the next line of SRAM: operands start at one.
constexpr uint32_t aligned(int64_t address) { return static_cast<uint32_t>((address + 63) / 64 * 64); }

class Program {
 public:
  explicit Program(c10::DeviceIndex device);

  size_t cores() const { return cores_.size(); }
  /// The core that the next instructions are for; 0 at first.
  void on_core(size_t core) { core_ = core; }

  void load(uint32_t sram, int64_t pitch, const char* hbm, int64_t stride, int64_t rows, int64_t bytes);
  void store(uint32_t sram, int64_t pitch, const char* hbm, int64_t stride, int64_t rows, int64_t bytes);
  /// Rows of `bytes` bytes at hbm + index * bytes, `rows` of them; `index` is int32 in SRAM. A negative index is a fault.
  void gather(uint32_t sram, const char* hbm, uint32_t index, int64_t rows, int64_t bytes);
  /// The same to hbm + index * stride.
  void scatter(uint32_t sram, const char* hbm, int64_t stride, uint32_t index, int64_t rows, int64_t bytes);
  void fill(rigi_operand dst, float value, int64_t rows, int64_t cols);
  /// Any instruction of the vector engine; the caller sets what it has besides.
  rigi_instr& vector(rigi_op op, rigi_operand dst, rigi_operand a, int64_t rows, int64_t cols);

  static rigi_operand operand(uint32_t address, int64_t pitch, rigi_dtype dtype);
  static rigi_operand number(float value);

  void launch(const char* name) const;

 private:
  rigi_instr& add(rigi_op op, int64_t rows, int64_t cols);
  rigi_instr& dma(rigi_op op, const char* hbm, int64_t stride, int64_t rows, int64_t bytes);

  c10::DeviceIndex device_;
  std::vector<std::vector<rigi_instr>> cores_;
  size_t core_ = 0;
};

}  // namespace rigi_torch
