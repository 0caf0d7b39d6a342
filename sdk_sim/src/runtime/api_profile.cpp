// rigi.h: the profiler, ranges, and the instruction trace.
#include "graph.hpp"
#include "library.hpp"

using rigi::Capture;
using rigi::Device;
using rigi::Error;
using rigi::guarded;
using rigi::Library;
using rigi::OutputFile;
using rigi::Profiler;
using rigi::require;
using rigi::Stream;

namespace {

// The device, if it is in a state in which there is time to be recorded.
Device& timed_device(int device, const char* what) {
  Device& d = Library::get().device(device);
  d.queue.check();
  if (d.mode == RIGI_FUNCTIONAL) {
    throw Error(RIGI_ERROR_INVALID_VALUE, std::string(what) + " needs a mode with time, device " + std::to_string(device) +
                                              " is in functional mode; call rigiDeviceSetMode(device, RIGI_TIMED) first");
  }
  return d;
}

// Runs `stop` in its turn; throws unless it returns true.
template <typename Stop>
void stop_writing(Device& device, const char* what, Stop stop) {
  auto written = std::make_shared<bool>(true);
  device.queue.wait(device.queue.submit([written, stop] { *written = stop(); }, rigi::Queue::kAlways));
  if (!*written) throw Error(RIGI_ERROR_IO, std::string("the ") + what + " file could not be written completely; is the disk full?");
}

}  // namespace

extern "C" {

rigiStatus rigiProfilerStart(int device, const char* path) {
  return guarded(__func__, [&] {
    require(path, "path");
    Device& d = timed_device(device, "a profile");
    auto profiler = std::make_unique<Profiler>(std::make_unique<OutputFile>(path), d.chip, device, Library::get().override_path);
    d.queue.submit([&d, profiler = std::move(profiler)]() mutable { d.profile_with(std::move(profiler)); }, rigi::Queue::kAlways);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiProfilerStop(int device) {
  return guarded(__func__, [&] {
    Device& d = Library::get().device(device);
    stop_writing(d, "profile", [&d] { return d.stop_profile(); });
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiRangePush(rigiStream_t stream, const char* kind, const char* name) {
  if (!Profiler::any() && kind != nullptr && name != nullptr) return RIGI_SUCCESS;
  return guarded(__func__, [&] {
    require(kind, "kind");
    require(name, "name");
    const std::shared_ptr<Stream> s = Library::get().stream(stream);
    if (Capture::push_range(s, kind, name)) return RIGI_SUCCESS;
    Device& device = *s->device;
    device.queue.submit(
        [&device, s, kind = std::string(kind), name = std::string(name)] {
          if (device.profiler() != nullptr) device.profiler()->push(*s, kind, name);
        },
        true);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiRangePop(rigiStream_t stream) {
  if (!Profiler::any()) return RIGI_SUCCESS;
  return guarded(__func__, [&] {
    const std::shared_ptr<Stream> s = Library::get().stream(stream);
    if (Capture::pop_range(s)) return RIGI_SUCCESS;
    Device& device = *s->device;
    device.queue.submit(
        [&device, s] {
          if (device.profiler() != nullptr) device.profiler()->pop(*s);
        },
        true);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiTraceStart(int device, const char* path) {
  return guarded(__func__, [&] {
    require(path, "path");
    Device& d = timed_device(device, "a trace");
    d.queue.submit([&d, file = std::make_unique<OutputFile>(path)]() mutable { d.trace_to(std::move(file)); }, rigi::Queue::kAlways);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiTraceStop(int device) {
  return guarded(__func__, [&] {
    Device& d = Library::get().device(device);
    stop_writing(d, "trace", [&d] { return d.stop_trace(); });
    return RIGI_SUCCESS;
  });
}

}  // extern "C"
