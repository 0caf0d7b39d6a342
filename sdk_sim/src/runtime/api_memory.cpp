// rigi.h: memory and copies.
#include <cstring>

#include "graph.hpp"
#include "log.hpp"

using rigi::Device;
using rigi::Error;
using rigi::format_bytes;
using rigi::format_pointer;
using rigi::guarded;
using rigi::Library;
using rigi::Memory;
using rigi::require;
using rigi::Stream;
using rigi::Transfer;

namespace {

// Host data up to this size is taken when an asynchronous copy is submitted, so that the caller may reuse it at once.
constexpr size_t kStaged = size_t{64} << 10;
// Zeros from this size on are fresh pages of the host instead of written ones: they cost nothing until used.
constexpr size_t kFreshZeros = size_t{32} << 20;

// The device of a block that a copy reads or writes, null for host memory. Refuses what is not wholly inside one allocation.
Device* device_of_block(Library& library, const void* pointer, size_t bytes, const char* name) {
  require(pointer, name);
  const auto* first = static_cast<const uint8_t*>(pointer);
  Device* device = library.device_of(first);
  if (device == nullptr) {
    if (reinterpret_cast<uintptr_t>(first) + bytes < bytes || library.device_of(first + bytes - 1) != nullptr) {
      throw Error(RIGI_ERROR_INVALID_POINTER, std::string("`") + name + "`: " + format_bytes(bytes) + " at host address " +
                                                  format_pointer(pointer) + " run into device memory");
    }
    return nullptr;
  }
  const Memory::Range range = device->memory.allocation(pointer);
  const auto offset = static_cast<uint64_t>(first - range.base);
  if (bytes > range.bytes - offset) {
    throw Error(RIGI_ERROR_INVALID_POINTER, std::string("`") + name + "`: " + format_bytes(bytes) + " at " + format_pointer(pointer) +
                                                " (device " + std::to_string(device->id) + ") leave the allocation of " +
                                                format_bytes(range.bytes) + " at " + format_pointer(range.base) + " by " +
                                                std::to_string(bytes - (range.bytes - offset)) + " bytes");
  }
  return device;
}

// Holds back what is freed on another device while a queue that this device does not own works on its memory.
class Pin {
 public:
  explicit Pin(Device& device) : device_(&device) { device.memory.pin(); }
  ~Pin() {
    if (device_ != nullptr) device_->memory.unpin(device_->queue.submitted());
  }
  Pin(Pin&& other) noexcept : device_(std::exchange(other.device_, nullptr)) {}
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;
  Pin& operator=(Pin&&) = delete;

 private:
  Device* device_;
};

struct Route {
  Device *to, *from;  // null: host
  Transfer kind;
  bool peer() const { return kind == Transfer::ToPeer || kind == Transfer::FromPeer; }
};

// `device`: whose queue makes the copy, and whose link it is counted on if it is one between devices; null: that of dst.
Route route_of(Library& library, const Device* device, void* dst, const void* src, size_t bytes) {
  Route route{device_of_block(library, dst, bytes, "dst"), device_of_block(library, src, bytes, "src"), Transfer::OnDevice};
  if (route.to == nullptr && route.from == nullptr) {
    throw Error(RIGI_ERROR_INVALID_VALUE, "both " + format_pointer(dst) + " and " + format_pointer(src) + " are host memory; use memcpy");
  }
  if (route.to == nullptr) {
    route.kind = Transfer::ToHost;
  } else if (route.from == nullptr) {
    route.kind = Transfer::ToDevice;
  } else if (route.to != route.from) {
    route.kind = device == nullptr || route.to == device ? Transfer::FromPeer : Transfer::ToPeer;
  }
  return route;
}

// In timing-only mode small blocks still move, since kernels may read scalars from them; of large ones the host sees zeros.
// `source` is where the bytes come from, `staged` where they are now.
void move_bytes(const Route& route, void* dst, const void* source, const void* staged, size_t bytes, rigiMode mode) {
  if (mode != RIGI_TIMING_ONLY || bytes <= kStaged) {
    std::memmove(dst, staged, bytes);
  } else if (route.kind == Transfer::ToHost) {
    std::memset(dst, 0, bytes);
  }
  if (route.to != nullptr && route.from != nullptr) {
    route.to->memory.copied(dst, route.from->memory, source, bytes);
  } else if (route.to != nullptr) {
    route.to->memory.wrote(dst, bytes);
  }
}

void require_device(const Device& owner, const Device& device) {
  if (&owner != &device) {
    throw Error(RIGI_ERROR_INVALID_VALUE, "the memory is on device " + std::to_string(owner.id) + " but the stream on device " +
                                              std::to_string(device.id) + "; use a stream of the memory's device");
  }
}

// Copied at once, it takes small host data along and holds back what is freed on other devices; in a graph it does neither.
class CopyCommand final : public rigi::Command {
 public:
  CopyCommand(const Route& route, void* dst, const void* src, size_t bytes, bool at_once)
      : route_(route), dst_(dst), src_(src), bytes_(bytes) {
    if (!at_once) return;
    if (route.peer()) {
      pins_.emplace_back(*route.to);
      pins_.emplace_back(*route.from);
    } else if (route.kind == Transfer::ToDevice && bytes <= kStaged) {
      const auto* data = static_cast<const uint8_t*>(src);
      staged_.assign(data, data + bytes);
    }
  }
  void run(const rigi::Run& run) override {
    move_bytes(route_, dst_, src_, staged_.empty() ? src_ : staged_.data(), bytes_, run.mode);
    run.device.account(run, route_.kind, bytes_);
  }
  void describe(rigiGraphNode& node) const override {
    node.kind = RIGI_NODE_COPY;
    node.bytes = bytes_;
  }

