// Strided tensors as contiguous pieces and as short programs of chip instructions.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

#include "sdk.hpp"

namespace rigi_torch {

/// A strided copy of one dtype as contiguous pieces: `bytes` from each source offset to each destination offset.
struct Pieces {
  size_t bytes = 0;
  std::vector<std::pair<size_t, size_t>> offsets;  // (destination, source), in bytes from each tensor's first element
};

/// Cuts a copy between tensors of the same sizes and dtype into pieces; none if it takes more than `limit`.
std::optional<Pieces> cut(const at::Tensor& dst, const at::Tensor& src, size_t limit);

/// `dst.copy_(src)` for tensors of the same sizes on one chip that share no memory, as one launch ("copy"): rows through SRAM by DMA,
/// converted or transposed there. False, and nothing done, for what its instructions do not compute as torch does: fp64, fp8, complex
/// numbers, floats to integers, anything to bool.
bool copy_by_program(const at::Tensor& dst, const at::Tensor& src);

/// `self.fill_(value)` as one launch ("fill"). False, and nothing done, if the chip cannot make the value: fp64, complex numbers,
/// integers beyond 2^24 in magnitude.
bool fill_by_program(const at::Tensor& self, const at::Scalar& value);

}  // namespace rigi_torch
