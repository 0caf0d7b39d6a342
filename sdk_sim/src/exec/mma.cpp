// Matrix engine: C[M,N] = or += A[M,K] x B, one fused multiply-add chain an output element, k ascending.
//
// Operands become 32-bit words in panels that stay in cache: fp32 for the float types (exact), pairs of int16 for int8,
// whose products two at a time add up without rounding. A keeps its layout [m][k]; B becomes [n / kNr][k][kNr], so that one
// step of the micro-kernel is kNr/16 vector loads of B and a broadcast of A per row of C. K is cut into blocks: C is stored
// and reloaded between them, which changes no bit. With few rows, B skips its panel (few_rows.hpp).
#include "few_rows.hpp"
#include "pack.hpp"
#include "tables.hpp"

namespace rigi::RIGI_ISA_NS {
namespace {

#if defined(RIGI_ISA_AVX512)
constexpr int kMr = 8, kNv = 2;
#elif defined(RIGI_ISA_AVX2)
constexpr int kMr = 6, kNv = 1;
#else
constexpr int kMr = 4, kNv = 1;
#endif
constexpr int kNr = kNv * kLanes;
constexpr int64_t kKc = 256;              // words of K a block
constexpr int64_t kLda = kKc + 16;        // row pitch of the A panel: off the powers of two, so rows spread over the cache sets
constexpr int64_t kNc = 256, kMc = 96;    // columns and rows a block

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
void blocked(const rigi_instr& i, const Matrix& a, const Matrix& b, uint8_t* c) {
  using Word = typename Mac::Word;
  constexpr int64_t per_word = sizeof(typename Pack<Word>::Half) == 1 ? 2 : 1;
  const bool transposed = (i.flags & RIGI_TRANS_B) != 0, accumulate = (i.flags & RIGI_ACCUMULATE) != 0;
  Word* panel_a = static_cast<Word*>(scratch(Scratch::kPanelA, kMc * kLda * 4));
  Word* panel_b = static_cast<Word*>(scratch(Scratch::kPanelB, (kKc + kLanes) * kNc * 4));
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

}  // namespace

void mma(const rigi_instr& i, const uint8_t* a_at, const uint8_t* b_at, int64_t b_stride, uint8_t* c) {
  if (i.rows == 0 || i.cols == 0) return;
  const Matrix a{a_at, i.a.stride, i.a.dtype}, b{b_at, b_stride, i.b.dtype};
  if (few_rows(i, a_at, b, c)) return;
  if (i.a.dtype == RIGI_I8) return blocked<IntMac>(i, a, b, c);
  blocked<FloatMac>(i, a, b, c);
}

}  // namespace rigi::RIGI_ISA_NS
