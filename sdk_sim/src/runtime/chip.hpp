// Where chip files come from.
#pragma once

#include <string>

#include "../common.hpp"

namespace rigi {

/// The chip file that lies beside the library: <library>/../chips/rigi1.toml.
std::string builtin_chip_path();

/// The chip of `path`, with those keys replaced that the (possibly partial) file `override_path` gives.
Chip load_chip_with_override(const std::string& path, const std::string& override_path);

}  // namespace rigi
