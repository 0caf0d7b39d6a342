// rigi.h: streams, events and host functions.
#include "graph.hpp"

using rigi::Capture;
using rigi::Error;
using rigi::Event;
using rigi::guarded;
using rigi::Library;
using rigi::Record;
using rigi::require;
using rigi::Stream;

namespace {

void refuse_captured(const Record& record) {
  if (record.capture_id != 0)
    throw Error(RIGI_ERROR_CAPTURE, "the event was last recorded in a capture: it orders a graph's nodes and has no time of its own");
}

// The record of an event that has completed; `which` names it in messages.
std::shared_ptr<Record> completed_record(Library& library, rigiEvent_t handle, const char* which) {
  std::shared_ptr<Record> record = library.events.get(handle)->last();
  if (!record) throw Error(RIGI_ERROR_INVALID_VALUE, std::string("the ") + which + " event was never recorded");
  refuse_captured(*record);
  if (!record->device->queue.done(record->sequence))
    throw Error(RIGI_ERROR_NOT_READY, std::string("the ") + which + " event has not completed yet; call rigiEventSynchronize first");
  return record;
}

int64_t elapsed(rigiEvent_t start, rigiEvent_t end) {
  Library& library = Library::get();
  const auto first = completed_record(library, start, "start");
  const auto last = completed_record(library, end, "end");
  return static_cast<int64_t>(last->cycles) - static_cast<int64_t>(first->cycles);
}

}  // namespace

extern "C" {

rigiStatus rigiStreamCreate(int device, rigiStream_t* stream) {
  return guarded(__func__, [&] {
    require(stream, "stream");
    Library& library = Library::get();
    *stream = library.streams.add(std::make_shared<Stream>(&library.device(device), false));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiStreamDestroy(rigiStream_t stream) {
  return guarded(__func__, [&] {
    Library& library = Library::get();
    if (library.stream(stream)->is_default) throw Error(RIGI_ERROR_INVALID_VALUE, "a default stream cannot be destroyed");
    Capture::drop(*library.streams.remove(stream));  // submitted work keeps the stream until it is done
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiDefaultStream(int device, rigiStream_t* stream) {
  return guarded(__func__, [&] {
    require(stream, "stream");
    *stream = Library::get().default_stream(device);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiStreamGetDevice(rigiStream_t stream, int* device) {
  return guarded(__func__, [&] {
    require(device, "device");
    *device = Library::get().stream(stream)->device->id;
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiStreamSynchronize(rigiStream_t stream) {
  return guarded(__func__, [&] {
    const std::shared_ptr<Stream> s = Library::get().stream(stream);
    Capture::refuse(*s, "it cannot be waited for");
    s->device->queue.wait(s->last.load(std::memory_order_acquire));
    s->device->queue.check();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiStreamQuery(rigiStream_t stream) {
  return guarded(__func__, [&] {
    const std::shared_ptr<Stream> s = Library::get().stream(stream);
    Capture::refuse(*s, "it cannot be asked");
    s->device->queue.check();
    return s->device->queue.done(s->last.load(std::memory_order_acquire)) ? RIGI_SUCCESS : RIGI_ERROR_NOT_READY;
  });
}

rigiStatus rigiStreamWaitEvent(rigiStream_t stream, rigiEvent_t event) {
  return guarded(__func__, [&] {
    Library& library = Library::get();
    const std::shared_ptr<Stream> s = library.stream(stream);
    std::shared_ptr<Record> record = library.events.get(event)->last();
    if (!record) return RIGI_SUCCESS;  // never recorded: nothing to wait for
    if (!Capture::wait(s, record)) rigi::submit(s, std::make_unique<rigi::WaitCommand>(std::move(record)));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiStreamGetCycles(rigiStream_t stream, uint64_t* cycles) {
  return guarded(__func__, [&] {
    require(cycles, "cycles");
    const std::shared_ptr<Stream> s = Library::get().stream(stream);
    Capture::refuse(*s, "it has no clock");
    rigi::Queue& queue = s->device->queue;
    queue.check();
    queue.submit_and_wait([&] { *cycles = s->clock; });
    queue.check();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiEventCreate(rigiEvent_t* event) {
  return guarded(__func__, [&] {
    require(event, "event");
    *event = Library::get().events.add(std::make_shared<Event>());
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiEventDestroy(rigiEvent_t event) {
  return guarded(__func__, [&] {
    Library::get().events.remove(event);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiEventRecord(rigiEvent_t event, rigiStream_t stream) {
  return guarded(__func__, [&] {
    Library& library = Library::get();
    const std::shared_ptr<Event> e = library.events.get(event);
    const std::shared_ptr<Stream> s = library.stream(stream);
    s->device->queue.check();
    auto record = std::make_shared<Record>(s->device);
    const std::lock_guard lock(e->mutex);
    if (s->capturing.load(std::memory_order_acquire) && Capture::record(s, record)) {
      e->latest = std::move(record);
      return RIGI_SUCCESS;
    }
    // Always: who waits for an event of a device that faults meanwhile must not wait for ever.
    record->sequence = s->device->queue.submit([s, record] { record->cycles = s->clock; }, rigi::Queue::kAlways);
    s->submitted(record->sequence);
    e->latest = std::move(record);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiEventQuery(rigiEvent_t event) {
  return guarded(__func__, [&] {
    const std::shared_ptr<Record> record = Library::get().events.get(event)->last();
    if (!record) return RIGI_SUCCESS;
    refuse_captured(*record);
    record->device->queue.check();
    return record->device->queue.done(record->sequence) ? RIGI_SUCCESS : RIGI_ERROR_NOT_READY;
  });
}

rigiStatus rigiEventSynchronize(rigiEvent_t event) {
  return guarded(__func__, [&] {
    const std::shared_ptr<Record> record = Library::get().events.get(event)->last();
    if (!record) return RIGI_SUCCESS;
    refuse_captured(*record);
    record->device->queue.wait(record->sequence);
    record->device->queue.check();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiEventElapsedCycles(rigiEvent_t start, rigiEvent_t end, int64_t* cycles) {
  return guarded(__func__, [&] {
    require(cycles, "cycles");
    *cycles = elapsed(start, end);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiEventElapsedTime(rigiEvent_t start, rigiEvent_t end, double* milliseconds) {
  return guarded(__func__, [&] {
    require(milliseconds, "milliseconds");
    *milliseconds = static_cast<double>(elapsed(start, end)) / static_cast<double>(Library::get().chip.clock_hz) * 1e3;
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiLaunchHostFunc(rigiStream_t stream, void (*function)(void*), void* data) {
  return guarded(__func__, [&] {
    require(reinterpret_cast<const void*>(function), "function");
    const std::shared_ptr<Stream> s = Library::get().stream(stream);
    s->device->queue.check();
    if (s->capturing.load(std::memory_order_acquire)) {
      std::unique_ptr<rigi::Command> command = std::make_unique<rigi::HostCommand>(function, data);
      if (Capture::add(s, command)) return RIGI_SUCCESS;
    }
    // Always: the function may release what its caller holds, whatever became of the work before it.
    s->submitted(s->device->queue.submit([s, function, data] { function(data); }, rigi::Queue::kAlways | rigi::Queue::kOwnThread));
    return RIGI_SUCCESS;
  });
}

}  // extern "C"
