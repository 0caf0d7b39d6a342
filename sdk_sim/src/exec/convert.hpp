// Rows of any dtype to and from fp32 or int32, 16 elements at a time.
#pragma once

#include "rigi_isa.h"
#include "simd.hpp"

namespace rigi::RIGI_ISA_NS {

constexpr int kChunk = 256;  // elements that the vector and activation engines carry through L1 at a time

RIGI_INLINE bool is_int(uint8_t dtype) { return dtype == RIGI_I8 || dtype == RIGI_I32 || dtype == RIGI_U8 || dtype == RIGI_I4; }
RIGI_INLINE int64_t element_bytes(uint8_t dtype) {
  return dtype == RIGI_F32 || dtype == RIGI_I32 ? 4 : dtype == RIGI_F16 || dtype == RIGI_BF16 ? 2 : 1;
}

// 16-bit and 8-bit floats as the low bits of a lane. ------------------------------------------------------------------------

// Widening by shifting into place and multiplying by a power of two: exact, denormals included. `special` is the
// smallest magnitude (in the narrow type's bits) that is no finite number.
template <int MANTISSA, int EXPONENT>
RIGI_INLINE F widen_small(I x, int32_t special, bool has_inf) {
  constexpr int width = MANTISSA + EXPONENT;
  constexpr int bias = (1 << (EXPONENT - 1)) - 1;
  const I magnitude = x & isplat((1 << width) - 1);
  const F finite = as_f(shl<23 - MANTISSA>(magnitude)) * as_f(isplat((127 + 127 - bias) << 23));
  const M beyond = gt(magnitude, isplat(special - 1));
  const I nan = isplat(0x7fc00000);
  const I out = has_inf ? select(eq(magnitude, isplat(special)), isplat(0x7f800000), nan) : nan;
  return copysign(select(beyond, as_f(out), finite), as_f(shl<31 - width>(x)));
}

// Rounds to nearest even; overflow gives `top` (as bits), NaN gives `nan`. Input NaNs are canonical.
template <int MANTISSA, int EXPONENT>
RIGI_INLINE I narrow_small(F x, int32_t top, int32_t nan) {
  constexpr int width = MANTISSA + EXPONENT;
  constexpr int bias = (1 << (EXPONENT - 1)) - 1;
  constexpr int drop = 23 - MANTISSA;
  const F magnitude = fabs(x);
  const I raw = as_i(magnitude);
  const I odd = shr<drop>(raw) & isplat(1);
  const I normal = shr<drop>(raw + isplat((1 << (drop - 1)) - 1) + odd) - isplat((127 - bias) << MANTISSA);
  // Below the smallest normal number the step is fixed: adding 2^23 steps leaves the count of steps in the mantissa.
  const F magic = as_f(isplat((127 + 23 + 1 - bias - MANTISSA) << 23));
  const I tiny = as_i(magnitude + magic) - as_i(magic);
  const M is_tiny = lt(magnitude, as_f(isplat((127 + 1 - bias) << 23)));
  I out = min(select(is_tiny, tiny, normal), isplat(top));
  out = select(is_nan(x), isplat(nan), out);
  return out | (shr<31 - width>(as_i(x)) & isplat(1 << width));
}

#if defined(RIGI_ISA_PORTABLE)
RIGI_INLINE F half_to_f(I x) { return widen_small<10, 5>(x, 0x7c00, true); }
RIGI_INLINE F load_half(const void* p) { return half_to_f(load_u16(p)); }
RIGI_INLINE void store_half(void* p, F a) { store_u16(p, narrow_small<10, 5>(a, 0x7c00, 0x7e00)); }
#endif

// One vector of a dtype. ----------------------------------------------------------------------------------------------------

template <int DTYPE>
RIGI_INLINE I load_int(const uint8_t* p) {
  if constexpr (DTYPE == RIGI_I32) return load_i(reinterpret_cast<const int32_t*>(p));
  if constexpr (DTYPE == RIGI_I8) return load_s8(p);
  if constexpr (DTYPE == RIGI_U8) return load_u8(p);
}

template <int DTYPE>
RIGI_INLINE F load_float(const uint8_t* p) {
  if constexpr (DTYPE == RIGI_F32) return load_f(reinterpret_cast<const float*>(p));
  if constexpr (DTYPE == RIGI_F16) return load_half(p);
  if constexpr (DTYPE == RIGI_BF16) return as_f(shl<16>(load_u16(p)));
  if constexpr (DTYPE == RIGI_E4M3) return widen_small<3, 4>(load_u8(p), 0x7f, false);
  if constexpr (DTYPE == RIGI_E5M2) return widen_small<2, 5>(load_u8(p), 0x7c, true);
  if constexpr (DTYPE == RIGI_I32 || DTYPE == RIGI_I8 || DTYPE == RIGI_U8) return to_f(load_int<DTYPE>(p));
}

RIGI_INLINE I bf16_bits(F x) {
  const I raw = as_i(x);
  return shr<16>(raw + isplat(0x7fff) + (shr<16>(raw) & isplat(1)));
}

// Nearest even, saturating to [low, high], whose rounding must lie in int32; NaN gives 0.
RIGI_INLINE I saturate(F x, float low, float high) {
  const F inside = max2(splat(low), min2(splat(high), x));
  return select(is_nan(x), isplat(0), round_i(inside));
}

template <int DTYPE>
RIGI_INLINE void store_int(uint8_t* p, I x) {
  if constexpr (DTYPE == RIGI_I32) store_i(reinterpret_cast<int32_t*>(p), x);
  if constexpr (DTYPE == RIGI_I8 || DTYPE == RIGI_U8) store_u8(p, x);
}

template <int DTYPE>
RIGI_INLINE void store_float(uint8_t* p, F x) {
  if constexpr (DTYPE == RIGI_F32) store_f(reinterpret_cast<float*>(p), x);
  if constexpr (DTYPE == RIGI_F16) store_half(p, x);
  if constexpr (DTYPE == RIGI_BF16) store_u16(p, bf16_bits(x));
  if constexpr (DTYPE == RIGI_E4M3) store_u8(p, narrow_small<3, 4>(x, 0x7e, 0x7f));
  if constexpr (DTYPE == RIGI_E5M2) store_u8(p, narrow_small<2, 5>(x, 0x7c, 0x7e));
  if constexpr (DTYPE == RIGI_I32) {
    const I inside = saturate(x, -2147483648.0F, 2147483520.0F);
    store_i(reinterpret_cast<int32_t*>(p), select(le(splat(2147483648.0F), x), isplat(INT32_MAX), inside));
  }
  if constexpr (DTYPE == RIGI_I8) store_u8(p, saturate(x, -128.0F, 127.0F));
  if constexpr (DTYPE == RIGI_U8) store_u8(p, saturate(x, 0.0F, 255.0F));
}

// Rows. ---------------------------------------------------------------------------------------------------------------------

// Calls fn(integral_constant-like dtype tag) for the float and integer dtypes a row may have.
template <int N>
struct Tag {
  static constexpr int value = N;
};
template <class Fn>
RIGI_INLINE void with_dtype(uint8_t dtype, Fn fn) {
  switch (dtype) {
    case RIGI_F32:
      return fn(Tag<RIGI_F32>{});
    case RIGI_F16:
      return fn(Tag<RIGI_F16>{});
    case RIGI_BF16:
      return fn(Tag<RIGI_BF16>{});
    case RIGI_E4M3:
      return fn(Tag<RIGI_E4M3>{});
    case RIGI_E5M2:
      return fn(Tag<RIGI_E5M2>{});
    case RIGI_I8:
      return fn(Tag<RIGI_I8>{});
    case RIGI_I32:
      return fn(Tag<RIGI_I32>{});
    case RIGI_U8:
      return fn(Tag<RIGI_U8>{});
    default:
      return;
  }
}

// Reads n elements at p, of which the last vector may be partial, and hands 16 bytes-safe lanes at a time to put(j, pointer).
template <int DTYPE, class Fn>
RIGI_INLINE void each_vector_in(const uint8_t* p, int n, Fn put) {
  constexpr int bytes = DTYPE == RIGI_F32 || DTYPE == RIGI_I32 ? 4 : DTYPE == RIGI_F16 || DTYPE == RIGI_BF16 ? 2 : 1;
  int j = 0;
  for (; j + kLanes <= n; j += kLanes) put(j, p + j * bytes);
  if (j < n) {
    alignas(64) uint8_t tail[64] = {};
    __builtin_memcpy(tail, p + j * bytes, static_cast<unsigned>(n - j) * bytes);
    put(j, tail);
  }
}

/// n elements of `dtype` at p as fp32; `out` has room for n rounded up to 16 (the rest becomes zero).
inline void widen_row(uint8_t dtype, const uint8_t* p, int n, float* out) {
  with_dtype(dtype, [&](auto tag) {
    constexpr int T = decltype(tag)::value;
    each_vector_in<T>(p, n, [&](int j, const uint8_t* q) RIGI_LAMBDA { store_f(out + j, load_float<T>(q)); });
  });
}

/// The same as int32, for integer dtypes.
inline void widen_row(uint8_t dtype, const uint8_t* p, int n, int32_t* out) {
  with_dtype(dtype, [&](auto tag) {
    constexpr int T = decltype(tag)::value;
    if constexpr (T == RIGI_I8 || T == RIGI_U8 || T == RIGI_I32) {
      each_vector_in<T>(p, n, [&](int j, const uint8_t* q) RIGI_LAMBDA { store_i(out + j, load_int<T>(q)); });
    }
  });
}

template <class Value, class Fn>
RIGI_INLINE void each_vector_out(uint8_t* p, int bytes, int n, Fn put) {
  int j = 0;
  for (; j + kLanes <= n; j += kLanes) put(j, p + j * bytes);
  if (j < n) {
    alignas(64) uint8_t tail[64];
    put(j, tail);
    __builtin_memcpy(p + j * bytes, tail, static_cast<unsigned>((n - j) * bytes));
  }
}

/// n fp32 values (NaNs canonical, readable up to the next multiple of 16) rounded to `dtype` at p.
inline void narrow_row(uint8_t dtype, const float* in, int n, uint8_t* p) {
  with_dtype(dtype, [&](auto tag) {
    constexpr int T = decltype(tag)::value;
    each_vector_out<float>(p, static_cast<int>(element_bytes(T)), n,
                           [&](int j, uint8_t* q) RIGI_LAMBDA { store_float<T>(q, load_f(in + j)); });
  });
}

/// n int32 values to an integer dtype; the narrow ones keep the low bits.
inline void narrow_row(uint8_t dtype, const int32_t* in, int n, uint8_t* p) {
  with_dtype(dtype, [&](auto tag) {
    constexpr int T = decltype(tag)::value;
    if constexpr (T == RIGI_I8 || T == RIGI_U8 || T == RIGI_I32) {
      each_vector_out<int32_t>(p, static_cast<int>(element_bytes(T)), n,
                               [&](int j, uint8_t* q) RIGI_LAMBDA { store_int<T>(q, load_i(in + j)); });
    }
  });
}

}  // namespace rigi::RIGI_ISA_NS
