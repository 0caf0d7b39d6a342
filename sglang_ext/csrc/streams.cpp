// Devices, streams and events of torch on those of the SDK.

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <mutex>

#include "bounds.hpp"

namespace rigi_torch {
namespace {

// torch asks for a new stream often and never gives one back, so streams beyond the default one come from a fixed ring per device,
// as they do for CUDA. Stream id 0 is the device's default stream, 1..kPoolSize are the ring.
constexpr int kPoolSize = 32;

thread_local c10::DeviceIndex t_device = 0;
thread_local std::array<c10::StreamId, kMaxDevices> t_stream_id{};
std::atomic<bool> g_forked{false};

struct StreamPool {
  std::mutex mutex;
  std::array<std::atomic<rigiStream_t>, kPoolSize + 1> handles{};
  std::atomic<uint32_t> next{0};
};

std::array<StreamPool, kMaxDevices>& pools() {
  static auto* all = new std::array<StreamPool, kMaxDevices>;  // never destroyed: streams outlive static destruction
  return *all;
}

rigiStream_t stream_handle(c10::DeviceIndex device, c10::StreamId id) {
  TORCH_CHECK(id >= 0 && id <= kPoolSize, "rigi: stream id ", id, " of rigi:", static_cast<int>(device), " does not exist (0..", kPoolSize,
              ")");
  StreamPool& pool = pools()[device];
  rigiStream_t handle = pool.handles[id].load(std::memory_order_acquire);
  if (C10_LIKELY(handle != nullptr)) return handle;
  std::lock_guard<std::mutex> lock(pool.mutex);
  handle = pool.handles[id].load(std::memory_order_acquire);
  if (handle != nullptr) return handle;
  if (id == 0) {
    check(rigiDefaultStream(device, &handle), "rigiDefaultStream");
  } else {
    check(rigiStreamCreate(device, &handle), "rigiStreamCreate");
  }
  pool.handles[id].store(handle, std::memory_order_release);
  return handle;
}

}  // namespace

void raise(rigiStatus status, const char* call) {
  const char* text = rigiGetLastErrorString();
  const std::string message = c10::str(text && *text ? text : "no further text", " [", call, ": ", rigiGetStatusName(status), "]");
  if (status == RIGI_ERROR_OUT_OF_MEMORY) TORCH_CHECK_WITH(OutOfMemoryError, false, message);
  if (status == RIGI_ERROR_KERNEL_FAULT) {
    throw c10::AcceleratorError(
        {__func__, __FILE__, static_cast<uint32_t>(__LINE__)}, status,
        c10::str(message, ". The device refuses work until torch.rigi.reset_device() is called; memory stays valid."));
  }
  TORCH_CHECK(false, message);
}

c10::DeviceIndex device_count() noexcept {
  static const c10::DeviceIndex count = [] {
    int n = 0;
    if (rigiGetDeviceCount(&n) != RIGI_SUCCESS) return c10::DeviceIndex{0};
    pthread_atfork(nullptr, nullptr, [] { g_forked = true; });
    return static_cast<c10::DeviceIndex>(n < kMaxDevices ? n : kMaxDevices);
  }();
  return count;
}

bool in_bad_fork() noexcept { return g_forked.load(std::memory_order_relaxed); }

c10::DeviceIndex current_device() noexcept { return t_device; }

c10::DeviceIndex resolve_device(c10::DeviceIndex device) {
  if (device < 0) device = t_device;
  if (C10_UNLIKELY(device >= device_count())) {
    int n = 0;
    check(rigiGetDeviceCount(&n), "rigiGetDeviceCount");  // if the SDK could not start, this says why
    TORCH_CHECK(false, "rigi:", static_cast<int>(device), " does not exist: this process has ", static_cast<int>(device_count()),
                " device(s); set RIGI_DEVICES (1..", kMaxDevices, ") before it starts");
  }
  TORCH_CHECK(!in_bad_fork(), "rigi: this process was forked from one that had used the chip; start it with the 'spawn' method instead");
  return device;
}

c10::DeviceIndex exchange_device(c10::DeviceIndex device) {
  const c10::DeviceIndex previous = t_device;
  t_device = resolve_device(device);
  return previous;
}

void set_device_unchecked(c10::DeviceIndex device) noexcept { t_device = device; }

rigiStream_t native_stream(const c10::Stream& stream) { return stream_handle(stream.device_index(), stream.id()); }

rigiStream_t current_stream(c10::DeviceIndex device) { return stream_handle(device, t_stream_id[device]); }

void synchronize(c10::DeviceIndex device) {
  check(rigiDeviceSynchronize(device), "rigiDeviceSynchronize");
  check_indices(device);
}

void synchronize(c10::DeviceIndex device, rigiStream_t stream) {
  check(rigiStreamSynchronize(stream), "rigiStreamSynchronize");
  check_indices(device);
}

namespace {

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = kRigi;

