// TVM's view of the device's memory: `device_api.ext_dev`. A library of its own, because it links libtvm_runtime: only a process that
// has imported TVM loads it. With it tvm.runtime.tensor, copies and relax.VirtualMachine work on tvm.device("ext_dev", n).
#include <rigi.h>
#include <tvm/ffi/extra/c_env_api.h>
#include <tvm/ffi/reflection/registry.h>
#include <tvm/runtime/device_api.h>

#include "workspace.hpp"

namespace rigi {
namespace {

using tvm::runtime::DeviceAttrKind;

void Check(rigiStatus status) {
  if (status == RIGI_SUCCESS) return;
  if (status == RIGI_ERROR_OUT_OF_MEMORY) TVM_FFI_THROW(MemoryError) << rigiGetLastErrorString();
  TVM_FFI_THROW(RuntimeError) << rigiGetLastErrorString();
}

bool IsRigi(DLDevice device) { return device.device_type == kDLExtDev; }

class DeviceApi final : public tvm::runtime::DeviceAPI {
 public:
  // Every call names its device, and the kernels' launcher keeps its own.
  void SetDevice(DLDevice device) override {
    rigiDeviceProperties properties;
    Check(rigiGetDeviceProperties(device.device_id, &properties));
  }

  void GetAttr(DLDevice device, DeviceAttrKind kind, tvm::ffi::Any* value) override {
    rigiDeviceProperties properties;
    const bool exists = rigiGetDeviceProperties(device.device_id, &properties) == RIGI_SUCCESS;
    if (kind == tvm::runtime::kExist) {
      *value = static_cast<int>(exists);
      return;
    }
    if (!exists) TVM_FFI_THROW(ValueError) << rigiGetLastErrorString();
    size_t free_bytes = 0, total_bytes = 0;
    switch (kind) {
      case tvm::runtime::kMaxThreadsPerBlock:
      case tvm::runtime::kWarpSize:
        *value = 1;
        break;
      case tvm::runtime::kMaxSharedMemoryPerBlock:
        *value = static_cast<int64_t>(properties.sram_bytes);
        break;
      case tvm::runtime::kComputeVersion:
        *value = tvm::ffi::String(properties.revision);
        break;
      case tvm::runtime::kDeviceName:
        *value = tvm::ffi::String(properties.name);
        break;
      case tvm::runtime::kMaxClockRate:  // kHz
        *value = static_cast<int64_t>(properties.clock_hz / 1000);
        break;
      case tvm::runtime::kMultiProcessorCount:
        *value = properties.cores;
        break;
      case tvm::runtime::kTotalGlobalMemory:
        *value = static_cast<int64_t>(properties.hbm_bytes);
        break;
      case tvm::runtime::kAvailableGlobalMemory:
        Check(rigiMemGetInfo(device.device_id, &free_bytes, &total_bytes));
        *value = static_cast<int64_t>(free_bytes);
        break;
      default:  // no such thing on this chip: none
        break;
    }
  }

  void* AllocDataSpace(DLDevice device, size_t bytes, size_t alignment, DLDataType) override {
    if (alignment > 256) TVM_FFI_THROW(ValueError) << "an alignment of " << alignment << " bytes; HBM is allocated on multiples of 256";
    void* pointer = nullptr;
    Check(rigiMalloc(device.device_id, bytes, &pointer));
    return pointer;
  }
  using DeviceAPI::AllocDataSpace;

  // Called by destructors. A device in a fault keeps its memory, so there is nothing to report that the next call would not.
  void FreeDataSpace(DLDevice, void* pointer) override { rigiFree(pointer); }

  void* AllocWorkspace(DLDevice device, size_t bytes, DLDataType) override { return rigi::AllocWorkspace(device.device_id, bytes); }

  void StreamSync(DLDevice device, TVMStreamHandle stream) override { Check(rigiStreamSynchronize(Stream(device, stream))); }

  TVMStreamHandle CreateStream(DLDevice device) override {
    rigiStream_t stream = nullptr;
    Check(rigiStreamCreate(device.device_id, &stream));
    return stream;
  }

  void FreeStream(DLDevice, TVMStreamHandle stream) override { Check(rigiStreamDestroy(static_cast<rigiStream_t>(stream))); }

  void SyncStreamFromTo(DLDevice device, TVMStreamHandle from, TVMStreamHandle to) override {
    rigiEvent_t event = nullptr;
    Check(rigiEventCreate(&event));
    rigiStatus status = rigiEventRecord(event, Stream(device, from));
    if (status == RIGI_SUCCESS) status = rigiStreamWaitEvent(Stream(device, to), event);
    rigiEventDestroy(event);
    Check(status);
  }

  bool SupportsDevicePointerArithmeticsOnHost() override { return true; }

 protected:
  void CopyDataFromTo(const void* from, size_t from_offset, void* to, size_t to_offset, size_t bytes, DLDevice source, DLDevice target,
                      DLDataType, TVMStreamHandle handle) override {
    if (bytes == 0) return;
    const void* const src = static_cast<const char*>(from) + from_offset;
    void* const dst = static_cast<char*>(to) + to_offset;
    const rigiStream_t stream = Stream(IsRigi(source) ? source : target, handle);
    const bool peers = IsRigi(source) && IsRigi(target) && source.device_id != target.device_id;
    Check(peers ? rigiMemcpyPeerAsync(dst, src, bytes, stream) : rigiMemcpyAsync(dst, src, bytes, stream));
    // Work of one device is ordered; with the host or another device on one side, whoever comes next expects the bytes to be there.
    if (peers || !IsRigi(source) || !IsRigi(target)) Check(rigiStreamSynchronize(stream));
  }

 private:
  // A null handle is the current stream, as for kernels.
  static rigiStream_t Stream(DLDevice device, TVMStreamHandle handle) {
    if (handle == nullptr) handle = TVMFFIEnvGetStream(kDLExtDev, device.device_id);
    auto stream = static_cast<rigiStream_t>(handle);
    if (stream == nullptr) Check(rigiDefaultStream(device.device_id, &stream));
    return stream;
  }
};

}  // namespace

TVM_FFI_STATIC_INIT_BLOCK() {
  tvm::ffi::reflection::GlobalDef().def_packed("device_api.ext_dev", [](tvm::ffi::PackedArgs, tvm::ffi::Any* result) {
    static DeviceApi* const api = new DeviceApi();  // used by whatever is destroyed last
    *result = static_cast<void*>(static_cast<tvm::runtime::DeviceAPI*>(api));
  });
}

}  // namespace rigi
