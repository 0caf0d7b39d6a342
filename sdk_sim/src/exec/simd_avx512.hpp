// The 16-lane vectors of simd.hpp on AVX-512 (F, BW, VL, DQ).
#pragma once

#include <immintrin.h>

namespace rigi::RIGI_ISA_NS {

constexpr int kTransposeWords = 16;  // words a row that one transpose16 takes

struct M {
  __mmask16 v;
};
struct F {
  __m512 v;
};
struct I {
  __m512i v;
};
struct D {
  __m512d lo, hi;
};

RIGI_INLINE M operator&(M a, M b) { return {static_cast<__mmask16>(a.v & b.v)}; }
RIGI_INLINE M operator|(M a, M b) { return {static_cast<__mmask16>(a.v | b.v)}; }
RIGI_INLINE bool any(M a) { return a.v != 0; }
RIGI_INLINE uint32_t bits(M a) { return a.v; }

RIGI_INLINE F splat(float x) { return {_mm512_set1_ps(x)}; }
RIGI_INLINE I isplat(int32_t x) { return {_mm512_set1_epi32(x)}; }
RIGI_INLINE F load_f(const float* p) { return {_mm512_loadu_ps(p)}; }
RIGI_INLINE void store_f(float* p, F a) { _mm512_storeu_ps(p, a.v); }
RIGI_INLINE I load_i(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
RIGI_INLINE void store_i(int32_t* p, I a) { _mm512_storeu_si512(p, a.v); }
RIGI_INLINE I load_u16(const void* p) { return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)))}; }
RIGI_INLINE I load_u8(const void* p) { return {_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))}; }
RIGI_INLINE I load_s8(const void* p) { return {_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))}; }
RIGI_INLINE void store_u16(void* p, I a) { _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a.v)); }
RIGI_INLINE void store_u8(void* p, I a) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v)); }

RIGI_INLINE F as_f(I a) { return {_mm512_castsi512_ps(a.v)}; }
RIGI_INLINE I as_i(F a) { return {_mm512_castps_si512(a.v)}; }

