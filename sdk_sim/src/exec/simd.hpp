// A vector of 16 lanes, the same to its users on every processor: F (fp32), I (int32), D (fp64), M (a mask of lanes).
//
// The files that include this are compiled once per instruction set, with RIGI_ISA_NS = avx512, avx2 or portable naming
// both the namespace and the flavour. Every operation is rounded by itself and fused multiply-adds are explicit, so the
// three give the same bits. To keep code of one instruction set out of the others, these files include nothing of the
// standard library but <cstdint>, and all their functions are inlined or in that namespace.
//
// NaN: which NaN an operation yields differs from processor to processor. So whatever is about to leave for SRAM goes
// through `canonical`, which makes every NaN 0x7fc00000; the narrow types then get their own quiet NaN with sign 0.
// is_nan looks at the bits: to a compiler one NaN is as good as another, so it may drop a selection made by comparing floats.
#pragma once

#include <cstdint>

#define RIGI_INLINE [[gnu::always_inline]] static inline
#define RIGI_LAMBDA __attribute__((always_inline))
// Before a loop of constant length over registers: it must become straight-line code.
#if defined(__clang__)
#define RIGI_UNROLL _Pragma("clang loop unroll(full)")
#else
#define RIGI_UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(RIGI_ISA_AVX512)
#include "simd_avx512.hpp"
#elif defined(RIGI_ISA_AVX2)
#include "simd_avx2.hpp"
#else
#include "simd_portable.hpp"
#endif

namespace rigi::RIGI_ISA_NS {

constexpr int kLanes = 16;

RIGI_INLINE F fabs(F a) { return as_f(as_i(a) & isplat(0x7fffffff)); }
#if !defined(RIGI_ISA_AVX512)
RIGI_INLINE M is_nan(F a) { return gt(as_i(fabs(a)), isplat(0x7f800000)); }
#endif
RIGI_INLINE F canonical(F a) { return as_f(select(is_nan(a), isplat(0x7fc00000), as_i(a))); }
RIGI_INLINE F copysign(F magnitude, F sign) { return as_f((as_i(magnitude) & isplat(0x7fffffff)) | (as_i(sign) & isplat(INT32_MIN))); }

// IEEE 754-2019 maximum and minimum: NaN if either is, and -0 < +0.
RIGI_INLINE F maximum(F a, F b) {
  const F equal = as_f(as_i(a) & as_i(b));
  const F ordered = select(eq(a, b), equal, max2(a, b));
  return as_f(select(is_nan(a) | is_nan(b), isplat(0x7fc00000), as_i(ordered)));
}
RIGI_INLINE F minimum(F a, F b) {
  const F equal = as_f(as_i(a) | as_i(b));
  const F ordered = select(eq(a, b), equal, min2(a, b));
  return as_f(select(is_nan(a) | is_nan(b), isplat(0x7fc00000), as_i(ordered)));
}

#if !defined(RIGI_ISA_AVX512)
// p * 2^n, n integral and |n| <= 250, rounded once: 2^(n/2) twice, of which at most the last step rounds (|p| near 1).
RIGI_INLINE F scale2(F p, F n) {
  const I whole = as_i(n + splat(12582912.0F)) - isplat(0x4b400000);
  const I half = sra<1>(whole);
  const I bias = isplat(127);
  return p * as_f(shl<23>(half + bias)) * as_f(shl<23>(whole - half + bias));
}
#endif

// The balanced tree over the lanes, into lane 0: halves are folded onto each other, (0,8)(1,9).., then (0,4).., (0,2).., (0,1).
template <class Fn>
RIGI_INLINE F fold16(F p, Fn fn) {
  p = fn(p, down<8>(p));
  p = fn(p, down<4>(p));
  p = fn(p, down<2>(p));
  return fn(p, down<1>(p));
}
template <class Fn>
RIGI_INLINE I fold16(I p, Fn fn) {
  p = fn(p, as_i(down<8>(as_f(p))));
  p = fn(p, as_i(down<4>(as_f(p))));
  p = fn(p, as_i(down<2>(as_f(p))));
  return fn(p, as_i(down<1>(as_f(p))));
}

}  // namespace rigi::RIGI_ISA_NS
