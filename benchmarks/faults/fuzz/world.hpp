// What the fuzzed calls share: a stream of bytes that decides everything, and pools of handles that several threads use at once.
#pragma once

#include <rigi.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#define CALL(function, ...) fuzz::note(#function, function(__VA_ARGS__))

namespace fuzz {

/// Decisions from bytes; zeros once they are used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  template <typename T>
  T take() {
    T value{};
    const size_t n = size_ < sizeof(T) ? size_ : sizeof(T);
    if (n != 0) std::memcpy(&value, data_, n);
    data_ += n;
    size_ -= n;
    return value;
  }
  uint32_t below(uint32_t n) { return take<uint16_t>() % n; }
  bool once_in(uint32_t n) { return take<uint8_t>() % n == 0; }

 private:
  const uint8_t* data_;
  size_t size_;
};

/// Handles of one kind. Whoever pushes a handle out destroys it, so that none is lost; what was destroyed may stay and be used again.
template <typename Handle, size_t N>
class Pool {
 public:
  Handle pick(Input& in) const {
    const uint32_t choice = in.below(N + 1);
    if (choice < N) return as_handle(slots_[choice].load(std::memory_order_relaxed));
    return as_handle(in.once_in(2) ? 0 : in.take<uint64_t>());  // null, or made up
  }
  template <typename Destroy>
  void put(Input& in, Handle handle, Destroy&& destroy) {
    if (const uint64_t old = slots_[in.below(N)].exchange(as_bits(handle)); old != 0) destroy(as_handle(old));
  }
  template <typename Destroy>
  void clear(Destroy&& destroy) {
    for (auto& slot : slots_) {
      if (const uint64_t old = slot.exchange(0); old != 0) destroy(as_handle(old));
    }
  }

 private:
  static uint64_t as_bits(Handle handle) { return reinterpret_cast<uint64_t>(handle); }
  static Handle as_handle(uint64_t bits) { return reinterpret_cast<Handle>(bits); }
  std::array<std::atomic<uint64_t>, N> slots_{};
};

constexpr int kDevices = 2;
constexpr size_t kHost = size_t{256} << 10;  // bytes of host memory on either side of copies

struct World {
  Pool<void*, 24> memory;
  Pool<rigiStream_t, 6> streams;
  Pool<rigiEvent_t, 6> events;
  Pool<rigiGraph_t, 4> graphs;
  Pool<rigiGraphExec_t, 4> execs;
  Pool<rigiModule_t, 3> modules;
  Pool<rigiKernel_t, 3> kernels;
  std::vector<uint8_t> source = std::vector<uint8_t>(kHost, 7);
  std::vector<uint8_t> sink[kDevices] = {std::vector<uint8_t>(kHost), std::vector<uint8_t>(kHost)};
  std::vector<uint8_t> image;  // of a good module, may be empty
  uint64_t base[kDevices] = {};
  size_t free_bytes[kDevices] = {};
  std::atomic<uint64_t> calls{0};
};

World& world();

inline int device(Input& in) { return in.once_in(32) ? static_cast<int>(in.take<int8_t>()) : static_cast<int>(in.below(kDevices)); }

/// Counts what the function gave; a status that only a bug can cause ends the process.
rigiStatus note(const char* function, rigiStatus status);
/// {"function": {"status": count}}
std::string statuses();
[[noreturn]] void bug(const char* what);

/// Begins with empty pools; to be called once.
void start(std::vector<uint8_t> image);
/// Puts a few live handles into the pools.
void prepare();
/// One call (or a few that belong together), as the bytes say.
void call(Input& in);
void module_call(Input& in);
void stream_call(Input& in);
void event_call(Input& in);
void graph_call(Input& in);
/// Gives everything back, resets the devices and checks that nothing is left and that they compute.
void finish();
/// A program of random instructions, mostly valid.
void launch_program(Input& in, rigiStream_t stream);
/// Where an instruction or a call may point: in some allocation, near one, or anywhere within a window.
uint64_t address(Input& in);

/// A module image of native code for device 0.
std::vector<uint8_t> pack(const char* manifest, const std::vector<uint8_t>& code);
/// Loads `count` damaged modules from memory and from `path`. Returns how many were accepted.
uint64_t load_modules(const std::vector<uint8_t>& image, uint64_t count, uint64_t seed, const char* path);

}  // namespace fuzz
