// Panels for the matrix engine: blocks of A and B as 32-bit words (see mma.cpp).
#pragma once

#include "convert.hpp"
#include "kernels.hpp"

namespace rigi::RIGI_ISA_NS {

RIGI_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

struct Matrix {
  const uint8_t* base;
  int64_t stride;
  uint8_t dtype;
};

// Counts<3> is Sequence<1, 2, 3>.
template <int... N>
struct Sequence {};
template <int LAST, int... N>
struct CountsImpl : CountsImpl<LAST - 1, LAST, N...> {};
template <int... N>
struct CountsImpl<0, N...> {
  using type = Sequence<N...>;
};
template <int LAST>
using Counts = typename CountsImpl<LAST>::type;

struct FloatMac {
  using V = F;
  using Word = float;
  RIGI_INLINE V zero() { return splat(0.0F); }
  RIGI_INLINE V broadcast(const Word* p) { return splat(*p); }
  RIGI_INLINE V mac(V c, V a, V b) { return fma(a, b, c); }
  RIGI_INLINE V finish(V c) { return canonical(c); }
};
struct IntMac {
  using V = I;
  using Word = int32_t;
  RIGI_INLINE V zero() { return isplat(0); }
  RIGI_INLINE V broadcast(const Word* p) { return isplat(*p); }
  RIGI_INLINE V mac(V c, V a, V b) { return c + madd16(a, b); }
  RIGI_INLINE V finish(V c) { return c; }
};

RIGI_INLINE F load(const float* p) { return load_f(p); }
RIGI_INLINE I load(const int32_t* p) { return load_i(p); }
RIGI_INLINE void store(float* p, F x) { store_f(p, x); }
RIGI_INLINE void store(int32_t* p, I x) { store_i(p, x); }

// The two 16-bit floats of a word, widened.
struct BfloatWords {
  RIGI_INLINE F low(I x) { return as_f(shl<16>(x)); }
  RIGI_INLINE F high(I x) { return as_f(x & isplat(static_cast<int32_t>(0xffff0000))); }
};
struct HalfWords {
  RIGI_INLINE F low(I x) { return half_to_f(x & isplat(0xffff)); }
  RIGI_INLINE F high(I x) { return half_to_f(shr<16>(x)); }
};

/// The last bytes of 16 rows, from `at` to `bytes`, less than a step of them, as transposed words filled up with zeros.
template <class Rows>
RIGI_INLINE void transpose_tail(const Rows& rows, int64_t at, int64_t bytes, I* out) {
  alignas(64) uint8_t tail[kLanes][kTransposeWords * 4] = {};
  const uint8_t* tail_rows[kLanes];
  for (int r = 0; r < kLanes; ++r) {
    __builtin_memcpy(tail[r], rows[r] + at, static_cast<size_t>(bytes - at));
    tail_rows[r] = tail[r];
  }
  transpose16(tail_rows, 0, out);
}

/// Reads 16 rows of words and hands transposed vectors to put(word index, vector); `words` need not be whole steps.
template <class Fn>
RIGI_INLINE void each_transposed(const uint8_t* const* rows, int64_t bytes, Fn put) {
  constexpr int64_t step = kTransposeWords * 4;
  I out[kTransposeWords];
  int64_t at = 0;
  for (; at + step <= bytes; at += step) {
    transpose16(rows, at, out);
    RIGI_UNROLL
    for (int j = 0; j < kTransposeWords; ++j) put(at / 4 + j, out[j]);
  }
  if (at < bytes) {
    transpose_tail(rows, at, bytes, out);
    for (int j = 0; at + j * 4 < bytes; ++j) put(at / 4 + j, out[j]);
  }
}

template <class Word>
struct Pack;

// Floats: a word is one fp32.
template <>
struct Pack<float> {
  using Half = uint16_t;

  static void a(const uint8_t* row, uint8_t dtype, int64_t k0, int64_t kc, float* out) {
    widen_row(dtype, row + k0 * element_bytes(dtype), static_cast<int>(kc), out);
  }

