// Operators that torch composes in another way, refuses or leaves to the device because of the device's name. On the chip they are what
// they are on the CPU: taken whole by the fallback, or composed of the same steps.
//
// Only kernels below autograd are registered for PrivateUse1, and only of operators whose gradient torch knows: a kernel in the place of an
// operator that autograd sees through (CompositeImplicitAutograd) would cut the gradients. What replaces such a composition is registered
// for AutogradPrivateUse1 too, so that autograd sees through it again.

#include "composites.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/ops/_fused_sdp_choice_native.h>
#include <ATen/ops/histc_ops.h>
#include <torch/library.h>

#include "fallback.hpp"

namespace at::native {
// Without a choice torch composes attention of products and a softmax. The CPU's choice gives the CPU's bits, and its gradients.
REGISTER_PRIVATEUSE1_DISPATCH(_fused_sdp_choice_stub, &_fused_sdp_choice_cpp)
}  // namespace at::native

namespace rigi_torch {
namespace {

using at::Tensor;
using MaybeTensor = std::optional<Tensor>;

bool given(const MaybeTensor& tensor) { return tensor && tensor->defined(); }

/// Gates [batch, parts * hidden] with their bias, in parts of [batch, hidden].
std::vector<Tensor> parts_of(const Tensor& gates, const MaybeTensor& bias, int64_t parts) {
  return (given(bias) ? gates + *bias : gates).chunk(parts, 1);
}

/// torch.nn.LSTMCell from its products: input and hidden [batch, 4 * hidden], cell state cx [batch, hidden]. The third result is what a
/// fused backward would need; here autograd knows the steps.
std::tuple<Tensor, Tensor, Tensor> lstm_cell(const Tensor& input, const Tensor& hidden, const Tensor& cx, const MaybeTensor& input_bias,
                                             const MaybeTensor& hidden_bias) {
  const Tensor gates = given(input_bias) ? (input + *input_bias) + (hidden + *hidden_bias) : input + hidden;
  const std::vector<Tensor> parts = gates.chunk(4, 1);
  const Tensor cy = parts[1].sigmoid() * cx + parts[0].sigmoid() * parts[2].tanh();
  return {parts[3].sigmoid() * cy.tanh(), cy, gates};
}

/// torch.nn.GRUCell from its products: input and hidden [batch, 3 * hidden], state hx [batch, hidden].
std::tuple<Tensor, Tensor> gru_cell(const Tensor& input, const Tensor& hidden, const Tensor& hx, const MaybeTensor& input_bias,
                                    const MaybeTensor& hidden_bias) {
  const std::vector<Tensor> from_input = parts_of(input, input_bias, 3), from_hidden = parts_of(hidden, hidden_bias, 3);
  const Tensor reset = (from_hidden[0] + from_input[0]).sigmoid(), update = (from_hidden[1] + from_input[1]).sigmoid();
  const Tensor fresh = (from_input[2] + from_hidden[2] * reset).tanh();
  return {(hx - fresh) * update + fresh, fresh};
}

/// Integers are counted as on other devices that are not the CPU, whose own kernel takes floats only. Exact up to 2^53.
Tensor histc(const Tensor& self, int64_t bins, const at::Scalar& min, const at::Scalar& max) {
  if (at::isIntegralType(self.scalar_type(), /*includeBool=*/false)) return self.to(at::kDouble).histc(bins, min, max).to(self.dtype());
  return at::native::call_fallback_fn<&fallback, at::_ops::histc>::call(self, bins, min, max);
}
Tensor& histc_out(const Tensor& self, int64_t bins, const at::Scalar& min, const at::Scalar& max, Tensor& out) {
  if (!at::isIntegralType(self.scalar_type(), /*includeBool=*/false))
    return at::native::call_fallback_fn<&fallback, at::_ops::histc_out>::call(self, bins, min, max, out);
  TORCH_CHECK(out.scalar_type() == self.scalar_type(),
              "torch.histogram: input tensor and hist tensor should have the same dtype, but got input ", self.scalar_type(), " and hist ",
              out.scalar_type());
  at::native::resize_output(out, {bins});
  return out.copy_(self.histc(bins, min, max));
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  for (const char* name :
       {"convolution", "_convolution", "convolution_backward", "mode.values", "narrow_copy", "addr_", "pixel_shuffle", "pixel_unshuffle"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&fallback>());
  m.impl("histc", histc);
  m.impl("histc.out", histc_out);
  m.impl("_thnn_fused_lstm_cell", lstm_cell);
  m.impl("_thnn_fused_gru_cell", gru_cell);
}

TORCH_LIBRARY_IMPL(aten, AutogradPrivateUse1, m) {
  m.impl("_thnn_fused_lstm_cell", lstm_cell);
  m.impl("_thnn_fused_gru_cell", gru_cell);
}

}  // namespace

void take_whole() {
  using c10::DispatchKey;
  static auto* library = new torch::Library(torch::Library::IMPL, "aten", DispatchKey::PrivateUse1, __FILE__, __LINE__);
  c10::Dispatcher& dispatcher = c10::Dispatcher::singleton();
  for (const c10::OperatorName& name : dispatcher.getAllOpNames()) {
    if (name.name.rfind("aten::", 0) != 0) continue;
    const auto op = dispatcher.findOp(name);
    const auto has = [&](DispatchKey key) { return op->hasKernelForDispatchKey(key); };
    const bool differentiable = has(DispatchKey::Autograd);
    const bool composed = has(DispatchKey::CompositeExplicitAutograd) || (has(DispatchKey::CompositeImplicitAutograd) && differentiable);
    if (composed && has(DispatchKey::CPU) && !has(DispatchKey::PrivateUse1))
      library->impl(c10::toString(name).c_str(), torch::CppFunction::makeFromBoxedFunction<&fallback>());
  }
}

}  // namespace rigi_torch
