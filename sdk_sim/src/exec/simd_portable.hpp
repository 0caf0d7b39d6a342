// The 16-lane vectors of simd.hpp for any processor: GCC's and Clang's vector types, which the compiler maps to what there is.
#pragma once

namespace rigi::RIGI_ISA_NS {

constexpr int kTransposeWords = 8;

template <class T>
struct VecOf;
#define RIGI_VEC(T)                                              \
  template <>                                                    \
  struct VecOf<T> {                                              \
    typedef T type __attribute__((vector_size(16 * sizeof(T)))); \
  };
RIGI_VEC(float)
RIGI_VEC(double)
RIGI_VEC(int8_t)
RIGI_VEC(uint8_t)
RIGI_VEC(uint16_t)
RIGI_VEC(int32_t)
RIGI_VEC(uint32_t)
RIGI_VEC(int64_t)
RIGI_VEC(uint64_t)
#undef RIGI_VEC
template <class T>
using Vec = typename VecOf<T>::type;

struct M {
  Vec<int32_t> v;  // all ones or zero
};
struct F {
  Vec<float> v;
};
struct I {
  Vec<int32_t> v;
};
struct D {
  Vec<double> v;
};

template <class To, class From>
RIGI_INLINE To lane_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}
using Unsigned = Vec<uint32_t>;
RIGI_INLINE Unsigned u(const I& a) { return lane_cast<Unsigned>(a); }
RIGI_INLINE I s(const Unsigned& a) { return lane_cast<I>(a); }

RIGI_INLINE M operator&(const M& a, const M& b) { return {a.v & b.v}; }
RIGI_INLINE M operator|(const M& a, const M& b) { return {a.v | b.v}; }
RIGI_INLINE uint32_t bits(const M& a) {
  uint32_t out = 0;
  for (int k = 0; k < 16; ++k) out |= (static_cast<uint32_t>(a.v[k]) & 1U) << k;
  return out;
}
RIGI_INLINE bool any(const M& a) { return bits(a) != 0; }

