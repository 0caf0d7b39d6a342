// The 16-lane vectors of simd.hpp in plain C++, for any processor.
#pragma once

namespace rigi::RIGI_ISA_NS {

constexpr int kTransposeWords = 8;

struct M {
  uint32_t v[16];  // all ones or zero
};
struct F {
  float v[16];
};
struct I {
  int32_t v[16];
};
struct D {
  double v[16];
};

template <class V, class Fn>
RIGI_INLINE V lanes(Fn fn) {
  V out;
  for (int k = 0; k < 16; ++k) out.v[k] = fn(k);
  return out;
}
template <class To, class From>
RIGI_INLINE To lane_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}
RIGI_INLINE uint32_t u(int32_t x) { return static_cast<uint32_t>(x); }
RIGI_INLINE int32_t s(uint32_t x) { return static_cast<int32_t>(x); }

RIGI_INLINE M operator&(const M& a, const M& b) {
  return lanes<M>([&](int k) { return a.v[k] & b.v[k]; });
}
RIGI_INLINE M operator|(const M& a, const M& b) {
  return lanes<M>([&](int k) { return a.v[k] | b.v[k]; });
}
RIGI_INLINE uint32_t bits(const M& a) {
  uint32_t out = 0;
  for (int k = 0; k < 16; ++k) out |= (a.v[k] & 1U) << k;
  return out;
}
RIGI_INLINE bool any(const M& a) { return bits(a) != 0; }

RIGI_INLINE F splat(float x) {
  return lanes<F>([&](int) { return x; });
}
RIGI_INLINE I isplat(int32_t x) {
  return lanes<I>([&](int) { return x; });
}
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
struct Narrow {
  T v[16];
};
template <class T>
RIGI_INLINE I load_narrow(const void* p) {
  const auto x = load_as<Narrow<T>>(p);
  return lanes<I>([&](int k) { return static_cast<int32_t>(x.v[k]); });
}
template <class T>
RIGI_INLINE void store_narrow(void* p, const I& a) {
  const auto x = lanes<Narrow<T>>([&](int k) { return static_cast<T>(a.v[k]); });
  __builtin_memcpy(p, &x, sizeof(x));
}
RIGI_INLINE I load_u16(const void* p) { return load_narrow<uint16_t>(p); }
RIGI_INLINE I load_u8(const void* p) { return load_narrow<uint8_t>(p); }
RIGI_INLINE I load_s8(const void* p) { return load_narrow<int8_t>(p); }
RIGI_INLINE void store_u16(void* p, const I& a) { store_narrow<uint16_t>(p, a); }
RIGI_INLINE void store_u8(void* p, const I& a) { store_narrow<uint8_t>(p, a); }

RIGI_INLINE F as_f(const I& a) { return lane_cast<F>(a); }
RIGI_INLINE I as_i(const F& a) { return lane_cast<I>(a); }

RIGI_INLINE F operator+(const F& a, const F& b) {
  return lanes<F>([&](int k) { return a.v[k] + b.v[k]; });
}
RIGI_INLINE F operator-(const F& a, const F& b) {
  return lanes<F>([&](int k) { return a.v[k] - b.v[k]; });
}
RIGI_INLINE F operator*(const F& a, const F& b) {
  return lanes<F>([&](int k) { return a.v[k] * b.v[k]; });
}
RIGI_INLINE F operator/(const F& a, const F& b) {
  return lanes<F>([&](int k) { return a.v[k] / b.v[k]; });
}
RIGI_INLINE F fma(const F& a, const F& b, const F& c) {
  return lanes<F>([&](int k) { return __builtin_fmaf(a.v[k], b.v[k], c.v[k]); });
}
RIGI_INLINE F sqrt(const F& a) {
  return lanes<F>([&](int k) { return __builtin_sqrtf(a.v[k]); });
}
RIGI_INLINE F min2(const F& a, const F& b) {
  return lanes<F>([&](int k) { return a.v[k] < b.v[k] ? a.v[k] : b.v[k]; });
}
RIGI_INLINE F max2(const F& a, const F& b) {
  return lanes<F>([&](int k) { return a.v[k] > b.v[k] ? a.v[k] : b.v[k]; });
}
RIGI_INLINE M lt(const F& a, const F& b) {
  return lanes<M>([&](int k) { return a.v[k] < b.v[k] ? ~0U : 0U; });
}
RIGI_INLINE M le(const F& a, const F& b) {
  return lanes<M>([&](int k) { return a.v[k] <= b.v[k] ? ~0U : 0U; });
}
RIGI_INLINE M eq(const F& a, const F& b) {
  return lanes<M>([&](int k) { return a.v[k] == b.v[k] ? ~0U : 0U; });
}
RIGI_INLINE M ne(const F& a, const F& b) {
  return lanes<M>([&](int k) { return a.v[k] != b.v[k] ? ~0U : 0U; });
}
RIGI_INLINE M unordered(const F& a, const F& b) {
  return lanes<M>([&](int k) { return a.v[k] != a.v[k] || b.v[k] != b.v[k] ? ~0U : 0U; });
}

