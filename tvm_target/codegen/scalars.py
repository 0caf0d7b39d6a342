"""Data types of the sequencer: how a number lies in memory, how a variable holds it, and how an element is written.

Signed integers are held as int64_t whatever their TIR width, small floats as float. An instruction takes numbers as fp32, so an element
of another type is written by its bytes where fp32 does not have the value.
"""

from __future__ import annotations

from ..isa import DTYPES
from .context import bits_of

# exponent and mantissa bits of the floats below fp32 that bf16's shift does not cover
_SMALL = {"float16": (5, 10), "float8_e4m3fn": (4, 3), "float8_e5m2": (5, 2)}
_STORED = {"bfloat16": "uint16_t", "float32": "float", "float64": "double", "bool": "uint8_t", "float8_e8m0fnu": "uint8_t"}


def ctype(dtype: str) -> str:
    """The C++ type of a sequencer variable."""
    if dtype == "bool" or dtype.startswith("uint"):
        return "bool" if dtype == "bool" else f"{dtype}_t"
    if dtype.startswith("int"):
        return "int64_t"
    return "double" if dtype == "float64" else "float"


def known(dtype: str) -> bool:
    """Whether the sequencer has numbers of this type."""
    return dtype in _STORED or dtype in _SMALL or dtype.startswith(("int", "uint")) and bits_of(dtype) in (8, 16, 32, 64)


def stored(dtype: str) -> str:
    """The C++ type of an element in memory."""
    return f"uint{bits_of(dtype)}_t" if dtype in _SMALL else _STORED.get(dtype, f"{dtype}_t")


def widened(dtype: str, text: str) -> str:
    """An element's bits to a number."""
    if dtype == "bfloat16":
        return f"widen_bf16({text})"
    if dtype == "float8_e8m0fnu":
        return f"widen_e8m0({text})"
    if dtype in _SMALL:
        return f"widen_small<{_SMALL[dtype][0]}, {_SMALL[dtype][1]}>({text})"
    return f"({text} != 0)" if dtype == "bool" else text


def rounded(dtype: str, text: str) -> str:
    """A float to one that `dtype` has."""
    if dtype == "bfloat16":
        return f"round_bf16({text})"
    return f"round_small<{_SMALL[dtype][0]}, {_SMALL[dtype][1]}>({text})"


def is_small_float(dtype: str) -> bool:
    return dtype == "bfloat16" or dtype in _SMALL


def written(dtype: str, at: str, value: str) -> str:
    """The statement that writes an element in SRAM at byte `at`."""
    if dtype.startswith("float") and dtype != "float64" or dtype in ("bfloat16", "int8", "uint8"):
        return f"put(core, {at}, {DTYPES[dtype][0]}, {f'static_cast<{dtype}_t>({value})' if dtype in ('int8', 'uint8') else value});"
    if dtype == "bool":
        return f"put(core, {at}, RIGI_U8, {value});"
    return f"put_bits(core, {at}, static_cast<{stored(dtype)}>({value}));"


