// Random generators of the chip. Random numbers are drawn on the host, so a chip generator is a CPU generator under a chip's name.
#pragma once

#include <ATen/core/Generator.h>

#include "sdk.hpp"

namespace rigi_torch {

/// The default generator of a device.
const at::Generator& default_generator(c10::DeviceIndex device);

/// The CPU generator inside a chip generator; any other generator as it is.
at::Generator cpu_generator(const at::Generator& generator);

}  // namespace rigi_torch
