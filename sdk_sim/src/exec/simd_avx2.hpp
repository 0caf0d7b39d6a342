// The 16-lane vectors of simd.hpp on AVX2, FMA and F16C: two (doubles: four) registers each.
#pragma once

#include <immintrin.h>

namespace rigi::RIGI_ISA_NS {

constexpr int kTransposeWords = 8;

struct M {
  __m256 lo, hi;
};
struct F {
  __m256 lo, hi;
};
struct I {
  __m256i lo, hi;
};
struct D {
  __m256d q[4];
};

RIGI_INLINE M operator&(M a, M b) { return {_mm256_and_ps(a.lo, b.lo), _mm256_and_ps(a.hi, b.hi)}; }
RIGI_INLINE M operator|(M a, M b) { return {_mm256_or_ps(a.lo, b.lo), _mm256_or_ps(a.hi, b.hi)}; }
RIGI_INLINE uint32_t bits(M a) { return static_cast<uint32_t>(_mm256_movemask_ps(a.lo) | (_mm256_movemask_ps(a.hi) << 8)); }
RIGI_INLINE bool any(M a) { return bits(a) != 0; }

RIGI_INLINE F splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
RIGI_INLINE I isplat(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
RIGI_INLINE F load_f(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
RIGI_INLINE void store_f(float* p, F a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
RIGI_INLINE __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
RIGI_INLINE __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
RIGI_INLINE I load_i(const int32_t* p) { return {load256(p), load256(p + 8)}; }
RIGI_INLINE void store_i(int32_t* p, I a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), a.hi);
}
RIGI_INLINE I load_u16(const void* p) {
  return {_mm256_cvtepu16_epi32(load128(p)), _mm256_cvtepu16_epi32(load128(static_cast<const uint8_t*>(p) + 16))};
}
RIGI_INLINE I load_u8(const void* p) {
  const __m128i x = load128(p);
  return {_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8))};
}
RIGI_INLINE I load_s8(const void* p) {
  const __m128i x = load128(p);
  return {_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8))};
}
// The low 16 bits of the 16 lanes, in order.
RIGI_INLINE __m256i low16(I a) {
  const __m256i mask = _mm256_set1_epi32(0xffff);
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_and_si256(a.lo, mask), _mm256_and_si256(a.hi, mask)), 0xd8);
}
RIGI_INLINE void store_u16(void* p, I a) { _mm256_storeu_si256(static_cast<__m256i*>(p), low16(a)); }
RIGI_INLINE void store_u8(void* p, I a) {
  const __m256i x = _mm256_and_si256(low16(a), _mm256_set1_epi16(0xff));
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm_packus_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}

RIGI_INLINE F as_f(I a) { return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }
RIGI_INLINE I as_i(F a) { return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }

RIGI_INLINE F operator+(F a, F b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
RIGI_INLINE F operator-(F a, F b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
RIGI_INLINE F operator*(F a, F b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
RIGI_INLINE F operator/(F a, F b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
RIGI_INLINE F fma(F a, F b, F c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
RIGI_INLINE F sqrt(F a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
RIGI_INLINE F min2(F a, F b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
RIGI_INLINE F max2(F a, F b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
template <int P>
RIGI_INLINE M compare(F a, F b) {
  return {_mm256_cmp_ps(a.lo, b.lo, P), _mm256_cmp_ps(a.hi, b.hi, P)};
}
RIGI_INLINE M lt(F a, F b) { return compare<_CMP_LT_OQ>(a, b); }
RIGI_INLINE M le(F a, F b) { return compare<_CMP_LE_OQ>(a, b); }
RIGI_INLINE M eq(F a, F b) { return compare<_CMP_EQ_OQ>(a, b); }
RIGI_INLINE M ne(F a, F b) { return compare<_CMP_NEQ_UQ>(a, b); }
RIGI_INLINE F select(M m, F a, F b) { return {_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)}; }

RIGI_INLINE I operator+(I a, I b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
RIGI_INLINE I operator-(I a, I b) { return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)}; }
RIGI_INLINE I operator*(I a, I b) { return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)}; }
RIGI_INLINE I operator&(I a, I b) { return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
RIGI_INLINE I operator|(I a, I b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
RIGI_INLINE I operator^(I a, I b) { return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)}; }
template <int N>
RIGI_INLINE I shl(I a) {
  return {_mm256_slli_epi32(a.lo, N), _mm256_slli_epi32(a.hi, N)};
}
template <int N>
RIGI_INLINE I shr(I a) {
  return {_mm256_srli_epi32(a.lo, N), _mm256_srli_epi32(a.hi, N)};
}
template <int N>
RIGI_INLINE I sra(I a) {
  return {_mm256_srai_epi32(a.lo, N), _mm256_srai_epi32(a.hi, N)};
}
RIGI_INLINE I min(I a, I b) { return {_mm256_min_epi32(a.lo, b.lo), _mm256_min_epi32(a.hi, b.hi)}; }
RIGI_INLINE I max(I a, I b) { return {_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)}; }
RIGI_INLINE M gt(I a, I b) {
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(a.lo, b.lo)), _mm256_castsi256_ps(_mm256_cmpgt_epi32(a.hi, b.hi))};
}
RIGI_INLINE M eq(I a, I b) {
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.lo, b.lo)), _mm256_castsi256_ps(_mm256_cmpeq_epi32(a.hi, b.hi))};
}
RIGI_INLINE I select(M m, I a, I b) { return as_i(select(m, as_f(a), as_f(b))); }
RIGI_INLINE I madd16(I a, I b) { return {_mm256_madd_epi16(a.lo, b.lo), _mm256_madd_epi16(a.hi, b.hi)}; }

