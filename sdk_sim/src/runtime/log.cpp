#include "log.hpp"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace rigi {
namespace {

Log level_from_environment() {
  const char* value = std::getenv("RIGI_LOG");
  if (value == nullptr || *value == '\0') return Log::Off;
  if (value[0] >= '0' && value[0] <= '4' && value[1] == '\0') return static_cast<Log>(value[0] - '0');
  std::fprintf(stderr, "rigi: RIGI_LOG='%s' is not a level from 0 to 4; taking 1\n", value);
  return Log::Failures;
}

}  // namespace

Log log_level() {
  static const Log level = level_from_environment();
  return level;
}

void log(Log level, const char* format, ...) {
  if (!logs(level)) return;
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof(line), format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "rigi: %s\n", line);  // one call a line, so that threads do not mix theirs
}

}  // namespace rigi
