// Generators and the hooks by which torch asks about the device.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>

#include <array>

#include "generator.hpp"
#include "memory.hpp"

namespace rigi_torch {
namespace {

struct RigiGenerator final : c10::GeneratorImpl {
  explicit RigiGenerator(c10::DeviceIndex device, at::Generator cpu = at::detail::createCPUGenerator())
      : GeneratorImpl(c10::Device(kRigi, device), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)), cpu(std::move(cpu)) {}

  static c10::DeviceType device_type() { return kRigi; }
  void set_current_seed(uint64_t seed) override { cpu.set_current_seed(seed); }
  void set_offset(uint64_t offset) override { cpu.set_offset(offset); }
  uint64_t get_offset() const override { return cpu.get_offset(); }
  uint64_t current_seed() const override { return cpu.current_seed(); }
  uint64_t seed() override { return cpu.seed(); }
  void set_state(const c10::TensorImpl& state) override { cpu.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return cpu.unsafeGetGeneratorImpl()->get_state(); }
  RigiGenerator* clone_impl() const override { return new RigiGenerator(device().index(), cpu.clone()); }

  at::Generator cpu;
};

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return device_count() > 0; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return device_count(); }
  void setCurrentDevice(c10::DeviceIndex device) const override { exchange_device(device); }
  c10::DeviceIndex getCurrentDevice() const override { return current_device(); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override { return exchange_device(device); }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override {
    return device < 0 ? current_device() : exchange_device(device);
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex device) const override { return default_generator(resolve_device(device)); }
  at::Generator getNewGenerator(c10::DeviceIndex device) const override {
    return at::make_generator<RigiGenerator>(resolve_device(device));
  }
  at::Allocator* getPinnedMemoryAllocator() const override { return pinned_allocator(); }
  bool isPinnedPtr(const void* pointer) const override { return is_pinned(pointer); }
  c10::Device getDeviceFromPtr(void* pointer) const override {
    int device = 0;
    TORCH_CHECK(rigiPointerGetDevice(pointer, &device) == RIGI_SUCCESS, "rigi: address ", pointer, " is not in the memory of any chip");
    return {kRigi, static_cast<c10::DeviceIndex>(device)};
  }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    c10::StorageImpl* impl = storage.unsafeGetStorageImpl();
    TORCH_CHECK(impl->resizable(), "rigi: this storage cannot be resized: it shares memory that it doesn't own");
    const c10::DeviceIndex device = storage.device().index();
    c10::DataPtr data = allocate_on(device, bytes);
    const size_t kept = std::min(bytes, impl->nbytes());
    if (kept > 0) check(rigiMemcpyAsync(data.get(), impl->data(), kept, current_stream(device)), "rigiMemcpyAsync");
    impl->set_data_ptr_noswap(std::move(data));
    impl->set_nbytes(bytes);
  }
};

// NOLINTNEXTLINE(bugprone-throwing-static-initialization): torch throws only at a second registration
[[maybe_unused]] const bool g_registered = [] {
  static Hooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  return true;
}();

}  // namespace

const at::Generator& default_generator(c10::DeviceIndex device) {
  static auto* all = [] {
    auto* generators = new std::array<at::Generator, kMaxDevices>;
    for (int i = 0; i < kMaxDevices; i++) (*generators)[i] = at::make_generator<RigiGenerator>(static_cast<c10::DeviceIndex>(i));
    return generators;
  }();
  return (*all)[device];
}

at::Generator cpu_generator(const at::Generator& generator) {
  if (!generator.defined() || generator.device().type() != kRigi) return generator;
  return static_cast<RigiGenerator*>(generator.unsafeGetGeneratorImpl())->cpu;
}

}  // namespace rigi_torch
