// rigi.h: devices, modes, statistics.
#include <cstring>

#include "library.hpp"
#include "log.hpp"

using rigi::Device;
using rigi::Error;
using rigi::guarded;
using rigi::Library;
using rigi::require;

extern "C" {

rigiStatus rigiGetDeviceCount(int* count) {
  return guarded(__func__, [&] {
    require(count, "count");
    *count = static_cast<int>(Library::get().devices.size());
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiGetDeviceProperties(int device, rigiDeviceProperties* properties) {
  return guarded(__func__, [&] {
    require(properties, "properties");
    Library& library = Library::get();
    const rigi::Chip& chip = library.device(device).chip;
    rigiDeviceProperties p = {};
    std::snprintf(p.name, sizeof(p.name), "%s", chip.name.c_str());
    std::snprintf(p.revision, sizeof(p.revision), "%s", chip.revision.c_str());
    std::snprintf(p.override_path, sizeof(p.override_path), "%s", library.override_path.c_str());
    p.cores = static_cast<int32_t>(chip.cores());
    p.grid_rows = static_cast<int32_t>(chip.grid_rows);
    p.grid_cols = static_cast<int32_t>(chip.grid_cols);
    p.sram_bytes = chip.sram_bytes;
    p.hbm_bytes = chip.hbm_bytes;
    p.clock_hz = static_cast<double>(chip.clock_hz);
    const double columns = 2.0 * p.clock_hz * chip.cores() * chip.matrix_n;  // a multiply and an add
    p.peak_flops_16bit = columns * chip.matrix_k16;
    p.peak_ops_8bit = columns * chip.matrix_k8;
    p.hbm_bytes_per_s = p.clock_hz * chip.hbm_bytes_per_cycle;
    p.hbm_bytes_per_cycle = chip.hbm_bytes_per_cycle;
    p.launch_cycles = chip.launch_host;
    p.graph_launch_cycles = chip.launch_graph;
    p.barrier_cycles = chip.barrier;
    *properties = p;
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiDeviceSynchronize(int device) {
  return guarded(__func__, [&] {
    Device& d = Library::get().device(device);
    d.queue.synchronize();
    d.queue.check();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiDeviceGetError(int device) {
  return guarded(__func__, [&] {
    Library::get().device(device).queue.check();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiDeviceReset(int device) {
  return guarded(__func__, [&] {
    Library::get().device(device).queue.reset();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiDeviceSetMode(int device, rigiMode mode) {
  return guarded(__func__, [&] {
    if (mode < RIGI_FUNCTIONAL || mode > RIGI_STRICT)
      throw Error(RIGI_ERROR_INVALID_VALUE,
                  "mode " + std::to_string(mode) +
                      " is unknown; allowed: RIGI_FUNCTIONAL (0), RIGI_TIMED (1), RIGI_TIMING_ONLY (2), RIGI_STRICT (3)");
    Library::get().device(device).set_mode(mode);
    rigi::log(rigi::Log::Setup, "device %d: mode %d", device, static_cast<int>(mode));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiDeviceGetMode(int device, rigiMode* mode) {
  return guarded(__func__, [&] {
    require(mode, "mode");
    *mode = Library::get().device(device).mode;
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiSetNumThreads(int threads) {
  return guarded(__func__, [&] {
    if (threads < 1 || threads > 64) throw Error(RIGI_ERROR_INVALID_VALUE, std::to_string(threads) + " threads; allowed: 1 to 64");
    Library::get().crew.set_threads(static_cast<uint32_t>(threads));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiDeviceTakeStatistics(int device, char** json) {
  return guarded(__func__, [&] {
    require(json, "json");
    Device& d = Library::get().device(device);
    d.queue.synchronize();
    d.queue.check();
    std::string text;
    d.queue.submit_and_wait([&] { text = d.take_statistics(); });
    d.queue.check();
    *json = strdup(text.c_str());
    if (*json == nullptr) throw std::bad_alloc();
    return RIGI_SUCCESS;
  });
}

}  // extern "C"
