// What the chip has not, said where it is asked for: tensors of other layouts than dense and of torch's quantized types, and gradients of
// the registry's ops.

#include "refusals.hpp"

#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>

#include <list>

#include "fallback.hpp"

namespace rigi_torch {
namespace {

void refuse(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack*) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      false, c10::toString(op.operator_name()),
      ": only dense tensors of plain dtypes live on the chip, no sparse, nested or quantized ones. Keep this one on "
      "the CPU, or make it dense (to_dense(), to_padded_tensor(), dequantize()) and move that with .to('rigi')");
}

TORCH_LIBRARY_IMPL(_, SparsePrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&refuse>()); }
TORCH_LIBRARY_IMPL(_, SparseCsrPrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&refuse>()); }
TORCH_LIBRARY_IMPL(_, QuantizedPrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&refuse>()); }
TORCH_LIBRARY_IMPL(_, NestedTensorPrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&refuse>()); }

// torch composes these for any device.
TORCH_LIBRARY_IMPL(aten, SparseCsrPrivateUse1, m) {
  for (const char* name : {"_sparse_compressed_tensor_unsafe", "_sparse_compressed_tensor_with_dims",
                           "sparse_compressed_tensor.comp_plain_value_size", "sparse_compressed_tensor.comp_plain_value"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&refuse>());
}
TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  for (const char* name :
       {"_nested_tensor_from_tensor_list", "_nested_view_from_buffer", "_nested_tensor_from_mask", "_nested_from_padded"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&refuse>());
  // nn.TransformerEncoder asks before it makes one, and can do without.
  m.impl("_nested_tensor_from_mask_left_aligned", [](const at::Tensor&, const at::Tensor&) { return false; });
}

}  // namespace

void refuse_backward(const std::string& name) {
  static auto* libraries = new std::list<torch::Library>;  // a registration lasts as long as its library
  libraries->emplace_back(torch::Library::IMPL, "rigi", c10::DispatchKey::AutogradPrivateUse1, __FILE__, __LINE__);
  libraries->back().impl(name.c_str(), torch::autograd::autogradNotImplementedFallback());
}

}  // namespace rigi_torch
