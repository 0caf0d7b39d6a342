// The aten operators that make a device: allocation, views, copies, scalars. Everything else goes to the registry's kernels
// (sglang_ext/ops/aten.py), to what torch composes (composites.cpp) or to the counted fallback.

#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/_index_put_impl_ops.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/add_ops.h>
#include <ATen/ops/alias_native.h>
#include <ATen/ops/as_strided_cpu_dispatch.h>
#include <ATen/ops/clamp_ops.h>
#include <ATen/ops/fill_ops.h>
#include <ATen/ops/index_ops.h>
#include <ATen/ops/mul_ops.h>
#include <ATen/ops/sub_ops.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <ATen/ops/zero_ops.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include "copy.hpp"
#include "fallback.hpp"
#include "integers.hpp"
#include "memory.hpp"

namespace rigi_torch {
namespace {

using at::Tensor;
using c10::IntArrayRef;
using c10::SymIntArrayRef;

c10::ScalarType check_new(std::optional<at::ScalarType> dtype, std::optional<at::Layout> layout, std::optional<bool> pin_memory) {
  const at::Layout wanted = c10::layout_or_default(layout);
  TORCH_CHECK(wanted == at::kStrided, "rigi: only dense tensors live on the chip, got layout ", wanted);
  TORCH_CHECK(!c10::pinned_memory_or_default(pin_memory), "rigi: only CPU tensors can be pinned; drop pin_memory=True or the device");
  return c10::dtype_or_default(dtype);
}

Tensor empty(IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout> layout, std::optional<c10::Device> device,
             std::optional<bool> pin_memory, std::optional<at::MemoryFormat> format) {
  const c10::ScalarType type = check_new(dtype, layout, pin_memory);
  const c10::DeviceGuard guard(c10::Device(kRigi, resolve_device(c10::device_or_default(device).index())));
  return at::detail::empty_generic(size, chip_allocator(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), type, format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout> layout,
                     std::optional<c10::Device> device, std::optional<bool> pin_memory) {
  const c10::ScalarType type = check_new(dtype, layout, pin_memory);
  const c10::DeviceGuard guard(c10::Device(kRigi, resolve_device(c10::device_or_default(device).index())));
  return at::detail::empty_strided_generic(size, stride, chip_allocator(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), type);
}

/// A tensor of zeros without memory: autograd's derivatives that are zero. torch makes it real when something reads or writes it.
Tensor zero_tensor(IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout> layout,
                   std::optional<c10::Device> device, std::optional<bool> pin_memory) {
  const c10::ScalarType type = check_new(dtype, layout, pin_memory);
  at::native::ZeroTensorAllocator allocator(c10::Device(kRigi, resolve_device(c10::device_or_default(device).index())));
  const c10::DispatchKeySet keys({c10::DispatchKey::PrivateUse1, c10::DispatchKey::ZeroTensor});
  return at::detail::empty_generic(size, &allocator, keys, type, std::nullopt);
}

Tensor as_strided(const Tensor& self, SymIntArrayRef size, SymIntArrayRef stride, std::optional<c10::SymInt> offset) {
  return at::cpu::as_strided_symint(self, size, stride, std::move(offset));
}
Tensor view(const Tensor& self, SymIntArrayRef size) { return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size)); }
Tensor reshape_alias(const Tensor& self, SymIntArrayRef size, SymIntArrayRef stride) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}
/// Makes the storage hold the tensor as it now is. torch's own resize for the CPU would copy on the host, at once.
void grow(const Tensor& self) {
  if (self.numel() == 0) return;
  const size_t bytes = at::detail::computeStorageNbytes(self.sizes(), self.strides(), self.element_size(), self.storage_offset());
  if (bytes > self.storage().nbytes()) at::native::resize_bytes_nocuda(self.storage(), bytes);
}

