// rigi.h: modules and launches.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "command.hpp"
#include "log.hpp"

using rigi::Device;
using rigi::Error;
using rigi::guarded;
using rigi::Kernel;
using rigi::Library;
using rigi::Module;
using rigi::require;
using rigi::Stream;

namespace {

constexpr uint32_t kMostPhases = 4096;

// Instructions as data.
class ListProgram final : public rigi::Program {
 public:
  ListProgram(const char* name, const rigi_instr* instrs, const uint64_t* offsets, uint32_t phases, uint32_t cores)
      : name_(name),
        phases_(phases),
        cores_(cores),
        offsets_(offsets, offsets + size_t{phases} * cores + 1),
        instrs_(instrs, instrs + offsets_.back()) {}
  const char* name() const override { return name_.c_str(); }
  uint32_t phases() const override { return phases_; }
  void run(uint32_t phase, rigi_core* core) const override {
    const uint64_t* range = &offsets_[size_t{phase} * cores_ + static_cast<uint32_t>(core->id)];
    for (uint64_t i = range[0]; i < range[1]; ++i) core->ops->issue(core->state, &instrs_[i]);
  }

 private:
  std::string name_;
  uint32_t phases_, cores_;
  std::vector<uint64_t> offsets_;
  std::vector<rigi_instr> instrs_;
};

std::vector<char> read_file(const char* path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff bytes = file ? static_cast<std::streamoff>(file.tellg()) : -1;
  constexpr std::streamoff kMost = std::streamoff{1} << 31;
  if (bytes < 0) throw Error(RIGI_ERROR_IO, std::string("module file ") + path + " cannot be opened: " + std::strerror(errno));
  if (bytes > kMost) throw Error(RIGI_ERROR_MODULE_FORMAT, std::string(path) + " is not a usable Rigi module: it is larger than 2 GiB");
  std::vector<char> data(static_cast<size_t>(bytes));
  file.seekg(0);
  file.read(data.data(), bytes);
  if (!file) throw Error(RIGI_ERROR_IO, std::string("module file ") + path + " cannot be read");
  return data;
}

rigiModule_t load(int device, const void* image, size_t bytes, const std::string& origin) {
  Library& library = Library::get();
  const Device& d = library.device(device);
  rigi::log(rigi::Log::Setup, "device %d: module %s, %zu bytes", device, origin.c_str(), bytes);
  return library.modules.add(std::make_shared<Module>(image, bytes, d.chip, device, origin));
}

}  // namespace

extern "C" {

rigiStatus rigiModulePack(const char* chip, const char* revision, const char* manifest_json, const void* code, size_t code_bytes,
                          void** image, size_t* image_bytes) {
  return guarded(__func__, [&] {
    require(chip, "chip");
    require(revision, "revision");
    require(manifest_json, "manifest_json");
    require(code, "code");
    require(image, "image");
    require(image_bytes, "image_bytes");
    const std::vector<uint8_t> packed = rigi::pack_module(chip, revision, manifest_json, code, code_bytes);
    *image = std::malloc(packed.size());
    if (*image == nullptr) throw std::bad_alloc();
    std::memcpy(*image, packed.data(), packed.size());
    *image_bytes = packed.size();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiModuleLoad(int device, const char* path, rigiModule_t* module) {
  return guarded(__func__, [&] {
    require(path, "path");
    require(module, "module");
    Library::get().device(device);
    const std::vector<char> image = read_file(path);
    *module = load(device, image.data(), image.size(), std::string("module ") + path);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiModuleLoadData(int device, const void* image, size_t bytes, rigiModule_t* module) {
  return guarded(__func__, [&] {
    require(image, "image");
    require(module, "module");
    *module = load(device, image, bytes, "the module image");
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiModuleUnload(rigiModule_t module) {
  return guarded(__func__, [&] {
    Library& library = Library::get();
    const std::lock_guard lock(library.module_mutex);
    const std::shared_ptr<Module> m = library.modules.remove(module);
    for (const auto& [name, handle] : m->kernel_handles) library.kernels.remove(handle);
    return RIGI_SUCCESS;  // launches in flight keep the code until they are done
  });
}

rigiStatus rigiModuleGetKernel(rigiModule_t module, const char* name, rigiKernel_t* kernel) {
  return guarded(__func__, [&] {
    require(name, "name");
    require(kernel, "kernel");
    Library& library = Library::get();
    const std::lock_guard lock(library.module_mutex);
    const std::shared_ptr<Module> m = library.modules.get(module);
    for (const auto& [known, handle] : m->kernel_handles) {
      if (known != name) continue;
      *kernel = handle;
      return RIGI_SUCCESS;
    }
    *kernel = library.kernels.add(std::make_shared<Kernel>(m, &m->kernel(name)));
    m->kernel_handles.emplace_back(name, *kernel);
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiModuleGetManifest(rigiModule_t module, const char** json) {
  return guarded(__func__, [&] {
    require(json, "json");
    *json = Library::get().modules.get(module)->manifest().c_str();
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiLaunchKernel(rigiKernel_t kernel, rigiStream_t stream, const rigiArg* args, size_t num_args) {
  return guarded(__func__, [&] {
    Library& library = Library::get();
    const std::shared_ptr<Stream> s = library.stream(stream);
    auto program = std::make_unique<rigi::KernelProgram>(library.kernels.get(kernel), *s->device, args, num_args);
    rigi::submit(s, std::make_unique<rigi::LaunchCommand>(std::move(program)));
    return RIGI_SUCCESS;
  });
}

rigiStatus rigiLaunchProgram(rigiStream_t stream, const char* name, const rigi_instr* instrs, const uint64_t* offsets, uint32_t phases) {
  return guarded(__func__, [&] {
    const std::shared_ptr<Stream> s = Library::get().stream(stream);
    if (!rigi::valid_kernel_name(name))
      throw Error(RIGI_ERROR_INVALID_VALUE, "a program's name is 1 to 255 printable ASCII characters without quotes and backslashes");
    require(offsets, "offsets");
    if (phases < 1 || phases > kMostPhases)
      throw Error(RIGI_ERROR_INVALID_VALUE, std::to_string(phases) + " phases; allowed: 1 to " + std::to_string(kMostPhases));
    const uint32_t cores = s->device->chip.cores();
    const size_t entries = size_t{phases} * cores;
    for (size_t i = 0; i < entries; ++i) {
      if (offsets[i] > offsets[i + 1])
        throw Error(RIGI_ERROR_INVALID_VALUE, "offsets[" + std::to_string(i) + "] is larger than the next one; they must not decrease");
    }
    if (offsets[0] != 0) throw Error(RIGI_ERROR_INVALID_VALUE, "offsets[0] is " + std::to_string(offsets[0]) + ", not 0");
    if (offsets[entries] != 0) require(instrs, "instrs");
    rigi::submit(s, std::make_unique<rigi::LaunchCommand>(std::make_unique<ListProgram>(name, instrs, offsets, phases, cores)));
    return RIGI_SUCCESS;
  });
}

}  // extern "C"
