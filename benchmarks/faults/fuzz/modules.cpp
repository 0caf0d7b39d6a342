// Damaged module files. What the header's hash covers may be anything, with the right hash or a wrong one; only code with a right hash is
// left as it is: native code that was signed is trusted (the manual's section 8).
#include <cstdio>
#include <cstdlib>
#include <string>

#include "world.hpp"

namespace fuzz {
namespace {

constexpr size_t kHeader = 88, kHash = 80, kManifestBytes = 64, kCodeBytes = 72;

uint64_t fnv1a(const uint8_t* data, size_t bytes, uint64_t hash) {
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ data[i]) * 0x100000001b3ULL;
  return hash;
}

void sign(std::vector<uint8_t>& image) {
  if (image.size() < kHeader) return;
  uint64_t hash = fnv1a(image.data(), kHash, 0xcbf29ce484222325ULL);
  hash = fnv1a(image.data() + kHeader, image.size() - kHeader, hash);
  std::memcpy(image.data() + kHash, &hash, sizeof(hash));
}

struct Random {
  uint64_t state;
  uint64_t next() {  // splitmix64
    uint64_t z = state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  size_t below(size_t n) { return static_cast<size_t>(next() % (n == 0 ? 1 : n)); }
};

void flip(std::vector<uint8_t>& image, Random& random, size_t from, size_t to) {
  for (size_t n = 1 + random.below(8); n != 0 && to > from; --n)
    image[from + random.below(to - from)] ^= static_cast<uint8_t>(1U << random.below(8));
}

uint64_t manifest_bytes(const std::vector<uint8_t>& image) {
  uint64_t bytes;
  std::memcpy(&bytes, image.data() + kManifestBytes, sizeof(bytes));
  return bytes;
}

// A number of the header set to something extreme, or one off.
void edit_number(std::vector<uint8_t>& image, Random& random) {
  constexpr uint64_t kExtremes[] = {0, 1, 0x7fffffff, 0xffffffff, 0x8000000000000000, 0xffffffffffffffff, 0xffffffffffffffa8};
  constexpr size_t kPlaces[] = {8, 12, kManifestBytes, kCodeBytes};
  const size_t place = kPlaces[random.below(4)];
  uint64_t value;
  std::memcpy(&value, image.data() + place, sizeof(value));
  value = random.below(2) == 0 ? kExtremes[random.below(7)] : value + random.below(5) - 2;
  std::memcpy(image.data() + place, &value, place < kManifestBytes ? 4 : 8);
}

// The manifest cut, grown or scrambled, with sizes and hash made to fit: the code stays what it was.
void edit_manifest(std::vector<uint8_t>& image, Random& random) {
  const uint64_t length = manifest_bytes(image);
  std::vector<uint8_t> text(image.begin() + kHeader, image.begin() + static_cast<ptrdiff_t>(kHeader + length));
  const size_t how = random.below(4);
  if (how == 0) text.resize(random.below(text.size() + 1));
  if (how == 1) text.insert(text.end(), random.below(4096), static_cast<uint8_t>(random.next()));
  if (how >= 2) flip(text, random, 0, text.size());
  std::vector<uint8_t> made(image.begin(), image.begin() + kHeader);
  const uint64_t now = text.size();
  std::memcpy(made.data() + kManifestBytes, &now, sizeof(now));
  made.insert(made.end(), text.begin(), text.end());
  made.insert(made.end(), image.begin() + static_cast<ptrdiff_t>(kHeader + length), image.end());
  sign(made);
  image = std::move(made);
}

void mutate(std::vector<uint8_t>& image, const std::vector<uint8_t>& other, Random& random) {
  switch (random.below(8)) {
    case 0:
      return flip(image, random, 0, image.size());
    case 1:
      return flip(image, random, 0, kHeader);
    case 2:
      image.resize(random.below(image.size()));
      return;
    case 3:
      image.insert(image.end(), 1 + random.below(300), static_cast<uint8_t>(random.next()));
      return;
    case 4: {  // the beginning of one, the end of the other
      const size_t head = random.below(image.size());
      image.resize(head);
      image.insert(image.end(), other.begin() + static_cast<ptrdiff_t>(random.below(other.size())), other.end());
      return;
    }
    case 5:
      return edit_number(image, random);
    case 6:
      flip(image, random, 8, kManifestBytes);  // versions and names
      return sign(image);
    default:
      return edit_manifest(image, random);
  }
}

void use(rigiModule_t module) {
  const char* manifest = nullptr;
  rigiKernel_t kernel;
  if (rigiModuleGetManifest(module, &manifest) != RIGI_SUCCESS || manifest == nullptr) bug("a module without a manifest");
  if (std::strlen(manifest) > size_t{1} << 20) bug("a manifest that grew");
  if (rigiModuleGetKernel(module, "scale", &kernel) != RIGI_SUCCESS) bug("an accepted module without its kernel");
  rigiArg arg;
  arg.i64 = 0;  // refused by the device: an address outside of its HBM
  CALL(rigiLaunchKernel, kernel, nullptr, &arg, 1);
  if (rigiDeviceSynchronize(0) != RIGI_ERROR_KERNEL_FAULT) bug("a kernel's fault went unnoticed");
  if (rigiDeviceReset(0) != RIGI_SUCCESS) bug("a device cannot be reset");
}

}  // namespace

std::vector<uint8_t> pack(const char* manifest, const std::vector<uint8_t>& code) {
  rigiDeviceProperties chip;
  void* packed = nullptr;
  size_t bytes = 0;
  if (rigiGetDeviceProperties(0, &chip) != RIGI_SUCCESS ||
      CALL(rigiModulePack, chip.name, chip.revision, manifest, code.data(), code.size(), &packed, &bytes) != RIGI_SUCCESS)
    bug("a module cannot be packed");
  std::vector<uint8_t> image(static_cast<uint8_t*>(packed), static_cast<uint8_t*>(packed) + bytes);
  std::free(packed);
  return image;
}

uint64_t load_modules(const std::vector<uint8_t>& image, uint64_t count, uint64_t seed, const char* path) {
  Random random{seed};
  const std::vector<uint8_t> small = pack("{\"kernels\": []}", {'n', 'o', ' ', 'c', 'o', 'd', 'e'});
  uint64_t accepted = 0;
  for (uint64_t n = 0; n < count; ++n) {
    const bool large = random.below(2) == 0;
    std::vector<uint8_t> damaged = large ? image : small;
    mutate(damaged, large ? small : image, random);
    rigiModule_t module;
    rigiStatus status;
    if (random.below(16) == 0) {
      std::FILE* file = std::fopen(path, "wb");
      if (file == nullptr) bug("the folder for modules cannot be written");
      std::fwrite(damaged.data(), 1, damaged.size(), file);
      std::fclose(file);
      status = CALL(rigiModuleLoad, 0, path, &module);
    } else {
      static const uint8_t nothing = 0;
      status = CALL(rigiModuleLoadData, 0, damaged.empty() ? &nothing : damaged.data(), damaged.size(), &module);
    }
    if (status != RIGI_SUCCESS) continue;
    ++accepted;
    use(module);
    if (CALL(rigiModuleUnload, module) != RIGI_SUCCESS) bug("a module cannot be unloaded");
  }
  return accepted;
}

}  // namespace fuzz
