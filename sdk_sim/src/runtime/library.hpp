// What a process has of the SDK: the chip, the devices, the helpers and the handles.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "crew.hpp"
#include "device.hpp"
#include "handles.hpp"
#include "module.hpp"

namespace rigi {

/// One recording of an event. Waiting for an event means waiting for the latest one.
struct Record {
  Device* device;
  uint64_t sequence = 0;  // in the device's queue
  uint64_t cycles = 0;    // written in the queue; valid once the sequence is done
  // Of a recording that a capture noted instead: which one, and the nodes before it on each of its streams.
  uint64_t capture_id = 0;
  std::weak_ptr<Capture> capture;
  std::vector<uint32_t> after;
};

struct Event {
  std::mutex mutex;
  std::shared_ptr<Record> latest;  // null: never recorded

  std::shared_ptr<Record> last() {
    const std::lock_guard lock(mutex);
    return latest;
  }
};

struct Kernel {
  std::shared_ptr<Module> module;
  const rigi_kernel_desc* description;
};

struct Graph;
class GraphExec;

class Library {
 public:
  /// Reads environment and chip file at first use. Throws Error, also in a process forked after devices were used.
  static Library& get();

  Device& device(int id);
  /// A null handle is the default stream of device 0.
  std::shared_ptr<Stream> stream(rigiStream_t handle) { return streams.get(handle == nullptr ? default_streams_[0] : handle); }
  rigiStream_t default_stream(int id) { return default_streams_[static_cast<size_t>(device(id).id)]; }
  std::shared_ptr<Stream> default_stream_of(Device& device) { return streams.get(default_streams_[static_cast<size_t>(device.id)]); }
  /// The device whose HBM holds the address, or null.
  Device* device_of(const void* pointer) {
    for (const auto& d : devices) {
      if (d->memory.contains(pointer)) return d.get();
    }
    return nullptr;
  }

  std::string override_path;  // the file named by RIGI_CHIP; filled while `chip` is read
  Chip chip;
  Crew crew;
  std::vector<std::unique_ptr<Device>> devices;
  HandleTable<rigiStream_t, Stream> streams{1, "stream"};
  HandleTable<rigiEvent_t, Event> events{2, "event"};
  HandleTable<rigiModule_t, Module> modules{3, "module"};
  HandleTable<rigiKernel_t, Kernel> kernels{4, "kernel"};
  HandleTable<rigiGraph_t, Graph> graphs{5, "graph"};
  HandleTable<rigiGraphExec_t, GraphExec> graph_execs{6, "graph ready to launch"};
  std::mutex module_mutex;  // for Module::kernel_handles

 private:
  Library();
  static void at_exit();
  static void in_child();

  std::vector<rigiStream_t> default_streams_;
};

}  // namespace rigi
