// Vector engine: transpose, raw bits. Words of 16 rows are turned in registers and then split into the elements they hold.
#include "pack.hpp"
#include "tables.hpp"

namespace rigi::RIGI_ISA_NS {
namespace {

template <int BYTES, int PART>
RIGI_INLINE void put(uint8_t* p, I word, int rows) {
  alignas(64) uint8_t buffer[64];
  uint8_t* to = rows == kLanes ? p : buffer;
  if constexpr (BYTES == 4) store_i(reinterpret_cast<int32_t*>(to), word);
  if constexpr (BYTES == 2) store_u16(to, shr<16 * PART>(word));
  if constexpr (BYTES == 1) store_u8(to, shr<8 * PART>(word));
  if (to == buffer) __builtin_memcpy(p, buffer, static_cast<size_t>(rows) * BYTES);
}

template <int BYTES, int PART>
RIGI_INLINE void put_parts(uint8_t* dst, int64_t stride, int64_t col, int64_t cols, I word, int rows) {
  if constexpr (PART < 4 / BYTES) {
    if (col + PART >= cols) return;
    put<BYTES, PART>(dst + (col + PART) * stride, word, rows);
    put_parts<BYTES, PART + 1>(dst, stride, col, cols, word, rows);
  }
}

template <int BYTES>
void run(const rigi_instr& i, uint8_t* sram) {
  for (int64_t r = 0; r < i.rows; r += kLanes) {
    const int count = static_cast<int>(smaller(kLanes, i.rows - r));
    const uint8_t* rows[kLanes];
    for (int k = 0; k < kLanes; ++k) rows[k] = sram + i.a.addr + (r + smaller(k, count - 1)) * i.a.stride;
    uint8_t* dst = sram + i.dst.addr + r * BYTES;
    each_transposed(rows, int64_t{i.cols} * BYTES,
                    [&](int64_t word, I x) RIGI_LAMBDA { put_parts<BYTES, 0>(dst, i.dst.stride, word * (4 / BYTES), i.cols, x, count); });
  }
}

}  // namespace

void transpose(const rigi_instr& i, uint8_t* sram) {
  switch (element_bytes(i.a.dtype)) {
    case 4:
      return run<4>(i, sram);
    case 2:
      return run<2>(i, sram);
    default:
      return run<1>(i, sram);
  }
}

}  // namespace rigi::RIGI_ISA_NS
