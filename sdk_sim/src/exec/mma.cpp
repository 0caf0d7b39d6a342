// Matrix engine: C[M,N] = or += A[M,K] x B, one fused multiply-add chain an output element, k ascending.
//
// Operands become 32-bit words in panels that stay in cache: fp32 for the float types (exact), pairs of int16 for int8,
// whose products two at a time add up without rounding. A keeps its layout [m][k]; B becomes [n / kNr][k][kNr], so that one
// step of the micro-kernel is kNr/16 vector loads of B and a broadcast of A per row of C. K is cut into blocks: C is stored
// and reloaded between them, which changes no bit. With few rows, B skips its panel (gemv_*).
#include "pack.hpp"
#include "tables.hpp"

namespace rigi::RIGI_ISA_NS {
namespace {

#if defined(RIGI_ISA_AVX512)
constexpr int kMr = 8, kNv = 2, kFewRows = 8, kDirectRows = 4, kWideNv = 4;
#elif defined(RIGI_ISA_AVX2)
constexpr int kMr = 6, kNv = 1, kFewRows = 4, kDirectRows = 3, kWideNv = 2;
#else
constexpr int kMr = 4, kNv = 1, kFewRows = 1, kDirectRows = 1, kWideNv = 2;
#endif
constexpr int kNr = kNv * kLanes;
constexpr int64_t kKc = 256;              // words of K a block
constexpr int64_t kLda = kKc + 16;        // row pitch of the A panel: off the powers of two, so rows spread over the cache sets
constexpr int64_t kNc = 256, kMc = 96;    // columns and rows a block

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

/// C[MR][kNr] at `c`, rows `pitch` words apart, over k words.
template <class Mac, int MR>
void micro(const typename Mac::Word* a, const typename Mac::Word* b, int64_t k, typename Mac::Word* c, int64_t pitch, bool from_zero) {
  typename Mac::V acc[MR][kNv];
  RIGI_UNROLL
  for (int m = 0; m < MR; ++m) {
    RIGI_UNROLL
    for (int v = 0; v < kNv; ++v) acc[m][v] = from_zero ? Mac::zero() : load(c + m * pitch + v * kLanes);
  }
  for (int64_t j = 0; j < k; ++j) {
    typename Mac::V column[kNv];
    RIGI_UNROLL
    for (int v = 0; v < kNv; ++v) column[v] = load(b + j * kNr + v * kLanes);
    RIGI_UNROLL
    for (int m = 0; m < MR; ++m) {
      const typename Mac::V x = Mac::broadcast(a + m * kLda + j);
      RIGI_UNROLL
      for (int v = 0; v < kNv; ++v) acc[m][v] = Mac::mac(acc[m][v], x, column[v]);
    }
  }
  RIGI_UNROLL
  for (int m = 0; m < MR; ++m) {
    RIGI_UNROLL
    for (int v = 0; v < kNv; ++v) store(c + m * pitch + v * kLanes, Mac::finish(acc[m][v]));
  }
}

template <class Mac>
using Micro = void (*)(const typename Mac::Word*, const typename Mac::Word*, int64_t, typename Mac::Word*, int64_t, bool);

template <class Mac, int... MR>
RIGI_INLINE Micro<Mac> pick(int rows, Sequence<MR...>) {
  static constexpr Micro<Mac> table[] = {micro<Mac, MR>...};
  return table[rows - 1];
}

/// The micro-kernel on a tile of C of which only `cols` columns exist.
template <class Mac>
void micro_edge(Micro<Mac> kernel, int rows, int cols, const typename Mac::Word* a, const typename Mac::Word* b, int64_t k,
                typename Mac::Word* c, int64_t pitch, bool from_zero) {
  alignas(64) typename Mac::Word tile[kMr][kNr];
  const size_t bytes = static_cast<size_t>(cols) * sizeof(tile[0][0]);
  for (int m = 0; m < rows; ++m) {
    for (int j = cols; j < kNr; ++j) tile[m][j] = 0;
    if (!from_zero) __builtin_memcpy(tile[m], c + m * pitch, bytes);
  }
  kernel(a, b, k, tile[0], kNr, from_zero);
  for (int m = 0; m < rows; ++m) __builtin_memcpy(c + m * pitch, tile[m], bytes);
}

template <class Mac>
void blocked(const rigi_instr& i, uint8_t* sram) {
  using Word = typename Mac::Word;
  constexpr int64_t per_word = sizeof(typename Pack<Word>::Half) == 1 ? 2 : 1;
  const Matrix a{sram + i.a.addr, i.a.stride, i.a.dtype}, b{sram + i.b.addr, i.b.stride, i.b.dtype};
  const bool transposed = (i.flags & RIGI_TRANS_B) != 0, accumulate = (i.flags & RIGI_ACCUMULATE) != 0;
  Word* panel_a = static_cast<Word*>(scratch(Scratch::kPanelA, kMc * kLda * 4));
  Word* panel_b = static_cast<Word*>(scratch(Scratch::kPanelB, (kKc + kLanes) * kNc * 4));
  uint8_t* c = sram + i.dst.addr;
  const int64_t pitch = i.dst.stride / 4;
  for (int64_t n0 = 0; n0 < i.cols; n0 += kNc) {
    const int64_t nc = smaller(kNc, i.cols - n0);
    for (int64_t k0 = 0; k0 == 0 || k0 < i.depth; k0 += kKc * per_word) {
      const int64_t kc = smaller(kKc * per_word, i.depth - k0);
      const int64_t words = (kc + per_word - 1) / per_word;
      for (int64_t n = 0; n < nc; n += kNr) {
        const int cols = static_cast<int>(smaller(kNr, nc - n));
        Pack<Word>::template b<kNr>(b, transposed, n0 + n, cols, k0, kc, panel_b + n * words);
      }
      const bool from_zero = k0 == 0 && !accumulate;
      for (int64_t m0 = 0; m0 < i.rows; m0 += kMc) {
        const int64_t mc = smaller(kMc, i.rows - m0);
        for (int64_t m = 0; m < mc; ++m) Pack<Word>::a(a.base + (m0 + m) * a.stride, a.dtype, k0, kc, panel_a + m * kLda);
        for (int64_t n = 0; n < nc; n += kNr) {
          const int cols = static_cast<int>(smaller(kNr, nc - n));
          for (int64_t m = 0; m < mc; m += kMr) {
            const int rows = static_cast<int>(smaller(kMr, mc - m));
            const Micro<Mac> kernel = pick<Mac>(rows, Counts<kMr>{});
            Word* tile = reinterpret_cast<Word*>(c + (m0 + m) * i.dst.stride) + n0 + n;
            if (cols == kNr) {
              kernel(panel_a + m * kLda, panel_b + n * words, words, tile, pitch, from_zero);
            } else {
              micro_edge<Mac>(kernel, rows, cols, panel_a + m * kLda, panel_b + n * words, words, tile, pitch, from_zero);
            }
          }
        }
      }
    }
  }
}

/// Few rows against B [N, K]: words of 16 rows of B are transposed in registers and used at once, so B is read once and
/// nothing is written but C.
template <class Type, int M>
void gemv_transposed(const rigi_instr& i, const Matrix& b, const float* a, int64_t lda, uint8_t* c) {
  const int64_t depth = i.depth;
  constexpr int64_t step = kTransposeWords * 2;
  const bool accumulate = (i.flags & RIGI_ACCUMULATE) != 0;
  alignas(64) float lane[kLanes];
  alignas(64) uint8_t tail[kLanes][kTransposeWords * 4] = {};
  const uint8_t* tail_rows[kLanes];
  for (int r = 0; r < kLanes; ++r) tail_rows[r] = tail[r];
  for (int64_t n = 0; n < i.cols; n += kLanes) {
    const int cols = static_cast<int>(smaller(kLanes, i.cols - n));
    const uint8_t* rows[kLanes];
    for (int r = 0; r < kLanes; ++r) rows[r] = b.base + (n + (r < cols ? r : cols - 1)) * b.stride;
    F acc[M];
    RIGI_UNROLL
    for (int m = 0; m < M; ++m) {
      acc[m] = splat(0.0F);
      if (accumulate) {
        __builtin_memcpy(lane, c + m * i.dst.stride + n * 4, static_cast<size_t>(cols) * 4);
        acc[m] = load_f(lane);
      }
    }
    int64_t k = 0;
    for (; k + step <= depth; k += step) {
      I words[kTransposeWords];
      transpose16(rows, k * 2, words);
      RIGI_UNROLL
      for (int j = 0; j < kTransposeWords; ++j) {
        const F even = Type::low(words[j]), odd = Type::high(words[j]);
        RIGI_UNROLL
        for (int m = 0; m < M; ++m) {
          acc[m] = fma(splat(a[m * lda + k + 2 * j]), even, acc[m]);
          acc[m] = fma(splat(a[m * lda + k + 2 * j + 1]), odd, acc[m]);
        }
      }
    }
    if (k < depth) {
      for (int r = 0; r < kLanes; ++r) __builtin_memcpy(tail[r], rows[r] + k * 2, static_cast<size_t>(depth - k) * 2);
      I words[kTransposeWords];
      transpose16(tail_rows, 0, words);
      for (int j = 0; k + j < depth; ++j) {
        const F column = j % 2 == 0 ? Type::low(words[j / 2]) : Type::high(words[j / 2]);
        RIGI_UNROLL
        for (int m = 0; m < M; ++m) acc[m] = fma(splat(a[m * lda + k + j]), column, acc[m]);
      }
    }
    RIGI_UNROLL
    for (int m = 0; m < M; ++m) {
      store_f(lane, canonical(acc[m]));
      __builtin_memcpy(c + m * i.dst.stride + n * 4, lane, static_cast<size_t>(cols) * 4);
    }
  }
}

template <class Type, int... ROWS>
void few_rows_transposed(const rigi_instr& i, const Matrix& b, const float* a, int64_t lda, uint8_t* c, Sequence<ROWS...>) {
  using Fn = void (*)(const rigi_instr&, const Matrix&, const float*, int64_t, uint8_t*);
  static constexpr Fn table[] = {gemv_transposed<Type, ROWS>...};
  table[i.rows - 1](i, b, a, lda, c);
}

/// Few rows against B [K, N]: NV vectors of C at a time, B widened as it is read. `cols` counts the columns of the last vector.
template <int DTYPE, int M, int NV>
void gemv_direct(const rigi_instr& i, const float* a, int64_t lda, const uint8_t* b, int64_t stride, uint8_t* c, int cols) {
  F acc[M][NV];
  alignas(64) float lane[kLanes] = {};
  alignas(64) uint8_t edge[64] = {};
  const bool accumulate = (i.flags & RIGI_ACCUMULATE) != 0;
  const size_t last = static_cast<size_t>(cols);
  RIGI_UNROLL
  for (int m = 0; m < M; ++m) {
    RIGI_UNROLL
    for (int v = 0; v < NV; ++v) {
      acc[m][v] = splat(0.0F);
      if (!accumulate) continue;
      __builtin_memcpy(lane, c + m * i.dst.stride + v * 64, v == NV - 1 ? last * 4 : 64);
      acc[m][v] = load_f(lane);
    }
  }
  for (int64_t k = 0; k < i.depth; ++k) {
    const uint8_t* row = b + k * stride;
    F column[NV];
    RIGI_UNROLL
    for (int v = 0; v < NV; ++v) {
      const uint8_t* p = row + v * 2 * kLanes;
      if (v == NV - 1 && cols < kLanes) {
        __builtin_memcpy(edge, p, last * 2);
        p = edge;
      }
      column[v] = load_float<DTYPE>(p);
    }
    RIGI_UNROLL
    for (int m = 0; m < M; ++m) {
      const F x = splat(a[m * lda + k]);
      RIGI_UNROLL
      for (int v = 0; v < NV; ++v) acc[m][v] = fma(x, column[v], acc[m][v]);
    }
  }
  RIGI_UNROLL
  for (int m = 0; m < M; ++m) {
    RIGI_UNROLL
    for (int v = 0; v < NV; ++v) {
      store_f(lane, canonical(acc[m][v]));
      __builtin_memcpy(c + m * i.dst.stride + v * 64, lane, v == NV - 1 ? last * 4 : 64);
    }
  }
}

template <class Type, int... ROWS>
void few_rows_direct(const rigi_instr& i, const Matrix& b, const float* a, int64_t lda, uint8_t* c, Sequence<ROWS...>) {
  using Fn = void (*)(const rigi_instr&, const float*, int64_t, const uint8_t*, int64_t, uint8_t*, int);
  static constexpr Fn wide[] = {gemv_direct<Type::kDtype, ROWS, kWideNv>...};
  static constexpr Fn narrow[] = {gemv_direct<Type::kDtype, ROWS, 1>...};
  int64_t n = 0;
  for (; n + kWideNv * kLanes <= i.cols; n += kWideNv * kLanes) wide[i.rows - 1](i, a, lda, b.base + n * 2, b.stride, c + n * 4, kLanes);
  for (; n < i.cols; n += kLanes) {
    narrow[i.rows - 1](i, a, lda, b.base + n * 2, b.stride, c + n * 4, static_cast<int>(smaller(kLanes, i.cols - n)));
  }
}

template <class Type>
void few_rows(const rigi_instr& i, uint8_t* sram) {
  const Matrix b{sram + i.b.addr, i.b.stride, i.b.dtype};
  const int64_t lda = (i.depth + 15) & ~15U;
  float* a = static_cast<float*>(scratch(Scratch::kPanelA, static_cast<size_t>(i.rows * lda + kLanes) * 4));
  for (int64_t m = 0; m < i.rows; ++m) widen_row(i.a.dtype, sram + i.a.addr + m * i.a.stride, static_cast<int>(i.depth), a + m * lda);
  uint8_t* c = sram + i.dst.addr;
  if ((i.flags & RIGI_TRANS_B) != 0) {
    few_rows_transposed<Type>(i, b, a, lda, c, Counts<kFewRows>{});
  } else {
    few_rows_direct<Type>(i, b, a, lda, c, Counts<kDirectRows>{});
  }
}

}  // namespace

void mma(const rigi_instr& i, uint8_t* sram) {
  if (i.rows == 0 || i.cols == 0) return;
  if (i.a.dtype == RIGI_I8) return blocked<IntMac>(i, sram);
  if (static_cast<int>(i.rows) <= ((i.flags & RIGI_TRANS_B) != 0 ? kFewRows : kDirectRows)) {
    if (i.b.dtype == RIGI_BF16) return few_rows<BfloatWords>(i, sram);
    if (i.b.dtype == RIGI_F16) return few_rows<HalfWords>(i, sram);
  }
  blocked<FloatMac>(i, sram);
}

}  // namespace rigi::RIGI_ISA_NS