  /// B's columns n .. n+cols (of NR), k0 .. k0+kc as [kc][NR]; what stands in missing columns does not matter.
  template <int NR>
  static void b(const Matrix& b, bool transposed, int64_t n, int cols, int64_t k0, int64_t kc, float* out) {
    const int64_t bytes = element_bytes(b.dtype);
    if (!transposed) {
      alignas(64) float row[NR] = {};
      for (int64_t k = 0; k < kc; ++k) {
        const uint8_t* p = b.base + (k0 + k) * b.stride + n * bytes;
        if (cols == NR) {
          widen_row(b.dtype, p, NR, out + k * NR);
        } else {
          widen_row(b.dtype, p, cols, row);
          __builtin_memcpy(out + k * NR, row, sizeof(row));
        }
      }
      return;
    }
    alignas(64) uint8_t staged[kLanes][512 + 64];  // 8-bit floats go by way of bf16, which holds them all
    for (int j = 0; j < NR; j += kLanes) {
      const uint8_t* rows[kLanes];
      for (int r = 0; r < kLanes; ++r) {
        rows[r] = b.base + (n + smaller(j + r, cols - 1)) * b.stride + k0 * bytes;
        if (bytes == 1) {
          bfloat_row(b.dtype, rows[r], static_cast<int>(kc), staged[r]);
          rows[r] = staged[r];
        }
      }
      if (b.dtype == RIGI_F16) {
        halves<NR, HalfWords>(rows, kc, out + j);
      } else {
        halves<NR, BfloatWords>(rows, kc, out + j);
      }
    }
  }

 private:
  /// 8-bit floats as bf16; writes whole vectors.
  static void bfloat_row(uint8_t dtype, const uint8_t* in, int n, uint8_t* out) {
    const auto convert = [&](auto tag) RIGI_LAMBDA {
      constexpr int T = decltype(tag)::value;
      each_vector_in<T>(in, n, [&](int j, const uint8_t* p) RIGI_LAMBDA { store_u16(out + j * 2, shr<16>(as_i(load_float<T>(p)))); });
    };
    dtype == RIGI_E4M3 ? convert(Tag<RIGI_E4M3>{}) : convert(Tag<RIGI_E5M2>{});
  }

  template <int NR, class Type>
  static void halves(const uint8_t* const* rows, int64_t kc, float* out) {
    each_transposed(rows, kc * 2, [&](int64_t word, I x) RIGI_LAMBDA {
      store_f(out + word * 2 * NR, Type::low(x));
      if (word * 2 + 1 < kc) store_f(out + (word * 2 + 1) * NR, Type::high(x));
    });
  }
};

// int8: a word is two int16 that follow each other in K; the last one of an odd K is zero.
template <>
struct Pack<int32_t> {
  using Half = uint8_t;

  static void a(const uint8_t* row, uint8_t, int64_t k0, int64_t kc, int32_t* out) {
    spread(row + k0, kc, reinterpret_cast<uint8_t*>(out));
  }

  template <int NR>
  static void b(const Matrix& b, bool transposed, int64_t n, int cols, int64_t k0, int64_t kc, int32_t* out) {
    if (!transposed) {
      const uint8_t* block = b.base + k0 * b.stride + n;
      alignas(64) uint8_t low[NR] = {}, high[NR] = {}, zeros[NR] = {};
      for (int64_t k = 0; k < kc; k += 2) {
        const bool pair = k + 1 < kc;
        const uint8_t* p = block + k * b.stride;
        const uint8_t* q = p + b.stride;
        if (cols < NR || !pair) {
          __builtin_memcpy(low, p, static_cast<size_t>(cols));
          if (pair) __builtin_memcpy(high, q, static_cast<size_t>(cols));
          p = low;
          q = pair ? high : zeros;
        }
        for (int j = 0; j < NR; j += kLanes) {
          store_i(out + k / 2 * NR + j, (load_s8(p + j) & isplat(0xffff)) | shl<16>(load_s8(q + j)));
        }
      }
      return;
    }
    alignas(64) uint8_t staged[kLanes][1024 + 64];
    const int64_t bytes = (kc + 1) / 2 * 4;
    for (int j = 0; j < NR; j += kLanes) {
      const uint8_t* rows[kLanes];
      for (int r = 0; r < kLanes; ++r) {
        spread(b.base + (n + smaller(j + r, cols - 1)) * b.stride + k0, kc, staged[r]);
        rows[r] = staged[r];
      }
      each_transposed(rows, bytes, [&](int64_t word, I x) RIGI_LAMBDA { store_i(out + word * NR + j, x); });
    }
  }

 private:
  /// kc int8 as int16, padded with a zero to whole words; writes whole vectors.
  static void spread(const uint8_t* in, int64_t kc, uint8_t* out) {
    each_vector_in<RIGI_I8>(in, static_cast<int>(kc), [&](int j, const uint8_t* p) RIGI_LAMBDA { store_u16(out + j * 2, load_s8(p)); });
  }
};

}  // namespace rigi::RIGI_ISA_NS
