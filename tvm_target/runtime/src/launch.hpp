// Calls: from the arguments that TVM's host code passes to a launch on the current stream.
#pragma once

#include <rigi.h>
#include <tvm/ffi/function.h>

#include <string>

#include "module.hpp"

namespace rigi::loader {

// Throws the SDK's text if a call failed.
void Check(rigiStatus status);

// The function for "__tvm_set_device"(device type, device): remembers Rigi's device for this thread; passes on all other types.
tvm::ffi::Function SetDeviceFunction();

// The function for a kernel of `num_args` arguments; more (grid extents) are ignored. Holds the module.
tvm::ffi::Function LaunchFunction(tvm::ffi::ObjectPtr<RigiModule> module, const std::string& name, size_t num_args);

// What compiled host code expects of a process. libtvm_runtime registers the same; a process without it needs ours.
void RegisterContextSymbols();

}  // namespace rigi::loader
