// The kernels of one instruction set, declared for table.cpp.
#pragma once

#include "kernels.hpp"
#include "simd.hpp"

namespace rigi::RIGI_ISA_NS {

void mma(const rigi_instr& instr, const uint8_t* a, const uint8_t* b, int64_t b_stride, uint8_t* c);
void elementwise(const rigi_instr& instr, uint8_t* sram);
void reduce(const rigi_instr& instr, uint8_t* sram);
void topk(const rigi_instr& instr, uint8_t* sram);
void iota(const rigi_instr& instr, uint8_t* sram);
void transpose(const rigi_instr& instr, uint8_t* sram);
void fill(const rigi_instr& instr, uint8_t* sram);
void act(const rigi_instr& instr, uint8_t* sram);
void add(uint8_t* dst, const uint8_t* src, int64_t n, rigi_dtype dtype);

}  // namespace rigi::RIGI_ISA_NS
