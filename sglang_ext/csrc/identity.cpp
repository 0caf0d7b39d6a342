// A module that moves keeps its Parameters: what `tensor.data = other` and `nn.Module.to` ask before they change a tensor in place.

#include <ATen/ops/_has_compatible_shallow_copy_type_native.h>
#include <torch/library.h>

namespace rigi_torch {
namespace {

/// A strided tensor of plain storage. torch's own list of such back ends is fixed and leaves PrivateUse1 out.
bool is_dense(const at::Tensor& tensor) {
  using c10::BackendComponent;
  constexpr c10::DispatchKeySet backends({BackendComponent::CPUBit, BackendComponent::CUDABit, BackendComponent::MPSBit,
                                          BackendComponent::HIPBit, BackendComponent::XPUBit, BackendComponent::HPUBit,
                                          BackendComponent::MTIABit, BackendComponent::PrivateUse1Bit});
  return tensor.key_set().has_any(c10::DispatchKeySet(c10::DispatchKey::Dense)) && tensor.key_set().has_any(backends);
}

/// Called where at least one of the two is on the chip. Without it a move makes new Parameters: an optimizer made before
/// would go on with the old ones, tied weights would come apart, and lazy modules would forget that they are lazy.
bool has_compatible_shallow_copy_type(const at::Tensor& self, const at::Tensor& from) {
  return (is_dense(self) && is_dense(from)) || at::native::_has_compatible_shallow_copy_type(self, from);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) { m.impl("_has_compatible_shallow_copy_type", has_compatible_shallow_copy_type); }

}  // namespace
}  // namespace rigi_torch
