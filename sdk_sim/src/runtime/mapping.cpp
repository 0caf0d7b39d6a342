#include "mapping.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "status.hpp"

namespace rigi {

Mapping::Mapping(size_t bytes, size_t alignment, bool huge_pages, const char* what) {
  raw_size_ = bytes + alignment;
  raw_ = mmap(nullptr, raw_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw_ == MAP_FAILED) {
    raw_ = nullptr;
    throw Error(RIGI_ERROR_OUT_OF_MEMORY,
                "the host refused " + format_bytes(bytes) + " of address space for the " + what + ": " + std::strerror(errno) +
                    ". Lift `ulimit -v` and set vm.overcommit_memory to 0 or 1, or name a chip file with a smaller hbm.bytes in RIGI_CHIP");
  }
  const auto address = reinterpret_cast<uintptr_t>(raw_);
  data_ = reinterpret_cast<uint8_t*>((address + alignment - 1) / alignment * alignment);
  size_ = bytes;
  if (huge_pages) madvise(data_, size_, MADV_HUGEPAGE);  // a hint; small pages do as well
}

Mapping::~Mapping() {
  if (raw_ != nullptr) munmap(raw_, raw_size_);
}

Mapping::Mapping(Mapping&& other) noexcept { *this = std::move(other); }

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(raw_, other.raw_);
  std::swap(raw_size_, other.raw_size_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void release_pages(uint8_t* start, size_t bytes) {
  constexpr uintptr_t kPage = 4096;
  const uintptr_t first = (reinterpret_cast<uintptr_t>(start) + kPage - 1) / kPage * kPage;
  const uintptr_t last = (reinterpret_cast<uintptr_t>(start) + bytes) / kPage * kPage;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace rigi