# Helpers of the generated file, printed only if used.
HELPERS = {
    "udiv": """\
template <typename T>
T udiv(T a, T b) {
  return b == 0 ? T(0) : a / b;
}""",
    "umod": """\
template <typename T>
T umod(T a, T b) {
  return b == 0 ? T(0) : a % b;
}""",
    "clz": """\
template <typename T>
int64_t clz(T x) {
  constexpr int bits = 8 * sizeof(T);
  return x == 0 ? bits : __builtin_clzll(x) - (64 - bits);
}""",
    "popcount": """\
template <typename T>
int64_t popcount(T x) {
  return __builtin_popcountll(x);
}""",
    "to_int": """\
template <typename T>
T to_int(double x) {  // truncates; NaN gives 0, and what does not fit in 32 or 64 bits the nearest that does
  constexpr double limit = sizeof(T) == 4 && T(-1) < T(0) ? 0x1p31 : 0x1p63;
  if (x != x) return T(0);
  if (T(-1) > T(0) && sizeof(T) == 8 && x >= limit) return x >= 0x1p64 ? T(-1) : static_cast<T>(static_cast<uint64_t>(x));
  if (x >= limit) return static_cast<T>(limit == 0x1p31 ? INT32_MAX : INT64_MAX);
  return static_cast<T>(x < -limit ? (limit == 0x1p31 ? INT32_MIN : INT64_MIN) : static_cast<int64_t>(x));
}""",
    "widen_bf16": "inline float widen_bf16(uint16_t bits) { return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16); }",
    "widen_e8m0": """\
inline float widen_e8m0(uint8_t bits) { return bits == 255 ? NAN : std::ldexp(1.0F, bits - 127); }  // a power of two""",
    "round_bf16": """\
inline float round_bf16(float x) {  // to nearest even; a NaN stays one
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  return x != x ? x : __builtin_bit_cast(float, (bits + 0x7fffU + (bits >> 16 & 1U)) & 0xffff0000U);
}""",
    "widen_small": """\
template <int exponent, int mantissa>
inline float widen_small(uint32_t bits) {
  constexpr int top = (1 << exponent) - 1, bias = top >> 1;
  const int e = static_cast<int>(bits >> mantissa) & top, m = static_cast<int>(bits & ((1U << mantissa) - 1));
  float x = e == 0 ? std::ldexp(static_cast<float>(m), 1 - bias - mantissa)
                   : std::ldexp(static_cast<float>(m + (1 << mantissa)), e - bias - mantissa);
  if (exponent == 4 ? e == top && m == (1 << mantissa) - 1 : e == top) x = exponent == 4 || m != 0 ? NAN : INFINITY;
  return (bits >> (exponent + mantissa) & 1U) != 0 ? -x : x;
}""",
    "round_small": """\
template <int exponent, int mantissa>
inline float round_small(float x) {  // to nearest even; e4m3 has no infinity and saturates
  constexpr int bias = (1 << (exponent - 1)) - 1;
  if (!std::isfinite(x)) return exponent == 4 && x == x ? std::copysign(448.0F, x) : x;
  const float unit = std::ldexp(1.0F, std::max(std::ilogb(x == 0 ? 1.0F : x), 1 - bias) - mantissa);
  const float y = std::nearbyint(x / unit) * unit;
  if (exponent == 4) return std::fabs(y) > 448.0F ? std::copysign(448.0F, x) : y;
  return std::fabs(y) >= std::ldexp(1.0F, bias + 1) ? std::copysign(INFINITY, x) : y;
}""",
    "put": """\
// Writes an element. A block begins at a line and an element anywhere, so this is a block of two rows; the first falls into a spare line.
inline void put(rigi::Core& core, int64_t at, rigi_dtype dtype, double value) { core.fill(sram(0, at, dtype), value, 2, 1); }""",
    "put_bits": """\
// Writes an element whose value fp32 may not have: as an integer or a float of the same bits, else by bytes.
template <typename T>
inline void put_bits(rigi::Core& core, int64_t at, T value) {
  if constexpr (sizeof(T) == 8) {
    const auto bits = __builtin_bit_cast(uint64_t, value);
    put_bits(core, at, static_cast<uint32_t>(bits));
    put_bits(core, at + 4, static_cast<uint32_t>(bits >> 32));
  } else {
    const auto word = static_cast<int32_t>(value);
    const auto number = __builtin_bit_cast(float, word);
    if (sizeof(T) == 4 && word >= -(1 << 24) && word <= 1 << 24) {
      put(core, at, RIGI_I32, word);
    } else if (sizeof(T) == 4 && number == number) {
      put(core, at, RIGI_F32, number);
    } else {
      for (unsigned k = 0; k < sizeof(T); ++k) put(core, at + k, RIGI_U8, static_cast<uint32_t>(word) >> 8 * k & 0xffU);
    }
  }
}""",
}
NEEDS = {"put_bits": {"put"}}
