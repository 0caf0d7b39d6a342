// Instructions that move bytes and compute nothing; they need no instruction set of their own.
#pragma once

#include "../common.hpp"

namespace rigi {

void move_in(const rigi_instr& i, CoreState& core);          // load, gather, load_multicast
void move_out(const rigi_instr& i, CoreState& core);         // store, scatter, store_add, send
void move_inside(const rigi_instr& i, uint8_t* sram);        // copy, take

}  // namespace rigi