template <class T>
RIGI_INLINE Vec<T> all(T x) {
  return Vec<T>{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
RIGI_INLINE F splat(float x) { return {all(x)}; }
RIGI_INLINE I isplat(int32_t x) { return {all(x)}; }

template <class T>
RIGI_INLINE T load_as(const void* p) {
  T out;
  __builtin_memcpy(&out, p, sizeof(T));
  return out;
}
RIGI_INLINE F load_f(const float* p) { return load_as<F>(p); }
RIGI_INLINE void store_f(float* p, const F& a) { __builtin_memcpy(p, &a, sizeof(F)); }
RIGI_INLINE I load_i(const int32_t* p) { return load_as<I>(p); }
RIGI_INLINE void store_i(int32_t* p, const I& a) { __builtin_memcpy(p, &a, sizeof(I)); }
template <class T>
RIGI_INLINE I load_narrow(const void* p) {
  return {__builtin_convertvector(load_as<Vec<T>>(p), Vec<int32_t>)};
}
template <class T>
RIGI_INLINE void store_narrow(void* p, const I& a) {
  const Vec<T> x = __builtin_convertvector(a.v, Vec<T>);
  __builtin_memcpy(p, &x, sizeof(x));
}
RIGI_INLINE I load_u16(const void* p) { return load_narrow<uint16_t>(p); }
RIGI_INLINE I load_u8(const void* p) { return load_narrow<uint8_t>(p); }
RIGI_INLINE I load_s8(const void* p) { return load_narrow<int8_t>(p); }
RIGI_INLINE void store_u16(void* p, const I& a) { store_narrow<uint16_t>(p, a); }
RIGI_INLINE void store_u8(void* p, const I& a) { store_narrow<uint8_t>(p, a); }

RIGI_INLINE F as_f(const I& a) { return lane_cast<F>(a); }
RIGI_INLINE I as_i(const F& a) { return lane_cast<I>(a); }

RIGI_INLINE F operator+(const F& a, const F& b) { return {a.v + b.v}; }
RIGI_INLINE F operator-(const F& a, const F& b) { return {a.v - b.v}; }
RIGI_INLINE F operator*(const F& a, const F& b) { return {a.v * b.v}; }
RIGI_INLINE F operator/(const F& a, const F& b) { return {a.v / b.v}; }
RIGI_INLINE F fma(const F& a, const F& b, const F& c) {
  F out;
  for (int k = 0; k < 16; ++k) out.v[k] = __builtin_fmaf(a.v[k], b.v[k], c.v[k]);
  return out;
}
RIGI_INLINE F sqrt(const F& a) {
  F out;
  for (int k = 0; k < 16; ++k) out.v[k] = __builtin_sqrtf(a.v[k]);
  return out;
}
RIGI_INLINE M lt(const F& a, const F& b) { return {a.v < b.v}; }
RIGI_INLINE M le(const F& a, const F& b) { return {a.v <= b.v}; }
RIGI_INLINE M eq(const F& a, const F& b) { return {a.v == b.v}; }
RIGI_INLINE M ne(const F& a, const F& b) { return {a.v != b.v}; }

RIGI_INLINE I operator+(const I& a, const I& b) { return s(u(a) + u(b)); }
RIGI_INLINE I operator-(const I& a, const I& b) { return s(u(a) - u(b)); }
RIGI_INLINE I operator*(const I& a, const I& b) { return s(u(a) * u(b)); }
RIGI_INLINE I operator&(const I& a, const I& b) { return {a.v & b.v}; }
RIGI_INLINE I operator|(const I& a, const I& b) { return {a.v | b.v}; }
RIGI_INLINE I operator^(const I& a, const I& b) { return {a.v ^ b.v}; }
template <int N>
RIGI_INLINE I shl(const I& a) {
  return s(u(a) << N);
}
template <int N>
RIGI_INLINE I shr(const I& a) {
  return s(u(a) >> N);
}
template <int N>
RIGI_INLINE I sra(const I& a) {
  return {a.v >> N};
}
RIGI_INLINE M gt(const I& a, const I& b) { return {a.v > b.v}; }
RIGI_INLINE M eq(const I& a, const I& b) { return {a.v == b.v}; }
RIGI_INLINE I select(const M& m, const I& a, const I& b) { return {(a.v & m.v) | (b.v & ~m.v)}; }
RIGI_INLINE F select(const M& m, const F& a, const F& b) { return as_f(select(m, as_i(a), as_i(b))); }
RIGI_INLINE I min(const I& a, const I& b) { return select(gt(b, a), a, b); }
RIGI_INLINE I max(const I& a, const I& b) { return select(gt(a, b), a, b); }
RIGI_INLINE F min2(const F& a, const F& b) { return select(lt(a, b), a, b); }
RIGI_INLINE F max2(const F& a, const F& b) { return select(lt(b, a), a, b); }
RIGI_INLINE I madd16(const I& a, const I& b) { return (sra<16>(shl<16>(a)) * sra<16>(shl<16>(b))) + (sra<16>(a) * sra<16>(b)); }

// Lane k of the result is lane k + W of `a`, for k < W; the other lanes do not matter.
template <int W>
RIGI_INLINE F down(const F& a) {
  F out;
  for (int k = 0; k < 16; ++k) out.v[k] = a.v[(k + W) % 16];
  return out;
}

RIGI_INLINE F to_f(const I& a) { return {__builtin_convertvector(a.v, Vec<float>)}; }
RIGI_INLINE I round_i(const F& a) {
  I out;
  for (int k = 0; k < 16; ++k) {
    const float x = a.v[k];
    out.v[k] = x >= -2147483648.0F && x < 2147483648.0F ? static_cast<int32_t>(__builtin_lrintf(x)) : INT32_MIN;
  }
  return out;
}

RIGI_INLINE D dsplat(double x) { return {all(x)}; }
RIGI_INLINE D to_d(const F& a) { return {__builtin_convertvector(a.v, Vec<double>)}; }
RIGI_INLINE F to_f(const D& a) { return {__builtin_convertvector(a.v, Vec<float>)}; }
RIGI_INLINE D operator+(const D& a, const D& b) { return {a.v + b.v}; }
RIGI_INLINE D operator-(const D& a, const D& b) { return {a.v - b.v}; }
RIGI_INLINE D operator*(const D& a, const D& b) { return {a.v * b.v}; }
RIGI_INLINE D operator/(const D& a, const D& b) { return {a.v / b.v}; }
RIGI_INLINE D fma(const D& a, const D& b, const D& c) {
  D out;
  for (int k = 0; k < 16; ++k) out.v[k] = __builtin_fma(a.v[k], b.v[k], c.v[k]);
  return out;
}
template <class Mask>
RIGI_INLINE D choose(const Mask& mask, const D& a, const D& b) {
  const auto m = lane_cast<Vec<int64_t>>(mask);
  return lane_cast<D>((lane_cast<Vec<int64_t>>(a) & m) | (lane_cast<Vec<int64_t>>(b) & ~m));
}
RIGI_INLINE D min2(const D& a, const D& b) { return choose(a.v < b.v, a, b); }
RIGI_INLINE D max2(const D& a, const D& b) { return choose(a.v > b.v, a, b); }
RIGI_INLINE D pow2_of_magic(const D& t) { return lane_cast<D>((lane_cast<Vec<uint64_t>>(t) << 52) + all<uint64_t>(0x3ff0000000000000U)); }

// out[j] lane i = word j of row i, 16 rows of 8 words.
template <class Rows>
RIGI_INLINE void transpose16(const Rows& rows, int64_t offset, I* out) {
  int32_t words[kTransposeWords][16];
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < kTransposeWords; ++j) __builtin_memcpy(&words[j][i], rows[i] + offset + j * 4, 4);
  }
  for (int j = 0; j < kTransposeWords; ++j) out[j] = load_i(words[j]);
}

}  // namespace rigi::RIGI_ISA_NS
