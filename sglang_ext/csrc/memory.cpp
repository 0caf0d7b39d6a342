// torch's allocators over rigiMalloc, and pinned host memory.

#include "memory.hpp"

#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace rigi_torch {

class GraphMemory {
 public:
  ~GraphMemory() {
    for (void* block : blocks_) rigiFree(block);
  }
  void keep(void* block) {
    std::lock_guard<std::mutex> lock(mutex_);
    blocks_.push_back(block);
  }
  /// Also for the graph's own later nodes, while it is captured: they run after those that used the block.
  void keep_for_reuse(void* block, size_t bytes) {
    keep(block);
    std::lock_guard<std::mutex> lock(mutex_);
    spare_.emplace(bytes, block);
  }
  void* reuse(size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = spare_.find(bytes);
    if (found == spare_.end()) return nullptr;
    void* block = found->second;
    spare_.erase(found);
    blocks_.erase(std::find(blocks_.begin(), blocks_.end(), block));
    return block;
  }

 private:
  std::mutex mutex_;
  std::vector<void*> blocks_;
  std::multimap<size_t, void*> spare_;
};

namespace {

using c10::CachingDeviceAllocator::DeviceStats;
using c10::CachingDeviceAllocator::StatArray;

void free_chip(void* pointer);

/// What torch holds on each device. Sizes are those asked for.
class Ledger {
 public:
  void add(void* pointer, size_t bytes, c10::DeviceIndex device) {
    std::lock_guard<std::mutex> lock(mutex_);
    blocks_.emplace(pointer, Block{bytes, device, capturing_[device]});
    DeviceStats& stats = stats_[device];
    for (StatArray* bytes_stat : {&stats.allocated_bytes, &stats.reserved_bytes, &stats.active_bytes, &stats.requested_bytes})
      (*bytes_stat)[0].increase(bytes);
    for (StatArray* count : {&stats.allocation, &stats.active, &stats.segment}) (*count)[0].increase(1);
    stats.num_device_alloc++;
  }

  /// A block that the capture in progress on the device has no more use for, or null.
  void* reuse(size_t bytes, c10::DeviceIndex device) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto capture = capturing_[device].lock();
    return capture ? capture->reuse(bytes) : nullptr;
  }

  /// True if a graph still needs the block and keeps it.
  bool remove(void* pointer) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = blocks_.find(pointer);
    if (found == blocks_.end()) return false;
    const Block block = found->second;
    blocks_.erase(found);
    DeviceStats& stats = stats_[block.device];
    for (StatArray* bytes_stat : {&stats.allocated_bytes, &stats.reserved_bytes, &stats.active_bytes, &stats.requested_bytes})
      (*bytes_stat)[0].decrease(block.bytes);
    for (StatArray* count : {&stats.allocation, &stats.active, &stats.segment}) (*count)[0].decrease(1);
    stats.num_device_free++;
    const std::shared_ptr<GraphMemory> owner = block.owner.lock(), capture = capturing_[block.device].lock();
    if (owner && owner == capture) {
      owner->keep_for_reuse(pointer, block.bytes);
    } else if (owner || capture) {
      (owner ? owner : capture)->keep(pointer);
    }
    return owner || capture;
  }

  void capture(c10::DeviceIndex device, const std::shared_ptr<GraphMemory>& memory) {
    std::lock_guard<std::mutex> lock(mutex_);
    capturing_[device] = memory;
  }

  DeviceStats stats(c10::DeviceIndex device) {
    std::lock_guard<std::mutex> lock(mutex_);
    return stats_[device];
  }

  template <class Change>
  void change(c10::DeviceIndex device, Change&& change) {
    std::lock_guard<std::mutex> lock(mutex_);
    DeviceStats& stats = stats_[device];
    for (StatArray* stat : {&stats.allocated_bytes, &stats.reserved_bytes, &stats.active_bytes, &stats.requested_bytes, &stats.allocation,
                            &stats.active, &stats.segment})
      change((*stat)[0]);
  }

 private:
  struct Block {
    size_t bytes;
    c10::DeviceIndex device;
    std::weak_ptr<GraphMemory> owner;
  };
  std::mutex mutex_;
  std::array<std::weak_ptr<GraphMemory>, kMaxDevices> capturing_;
  std::unordered_map<void*, Block> blocks_;
  std::array<DeviceStats, kMaxDevices> stats_;
};

