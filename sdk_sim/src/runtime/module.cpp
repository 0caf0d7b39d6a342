#include "module.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "status.hpp"

namespace rigi {
namespace {

constexpr char kMagic[8] = {'R', 'I', 'G', 'I', 'M', 'O', 'D', '\n'};
constexpr uint32_t kFormat = 1;
constexpr uint32_t kMostKernels = 4096, kMostPhases = 4096;

// The file begins with this; the manifest and the code follow without gaps. All numbers are little-endian.
struct Header {
  char magic[8];
  uint32_t format, abi;
  char sdk[16], chip[16], revision[16];  // NUL-terminated
  uint64_t manifest_bytes, code_bytes;
  uint64_t hash;  // FNV-1a of every other byte of the file
};
static_assert(sizeof(Header) == 88);

uint64_t fnv1a(const uint8_t* data, size_t bytes, uint64_t hash) {
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ data[i]) * 0x100000001b3ULL;
  return hash;
}

uint64_t hash_image(const uint8_t* image, size_t bytes) {
  constexpr uint64_t kOffsetBasis = 0xcbf29ce484222325ULL;
  const uint64_t hash = fnv1a(image, offsetof(Header, hash), kOffsetBasis);
  return fnv1a(image + sizeof(Header), bytes - sizeof(Header), hash);
}

template <size_t N>
void put(char (&field)[N], const std::string& text, const char* what) {
  if (text.empty() || text.size() >= N)
    throw Error(RIGI_ERROR_INVALID_VALUE, std::string(what) + " '" + text + "' must have 1 to " + std::to_string(N - 1) + " characters");
  std::memcpy(field, text.c_str(), text.size());
}

template <size_t N>
std::string get(const char (&field)[N]) {
  return std::string(field, strnlen(field, N));
}

// Damaged beyond trust: the header must not even be read as one.
Header read_header(const uint8_t* image, size_t bytes, const std::string& origin) {
  const auto refuse = [&](const std::string& why) {
    throw Error(RIGI_ERROR_MODULE_FORMAT, origin + " is not a usable Rigi module: " + why + ". Build it again with `rigi build`");
  };
  if (bytes < sizeof(Header))
    refuse("it has " + std::to_string(bytes) + " bytes, less than the header's " + std::to_string(sizeof(Header)));
  Header header;
  std::memcpy(&header, image, sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) refuse("it does not begin with the module signature");
  if (header.format != kFormat) refuse("its format is " + std::to_string(header.format) + ", this SDK reads " + std::to_string(kFormat));
  const uint64_t rest = bytes - sizeof(Header);
  if (header.manifest_bytes > rest || header.code_bytes != rest - header.manifest_bytes) {
    refuse("it has " + std::to_string(bytes) + " bytes, but its header announces a manifest of " + std::to_string(header.manifest_bytes) +
           " and code of " + std::to_string(header.code_bytes) + " bytes; it was cut short or extended");
  }
  if (hash_image(image, bytes) != header.hash) refuse("its hash does not match its contents; it is damaged");
  return header;
}

void check_built_for(const Header& header, const Chip& chip, const std::string& origin) {
  const std::string built = get(header.chip) + " revision " + get(header.revision) + " with SDK " + get(header.sdk) + " (kernel ABI " +
                            std::to_string(header.abi) + ")";
  const std::string here =
      chip.name + " revision " + chip.revision + " with SDK " + RIGI_SDK_VERSION + " (kernel ABI " + std::to_string(RIGI_ABI_VERSION) + ")";
  if (built != here)
    throw Error(RIGI_ERROR_MODULE_MISMATCH,
                origin + " was built for " + built + "; this device is " + here + ". Rebuild it with `rigi build`");
}

}  // namespace

bool valid_kernel_name(const char* name) {
  if (name == nullptr || *name == '\0') return false;
  size_t length = 0;
  for (; name[length] != '\0'; ++length) {
    const char c = name[length];
    if (c < ' ' || c > '~' || c == '"' || c == '\\' || length == 255) return false;
  }
  return true;
}

