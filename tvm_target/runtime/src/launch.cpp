#include "launch.hpp"

#include <tvm/ffi/extra/c_env_api.h>

#include <cstdlib>
#include <vector>

#include "workspace.hpp"

namespace rigi::loader {

using tvm::ffi::Any;
using tvm::ffi::AnyView;
using tvm::ffi::Function;

namespace {

constexpr size_t kFewArgs = 64;  // so many are passed without an allocation

thread_local int current_device = 0;

rigiArg Word(const TVMFFIAny& value, const std::string& kernel, size_t place) {
  rigiArg word = {};
  switch (value.type_index) {
    case kTVMFFINone:  // the data of an empty tensor
      break;
    case kTVMFFIOpaquePtr:
      word.ptr = value.v_ptr;
      break;
    case kTVMFFIBool:
    case kTVMFFIInt:
      word.i64 = value.v_int64;
      break;
    case kTVMFFIFloat:
      word.f64 = value.v_float64;
      break;
    default:
      TVM_FFI_THROW(TypeError) << "kernel " << kernel << ", argument " << place
                               << ": expected a pointer, an integer or a float; call the function "
                               << "of the module, not the kernel in its import";
  }
  return word;
}

// Scratch memory of compiled host code: in HBM for the kernels it launches, on the host for itself.
void* BackendAllocWorkspace(int device_type, int device, uint64_t bytes, int, int) {
  constexpr size_t kAlignment = 64;
  if (device_type == kDLExtDev) return AllocWorkspace(device, bytes);
  return std::aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment);
}

int BackendFreeWorkspace(int device_type, int, void* pointer) {
  if (device_type != kDLExtDev) {
    std::free(pointer);
    return 0;
  }
  if (rigiFree(pointer) == RIGI_SUCCESS) return 0;
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", rigiGetLastErrorString());
  return -1;
}

struct Launcher {
  tvm::ffi::ObjectPtr<RigiModule> module;
  std::string name;
  size_t num_args;

  void operator()(const AnyView* args, int32_t count, Any*) const {
    if (static_cast<size_t>(count) < num_args) {
      TVM_FFI_THROW(TypeError) << "kernel " << name << " takes " << num_args << " arguments, got " << count;
    }
    rigiArg few[kFewArgs];
    std::vector<rigiArg> many(num_args > kFewArgs ? num_args : 0);
    rigiArg* words = many.empty() ? few : many.data();
    for (size_t i = 0; i < num_args; ++i) words[i] = Word(args[i].CopyToTVMFFIAny(), name, i);
    const int device = current_device;
    const rigiKernel_t kernel = module->Kernel(device, name);
    auto stream = static_cast<rigiStream_t>(TVMFFIEnvGetStream(kDLExtDev, device));
    if (stream == nullptr) Check(rigiDefaultStream(device, &stream));
    Check(rigiLaunchKernel(kernel, stream, words, num_args));
  }
};

}  // namespace

void Check(rigiStatus status) {
  if (status != RIGI_SUCCESS) TVM_FFI_THROW(RuntimeError) << rigiGetLastErrorString();
}

Function SetDeviceFunction() {
  static const Function function = Function::FromPacked([](const AnyView* args, int32_t count, Any* result) {
    if (count == 2 && args[0].cast<int>() == kDLExtDev) {
      current_device = args[1].cast<int>();
      return;
    }
    const auto general = Function::GetGlobal("__tvm_set_device");
    if (!general)
      TVM_FFI_THROW(RuntimeError) << "this process has no TVM runtime for device type " << (count > 0 ? args[0].cast<int>() : -1);
    general->CallPacked(args, count, result);
  });
  return function;
}

Function LaunchFunction(tvm::ffi::ObjectPtr<RigiModule> module, const std::string& name, size_t num_args) {
  return Function::FromPacked(Launcher{std::move(module), name, num_args});
}

void RegisterContextSymbols() {
  if (Function::GetGlobal("__tvm_set_device")) return;  // libtvm_runtime is here, with its own
  // The addresses are data to the registry. TVM, if it is loaded later, puts its own in their place.
  const std::pair<const char*, void*> symbols[] = {
      {"__TVMFFIFunctionCall", reinterpret_cast<void*>(TVMFFIFunctionCall)},
      {"__TVMFFIErrorSetRaisedFromCStr", reinterpret_cast<void*>(TVMFFIErrorSetRaisedFromCStr)},
      {"__TVMFFIErrorSetRaisedFromCStrParts", reinterpret_cast<void*>(TVMFFIErrorSetRaisedFromCStrParts)},
      {"__TVMFFIEnvModLookupFromImports", reinterpret_cast<void*>(TVMFFIEnvModLookupFromImports)},
      {"__TVMFFIHandleInitOnce", reinterpret_cast<void*>(TVMFFIHandleInitOnce)},
      {"__TVMBackendAllocWorkspace", reinterpret_cast<void*>(BackendAllocWorkspace)},
      {"__TVMBackendFreeWorkspace", reinterpret_cast<void*>(BackendFreeWorkspace)},
  };
  for (const auto& [name, address] : symbols) {
    if (TVMFFIEnvModRegisterContextSymbol(name, address) != 0) TVM_FFI_THROW(RuntimeError) << "cannot register " << name << " with tvm-ffi";
  }
}

}  // namespace rigi::loader
