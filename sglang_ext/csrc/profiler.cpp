// The device's times in torch.autograd.profiler (use_device="rigi"): events of the SDK around each operator, so simulated time.

#include <torch/csrc/profiler/stubs/base.h>

#include <chrono>

#include "sdk.hpp"

namespace rigi_torch {
namespace {

using torch::profiler::impl::ProfilerStubs;
using torch::profiler::impl::ProfilerVoidEventStub;

struct Stubs final : ProfilerStubs {
  static rigiEvent_t native(const ProfilerVoidEventStub* event) { return static_cast<rigiEvent_t>(event->get()); }

  void record(c10::DeviceIndex* device, ProfilerVoidEventStub* event, int64_t* cpu_ns) const override {
    const c10::DeviceIndex current = current_device();
    if (device != nullptr) *device = current;
    rigiEvent_t created = nullptr;
    check(rigiEventCreate(&created), "rigiEventCreate");
    *event = ProfilerVoidEventStub(created, [](void* held) { rigiEventDestroy(static_cast<rigiEvent_t>(held)); });
    if (cpu_ns != nullptr) {
      const auto now = std::chrono::system_clock::now().time_since_epoch();
      *cpu_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
    }
    if (!capturing(current)) check(rigiEventRecord(created, current_stream(current)), "rigiEventRecord");  // a graph's work has no time yet
  }
  /// Microseconds; 0 for what was noted in a graph and for functional mode.
  float elapsed(const ProfilerVoidEventStub* begin, const ProfilerVoidEventStub* end) const override {
    double milliseconds = 0;
    if (rigiEventSynchronize(native(end)) != RIGI_SUCCESS) return 0;
    const rigiStatus status = rigiEventElapsedTime(native(begin), native(end), &milliseconds);
    return status == RIGI_SUCCESS ? static_cast<float>(milliseconds * 1e3) : 0;
  }
  void mark(const char*) const override {}
  void rangePush(const char*) const override {}
  void rangePop() const override {}
  bool enabled() const override { return true; }
  void onEachDevice(std::function<void(int)> op) const override {
    for (int device = 0; device < device_count(); device++) op(device);
  }
  void synchronize() const override { rigi_torch::synchronize(current_device()); }
};

[[maybe_unused]] const bool g_registered = [] {
  static Stubs stubs;
  torch::profiler::impl::registerPrivateUse1Methods(&stubs);
  return true;
}();

}  // namespace
}  // namespace rigi_torch