Ledger& ledger() {
  static auto* one = new Ledger;  // never destroyed: tensors may be freed during static destruction
  return *one;
}

c10::DataPtr allocate_chip(size_t bytes, c10::DeviceIndex device, c10::Device label) {
  if (bytes == 0) return {nullptr, nullptr, &c10::detail::deleteNothing, label};
  void* pointer = ledger().reuse(bytes, device);
  if (pointer == nullptr) check(rigiMalloc(resolve_device(device), bytes, &pointer), "rigiMalloc");
  ledger().add(pointer, bytes, device);
  return {pointer, pointer, &free_chip, label};  // context equals pointer, or Allocator::raw_allocate refuses
}

void free_chip(void* pointer) {
  if (pointer == nullptr || in_bad_fork()) return;
  if (ledger().remove(pointer)) return;
  // Ordered by the SDK after work already submitted. A deleter must not throw; a failure here shows at the next synchronizing call.
  rigiFree(pointer);
}

struct ChipAllocator final : c10::DeviceAllocator {
  c10::DataPtr allocate(size_t bytes) override {
    const auto device = resolve_device(-1);
    return allocate_chip(bytes, device, c10::Device(kRigi, device));
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_chip; }
  void copy_data(void* destination, const void* source, size_t bytes) const override {
    check(rigiMemcpy(destination, source, bytes), "rigiMemcpy");
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}  // nothing is cached
  // A no-op is right because, and only because, a device runs its queue in submission order whatever the stream (rigi.h): memory
  // freed here and handed out again can only be touched by work submitted later than every earlier use.
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  DeviceStats getDeviceStats(c10::DeviceIndex device) override { return ledger().stats(resolve_device(device)); }
  void resetAccumulatedStats(c10::DeviceIndex device) override {
    ledger().change(resolve_device(device), [](auto& stat) { stat.reset_accumulated(); });
  }
  void resetPeakStats(c10::DeviceIndex device) override {
    ledger().change(resolve_device(device), [](auto& stat) { stat.reset_peak(); });
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    size_t free_bytes = 0, total_bytes = 0;
    check(rigiMemGetInfo(resolve_device(device), &free_bytes, &total_bytes), "rigiMemGetInfo");
    return {free_bytes, total_bytes};
  }
};

ChipAllocator g_chip_allocator;  // NOLINT(bugprone-throwing-static-initialization): torch's base class throws nothing
REGISTER_ALLOCATOR(kRigi, &g_chip_allocator);

struct AliasingAllocator final : c10::Allocator {
  c10::DeviceIndex device = 0;
  c10::DataPtr allocate(size_t bytes) override {
    c10::DataPtr data = allocate_chip(bytes, device, c10::Device(c10::kCPU));
    synchronize(device);  // the block may be one that queued work still uses: the host may write once that is done
    return data;
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_chip; }
  void copy_data(void* destination, const void* source, size_t bytes) const override { default_copy_data(destination, source, bytes); }
};

/// Pinned blocks by address, each with the devices whose queues may still use it.
class PinnedBlocks {
 public:
  void* allocate(size_t bytes) {
    void* pointer = nullptr;
    TORCH_CHECK_WITH(OutOfMemoryError, posix_memalign(&pointer, 64, bytes) == 0, "rigi: no host memory for a pinned block of ", bytes,
                     " bytes");
    std::lock_guard<std::mutex> lock(mutex_);
    blocks_.emplace(static_cast<char*>(pointer), Block{bytes, 0});
    stats_.allocated_bytes.increase(bytes);
    stats_.allocations.increase(1);
    return pointer;
  }

