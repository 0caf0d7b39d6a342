// The activation functions, one fixed evaluation each, over 16 lanes without branches.
//
// exp and exp2, the hot ones, run in fp32 (below 1.5 ulp); sqrt, rsqrt and reciprocal are IEEE operations. The others are
// evaluated in fp64 to a relative error below 1e-11 and rounded once, so they are almost always correctly rounded. The
// polynomials are near-minimax fits on the reduced ranges named beside them.
#pragma once

#include "simd.hpp"

namespace rigi::RIGI_ISA_NS {

template <class V>
RIGI_INLINE V poly(V, V c) {
  return c;
}
/// c0 + x (c1 + x (c2 + ...)), fused.
template <class V, class... Rest>
RIGI_INLINE V poly(V x, V c0, Rest... rest) {
  return fma(poly(x, rest...), x, c0);
}

// fp32 ----------------------------------------------------------------------------------------------------------------------

constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer

RIGI_INLINE F exp_f(F x) {
  // Beyond these the result is 0 or infinity anyhow; NaN passes through.
  const F y = max2(splat(-105.0F), min2(splat(90.0F), x));
  const F n = fma(y, splat(1.44269504F), splat(kMagic)) - splat(kMagic);
  F r = fma(n, splat(-0.693147182F), y);
  r = fma(n, splat(1.90465421e-9F), r);
  // e^r = 1 + r + r^2 P(r), |r| <= ln2/2
  const F p = poly(r, splat(0.49999988561495776F), splat(0.16666518165325066F), splat(0.041669538690981587F), splat(0.0083689517774801634F),
                   splat(0.001375127910975427F));
  return scale2(fma(r * r, p, r) + splat(1.0F), n);
}

RIGI_INLINE F exp2_f(F x) {
  const F y = max2(splat(-151.0F), min2(splat(129.0F), x));
  const F n = (y + splat(kMagic)) - splat(kMagic);
  const F f = y - n;
  // 2^f = 1 + f Q(f), |f| <= 1/2
  const F q = poly(f, splat(0.69314718078971542F), splat(0.24022651072874014F), splat(0.055504101561647141F), splat(0.0096180373747268131F),
                   splat(0.0013334080766037248F), splat(0.00015466968564877342F), splat(1.5165744575816877e-5F));
  return scale2(fma(f, q, splat(1.0F)), n);
}

// fp64 ----------------------------------------------------------------------------------------------------------------------

constexpr double kMagicD = 6755399441055744.0;  // 1.5 * 2^52

struct Reduced {
  D em1, pow2;  // e^x = pow2 * (1 + em1)
};
/// |x| <= 700.
RIGI_INLINE Reduced reduce_exp(D x) {
  const D magic = dsplat(kMagicD);
  const D t = fma(x, dsplat(1.4426950408889634), magic);
  const D n = t - magic;
  const D r = fma(n, dsplat(-2.3190468138462996e-17), fma(n, dsplat(-0.6931471805599453), x));
  const D q =
      poly(r, dsplat(0.9999999999954898), dsplat(0.49999999999797088), dsplat(0.16666666786686665), dsplat(0.041666666891655066),
           dsplat(0.0083332834348549784), dsplat(0.0013888821539008887), dsplat(0.00019907637995300235), dsplat(2.4876240610218929e-5));
  return {r * q, pow2_of_magic(t)};
}
RIGI_INLINE D exp_d(D x) {
  const Reduced e = reduce_exp(max2(dsplat(-700.0), min2(dsplat(700.0), x)));
  return fma(e.em1, e.pow2, e.pow2);
}

/// x / (1 + e^-z): sigmoid with x = 1, silu with z = x. The limit at -infinity is zero.
RIGI_INLINE D logistic(D x, D z) { return x / (dsplat(1.0) + exp_d(dsplat(0.0) - z)); }

RIGI_INLINE F sigmoid_f(F x) { return to_f(logistic(dsplat(1.0), to_d(x))); }
RIGI_INLINE F silu_f(F x) {
  const D y = to_d(max2(splat(-1000.0F), x));
  return to_f(logistic(y, y));
}
RIGI_INLINE F gelu_tanh_f(F x) {
  const D y = to_d(max2(splat(-1000.0F), x));
  // x/2 (1 + tanh(u)) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3)
  const D z = y * fma(y * y, dsplat(2 * 0.7978845608028654 * 0.044715), dsplat(2 * 0.7978845608028654));
  return to_f(logistic(y, z));
}

/// tanh |x| = -(e^-2|x| - 1) / (e^-2|x| + 1), the numerator kept to full relative precision for small x.
RIGI_INLINE F tanh_f(F x) {
  const Reduced e = reduce_exp(to_d(max2(splat(-50.0F), fabs(x) * splat(-2.0F))));
  const D em1 = fma(e.em1, e.pow2, e.pow2 - dsplat(1.0));
  const F out = to_f((dsplat(0.0) - em1) / (em1 + dsplat(2.0)));
  return copysign(out, x);
}

/// x Phi(x); the lower tail is x/2 erfc(-x / sqrt 2) with erfc(t) = e^-t^2 G(t) / (1 + 2t).
RIGI_INLINE F gelu_f(F x) {
  const F y = max2(splat(-15.0F), x);
  const D t = to_d(min2(splat(15.0F), fabs(y))) * dsplat(0.70710678118654752);
  // G(t)/2 as a polynomial of q = (t - 3) / (t + 3), 0 <= t <= 11
  const D q = (t - dsplat(3.0)) / (t + dsplat(3.0));
  const D g =
      poly(q, dsplat(0.62650402913472351), dsplat(-0.06781055307054433), dsplat(-0.023781147152326536), dsplat(0.064822579944845918),
           dsplat(-0.059636832134951478), dsplat(0.034154001192403841), dsplat(-0.011885260855665358), dsplat(0.0012648085496941433),
           dsplat(0.00094445084958446921), dsplat(-0.00039038748518312275), dsplat(-5.3314648101086729e-5), dsplat(6.3298144155219114e-5),
           dsplat(4.5422617459978396e-6), dsplat(-9.6768494386421463e-6), dsplat(-2.3970290537425594e-6));
  const D tail = exp_d(dsplat(0.0) - t * t) * g / fma(dsplat(2.0), t, dsplat(1.0));
  const D v = to_d(y);
  const F lower = to_f(v * tail);
  const F upper = to_f(v * (dsplat(1.0) - tail));
  return select(lt(y, splat(0.0F)), lower, upper);
}

RIGI_INLINE F log_f(F x) {
  // x = 2^e m with m in [sqrt 1/2, sqrt 2); log m = 2 atanh(s), s = (m - 1) / (m + 1)
  const M tiny = lt(x, as_f(isplat(0x00800000)));
  const I raw = as_i(select(tiny, x * splat(8388608.0F), x));
  const I e = sra<23>(raw - isplat(0x3f3504f3));
  const D m = to_d(as_f(raw - shl<23>(e)));
  const D exponent = to_d(to_f(e) - select(tiny, splat(23.0F), splat(0.0F)));
  const D s = (m - dsplat(1.0)) / (m + dsplat(1.0));
  const D w = s * s;
  const D series = poly(w, dsplat(0.33333333333292294), dsplat(0.20000000026669924), dsplat(0.14285708488800099), dsplat(0.111116907853125),
                        dsplat(0.090616717938996076), dsplat(0.084116194947552597));
  const D twice = s + s;
  F out = to_f(fma(exponent, dsplat(0.6931471805599453), fma(twice * w, series, twice)));
  out = select(eq(x, as_f(isplat(0x7f800000))), x, out);
  out = select(eq(x, splat(0.0F)), as_f(isplat(static_cast<int32_t>(0xff800000))), out);
  return select(le(splat(0.0F), x), out, as_f(isplat(0x7fc00000)));
}

struct Trig {
  F sin, cos, quadrant;  // of the argument less quadrant * pi/2; quadrant is -2..2
};
/// Exact reduction by FMA with pi/2 in two parts; good far beyond |x| = 1e5, above 2^50 the argument counts as zero.
RIGI_INLINE Trig reduce_trig(F x) {
  const F inside = select(le(fabs(x), splat(1125899906842624.0F)), x, x - x);
  const D y = to_d(inside);
  const D magic = dsplat(kMagicD);
  const D n = fma(y, dsplat(0.63661977236758134), magic) - magic;
  const D r = fma(n, dsplat(-6.123233995736766e-17), fma(n, dsplat(-1.5707963267948966), y));
  const D w = r * r;
  const D s = poly(w, dsplat(-0.16666666666666631), dsplat(0.0083333333333221625), dsplat(-0.00019841269829635887),
                   dsplat(2.7557313638646977e-6), dsplat(-2.5050750457922032e-8), dsplat(1.5896380489058125e-10));
  const D c = poly(w, dsplat(-0.5), dsplat(0.041666666666666483), dsplat(-0.0013888888888863454), dsplat(2.480158728479981e-5),
                   dsplat(-2.7557313289283594e-7), dsplat(2.087560270112614e-9), dsplat(-1.1354241847342028e-11));
  const D quarter = fma(n, dsplat(0.25), magic) - magic;
  return {to_f(fma(r * w, s, r)), to_f(fma(w, c, dsplat(1.0))), to_f(fma(quarter, dsplat(-4.0), n))};
}
RIGI_INLINE F negate_if(M m, F a) { return as_f(as_i(a) ^ select(m, isplat(INT32_MIN), isplat(0))); }
RIGI_INLINE F sin_f(F x) {
  const Trig t = reduce_trig(x);
  const F q = fabs(t.quadrant);
  F out = select(eq(q, splat(1.0F)), t.cos, t.sin);
  out = negate_if(eq(t.quadrant, splat(-1.0F)) | eq(q, splat(2.0F)), out);
  return select(eq(x, splat(0.0F)), x, out);
}
RIGI_INLINE F cos_f(F x) {
  const Trig t = reduce_trig(x);
  const F q = fabs(t.quadrant);
  const F out = select(eq(q, splat(1.0F)), t.sin, t.cos);
  return negate_if(eq(t.quadrant, splat(1.0F)) | eq(q, splat(2.0F)), out);
}

}  // namespace rigi::RIGI_ISA_NS
