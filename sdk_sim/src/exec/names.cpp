#include "../common.hpp"

namespace rigi {

const char* dtype_name(uint8_t dtype) {
  static constexpr const char* names[RIGI_DTYPE_COUNT] = {"f32", "f16", "bf16", "e4m3", "e5m2", "i8", "i32", "u8", "i4"};
  return dtype < RIGI_DTYPE_COUNT ? names[dtype] : "unknown dtype";
}

const char* op_name(uint8_t op) {
  static constexpr const char* names[RIGI_OP_COUNT] = {"load",      "gather", "load_multicast", "fill",    "store",  "scatter", "store_add",
                                                       "send",      "mma",    "binary",         "compare", "select", "cast",    "copy",
                                                       "transpose", "reduce", "iota",           "take",    "topk",   "act"};
  return op < RIGI_OP_COUNT ? names[op] : "unknown instruction";
}

}  // namespace rigi