  void free(void* pointer) {
    uint32_t devices = 0;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto found = blocks_.find(static_cast<char*>(pointer));
      if (found == blocks_.end()) return;
      devices = found->second.devices;
      stats_.allocated_bytes.decrease(found->second.bytes);
      stats_.allocations.decrease(1);
      blocks_.erase(found);
    }
    if (devices == 0) return std::free(pointer);
    const int device = __builtin_ctz(devices);
    for (int other = device + 1; other < kMaxDevices; other++)
      if (devices & (1u << other)) rigiDeviceSynchronize(other);
    // The copy that uses the block is ahead in the device's queue, so this runs after it.
    rigiStream_t stream = nullptr;
    const bool queued = rigiDefaultStream(device, &stream) == RIGI_SUCCESS &&
                        rigiLaunchHostFunc(stream, [](void* block) { std::free(block); }, pointer) == RIGI_SUCCESS;
    if (queued) return;
    rigiDeviceSynchronize(device);  // a faulted device takes no work; nothing of it runs after this either
    std::free(pointer);
  }

  bool contains(const void* pointer) {
    std::lock_guard<std::mutex> lock(mutex_);
    return find(pointer) != nullptr;
  }

  void use(const void* pointer, c10::DeviceIndex device) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (Block* block = find(pointer)) block->devices |= 1u << device;
  }

  at::HostStats stats() {
    std::lock_guard<std::mutex> lock(mutex_);
    at::HostStats result;
    result.allocated_bytes = stats_.allocated_bytes;
    result.allocations = stats_.allocations;
    return result;
  }

  template <class Change>
  void change(Change&& change) {
    std::lock_guard<std::mutex> lock(mutex_);
    change(stats_.allocated_bytes);
    change(stats_.allocations);
  }

 private:
  struct Block {
    size_t bytes;
    uint32_t devices;  // a bit for each
  };
  Block* find(const void* pointer) {
    auto next = blocks_.upper_bound(const_cast<char*>(static_cast<const char*>(pointer)));
    if (next == blocks_.begin()) return nullptr;
    --next;
    return static_cast<const char*>(pointer) < next->first + next->second.bytes ? &next->second : nullptr;
  }
  std::mutex mutex_;
  std::map<char*, Block> blocks_;
  at::HostStats stats_;
};

PinnedBlocks& pinned_blocks() {
  static auto* one = new PinnedBlocks;
  return *one;
}

void free_pinned(void* pointer) { pinned_blocks().free(pointer); }

struct PinnedAllocator final : at::HostAllocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* pointer = bytes ? pinned_blocks().allocate(bytes) : nullptr;
    return {pointer, pointer, &free_pinned, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_pinned; }
  void copy_data(void* destination, const void* source, size_t bytes) const override { default_copy_data(destination, source, bytes); }
  bool record_event(void* pointer, void*, c10::Stream stream) override {
    pinned_blocks().use(pointer, stream.device_index());
    return true;
  }
  void empty_cache() override {}
  at::HostStats get_stats() override { return pinned_blocks().stats(); }
  void reset_accumulated_stats() override {
    pinned_blocks().change([](auto& stat) { stat.reset_accumulated(); });
  }
  void reset_peak_stats() override {
    pinned_blocks().change([](auto& stat) { stat.reset_peak(); });
  }
};

PinnedAllocator g_pinned_allocator;
REGISTER_HOST_ALLOCATOR(kRigi, &g_pinned_allocator)

}  // namespace

c10::Allocator* chip_allocator() { return &g_chip_allocator; }

c10::DataPtr allocate_on(c10::DeviceIndex device, size_t bytes) { return allocate_chip(bytes, device, c10::Device(kRigi, device)); }

c10::Allocator* aliasing_allocator(c10::DeviceIndex device) {
  static auto* all = [] {
    auto* allocators = new std::array<AliasingAllocator, kMaxDevices>;
    for (int i = 0; i < kMaxDevices; i++) (*allocators)[i].device = static_cast<c10::DeviceIndex>(i);
    return allocators;
  }();
  return &(*all)[device];
}

std::shared_ptr<GraphMemory> capture_memory(c10::DeviceIndex device) {
  auto memory = std::make_shared<GraphMemory>();
  ledger().capture(device, memory);
  return memory;
}

void end_capture_memory(c10::DeviceIndex device) { ledger().capture(device, nullptr); }

bool owns_chip_memory(const c10::DataPtr& data) { return data.get_deleter() == &free_chip; }

bool is_pinned(const void* pointer) { return pinned_blocks().contains(pointer); }
void pinned_use(const void* pointer, c10::DeviceIndex device) { pinned_blocks().use(pointer, device); }
c10::Allocator* pinned_allocator() { return &g_pinned_allocator; }

}  // namespace rigi_torch
