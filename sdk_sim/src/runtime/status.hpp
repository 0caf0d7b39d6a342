// Status codes, the text that goes with a failure, and the wall between C++ exceptions and the C API.
#pragma once

#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "rigi.h"

namespace rigi {

/// A call that cannot be carried out. Becomes a status code and the thread's error text at the C API.
class Error : public std::runtime_error {
 public:
  Error(rigiStatus status, const std::string& text) : std::runtime_error(text), status_(status) {}
  rigiStatus status() const { return status_; }

 private:
  rigiStatus status_;
};

/// Sets the text that rigiGetLastErrorString() returns to this thread, and passes the status through.
rigiStatus fail(rigiStatus status, const std::string& text);

/// Throws Error(INVALID_VALUE) if the argument called `name` is null.
inline void require(const void* pointer, const char* name) {
  if (pointer == nullptr) throw Error(RIGI_ERROR_INVALID_VALUE, std::string("`") + name + "` is null");
}

/// "1.5 GiB (1610612736 bytes)"
std::string format_bytes(unsigned long long bytes);
/// "0x7f..." as users see it in a debugger.
std::string format_pointer(const void* pointer);

/// Every function of the C API runs its body inside this.
template <typename Body>
rigiStatus guarded(const char* function, Body&& body) noexcept {
  try {
    return body();
  } catch (const Error& error) {
    return fail(error.status(), std::string(function) + ": " + error.what());
  } catch (const std::bad_alloc&) {
    return fail(RIGI_ERROR_OUT_OF_MEMORY, std::string(function) + ": the host is out of memory");
  } catch (const std::exception& error) {
    return fail(RIGI_ERROR_INTERNAL, std::string(function) + ": " + error.what());
  }
}

}  // namespace rigi
