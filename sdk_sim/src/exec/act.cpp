// Activation engine: dst = f(a * scale + bias), with a bias a row, row sums and a cast in the same pass if asked for.
#include "act_math.hpp"
#include "rows.hpp"
#include "tables.hpp"

namespace rigi::RIGI_ISA_NS {
namespace {

struct Span {
  const float* in;
  int step, n;
  float* out;
};

template <class Fn>
RIGI_INLINE void loop(const Span& s, F scale, F bias, Fn fn) {
  for (int j = 0; j < s.n; j += kLanes) store_f(s.out + j, canonical(fn(fma(load_f(s.in + j * s.step), scale, bias))));
}

void apply(uint8_t fn, const Span& s, F scale, F bias) {
  switch (fn) {
    case RIGI_EXP:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return exp_f(x); });
    case RIGI_EXP2:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return exp2_f(x); });
    case RIGI_LOG:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return log_f(x); });
    case RIGI_TANH:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return tanh_f(x); });
    case RIGI_SIGMOID:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return sigmoid_f(x); });
    case RIGI_SILU:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return silu_f(x); });
    case RIGI_GELU:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return gelu_f(x); });
    case RIGI_GELU_TANH:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return gelu_tanh_f(x); });
    case RIGI_RSQRT:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return splat(1.0F) / sqrt(x); });
    case RIGI_SQRT:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return sqrt(x); });
    case RIGI_RECIPROCAL:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return splat(1.0F) / x; });
    case RIGI_SIN:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return sin_f(x); });
    case RIGI_COS:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return cos_f(x); });
    default:
      return loop(s, scale, bias, [](F x) RIGI_LAMBDA { return x; });
  }
}

}  // namespace

void act(const rigi_instr& i, uint8_t* sram) {
  const bool row_bias = (i.flags & RIGI_ROW_BIAS) != 0, sums = (i.flags & RIGI_ROW_SUMS) != 0;
  Shape shape{i.rows, i.cols};
  if (!row_bias && !sums && flat(i.dst, i) && flat(i.a, i)) shape = {1, int64_t{i.rows} * i.cols};
  Source<float> a(i.a, sram);
  const F scale = splat(i.scale);
  F bias = splat(i.bias);
  alignas(64) float out[kChunk];
  alignas(64) float total[kLanes];
  for (int64_t r = 0; r < shape.rows; ++r) {
    if (row_bias) {
      float b;
      __builtin_memcpy(&b, sram + i.b.addr + (i.b.bcast == RIGI_ROW ? 0 : r * i.b.stride), 4);
      bias = splat(b);
    }
    uint8_t* dst = sram + i.dst.addr + r * i.dst.stride;
    F sum = splat(0.0F);
    for (int64_t col = 0; col < shape.cols;) {
      const int n = chunk_at(col, shape.cols);
      Span s{nullptr, 1, n, direct(i.dst, dst, col, n, out)};
      s.in = a.fetch(r, col, n, &s.step);
      apply(i.fn, s, scale, bias);
      if (sums) {
        for (int j = n; j % kLanes != 0; ++j) s.out[j] = 0.0F;
        for (int j = 0; j < n; j += kLanes) sum = sum + load_f(s.out + j);
      }
      if (s.out == out) narrow_row(i.dst.dtype, out, n, dst + col * element_bytes(i.dst.dtype));
      col += n;
    }
    if (sums) {
      store_f(total, canonical(fold16(sum, [](F x, F y) RIGI_LAMBDA { return x + y; })));
      __builtin_memcpy(sram + i.c.addr + r * i.c.stride, total, 4);
    }
  }
}

}  // namespace rigi::RIGI_ISA_NS
