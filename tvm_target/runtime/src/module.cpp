#include "module.hpp"

#include <tvm/ffi/cast.h>
#include <tvm/ffi/extra/json.h>
#include <tvm/ffi/reflection/registry.h>

#include <cstring>
#include <memory>
#include <string_view>

#include "launch.hpp"

namespace rigi::loader {

using tvm::ffi::Bytes;
using tvm::ffi::Function;
using tvm::ffi::Module;
using tvm::ffi::Optional;
using tvm::ffi::String;

namespace {

constexpr char kMagic[8] = {'R', 'I', 'G', 'I', 'T', 'V', 'M', '1'};

void Append(std::string& out, const char* data, size_t size) {
  const uint64_t length = size;
  out.append(reinterpret_cast<const char*>(&length), sizeof(length));
  out.append(data, size);
}

std::string Take(const char*& at, const char* end) {
  uint64_t length = 0;
  if (static_cast<size_t>(end - at) < sizeof(length))
    TVM_FFI_THROW(ValueError) << "a Rigi module is cut short; build it again (rigi build)";
  std::memcpy(&length, at, sizeof(length));
  at += sizeof(length);
  if (static_cast<uint64_t>(end - at) < length) TVM_FFI_THROW(ValueError) << "a Rigi module is cut short; build it again (rigi build)";
  std::string text(at, length);
  at += length;
  return text;
}

}  // namespace

RigiModule::RigiModule(Bytes image, String source, String manifest)
    : image_(std::move(image)), source_(std::move(source)), manifest_(std::move(manifest)) {
  namespace json = tvm::ffi::json;
  const auto about = json::Parse(manifest_).cast<json::Object>();
  for (const auto& entry : about["kernels"].cast<json::Array>()) {
    const auto kernel = entry.cast<json::Object>();
    num_args_[kernel["name"].cast<String>()] = kernel["args"].cast<json::Array>().size();
  }
}

RigiModule::~RigiModule() {
  for (auto& place : loaded_) {
    const std::unique_ptr<Loaded> loaded(place.load());
    if (loaded) rigiModuleUnload(loaded->module);
  }
}

Optional<Function> RigiModule::GetFunction(const String& name) {
  if (name == "__tvm_set_device") return SetDeviceFunction();
  // TVM's host code calls the device half of `f` "f_kernel"; on the chip the kernel is called `f`.
  std::string wish = name;
  if (constexpr std::string_view suffix = "_kernel"; !num_args_.contains(wish) && wish.ends_with(suffix))
    wish.resize(wish.size() - suffix.size());
  const auto found = num_args_.find(wish);
  if (found == num_args_.end()) return std::nullopt;
  return LaunchFunction(tvm::ffi::GetObjectPtr<RigiModule>(this), found->first, found->second);
}

String RigiModule::InspectSource(const String& format) const {
  const std::string wish = format;
  if (wish.empty() || wish == "cpp" || wish == "cc" || wish == "c++") return source_;
  if (wish == "json" || wish == "manifest") return manifest_;
  return "";
}

Bytes RigiModule::SaveToBytes() const {
  std::string out(kMagic, sizeof(kMagic));
  Append(out, image_.data(), image_.size());
  Append(out, source_.data(), source_.size());
  Append(out, manifest_.data(), manifest_.size());
  return out;
}

Module RigiModule::LoadFromBytes(const Bytes& bytes) {
  const char* at = bytes.data();
  const char* const end = at + bytes.size();
  if (bytes.size() < sizeof(kMagic) || std::memcmp(at, kMagic, sizeof(kMagic)) != 0) {
    TVM_FFI_THROW(ValueError) << "not a Rigi module, or one written by another version of this loader; build it again (rigi build)";
  }
  at += sizeof(kMagic);
  std::string image = Take(at, end);
  std::string source = Take(at, end);
  std::string manifest = Take(at, end);
  return Module(tvm::ffi::make_object<RigiModule>(Bytes(std::move(image)), String(std::move(source)), String(std::move(manifest))));
}

const Loaded& RigiModule::Load(int device) {
  if (device < 0 || device >= kMaxDevices) {
    TVM_FFI_THROW(ValueError) << "device " << device << " is out of range; Rigi devices are numbered 0 to " << kMaxDevices - 1;
  }
  if (const Loaded* ready = loaded_[device].load(std::memory_order_acquire)) return *ready;
  const std::lock_guard lock(mutex_);
  if (const Loaded* ready = loaded_[device].load()) return *ready;
  auto loaded = std::make_unique<Loaded>();
  Check(rigiModuleLoadData(device, image_.data(), image_.size(), &loaded->module));
  for (const auto& [name, count] : num_args_) {
    Check(rigiModuleGetKernel(loaded->module, name.c_str(), &loaded->kernels[name]));
  }
  loaded_[device].store(loaded.get(), std::memory_order_release);
  return *loaded.release();
}

rigiKernel_t RigiModule::Kernel(int device, const std::string& name) { return Load(device).kernels.at(name); }

TVM_FFI_STATIC_INIT_BLOCK() {
  namespace refl = tvm::ffi::reflection;
  refl::GlobalDef()
      .def("ffi.Module.create.rigi",
           [](const Bytes& image, const String& source, const String& manifest) {
             return Module(tvm::ffi::make_object<RigiModule>(image, source, manifest));
           })
      .def("ffi.Module.load_from_bytes.rigi", RigiModule::LoadFromBytes);
  RegisterContextSymbols();
}

}  // namespace rigi::loader
