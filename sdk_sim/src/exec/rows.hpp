// How the vector and activation engines walk over rows: operands become fp32 or int32 chunks, whatever their dtype and broadcast.
#pragma once

#include "convert.hpp"

namespace rigi::RIGI_ISA_NS {

RIGI_INLINE F load(const float* p) { return load_f(p); }
RIGI_INLINE I load(const int32_t* p) { return load_i(p); }
RIGI_INLINE void store(float* p, F x) { store_f(p, x); }
RIGI_INLINE void store(int32_t* p, I x) { store_i(p, x); }

RIGI_INLINE F splat_as(float x) { return splat(x); }
RIGI_INLINE I splat_as(int32_t x) { return isplat(x); }

template <class T>
inline constexpr uint8_t kNative = RIGI_F32;
template <>
inline constexpr uint8_t kNative<int32_t> = RIGI_I32;

struct Shape {
  int64_t rows, cols;
};

/// The next chunk of a row: whole vectors first, then what is left (less than one vector) by itself.
RIGI_INLINE int chunk_at(int64_t col, int64_t cols) {
  const int64_t left = cols - col;
  return static_cast<int>(left >= kChunk ? kChunk : left >= kLanes ? left & ~int64_t{kLanes - 1} : left);
}

/// An immediate is an integer if it is a whole number of int32.
RIGI_INLINE bool counts_as_int(const rigi_operand& o) {
  if (o.bcast != RIGI_IMM) return is_int(o.dtype);
  return o.imm >= -2147483648.0F && o.imm < 2147483648.0F && static_cast<float>(static_cast<int32_t>(o.imm)) == o.imm;
}

/// Rows follow one another without a gap, so that the block is one long row.
RIGI_INLINE bool flat(const rigi_operand& o, const rigi_instr& i) {
  if (o.bcast == RIGI_IMM) return true;
  return o.bcast == RIGI_FULL && o.dtype != RIGI_I4 && (i.rows == 1 || int64_t{o.stride} == element_bytes(o.dtype) * i.cols);
}

template <class T>
class Source {
 public:
  Source(const rigi_operand& o, const uint8_t* sram)
      : base_(sram + (o.bcast == RIGI_IMM ? 0 : o.addr)),
        stride_(o.bcast == RIGI_ROW ? 0 : o.stride),
        bytes_(element_bytes(o.dtype)),
        dtype_(o.dtype),
        bcast_(o.bcast) {
    if (bcast_ == RIGI_IMM) spread(static_cast<T>(o.imm));
  }

  /// Elements col .. col+n of row r; readable up to the next multiple of 16. `step` is 1, or 0 if the first 16 serve throughout.
  [[gnu::always_inline]] const T* fetch(int64_t r, int64_t col, int n, int* step) {
    *step = bcast_ == RIGI_FULL || bcast_ == RIGI_ROW;
    if (bcast_ == RIGI_IMM) return values_;
    const uint8_t* row = base_ + r * stride_;
    if (bcast_ == RIGI_COL) {
      if (col == 0) {
        spread(first(row));
      }
      return values_;
    }
    if (dtype_ == kNative<T> && n % kLanes == 0) return reinterpret_cast<const T*>(row) + col;
    read(row, col, n, values_);
    return values_;
  }

 private:
  [[gnu::always_inline]] void spread(T x) { store(values_, splat_as(x)); }
  [[gnu::always_inline]] T first(const uint8_t* row) {
    if (dtype_ == kNative<T>) {
      T x;
      __builtin_memcpy(&x, row, sizeof(T));
      return x;
    }
    T x[kLanes] = {};
    read(row, 0, 1, x);
    return x[0];
  }
  [[gnu::always_inline]] void read(const uint8_t* row, int64_t col, int n, T* out) {
    if (dtype_ == RIGI_I4) {
      for (int j = 0; j < n; ++j) {
        const int nibble = row[(col + j) / 2] >> ((col + j) % 2 * 4) & 15;
        out[j] = static_cast<T>((nibble ^ 8) - 8);
      }
      for (int j = n; j % kLanes != 0; ++j) out[j] = 0;
    } else {
      widen_row(dtype_, row + col * bytes_, n, out);
    }
  }

  const uint8_t* base_;
  int64_t stride_, bytes_;
  uint8_t dtype_, bcast_;
  alignas(64) T values_[kChunk];
};

/// Where a chunk's results may be computed: in the destination itself if it holds T and whole vectors, else in `temporary`.
template <class T>
RIGI_INLINE T* direct(const rigi_operand& dst, uint8_t* row, int64_t col, int n, T* temporary) {
  return dst.dtype == kNative<T> && n % kLanes == 0 ? reinterpret_cast<T*>(row) + col : temporary;
}

}  // namespace rigi::RIGI_ISA_NS
