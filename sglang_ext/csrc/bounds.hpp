// Indices from outside of what they index, found on the chip. A kernel that takes indices reads and writes nothing for such a one, and
// leaves a record in HBM. The host looks at the records where it waits for the device anyway, and raises.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sdk.hpp"

namespace rigi_torch {

/// An argument that holds indices: its name and what it indexes, for messages ("'table' of {} rows"). `wraps`: negative ones count from the
/// end. `includes_size`: the size itself is allowed (a length).
struct IndexArgument {
  std::string name, indexed;
  bool wraps = false, includes_size = false;
};

/// A record: the index and the size that it left, twice. One without a record is all zeros: a size of zero never gets to the chip.
struct IndexRecord {
  int32_t low, high, size, size_again;
};
static_assert(sizeof(IndexRecord) == 16);

/// The records of one op on one device, [1 + arguments][columns]: row 0 takes what is no record, so that a kernel can scatter all its
/// indices, by 0 or 1 each, without a branch. A kernel has a column for each core. Made at the first call with this op's name, and kept.
IndexRecord* index_records(c10::DeviceIndex device, const std::string& op, const std::vector<IndexArgument>& arguments, int columns);

/// Programs on one core (integers.cpp) have a column for indices of either type; of an int32 index only `low` is written.
constexpr int kProgramColumns = 2, kInt64Column = 0, kInt32Column = 1;

/// Throws IndexError for the records there are, naming the first of each op, and clears them. Called after waiting for the device.
void check_indices(c10::DeviceIndex device);
void check_indices();  // of all devices
void forget_indices(c10::DeviceIndex device);

/// The message of an index outside, the same for host and chip.
std::string describe_index(const std::string& op, const IndexArgument& argument, int64_t index, int64_t size);

}  // namespace rigi_torch