 private:
  const Route route_;
  void* const dst_;
  const void* const src_;
  const size_t bytes_;
  std::vector<uint8_t> staged_;
  std::vector<Pin> pins_;
};

void set_bytes(void* dst, int value, size_t bytes) {
  if (static_cast<uint8_t>(value) != 0 || bytes < kFreshZeros) {
    std::memset(dst, value, bytes);
    return;
  }
  constexpr uintptr_t kPage = 4096;
  auto* first = static_cast<uint8_t*>(dst);
  const size_t head = (kPage - reinterpret_cast<uintptr_t>(first) % kPage) % kPage;
  const size_t tail = (reinterpret_cast<uintptr_t>(first) + bytes) % kPage;
  std::memset(first, 0, head);
  rigi::release_pages(first, bytes);
  std::memset(first + bytes - tail, 0, tail);
}

class SetCommand final : public rigi::Command {
 public:
  SetCommand(void* dst, int value, size_t bytes) : dst_(dst), value_(value), bytes_(bytes) {}
  void run(const rigi::Run& run) override {
    if (run.mode != RIGI_TIMING_ONLY || bytes_ <= kStaged) set_bytes(dst_, value_, bytes_);
    run.device.memory.wrote(dst_, bytes_);
    run.device.account(run, Transfer::Set, bytes_);
  }
  void describe(rigiGraphNode& node) const override {
    node.kind = RIGI_NODE_SET;
    node.bytes = bytes_;
  }

 private:
  void* const dst_;
  const int value_;
  const size_t bytes_;
};

void submit_set(Library& library, void* dst, int value, size_t bytes, const std::shared_ptr<Stream>& s) {
  const Device* owner = device_of_block(library, dst, bytes, "dst");
  if (owner == nullptr) throw Error(RIGI_ERROR_INVALID_POINTER, format_pointer(dst) + " is not device memory");
  require_device(*owner, *s->device);
  rigi::submit(s, std::make_unique<SetCommand>(dst, value, bytes));
}

}  // namespace

std::unique_ptr<rigi::Command> rigi::make_copy(Library& library, const Device& device, void* dst, const void* src, size_t bytes,
                                               bool at_once) {
  const Route route = route_of(library, &device, dst, src, bytes);
  if (!route.peer()) require_device(route.to != nullptr ? *route.to : *route.from, device);
  return std::make_unique<CopyCommand>(route, dst, src, bytes, at_once);
}