RIGI_INLINE F operator+(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
RIGI_INLINE F operator-(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
RIGI_INLINE F operator*(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
RIGI_INLINE F operator/(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
RIGI_INLINE F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
RIGI_INLINE F sqrt(F a) { return {_mm512_sqrt_ps(a.v)}; }
RIGI_INLINE F min2(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }
RIGI_INLINE F max2(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
RIGI_INLINE M lt(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
RIGI_INLINE M le(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
RIGI_INLINE M eq(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
RIGI_INLINE M ne(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)}; }
RIGI_INLINE M is_nan(F a) { return {_mm512_fpclass_ps_mask(a.v, 0x81)}; }
RIGI_INLINE F select(M m, F a, F b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }

RIGI_INLINE I operator+(I a, I b) { return {_mm512_add_epi32(a.v, b.v)}; }
RIGI_INLINE I operator-(I a, I b) { return {_mm512_sub_epi32(a.v, b.v)}; }
RIGI_INLINE I operator*(I a, I b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
RIGI_INLINE I operator&(I a, I b) { return {_mm512_and_si512(a.v, b.v)}; }
RIGI_INLINE I operator|(I a, I b) { return {_mm512_or_si512(a.v, b.v)}; }
RIGI_INLINE I operator^(I a, I b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int N>
RIGI_INLINE I shl(I a) {
  return {_mm512_slli_epi32(a.v, N)};
}
template <int N>
RIGI_INLINE I shr(I a) {
  return {_mm512_srli_epi32(a.v, N)};
}
template <int N>
RIGI_INLINE I sra(I a) {
  return {_mm512_srai_epi32(a.v, N)};
}
RIGI_INLINE I min(I a, I b) { return {_mm512_min_epi32(a.v, b.v)}; }
RIGI_INLINE I max(I a, I b) { return {_mm512_max_epi32(a.v, b.v)}; }
RIGI_INLINE M gt(I a, I b) { return {_mm512_cmpgt_epi32_mask(a.v, b.v)}; }
RIGI_INLINE M eq(I a, I b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
RIGI_INLINE I select(M m, I a, I b) { return {_mm512_mask_blend_epi32(m.v, b.v, a.v)}; }
// Sums of products of the signed 16-bit halves of each lane.
RIGI_INLINE I madd16(I a, I b) { return {_mm512_madd_epi16(a.v, b.v)}; }

// Lane k of the result is lane k + W of `a`, for k < W; the other lanes do not matter.
template <int W>
RIGI_INLINE F down(F a) {
  if constexpr (W == 8) return {_mm512_shuffle_f32x4(a.v, a.v, 0x4e)};
  if constexpr (W == 4) return {_mm512_shuffle_f32x4(a.v, a.v, 0xb1)};
  if constexpr (W == 2) return {_mm512_permute_ps(a.v, 0x4e)};
  if constexpr (W == 1) return {_mm512_permute_ps(a.v, 0xb1)};
}

RIGI_INLINE F to_f(I a) { return {_mm512_cvtepi32_ps(a.v)}; }
// Round to nearest even; anything outside int32 gives INT32_MIN.
RIGI_INLINE I round_i(F a) { return {_mm512_cvtps_epi32(a.v)}; }

RIGI_INLINE F half_to_f(I a) { return {_mm512_cvtph_ps(_mm512_cvtepi32_epi16(a.v))}; }
RIGI_INLINE F load_half(const void* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)))}; }
RIGI_INLINE void store_half(void* p, F a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

// p * 2^n, n integral and |n| <= 250, rounded once.
RIGI_INLINE F scale2(F p, F n) { return {_mm512_scalef_ps(p.v, n.v)}; }

RIGI_INLINE D dsplat(double x) { return {_mm512_set1_pd(x), _mm512_set1_pd(x)}; }
RIGI_INLINE D to_d(F a) { return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1))}; }
RIGI_INLINE F to_f(D a) { return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a.lo)), _mm512_cvtpd_ps(a.hi), 1)}; }
RIGI_INLINE D operator+(D a, D b) { return {_mm512_add_pd(a.lo, b.lo), _mm512_add_pd(a.hi, b.hi)}; }
RIGI_INLINE D operator-(D a, D b) { return {_mm512_sub_pd(a.lo, b.lo), _mm512_sub_pd(a.hi, b.hi)}; }
RIGI_INLINE D operator*(D a, D b) { return {_mm512_mul_pd(a.lo, b.lo), _mm512_mul_pd(a.hi, b.hi)}; }
RIGI_INLINE D operator/(D a, D b) { return {_mm512_div_pd(a.lo, b.lo), _mm512_div_pd(a.hi, b.hi)}; }
RIGI_INLINE D fma(D a, D b, D c) { return {_mm512_fmadd_pd(a.lo, b.lo, c.lo), _mm512_fmadd_pd(a.hi, b.hi, c.hi)}; }
RIGI_INLINE D min2(D a, D b) { return {_mm512_min_pd(a.lo, b.lo), _mm512_min_pd(a.hi, b.hi)}; }
RIGI_INLINE D max2(D a, D b) { return {_mm512_max_pd(a.lo, b.lo), _mm512_max_pd(a.hi, b.hi)}; }
RIGI_INLINE __m512d exponent_bits(__m512d t) {
  return _mm512_castsi512_pd(_mm512_add_epi64(_mm512_slli_epi64(_mm512_castpd_si512(t), 52), _mm512_set1_epi64(0x3ff0000000000000)));
}
RIGI_INLINE D pow2_of_magic(D t) { return {exponent_bits(t.lo), exponent_bits(t.hi)}; }

// out[j] lane i = word j of row i, 16 rows of 16 words.
template <class Rows>
RIGI_INLINE void transpose16(const Rows& rows, int64_t offset, I* out) {
  __m512i r[16], t[16];
  RIGI_UNROLL
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(rows[i] + offset);
  RIGI_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  RIGI_UNROLL
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  RIGI_UNROLL
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  RIGI_UNROLL
  for (int i = 0; i < 8; ++i) {
    out[i].v = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    out[i + 8].v = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

}  // namespace rigi::RIGI_ISA_NS
