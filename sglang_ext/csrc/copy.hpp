// Copies between host and chip, on a chip, and between chips.
#pragma once

#include <ATen/core/Tensor.h>

#include "sdk.hpp"

namespace rigi_torch {

/// aten::_copy_from: `dst.copy_(src)` where at least one of them is on a chip. Returns `dst`.
at::Tensor copy_from(const at::Tensor& src, const at::Tensor& dst, bool non_blocking);

/// The value of a one-element chip tensor; waits for the stream.
at::Scalar read_scalar(const at::Tensor& self);

/// `self.fill_(value)` on the chip; false, and nothing done, if the chip cannot make that value.
bool fill_on_chip(const at::Tensor& self, const at::Scalar& value);

}  // namespace rigi_torch