extern "C" {

rigiStatus rigiMalloc(int device, size_t bytes, void** pointer) {
  return guarded(__func__, [&] {
    require(pointer, "pointer");
    Device& d = Library::get().device(device);
    *pointer = bytes == 0 ? nullptr : d.allocate(bytes);
    if (rigi::logs(rigi::Log::Memory)) rigi::log(rigi::Log::Memory, "device %d: %zu bytes at %p", device, bytes, *pointer);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiFree(void* pointer) {
  return guarded(__func__, [&] {
    if (pointer == nullptr) return RIGI_SUCCESS;
    Device* device = Library::get().device_of(pointer);
    if (device == nullptr)
      throw Error(RIGI_ERROR_INVALID_POINTER, format_pointer(pointer) + " is not device memory; rigiMalloc did not return it");
    device->free(pointer);
    if (rigi::logs(rigi::Log::Memory)) rigi::log(rigi::Log::Memory, "device %d: %p freed", device->id, pointer);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiMemGetInfo(int device, size_t* free_bytes, size_t* total_bytes) {
  return guarded(__func__, [&] {
    Device& d = Library::get().device(device);
    if (free_bytes != nullptr) *free_bytes = d.memory.free_bytes();
    if (total_bytes != nullptr) *total_bytes = d.memory.total_bytes();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiPointerGetDevice(const void* pointer, int* device) {
  try {
    const Device* found = pointer == nullptr || device == nullptr ? nullptr : Library::get().device_of(pointer);
    if (found == nullptr) return RIGI_ERROR_INVALID_POINTER;
    *device = found->id;
    return RIGI_SUCCESS;
  } catch (const std::exception&) {
    return RIGI_ERROR_INVALID_POINTER;  // no devices, so no pointer into one
  }
}

rigiStatus rigiPointerGetAllocation(const void* pointer, void** base, size_t* bytes) {
  return guarded(__func__, [&] {
    Device* device = Library::get().device_of(pointer);
    if (device == nullptr) throw Error(RIGI_ERROR_INVALID_POINTER, format_pointer(pointer) + " is not device memory");
    const Memory::Range range = device->memory.allocation(pointer);
    if (base != nullptr) *base = range.base;
    if (bytes != nullptr) *bytes = range.bytes;
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiMemcpy(void* dst, const void* src, size_t bytes) {
  return guarded(__func__, [&] {
    if (bytes == 0) return RIGI_SUCCESS;
    Library& library = Library::get();
    const Route route = route_of(library, nullptr, dst, src, bytes);
    Device& device = route.to != nullptr ? *route.to : *route.from;
    const std::shared_ptr<Stream> s = library.default_stream_of(device);
    rigi::Capture::refuse(*s, "rigiMemcpy waits for the default stream, which it cannot");
    if (route.peer()) {
      route.from->queue.synchronize();
      route.from->queue.check();
    }
    device.queue.check();
    const rigiMode mode = device.mode;
    device.queue.submit_and_wait([&] {
      move_bytes(route, dst, src, src, bytes, mode);
      device.account({device, *s, mode, device.chip.launch_host}, route.kind, bytes);
    });
    device.queue.check();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiMemcpyAsync(void* dst, const void* src, size_t bytes, rigiStream_t stream) {
  return guarded(__func__, [&] {
    if (bytes == 0) return RIGI_SUCCESS;
    Library& library = Library::get();
    const std::shared_ptr<Stream> s = library.stream(stream);
    rigi::submit(s, rigi::make_copy(library, *s->device, dst, src, bytes, !s->capturing.load(std::memory_order_acquire)));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiMemcpyPeerAsync(void* dst, const void* src, size_t bytes, rigiStream_t stream) {
  return guarded(__func__, [&] {
    if (bytes == 0) return RIGI_SUCCESS;
    Library& library = Library::get();
    for (const void* pointer : {static_cast<const void*>(dst), src}) {
      if (library.device_of(pointer) == nullptr)
        throw Error(RIGI_ERROR_INVALID_POINTER, format_pointer(pointer) + " is not device memory; a peer copy goes from device to device");
    }
    const std::shared_ptr<Stream> s = library.stream(stream);
    rigi::submit(s, rigi::make_copy(library, *s->device, dst, src, bytes, !s->capturing.load(std::memory_order_acquire)));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiMemset(void* dst, int value, size_t bytes) {
  return guarded(__func__, [&] {
    if (bytes == 0) return RIGI_SUCCESS;
    Library& library = Library::get();
    Device* device = library.device_of(dst);
    if (device == nullptr) throw Error(RIGI_ERROR_INVALID_POINTER, format_pointer(dst) + " is not device memory");
    const std::shared_ptr<Stream> s = library.default_stream_of(*device);
    rigi::Capture::refuse(*s, "rigiMemset waits for the default stream, which it cannot");
    submit_set(library, dst, value, bytes, s);
    device->queue.wait(s->last.load(std::memory_order_acquire));
    device->queue.check();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiMemsetAsync(void* dst, int value, size_t bytes, rigiStream_t stream) {
  return guarded(__func__, [&] {
    Library& library = Library::get();
    if (bytes != 0) submit_set(library, dst, value, bytes, library.stream(stream));
    return RIGI_SUCCESS;
  });
}

}  // extern "C"
