#include "library.hpp"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "../strict/leaks.hpp"
#include "chip.hpp"
#include "graph.hpp"

namespace rigi {
namespace {

// Never destroyed: the devices' threads live until the process ends.
std::atomic<Library*> instance{nullptr};
std::atomic<bool> forked{false};

constexpr int kMostDevices = 16, kMostThreads = 16;

int number_from(const char* variable, int fallback, int most) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value == '\0') return fallback;
  char* end = nullptr;
  const long number = std::strtol(value, &end, 10);
  if (*end != '\0' || number < 1 || number > most) {
    throw Error(RIGI_ERROR_INVALID_VALUE, std::string(variable) + "='" + value + "' is not a number from 1 to " + std::to_string(most));
  }
  return static_cast<int>(number);
}

rigiMode mode_from_environment() {
  const char* value = std::getenv("RIGI_MODE");
  if (value == nullptr || *value == '\0' || std::strcmp(value, "timed") == 0) return RIGI_TIMED;
  if (std::strcmp(value, "functional") == 0) return RIGI_FUNCTIONAL;
  if (std::strcmp(value, "timing-only") == 0) return RIGI_TIMING_ONLY;
  if (std::strcmp(value, "strict") == 0) return RIGI_STRICT;
  throw Error(RIGI_ERROR_INVALID_VALUE,
              std::string("RIGI_MODE='") + value + "' is unknown; allowed: functional, timed, timing-only, strict");
}

// The folder that a variable names, made if missing; null without one.
const char* folder_from(const char* variable) {
  const char* folder = std::getenv(variable);
  if (folder == nullptr || *folder == '\0') return nullptr;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error && ::access(folder, W_OK) != 0) error = std::error_code(errno, std::generic_category());
  if (error) throw Error(RIGI_ERROR_IO, std::string(variable) + "='" + folder + "' is no folder that can be written: " + error.message());
  return folder;
}

int host_threads() {
  cpu_set_t set;
  const int usable = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return usable < 1 ? 1 : usable > kMostThreads ? kMostThreads : usable;
}

Chip chip_from_environment(std::string* override_path) {
  const char* value = std::getenv("RIGI_CHIP");
  try {
    if (value == nullptr || *value == '\0') return load_chip(builtin_chip_path());
    *override_path = value;
    return load_chip_with_override(builtin_chip_path(), value);
  } catch (const std::runtime_error& error) {
    throw Error(RIGI_ERROR_CHIP_FILE, error.what());
  }
}

}  // namespace

Library::Library()
    : chip(chip_from_environment(&override_path)), crew(static_cast<uint32_t>(number_from("RIGI_NUM_THREADS", host_threads(), 64))) {
  const int count = number_from("RIGI_DEVICES", 1, kMostDevices);
  const rigiMode mode = mode_from_environment();
  for (int d = 0; d < count; ++d) {
    devices.push_back(std::make_unique<Device>(d, chip, crew, mode));
    default_streams_.push_back(streams.add(std::make_shared<Stream>(devices.back().get(), true)));
  }
  if (const char* folder = folder_from("RIGI_PROFILE"); folder != nullptr) {
    for (const auto& d : devices)
      d->profile_with(std::make_unique<Profiler>(std::make_unique<OutputFile>(folder, d->id), chip, d->id, override_path));
  }
  if (const char* folder = folder_from("RIGI_TRACE"); folder != nullptr) {
    for (const auto& d : devices) d->trace_to(std::make_unique<OutputFile>(folder, d->id));
  }
  Profiler::library_is_ready();
}

Library& Library::get() {
  if (Library* library = instance.load(std::memory_order_acquire); library != nullptr) {
    if (!forked.load(std::memory_order_relaxed)) return *library;
    throw Error(RIGI_ERROR_INTERNAL, "process " + std::to_string(getpid()) +
                                         " was forked after its parent had used a Rigi device; device memory and threads do not survive "
                                         "fork(). Start processes with the 'spawn' "
                                         "method, or fork before the first use");
  }
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (instance.load(std::memory_order_acquire) == nullptr) {
    instance.store(new Library, std::memory_order_release);
    std::atexit(&Library::at_exit);
    pthread_atfork(nullptr, nullptr, &Library::in_child);
  }
  return *instance.load(std::memory_order_acquire);
}

Device& Library::device(int id) {
  if (id < 0 || static_cast<size_t>(id) >= devices.size()) {
    throw Error(RIGI_ERROR_INVALID_DEVICE, "device " + std::to_string(id) + " does not exist; there are " + std::to_string(devices.size()) +
                                               ", numbered from 0 (RIGI_DEVICES sets how many)");
  }
  return *devices[static_cast<size_t>(id)];
}

void Library::at_exit() {
  if (forked.load(std::memory_order_relaxed)) return;
  Library& library = *instance.load(std::memory_order_acquire);
  for (const auto& device : library.devices) device->queue.stop();
  for (const auto& device : library.devices) {
    device->stop_trace();
    device->stop_profile();
  }
  for (const auto& device : library.devices) report_leaks(*device);
}

void Library::in_child() {
  for (const auto& device : instance.load(std::memory_order_relaxed)->devices) {
    if (device->started()) forked.store(true, std::memory_order_relaxed);
  }
}

}  // namespace rigi
