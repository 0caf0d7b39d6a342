#include "fallback.hpp"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/List.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <unordered_map>

#include "generator.hpp"

namespace rigi_torch {
namespace {

FallbackMode mode_from_environment() {
  const char* value = std::getenv("RIGI_FALLBACK");
  const std::string_view text = value ? value : "allow";
  if (text == "error") return FallbackMode::kError;
  if (text == "warn") return FallbackMode::kWarn;
  if (text != "allow" && !text.empty()) {
    TORCH_WARN("RIGI_FALLBACK=", text, " is not one of error, warn, allow; taking 'warn', so that nothing runs on the host unseen");
  }
  return text == "allow" || text.empty() ? FallbackMode::kAllow : FallbackMode::kWarn;
}

std::atomic<FallbackMode>& mode() {
  static std::atomic<FallbackMode> value{mode_from_environment()};
  return value;
}

struct Count {
  int64_t calls = 0;
  bool warned = false;
};

struct Counts {
  std::mutex mutex;
  std::map<std::string, Count, std::less<>> by_name;
};

Counts& counts() {
  static auto* one = new Counts;
  return *one;
}

/// What the fallback needs to know of an operator, worked out once.
struct Operator {
  std::string name;
  bool is_view = false;           // every result is a view of an operand: metadata only, no work
  bool in_place = false;          // its one result is its first operand, written
  bool host_indices = false;      // index ops take index tensors from the host, as on every device
  int generator_argument = -1;
};

const Operator& lookup(const c10::OperatorHandle& op) {
  static auto* known = new std::unordered_map<c10::OperatorName, Operator>;
  static auto* mutex = new std::mutex;
  std::lock_guard<std::mutex> lock(*mutex);
  const auto found = known->find(op.operator_name());
  if (C10_LIKELY(found != known->end())) return found->second;  // references into an unordered_map stay valid
  const c10::FunctionSchema& schema = op.schema();
  Operator info;
  info.name = c10::toString(op.operator_name());
  info.is_view = !schema.returns().empty();
  for (const auto& result : schema.returns()) info.is_view &= result.alias_info() && !result.alias_info()->isWrite();
  info.in_place = schema.returns().size() == 1 && schema.returns()[0].alias_info() && schema.returns()[0].alias_info()->isWrite() &&
                  !schema.arguments().empty() && schema.arguments()[0].alias_info() && schema.arguments()[0].alias_info()->isWrite();
  info.host_indices = schema.name().find("index") != std::string::npos;
  for (size_t i = 0; i < schema.arguments().size(); i++)
    if (schema.arguments()[i].name() == "generator") info.generator_argument = static_cast<int>(i);
  return known->emplace(op.operator_name(), std::move(info)).first->second;
}

/// Calls `visit(tensor, argument index)` for every defined tensor among the arguments, in lists too.
template <class Visit>
void each_tensor(const c10::IValue* arguments, size_t count, Visit&& visit) {
  for (size_t i = 0; i < count; i++) {
    const c10::IValue& value = arguments[i];
    if (value.isTensor()) {
      if (value.toTensor().defined()) visit(value.toTensor(), i);
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector())
        if (tensor.defined()) visit(tensor, i);
    } else if (value.isOptionalTensorList()) {
      for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector())
        if (tensor && tensor->defined()) visit(*tensor, i);
    }
  }
}

std::string describe_arguments(const c10::FunctionSchema& schema, const c10::IValue* arguments) {
  std::ostringstream text;
  each_tensor(arguments, schema.arguments().size(), [&](const at::Tensor& tensor, size_t i) {
    text << (text.tellp() > 0 ? ", " : "") << schema.arguments()[i].name() << " " << describe(tensor);
  });
  return text.str();
}

/// The one chip all operands are on. Host tensors beside them are refused, except 0-dim ones (scalars) and host indices.
c10::DeviceIndex common_device(const Operator& info, const c10::FunctionSchema& schema, const c10::IValue* arguments) {
  c10::DeviceIndex device = -1;
  bool host = false;
  each_tensor(arguments, schema.arguments().size(), [&](const at::Tensor& tensor, size_t i) {
    if (on_chip(tensor)) {
      TORCH_CHECK(device < 0 || device == tensor.device().index(), info.name, ": all operands must be on one chip, got ",
                  describe_arguments(schema, arguments), "; move them with .to()");
      device = tensor.device().index();
    } else if (tensor.dim() > 0 && !(info.host_indices && schema.arguments()[i].name() == "indices")) {
      host = true;
    }
  });
  TORCH_CHECK(device < 0 || !host, info.name, ": all operands must be on the same device, got ", describe_arguments(schema, arguments),
              "; move them with .to('rigi') (only 0-dim CPU tensors may mix with the chip's)");
  if (device >= 0) return device;
  for (size_t i = 0; i < schema.arguments().size(); i++)
    if (arguments[i].isDevice() && arguments[i].toDevice().type() == kRigi) return resolve_device(arguments[i].toDevice().index());
  return resolve_device(-1);
}

/// In timing-only mode the host writes no large block of the chip's memory either: what it would compute there nobody reads, and a model's
/// weights may be larger than the host. Small blocks carry lengths and page tables, and are computed as ever.
bool only_times(const Operator& info, c10::DeviceIndex device, const c10::IValue* arguments, size_t count) {
  constexpr size_t kSmall = size_t{64} << 10;  // as the SDK's copies have it
  if (!info.in_place || device_mode(device) != RIGI_TIMING_ONLY) return false;
  bool large = false;
  each_tensor(arguments, count, [&](const at::Tensor& tensor, size_t) { large |= on_chip(tensor) && tensor.nbytes() > kSmall; });
  return large;
}

