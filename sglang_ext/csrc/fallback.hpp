// The counted fallback: what runs an aten op on the CPU when the chip has no kernel for it, and never silently.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <map>
#include <string>
#include <string_view>

#include "alias.hpp"

namespace rigi_torch {

enum class FallbackMode { kAllow, kWarn, kError };

/// RIGI_FALLBACK=error|warn|allow (default allow) at start, then what set_fallback_mode said.
FallbackMode fallback_mode();
void set_fallback_mode(FallbackMode mode);

/// Calls by operator name since the start or the last reset.
std::map<std::string, int64_t> fallback_counts();
void reset_fallback_counts();

/// Counts one fallback of `name`; warns or raises as the mode says. `describe` gives the operands' text, asked for only then.
template <class Describe>
void admit_fallback(std::string_view name, Describe&& describe);

/// The boxed kernel of every operator without one of its own.
void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack);

/// "bfloat16[2, 3] on rigi:0", for messages.
std::string describe(const at::Tensor& tensor);

namespace detail {
bool count_fallback(std::string_view name);  // true if this is the one to warn about
[[noreturn]] void refuse_fallback(std::string_view name, const std::string& operands);
void warn_fallback(std::string_view name, const std::string& operands);
}  // namespace detail

template <class Describe>
void admit_fallback(std::string_view name, Describe&& describe) {
  const FallbackMode mode = fallback_mode();
  if (C10_UNLIKELY(mode == FallbackMode::kError)) detail::refuse_fallback(name, describe());
  const bool first = detail::count_fallback(name);
  if (C10_UNLIKELY(mode == FallbackMode::kWarn && first)) detail::warn_fallback(name, describe());
}

}  // namespace rigi_torch
