// The entry points that every instruction set's build of this folder offers, and what they may call back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rigi_isa.h"

namespace rigi {

using Kernel = void (*)(const rigi_instr& instr, uint8_t* sram);

struct KernelTable {
  const char* name;
  /// B is read at `b`, rows `b_stride` bytes apart, instead of where its operand says.
  void (*mma)(const rigi_instr& instr, const uint8_t* a, const uint8_t* b, int64_t b_stride, uint8_t* c);
  Kernel elementwise, reduce, topk, iota, transpose, fill, act;
  /// dst[i] += src[i] for `n` elements of F32 or BF16.
  void (*add)(uint8_t* dst, const uint8_t* src, int64_t n, rigi_dtype dtype);
};

/// The table for this host, chosen once.
const KernelTable& kernels();

/// 64-byte aligned memory of the calling thread, at least `bytes`; each slot is one block that only grows.
enum class Scratch { kPanelA, kPanelB, kKeys, kCount };
void* scratch(Scratch slot, size_t bytes);

/// The k largest keys of n, descending, ties by lower index, into `index`; for k too large to insert one by one.
void sort_topk(const int32_t* keys, int64_t n, int64_t k, int32_t* index);

}  // namespace rigi
