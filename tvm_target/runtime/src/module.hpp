// A runtime module of kind "rigi": one packed Rigi-1 image with its source and manifest, callable through tvm-ffi.
#pragma once

#include <rigi.h>
#include <tvm/ffi/extra/module.h>

#include <array>
#include <atomic>
#include <mutex>
#include <string>
#include <unordered_map>

namespace rigi::loader {

// The image loaded on one device, and its kernels by name. Filled at the first call on that device.
struct Loaded {
  rigiModule_t module = nullptr;
  std::unordered_map<std::string, rigiKernel_t> kernels;
};

class RigiModule final : public tvm::ffi::ModuleObj {
 public:
  static constexpr int kMaxDevices = 16;

  RigiModule(tvm::ffi::Bytes image, tvm::ffi::String source, tvm::ffi::String manifest);
  ~RigiModule();  // not virtual: tvm-ffi deletes objects by their own type
  RigiModule(const RigiModule&) = delete;
  RigiModule& operator=(const RigiModule&) = delete;

  const char* kind() const final { return "rigi"; }
  int GetPropertyMask() const final { return tvm::ffi::Module::kBinarySerializable | tvm::ffi::Module::kRunnable; }
  // A kernel by name, or "__tvm_set_device": host code looks for that in its imports before it asks the process.
  tvm::ffi::Optional<tvm::ffi::Function> GetFunction(const tvm::ffi::String& name) final;
  // The C++ source; with format "json" or "manifest", the manifest.
  tvm::ffi::String InspectSource(const tvm::ffi::String& format) const final;
  tvm::ffi::Bytes SaveToBytes() const final;
  static tvm::ffi::Module LoadFromBytes(const tvm::ffi::Bytes& bytes);

  // The kernel on a device; loads the image there if this is its first use. Throws with the SDK's text.
  rigiKernel_t Kernel(int device, const std::string& name);

 private:
  const Loaded& Load(int device);

  const tvm::ffi::Bytes image_;
  const tvm::ffi::String source_;
  const tvm::ffi::String manifest_;
  std::unordered_map<std::string, size_t> num_args_;  // of each kernel
  std::mutex mutex_;
  std::array<std::atomic<Loaded*>, kMaxDevices> loaded_ = {};
};

}  // namespace rigi::loader
