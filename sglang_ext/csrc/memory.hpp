// Chip memory and pinned host memory for torch.
#pragma once

#include <c10/core/Allocator.h>

#include <memory>

#include "sdk.hpp"

namespace rigi_torch {

/// The allocator of `rigi` storages: one SDK allocation each.
c10::Allocator* chip_allocator();

/// Chip memory of a device.
c10::DataPtr allocate_on(c10::DeviceIndex device, size_t bytes);

/// Allocates chip memory of `device` for the host to write, whose DataPtr says that it lives on the CPU: what a CPU kernel that has to
/// resize an output of the fallback gets, so that the result can be handed to the chip tensor without a copy.
c10::Allocator* aliasing_allocator(c10::DeviceIndex device);

/// True if `data` owns chip memory of ours (whatever device it claims).
bool owns_chip_memory(const c10::DataPtr& data);

/// Chip memory that a captured graph uses: what was allocated while it was captured, and what was freed meanwhile. Given back when both the
/// graph and the tensor in question are gone.
class GraphMemory;

/// From now on allocations and releases on the device belong to a graph.
std::shared_ptr<GraphMemory> capture_memory(c10::DeviceIndex device);
void end_capture_memory(c10::DeviceIndex device);

/// Pinned host memory. `pinned_use` notes that work submitted to `device` reads or writes it, so that freeing it waits for that work.
bool is_pinned(const void* pointer);
void pinned_use(const void* pointer, c10::DeviceIndex device);
c10::Allocator* pinned_allocator();

}  // namespace rigi_torch
