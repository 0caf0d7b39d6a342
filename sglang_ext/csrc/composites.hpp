// Operators that torch composes of others on a device it does not know.
#pragma once

namespace rigi_torch {

/// Gives the fallback every operator for which the CPU has a kernel of its own where other devices compose it of several: composed, it
/// would round in other places and check less. Once, after all other kernels are registered.
void take_whole();

}  // namespace rigi_torch
