// The matrix engine with few rows: B is read only once, so it skips its panel (see mma.cpp).
#pragma once

#include "pack.hpp"

namespace rigi::RIGI_ISA_NS {
namespace few {

#if defined(RIGI_ISA_AVX512)
constexpr int kTransposedRows = 8, kDirectRows = 4, kWideNv = 4;
#elif defined(RIGI_ISA_AVX2)
constexpr int kTransposedRows = 4, kDirectRows = 3, kWideNv = 2;
#else
constexpr int kTransposedRows = 1, kDirectRows = 1, kWideNv = 2;
#endif

// B [N, K]: words of 16 rows of B are transposed in registers and used at once. What a word holds, a type tells: kSteps vectors that
// follow each other in K, each of which meets a word of A.
struct FloatWords : FloatMac {
  RIGI_INLINE F begin(F c, int32_t) { return c; }
};
template <class Halves>
struct PairWords : FloatWords {
  static constexpr int kSteps = 2, kBytes = 2;
  template <int STEP>
  RIGI_INLINE F get(I x) {
    return STEP == 0 ? Halves::low(x) : Halves::high(x);
  }
};
template <int DTYPE>
struct QuadWords : FloatWords {
  static constexpr int kSteps = 4, kBytes = 1;
  template <int STEP>
  RIGI_INLINE F get(I x) {
    const I byte = shr<8 * STEP>(x) & isplat(0xff);
    return DTYPE == RIGI_E4M3 ? widen_small<3, 4>(byte, 0x7f, false) : half_to_f(shl<8>(byte));
  }
};
// int8: a step is the pair of every second byte. 128 is added to each, which spares spreading signs, and what that adds to the sums,
// 128 times the sum of A's row, is taken off before.
struct ByteWords : IntMac {
  static constexpr int kSteps = 2, kBytes = 1;
  RIGI_INLINE I begin(I c, int32_t sum) { return c - isplat(static_cast<int32_t>(static_cast<uint32_t>(sum) * 128U)); }
  template <int STEP>
  RIGI_INLINE I get(I x) {
    return shr<8 * STEP>(x ^ isplat(static_cast<int32_t>(0x80808080))) & isplat(0x00ff00ff);
  }
};

/// A as words, `lda` a row, and (int8) the sum of each row.
template <class Word>
struct WordsOfA {
  const Word* words;
  int64_t lda;
  int32_t sums[kTransposedRows];
};

inline WordsOfA<float> widen_a(const rigi_instr& i, const uint8_t* a) {
  const int64_t lda = (i.depth + 15) & ~15U;
  auto* words = static_cast<float*>(scratch(Scratch::kPanelA, static_cast<size_t>(i.rows * lda + kLanes) * 4));
  for (int64_t m = 0; m < i.rows; ++m) widen_row(i.a.dtype, a + m * i.a.stride, static_cast<int>(i.depth), words + m * lda);
  return {words, lda, {}};
}

inline WordsOfA<int32_t> pair_a(const rigi_instr& i, const uint8_t* rows) {
  const int64_t lda = (i.depth + 3) / 4 * 2;
  auto* words = static_cast<int32_t*>(scratch(Scratch::kPanelA, static_cast<size_t>(i.rows * lda) * 4));
  WordsOfA<int32_t> a{words, lda, {}};
  for (int64_t m = 0; m < i.rows; ++m) {
    const auto* row = reinterpret_cast<const int8_t*>(rows + m * i.a.stride);
    const auto at = [&](int64_t k) { return k < i.depth ? row[k] : 0; };
    const auto pair = [](int low, int high) { return static_cast<int32_t>((static_cast<uint32_t>(high) << 16) | (low & 0xffff)); };
    for (int64_t k = 0; k < i.depth; k += 4) {
      words[m * lda + k / 2] = pair(at(k), at(k + 2));
      words[m * lda + k / 2 + 1] = pair(at(k + 1), at(k + 3));
      a.sums[m] += at(k) + at(k + 1) + at(k + 2) + at(k + 3);
    }
  }
  return a;
}

/// acc[m] += a[m] * b over the first `steps` steps of a word of B.
template <class Type, int M, int STEP = 0>
RIGI_INLINE void use_word(I word, const typename Type::Word* a, int64_t lda, int64_t steps, typename Type::V* acc) {
  if constexpr (STEP < Type::kSteps) {
    if (STEP >= steps) return;
    const typename Type::V column = Type::template get<STEP>(word);
    RIGI_UNROLL
    for (int m = 0; m < M; ++m) acc[m] = Type::mac(acc[m], Type::broadcast(a + m * lda + STEP), column);
    use_word<Type, M, STEP + 1>(word, a, lda, steps, acc);
  }
}

// Asks for the 16 rows of B that the next columns will read, row after row: that order the host's own prefetchers understand and help
// with. After the last columns come, most likely, the first ones again further along K: the next mma.
class Ahead {
 public:
  Ahead(const Matrix& b, int64_t row, int64_t rows, int64_t bytes)
      : p_(row < rows || b.stride == bytes ? b.base + row * b.stride : b.base + bytes),
        gap_(b.stride - bytes),
        bytes_(b.stride == bytes ? INT64_MAX : bytes),
        left_(bytes_) {}
  /// One line for each word of a transpose16. The compiler would ask for all of them at once; the processor drops what it cannot queue.
  [[gnu::always_inline]] void line(int word) const {
    __builtin_prefetch(p_ + word * 64, 0, 2);
    __asm__ volatile("" ::: "memory");
  }
  [[gnu::always_inline]] void next() {
    const int64_t done = smaller(left_, kTransposeWords * 64);
    p_ += done;
    left_ -= done;
    if (left_ > 0) return;
    p_ += gap_;
    left_ = bytes_;
  }