std::vector<uint8_t> pack_module(const std::string& chip, const std::string& revision, const std::string& manifest, const void* code,
                                 size_t code_bytes) {
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.format = kFormat;
  header.abi = RIGI_ABI_VERSION;
  put(header.sdk, RIGI_SDK_VERSION, "the SDK version");
  put(header.chip, chip, "the chip's name");
  put(header.revision, revision, "the chip's revision");
  header.manifest_bytes = manifest.size();
  header.code_bytes = code_bytes;
  std::vector<uint8_t> image(sizeof(Header) + manifest.size() + code_bytes);
  std::memcpy(image.data(), &header, sizeof(header));
  std::memcpy(image.data() + sizeof(header), manifest.data(), manifest.size());
  if (code_bytes != 0) std::memcpy(image.data() + sizeof(header) + manifest.size(), code, code_bytes);
  header.hash = hash_image(image.data(), image.size());
  std::memcpy(image.data(), &header, sizeof(header));
  return image;
}

Module::Module(const void* image, size_t bytes, const Chip& chip, int device, const std::string& origin) : device_(device) {
  const auto* data = static_cast<const uint8_t*>(image);
  const Header header = read_header(data, bytes, origin);
  check_built_for(header, chip, origin);
  data += sizeof(Header);
  manifest_.assign(reinterpret_cast<const char*>(data), header.manifest_bytes);
  try {
    open_code(data + header.manifest_bytes, header.code_bytes);
    check_description(origin);
  } catch (const Error& error) {
    close_code();
    throw Error(error.status(), origin + ": " + error.what());
  }
}

Module::~Module() { close_code(); }

// The code is loaded from memory, so that the file may be replaced meanwhile and nothing is left on a disk. The descriptor
// stays open: the loader knows libraries by path, and a closed number would soon name another module.
void Module::open_code(const void* code, size_t bytes) {
  fd_ = memfd_create("rigi-module", MFD_CLOEXEC);
  if (fd_ < 0) throw Error(RIGI_ERROR_IO, std::string("memfd_create: ") + std::strerror(errno));
  const auto* data = static_cast<const uint8_t*>(code);
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = write(fd_, data + done, bytes - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw Error(RIGI_ERROR_IO, std::string("the code cannot be copied into memory: ") + std::strerror(errno));
    done += static_cast<size_t>(n);
  }
  const std::string path = "/proc/self/fd/" + std::to_string(fd_);
  library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr)
    throw Error(RIGI_ERROR_MODULE_FORMAT, std::string("its code cannot be loaded: ") + dlerror() + ". Build it again with `rigi build`");
  description_ = static_cast<const rigi_module_desc*>(dlsym(library_, "rigi_module"));
  if (description_ == nullptr) throw Error(RIGI_ERROR_MODULE_FORMAT, "its code does not export `rigi_module`");
}

void Module::close_code() {
  const std::string path = "/proc/self/fd/" + std::to_string(fd_);
  if (library_ != nullptr) {
    dlclose(library_);
    // Code that the loader cannot unload (GNU unique symbols, thread locals) keeps its name, so its descriptor stays taken.
    if (void* still = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD); still != nullptr) {
      dlclose(still);
      fd_ = -1;
    }
  }
  if (fd_ >= 0) close(fd_);
  library_ = nullptr;
  fd_ = -1;
}

void Module::check_description(const std::string& origin) const {
  const rigi_module_desc& d = *description_;
  if (d.abi_version != RIGI_ABI_VERSION) {
    throw Error(RIGI_ERROR_MODULE_MISMATCH, "its code has kernel ABI " + std::to_string(d.abi_version) + ", this SDK " +
                                                std::to_string(RIGI_ABI_VERSION) + ". Rebuild it with `rigi build`");
  }
  bool sound = d.num_kernels <= kMostKernels && (d.num_kernels == 0 || d.kernels != nullptr);
  for (uint32_t k = 0; sound && k < d.num_kernels; ++k) {
    const rigi_kernel_desc& kernel = d.kernels[k];
    sound = valid_kernel_name(kernel.name) && kernel.num_phases >= 1 && kernel.num_phases <= kMostPhases && kernel.phases != nullptr;
    for (uint32_t p = 0; sound && p < kernel.num_phases; ++p) sound = kernel.phases[p] != nullptr;
  }
  if (!sound) throw Error(RIGI_ERROR_MODULE_FORMAT, "the table of kernels in " + origin + " is not in order (names, counts or phases)");
}

const rigi_kernel_desc& Module::kernel(const std::string& name) const {
  std::string known;
  for (uint32_t k = 0; k < description_->num_kernels; ++k) {
    const rigi_kernel_desc& kernel = description_->kernels[k];
    if (name == kernel.name) return kernel;
    known += (known.empty() ? "" : ", ") + std::string(kernel.name);
  }
  throw Error(RIGI_ERROR_NOT_FOUND, "the module has no kernel '" + name + "'; it has: " + (known.empty() ? "none" : known));
}

}  // namespace rigi