RIGI_INLINE I operator+(const I& a, const I& b) {
  return lanes<I>([&](int k) { return s(u(a.v[k]) + u(b.v[k])); });
}
RIGI_INLINE I operator-(const I& a, const I& b) {
  return lanes<I>([&](int k) { return s(u(a.v[k]) - u(b.v[k])); });
}
RIGI_INLINE I operator*(const I& a, const I& b) {
  return lanes<I>([&](int k) { return s(u(a.v[k]) * u(b.v[k])); });
}
RIGI_INLINE I operator&(const I& a, const I& b) {
  return lanes<I>([&](int k) { return a.v[k] & b.v[k]; });
}
RIGI_INLINE I operator|(const I& a, const I& b) {
  return lanes<I>([&](int k) { return a.v[k] | b.v[k]; });
}
RIGI_INLINE I operator^(const I& a, const I& b) {
  return lanes<I>([&](int k) { return a.v[k] ^ b.v[k]; });
}
template <int N>
RIGI_INLINE I shl(const I& a) {
  return lanes<I>([&](int k) { return s(u(a.v[k]) << N); });
}
template <int N>
RIGI_INLINE I shr(const I& a) {
  return lanes<I>([&](int k) { return s(u(a.v[k]) >> N); });
}
template <int N>
RIGI_INLINE I sra(const I& a) {
  return lanes<I>([&](int k) { return a.v[k] >> N; });
}
RIGI_INLINE I min(const I& a, const I& b) {
  return lanes<I>([&](int k) { return a.v[k] < b.v[k] ? a.v[k] : b.v[k]; });
}
RIGI_INLINE I max(const I& a, const I& b) {
  return lanes<I>([&](int k) { return a.v[k] > b.v[k] ? a.v[k] : b.v[k]; });
}
RIGI_INLINE M gt(const I& a, const I& b) {
  return lanes<M>([&](int k) { return a.v[k] > b.v[k] ? ~0U : 0U; });
}
RIGI_INLINE M eq(const I& a, const I& b) {
  return lanes<M>([&](int k) { return a.v[k] == b.v[k] ? ~0U : 0U; });
}
RIGI_INLINE I select(const M& m, const I& a, const I& b) {
  return lanes<I>([&](int k) { return s((u(a.v[k]) & m.v[k]) | (u(b.v[k]) & ~m.v[k])); });
}
RIGI_INLINE F select(const M& m, const F& a, const F& b) { return as_f(select(m, as_i(a), as_i(b))); }
RIGI_INLINE I madd16(const I& a, const I& b) {
  return lanes<I>([&](int k) {
    const int32_t low = static_cast<int16_t>(a.v[k]) * static_cast<int16_t>(b.v[k]);
    const int32_t high = (a.v[k] >> 16) * (b.v[k] >> 16);
    return s(u(low) + u(high));
  });
}

RIGI_INLINE F to_f(const I& a) {
  return lanes<F>([&](int k) { return static_cast<float>(a.v[k]); });
}
RIGI_INLINE I round_i(const F& a) {
  return lanes<I>([&](int k) {
    const float x = a.v[k];
    return x >= -2147483648.0F && x < 2147483648.0F ? static_cast<int32_t>(__builtin_lrintf(x)) : INT32_MIN;
  });
}

RIGI_INLINE D dsplat(double x) {
  return lanes<D>([&](int) { return x; });
}
RIGI_INLINE D to_d(const F& a) {
  return lanes<D>([&](int k) { return static_cast<double>(a.v[k]); });
}
RIGI_INLINE F to_f(const D& a) {
  return lanes<F>([&](int k) { return static_cast<float>(a.v[k]); });
}
RIGI_INLINE D operator+(const D& a, const D& b) {
  return lanes<D>([&](int k) { return a.v[k] + b.v[k]; });
}
RIGI_INLINE D operator-(const D& a, const D& b) {
  return lanes<D>([&](int k) { return a.v[k] - b.v[k]; });
}
RIGI_INLINE D operator*(const D& a, const D& b) {
  return lanes<D>([&](int k) { return a.v[k] * b.v[k]; });
}
RIGI_INLINE D operator/(const D& a, const D& b) {
  return lanes<D>([&](int k) { return a.v[k] / b.v[k]; });
}
RIGI_INLINE D fma(const D& a, const D& b, const D& c) {
  return lanes<D>([&](int k) { return __builtin_fma(a.v[k], b.v[k], c.v[k]); });
}
RIGI_INLINE D min2(const D& a, const D& b) {
  return lanes<D>([&](int k) { return a.v[k] < b.v[k] ? a.v[k] : b.v[k]; });
}
RIGI_INLINE D max2(const D& a, const D& b) {
  return lanes<D>([&](int k) { return a.v[k] > b.v[k] ? a.v[k] : b.v[k]; });
}
RIGI_INLINE D pow2_of_magic(const D& t) {
  return lanes<D>([&](int k) {
    uint64_t x;
    __builtin_memcpy(&x, &t.v[k], 8);
    x = (x << 52) + 0x3ff0000000000000U;
    double out;
    __builtin_memcpy(&out, &x, 8);
    return out;
  });
}

// out[j] lane i = word j of row i, 16 rows of 8 words.
RIGI_INLINE void transpose16(const uint8_t* const* rows, int64_t offset, I* out) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < kTransposeWords; ++j) __builtin_memcpy(&out[j].v[i], rows[i] + offset + j * 4, 4);
  }
}

}  // namespace rigi::RIGI_ISA_NS
