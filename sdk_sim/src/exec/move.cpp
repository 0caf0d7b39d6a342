// DMA, copy and take: bytes move, nothing is computed.
#include "move.hpp"

#include <cstring>

namespace rigi {
namespace {

uint8_t* host(uint64_t address) { return reinterpret_cast<uint8_t*>(address); }

void copy_rows(uint8_t* dst, int64_t dst_stride, const uint8_t* src, int64_t src_stride, int64_t rows, int64_t bytes) {
  if (rows == 1 || (dst_stride == bytes && src_stride == bytes)) {
    std::memcpy(dst, src, static_cast<size_t>(rows * bytes));
    return;
  }
  for (int64_t r = 0; r < rows; ++r) std::memcpy(dst + r * dst_stride, src + r * src_stride, static_cast<size_t>(bytes));
}

/// The HBM address of the row that `index[r]` names.
uint64_t indexed_row(const rigi_instr& i, const uint8_t* index, int64_t r, const CoreState& core, const char* operand) {
  int32_t at;
  std::memcpy(&at, index + r * 4, 4);
  const auto where = [&] {
    return std::string(op_name(i.op)) + ": row " + std::to_string(r) + " of the index list (operand " + operand + ") is " +
           std::to_string(at);
  };
  if (at < 0) throw Fault(where() + "; indices must be 0 or more", "out_of_bounds", operand);
  const uint64_t address = i.hbm + static_cast<uint64_t>(at) * static_cast<uint64_t>(i.hbm_stride);  // wraps, and then leaves the HBM
  const uint64_t offset = address - core.hbm_base;
  if (core.hbm_bytes != 0 && (offset >= core.hbm_bytes || i.cols > core.hbm_bytes - offset)) {
    const int64_t rows = i.hbm_stride <= 0 ? 0 : static_cast<int64_t>(core.hbm_base + core.hbm_bytes - i.hbm - i.cols) / i.hbm_stride;
    throw Fault(where() + ", which leaves the HBM of the device; with a row pitch of " + std::to_string(i.hbm_stride) +
                    " bytes the largest possible index is " + std::to_string(rows),
                "out_of_bounds", operand);
  }
  return address;
}

template <class T>
void spread(uint8_t* dst, int64_t dst_stride, const uint8_t* src, int64_t src_stride, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r) {
    T x;
    std::memcpy(&x, src + r * src_stride, sizeof(T));
    for (int64_t c = 0; c < cols; ++c) std::memcpy(dst + r * dst_stride + c * static_cast<int64_t>(sizeof(T)), &x, sizeof(T));
  }
}

[[noreturn]] void take_fault(int64_t row, int64_t col, int32_t index, uint32_t limit) {
  throw Fault("take: the index (operand b) at row " + std::to_string(row) + ", column " + std::to_string(col) + " is " +
                  std::to_string(index) + ", but operand a has " + std::to_string(limit) + " columns (0.." +
                  std::to_string(int64_t{limit} - 1) + ")",
              "out_of_bounds", "b");
}

template <class T>
void take(const rigi_instr& i, uint8_t* sram) {
  const int64_t from_stride = i.a.bcast == RIGI_ROW ? 0 : i.a.stride, from_step = i.a.bcast == RIGI_COL ? 0 : int64_t{sizeof(T)};
  const int64_t index_stride = i.b.bcast == RIGI_ROW ? 0 : i.b.stride, index_step = i.b.bcast == RIGI_COL ? 0 : 4;
  for (int64_t r = 0; r < i.rows; ++r) {
    const uint8_t* from = sram + i.a.addr + r * from_stride;
    const uint8_t* index = sram + i.b.addr + r * index_stride;
    uint8_t* dst = sram + i.dst.addr + r * i.dst.stride;
    for (int64_t c = 0; c < i.cols; ++c) {
      int32_t at = static_cast<int32_t>(i.b.imm);
      if (i.b.bcast != RIGI_IMM) std::memcpy(&at, index + c * index_step, 4);
      if (at < 0 || static_cast<uint32_t>(at) >= i.depth) take_fault(r, c, at, i.depth);
      std::memcpy(dst + c * static_cast<int64_t>(sizeof(T)), from + at * from_step, sizeof(T));
    }
  }
}

/// Calls fn with a value of the unsigned type as wide as `dtype`.
template <class Fn>
void with_width(uint8_t dtype, Fn fn) {
  switch (dtype_bytes(dtype)) {
    case 4:
      return fn(uint32_t{});
    case 2:
      return fn(uint16_t{});
    default:
      return fn(uint8_t{});
  }
}

}  // namespace

void move_in(const rigi_instr& i, CoreState& core) {
  uint8_t* dst = core.sram + i.dst.addr;
  if (i.op != RIGI_GATHER) return copy_rows(dst, i.dst.stride, host(i.hbm), i.hbm_stride, i.rows, i.cols);
  for (int64_t r = 0; r < i.rows; ++r) {
    std::memcpy(dst + r * i.dst.stride, host(indexed_row(i, core.sram + i.a.addr, r, core, "a")), i.cols);
  }
}

void move_out(const rigi_instr& i, CoreState& core) {
  const uint8_t* src = core.sram + i.a.addr;
  switch (i.op) {
    case RIGI_STORE:
      return copy_rows(host(i.hbm), i.hbm_stride, src, i.a.stride, i.rows, i.cols);
    case RIGI_SEND:
      return copy_rows(core.peers[i.target].sram + i.dst.addr, i.dst.stride, src, i.a.stride, i.rows, i.cols);
    case RIGI_SCATTER:
      for (int64_t r = 0; r < i.rows; ++r) {
        std::memcpy(host(indexed_row(i, core.sram + i.b.addr, r, core, "b")), src + r * i.a.stride, i.cols);
      }
      return;
    default: {
      PendingAdd add{i.hbm, i.hbm_stride, i.rows, i.cols, static_cast<rigi_dtype>(i.a.dtype), {}};
      add.data.resize(size_t{i.rows} * i.cols);
      copy_rows(add.data.data(), i.cols, src, i.a.stride, i.rows, i.cols);
      core.adds.push_back(std::move(add));
    }
  }
}

void move_inside(const rigi_instr& i, uint8_t* sram) {
  with_width(i.a.dtype, [&](auto word) {
    using T = decltype(word);
    uint8_t* dst = sram + i.dst.addr;
    const uint8_t* src = sram + i.a.addr;
    const int64_t row_step = i.a.bcast == RIGI_ROW ? 0 : i.a.stride;
    const int64_t bytes = int64_t{i.cols} * static_cast<int64_t>(sizeof(T));
    if (i.op == RIGI_TAKE) return take<T>(i, sram);
    if (i.a.bcast == RIGI_COL) return spread<T>(dst, i.dst.stride, src, row_step, i.rows, i.cols);
    for (int64_t r = 0; r < i.rows; ++r) std::memmove(dst + r * i.dst.stride, src + r * row_step, static_cast<size_t>(bytes));
  });
}

}  // namespace rigi
