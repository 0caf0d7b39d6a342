// The small integer work around a model's forward, on the chip: lengths, positions, slots. A scheduler does a dozen such ops a step; on
// the host each would have to wait for the device.
#pragma once

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>

#include <optional>

#include "sdk.hpp"

namespace rigi_torch {

using Indices = c10::List<std::optional<at::Tensor>>;

// Each does its work as one launch, or returns false and has done nothing: contiguous vectors of up to a few thousand int32 or int64
// elements are taken. Results are those of torch, wrap-around of int64 included.

/// out = self + other, or self - other; `other` is a chip tensor of the same shape and dtype or a host scalar below 2^24.
bool add_integers(const at::Tensor& self, const at::Tensor& other, const at::Scalar& alpha, bool subtract, const at::Tensor& out);

/// out = self * other, a host scalar below 2^24 in magnitude.
bool multiply_integers(const at::Tensor& self, const at::Tensor& other, const at::Tensor& out);

/// out = self limited to min and max, each below 2^24 in magnitude.
bool clamp_integers(const at::Tensor& self, const std::optional<at::Scalar>& min, const std::optional<at::Scalar>& max,
                    const at::Tensor& out);

/// out = self[indices]: the leading dimensions indexed by tensors of equal shape. An index outside its dimension reads
/// row 0 and is an IndexError when the host next waits for the device (bounds.hpp).
bool gather_rows(const at::Tensor& self, const Indices& indices, const at::Tensor& out);

/// self[indices] = values; of equal indices the last one counts. With an index outside nothing is written.
bool scatter_rows(const at::Tensor& self, const Indices& indices, const at::Tensor& values);

}  // namespace rigi_torch
