// Anonymous host memory that costs nothing until it is touched.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rigi {

/// Owns one anonymous mapping. Pages are zero and appear when they are first touched; nothing is reserved beforehand.
class Mapping {
 public:
  Mapping() = default;
  /// Throws Error(OUT_OF_MEMORY) saying what the host refused. `what` names the use: "HBM of device 0".
  Mapping(size_t bytes, size_t alignment, bool huge_pages, const char* what);
  ~Mapping();
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* raw_ = nullptr;
  size_t raw_size_ = 0;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

/// Gives the whole pages inside [start, start + bytes) back to the host; they read as zero afterwards.
void release_pages(uint8_t* start, size_t bytes);

}  // namespace rigi