// Lane k of the result is lane k + W of `a`, for k < W; the other lanes do not matter.
template <int W>
RIGI_INLINE F down(F a) {
  if constexpr (W == 8) return {a.hi, a.hi};
  if constexpr (W == 4) return {_mm256_permute2f128_ps(a.lo, a.lo, 0x11), a.hi};
  if constexpr (W == 2) return {_mm256_permute_ps(a.lo, 0x4e), a.hi};
  if constexpr (W == 1) return {_mm256_permute_ps(a.lo, 0xb1), a.hi};
}

RIGI_INLINE F to_f(I a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
RIGI_INLINE I round_i(F a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }

RIGI_INLINE F half_to_f(I a) {
  const __m256i x = low16(a);
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(x)), _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1))};
}
RIGI_INLINE F load_half(const void* p) {
  return {_mm256_cvtph_ps(load128(p)), _mm256_cvtph_ps(load128(static_cast<const uint8_t*>(p) + 16))};
}
RIGI_INLINE void store_half(void* p, F a) {
  __m128i* out = static_cast<__m128i*>(p);
  _mm_storeu_si128(out, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  _mm_storeu_si128(out + 1, _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

RIGI_INLINE D dsplat(double x) {
  const __m256d v = _mm256_set1_pd(x);
  return {{v, v, v, v}};
}
RIGI_INLINE D to_d(F a) {
  return {{_mm256_cvtps_pd(_mm256_castps256_ps128(a.lo)), _mm256_cvtps_pd(_mm256_extractf128_ps(a.lo, 1)),
           _mm256_cvtps_pd(_mm256_castps256_ps128(a.hi)), _mm256_cvtps_pd(_mm256_extractf128_ps(a.hi, 1))}};
}
RIGI_INLINE F to_f(D a) {
  return {_mm256_set_m128(_mm256_cvtpd_ps(a.q[1]), _mm256_cvtpd_ps(a.q[0])),
          _mm256_set_m128(_mm256_cvtpd_ps(a.q[3]), _mm256_cvtpd_ps(a.q[2]))};
}
template <class Fn>
RIGI_INLINE D each(Fn fn) {
  return {{fn(0), fn(1), fn(2), fn(3)}};
}
RIGI_INLINE D operator+(D a, D b) {
  return each([&](int k) RIGI_LAMBDA { return _mm256_add_pd(a.q[k], b.q[k]); });
}
RIGI_INLINE D operator-(D a, D b) {
  return each([&](int k) RIGI_LAMBDA { return _mm256_sub_pd(a.q[k], b.q[k]); });
}
RIGI_INLINE D operator*(D a, D b) {
  return each([&](int k) RIGI_LAMBDA { return _mm256_mul_pd(a.q[k], b.q[k]); });
}
RIGI_INLINE D operator/(D a, D b) {
  return each([&](int k) RIGI_LAMBDA { return _mm256_div_pd(a.q[k], b.q[k]); });
}
RIGI_INLINE D fma(D a, D b, D c) {
  return each([&](int k) RIGI_LAMBDA { return _mm256_fmadd_pd(a.q[k], b.q[k], c.q[k]); });
}
RIGI_INLINE D min2(D a, D b) {
  return each([&](int k) RIGI_LAMBDA { return _mm256_min_pd(a.q[k], b.q[k]); });
}
RIGI_INLINE D max2(D a, D b) {
  return each([&](int k) RIGI_LAMBDA { return _mm256_max_pd(a.q[k], b.q[k]); });
}
RIGI_INLINE D pow2_of_magic(D t) {
  return each([&](int k) RIGI_LAMBDA {
    const __m256i one = _mm256_set1_epi64x(0x3ff0000000000000);
    return _mm256_castsi256_pd(_mm256_add_epi64(_mm256_slli_epi64(_mm256_castpd_si256(t.q[k]), 52), one));
  });
}

template <int FIRST, class Rows>
RIGI_INLINE void transpose8(const Rows& rows, int64_t offset, __m256i* out) {
  __m256i r[8], t[8];
  RIGI_UNROLL
  for (int i = 0; i < 8; ++i) r[i] = load256(rows[FIRST + i] + offset);
  RIGI_UNROLL
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  RIGI_UNROLL
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  RIGI_UNROLL
  for (int i = 0; i < 4; ++i) {
    out[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
    out[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
  }
}
// out[j] lane i = word j of row i, 16 rows of 8 words.
template <class Rows>
RIGI_INLINE void transpose16(const Rows& rows, int64_t offset, I* out) {
  __m256i lo[8], hi[8];
  transpose8<0>(rows, offset, lo);
  transpose8<8>(rows, offset, hi);
  RIGI_UNROLL
  for (int i = 0; i < 8; ++i) out[i] = {lo[i], hi[i]};
}

}  // namespace rigi::RIGI_ISA_NS
