// Module files: how they look, and how they become kernels.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../common.hpp"
#include "rigi.h"
#include "rigi_kernel.h"

namespace rigi {

/// Makes a module image for `rigiModuleLoad`.
std::vector<uint8_t> pack_module(const std::string& chip, const std::string& revision, const std::string& manifest, const void* code,
                                 size_t code_bytes);

/// A loaded module. Its code stays mapped as long as the object lives.
class Module {
 public:
  /// Checks everything that can be checked before any of the code is run. Throws Error(MODULE_FORMAT or MODULE_MISMATCH).
  /// `origin` names the file in messages.
  Module(const void* image, size_t bytes, const Chip& chip, int device, const std::string& origin);
  ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  int device() const { return device_; }
  const std::string& manifest() const { return manifest_; }
  /// Throws Error(NOT_FOUND) listing what there is.
  const rigi_kernel_desc& kernel(const std::string& name) const;

  // Handles given out for this module's kernels, by name; used by the C API, under its lock.
  std::vector<std::pair<std::string, rigiKernel_t>> kernel_handles;

 private:
  void open_code(const void* code, size_t bytes);
  void close_code();
  void check_description(const std::string& origin) const;

  const int device_;
  std::string manifest_;
  int fd_ = -1;
  void* library_ = nullptr;
  const rigi_module_desc* description_ = nullptr;
};

/// Whether a kernel's name can stand in messages, statistics and traces as it is.
bool valid_kernel_name(const char* name);

}  // namespace rigi
