// Vector engine: binary, compare, select, cast. Rows are cut into chunks that stay in L1: operands are widened to fp32 (or
// int32 if every operand and the destination are integers), combined, and narrowed to the destination.
//
// An operand may be the destination itself. Casts between integers keep the low bits, as int32 arithmetic does.
#include "rows.hpp"
#include "tables.hpp"

namespace rigi::RIGI_ISA_NS {
namespace {

template <class T>
struct Inputs {
  const T *a, *b;
  const float* c;
  int step_a, step_b, step_c;  // 0 if 16 equal values serve every vector
};

template <class T, class Fn>
RIGI_INLINE void loop(const Inputs<T>& in, int n, T* out, Fn fn) {
  for (int j = 0; j < n; j += kLanes) store(out + j, fn(load(in.a + j * in.step_a), load(in.b + j * in.step_b)));
}

RIGI_INLINE I divide(I a, I b) {
  alignas(64) int32_t x[kLanes], y[kLanes];
  store_i(x, a);
  store_i(y, b);
  for (int k = 0; k < kLanes; ++k) {
    x[k] = y[k] == 0 ? 0 : y[k] == -1 ? static_cast<int32_t>(0U - static_cast<uint32_t>(x[k])) : x[k] / y[k];
  }
  return load_i(x);
}

void binary(uint8_t fn, const Inputs<float>& in, int n, float* out) {
  switch (fn) {
    case RIGI_ADD:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return canonical(a + b); });
    case RIGI_SUB:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return canonical(a - b); });
    case RIGI_MUL:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return canonical(a * b); });
    case RIGI_DIV:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return canonical(a / b); });
    case RIGI_MAX:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return maximum(a, b); });
    default:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return minimum(a, b); });
  }
}
void binary(uint8_t fn, const Inputs<int32_t>& in, int n, int32_t* out) {
  switch (fn) {
    case RIGI_ADD:
      return loop(in, n, out, [](I a, I b) RIGI_LAMBDA { return a + b; });
    case RIGI_SUB:
      return loop(in, n, out, [](I a, I b) RIGI_LAMBDA { return a - b; });
    case RIGI_MUL:
      return loop(in, n, out, [](I a, I b) RIGI_LAMBDA { return a * b; });
    case RIGI_DIV:
      return loop(in, n, out, [](I a, I b) RIGI_LAMBDA { return divide(a, b); });
    case RIGI_MAX:
      return loop(in, n, out, [](I a, I b) RIGI_LAMBDA { return max(a, b); });
    default:
      return loop(in, n, out, [](I a, I b) RIGI_LAMBDA { return min(a, b); });
  }
}

RIGI_INLINE F truth(M m) { return select(m, splat(1.0F), splat(0.0F)); }
void compare(uint8_t fn, const Inputs<float>& in, int n, float* out) {
  switch (fn) {
    case RIGI_LT:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return truth(lt(a, b)); });
    case RIGI_LE:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return truth(le(a, b)); });
    case RIGI_GT:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return truth(lt(b, a)); });
    case RIGI_GE:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return truth(le(b, a)); });
    case RIGI_EQ:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return truth(eq(a, b)); });
    default:
      return loop(in, n, out, [](F a, F b) RIGI_LAMBDA { return truth(ne(a, b)); });
  }
}
void compare(uint8_t fn, const Inputs<int32_t>& in, int n, int32_t* out) {
  const I one = isplat(1), zero = isplat(0);
  switch (fn) {
    case RIGI_LT:
      return loop(in, n, out, [=](I a, I b) RIGI_LAMBDA { return select(gt(b, a), one, zero); });
    case RIGI_LE:
      return loop(in, n, out, [=](I a, I b) RIGI_LAMBDA { return select(gt(a, b), zero, one); });
    case RIGI_GT:
      return loop(in, n, out, [=](I a, I b) RIGI_LAMBDA { return select(gt(a, b), one, zero); });
    case RIGI_GE:
      return loop(in, n, out, [=](I a, I b) RIGI_LAMBDA { return select(gt(b, a), zero, one); });
    case RIGI_EQ:
      return loop(in, n, out, [=](I a, I b) RIGI_LAMBDA { return select(eq(a, b), one, zero); });
    default:
      return loop(in, n, out, [=](I a, I b) RIGI_LAMBDA { return select(eq(a, b), zero, one); });
  }
}

RIGI_INLINE F finish(F x) { return canonical(x); }
RIGI_INLINE I finish(I x) { return x; }

template <class T>
void compute(const rigi_instr& i, const Inputs<T>& in, int n, T* out) {
  switch (i.op) {
    case RIGI_BINARY:
      return binary(i.fn, in, n, out);
    case RIGI_COMPARE:
      return compare(i.fn, in, n, out);
    case RIGI_CAST:
      for (int j = 0; j < n; j += kLanes) store(out + j, finish(load(in.a + j * in.step_a)));
      return;
    default:
      for (int j = 0; j < n; j += kLanes) {
        const M chosen = ne(load_f(in.c + j * in.step_c), splat(0.0F));
        store(out + j, finish(select(chosen, load(in.a + j * in.step_a), load(in.b + j * in.step_b))));
      }
  }
}

template <class T>
void run(const rigi_instr& i, uint8_t* sram) {
  const bool has_b = i.op != RIGI_CAST, has_c = i.op == RIGI_SELECT;
  Shape shape{i.rows, i.cols};
  if (flat(i.dst, i) && flat(i.a, i) && (!has_b || flat(i.b, i)) && (!has_c || flat(i.c, i))) shape = {1, int64_t{i.rows} * i.cols};
  Source<T> a(i.a, sram);
  Source<T> b(has_b ? i.b : i.a, sram);
  Source<float> c(has_c ? i.c : i.a, sram);
  alignas(64) T out[kChunk];
  for (int64_t r = 0; r < shape.rows; ++r) {
    uint8_t* dst = sram + i.dst.addr + r * i.dst.stride;
    for (int64_t col = 0; col < shape.cols;) {
      const int n = chunk_at(col, shape.cols);
      Inputs<T> in{};
      in.a = a.fetch(r, col, n, &in.step_a);
      if (has_b) in.b = b.fetch(r, col, n, &in.step_b);
      if (has_c) in.c = c.fetch(r, col, n, &in.step_c);
      T* target = direct(i.dst, dst, col, n, out);
      compute(i, in, n, target);
      if (target == out) narrow_row(i.dst.dtype, out, n, dst + col * element_bytes(i.dst.dtype));
      col += n;
    }
  }
}

}  // namespace

void elementwise(const rigi_instr& i, uint8_t* sram) {
  const bool ints = is_int(i.dst.dtype) && counts_as_int(i.a) && (i.op == RIGI_CAST || counts_as_int(i.b));
  ints ? run<int32_t>(i, sram) : run<float>(i, sram);
}

}  // namespace rigi::RIGI_ISA_NS
