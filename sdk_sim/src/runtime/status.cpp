#include "status.hpp"

#include <cstdio>

#include "log.hpp"

namespace rigi {
namespace {

thread_local std::string last_error;

}  // namespace

rigiStatus fail(rigiStatus status, const std::string& text) {
  last_error = text;
  if (status != RIGI_ERROR_NOT_READY) log(Log::Failures, "%s: %s", rigiGetStatusName(status), text.c_str());
  return status;
}

std::string format_bytes(unsigned long long bytes) {
  const char* units[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(bytes) + " bytes";
  double value = static_cast<double>(bytes) / 1024;
  int unit = 0;
  for (; value >= 1024 && unit < 3; ++unit) value /= 1024;
  char text[64];
  std::snprintf(text, sizeof(text), "%.1f %s (%llu bytes)", value, units[unit], bytes);
  return text;
}

std::string format_pointer(const void* pointer) {
  char text[32];
  std::snprintf(text, sizeof(text), "%p", pointer);
  return text;
}

}  // namespace rigi

extern "C" {

const char* rigiGetLastErrorString(void) { return rigi::last_error.c_str(); }

const char* rigiGetVersion(void) { return RIGI_SDK_VERSION; }

const char* rigiGetStatusName(rigiStatus status) {
  switch (status) {
    case RIGI_SUCCESS:
      return "RIGI_SUCCESS";
    case RIGI_ERROR_INVALID_VALUE:
      return "RIGI_ERROR_INVALID_VALUE";
    case RIGI_ERROR_INVALID_DEVICE:
      return "RIGI_ERROR_INVALID_DEVICE";
    case RIGI_ERROR_INVALID_HANDLE:
      return "RIGI_ERROR_INVALID_HANDLE";
    case RIGI_ERROR_OUT_OF_MEMORY:
      return "RIGI_ERROR_OUT_OF_MEMORY";
    case RIGI_ERROR_INVALID_POINTER:
      return "RIGI_ERROR_INVALID_POINTER";
    case RIGI_ERROR_NOT_READY:
      return "RIGI_ERROR_NOT_READY";
    case RIGI_ERROR_MODULE_FORMAT:
      return "RIGI_ERROR_MODULE_FORMAT";
    case RIGI_ERROR_MODULE_MISMATCH:
      return "RIGI_ERROR_MODULE_MISMATCH";
    case RIGI_ERROR_NOT_FOUND:
      return "RIGI_ERROR_NOT_FOUND";
    case RIGI_ERROR_KERNEL_FAULT:
      return "RIGI_ERROR_KERNEL_FAULT";
    case RIGI_ERROR_CHIP_FILE:
      return "RIGI_ERROR_CHIP_FILE";
    case RIGI_ERROR_IO:
      return "RIGI_ERROR_IO";
    case RIGI_ERROR_CAPTURE:
      return "RIGI_ERROR_CAPTURE";
    case RIGI_ERROR_INTERNAL:
      return "RIGI_ERROR_INTERNAL";
  }
  return "RIGI_ERROR_UNKNOWN";
}

}  // extern "C"
