// CPU tensors on the memory of chip tensors. The emulated HBM is host-addressable, so the fallback and the host collectives need no
// copies: they re-wrap a tensor's memory.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/SmallVector.h>

#include "sdk.hpp"

namespace rigi_torch {

inline bool on_chip(const at::Tensor& tensor) { return tensor.defined() && tensor.device().type() == kRigi; }

/// The tensors of one op that runs on the CPU in place of the chip. Lives as long as that op; nothing is cached beyond it, so there is
/// no state to share between threads.
class AliasScope {
 public:
  explicit AliasScope(c10::DeviceIndex device) : device_(device) {}

  /// The CPU tensor on the same memory as `tensor`. Tensors that share a storage get aliases that share one, so that a CPU kernel's
  /// overlap checks see what they should. The alias doesn't own the memory: `tensor` is kept until the scope ends. `written`:
  /// the CPU kernel writes to it.
  at::Tensor to_cpu(const at::Tensor& tensor, bool written);

  /// Gives a result of the CPU kernel to the chip: the chip tensor it is an alias of, a view of that one's storage, or a new tensor.
  at::Tensor to_chip(const at::Tensor& result);

  /// Carries over what the CPU kernel did to the shape or the memory of tensors it wrote (resized outputs), and tells strict mode.
  void write_back();

 private:
  struct Pair {
    at::Tensor chip, cpu;
    bool written;
  };
  struct StoragePair {
    c10::Storage chip, cpu;
  };
  c10::Storage alias_storage(const c10::Storage& chip);
  c10::Storage adopt(const c10::Storage& cpu);

  c10::DeviceIndex device_;
  c10::SmallVector<Pair, 6> pairs_;
  c10::SmallVector<StoragePair, 6> storages_;
};

/// A CPU tensor on the memory of a chip tensor that keeps this memory alive. Waits for the device first; what is submitted to the chip
/// while the view is in use is not ordered with it.
at::Tensor cpu_view(const at::Tensor& tensor);

}  // namespace rigi_torch