const Tensor& resize_tensor(const Tensor& self, IntArrayRef size, std::optional<at::MemoryFormat> format) {
  if (self.sizes() != size) {
    self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
    grow(self);
  }
  if (format) self.unsafeGetTensorImpl()->empty_tensor_restride(*format);
  return self;  // NOLINT(bugprone-return-const-ref-from-parameter): torch's schema of resize_ returns its argument
}
const Tensor& resize_(const Tensor& self, SymIntArrayRef size, std::optional<at::MemoryFormat> format) {
  return resize_tensor(self, C10_AS_INTARRAYREF_SLOW(size), format);
}
Tensor& set_storage_offset(Tensor& self, at::Storage source, int64_t offset, IntArrayRef size, IntArrayRef stride) {
  at::native::checkSetStorage(self, std::move(source), offset, size, stride);
  c10::TensorImpl* impl = self.unsafeGetTensorImpl();
  impl->set_storage_offset(offset);
  if (stride.data() == nullptr) {
    impl->set_sizes_contiguous(size);
  } else {
    impl->set_sizes_and_strides(size, stride);
  }
  grow(self);
  return self;
}
Tensor& set_tensor(Tensor& self, const Tensor& source) {
  return set_storage_offset(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}
Tensor& set_storage(Tensor& self, at::Storage source) {
  const auto items = static_cast<int64_t>(source.nbytes() / self.element_size());
  return set_storage_offset(self, std::move(source), 0, items, {});
}
Tensor copy_from_and_resize(const Tensor& self, const Tensor& dst) {
  resize_tensor(dst, self.sizes(), std::nullopt);
  return copy_from(self, dst, false);
}
Tensor& fill_(Tensor& self, const at::Scalar& value) {
  if (fill_on_chip(self, value)) return self;
  return at::native::call_fallback_fn<&fallback, at::_ops::fill__Scalar>::call(self, value);
}
Tensor& zero_(Tensor& self) {
  if (fill_on_chip(self, 0)) return self;
  return at::native::call_fallback_fn<&fallback, at::_ops::zero_>::call(self);
}
Tensor& add_out(const Tensor& self, const Tensor& other, const at::Scalar& alpha, Tensor& out) {
  if (add_integers(self, other, alpha, /*subtract=*/false, out)) return out;
  return at::native::call_fallback_fn<&fallback, at::_ops::add_out>::call(self, other, alpha, out);
}
Tensor& sub_out(const Tensor& self, const Tensor& other, const at::Scalar& alpha, Tensor& out) {
  if (add_integers(self, other, alpha, /*subtract=*/true, out)) return out;
  return at::native::call_fallback_fn<&fallback, at::_ops::sub_out>::call(self, other, alpha, out);
}
Tensor& mul_out(const Tensor& self, const Tensor& other, Tensor& out) {
  if (multiply_integers(self, other, out)) return out;
  return at::native::call_fallback_fn<&fallback, at::_ops::mul_out>::call(self, other, out);
}
Tensor& clamp_out(const Tensor& self, const std::optional<at::Scalar>& min, const std::optional<at::Scalar>& max, Tensor& out) {
  if (clamp_integers(self, min, max, out)) return out;
  return at::native::call_fallback_fn<&fallback, at::_ops::clamp_out>::call(self, min, max, out);
}
Tensor& index_out(const Tensor& self, const Indices& indices, Tensor& out) {
  if (gather_rows(self, indices, out)) return out;
  return at::native::call_fallback_fn<&fallback, at::_ops::index_Tensor_out>::call(self, indices, out);
}
Tensor& index_put(Tensor& self, const Indices& indices, const Tensor& values, bool accumulate, bool unsafe) {
  if (!accumulate && scatter_rows(self, indices, values)) return self;
  return at::native::call_fallback_fn<&fallback, at::_ops::_index_put_impl_>::call(self, indices, values, accumulate, unsafe);
}
void record_stream(Tensor&, c10::Stream) {}  // submission order makes it right: see ChipAllocator::recordStream

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_efficientzerotensor", zero_tensor);
  m.impl("as_strided", as_strided);
  m.impl("view", view);
  m.impl("_reshape_alias", reshape_alias);
  m.impl("alias", at::native::alias);
  m.impl("unfold", at::native::unfold);
  m.impl("resize_", resize_);
  m.impl("set_.source_Tensor", set_tensor);
  m.impl("set_.source_Storage", set_storage);
  m.impl("set_.source_Storage_storage_offset", set_storage_offset);
  m.impl("_local_scalar_dense", read_scalar);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("fill_.Scalar", fill_);
  m.impl("zero_", zero_);
  m.impl("record_stream", record_stream);
  m.impl("add.out", add_out);
  m.impl("sub.out", sub_out);
  m.impl("mul.out", mul_out);
  m.impl("clamp.out", clamp_out);
  m.impl("index.Tensor_out", index_out);
  m.impl("_index_put_impl_", index_put);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

// The copy itself minds these bits. torch's fallbacks for them would resolve them by a clone, which is such a copy again.
TORCH_LIBRARY_IMPL(aten, Conjugate, m) { m.impl("_copy_from", torch::CppFunction::makeFallthrough()); }
TORCH_LIBRARY_IMPL(aten, Negative, m) { m.impl("_copy_from", torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) { m.fallback(torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  using namespace at::autocast;
  KERNEL_PRIVATEUSEONE(mm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(addmm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(bmm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(matmul, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(linear, lower_precision_fp)
}

}  // namespace
}  // namespace rigi_torch
