// Vector engine: row reductions, iota, fill, and the addition of store_add.
//
// A row is reduced as chip.md section 6 says: element i goes to partial result i mod 16 (sums start at +0), then fold16's
// tree. The maximum is IEEE 754-2019's: NaN if any element is NaN, and -0 < +0.
#include "rows.hpp"
#include "tables.hpp"

namespace rigi::RIGI_ISA_NS {
namespace {

template <class T>
struct Identity;
template <>
struct Identity<float> {
  static constexpr float sum = 0.0F, max = -__builtin_inff();
};
template <>
struct Identity<int32_t> {
  static constexpr int32_t sum = 0, max = INT32_MIN;
};

RIGI_INLINE F larger(F a, F b) { return maximum(a, b); }
RIGI_INLINE I larger(I a, I b) { return max(a, b); }
RIGI_INLINE int32_t plus(int32_t a, int32_t b) { return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b)); }
RIGI_INLINE F finish(F x) { return canonical(x); }
RIGI_INLINE I finish(I x) { return x; }

template <class T>
void run(const rigi_instr& i, uint8_t* sram) {
  const bool is_max = i.fn == RIGI_RMAX;
  const T identity = is_max ? Identity<T>::max : Identity<T>::sum;
  Source<T> a(i.a, sram);
  alignas(64) T tail[kLanes], partial[kLanes];
  for (int64_t r = 0; r < i.rows; ++r) {
    auto state = splat_as(identity);
    for (int64_t col = 0; col < i.cols;) {
      const int n = chunk_at(col, i.cols);
      int step;
      const T* p = a.fetch(r, col, n, &step);
      if (n % kLanes != 0) {
        // NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): fetch() has filled the first n
        for (int j = 0; j < kLanes; ++j) tail[j] = j < n ? p[j * step] : identity;
        p = tail;
        step = 1;
      }
      if (is_max) {
        for (int j = 0; j < n; j += kLanes) state = larger(state, load(p + j * step));
      } else {
        for (int j = 0; j < n; j += kLanes) state = state + load(p + j * step);
      }
      col += n;
    }
    if (is_max) {
      state = fold16(state, [](auto x, auto y) RIGI_LAMBDA { return larger(x, y); });
    } else {
      state = fold16(state, [](auto x, auto y) RIGI_LAMBDA { return x + y; });
    }
    store(partial, finish(state));
    narrow_row(i.dst.dtype, partial, 1, sram + i.dst.addr + r * i.dst.stride);
  }
}

RIGI_INLINE int32_t to_int(float x) {
  alignas(64) float in[kLanes] = {x};
  int32_t out;
  alignas(64) uint8_t buffer[64];
  store_float<RIGI_I32>(buffer, load_f(in));
  __builtin_memcpy(&out, buffer, 4);
  return out;
}
RIGI_INLINE int32_t times(int32_t a, int32_t b) { return static_cast<int32_t>(static_cast<uint32_t>(a) * static_cast<uint32_t>(b)); }

}  // namespace

void reduce(const rigi_instr& i, uint8_t* sram) { is_int(i.dst.dtype) && counts_as_int(i.a) ? run<int32_t>(i, sram) : run<float>(i, sram); }

/// fp32: (bias + r * scale) + c * imm, every step rounded. int32: the three numbers rounded to int32 first, then wrapping.
void iota(const rigi_instr& i, uint8_t* sram) {
  alignas(64) int32_t ramp_i[kLanes];
  for (int k = 0; k < kLanes; ++k) ramp_i[k] = k;
  const int32_t start = to_int(i.bias), row_step = to_int(i.scale), col_step = to_int(i.a.imm);
  alignas(64) float out_f[kLanes];
  alignas(64) int32_t out_i[kLanes];
  for (int64_t r = 0; r < i.rows; ++r) {
    uint8_t* dst = sram + i.dst.addr + r * i.dst.stride;
    const int32_t row_i = plus(start, times(static_cast<int32_t>(r), row_step));
    const float step_f = static_cast<float>(r) * i.scale;
    const float row_f = i.bias + step_f;
    for (int64_t col = 0; col < i.cols; col += kLanes) {
      const int n = static_cast<int>(i.cols - col < kLanes ? i.cols - col : kLanes);
      uint8_t* p = dst + col * element_bytes(i.dst.dtype);
      const I index = load_i(ramp_i) + isplat(static_cast<int32_t>(col));
      if (is_int(i.dst.dtype)) {
        store_i(out_i, index * isplat(col_step) + isplat(row_i));
        narrow_row(i.dst.dtype, out_i, n, p);
      } else {
        store_f(out_f, canonical(splat(row_f) + to_f(index) * splat(i.a.imm)));
        narrow_row(i.dst.dtype, out_f, n, p);
      }
    }
  }
}

void fill(const rigi_instr& i, uint8_t* sram) {
  alignas(64) float value[kChunk];
  alignas(64) uint8_t pattern[kChunk * 4];
  for (int j = 0; j < kChunk; j += kLanes) store_f(value + j, canonical(splat(i.scale)));
  narrow_row(i.dst.dtype, value, kChunk, pattern);
  const int64_t row_bytes = i.cols * element_bytes(i.dst.dtype);
  const int64_t pattern_bytes = kChunk * element_bytes(i.dst.dtype);
  for (int64_t r = 0; r < i.rows; ++r) {
    uint8_t* dst = sram + i.dst.addr + r * i.dst.stride;
    for (int64_t at = 0; at < row_bytes; at += pattern_bytes) {
      const int64_t left = row_bytes - at;
      __builtin_memcpy(dst + at, pattern, static_cast<size_t>(left < pattern_bytes ? left : pattern_bytes));
    }
  }
}

void add(uint8_t* dst, const uint8_t* src, int64_t n, rigi_dtype dtype) {
  const int64_t bytes = element_bytes(dtype);
  alignas(64) float x[kChunk], y[kChunk];
  for (int64_t at = 0; at < n; at += kChunk) {
    const int m = static_cast<int>(n - at < kChunk ? n - at : kChunk);
    widen_row(dtype, dst + at * bytes, m, x);
    widen_row(dtype, src + at * bytes, m, y);
    for (int j = 0; j < m; j += kLanes) store_f(x + j, canonical(load_f(x + j) + load_f(y + j)));
    narrow_row(dtype, x, m, dst + at * bytes);
  }
}

}  // namespace rigi::RIGI_ISA_NS