 private:
  const uint8_t* p_;
  int64_t gap_, bytes_, left_;
};

// Rows of B, evenly spaced: their addresses need few registers.
struct Rows {
  const uint8_t* base;
  int64_t stride;
  RIGI_LAMBDA const uint8_t* operator[](int64_t r) const { return base + r * stride; }
};

/// 16 rows of B from the n-th. Where B has only `cols` of them, a copy; what stands in the others does not matter.
inline Rows rows_of(const Matrix& b, int64_t n, int64_t cols, int64_t bytes) {
  const Rows rows{b.base + n * b.stride, b.stride};
  if (cols == kLanes) return rows;
  auto* copy = static_cast<uint8_t*>(scratch(Scratch::kPanelB, static_cast<size_t>(kLanes * bytes)));
  for (int64_t r = 0; r < cols; ++r) __builtin_memcpy(copy + r * bytes, rows[r], static_cast<size_t>(bytes));
  return {copy, bytes};
}

/// Columns n to n + cols of C, cols at most 16. One group of rows at a time: the host's prefetchers follow 16 rows, not 32.
template <class Type, int M>
void columns(const rigi_instr& i, const Matrix& b, const WordsOfA<typename Type::Word>& a, int64_t n, int64_t cols, uint8_t* c) {
  constexpr int64_t step = kTransposeWords * 4;
  const int64_t bytes = int64_t{i.depth} * Type::kBytes;
  const size_t size = static_cast<size_t>(cols) * 4;
  const Rows rows = rows_of(b, n, cols, bytes);
  typename Type::V acc[M];
  alignas(64) typename Type::Word lane[kLanes] = {};
  const auto place = [&](int m) RIGI_LAMBDA { return c + m * i.dst.stride + n * 4; };
  RIGI_UNROLL
  for (int m = 0; m < M; ++m) {
    if ((i.flags & RIGI_ACCUMULATE) != 0) __builtin_memcpy(lane, place(m), size);
    acc[m] = Type::begin(load(lane), a.sums[m]);
  }
  const typename Type::Word* words_a = a.words;
  Ahead ahead(b, n + kLanes, i.cols, bytes);
  int64_t at = 0;
  for (; at + step <= bytes; at += step, words_a += kTransposeWords * Type::kSteps) {
    I words[kTransposeWords];
    transpose16(rows, at, words);
    RIGI_UNROLL
    for (int j = 0; j < kTransposeWords; ++j) {
      ahead.line(j);
      use_word<Type, M>(words[j], words_a + j * Type::kSteps, a.lda, Type::kSteps, acc);
    }
    ahead.next();
  }
  if (at < bytes) {
    I words[kTransposeWords];
    transpose_tail(rows, at, bytes, words);
    // Floats stop exactly at the end of K: adding a product of zeros would make +0 of -0.
    const int64_t steps = Type::kSteps * Type::kBytes == 4 ? (bytes - at) / Type::kBytes : (bytes - at + 3) / 4 * Type::kSteps;
    for (int j = 0; j * Type::kSteps < steps; ++j) {
      use_word<Type, M>(words[j], words_a + j * Type::kSteps, a.lda, steps - j * Type::kSteps, acc);
    }
  }
  RIGI_UNROLL
  for (int m = 0; m < M; ++m) {
    store(lane, Type::finish(acc[m]));
    __builtin_memcpy(place(m), lane, size);
  }
}

template <class Type, int... ROWS>
void transposed(const rigi_instr& i, const Matrix& b, const WordsOfA<typename Type::Word>& a, uint8_t* c, Sequence<ROWS...>) {
  using Fn = void (*)(const rigi_instr&, const Matrix&, const WordsOfA<typename Type::Word>&, int64_t, int64_t, uint8_t*);
  static constexpr Fn kernels[] = {columns<Type, ROWS>...};
  for (int64_t n = 0; n < i.cols; n += kLanes) kernels[i.rows - 1](i, b, a, n, smaller(kLanes, i.cols - n), c);
}

/// Few rows against B [K, N]: NV vectors of C at a time, B widened as it is read. `cols` counts the columns of the last vector.
template <int DTYPE, int M, int NV>
void columns_direct(const rigi_instr& i, const float* a, int64_t lda, const uint8_t* b, int64_t stride, uint8_t* c, int cols) {
  constexpr int kBytes = DTYPE == RIGI_BF16 || DTYPE == RIGI_F16 ? 2 : 1;
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
      const uint8_t* p = row + v * kBytes * kLanes;
      if (v == NV - 1 && cols < kLanes) {
        __builtin_memcpy(edge, p, last * kBytes);
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

template <int DTYPE, int... ROWS>
void direct(const rigi_instr& i, const Matrix& b, const float* a, int64_t lda, uint8_t* c, Sequence<ROWS...>) {
  using Fn = void (*)(const rigi_instr&, const float*, int64_t, const uint8_t*, int64_t, uint8_t*, int);
  static constexpr Fn wide[] = {columns_direct<DTYPE, ROWS, kWideNv>...};
  static constexpr Fn narrow[] = {columns_direct<DTYPE, ROWS, 1>...};
  const int64_t bytes = element_bytes(DTYPE);
  int64_t n = 0;
  for (; n + kWideNv * kLanes <= i.cols; n += kWideNv * kLanes) {
    wide[i.rows - 1](i, a, lda, b.base + n * bytes, b.stride, c + n * 4, kLanes);
  }
  for (; n < i.cols; n += kLanes) {
    narrow[i.rows - 1](i, a, lda, b.base + n * bytes, b.stride, c + n * 4, static_cast<int>(smaller(kLanes, i.cols - n)));
  }
}

template <class Type, int DTYPE>
void floats(const rigi_instr& i, const uint8_t* a_at, const Matrix& b, uint8_t* c) {
  const WordsOfA<float> a = widen_a(i, a_at);
  if ((i.flags & RIGI_TRANS_B) != 0) {
    transposed<Type>(i, b, a, c, Counts<kTransposedRows>{});
  } else {
    direct<DTYPE>(i, b, a.words, a.lda, c, Counts<kDirectRows>{});
  }
}

}  // namespace few

/// Whether the instruction had few enough rows to be carried out here.
RIGI_INLINE bool few_rows(const rigi_instr& i, const uint8_t* a, const Matrix& b, uint8_t* c) {
  const bool transposed = (i.flags & RIGI_TRANS_B) != 0;
  if (static_cast<int64_t>(i.rows) > (transposed ? few::kTransposedRows : few::kDirectRows)) return false;
  switch (b.dtype) {
    case RIGI_BF16:
      return few::floats<few::PairWords<BfloatWords>, RIGI_BF16>(i, a, b, c), true;
    case RIGI_F16:
      return few::floats<few::PairWords<HalfWords>, RIGI_F16>(i, a, b, c), true;
    case RIGI_E4M3:
      return few::floats<few::QuadWords<RIGI_E4M3>, RIGI_E4M3>(i, a, b, c), true;
    case RIGI_E5M2:
      return few::floats<few::QuadWords<RIGI_E5M2>, RIGI_E5M2>(i, a, b, c), true;
    default:
      if (!transposed) return false;
      few::transposed<few::ByteWords>(i, b, few::pair_a(i, a), c, Counts<few::kTransposedRows>{});
      return true;
  }
}

}  // namespace rigi::RIGI_ISA_NS