  static c10::Stream make(c10::DeviceIndex device, c10::StreamId id) {
    return c10::Stream(c10::Stream::UNSAFE, c10::Device(kRigi, device), id);
  }
  static rigiEvent_t native(void* event) { return static_cast<rigiEvent_t>(event); }

  c10::DeviceType type() const override { return kRigi; }
  c10::Device exchangeDevice(c10::Device device) const override { return {kRigi, exchange_device(device.index())}; }
  c10::Device getDevice() const override { return {kRigi, t_device}; }
  void setDevice(c10::Device device) const override { exchange_device(device.index()); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { t_device = device.index(); }
  c10::DeviceIndex deviceCount() const noexcept override { return device_count(); }
  c10::DeviceCapability getDeviceCapability(c10::Device) const override { return {}; }

  c10::Stream getStream(c10::Device device) const override {
    const auto index = resolve_device(device.index());
    return make(index, t_stream_id[index]);
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return make(resolve_device(device.index()), 0); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return getNewStream(device, 0); }
  c10::Stream getNewStream(c10::Device device, int) const override {
    const auto index = resolve_device(device.index());
    const c10::StreamId id = 1 + pools()[index].next.fetch_add(1, std::memory_order_relaxed) % kPoolSize;
    stream_handle(index, id);
    return make(index, id);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    const auto previous = getStream(stream.device());
    t_stream_id[stream.device_index()] = stream.id();
    return previous;
  }
  void* getStreamNativeHandle(const c10::Stream stream) const override { return native_stream(stream); }
  bool queryStream(const c10::Stream& stream) const override {
    const rigiStatus status = rigiStreamQuery(native_stream(stream));
    if (status == RIGI_ERROR_NOT_READY) return false;
    check(status, "rigiStreamQuery");
    return true;
  }
  void synchronizeStream(const c10::Stream& stream) const override { synchronize(stream.device_index(), native_stream(stream)); }
  void synchronizeDevice(const c10::DeviceIndex device) const override { synchronize(resolve_device(device)); }

  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex, const c10::EventFlag) const override {
    if (*event == nullptr) {
      rigiEvent_t created = nullptr;
      check(rigiEventCreate(&created), "rigiEventCreate");
      *event = created;
    }
    check(rigiEventRecord(native(*event), native_stream(stream)), "rigiEventRecord");
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (event) check(rigiStreamWaitEvent(native_stream(stream), native(event)), "rigiStreamWaitEvent");
  }
  bool queryEvent(void* event) const override {
    if (!event) return true;
    const rigiStatus status = rigiEventQuery(native(event));
    if (status == RIGI_ERROR_NOT_READY) return false;
    check(status, "rigiEventQuery");
    return true;
  }
  void synchronizeEvent(void* event) const override {
    if (!event) return;
    check(rigiEventSynchronize(native(event)), "rigiEventSynchronize");
    check_indices();
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    if (event) rigiEventDestroy(native(event));
  }
  /// Simulated milliseconds on the chip, not host time.
  double elapsedTime(void* start, void* end, const c10::DeviceIndex) const override {
    double milliseconds = 0;
    check(rigiEventElapsedTime(native(start), native(end), &milliseconds), "rigiEventElapsedTime");
    return milliseconds;
  }
  // The device runs its queue in submission order whatever the stream, so memory that is freed and handed out again can only be
  // written by work submitted after the last use: there is nothing to record.
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

}  // namespace
}  // namespace rigi_torch