void to_cpu(c10::IValue& value, bool written, AliasScope& scope) {
  if (value.isTensor()) {
    if (on_chip(value.toTensor())) value = scope.to_cpu(value.toTensor(), written);
  } else if (value.isTensorList()) {
    auto list = value.toTensorVector();
    for (at::Tensor& tensor : list)
      if (on_chip(tensor)) tensor = scope.to_cpu(tensor, written);
    value = c10::List<at::Tensor>(list);
  } else if (value.isOptionalTensorList()) {
    auto list = value.toOptionalTensorVector();
    for (auto& tensor : list)
      if (tensor && on_chip(*tensor)) tensor = scope.to_cpu(*tensor, written);
    value = c10::List<std::optional<at::Tensor>>(list);
  } else if (value.isDevice()) {
    if (value.toDevice().type() == kRigi) value = c10::Device(c10::kCPU);
  } else if (value.isGenerator()) {
    value = cpu_generator(value.toGenerator());
  }
}

void to_chip(c10::IValue& value, AliasScope& scope) {
  if (value.isTensor()) {
    value = scope.to_chip(value.toTensor());
  } else if (value.isTensorList()) {
    auto list = value.toTensorVector();
    for (at::Tensor& tensor : list) tensor = scope.to_chip(tensor);
    value = c10::List<at::Tensor>(list);
  }
}

}  // namespace

FallbackMode fallback_mode() { return mode().load(std::memory_order_relaxed); }
void set_fallback_mode(FallbackMode value) { mode() = value; }

std::map<std::string, int64_t> fallback_counts() {
  std::lock_guard<std::mutex> lock(counts().mutex);
  std::map<std::string, int64_t> result;
  for (const auto& [name, count] : counts().by_name)
    if (count.calls > 0) result.emplace(name, count.calls);
  return result;
}

void reset_fallback_counts() {
  std::lock_guard<std::mutex> lock(counts().mutex);
  for (auto& [name, count] : counts().by_name) count.calls = 0;  // each op still warns only once
}

std::string describe(const at::Tensor& tensor) {
  std::ostringstream text;
  text << c10::toString(tensor.scalar_type()) << tensor.sizes() << " on " << tensor.device();
  return text.str();
}

namespace detail {

bool count_fallback(std::string_view name) {
  TORCH_CHECK(!capturing(resolve_device(-1)), name,
              " has no kernel on the chip and the host cannot compute for a graph: its operands do not exist "
              "while the stream captures. Use an op that `rigi ops` lists, or leave this one out of the capture");
  std::lock_guard<std::mutex> lock(counts().mutex);
  auto found = counts().by_name.find(name);
  if (C10_UNLIKELY(found == counts().by_name.end())) found = counts().by_name.emplace(std::string(name), Count{}).first;
  found->second.calls++;
  if (found->second.warned || fallback_mode() != FallbackMode::kWarn) return false;
  return found->second.warned = true;
}

void refuse_fallback(std::string_view name, const std::string& operands) {
  TORCH_CHECK(
      false, name, " has no kernel on the chip for (", operands,
      ") and RIGI_FALLBACK=error forbids running it on the host. Use an op that `rigi ops` lists, change the operands' dtype or layout to "
      "one it takes, or allow it with RIGI_FALLBACK=warn or torch.rigi.set_fallback_mode('allow')");
}

void warn_fallback(std::string_view name, const std::string& operands) {
  TORCH_WARN(name, " has no kernel on the chip for (", operands,
             "): it runs on the host. Said once per op; torch.rigi.fallbacks() counts.");
}

}  // namespace detail

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Operator& info = lookup(op);
  const c10::FunctionSchema& schema = op.schema();
  const size_t argument_count = schema.arguments().size();
  c10::IValue* arguments = stack->data() + (stack->size() - argument_count);

  const c10::DeviceIndex device = common_device(info, schema, arguments);
  TORCH_CHECK(op.hasComputedKernelForDispatchKey(c10::DispatchKey::CPU), info.name,
              " has neither a kernel for the chip nor one for the CPU (", describe_arguments(schema, arguments), ")");
  if (!info.is_view) {
    admit_fallback(info.name, [&] { return describe_arguments(schema, arguments); });
    // Work is asynchronous and any stream may have written the operands: wait for all that was submitted to this device.
    synchronize(device);
  }
  if (only_times(info, device, arguments, argument_count)) {
    c10::IValue self = arguments[0];
    torch::jit::drop(*stack, argument_count);
    torch::jit::push(*stack, std::move(self));
    return;
  }

  AliasScope scope(device);
  for (size_t i = 0; i < argument_count; i++) {
    const c10::AliasInfo* alias = schema.arguments()[i].alias_info();
    to_cpu(arguments[i], alias != nullptr && alias->isWrite(), scope);
  }
  if (info.generator_argument >= 0 && arguments[info.generator_argument].isNone())
    arguments[info.generator_argument] = cpu_generator(default_generator(device));
  {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  }
  scope.write_back();
  c10::IValue* results = stack->data() + (stack->size() - schema.returns().size());
  for (size_t i = 0; i < schema.returns().size(); i++) to_chip(results[i], scope);
}

}  // namespace rigi_torch
