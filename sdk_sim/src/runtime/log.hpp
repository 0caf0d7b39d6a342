// RIGI_LOG=0..4: what the SDK does, on standard error. Each level says all that the lower ones say.
#pragma once

namespace rigi {

enum class Log {
  Off = 0,       // the default
  Failures = 1,  // calls that were refused, and faults
  Setup = 2,     // devices, modes, modules, graphs
  Work = 3,      // launches and copies, with their simulated cycles
  Memory = 4     // allocations and releases
};

/// Read from RIGI_LOG once; a value that is no level counts as 1, and is said so.
Log log_level();
inline bool logs(Log level) { return log_level() >= level; }

/// Writes one line, as printf does. Check logs(level) first where the arguments cost something.
__attribute__((format(printf, 2, 3))) void log(Log level, const char* format, ...);

}  // namespace rigi
